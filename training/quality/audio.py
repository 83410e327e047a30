"""Measures of audio: which notes it holds, and how loud it is."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.training.quality.measures import Histogram

HOP, WINDOW = 0.01, 0.04
"""Seconds from one estimate of the pitch to the next, and seconds that each is made from."""
LOWEST, HIGHEST = 60.0, 1500.0
"""Hz, of the pitches that are looked for."""
CLEAR = 0.15
"""The greatest aperiodicity of a pitch, as in YIN."""
SILENCE = 0.003
"""The root mean square below which nothing sounds."""
STEADY = 0.4
"""Semitones that a pitch may leave the note's median."""
SHORTEST = 0.2
"""Seconds that a pitch must hold to be a note."""
IN_TUNE = 30.0
"""Cents off the equal-tempered grid."""

Samples = NDArray[np.float64]


class AudioMeasures:
    """How a clip is measured."""

    def __init__(self, tokenizer: MuLawTokenizer) -> None:
        self.tokenizer = tokenizer

    def numbers(self, ids: Tensor) -> dict[str, float]:
        """The number of different notes, whether there are at least two, the share of time with a steady note, and the
        loudness in dBFS.
        """
        waveform = self.tokenizer.decode(ids).double().numpy()
        rate = self.tokenizer.sample_rate
        found = notes(waveform, rate)
        different = len({note.pitch for note in found if abs(note.cents) <= IN_TUNE})
        return {
            "different_notes": float(different),
            "two_notes_or_more": float(different >= 2),
            "steady": sum(note.seconds for note in found) / (len(waveform) / rate),
            "loudness": 20 * float(np.log10(np.sqrt(np.mean(waveform**2)) + 1e-6)),
        }

    def histograms(self, ids: Tensor) -> dict[str, Histogram]:
        """Energy in octaves, from half of the sample rate down, (8,)."""
        spectrum = np.abs(np.fft.rfft(self.tokenizer.decode(ids).double().numpy())) ** 2
        edges = len(spectrum) // 2 ** np.arange(8, -1, -1)
        octaves = np.array([spectrum[a:b].sum() for a, b in itertools.pairwise(edges)])
        return {"octave_overlap": octaves / max(octaves.sum(), 1e-12)}


@dataclass(frozen=True)
class Note:
    """A pitch that holds."""

    start: float
    """Seconds."""
    seconds: float
    pitch: int
    """MIDI number."""
    cents: float
    """How far its median is off that pitch."""


def notes(waveform: Samples, rate: int) -> list[Note]:
    """The notes in a waveform (S,), one at a time: pitches that stay steady for 0.2 s or more."""
    pitches = 69 + 12 * np.log2(fundamental(waveform, rate) / 440)
    found, i = [], 0
    while i < len(pitches):
        j = i + 1
        while j < len(pitches) and abs(pitches[j] - np.median(pitches[i:j])) < STEADY:  # False beside NaN
            j += 1
        if (j - i) * HOP >= SHORTEST:
            median = float(np.median(pitches[i:j]))
            found.append(Note(i * HOP, (j - i) * HOP, round(median), 100 * (median - round(median))))
        i = j
    return found


def fundamental(waveform: Samples, rate: int) -> Samples:
    """The fundamental frequency (Hz) of a waveform (S,) every 10 ms, NaN where there is none.

    YIN (de Cheveigne and Kawahara 2002), steps 1 to 5.
    """
    window, hop = round(WINDOW * rate), round(HOP * rate)
    shortest, longest = max(2, int(rate / HIGHEST)), int(rate / LOWEST)
    if len(waveform) < window + longest:
        return np.empty(0)
    frames = sliding_window_view(waveform, window + longest)[::hop]  # (F, W + L)
    size = 2 * (window + longest)
    products = np.fft.irfft(np.fft.rfft(frames, size) * np.fft.rfft(frames[:, :window], size).conj(), size)
    energy = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    energy = energy[:, window:] - energy[:, :-window]  # (F, L + 1), of the window at each lag
    difference = np.maximum(energy[:, :1] + energy - 2 * products[:, : longest + 1], 0)
    lags = np.arange(1, longest + 1)
    aperiodicity = np.ones_like(difference)
    aperiodicity[:, 1:] = difference[:, 1:] * lags / np.maximum(np.cumsum(difference[:, 1:], axis=1), 1e-12)
    return np.array(
        [
            rate / _period(row, shortest) if np.sqrt(level / window) > SILENCE else np.nan
            for row, level in zip(aperiodicity, energy[:, 0], strict=True)
        ]
    )


def _period(aperiodicity: Samples, shortest: int) -> float:
    """The first lag from `shortest` on at which the aperiodicity (lags,) dips below CLEAR, between samples too."""
    clear = np.flatnonzero(aperiodicity[shortest:] < CLEAR)
    if not len(clear):
        return np.nan
    lag = int(clear[0]) + shortest
    while lag + 1 < len(aperiodicity) and aperiodicity[lag + 1] < aperiodicity[lag]:
        lag += 1
    if lag + 1 == len(aperiodicity):
        return float(lag)
    before, here, after = aperiodicity[lag - 1 : lag + 2]
    bend = before - 2 * here + after
    return lag + (0.5 * (before - after) / bend if bend else 0.0)
