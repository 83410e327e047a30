import json
import struct
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from miditok import MIDILike, TokenizerConfig
from symusic.core import ControlChangeTick, NoteTick, ScoreTick, TempoTick, TrackTick

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import DEFAULT_VELOCITY, PAD, UNCLOSED, MidiTokenizer, write_midi

tokenizer = MidiTokenizer()
Note = tuple[int, int, int, int]  # onset, duration, pitch, velocity


def piece(*notes: Note, tpq: int = 50, pedal: tuple[tuple[int, int], ...] = (), drums: bool = False) -> ScoreTick:
    score = ScoreTick(tpq)
    track = TrackTick("", 0, drums)
    for note in notes:
        track.notes.append(NoteTick(*note))
    for time, value in pedal:
        track.controls.append(ControlChangeTick(time, 64, value))
    score.tracks.append(track)
    return score


def notes_of(score: ScoreTick) -> list[Note]:
    return [(note.time, note.duration, note.pitch, note.velocity) for note in score.tracks[0].notes]


def round_trip(score: ScoreTick) -> list[Note]:
    return notes_of(tokenizer.decode(tokenizer.encode(score)))


def events(*names: str) -> torch.Tensor:
    return torch.tensor([VOCABULARY[name] for name in names])


REFERENCE = MIDILike(
    TokenizerConfig(
        pitch_range=(0, 127),
        num_velocities=32,
        beat_res={(0, 2): 50},
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
VOCABULARY: dict[str, int] = REFERENCE.vocab


def test_the_vocabulary_is_388_events_and_pad() -> None:
    assert tokenizer.vocab_size == len(VOCABULARY) == 389
    assert tokenizer.start.tolist() == [PAD]
    assert VOCABULARY["PAD_None"] == PAD


def test_one_note_is_four_events_and_its_time() -> None:
    ids = tokenizer.encode(piece((30, 120, 60, 100)))
    assert ids.dtype == torch.int64
    names = (
        "TimeShift_0.30.50",
        "NoteOn_60",
        "Velocity_99",
        "TimeShift_2.0.50",
        "TimeShift_0.20.50",
        "NoteOff_60",
    )
    assert ids.tolist() == events(*names).tolist()


def test_every_pitch_is_kept() -> None:
    notes = [(10 * pitch, 7, pitch, 63) for pitch in range(128)]
    assert round_trip(piece(*notes)) == notes


def test_every_velocity_moves_by_two_at_most() -> None:
    decoded = round_trip(piece(*((10 * velocity, 5, 60, velocity) for velocity in range(1, 128))))
    assert all(abs(heard - velocity) <= 2 for velocity, (*_, heard) in enumerate(decoded, 1))


def test_rests_and_notes_of_any_length_are_exact() -> None:
    notes = [(37, 1, 60, 63), (100, 100, 61, 63), (201, 123456, 62, 63), (360_099, 30_001, 60, 63)]
    assert round_trip(piece(*notes)) == notes


def test_tempo_changes_do_not_drift() -> None:
    score = piece(*((480 * beat, 240, 60, 63) for beat in range(2000)), tpq=480)
    for beat in range(2000):
        score.tempos.append(TempoTick(480 * beat, 60.0 + beat % 97))
    now, expected = Fraction(0), []
    for tempo in score.tempos:
        expected.append(now)
        now += Fraction(tempo.mspq, 1_000_000)
    decoded = round_trip(score)
    assert len(decoded) == 2000
    assert all(
        abs(Fraction(onset, 100) - e) <= Fraction(5, 1000) for (onset, *_), e in zip(decoded, expected, strict=True)
    )


def test_without_a_tempo_a_beat_is_half_a_second() -> None:
    assert round_trip(piece((480, 480, 60, 63), tpq=480)) == [(50, 50, 60, 63)]
    late = piece((480, 480, 60, 63), tpq=480)
    late.tempos.append(TempoTick(480, 60.0))
    assert round_trip(late) == [(50, 100, 60, 63)]


def test_the_pedal_holds_until_it_comes_up_or_the_key_is_struck_again() -> None:
    score = piece((0, 10, 60, 63), (0, 10, 64, 63), (50, 10, 60, 63), pedal=((5, 127), (100, 0)))
    assert round_trip(score) == [(0, 50, 60, 63), (0, 100, 64, 63), (50, 50, 60, 63)]


def test_tracks_become_one_piano_and_drums_fall_silent() -> None:
    score = piece((0, 10, 60, 63))
    for other in (piece((5, 10, 72, 63)), piece((7, 3, 36, 63), drums=True)):
        score.tracks.append(other.tracks[0])
    assert round_trip(score) == [(0, 10, 60, 63), (5, 10, 72, 63)]


def test_strikes_of_one_key_at_once_are_one_and_the_loudest_and_longest_counts() -> None:
    assert round_trip(piece((0, 30, 60, 63), (0, 10, 60, 99), (0, 5, 61, 31))) == [
        (0, 30, 60, 99),
        (0, 5, 61, 31),
    ]


def test_a_key_struck_while_it_sounds_ends_its_note() -> None:
    assert round_trip(piece((0, 100, 60, 63), (40, 10, 60, 63))) == [(0, 40, 60, 63), (40, 10, 60, 63)]


def seconds_at(tick: int, tpq: int, tempos: list[tuple[int, int]]) -> Fraction:
    """The time of a tick in seconds by definition: the sum of the ticks before it, each at its current tempo."""
    total, before, speed = Fraction(0), 0, 500_000
    for time, mspq in [*tempos, (tick, 0)]:
        until = min(time, tick)
        total += Fraction((until - before) * speed, tpq * 1_000_000)
        before, speed = until, mspq
    return total


ticks = st.integers(0, 20_000)
note = st.tuples(ticks, st.integers(0, 3_000), st.integers(0, 127) | st.integers(60, 62), st.integers(1, 127))
tempo_maps = st.dictionaries(ticks, st.integers(150_000, 2_000_000), max_size=4).map(lambda d: sorted(d.items()))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(note, min_size=1, max_size=25), min_size=1, max_size=3),
    tempo_maps,
    st.sampled_from([24, 120, 480, 960]),
)
def test_no_note_is_lost(tracks: list[list[Note]], tempos: list[tuple[int, int]], tpq: int) -> None:
    score = ScoreTick(tpq)
    for notes in tracks:
        score.tracks.append(piece(*notes).tracks[0])
    for time, mspq in tempos:
        score.tempos.append(TempoTick(time, mspq=mspq))
    decoded = round_trip(score)

    heard = {(pitch, onset): (duration, velocity) for onset, duration, pitch, velocity in decoded}
    assert len(heard) == len(decoded)
    explained = set()
    for onset, duration, pitch, velocity in chain(*tracks):
        true = seconds_at(onset, tpq, tempos)
        near = [key for key in heard if key[0] == pitch and abs(Fraction(key[1], 100) - true) <= Fraction(5001, 10**6)]
        assert near, f"pitch {pitch} at {float(true)} s is lost"
        explained.update(near)
        assert max(heard[key][1] for key in near) >= velocity - 2
        end = 100 * seconds_at(onset + duration, tpq, tempos)
        for key in near:
            restruck = min((o for p, o in heard if p == pitch and o > key[1]), default=key[1] + heard[key][0])
            assert key[1] + heard[key][0] >= min(end - 1, restruck)
    assert explained == set(heard)
    by_pitch = sorted(decoded, key=lambda n: (n[2], n[0]))
    assert all(a[0] + a[1] <= b[0] for a, b in pairwise(by_pitch) if a[2] == b[2])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 388) | st.integers(1, 20) | st.integers(350, 388), max_size=300))
