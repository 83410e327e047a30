"""The ready-made prompts: what is written, and how it sounds."""

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from waveletgpt.app.prompts.example import Example, find_example
from waveletgpt.app.prompts.melodies import MELODIES, SAMPLE_RATE, sound
from waveletgpt.app.prompts.notation import Piece, Voice, beats, events, pitch, play
from waveletgpt.app.prompts.openings import OPENINGS, Opening
from waveletgpt.app.prompts.pieces import PIECES
from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.piano.performance import STEPS_PER_SECOND, perform

ROOT = Path(__file__).parents[3]


def named(pieces: tuple[Piece, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("piece", pieces, ids=[piece.name for piece in pieces])


@pytest.mark.parametrize("examples", [OPENINGS, PIECES, MELODIES])
def test_each_kind_has_six_examples_with_names_for_links(examples: tuple[Example, ...]) -> None:
    names = [example.name for example in examples]
    assert len(set(names)) == len({example.title for example in examples}) == 6
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(find_example(examples, example.name) is example for example in examples)


def test_an_unknown_example_is_refused_with_the_names() -> None:
    with pytest.raises(InputError, match=r"^there is no example 'x'; choose one of bach-prelude, minuet, fur-elise, "):
        find_example(PIECES, "x")


@pytest.mark.parametrize("opening", OPENINGS, ids=[opening.name for opening in OPENINGS])
def test_an_opening_is_in_the_alphabets_of_the_shipped_models(opening: Opening) -> None:
    assert 40 <= len(opening.text) <= 160
    assert opening.text[-1].isalpha()  # so that the model goes on in the middle of a sentence
    for name in ("text-baseline", "text-haar"):
        config = json.loads((ROOT / "checkpoints" / name / "config.json").read_text())
        assert set(opening.text) <= set(config["tokenizer"]["alphabet"])


def test_the_notation() -> None:
    line = [(name, float(onset), float(length), bar) for name, onset, length, bar in events("C4:1/2 r|F#3+Bb2:3/4 P")]
    assert line == [("C4", 0, 0.5, 0), ("r", 0.5, 0.5, 0), ("F#3+Bb2", 1, 0.75, 1), ("P", 1.75, 0.75, 1)]
    assert [pitch(name) for name in ("C4", "B#3", "A4", "Bb2", "F#3")] == [60, 60, 69, 46, 54]
    with pytest.raises(ValueError, match="'H4' is not a pitch"):
        pitch("H4")


def test_a_performance_has_accents_and_a_pedal() -> None:
    score = play(Piece("x", "", 120, (Voice(50, "C4:1 D4 | r E4+G4"),), pedal="P:2 | r:2", legato=0.5))
    notes = [(note.time, note.duration, note.pitch) for note in score.tracks[0].notes]
    assert notes == [(0, 240, 60), (480, 240, 62), (1440, 480, 64), (1440, 480, 67)]  # the last notes are held
    first, second, *chord = (note.velocity for note in score.tracks[0].notes)
    assert first == 55 and second == 56 and chord[0] == chord[1]
    sounding = perform(score).tracks[0].notes.numpy()
    assert (sounding["time"] + sounding["duration"]).tolist() == [100, 100, 200, 200]  # the pedal holds C and D


@named(PIECES + MELODIES)
def test_bars_are_full_and_voices_equally_long(piece: Piece) -> None:
    assert len({beats(voice) for voice in piece.voices}) == 1
    bars: dict[int, set[Fraction]] = {}
    for notes in (*(voice.notes for voice in piece.voices), *([piece.pedal] if piece.pedal else [])):
        lengths: dict[int, Fraction] = {}
        for event in events(notes):
            lengths[event.bar] = lengths.get(event.bar, Fraction(0)) + event.length
        for bar, length in lengths.items():
            bars.setdefault(bar, set()).add(length)
    assert all(len(lengths) == 1 for lengths in bars.values())
    inner = {length for bar, lengths in bars.items() for length in lengths if 0 < bar < max(bars)}
    assert len(inner) <= 1
    assert all(length <= max(inner) for lengths in bars.values() for length in lengths if inner)


BEGINNINGS = {
    "bach-prelude": [60, 64, 67, 72, 76, 67, 72, 76],
    "minuet": [55, 59, 62, 74, 67, 69, 57, 71],
    "fur-elise": [76, 75, 76, 75, 76, 71, 74, 72],
    "moonlight": [37, 49, 56, 61, 64, 56, 61, 64],
    "mozart-sonata": [60, 72, 67, 64, 67, 60, 76, 67],
    "chopin-prelude": [59, 71, 55, 59, 64, 71, 55, 59],
}


@named(PIECES)
def test_a_piece_is_encoded_note_by_note(piece: Piece) -> None:
    tokenizer = MidiTokenizer()
    ids = tokenizer.encode(play(piece))
    notes = tokenizer.decode(ids).tracks[0].notes.numpy()
    written = [
        pitch(name)
        for voice in piece.voices
        for e in events(voice.notes)
        if e.name != "r"
        for name in e.name.split("+")
    ]
    assert sorted(notes["pitch"]) == sorted(written)
    assert notes["pitch"][:8].tolist() == BEGINNINGS[piece.name]
    assert notes["velocity"].min() >= 35 and notes["velocity"].max() <= 85
    seconds = (notes["time"] + notes["duration"]).max() / STEPS_PER_SECOND
    assert 5 <= seconds <= 12 and seconds == pytest.approx(piece.seconds, abs=0.02)


@named(MELODIES)
def test_a_melody_sounds_from_its_first_to_its_last_sample(piece: Piece) -> None:
    waveform = sound(piece).numpy()
    assert 1.5 <= len(waveform) / SAMPLE_RATE <= 4 and len(piece.voices) <= 2
    assert np.abs(waveform).max() < 0.9
    assert 20 * np.log10(np.sqrt(np.mean(waveform**2))) == pytest.approx(-20, abs=0.1)
    frames = waveform[: len(waveform) // 800 * 800].reshape(-1, 800)  # 50 ms each
    assert np.sqrt((frames**2).mean(axis=1)).min() > 10 ** (-42 / 20)
    first = next(events(piece.voices[0].notes))
    part = waveform[800 : int(first.length * 60 / piece.tempo * SAMPLE_RATE)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
    harmonic = np.argmax(spectrum) * SAMPLE_RATE / (1 << 16) / (440 * 2 ** ((pitch(first.name) - 69) / 12))
    assert harmonic == pytest.approx(round(harmonic), rel=0.02) and round(harmonic) in (1, 2, 3)
