"""What people would recognise: ids cut into words, intervals between notes, or waves, 8 bits of each.

Two runs of units are the same words whatever their case and punctuation, the same intervals in whatever key, tempo and
loudness, the same waves sample by sample.
"""

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.tokenizers.registry import Tokenizer

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
NAMES = {"characters": "words", "midi": "intervals", "mulaw": "waves"}
"""What the units of each kind of tokenizer are called."""
MIX = np.random.default_rng(7).integers(0, 1 << 62, 1 << 16, dtype=np.int64)
"""A random number for each sample value and place in a wave."""


@dataclass(frozen=True)
class Cut:
    """N units."""

    hashes: NDArray[np.uint8]
    """(N,) 8 bits of each."""
    begins: NDArray[np.int64]
    """(N,) its first id."""
    ends: NDArray[np.int64]
    """(N,) the id after its last."""


def cut(tokenizer: Tokenizer, ids: Tensor) -> Cut:
    """The units of ids (T,). Raises ValueError for a tokenizer without units."""
    if tokenizer.kind == "characters":
        return _words(tokenizer.decode(ids))
    if tokenizer.kind == "midi":
        return _intervals(ids.numpy(), tokenizer.strikes(ids).numpy())  # type: ignore[attr-defined]
    if tokenizer.kind == "mulaw":
        return _waves(ids.numpy(), tokenizer.vocab_size // 2)
    raise ValueError(f"ids of {tokenizer.kind} have no units")


def _words(text: str) -> Cut:
    found = [(match.start(), match.end()) for match in WORD.finditer(text)]
    hashes = [_word(text[begin:end].lower()) for begin, end in found]
    spans = np.array(found, np.int64).reshape(-1, 2)
    return Cut(np.array(hashes, np.uint8), spans[:, 0], spans[:, 1])


@lru_cache(maxsize=1 << 18)
def _word(word: str) -> int:
    return zlib.crc32(word.encode()) & 0xFF


def _intervals(ids: NDArray[np.int64], strikes: NDArray[np.int64]) -> Cut:
    """From each note to the next: ids of keys down rise with the key."""
    struck = ids[strikes]
    steps = struck[1:] - struck[:-1]
    return Cut((steps & 0xFF).astype(np.uint8), strikes[:-1].astype(np.int64), strikes[1:].astype(np.int64) + 1)


def _waves(ids: NDArray[np.integer], zero: int) -> Cut:
    """From each rise through zero to the next."""
    above = ids >= zero
    bounds = np.flatnonzero(above[1:] & ~above[:-1]) + 1
    begins, ends = bounds[:-1], bounds[1:]
    if not len(begins):
        empty = np.zeros(0, np.int64)
        return Cut(np.zeros(0, np.uint8), empty, empty)
    inside = np.arange(bounds[0], bounds[-1])
    place = inside - np.repeat(begins, ends - begins)
    mixed = MIX[(ids[inside].astype(np.int64) + 257 * place) & 0xFFFF]
    sums = np.add.reduceat(mixed, begins - bounds[0])
    return Cut(((sums ^ (sums >> 29)) & 0xFF).astype(np.uint8), begins, ends)
