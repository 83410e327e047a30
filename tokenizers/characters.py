"""Tokenizer for text: one id for each character of a fixed alphabet."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.registry import check_ids, construct

UTF32 = "utf-32-le"  # four bytes per character, so one call turns text into an array of code points
CHUNK = 1 << 20  # characters looked up at a time: fits in the cache and keeps memory low
SHOWN = 100  # characters of the alphabet that an error message shows
BOM = "\ufeff"  # byte order mark, which may stand before a text and is no part of it


def unify_line_ends(text: str) -> str:
    """`text` with \\n for every line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class CharacterTokenizer:
    """Characters to ids and back. Raises InputError for an invalid alphabet or replacement."""

    alphabet: str
    """Distinct characters, sorted by code point. An id is a position in it."""
    replacement: str | None = None
    """Character of the alphabet that replaces all characters outside it; None refuses them."""

    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        if not isinstance(self.alphabet, str) or not self.alphabet:
            raise InputError("an alphabet is a string of at least one character")
        if list(self.alphabet) != sorted(set(self.alphabet)):
            raise InputError("the characters of an alphabet must be distinct and sorted by code point")
        if any("\ud800" <= character <= "\udfff" for character in self.alphabet):
            raise InputError("an alphabet cannot hold surrogates: is the text really UTF-8?")
        if self.replacement is not None and self.replacement not in list(self.alphabet):
            raise InputError(
                f"the replacement {self.replacement!r} must be one character of the alphabet {self.quoted}"
            )

    @classmethod
    def from_text(cls, text: str | Iterable[str], replacement: str | None = None) -> Self:
        """A tokenizer for all characters of `text`, one string or its chunks. Raises InputError for an empty text."""
        characters: set[str] = set()
        for chunk in [text] if isinstance(text, str) else text:
            characters.update(chunk)
        if not characters:
            raise InputError("an alphabet cannot be learned from an empty text")
        return cls("".join(sorted(characters)), replacement)

    @classmethod
    def text8(cls, replacement: str | None = None) -> Self:
        """The 27 characters of text8 (mattmahoney.net/dc/textdata.html): space and a-z."""
        return cls(" abcdefghijklmnopqrstuvwxyz", replacement)

    @property
    def vocab_size(self) -> int:
        """Number of characters in the alphabet."""
        return len(self.alphabet)

    @property
    def start(self) -> Tensor:
        """(1,), a newline if the alphabet has one, else a space, else its first character."""
        first = next((character for character in "\n " if character in self.alphabet), self.alphabet[0])
        return torch.tensor([self.alphabet.index(first)])

    def encode(self, text: str) -> Tensor:
        """Encode `text` of S characters.

        Returns:
            Ids (S,) int64.

        Raises:
            InputError: a character is outside the alphabet and `replacement` is None. Names its position from 0.
        """
        ids = np.empty(len(text), dtype=np.int64)
        for begin in range(0, len(text), CHUNK):
            # Let surrogates pass here: the check below refuses them and names their position.
            data = text[begin : begin + CHUNK].encode(UTF32, "surrogatepass")
            codes = np.frombuffer(data, dtype="<u4")
            found = self._id_of_code.take(codes, mode="clip", out=ids[begin : begin + CHUNK])
            if self.replacement is None and found.min() < 0:
                self._refuse(text, begin + int(found.argmin()))
        if self.replacement is not None:
            ids[ids < 0] = self.alphabet.index(self.replacement)
        return torch.from_numpy(ids)

    def decode(self, ids: Tensor) -> str:
        """Decode `ids` (S,) to text. Raises InputError for an id outside the vocabulary."""
        check_ids(ids, self.vocab_size)
        data: bytes = self._codes[ids.cpu().numpy()].tobytes()
        return data.decode(UTF32)

    def to_dict(self) -> dict[str, Any]:
        """A description for `from_dict`: alphabet and replacement."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`. Raises InputError for a malformed description."""
        return construct(cls, description)

    @cached_property
    def _codes(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """Code point of each id, (V,)."""
        return np.frombuffer(self.alphabet.encode(UTF32), dtype="<u4")

    @cached_property
    def _id_of_code(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Id of each code point, -1 outside the alphabet. The last entry serves all higher code points."""
        table = np.full(int(self._codes[-1]) + 2, -1, dtype=np.int64)
        table[self._codes] = np.arange(self.vocab_size)
        return table

    def _refuse(self, text: str, position: int) -> None:
        raise InputError(f"character {text[position]!r} at position {position} is not in the alphabet {self.quoted}")

    @property
    def quoted(self) -> str:
        """The alphabet as messages show it: quoted, and cut if it is long."""
        shown = repr(self.alphabet[:SHOWN])
        return shown if self.vocab_size <= SHOWN else f"{shown}... ({self.vocab_size} characters)"