def test_any_ids_are_music_and_their_music_is_stable(ids: list[int]) -> None:
    score = tokenizer.decode(torch.tensor(ids, dtype=torch.int64))
    notes = notes_of(score)
    assert len(notes) <= len(ids)
    assert all(duration >= 1 for _, duration, *_ in notes)
    if notes:
        assert round_trip(score) == notes


@settings(deadline=None, max_examples=50)
@given(st.lists(note, min_size=1, max_size=30))
def test_decoding_agrees_with_miditok(notes: list[Note]) -> None:
    ids = tokenizer.encode(piece(*notes, tpq=480))
    theirs = REFERENCE.decode([ids.tolist()])
    assert sorted(notes_of(theirs)) == sorted(notes_of(tokenizer.decode(ids)))


def test_unfinished_and_stray_events_have_a_meaning() -> None:
    second = "TimeShift_2.0.50"
    assert notes_of(tokenizer.decode(events("NoteOn_60", "Velocity_63", second))) == [(0, 100, 60, 63)]
    assert notes_of(tokenizer.decode(events("NoteOn_60", "Velocity_63", *[second] * 9))) == [(0, UNCLOSED, 60, 63)]
    assert notes_of(tokenizer.decode(events("NoteOff_60", "Velocity_99", "NoteOn_60"))) == [
        (0, 1, 60, DEFAULT_VELOCITY)
    ]
    restruck = events("NoteOn_60", "Velocity_63", second, "NoteOn_60", "Velocity_99", second, "NoteOff_60")
    assert notes_of(tokenizer.decode(restruck)) == [(0, 100, 60, 63), (100, 100, 60, 99)]


