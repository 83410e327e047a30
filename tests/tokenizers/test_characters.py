import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers import characters
from waveletgpt.tokenizers.characters import CharacterTokenizer

texts = st.text(min_size=1, max_size=200)


@settings(deadline=None)
@given(texts)
def test_decoding_what_was_encoded_gives_the_text_back(text: str) -> None:
    tokenizer = CharacterTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [tokenizer.alphabet.index(character) for character in text]
    assert tokenizer.decode(ids) == text


@settings(deadline=None)
@given(texts, texts)
def test_the_first_character_outside_the_alphabet_is_refused_with_its_position(known: str, text: str) -> None:
    tokenizer = CharacterTokenizer.from_text(known)
    unknown = [position for position, character in enumerate(text) if character not in known]
    if not unknown:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        return
    with pytest.raises(InputError) as refusal:
        tokenizer.encode(text)
    message = str(refusal.value)
    assert message.startswith(f"character {text[unknown[0]]!r} at position {unknown[0]} is not in the alphabet")
    assert len(message.splitlines()) == 1


@settings(deadline=None)
@given(texts, texts, st.data())
def test_a_replacement_stands_for_what_is_outside(known: str, text: str, data: st.DataObject) -> None:
    replacement = data.draw(st.sampled_from(known))
    tokenizer = CharacterTokenizer.from_text(known, replacement)
    expected = "".join(character if character in known else replacement for character in text)
    assert tokenizer.decode(tokenizer.encode(text)) == expected


def test_chunks_are_seams_neither_in_learning_nor_in_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the quick brown fox, twice over"
    tokenizer = CharacterTokenizer.from_text(text[begin : begin + 7] for begin in range(0, len(text), 7))
    assert tokenizer == CharacterTokenizer.from_text(text)
    whole = tokenizer.encode(text)
    monkeypatch.setattr(characters, "CHUNK", 5)
    assert tokenizer.encode(text).equal(whole)
    with pytest.raises(InputError, match="'Z' at position 17 "):
        tokenizer.encode("the quick brown, Zebra")


def test_the_alphabet_of_text8() -> None:
    tokenizer = CharacterTokenizer.text8()
    assert tokenizer.vocab_size == 27
    assert tokenizer.encode("a z").tolist() == [1, 0, 26]
    with pytest.raises(InputError, match="'T' at position 0 is not in the alphabet ' abcdef"):
        tokenizer.encode("Text8")


@pytest.mark.parametrize("unknown", ["\ud800", "\U0010ffff", "\x00", "\r"])
def test_the_ends_of_unicode_and_surrogates_are_refused_like_any_other_character(unknown: str) -> None:
    with pytest.raises(InputError, match="at position 2 "):
        CharacterTokenizer.text8().encode("ab" + unknown)
    assert CharacterTokenizer.text8(" ").encode("ab" + unknown).tolist() == [1, 2, 0]


def test_the_error_quotes_a_large_alphabet_only_in_part() -> None:
    tokenizer = CharacterTokenizer.from_text(chr(0x4E00 + offset) for offset in range(5000))
    with pytest.raises(InputError, match=r"\(5000 characters\)") as refusal:
        tokenizer.encode("a")
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    ("alphabet", "start"), [("\n ab", "\n"), ("\t\n ab", "\n"), (" ab", " "), ("!ab", "!"), ("\x00 a", " ")]
)
def test_an_unprompted_text_starts_after_a_newline_or_a_space(alphabet: str, start: str) -> None:
    tokenizer = CharacterTokenizer(alphabet)
    assert tokenizer.start.dtype == torch.int64
    assert tokenizer.decode(tokenizer.start) == start


def test_no_text_is_no_ids() -> None:
    tokenizer = CharacterTokenizer.text8()
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.encode("").dtype == torch.int64
    assert tokenizer.decode(torch.empty(0, dtype=torch.int64)) == ""


@pytest.mark.parametrize(
    "ids",
    [
        torch.tensor([0, 27]),
        torch.tensor([-1]),
        torch.tensor([[1]]),
        torch.tensor([1.0]),
        torch.tensor([True]),
    ],
)
def test_what_are_no_ids_of_the_alphabet_is_refused(ids: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"ids? "):
        CharacterTokenizer.text8().decode(ids)


@pytest.mark.parametrize("alphabet", ["", "ba", "aab", "a\ud800", None, 3, ["a", "b"]])
def test_a_bad_alphabet_is_refused(alphabet: str) -> None:
    with pytest.raises(InputError, match="alphabet"):
        CharacterTokenizer(alphabet)


@pytest.mark.parametrize("replacement", ["", "ab", "z", 0])
def test_a_replacement_must_be_one_character_of_the_alphabet(replacement: str) -> None:
    with pytest.raises(InputError, match="replacement"):
        CharacterTokenizer("abc", replacement)


@pytest.mark.parametrize("text", ["", [], ["", ""]])
def test_nothing_is_learned_from_an_empty_text(text: str | list[str]) -> None:
    with pytest.raises(InputError, match="empty"):
        CharacterTokenizer.from_text(text)


@settings(deadline=None)
@given(texts, st.booleans())
def test_a_tokenizer_survives_json(text: str, replaces: bool) -> None:
    tokenizer = CharacterTokenizer.from_text(text, text[0] if replaces else None)
    assert CharacterTokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer
