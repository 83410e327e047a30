"""Music in other keys and at other tempos, on windows of MIDI event ids (`tokenizers.midi_events`).

Shapes: B windows, T ids in each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano.midi_events import EVENTS_SHA256, NOTE_OFF, NOTE_ON, TIME_SHIFT

SEMITONES = (-3, -2, -1, 0, 1, 2, 3)
STRETCHES = (0.95, 0.975, 1.0, 1.025, 1.05)
"""Factors of all durations. These and the semitones are those of Music Transformer (arXiv 1809.04281)."""
PIANO = range(21, 109)
"""The keys of a piano."""
LONGEST = len(TIME_SHIFT)

Ids = NDArray[np.int64]


def augment(tokenizer: dict[str, Any]) -> Callable[[Ids, NDArray[np.float64]], Ids]:
    """From windows (B, T) and uniform draws (B, 2) to windows in another key and at another tempo each.

    Raises InputError if `tokenizer`, its description in dataset.json, tells of other ids.
    """
    if tokenizer.get("events_sha256") != EVENTS_SHA256:
        raise InputError(
            "music is augmented by the ids of its events, and these data have others; "
            "prepare them again, or leave --augment out"
        )

    def change(windows: Ids, draws: NDArray[np.float64]) -> Ids:
        semitones = np.array(SEMITONES)[(draws[:, 0] * len(SEMITONES)).astype(int)]
        factors = np.array(STRETCHES)[(draws[:, 1] * len(STRETCHES)).astype(int)]
        return stretch(transpose(windows, semitones), factors)

    return change


def transpose(ids: Ids, semitones: Ids) -> Ids:
    """Shift all notes of each window of `ids` (B, T) by `semitones` (B,).

    By less where a note would leave the piano's keys; a window that has left them already may move within MIDI's 128
    as far as its own notes reach.
    """
    is_note = (ids >= NOTE_ON.start) & (ids < NOTE_OFF.stop)
    pitch = (ids - NOTE_ON.start) % len(NOTE_ON)  # where is_note; the two ranges are neighbours
    lowest = np.where(is_note, pitch, PIANO.stop).min(1)
    highest = np.where(is_note, pitch, PIANO.start).max(1)
    down, up = np.minimum(PIANO.start - lowest, 0), np.maximum(PIANO.stop - 1 - highest, 0)
    shift = np.clip(semitones, down, up)
    return ids + is_note * shift[:, None]


def stretch(ids: Ids, factors: NDArray[np.float64]) -> Ids:
    """Make all time shifts of each window of `ids` (B, T) `factors` (B,) times as long, in as many ids.

    The time of every event is rounded to a step by itself, so that errors do not add up. A pause, which is a run of
    time shifts, keeps its number of ids, each at least 1 and at most 100 steps, and is told by as many longest ones
    as it can be, as the tokenizer tells it. What a pause cannot be shortened or lengthened by, those after it are.
    """
    rows, places = np.nonzero((ids >= TIME_SHIFT.start) & (ids < TIME_SHIFT.stop) & (factors[:, None] != 1))
    if not len(rows):
        return ids
    steps = ids[rows, places] - TIME_SHIFT.start + 1
    starts = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(places, prepend=-1) != 1))  # (P,) pauses
    n_ids = np.diff(starts, append=len(rows))
    row = rows[starts]
    first = np.searchsorted(row, row)  # (P,) the first pause in the window of each

    # When each pause should end, and when it can: no earlier than a step for each id since any pause before it (where
    # time shrinks), no later than the longest for each (where it grows). Adding a window's own large number keeps the
    # running maximum and minimum from seeing the window before.
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
    before = np.arange(len(rows)) - starts[pause]  # ids of the same pause
    after = n_ids[pause] - 1 - before
    scaled = np.clip(lengths[pause] - LONGEST * before - after, 1, LONGEST)
    stretched = ids.copy()
    stretched[rows, places] = TIME_SHIFT.start - 1 + scaled
    return stretched


def _sums(values: Ids, first: Ids) -> Ids:
    """The sums of `values` (P,) up to each, begun anew where its `first` (P,) lies."""
    sums = values.cumsum()
    return sums - (sums - values)[first]
