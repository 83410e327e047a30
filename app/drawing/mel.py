"""Spectrograms over mel frequency, on which a piano's notes are far enough apart to be told from one another."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WINDOW = 0.064  # seconds: separates the notes of a chord from about C3 on
PADDING = 4  # zero-padding: bins are narrower than the lowest bands
BANDS = 128  # rows of the spectrogram
COLUMNS = 600  # most of a spectrogram: one is about a pixel wide


def mel(hertz: Any) -> Any:
    """Hz to mel (O'Shaughnessy 1987), of a number or an array."""
    return 2595 * np.log10(1 + hertz / 700)


def mel_spectrogram(waveform: NDArray[np.float32], sample_rate: int, top: float) -> NDArray[np.float32]:
    """Short-time Fourier transform in bands of equal width on the mel scale.

    Args:
        waveform: (S,) samples.
        sample_rate: in Hz.
        top: upper edge of the highest band, in Hz.

    Returns:
        (BANDS, columns) power, 1 for a sine of amplitude 1 in a band as narrow as a bin, lowest frequency first;
        without columns if the waveform is shorter than a window.
    """
    window = max(16, round(WINDOW * sample_rate))
    if len(waveform) < window:
        return np.zeros((BANDS, 0), np.float32)
    hann = torch.hann_window(window)
    spectrum = torch.stft(
        torch.from_numpy(waveform),
        PADDING * window,
        max(window // 16, len(waveform) // COLUMNS),
        win_length=window,
        window=hann * (2 / hann.sum()),
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.abs().square()  # (bins, columns)
    bands: NDArray[np.float32] = (_filters(len(power), sample_rate, top) @ power).numpy()
    return bands


@lru_cache(maxsize=8)
def _filters(bins: int, sample_rate: int, top: float) -> torch.Tensor:
    """Triangles (BANDS, bins) whose weights add up to 1, or to 0 above half of the sample rate."""
    edges = 700 * (10 ** (np.linspace(0, mel(top), BANDS + 2) / 2595) - 1)  # Hz
    low, middle, high = (edges[i : i + BANDS, None] for i in range(3))
    hertz = np.linspace(0, sample_rate / 2, bins)
    weights = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(0)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True).clip(1e-9)).astype(np.float32))