def test_pad_is_skipped_wherever_it_stands() -> None:
    ids = tokenizer.encode(piece((30, 120, 60, 63), (40, 7, 61, 63)))
    padded = torch.stack([torch.full_like(ids, PAD), ids], dim=1).flatten()
    between = padded[padded.ne(PAD).cummax(0).values]
    expected = tokenizer.decode(ids)
    assert notes_of(tokenizer.decode(torch.cat([tokenizer.start, ids, tokenizer.start]))) == notes_of(expected)
    assert [n[:3] for n in notes_of(tokenizer.decode(between))] == [n[:3] for n in notes_of(expected)]
    assert notes_of(tokenizer.decode(tokenizer.start)) == []


@pytest.mark.parametrize("bad", [torch.tensor([3, 389]), torch.tensor([-1]), torch.tensor([[1]]), torch.tensor([1.0])])
def test_ids_outside_the_vocabulary_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(InputError):
        tokenizer.decode(bad)


def test_a_written_file_reads_back_as_the_score(tmp_path: Path) -> None:
    score = tokenizer.decode(tokenizer.encode(piece((0, 5, 60, 63), (5, 5, 60, 63), (5, 900, 20, 3), (5, 1, 127, 127))))
    write_midi(tmp_path / "new" / "piece.mid", score)
    assert ScoreTick(tmp_path / "new" / "piece.mid") == score
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["piece.mid"]
    ids = tokenizer.encode(tmp_path / "new" / "piece.mid")
    assert (
        ids.tolist()
        == tokenizer.encode(str(tmp_path / "new" / "piece.mid")).tolist()
        == tokenizer.encode(score).tolist()
    )


def midi_file(track: bytes, division: int = 480, declared: int | None = None) -> bytes:
    length = len(track) if declared is None else declared
    return struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, division, b"MTrk", length) + track


END = b"\x00\xff\x2f\x00"
A_NOTE = b"\x00\x90\x40\x40\x60\x80\x40\x00"
LONGEST_TIME = b"\xff\xff\xff\x7f"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a MIDI file"),
        (b"hello, world, this is a text", "not a MIDI file"),
        (midi_file(A_NOTE + END)[:-6], "ends in the middle"),
        (midi_file(A_NOTE + END, declared=0xF1000BE7), "ends in the middle"),
        (midi_file(A_NOTE[:6] + b"\x80"), "a damaged MIDI file"),
        (midi_file(END), "no notes"),
        (midi_file(A_NOTE.replace(b"\x90", b"\x99").replace(b"\x80", b"\x89") + END), "only drums"),
        (midi_file(A_NOTE + END, division=0), "no ticks per quarter"),
        (midi_file(A_NOTE + END, division=0xE728), "in SMPTE frames; give a file with ticks per quarter note"),
        (midi_file(LONGEST_TIME + A_NOTE[1:] + END, division=1), "hours"),
        (midi_file((LONGEST_TIME + A_NOTE[1:]) * 9 + END, division=1), "hours"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.mid"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as error:
        tokenizer.encode(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mid", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            tokenizer.encode(path)


def test_the_description_rebuilds_it_and_tells_another_vocabulary() -> None:
    description = json.loads(json.dumps(tokenizer.to_dict()))
    assert MidiTokenizer.from_dict(description).to_dict() == description
    for key in description:
        with pytest.raises(InputError, match=key):
            MidiTokenizer.from_dict(description | {key: 7})


@given(st.lists(st.integers(0, 388), max_size=80))
def test_strikes_are_the_key_downs_of_the_notes(ids: list[int]) -> None:
    tokenizer, written = MidiTokenizer(), torch.tensor(ids, dtype=torch.long)
    notes, strikes = tokenizer.decode(written).tracks[0].notes.numpy(), tokenizer.strikes(written).tolist()
    times = tokenizer.times(written)
    assert [ids[strike] for strike in strikes] == [int(events(f"NoteOn_{pitch}")) for pitch in notes["pitch"]]
    assert [round(100 * float(times[strike])) for strike in strikes] == notes["time"].tolist()


def test_events_have_names_for_people() -> None:
    tokenizer = MidiTokenizer()
    ids = events("NoteOn_60", "Velocity_63", "TimeShift_0.5.50", "NoteOff_61")
    names = [tokenizer.event(int(one)) for one in (*ids, torch.tensor(PAD))]
    assert names == ["C4 down", "velocity 63", "0.05 s later", "C♯4 up", "the piece's start"]
