"""Reads MIDI files and converts scores to one piano track in real time, on a 10 ms grid, without pedal."""

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
from waveletgpt.tokenizers.piano.keys import sounding_notes
from waveletgpt.tokenizers.piano.pedal import SUSTAIN, held_ends
from waveletgpt.tokenizers.piano.smf import MidiFile, parse

STEPS_PER_SECOND = 100
STEPS_PER_BEAT = 50  # a constant 120 beats a minute
SMPTE = 1 << 15  # lowest division that means parts of a frame
FIRST_BYTES = b"MThd"
MAX_BYTES = 1 << 22  # ten times the largest performance in MAESTRO
MAX_NOTES = 1 << 17  # five times the notes of the longest; they take six seconds to encode
MAX_HOURS = 24

Score = ScoreTick | ScoreQuarter | ScoreSecond
Array = NDArray[np.int64]


def read_midi(path: Path) -> ScoreTick:
    """Read a Standard MIDI File as one piano track. See `read_notes` for what is kept, and for errors."""
    return piano_score(*read_notes(path))


def read_notes(path: Path) -> Array:
    """Read the notes of a Standard MIDI File, with times in seconds rounded to 10 ms.

    All channels except drums become one piano. The sustain pedal of each channel is applied to its notes. Other
    controllers, bends and programs are dropped.

    Returns:
        (4, N), N > 0: onset and end in steps of 10 ms, pitch, velocity.

    Raises:
        InputError: the file is missing, unreadable, damaged or too large. Or it has separate patterns, no time base, no
            notes, only drums, or more than 24 hours.
    """
    file = _parsed(path)
    if file.format > 1:
        raise InputError(f"{path}: its tracks are separate patterns (format {file.format}); give format 0 or 1")
    if file.division >= SMPTE:
        raise InputError(f"{path}: its times are in SMPTE frames; give a file with ticks per quarter note")
    n_notes = int(file.struck.sum())
    if n_notes > MAX_NOTES:
        raise InputError(f"{path}: has {n_notes:,} notes, more than {MAX_NOTES:,}; give a single performance")
    notes = sounding_notes(file)
    if not notes.size:
        raise InputError(_without_pitches(path, only_drums=n_notes > 0))
    return _in_steps(notes, file.division, file.tempo_tick, file.tempo, str(path))


def perform(score: Score, name: str = "the score") -> ScoreTick:
    """Merge all tracks except drums into one piano track, with times in seconds rounded to 10 ms.

    Each track's sustain pedal is applied to its notes: a score has no channels. Other controllers, bends and programs
    are dropped. Onsets move by 5 ms at most.

    Args:
        score: any score.
        name: what error messages call it.

    Returns:
        The score that `piano_score` builds.

    Raises:
        InputError: no notes, only drums, no time base, times before the start, or more than 24 hours.
    """
    score = in_ticks(score)
    tracks = [track for track in score.tracks if len(track.notes)]
    pitched = [track for track in tracks if not track.is_drum]
    if not pitched:
        raise InputError(_without_pitches(name, only_drums=bool(tracks)))
    notes = np.concatenate([_track_notes(track) for track in pitched], axis=1)
    if notes[0].min() < 0:
        raise InputError(f"{name}: a note starts before the beginning; times must fit in 31 bits")
    tempos = score.tempos.numpy()
    order = np.argsort(tempos["time"], kind="stable")
    tempo_tick, tempo = (tempos[column][order].astype(np.int64) for column in ("time", "mspq"))
    return piano_score(*_in_steps(notes, score.ticks_per_quarter, tempo_tick, tempo, name))


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


def _parsed(path: Path) -> MidiFile:
    try:
        with path.open("rb") as stream:
            data = stream.read(len(FIRST_BYTES))
            data += stream.read(MAX_BYTES) if data == FIRST_BYTES else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a MIDI file") from None
    if not data.startswith(FIRST_BYTES):
        raise InputError(f"{path}: not a MIDI file (a MIDI file begins with MThd)")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MB; give a single performance")
    try:
        return parse(data)
    except ValueError as error:
        raise InputError(f"{path}: a damaged MIDI file ({error})") from None


def _without_pitches(name: Path | str, *, only_drums: bool) -> str:
    return f"{name}: {'only drums' if only_drums else 'no notes'}; give music with pitched notes"


def _track_notes(track: TrackTick) -> Array:
    """Onset, end, pitch and velocity of a track's notes, (4, N), with its pedal applied. Times are in ticks."""
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    controls = track.controls.numpy()
    sustain = controls["number"] == SUSTAIN
    end = held_ends(
        notes["time"] + notes["duration"],
        controls["time"][sustain].astype(np.int64),
        controls["value"][sustain].astype(np.int64),
    )
    return np.stack([notes["time"], end, notes["pitch"], notes["velocity"]])


def _in_steps(notes: Array, ticks_per_quarter: int, tempo_tick: Array, tempo: Array, name: str) -> Array:
    """`notes` (4, N) with onset and end in steps of 10 ms instead of ticks.

    Args:
        notes: onset, end, pitch, velocity.
        ticks_per_quarter: of the ticks.
        tempo_tick: (M,) times of changes of tempo, ascending.
        tempo: (M,) microseconds per quarter note from each change on. It is 500,000 before the first one.
        name: what error messages call the music.

    Raises:
        InputError: no time base, or more than 24 hours.
    """
    if ticks_per_quarter <= 0:
        raise InputError(f"{name}: no ticks per quarter note, so its times have no meaning")
    ticks, sounds = np.split(notes, 2)
    times, speeds = np.append(0, tempo_tick), np.append(500_000, tempo)
    elapsed = np.append(0, np.cumsum(np.diff(times) * speeds[:-1]))
    current = np.searchsorted(times, ticks, side="right") - 1
    total = elapsed[current] + (ticks - times[current]) * speeds[current]  # whole numbers, so that nothing drifts
    seconds = total / (ticks_per_quarter * 1e6)
    if seconds.max() > MAX_HOURS * 3600:
        raise InputError(f"{name}: lasts {seconds.max() / 3600:.0f} hours; at most {MAX_HOURS} are accepted")
    return np.concatenate([np.rint(seconds * STEPS_PER_SECOND).astype(np.int64), sounds])
