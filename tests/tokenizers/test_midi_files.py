"""MIDI files of every kind: read as they are meant, or refused in one line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.piano import performance
from waveletgpt.tokenizers.piano.keys import sounding_notes
from waveletgpt.tokenizers.piano.performance import read_midi
from waveletgpt.tokenizers.piano.smf import parse

Event = tuple[int, bytes]  # absolute tick, the event without its delta time
Note = tuple[int, int, int, int]  # onset and end in steps of 10 ms (or in ticks), pitch, velocity
HALF = 480  # ticks in half a second
END = b"\xff\x2f\x00"


def on(channel: int, pitch: int, velocity: int = 80) -> bytes:
    return bytes((0x90 | channel, pitch, velocity))


def off(channel: int, pitch: int) -> bytes:
    return bytes((0x80 | channel, pitch, 64))


def control(channel: int, number: int, value: int = 0) -> bytes:
    return bytes((0xB0 | channel, number, value))


def pedal(channel: int, value: int) -> bytes:
    return control(channel, 64, value)


def number(value: int) -> bytes:
    """A variable-length quantity."""
    digits = [value & 127]
    while value := value >> 7:
        digits.insert(0, value & 127 | 128)
    return bytes(digits)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "big") + body


def track(*events: Event, end: bytes = END) -> bytes:
    """An MTrk chunk. The end of the track has the time of its last event."""
    body, now = b"", 0
    for tick, event in events:
        body += number(tick - now) + event
        now = tick
    return chunk(b"MTrk", body + (b"\x00" + end if end else b""))


def smf(*tracks: bytes, kind: int = 1, division: int = 480, n_tracks: int | None = None, more: bytes = b"") -> bytes:
    fields = (kind, len(tracks) if n_tracks is None else n_tracks, division)
    return chunk(b"MThd", b"".join(field.to_bytes(2, "big") for field in fields) + more) + b"".join(tracks)


A_NOTE = (0, on(0, 60)), (HALF, off(0, 60))
TEXT = b"\xff\x01\x01x"  # an event without meaning, for a time after the last note


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "piece.mid"


def read(path: Path, data: bytes) -> list[Note]:
    path.write_bytes(data)
    return [(note.time, note.end, note.pitch, note.velocity) for note in read_midi(path).tracks[0].notes]


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        read_midi(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


# Bytes


@pytest.mark.parametrize(
    "event",
    [
        on(15, 128),
        on(0, 60, 200),
        bytes((0x80, 60, 128)),
        bytes((0xA0, 60, 255)),
        bytes((0xB0, 130, 1)),
        bytes((0xC0, 128)),
        bytes((0xD0, 200)),
        bytes((0xE0, 0, 128)),
    ],
)
def test_a_data_byte_above_127_is_damage(file: Path, event: bytes) -> None:
    assert f"a data byte of {max(event[1:])}, above 127, in track 1" in refusal(
        file, smf(track(*A_NOTE, (HALF, event)))
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (smf(chunk(b"MTrk", b"\x81\x80\x80\x80\x00" + on(0, 60) + b"\x00" + END)), "a time or length of more than 4"),
        (smf(chunk(b"MTrk", b"\x00\x3c\x50" + b"\x00" + END)), "data before the first status byte"),
        (smf(track(*A_NOTE, (HALF, b"\xf8"))), "a status byte F8"),
        (smf(track(*A_NOTE, (HALF, b"\xf4\x01\x01"))), "a status byte F4"),
        (smf(track(*A_NOTE, (HALF, b"\xff\x80\x00"))), "a meta event 80"),
        (smf(track(*A_NOTE, (HALF, b"\xff\x51\x02\x07\xa1"))), "a meta event 51 of 2 bytes instead of 3"),
        (smf(track(*A_NOTE, (HALF, b"\xff\x01\x7fshort"))), "track 1 ends in the middle of an event"),
        (smf(track(*A_NOTE), chunk(b"MTrk", b"\x00\x90\x3c")), "track 2 ends in the middle of an event"),
        (
            smf(track((0, b"\xff\x51\x03\x00\x00\x00"), *A_NOTE)),
            "a tempo of 0 microseconds per quarter note in track 1",
        ),
        (smf(track(*A_NOTE), n_tracks=2), "it has 1 of its 2 tracks"),
        (smf(track(*A_NOTE))[:-1], "it ends in the middle of a track"),
        (b"MThd", "it has no header"),
        (chunk(b"MThd", b"\x00\x01\x00\x01") + track(*A_NOTE), "it has no header"),
    ],
)
def test_damage_is_named(file: Path, data: bytes, says: str) -> None:
    message = refusal(file, data)
    assert message.startswith("a damaged MIDI file (") and says in message


def test_separate_patterns_and_frames_are_refused(file: Path) -> None:
    assert (
        refusal(file, smf(track(*A_NOTE), kind=2)) == "its tracks are separate patterns (format 2); give format 0 or 1"
    )
    assert "SMPTE" in refusal(file, smf(track(*A_NOTE), division=0xE728))


@pytest.mark.parametrize(
    "data",
    [
        smf(track(*A_NOTE), more=b"\x00\x00"),
        smf(track(*A_NOTE)) + b"made with love, and a text after the last track",
        smf(track(*A_NOTE)) + b"?",
        smf(chunk(b"XFIH", b"not a track"), track(*A_NOTE), n_tracks=1),
        smf(track(*A_NOTE, end=b"")),
        smf(track((0, b"\xf7\x03\xf3\x01\x80"), *A_NOTE)),
        smf(track((0, b"\xf0\x03\x7e\x00\xf7"), *A_NOTE)),
        smf(track((0, on(0, 60)), (0, TEXT), (HALF, b"\x3c\x00"))),  # running status, velocity 0
        smf(track((0, on(0, 60)), (0, b"\xf0\x01\xf7"), (HALF, b"\x3c\x00"))),
        smf(track((0, b"\xc0\x05"), (0, b"\xd0\x05"), *A_NOTE)),
        smf(track(*A_NOTE, (HALF, END), (HALF, on(0, 99)))),
    ],
)
def test_unusual_files_are_read(file: Path, data: bytes) -> None:
    assert read(file, data) == [(0, 50, 60, 80)]


def test_long_times_do_not_overflow(file: Path) -> None:
    longest = 0x0FFFFFFF
    late = [(longest * i, TEXT) for i in range(1, 21)]
    onset = 20 * longest
    data = smf(track(*late, (onset, on(0, 60)), (onset + 32767, off(0, 60))), division=32767)
    assert read(file, data) == [(round(onset / 32767 * 50), round(onset / 32767 * 50) + 50, 60, 80)]
    assert "lasts 745654 hours; at most 24" in refusal(file, smf(track(*late, (onset, on(0, 60))), division=1))
    slowest = b"\xff\x51\x03\xff\xff\xff"
    data = smf(track((0, slowest), *((longest * i, TEXT) for i in range(1, 2100)), (2100 * longest, on(0, 60))))
    assert "a time of 550" in refusal(file, data)


def test_tempos_count_in_all_tracks(file: Path) -> None:
    late, early = (
        track((tick, b"\xff\x51\x03" + tempo.to_bytes(3, "big"))) for tick, tempo in ((960, 10**6), (480, 250_000))
    )
    assert read(file, smf(late, early, track((0, on(0, 60)), (1440, off(0, 60))))) == [(0, 50 + 25 + 100, 60, 80)]


def test_too_much_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance, "MAX_NOTES", 1)
    assert read(file, smf(track(*A_NOTE)))
    assert "has 2 notes, more than 1; give a single" in refusal(file, smf(track(*A_NOTE), track(*A_NOTE)))
    monkeypatch.setattr(performance, "MAX_BYTES", 30)
    assert "larger than 0 MB" in refusal(file, smf(track(*A_NOTE)))


# Keys and pedals


def test_the_pedal_acts_on_its_channel_in_all_tracks(file: Path) -> None:
    keys = track((0, on(0, 60)), (240, off(0, 60)), (0 + 240, on(1, 64)), (480, off(1, 64)), (1200, TEXT))
    pedals = track((0, pedal(0, 127)), (960, pedal(0, 0)))
    expected = [(0, 100, 60, 80), (25, 50, 64, 80)]
    assert read(file, smf(keys, pedals)) == expected
    assert read(file, smf(pedals, keys)) == expected


def test_the_pedal_survives_a_program_change(file: Path) -> None:
    data = smf(
        track((0, pedal(3, 127)), (0, b"\xc3\x05"), (0, on(3, 60)), (240, off(3, 60)), (960, pedal(3, 0))), kind=0
    )
    assert read(file, data) == [(0, 100, 60, 80)]


def test_drums_and_their_pedal_are_left_out(file: Path) -> None:
    drums = track((0, on(9, 36)), (0, pedal(9, 127)), (960, off(9, 36)))
    assert read(file, smf(track(*A_NOTE), drums)) == [(0, 50, 60, 80)]
    assert "only drums" in refusal(file, smf(drums))
    assert "no notes" in refusal(file, smf(track((0, pedal(0, 127)))))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(0, on(0, 60)), (HALF, off(0, 60)), (HALF, on(0, 64)), (960, TEXT)], [(0, 50, 60), (50, 100, 64)]),
        ([(0, on(0, 60)), (480, on(0, 60)), (960, off(0, 60)), (1440, TEXT)], [(0, 50, 60), (50, 100, 60)]),
        ([(0, on(0, 60)), (0, on(0, 60)), (480, off(0, 60)), (1440, TEXT)], [(0, 50, 60)]),
        (
            [(0, on(0, 60)), (480, on(0, 60)), (960, off(0, 60)), (1440, on(0, 60)), (1920, off(0, 60)), (9600, TEXT)],
            [(0, 50, 60), (50, 100, 60), (150, 200, 60)],
        ),
        # A release that stands after the next strike at its time ends the strike before.
        ([(0, on(0, 60)), (480, on(0, 60)), (480, off(0, 60)), (960, off(0, 60))], [(0, 50, 60), (50, 100, 60)]),
        ([(0, off(0, 60)), (0, on(0, 60)), (480, off(0, 60)), (960, off(0, 60))], [(0, 50, 60)]),
        ([(0, on(0, 60)), (480, control(0, 123)), (960, on(0, 67)), (1440, TEXT)], [(0, 50, 60), (100, 150, 67)]),
        ([(0, on(0, 60)), (480, control(0, 127)), (960, off(0, 60))], [(0, 50, 60)]),
        ([(0, on(0, 60)), (480, control(1, 123)), (960, off(0, 60))], [(0, 100, 60)]),
        ([(0, on(0, 60)), (480, control(0, 120)), (960, off(0, 60))], [(0, 50, 60)]),
        # A release of what was silenced is none of the next strike.
        (
            [(0, on(0, 60)), (480, control(0, 120)), (960, on(0, 60)), (1440, off(0, 60)), (1920, off(0, 60))],
            [(0, 50, 60), (100, 150, 60)],
        ),
        ([(0, pedal(0, 127)), (0, on(0, 60)), (480, control(0, 123)), (960, pedal(0, 0))], [(0, 100, 60)]),
        ([(0, pedal(0, 127)), (0, on(0, 60)), (480, control(0, 120)), (960, pedal(0, 0))], [(0, 50, 60)]),
        ([(0, pedal(0, 127)), (0, on(0, 60)), (240, off(0, 60)), (480, control(0, 121)), (960, TEXT)], [(0, 50, 60)]),
        ([(0, control(0, 123)), (0, on(0, 60)), (480, off(0, 60))], [(0, 50, 60)]),
    ],
)
def test_when_notes_end(file: Path, events: list[Event], expected: list[tuple[int, int, int]]) -> None:
    assert read(file, smf(track(*events))) == [(*note, 80) for note in expected]


def test_all_notes_off_acts_on_its_channel_in_all_tracks(file: Path) -> None:
    data = smf(track((0, on(2, 60)), (1440, control(2, 123)), (1920, TEXT)), track((960, control(2, 123))))
    assert read(file, data) == [(0, 100, 60, 80)]


def reference(tracks: list[list[Event]]) -> list[Note]:
    """The notes in ticks, message by message, each channel and key for itself."""
    notes: list[Note] = []
    for channel in (0, 1):
        mine = [[(t, e) for t, e in events if e[0] & 15 == channel] for events in tracks]
        controls = sorted(
            ((t, e) for events in mine for t, e in events if e[0] >> 4 == 0xB), key=lambda event: event[0]
        )
        silent = [t for t, e in controls if e[1] in (120, 123)]
        closed: list[Note] = []
        for events, whole in zip(mine, tracks, strict=True):
            for pitch in (60, 61):
                for start, stop in zip([-1, *silent], [*silent, 1 << 60], strict=True):
                    left = [
                        (t, e[2] if e[0] >> 4 == 9 else 0)
                        for t, e in events
                        if e[0] >> 4 in (8, 9) and e[1] == pitch and (start <= t < stop)
                    ]
                    closed += note_ends(left, min(stop, whole[-1][0]), pitch)
        last = max([end for _, end, _, _ in closed] + [t for t, e in controls if e[1] in (64, 121)], default=0)
        for onset, end, pitch, velocity in closed:
            down = [e[2] >= 64 and e[1] == 64 for t, e in controls if e[1] in (64, 121) and t <= end]
            ups = [t for t, e in controls if (e[1] == 121 or (e[1] == 64 and e[2] < 64)) and t > end]
            held = min([*ups, last]) if down and down[-1] else end
            notes.append((onset, min([held, *(t for t, e in controls if e[1] == 120 and t > onset)]), pitch, velocity))
    return sorted(notes)


def note_ends(events: list[tuple[int, int]], latest: int, pitch: int) -> list[Note]:
    """The notes of a key whose strikes (with velocity) and releases (0) are `events`: remove pairs from inside out."""
    left, pairs = list(events), []
    while found := [i for i in range(len(left) - 1) if left[i][1] and not left[i + 1][1]]:
        pairs.append((left.pop(found[0]), left.pop(found[0])))
    strikes = sorted((strike for strike, _ in pairs), key=events.index)
    releases = sorted((release for _, release in pairs), key=events.index)
    notes = [(t, release[0], pitch, velocity) for (t, velocity), release in zip(strikes, releases, strict=True)]
    for t, velocity in (event for event in left if event[1]):
        again = [u for u, v in events[events.index((t, velocity)) + 1 :] if v]
        notes.append((t, min([latest, *again[:1]]), pitch, velocity))
    return notes


messages = st.one_of(
    st.builds(on, st.integers(0, 1), st.integers(60, 61), st.integers(1, 127)),
    st.builds(off, st.integers(0, 1), st.integers(60, 61)),
    st.builds(control, st.integers(0, 1), st.sampled_from([64, 64, 64, 1]), st.sampled_from([0, 63, 64, 127])),
    st.builds(control, st.integers(0, 1), st.sampled_from([120, 121, 123])),
    st.sampled_from([b"\xc0\x05", b"\xe0\x00\x40", b"\x99\x24\x40"]),
)
tracks = st.lists(
    st.lists(st.tuples(st.integers(1, 5), messages), min_size=1, max_size=20).map(
        lambda events: [(sum(gap for gap, _ in events[: i + 1]), event) for i, (_, event) in enumerate(events)]
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=150)
@given(tracks)
def test_notes_are_those_of_a_slow_reference(tracks: list[list[Event]]) -> None:
    notes = sounding_notes(parse(smf(*(track(*events) for events in tracks))))
    assert sorted(map(tuple, notes.T.tolist())) == reference(tracks)
    assert notes.shape[1] == sum(e[0] in (0x90, 0x91) for events in tracks for _, e in events)  # no strike is lost
