"""Controls: layers that test one explanation each of what the wavelet gains.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), W the longest filter.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.common.extras import import_extra
from waveletgpt.models.filters.base import Builder, CausalFilter, FixedFilter, TokenShift, quarter
from waveletgpt.models.wavelet import CausalWavelet, haar_averages, linear_levels


def moving_averages(width: int, n_levels: int) -> FixedFilter:
    """Exponential moving averages with log-spaced half-lives, from 1 token to an eighth of the longest window.

    Kernels end at 2**n_levels tokens, and where their weights fall below 1e-9. The weights left out sum to 1/256 at
    most.
    """
    window = 2**n_levels
    half_lives = torch.logspace(0, max(n_levels - 3, 0), width, base=2.0, dtype=torch.float64)
    decay = 0.5 ** (1 / half_lives[:, None])  # (C, 1)
    kernels = (1 - decay) * decay ** torch.arange(window)
    return FixedFilter(kernels.where(kernels > 1e-9, 0).float())


def family(name: str, levels: list[int], n_levels: int) -> FixedFilter:
    """Causal low-pass filters of another wavelet family.

    The kernel of level l is that of level l-1 convolved with the low-pass filter at every 2^(l-1)th step (a trous
    cascade). The mirror image of a filter is as good a wavelet; the one with more weight on the latest tokens is used.

    Args:
        name: The family's name in PyWavelets, "db2" or "sym4".
        levels: Level of each coordinate. A level whose kernel would be longer than 2**n_levels becomes the highest
            level that fits.
        n_levels: Limits the kernels to 2**n_levels tokens.
    """
    low_pass = torch.tensor(import_extra("pywt", "compare").Wavelet(name).rec_lo, dtype=torch.float64) / sqrt(2)
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
    """`kernel` convolved with `low_pass` at every `step`th position."""
    longer = torch.zeros(len(kernel) + (len(low_pass) - 1) * step, dtype=torch.float64)
    for i, weight in enumerate(low_pass):
        longer[i * step : i * step + len(kernel)] += weight * kernel
    return longer


class HaarDetail(CausalFilter):
    """Alternate Haar averages and Haar details: average, detail, average, detail.

    The detail of level l is the average of level l-1 minus that of level l.

    Args:
        levels: Level of each pair of an average and a detail, 1 or more, in rising order.
    """

    is_detail: Tensor
    weights: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__([2**level for level in levels for _ in range(2)])
        self.register_buffer("is_detail", torch.arange(self.width) % 2 == 1, persistent=False)  # (C,)
        self.register_buffer("weights", 1 / torch.tensor(self.lengths), persistent=False)  # (C,)

    def mix(self, x: Tensor) -> Tensor:
        """Filter the last C coordinates of x (B, T, E) over time."""
        averages = haar_averages(x, self.lengths, self.weights)
        finer = haar_averages(x, [length // 2 for length in self.lengths], 2 * self.weights)
        first = x.shape[2] - self.width
        return torch.where(F.pad(self.is_detail, (first, 0)), finer - averages, averages)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W). Column m weighs the input m steps ago."""
        lags, weights = torch.arange(self.window, device=self.weights.device), self.weights[:, None]
        averages, finer = weights * (lags * weights < 1), 2 * weights * (2 * lags * weights < 1)
        return torch.where(self.is_detail[:, None], finer - averages, averages)


CONTROLS: dict[str, Builder] = {
    # One window for all coordinates: do the many scales help?
    "window4": lambda n_embd, n_levels: CausalWavelet(n_embd, "haar", n_levels, [min(4, n_levels)] * (n_embd // 2)),
    "window9": lambda n_embd, n_levels: CausalWavelet(n_embd, "haar", n_levels, [min(9, n_levels)] * (n_embd // 2)),
    # Another shape of window
    "ema": lambda n_embd, n_levels: moving_averages(n_embd // 2, n_levels),
    # Short learned kernels: does it help that kernels are learned?
    "conv4": lambda n_embd, n_levels: CausalWavelet(n_embd, "learnable", n_levels, [min(2, n_levels)] * (n_embd // 2)),
    # Other fractions of the coordinates
    "shift-quarter": lambda n_embd, _: TokenShift(quarter(n_embd)),
    "haar-quarter": lambda n_embd, n_levels: CausalWavelet(
        n_embd, "haar", n_levels, linear_levels(quarter(n_embd), n_levels)
    ),
    "haar-three-quarters": lambda n_embd, n_levels: CausalWavelet(
        n_embd, "haar", n_levels, linear_levels(n_embd // 2 + n_embd // 4, n_levels)
    ),
    # Other wavelets
    "db2": lambda n_embd, n_levels: family("db2", linear_levels(n_embd // 2, n_levels), n_levels),
    "sym4": lambda n_embd, n_levels: family("sym4", linear_levels(n_embd // 2, n_levels), n_levels),
    # What averages lose
    "haar-detail": lambda n_embd, n_levels: HaarDetail(linear_levels(quarter(n_embd), n_levels)),
}
"""Builders of the controls, by the name that `GPTConfig.mixer` gives them."""
