"""Piano music: a sample is 500 events in a MIDI file; augmentation changes key and tempo.

Shapes: B windows, T ids in each.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano.midi_events import EVENTS_SHA256, NOTE_OFF, NOTE_ON, TIME_SHIFT
from waveletgpt.training.modalities.base import Draws, Pair, TrainingModality, Windows, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from waveletgpt.tokenizers.midi import MidiTokenizer
    from waveletgpt.training.data import Dataset
    from waveletgpt.training.quality.measures import Measures

SEMITONES = (-3, -2, -1, 0, 1, 2, 3)
STRETCHES = (0.95, 0.975, 1.0, 1.025, 1.05)
"""Factors on all durations. Semitones and factors are those of Music Transformer (arXiv 1809.04281)."""
PIANO = range(21, 109)
"""Pitches of a piano's keys."""
LONGEST = len(TIME_SHIFT)
"""Steps in the longest time shift."""

Ints = NDArray[np.int64]


def write(path: Path, tokenizer: "MidiTokenizer", ids: Tensor) -> None:
    """Write the piece that `ids` (S,) encode."""
    from waveletgpt.tokenizers.midi import write_midi  # noqa: PLC0415, see TrainingModality

    write_midi(path, tokenizer.decode(ids))


def measures(tokenizer: "MidiTokenizer", dataset: "Dataset") -> "Measures":  # noqa: ARG001
    """Measures of piano music."""
    from waveletgpt.training.quality.music import MusicMeasures  # noqa: PLC0415, see TrainingModality

    return MusicMeasures(tokenizer)


def augment(tokenizer: dict[str, Any]) -> "Callable[[Windows, Draws], Pair]":
    """The function that puts each window (B, T + 1) into a random key and tempo, chosen by its two draws (B, 2).

    Raises InputError if `tokenizer`, its description in dataset.json, has other ids.
    """
    if tokenizer.get("events_sha256") != EVENTS_SHA256:
        raise InputError(
            "these data have other event ids than --augment knows; prepare them again, or leave --augment out"
        )

    def change(windows: Windows, draws: Draws) -> Pair:
        semitones = np.array(SEMITONES)[(draws[:, 0] * len(SEMITONES)).astype(int)]
        factors = np.array(STRETCHES)[(draws[:, 1] * len(STRETCHES)).astype(int)]
        return pair(stretch(transpose(windows, semitones), factors))

    return change


def transpose(ids: Windows, semitones: Ints) -> Windows:
    """Shift all notes of each window of `ids` (B, T) by `semitones` (B,).

    The shift is reduced where a note would leave the piano's keys. Notes outside those keys never move further out.
    """
    is_note = (ids >= NOTE_ON.start) & (ids < NOTE_OFF.stop)
    pitch = (ids - NOTE_ON.start) % len(NOTE_ON)  # valid where is_note; NOTE_OFF follows NOTE_ON
    lowest = np.where(is_note, pitch, PIANO.stop).min(1)
    highest = np.where(is_note, pitch, PIANO.start).max(1)
    down, up = np.minimum(PIANO.start - lowest, 0), np.maximum(PIANO.stop - 1 - highest, 0)
    shift = np.clip(semitones, down, up)
    return ids + is_note * shift[:, None]


def stretch(ids: Windows, factors: NDArray[np.float64]) -> Windows:
    """Multiply all times in each window of `ids` (B, T) by `factors` (B,). The number of ids stays the same.

    The time of each event is rounded to a step separately, so rounding errors do not add up. A pause is a run of time
    shifts. It keeps its number of ids, each 1 to 100 steps, with the longest shifts first, as the tokenizer writes
    them. If that makes a pause too long or too short, later pauses compensate.
    """
    rows, places = np.nonzero((ids >= TIME_SHIFT.start) & (ids < TIME_SHIFT.stop) & (factors[:, None] != 1))
    if not len(rows):
        return ids
    steps = ids[rows, places] - TIME_SHIFT.start + 1
    starts = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(places, prepend=-1) != 1))  # (P,) pauses
    n_ids = np.diff(starts, append=len(rows))
    row = rows[starts]
    first = np.searchsorted(row, row)  # (P,) index of the first pause in the same window

    # Limit when each pause ends. Where time shrinks, each id since any earlier pause takes 1 step at least; where time
    # grows, the longest shift at most. A large offset per window (`apart`) separates windows in the running extremes.
    ids_so_far, ends = (_sums(values, first) for values in (n_ids, np.add.reduceat(steps, starts)))
    factor, apart = factors[row], row * (LONGEST * ids.size)
    wanted = np.rint(ends * factor).astype(np.int64)
    least, most = ids_so_far, ids_so_far * LONGEST
    earliest = np.maximum.accumulate(np.maximum(wanted - least, 0) + apart) - apart + least
    latest = np.minimum.accumulate(np.minimum(wanted - most, 0) - apart) + apart + most
    ends = np.where(factor < 1, earliest, latest)
    lengths = np.diff(ends, prepend=0)
    lengths[first] = ends[first]

    pause = np.repeat(np.arange(len(starts)), n_ids)
    before = np.arange(len(rows)) - starts[pause]  # ids before this one in its pause
    after = n_ids[pause] - 1 - before
    scaled = np.clip(lengths[pause] - LONGEST * before - after, 1, LONGEST)
    stretched = ids.copy()
    stretched[rows, places] = TIME_SHIFT.start - 1 + scaled
    return stretched


def _sums(values: Ints, first: Ints) -> Ints:
    """Cumulative sums of `values` (P,) within each window; `first` (P,) is the index of the window's first pause."""
    sums = values.cumsum()
    return sums - (sums - values)[first]


TRAINING_MODALITY = TrainingModality(
    suffix=".mid", sample_tokens=lambda _: 500, write=write, augment=augment, measures=measures
)
