"""MIDI files: built event by event, whole or damaged."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from damage import damaged
from promises import check, check_refusal

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer, write_midi
from waveletgpt.tokenizers.piano.performance import read_midi

DRUMS = 9
CONTROLLERS = (1, 7, 64, 64, 64, 66, 120, 121, 123, 127)


@dataclass
class Built:
    """A MIDI file, and what must be heard when it is whole."""

    data: bytes
    strikes: list[tuple[int, int]] = field(default_factory=list)
    """Tick and pitch of each strike that is no drum."""
    seconds_per_tick: float = 0.0


def build(random: Random) -> Built:
    """A file of one to four tracks with notes, pedals, other events, running status, and one tempo."""
    division, tempo = random.choice((24, 96, 480, 960)), random.choice((250_000, 500_000, 1_234_567))
    n_tracks = random.choice((1, 1, 2, 4))
    built = Built(b"", seconds_per_tick=tempo / 1e6 / division)
    tracks = [_track(random, built, b"\xff\x51\x03" + tempo.to_bytes(3) if not i else b"") for i in range(n_tracks)]
    header = b"MThd" + (6).to_bytes(4) + bytes([0, int(n_tracks > 1), 0, n_tracks]) + division.to_bytes(2)
    built.data = header + b"".join(tracks)
    return built


def _track(random: Random, built: Built, first: bytes) -> bytes:
    events: list[tuple[int, bytes]] = [(0, first)] if first else []
    for _ in range(random.randrange(30)):
        tick, channel = random.randrange(4000), random.choice((0, 0, 0, 1, DRUMS, 15))
        pitch, velocity = random.choice((0, 60, 61, 64, 127, random.randrange(128))), random.randrange(1, 128)
        match random.randrange(8):
            case 0:
                number = random.choice(CONTROLLERS)
                events.append((tick, bytes([0xB0 | channel, number, random.choice((0, 63, 64, 127))])))
            case 1:
                events.append((tick, bytes([0xC0 | channel, pitch])))
            case 2:
                text = random.randbytes(random.choice((0, 3, 200)))
                events.append(
                    (tick, bytes([*random.choice(((0xFF, 1), (0xFF, 0x7F), (0xF0,)))]) + _vlq(len(text)) + text)
                )
            case _:
                if channel != DRUMS:
                    built.strikes.append((tick, pitch))
                events.append((tick, bytes([0x90 | channel, pitch, velocity])))
                if random.random() < 0.9:
                    off = (
                        bytes([0x80 | channel, pitch, 64])
                        if random.random() < 0.5
                        else bytes([0x90 | channel, pitch, 0])
                    )
                    events.append((tick + random.randrange(1, 2000), off))
    body, before, status, running = b"", 0, -1, random.random() < 0.5
    for tick, event in [*sorted(events), (6001, b"\xff\x2f\0")]:
        omitted = running and event[0] == status and status < 0xF0
        body += _vlq(tick - before) + event[omitted:]
        before, status = tick, event[0]
    return b"MTrk" + len(body).to_bytes(4) + body


def _vlq(number: int) -> bytes:
    """A variable-length quantity."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(reversed(digits))


def spoiled(data: bytes, random: Random) -> bytes:
    """A damaged file. Half of the time the lengths of its first track are right, so that the events are read."""
    if random.random() < 0.5:
        return damaged(data, random)
    header, track = data[:14], damaged(data[22:], random)
    return (damaged(header, random) if random.random() < 0.1 else header) + b"MTrk" + len(track).to_bytes(4) + track


class Kind:
    """Reads MIDI files as tokenizer, app and training do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tokenizer = folder, MidiTokenizer()

    def run(self, random: Random) -> str:
        """Build, damage, read and check one file."""
        built, whole = build(random), random.random() < 0.2
        path = self.folder / "piece.mid"
        path.write_bytes(built.data if whole else spoiled(built.data, random))
        try:
            score = read_midi(path)
        except InputError as error:
            check_refusal(str(error).removeprefix(f"{path}: "), str(self.folder))
            check(not whole or not built.strikes, f"a whole file is refused: {error}")
            return "refused"
        notes = score.tracks[0].notes.numpy()
        start, duration, pitch, velocity = (
            notes[name].astype(int) for name in ("time", "duration", "pitch", "velocity")
        )
        check(len(start), "no notes")
        check(start.min() >= 0 and duration.min() > 0 and (start + duration).max() <= 24 * 360_000 + 1, "times")
        check(pitch.min() >= 0 and pitch.max() < 128 and velocity.min() > 0 and velocity.max() < 128, "bytes")
        order = np.lexsort((start, pitch))
        same = np.diff(pitch[order]) == 0
        check(
            np.all((start + duration)[order][:-1][same] <= start[order][1:][same]), "a key is struck while it is down"
        )
        if whole:
            self._check_strikes(built, {*zip(start.tolist(), pitch.tolist(), strict=True)})
        self._check_round_trip(score, random)
        return "read"

    def _check_strikes(self, built: Built, heard: set[tuple[int, int]]) -> None:
        """Check that every strike is heard within 10 ms, and nothing else."""
        struck = {(round(tick * built.seconds_per_tick * 100), pitch) for tick, pitch in built.strikes}
        for some, others in ((struck, heard), (heard, struck)):
            lost = [one for one in some if not {(one[0] + near, one[1]) for near in (-1, 0, 1)} & others]
            check(not lost, f"struck or heard only: {lost}")

    def _check_round_trip(self, score: object, random: Random) -> None:
        """Check that ids, and a written file, give the same notes. Velocities are rounded."""
        last = int((score.tracks[0].notes.numpy()["time"]).max())  # type: ignore[attr-defined]
        if last > 100_000:  # a quarter of an hour: pauses of a second each
            return
        ids = self.tokenizer.encode(score)  # type: ignore[arg-type]
        decoded = self.tokenizer.decode(ids)
        target = self.folder / "again.mid"
        write_midi(target, decoded)
        for again in (decoded, read_midi(target)):
            for name in ("time", "duration", "pitch"):
                one, other = (s.tracks[0].notes.numpy()[name] for s in (score, again))  # type: ignore[attr-defined]
                check(np.array_equal(one, other), f"the round trip changes {name}")
