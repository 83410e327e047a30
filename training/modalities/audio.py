"""Audio: a sample is half a second in a WAV file; augmentation changes loudness, and adds noise to what models read.

Shapes: B windows, T ids in each, V levels.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.training.modalities.base import Draws, Pair, TrainingModality, Windows, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from waveletgpt.tokenizers.mulaw import MuLawTokenizer
    from waveletgpt.training.data import Dataset
    from waveletgpt.training.quality.measures import Measures

SECONDS = 0.5
CLIP_SECONDS = 2.0
"""Length of the clips that are measured."""


CLEAN = 0.15
"""Share of the windows that augmentation leaves unchanged."""
NOISE_DBFS = (-65.0, -25.0)
"""Loudness of the noise in the inputs of the others."""
GAIN_DB = (-6.0, 6.0)
"""Change of their loudness, in inputs and targets."""


def write(path: Path, tokenizer: "MuLawTokenizer", ids: Tensor) -> None:
    """Write the waveform of `ids` (S,)."""
    from waveletgpt.tokenizers.audio.audio_file import write_wav  # noqa: PLC0415, see TrainingModality

    write_wav(path, tokenizer.decode(ids), tokenizer.sample_rate)


def augment(tokenizer: dict[str, Any]) -> "Callable[[Windows, Draws], Pair]":
    """The function that changes the loudness of windows (B, T + 1), and adds white noise to the inputs alone, by their
    draws (B, 2).

    A generated context is never as clean as a recording. Noise in the inputs teaches the model to find the tone in one.
    Targets stay clean, so that it does not continue the noise.

    Raises InputError if `tokenizer`, its description in dataset.json, is not mu-law.
    """
    levels = tokenizer.get("levels")
    if tokenizer.get("kind") != "mulaw" or not isinstance(levels, int):
        raise InputError("--augment knows mu-law audio only; prepare the data again, or leave --augment out")
    mu = levels - 1
    companded = np.arange(mu + 1) / mu * 2 - 1
    waveform_of = np.sign(companded) * ((1 + mu) ** np.abs(companded) - 1) / mu  # (V,), as MuLawTokenizer.decode

    def ids_of(waveform: NDArray[np.float64]) -> Windows:
        waveform = np.clip(waveform, -1, 1)
        level = np.sign(waveform) * np.log1p(mu * np.abs(waveform)) / np.log1p(mu)
        ids: Windows = np.floor((level + 1) / 2 * mu + 0.5).astype(np.int64)
        return ids

    def change(windows: Windows, draws: Draws) -> Pair:
        inputs, targets = (ids.copy() for ids in pair(windows))
        for row, (amount, seed) in enumerate(draws):
            if amount >= CLEAN:
                random = np.random.default_rng(int(seed * 2**53))
                loudness = _amplitude(*NOISE_DBFS, (amount - CLEAN) / (1 - CLEAN))
                noise = loudness * random.standard_normal(windows.shape[1])
                waveform = waveform_of[windows[row]] * _amplitude(*GAIN_DB, random.random())
                inputs[row], targets[row] = ids_of(waveform + noise)[:-1], ids_of(waveform)[1:]
        return inputs, targets

    return change


def _amplitude(low: float, high: float, fraction: float) -> float:
    """The amplitude at a fraction of the way between two levels in decibels."""
    amplitude: float = 10 ** ((low + (high - low) * fraction) / 20)
    return amplitude


def measures(tokenizer: "MuLawTokenizer", dataset: "Dataset") -> "Measures":  # noqa: ARG001
    """Measures of sound."""
    from waveletgpt.training.quality.audio import AudioMeasures  # noqa: PLC0415, see TrainingModality

    return AudioMeasures(tokenizer)


TRAINING_MODALITY = TrainingModality(
    suffix=".wav",
    sample_tokens=lambda tokenizer: round(SECONDS * tokenizer.sample_rate),
    write=write,
    augment=augment,
    measures=measures,
    unit_tokens=lambda tokenizer: tokenizer.sample_rate,
    passage_tokens=lambda tokenizer: round(CLIP_SECONDS * tokenizer.sample_rate),
)
