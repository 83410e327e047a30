"""Measures of text: known words, closed quotes, loops, variety."""

import re

import numpy as np
import torch
from torch import Tensor

from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import Tokens
from waveletgpt.training.quality.measures import Histogram

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
"""Letters, and apostrophes between them."""
GRAM = 4
PART = 1 << 22
"""Ids decoded at a time."""


class TextMeasures:
    """How a passage of text is measured; `vocabulary` holds the words of the training text in lower case."""

    def __init__(self, tokenizer: CharacterTokenizer, vocabulary: frozenset[str]) -> None:
        self.tokenizer, self.vocabulary = tokenizer, vocabulary

    def numbers(self, ids: Tensor) -> dict[str, float]:
        """Shares of known words, of paragraphs whose quotes close and of different 4-grams; the longest loop, in
        characters; paragraphs in 1,000 characters.
        """
        text = self.tokenizer.decode(ids)
        return {
            "known_words": known_words(text, self.vocabulary),
            "closed_quotes": closed_quotes(text),
            "longest_loop": float(longest_loop(text)),
            "distinct_4grams": distinct_grams(text),
            "paragraphs_per_1000": 1000 * text.count("\n") / max(len(text), 1),
        }

    def histograms(self, ids: Tensor) -> dict[str, Histogram]:
        """The lengths of words, 1 to 20 letters."""
        lengths = [min(len(word), 20) for word in words(self.tokenizer.decode(ids))]
        counts = np.bincount(lengths, minlength=21)[1:].astype(np.float64)
        return {"word_lengths": counts / max(counts.sum(), 1)}


def words(text: str) -> list[str]:
    """The words of a passage in lower case, without its first and last, which may be cut."""
    return [word.lower() for word in WORD.findall(text)][1:-1]


def known_words(text: str, vocabulary: frozenset[str]) -> float:
    """The share of words that are in `vocabulary`; NaN without words."""
    found = words(text)
    return sum(word in vocabulary for word in found) / len(found) if found else np.nan


def closed_quotes(text: str) -> float:
    """Among the whole paragraphs that have a double quote, the share with an even number; NaN without any."""
    quoted = [count for paragraph in text.split("\n")[1:-1] if (count := paragraph.count('"'))]
    return sum(count % 2 == 0 for count in quoted) / len(quoted) if quoted else np.nan


def longest_loop(text: str) -> int:
    """The most characters in a row that repeat those just before them, once at least: 4 in "la la la"."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    longest = 0
    for period in range(1, len(codes) // 2 + 1):
        same = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(np.diff(same))  # where runs begin and end, by turns
        longest_run = int((edges[1::2] - edges[::2]).max(initial=0))
        if longest_run >= period:
            longest = max(longest, longest_run)
    return longest


def distinct_grams(text: str) -> float:
    """Different sequences of 4 characters as a share of all; NaN where there are none."""
    grams = [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]
    return len(set(grams)) / len(grams) if grams else np.nan


def vocabulary_of(tokenizer: CharacterTokenizer, tokens: Tokens) -> frozenset[str]:
    """All words of a text of ids (N,), in lower case."""
    found: set[str] = set()
    rest = ""
    for begin in range(0, len(tokens), PART):
        ids = torch.from_numpy(np.asarray(tokens[begin : begin + PART]).astype(np.int64))
        text, _, rest = (rest + tokenizer.decode(ids)).rpartition(" ")
        found.update(WORD.findall(text.lower()))
    return frozenset(found.union(WORD.findall(rest.lower())))
