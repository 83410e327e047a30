"""Waveforms: what is checked about them, and how they become mono and get their loudness.

A waveform is a tensor (S,) float32 in [-1, 1].
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.audio.resampling import resampled

LOUDNESS_DBFS = -20.0
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; no recording has another rate


def check_waveform(waveform: Tensor) -> None:
    """Raise InputError unless `waveform` is (S,) of finite floats."""
    if waveform.ndim != 1 or not waveform.is_floating_point():
        raise InputError(f"a waveform must be a 1-D tensor of floats, not {tuple(waveform.shape)} of {waveform.dtype}")
    broken = (~waveform.isfinite()).nonzero()
    if len(broken):
        position = int(broken[0])
        raise InputError(f"sample {position} of the waveform is {waveform[position].item()}, not a finite number")


def waveform_from_array(array: np.ndarray[Any, Any], from_rate: int, to_rate: int) -> Tensor:
    """Convert a recording to a waveform. Channels are averaged. If the peak exceeds 1, all is scaled to a peak of 1.

    Args:
        array: (S,) or (S, C). Signed integers are divided by their type's range (int16: 32768), floats are not scaled.
        from_rate: sample rate of `array`, in Hz.
        to_rate: sample rate of the result, in Hz.

    Returns:
        The waveform, (S * to_rate / from_rate,).

    Raises:
        InputError: any other array, no samples, NaN or inf, or a rate outside 1 kHz to 1 MHz.
    """
    check_rates(from_rate, to_rate)
    if array.ndim not in (1, 2) or array.dtype.kind not in "if":
        raise InputError(
            f"audio must be signed integers or floats, (samples,) or (samples, channels), "
            f"not {array.shape} of {array.dtype}"
        )
    if not array.size:
        raise InputError("the audio holds no samples")
    full_scale = -np.iinfo(array.dtype).min if array.dtype.kind == "i" else 1
    mono = to_mono(array.reshape(len(array), -1)) / full_scale
    check_waveform(mono)
    return limit_peak(torch.cat(list(resampled([limit_peak(mono).float()], from_rate, to_rate))))


def normalize_loudness(waveform: Tensor, dbfs: float = LOUDNESS_DBFS) -> Tensor:
    """Scale a waveform (S,) so that its RMS is `dbfs` decibels relative to full scale; 0 dBFS is an RMS of 1.

    If that would push the peak above 1, the gain is smaller and puts the peak at 1, so nothing clips. Silence stays
    silent.
    """
    check_waveform(waveform)
    return next(normalized_blocks([waveform], dbfs)) if len(waveform) else waveform.float()


def check_rates(*rates: int) -> None:
    """Raise InputError for a sample rate outside 1 kHz to 1 MHz."""
    for rate in rates:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InputError(f"the sample rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate}")


def normalized_blocks(blocks: Iterable[Tensor], dbfs: float) -> Iterator[Tensor]:
    """`normalize_loudness` for a waveform in blocks. Reads the blocks twice."""
    length, squares, peak = 0, 0.0, 0.0
    for block in blocks:
        samples = block.double()  # squares of small float32 values underflow
        length += len(samples)
        squares += samples.square().sum().item()
        peak = max(peak, samples.abs().max().item())
    rms = math.sqrt(squares / length)
    gain = 10 ** (dbfs / 20) / rms if rms > 0 else 1.0
    for block in blocks:
        yield (block.double() * gain / max(1.0, peak * gain)).float()


def to_mono(array: np.ndarray[Any, Any]) -> Tensor:
    """Mean over the channels: (S, C) to (S,) float64."""
    scale = 2.0**-16  # so that sums of finite numbers stay finite; a power of two changes no digit
    with np.errstate(invalid="ignore"):  # the mean of inf and -inf; a later check refuses it
        return torch.from_numpy(np.multiply(array, scale, dtype=np.float64).mean(axis=1) / scale)


def limit_peak(waveform: Tensor) -> Tensor:
    """Scale `waveform` down to a peak of 1 if its peak is higher."""
    peak = waveform.abs().max()
    return waveform / peak if peak > 1 else waveform
