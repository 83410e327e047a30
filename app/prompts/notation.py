"""A readable notation for the first bars of a piece, and how they are played.

A voice is a line of notes such as `E5:1/4 D#5 | A4:1 C4+E4+A4 r`: a pitch, a chord or a rest `r`, each with its length
in quarter notes. Without a length, a note is as long as the one before it. Bar lines are `|`. A line for the pedal has
`P` where it is down.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from symusic.core import ControlChangeTick, NoteTick, ScoreTick, TempoTick, TrackTick

from waveletgpt.app.prompts.example import Example

TICKS = 480  # per quarter note
SUSTAIN = 64  # MIDI controller of the pedal
AFTER = 30  # ticks from a chord to the pedal that holds it, so that the chord before it ends
ACCENT = 5  # velocity that the first note of a bar has more
SWELL = 8  # velocity that the middle of the excerpt has more than its ends
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "b": -1}


class Voice(NamedTuple):
    """One line of notes."""

    velocity: int
    """MIDI velocity of the softest notes."""
    notes: str


@dataclass(frozen=True)
class Piece(Example):
    """The first bars of a piece."""

    tempo: float
    """Quarter notes a minute."""
    voices: tuple[Voice, ...]
    pedal: str = ""
    """Where the pedal is down. It is lifted for a moment between one `P` and the next."""
    legato: float = 0.97
    """How much of its length a key stays down."""

    @property
    def seconds(self) -> float:
        """Length as it is written."""
        return float(max(map(beats, self.voices))) * 60 / self.tempo


class Event(NamedTuple):
    """A note, a chord, a rest or a pedal."""

    name: str
    onset: Fraction
    """In quarter notes, as `length`."""
    length: Fraction
    bar: int


def events(notes: str) -> Iterator[Event]:
    """Read a line of notation."""
    onset, length, bar = Fraction(0), Fraction(1), 0
    for word in notes.replace("|", " | ").split():
        if word == "|":
            bar += 1
            continue
        name, _, written = word.partition(":")
        length = Fraction(written) if written else length
        yield Event(name, onset, length, bar)
        onset += length


def beats(voice: Voice) -> Fraction:
    """Length of a voice in quarter notes."""
    return sum((event.length for event in events(voice.notes)), Fraction(0))


def pitch(name: str) -> int:
    """MIDI number of a pitch such as C4 (60), F#3 or Bb2. Raises ValueError for anything else."""
    parts = re.fullmatch("([A-G])([#b]?)([0-8])", name)
    if parts is None:
        raise ValueError(f"{name!r} is not a pitch; one is written as C4, F#3 or Bb2")
    letter, accidental, octave = parts.groups()
    return 12 * (int(octave) + 1) + SEMITONES[letter] + ACCIDENTALS[accidental]


def play(piece: Piece) -> ScoreTick:
    """A performance of `piece`: the first note of a bar is accented, and the loudness swells towards the middle."""
    score, track = ScoreTick(TICKS), TrackTick("Piano")
    score.tempos.append(TempoTick(0, piece.tempo))
    total = max(map(beats, piece.voices))
    for voice in piece.voices:
        bar = -1
        for event in events(voice.notes):
            swell = SWELL * math.sin(math.pi * event.onset / total)
            velocity = round(voice.velocity + swell + (ACCENT if event.bar != bar else 0))
            bar = event.bar
            last = event.onset + event.length == total  # its keys stay down, so that the model continues a sound
            held = event.length * TICKS * (1 if last else piece.legato)
            for name in event.name.split("+") if event.name != "r" else ():
                track.notes.append(NoteTick(int(event.onset * TICKS), round(held), pitch(name), velocity))
    for event in events(piece.pedal):
        if event.name == "P":
            begin, end = int(event.onset * TICKS), int((event.onset + event.length) * TICKS)
            track.controls.append(ControlChangeTick(begin + AFTER, SUSTAIN, 127))
            track.controls.append(ControlChangeTick(end, SUSTAIN, 0))
    score.tracks.append(track)
    return score
