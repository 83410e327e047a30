"""Tokenizer for piano music: MIDI events (key down, key up, velocity, time shift)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from miditok import MIDILike, TokenizerConfig
from symusic.core import ScoreTick
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.files import atomic_path
from waveletgpt.tokenizers.piano.performance import (
    STEPS_PER_BEAT,
    STEPS_PER_SECOND,
    Score,
    in_ticks,
    perform,
    piano_score,
    read_midi,
)
from waveletgpt.tokenizers.registry import check_ids

PAD = 0
NUM_VELOCITIES = 32
DEFAULT_VELOCITY = 63
NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
UNCLOSED = 5 * STEPS_PER_SECOND  # longest duration of a note whose key never comes up


class MidiTokenizer:
    """Piano performances to events and back, by miditok's MIDILike.

    389 ids: PAD, 128 for keys down, 128 for keys up, 32 velocities and 100 time shifts of 10 ms to 1 s. A velocity
    follows its key down; several time shifts in a row make a longer pause. These are the events of Performance RNN
    (Oore et al., arXiv 1808.03715) and Music Transformer (Huang et al., arXiv 1809.04281).
    """

    kind: ClassVar[str] = "midi"

    def __init__(self) -> None:
        self._events = MIDILike(
            TokenizerConfig(
                pitch_range=(0, 127),
                beat_res={(0, 2): STEPS_PER_BEAT},
                num_velocities=NUM_VELOCITIES,
                special_tokens=["PAD"],
                use_chords=False,
                use_rests=False,
                use_tempos=False,
                use_time_signatures=False,
                use_programs=False,
                use_sustain_pedals=False,
                use_pitch_bends=False,
                use_pitchdrum_tokens=False,
                encode_ids_split="no",
            )
        )
        names = [name.split("_") for name in self._events.vocab]
        # (V,) each: pitch or velocity of an id, -1 for ids of another type.
        self._down, self._up, self._velocity = (
            np.array([int(value) if kind == wanted else -1 for kind, value in names])
            for wanted in ("NoteOn", "NoteOff", "Velocity")
        )
        self._steps = np.array([_steps(value) if kind == "TimeShift" else 0 for kind, value in names])

    @property
    def vocab_size(self) -> int:
        """Number of ids, PAD included."""
        return len(self._steps)

    @property
    def start(self) -> Tensor:
        """(1,), PAD, which stands before each piece."""
        return torch.tensor([PAD])

    def encode(self, source: Path | str | Score) -> Tensor:
        """Encode a MIDI file or a score.

        The ids keep what a listener hears, in real seconds. Tempo changes and the sustain pedal are applied; everything
        except drums becomes one piano. Onsets move by 5 ms at most, velocities by 2. No note is lost, but strikes of
        one key that round to the same 10 ms become one.

        Returns:
            Ids (T,), without PAD.

        Raises:
            InputError: the file or the score cannot be used (see `read_notes` and `perform`).
        """
        performance = read_midi(Path(source)) if isinstance(source, Path | str) else perform(source)
        return torch.tensor(self._events.encode(performance)[0].ids)

    def times(self, ids: Tensor) -> Tensor:
        """The time (T,) after each of `ids` (T,), in seconds."""
        check_ids(ids, self.vocab_size)
        return torch.from_numpy(np.cumsum(self._steps[ids.cpu().numpy()])) / STEPS_PER_SECOND

    def decode(self, ids: Tensor) -> ScoreTick:
        """Decode any sequence of `ids` (T,).

        * PAD is skipped. A velocity without a key down, and a key up for a key that is up, are ignored.
        * A key down without a velocity is struck mezzo forte.
        * A note ends when its key is struck again, at the end of the piece, or after 5 seconds without a key up.

        `decode(encode(x))` equals `perform(x)`, note by note, up to the rounding of velocities.

        Returns:
            A score with one piano track, 100 ticks per second, no pedal.

        Raises:
            InputError: `ids` are not 1-D whole numbers from 0 to `vocab_size` - 1.
        """
        check_ids(ids, self.vocab_size)
        events = ids.detach().cpu().numpy().astype(np.int64)
        events = events[events != PAD]
        time = np.cumsum(self._steps[events])  # (T,) time of each event
        length = time[-1:].sum()
        velocity = self._velocity[np.append(events[1:], PAD)[: len(events)]]  # (T,) velocity in the next event, or -1
        keys = np.maximum(self._down[events], self._up[events])
        order = np.argsort(keys, kind="stable")  # by key, then time
        order = order[keys[order] >= 0]
        events, keys, time, velocity = events[order], keys[order], time[order], velocity[order]
        rings_until = np.minimum(time + UNCLOSED, length)
        end = np.where(keys == np.append(keys[1:], -1), np.append(time[1:], 0), rings_until)
        velocity = np.where(velocity < 0, DEFAULT_VELOCITY, velocity)
        down = self._down[events] >= 0
        return piano_score(time[down], end[down], keys[down], velocity[down])

    def strikes(self, ids: Tensor) -> Tensor:
        """Indices (N,) of the key downs that begin the N notes of `decode(ids)`, in their order."""
        check_ids(ids, self.vocab_size)
        events = ids.cpu().numpy()
        keys = self._down[events]
        index = np.flatnonzero(keys >= 0)
        time, keys = np.cumsum(self._steps[events])[index], keys[index]
        order = np.lexsort((index, keys, time))
        first = np.flatnonzero(np.diff(time[order], prepend=-1) | np.diff(keys[order], prepend=-1))
        return torch.from_numpy(index[order][first])

    def event(self, token: int) -> str:
        """An id's name for people, such as "C4 down"."""
        if (key := max(self._down[token], self._up[token])) >= 0:
            return f"{NAMES[key % 12]}{key // 12 - 1} {'down' if self._down[token] >= 0 else 'up'}"
        if self._velocity[token] >= 0:
            return f"velocity {self._velocity[token]}"
        return f"{self._steps[token] / STEPS_PER_SECOND:g} s later" if self._steps[token] else "the piece's start"

    def to_dict(self) -> dict[str, Any]:
        """A description for `from_dict`, with a digest that identifies the events of all ids."""
        names = "\n".join(self._events.vocab)
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "steps_per_second": STEPS_PER_SECOND,
            "num_velocities": NUM_VELOCITIES,
            "events_sha256": hashlib.sha256(names.encode()).hexdigest(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`. Raises InputError if that describes another vocabulary."""
        tokenizer = cls()
        for key, expected in tokenizer.to_dict().items():
            if data.get(key) != expected:
                raise InputError(f"MIDI tokenizer: {key} is {data.get(key)!r}, this version has {expected!r}")
        return tokenizer


def write_midi(path: Path | str, score: Score, text: str = "") -> None:
    """Write `score` as a Standard MIDI File, atomically, with `text` (ASCII) as the first event of its first track."""
    data: bytes = in_ticks(score).dumps_midi()
    if text:
        event = b"\x00\xff\x01" + _variable_length(len(text)) + text.encode("ascii")
        at = data.index(b"MTrk") + 4
        size = int.from_bytes(data[at : at + 4], "big") + len(event)
        data = data[:at] + size.to_bytes(4, "big") + event + data[at + 4 :]
    with atomic_path(Path(path)) as partial:
        partial.write_bytes(data)


def _variable_length(number: int) -> bytes:
    """A number as MIDI's variable-length quantity: seven bits a byte, the highest first."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(reversed(digits))


def _steps(time_shift: str) -> int:
    """Convert miditok's "beats.positions.resolution" to steps of 10 ms."""
    beats, positions, resolution = map(int, time_shift.split("."))
    return (beats * resolution + positions) * STEPS_PER_BEAT // resolution
