"""Piano music as MIDI events: keys down, keys up, velocities and steps of time."""

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
UNCLOSED = 5 * STEPS_PER_SECOND  # the longest that a note rings whose key never comes up


class MidiTokenizer:
    """Piano performances <-> the events of Performance RNN and Music Transformer, by miditok's MIDILike.

    388 events and PAD: PAD, 128 keys down, 128 keys up, 32 velocities (each follows its key down) and
    100 time shifts of 10 ms to 1 s, chained where the pause is longer. Sources: Oore et al., "This Time
    with Feeling" (arXiv 1808.03715); Huang et al., "Music Transformer" (arXiv 1809.04281).
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
        # (V,) each: what an id says, -1 where it says nothing of the kind.
        self._down, self._up, self._velocity = (
            np.array([int(value) if kind == wanted else -1 for kind, value in names])
            for wanted in ("NoteOn", "NoteOff", "Velocity")
        )
        self._steps = np.array([_steps(value) if kind == "TimeShift" else 0 for kind, value in names])

    @property
    def vocab_size(self) -> int:
        """The number of ids, PAD included."""
        return len(self._steps)

    @property
    def start(self) -> Tensor:
        """The ids that stand before a piece, (1,): PAD."""
        return torch.tensor([PAD])

    def encode(self, source: Path | str | Score) -> Tensor:
        """Return the ids (T,) of a MIDI file or a score, without PAD.

        What is heard is kept, in true seconds: tempo changes and the sustain pedal are worked in, all
        tracks but drums become one piano. Onsets move by 5 ms at most, velocities by 2. No note is lost;
        strikes of one key that round to the same 10 ms are one strike.

        Raises:
            InputError: the file is missing or no MIDI file, or holds no pitched notes (see `perform`).
        """
        if isinstance(source, Path | str):
            performance = perform(read_midi(Path(source)), name=str(source))
        else:
            performance = perform(source)
        return torch.tensor(self._events.encode(performance)[0].ids)

    def decode(self, ids: Tensor) -> ScoreTick:
        """Return the score that `ids` (T,) play: one piano track, 100 ticks a second, no pedal.

        Every sequence of ids is music: PAD is skipped; a key down without its velocity is struck mezzo
        forte; a key up that is up already, and a velocity on its own, mean nothing; a key struck again
        ends its note; a key that never comes up ends with the piece, after 5 seconds at the latest.
        `decode(encode(x))` is `x` as performed, note by note, up to the bins of the velocities.

        Raises:
            InputError: `ids` is not 1-D whole numbers from 0 to `vocab_size` - 1.
        """
        check_ids(ids, self.vocab_size)
        events = ids.detach().cpu().numpy().astype(np.int64)
        events = events[events != PAD]
        time = np.cumsum(self._steps[events])  # (T,) when each event happens
        length = time[-1:].sum()
        velocity = self._velocity[np.append(events[1:], PAD)[: len(events)]]  # (T,) what the next event says
        keys = np.maximum(self._down[events], self._up[events])
        order = np.argsort(keys, kind="stable")  # the life of each key in turn
        order = order[keys[order] >= 0]
        events, keys, time, velocity = events[order], keys[order], time[order], velocity[order]
        rings_until = np.minimum(time + UNCLOSED, length)
        end = np.where(keys == np.append(keys[1:], -1), np.append(time[1:], 0), rings_until)
        velocity = np.where(velocity < 0, DEFAULT_VELOCITY, velocity)
        down = self._down[events] >= 0
        return piano_score(time[down], end[down], keys[down], velocity[down])

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: enough to tell whether other ids would mean other events."""
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
        """Rebuild from what `to_dict` returned. InputError: made with another vocabulary."""
        tokenizer = cls()
        for key, expected in tokenizer.to_dict().items():
            if data.get(key) != expected:
                raise InputError(f"MIDI tokenizer: {key} is {data.get(key)!r}, this version has {expected!r}")
        return tokenizer


def write_midi(path: Path | str, score: Score) -> None:
    """Write `score` as a Standard MIDI File, atomically."""
    with atomic_path(Path(path)) as partial:
        partial.write_bytes(in_ticks(score).dumps_midi())


def _steps(time_shift: str) -> int:
    """Steps of 10 ms that miditok's "beats.positions.resolution" stands for."""
    beats, positions, resolution = map(int, time_shift.split("."))
    return (beats * resolution + positions) * STEPS_PER_BEAT // resolution
