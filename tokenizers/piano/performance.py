"""Reads MIDI files and converts scores to one piano track in real time, on a 10 ms grid, without pedal."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from symusic.core import (
    NoteTickList,
    ScoreQuarter,
    ScoreSecond,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano.pedal import held_ends

STEPS_PER_SECOND = 100
STEPS_PER_BEAT = 50  # a constant 120 beats a minute
MAX_HOURS = 24
FIRST_BYTES = b"MThd"
MAX_BYTES = 1 << 26  # a day of music at 70 events a second

Score = ScoreTick | ScoreQuarter | ScoreSecond
Array = NDArray[np.int64]


def read_midi(path: Path) -> ScoreTick:
    """Read a Standard MIDI File. Raises InputError if it is missing, unreadable or damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(len(FIRST_BYTES))
            data += file.read(MAX_BYTES) if data == FIRST_BYTES else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a MIDI file") from None
    if not data.startswith(FIRST_BYTES):
        raise InputError(f"{path}: not a MIDI file (a MIDI file begins with MThd)")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MB; give a single performance")
    if any(start + length > len(data) for start, length in _chunks(data)):
        raise InputError(f"{path}: a damaged MIDI file (it ends in the middle of a track)")
    try:
        return ScoreTick.from_midi(data)
    except (RuntimeError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).removeprefix("MiniMidi: ").split()).removesuffix(": iostream error")
        raise InputError(f"{path}: a damaged MIDI file ({reason})") from None


def perform(score: Score, name: str = "the score") -> ScoreTick:
    """Merge all tracks except drums into one piano track, with times in seconds rounded to 10 ms.

    Each track's sustain pedal is applied to its notes. Other controllers, bends and programs are dropped. Onsets move
    by 5 ms at most.

    Args:
        score: any score.
        name: what error messages call it.

    Returns:
        The score that `piano_score` builds.

    Raises:
        InputError: no notes, only drums, no time base, times before the start, or more than 24 hours.
    """
    if score.ticks_per_quarter <= 0:
        raise InputError(f"{name}: no ticks per quarter note, so its times have no meaning")
    score = in_ticks(score)
    tracks = [track for track in score.tracks if len(track.notes)]
    pitched = [track for track in tracks if not track.is_drum]
    if not pitched:
        raise InputError(f"{name}: {'only drums' if tracks else 'no notes'}; give music with pitched notes")
    onset, end, pitch, velocity = np.concatenate([_sounding_notes(track) for track in pitched], axis=1)
    if onset.min() < 0:
        raise InputError(f"{name}: a note starts before the beginning; times must fit in 31 bits")
    seconds = _seconds(np.stack([onset, end]), score)
    if not seconds.max() <= MAX_HOURS * 3600:
        raise InputError(f"{name}: lasts {seconds.max() / 3600:.0f} hours; at most {MAX_HOURS} are accepted")
    onset, end = np.rint(seconds * STEPS_PER_SECOND).astype(np.int64)
    return piano_score(onset, end, pitch, velocity)


def piano_score(onset: Array, end: Array, pitch: Array, velocity: Array) -> ScoreTick:
    """Build a score that one piano can play.

    Notes of equal pitch and onset become one, with the highest velocity and the longest duration. A note ends at the
    latest when its key is struck again. Each note lasts at least one step.

    Args:
        onset: (N,) in steps of 10 ms.
        end: (N,) in steps of 10 ms.
        pitch: (N,) MIDI number, 0 to 127.
        velocity: (N,) MIDI number, 0 to 127.

    Returns:
        One piano track at 120 beats per minute and 50 ticks per beat, its notes sorted by onset, then pitch.
    """
    score = ScoreTick(STEPS_PER_BEAT)
    score.tempos.append(TempoTick(0, 120.0))
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    track = TrackTick("Piano")
    if len(onset):
        order = np.lexsort((onset, pitch))
        onset, end, pitch, velocity = onset[order], end[order], pitch[order], velocity[order]
        first = np.flatnonzero(np.diff(onset, prepend=-1) | np.diff(pitch, prepend=-1))
        end, velocity = np.maximum.reduceat(end, first), np.maximum.reduceat(velocity, first)
        onset, pitch = onset[first], pitch[first]
        end = np.maximum(end, onset + 1)
        end[:-1] = np.where(pitch[1:] == pitch[:-1], np.minimum(end[:-1], onset[1:]), end[:-1])
        order = np.lexsort((pitch, onset))
        track.notes = NoteTickList.from_numpy(
            onset[order].astype(np.int32),
            (end - onset)[order].astype(np.int32),
            pitch[order].astype(np.int8),
            velocity[order].astype(np.int8),
        )
    score.tracks.append(track)
    return score


def in_ticks(score: Score) -> ScoreTick:
    """`score` with times in ticks; `score` itself if it has them."""
    return score if isinstance(score, ScoreTick) else cast(ScoreTick, score.to("tick"))


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and length of each chunk of a Standard MIDI File. symusic does not check the lengths."""
    start = 8
    while start <= len(data):
        length = int.from_bytes(data[start - 4 : start])
        yield start, length
        start += length + 8


def _sounding_notes(track: TrackTick) -> Array:
    """Onset, end, pitch and velocity of a track's notes, (4, N), with its pedal applied. Times are in ticks."""
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    controls = track.controls.numpy()
    sustain = controls["number"] == 64
    end = held_ends(
        notes["time"] + notes["duration"],
        controls["time"][sustain].astype(np.int64),
        controls["value"][sustain].astype(np.int64),
    )
    return np.stack([notes["time"], end, notes["pitch"], notes["velocity"]])


def _seconds(ticks: Array, score: ScoreTick) -> NDArray[np.float64]:
    """Convert ticks to seconds by the tempo map. Integers up to the last division avoid drift."""
    tempos = score.tempos.numpy()
    order = np.argsort(tempos["time"], kind="stable")
    times = np.concatenate([[0], tempos["time"][order]]).astype(np.int64)
    microseconds = np.concatenate([[500_000], tempos["mspq"][order]]).astype(np.int64)  # per quarter note
    elapsed = np.concatenate([[0], np.cumsum(np.diff(times) * microseconds[:-1])])
    tempo = np.searchsorted(times, ticks, side="right") - 1
    total = elapsed[tempo] + (ticks - times[tempo]) * microseconds[tempo]
    return np.asarray(total / (score.ticks_per_quarter * 1e6), np.float64)
