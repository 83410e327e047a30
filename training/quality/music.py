"""Measures of piano music: density, harmony, rhythm, repetition."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.training.quality.measures import Histogram

TICKS_PER_SECOND = 100
"""Of the scores that `MidiTokenizer.decode` makes."""
CHORD = 5
"""Ticks within which onsets are one chord: 50 ms."""
GRAM = 4
BINS = 20
"""Of inter-onset times, 50 ms each; the last holds all that are longer."""


class MusicMeasures:
    """How a passage of piano music is measured."""

    def __init__(self, tokenizer: MidiTokenizer) -> None:
        self.tokenizer = tokenizer

    def numbers(self, ids: Tensor) -> dict[str, float]:
        """Notes a second and at once, how many pitch classes are in use, the median inter-onset time in seconds,
        and the share of melodic 4-grams that occurred before.
        """
        onsets, ends, pitches = self._notes(ids)
        if len(onsets) < 2:
            names = ("notes_per_second", "notes_at_once", "pitch_classes", "inter_onset", "repetition")
            return dict.fromkeys(names, np.nan)
        seconds = (ends.max() - onsets.min()) / TICKS_PER_SECOND
        return {
            "notes_per_second": len(onsets) / seconds,
            "notes_at_once": float((ends - onsets).sum() / TICKS_PER_SECOND / seconds),
            "pitch_classes": effective_number(pitch_classes(pitches)),
            "inter_onset": float(np.median(inter_onsets(onsets))) / TICKS_PER_SECOND,
            "repetition": repetition(onsets, pitches),
        }

    def histograms(self, ids: Tensor) -> dict[str, Histogram]:
        """Pitch classes from the passage's most frequent one up, and inter-onset times."""
        onsets, _, pitches = self._notes(ids)
        counts = np.bincount(np.minimum(inter_onsets(onsets) // CHORD, BINS - 1), minlength=BINS).astype(np.float64)
        classes = pitch_classes(pitches)
        return {
            "pitch_class_overlap": np.roll(classes, -int(classes.argmax())),
            "inter_onset_overlap": counts / max(counts.sum(), 1),
        }

    def _notes(self, ids: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Onsets, ends (ticks) and pitches of the notes, (N,) each, in order of time."""
        notes = self.tokenizer.decode(ids).tracks[0].notes.numpy()
        onsets, lengths, pitches = (notes[name].astype(np.int64) for name in ("time", "duration", "pitch"))
        return onsets, onsets + lengths, pitches


def pitch_classes(pitches: NDArray[np.int64]) -> Histogram:
    """The distribution of pitches (N,) over the twelve pitch classes, (12,)."""
    counts = np.bincount(pitches % 12, minlength=12).astype(np.float64)
    shares: Histogram = counts / max(counts.sum(), 1)
    return shares


def effective_number(distribution: Histogram) -> float:
    """The number of equally frequent classes that have the same entropy."""
    used = distribution[distribution > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def inter_onsets(onsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times between chords (ticks): onsets (N,) in order, those within 50 ms of a chord's first belong to it."""
    starts: list[int] = []
    for onset in onsets.tolist():
        if not starts or onset - starts[-1] > CHORD:
            starts.append(onset)
    return np.array([after - before for before, after in pairwise(starts)], np.int64)


def repetition(onsets: NDArray[np.int64], pitches: NDArray[np.int64]) -> float:
    """Of the sequences of 4 intervals in the highest notes of chords, the share that occurred before; NaN for none."""
    top: list[int] = []
    start = None
    for onset, pitch in zip(onsets.tolist(), pitches.tolist(), strict=True):
        if start is not None and onset - start <= CHORD:
            top[-1] = max(top[-1], pitch)
        else:
            start = onset
            top.append(pitch)
    steps = np.diff(top).tolist()
    grams = [tuple(steps[i : i + GRAM]) for i in range(len(steps) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else np.nan
