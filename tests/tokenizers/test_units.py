"""Ids are cut into what people would recognise."""

import pytest
import torch

from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.units import cut


def test_words_have_no_case_and_no_punctuation() -> None:
    text = "It's late, said he. \"IT'S late!\""
    tokenizer = CharacterTokenizer.from_text(text)
    found = cut(tokenizer, tokenizer.encode(text))
    assert [text[b:e] for b, e in zip(found.begins, found.ends, strict=True)] == [
        "It's",
        "late",
        "said",
        "he",
        "IT'S",
        "late",
    ]
    assert found.hashes[:2].tolist() == found.hashes[4:].tolist() and len({*found.hashes[:4].tolist()}) == 4


def test_intervals_are_the_same_in_every_key_and_tempo() -> None:
    tokenizer, pieces = MidiTokenizer(), []
    names = {name: i for i, name in enumerate(tokenizer._events.vocab)}
    for key, pause in ((60, "TimeShift_0.5.50"), (67, "TimeShift_0.9.50")):
        events = [name for step in (0, 4, 7, 12) for name in (f"NoteOn_{key + step}", "Velocity_63", pause)]
        pieces.append(cut(tokenizer, torch.tensor([names[name] for name in events])))
    assert pieces[0].hashes.tolist() == pieces[1].hashes.tolist() == [4, 3, 5]
    assert pieces[0].begins.tolist() == [0, 3, 6] and pieces[0].ends.tolist() == [4, 7, 10]


def test_waves_are_equal_sample_by_sample() -> None:
    wave = [130, 140, 120, 110]
    found = cut(MuLawTokenizer(8000), torch.tensor([100, *wave, *wave, 130, 141, 120, 110, *wave]))
    a, b, c = found.hashes.tolist()
    assert a == b != c and found.begins.tolist() == [1, 5, 9] and found.ends.tolist() == [5, 9, 13]


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer.from_text("a b"), MidiTokenizer(), MuLawTokenizer(8000)])
def test_nothing_has_no_units(tokenizer: CharacterTokenizer | MidiTokenizer | MuLawTokenizer) -> None:
    assert len(cut(tokenizer, torch.zeros(0, dtype=torch.long)).hashes) == 0
