"""Layers to compare the wavelet with, one for each explanation of what it gains.

Each is a choice of kernels over the last C of the E coordinates; C is half of E where nothing else is said.
"""

from math import sqrt

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.filters import FixedFilter


def delays(lags: list[int]) -> FixedFilter:
    """Each coordinate from so many tokens ago. With lags of 1 this is token shift, as in RWKV (arXiv 2305.13048)."""
    kernels = torch.zeros(len(lags), max(lags) + 1)
    kernels[torch.arange(len(lags)), torch.tensor(lags)] = 1
    return FixedFilter(kernels)


def moving_averages(width: int, n_levels: int) -> FixedFilter:
    """Exponential moving averages with half-lives from 1 token to an eighth of the longest window, log-spaced.

    Kernels are cut where the wavelet's longest window ends, at 2**n_levels, and where weights fall below a billionth;
    what is left out weighs 1/256 at most.
    """
    window = 2**n_levels
    half_lives = torch.logspace(0, max(n_levels - 3, 0), width, base=2.0, dtype=torch.float64)
    decay = 0.5 ** (1 / half_lives[:, None])  # (C, 1)
    kernels = (1 - decay) * decay ** torch.arange(window)
    return FixedFilter(kernels.where(kernels > 1e-9, 0).float())


def family(name: str, levels: list[int], n_levels: int) -> FixedFilter:
    """Low-pass filters of another wavelet family by PyWavelets' name ("db2", "sym4"), made causal.

    Level l is the a trous cascade: that of level l-1 convolved with the filter at every 2^(l-1)th step. Of the filter
    and its mirror image, which is as good a wavelet, the one that weighs the latest tokens most is taken. Levels whose
    kernel is longer than 2**n_levels are the highest that is not.

    Raises InputError if PyWavelets is not installed.
    """
    try:
        import pywt  # noqa: PLC0415, only these need it
    except ImportError:
        raise InputError(f"the mixer {name} needs the package PyWavelets; pip install PyWavelets") from None
    low_pass = torch.tensor(pywt.Wavelet(name).rec_lo, dtype=torch.float64) / sqrt(2)
    mean_age = (low_pass**2 * torch.arange(len(low_pass))).sum() / (low_pass**2).sum()
    if mean_age > (len(low_pass) - 1) / 2:
        low_pass = low_pass.flip(0)
    window = 2**n_levels
    cascade = [torch.ones(1, dtype=torch.float64)]
    while len(longer := _convolved(cascade[-1], low_pass, 2 ** (len(cascade) - 1))) <= window:
        cascade.append(longer)
    kernels = torch.zeros(len(levels), window)
    for row, level in zip(kernels, levels, strict=True):
        kernel = cascade[min(level, len(cascade) - 1)]
        row[: len(kernel)] = kernel
    return FixedFilter(kernels)


def _convolved(kernel: Tensor, low_pass: Tensor, step: int) -> Tensor:
    """`kernel` convolved with `low_pass` at every `step`th place."""
    longer = torch.zeros(len(kernel) + (len(low_pass) - 1) * step, dtype=torch.float64)
    for i, weight in enumerate(low_pass):
        longer[i * step : i * step + len(kernel)] += weight * kernel
    return longer
