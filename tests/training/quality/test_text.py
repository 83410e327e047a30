"""Measures of text, tested on passages that can be counted by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.quality.text import (
    TextMeasures,
    closed_quotes,
    distinct_grams,
    known_words,
    longest_loop,
    vocabulary_of,
    words,
)


def test_words_are_letters_with_apostrophes_and_those_at_the_ends_do_not_count() -> None:
    assert words("hand the dog's 3 Bones, and a b") == ["the", "dog's", "bones", "and", "a"]


def test_known_words_are_those_of_the_training_text() -> None:
    text = "The cat sat.\nThe dog sat."
    tokenizer = CharacterTokenizer.from_text(text)
    vocabulary = vocabulary_of(tokenizer, tokenizer.encode(text))
    assert vocabulary == {"the", "cat", "sat", "dog"}
    assert known_words("x the Cat sat zat dog x", vocabulary) == pytest.approx(4 / 5)
    assert math.isnan(known_words("dog", vocabulary))


def test_quotes_close_within_whole_paragraphs_only() -> None:
    assert closed_quotes('cut "\n"a" b\n"a b\nno quote\n"a" "b"\ncut "') == pytest.approx(2 / 3)
    assert math.isnan(closed_quotes('one "paragraph'))


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), ("abc", 0), ("aab", 1), ("la la la", 5), ("x" * 50, 49), ("abcabcab!", 5), ("abcd abce", 0)],
)
def test_a_loop_repeats_what_stands_just_before_it(text: str, length: int) -> None:
    assert longest_loop(text) == length


@given(st.text("ab", max_size=24))
def test_loops_are_those_of_a_slow_search(text: str) -> None:
    longest = 0
    for period in range(1, len(text) // 2 + 1):
        runs = "".join("1" if a == b else " " for a, b in zip(text, text[period:], strict=False)).split()
        longest = max([longest, *(len(run) for run in runs if len(run) >= period)])
    assert longest_loop(text) == longest


def test_grams_are_told_apart() -> None:
    assert distinct_grams("abcabcabc") == pytest.approx(3 / 6)
    assert distinct_grams("abcdefgh") == 1


def test_a_passage_is_measured_from_its_ids() -> None:
    text = 'He said "no".\n"No," said he, "no, no, no."\nHe went and went'
    tokenizer = CharacterTokenizer.from_text(text)
    measures = TextMeasures(tokenizer, frozenset({"he", "said", "no", "went"}))
    numbers = measures.numbers(tokenizer.encode(text))
    assert numbers["known_words"] == pytest.approx(10 / 11)
    assert numbers["closed_quotes"] == 1
    assert numbers["longest_loop"] == len("no, no")
    assert numbers["paragraphs_per_1000"] == pytest.approx(2000 / len(text))
    lengths = measures.histograms(tokenizer.encode(text))["word_lengths"]
    assert lengths.sum() == pytest.approx(1)
    assert lengths[1] == pytest.approx(7 / 11)
    assert not lengths[4:].any()
