"""Recipes: what a result was made from, so that it can be made again to the byte.

A recipe travels as one word of ASCII, `waveletgpt-recipe:...`, in a WAV file's comment, a MIDI file's text event, the
JSON beside a text and, without its first part, in the page's address. So one search finds it in any of them.
"""

import base64
import json
import re
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from waveletgpt.common.errors import InputError, quoted
from waveletgpt.common.modalities import find_modality
from waveletgpt.models.sampling import Sampling

MARK = "waveletgpt-recipe:"
FOUND = re.compile(rb"(?:" + MARK.encode() + rb"|[?&]recipe=)([A-Za-z0-9_-]+)")
LONGEST_LINK = 4000
"""Characters of a recipe that fit into an address."""
LARGEST = 1 << 24
"""Bytes of an unpacked recipe at most, against compressed bombs: 10 minutes of audio."""
MOST_PARTS = 100
DAMAGED = "the recipe is damaged; it must be one that waveletgpt wrote"
MOST_VARIATIONS = 64
MUTED = re.compile(r"([0-9:]{1,9}(,[0-9:]{1,9})*)?")


@dataclass(frozen=True)
class Recipe:
    """What one result was made from. Equal recipes give equal bytes on a CPU."""

    modality: str
    checkpoint: str
    """Name of the checkpoint, for people. The digest decides."""
    digest: str
    """Of the checkpoint, see `app.checkpoints.digest`."""
    lengths: tuple[int, ...]
    """Number of new tokens of each part: one for Generate and one for each Continue."""
    sampling: Sampling
    variation: int = 0
    """Number of the sample."""
    ids: str = ""
    """The prompt's ids, packed; empty if there is no prompt, or for an example."""
    example: str = ""
    """Name of a ready-made example whose end is the prompt."""
    example_tokens: int = 0
    """Number of tokens at the example's end that are the prompt."""
    example_crc: int = 0
    """`crc32` of these tokens, since an example may change."""
    title: str = ""
    """A few words of the prompt, for people."""
    mute: str = ""
    """Levels and layers of the wavelet that are muted, see `models.muting`."""

    def __post_init__(self) -> None:
        find_modality(self.modality)
        if not re.fullmatch("[0-9a-f]{16}", self.digest):
            raise InputError("a recipe names its checkpoint by 16 hexadecimal digits")
        if not 1 <= len(self.lengths) <= MOST_PARTS or min(self.lengths) < 1:
            raise InputError(f"a recipe has 1 to {MOST_PARTS} parts of 1 token or more")
        if not 0 <= self.variation < MOST_VARIATIONS:
            raise InputError(f"a recipe's variation is from 0 to {MOST_VARIATIONS - 1}, not {quoted(self.variation)}")
        if not MUTED.fullmatch(self.mute):
            raise InputError("a recipe's mute names levels and layers, such as 9 or 3:9")
        if bool(self.example) != (self.example_tokens > 0):
            raise InputError("a recipe has an example and a number of its tokens, or neither")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values without those that say nothing."""
        values = {name: value for name, value in asdict(self).items() if value not in ("", 0)}
        unset = asdict(Sampling())
        return {**values, "sampling": {name: v for name, v in values["sampling"].items() if v != unset[name]}}

    @classmethod
    def from_dict(cls, data: Any) -> "Recipe":
        """Check and convert the values of `to_dict`. Raises InputError."""
        if not isinstance(data, dict):
            raise InputError("the recipe is not one of this program")
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(
                f"the recipe has entries of another version: {', '.join(map(quoted, sorted(unknown)[:5]))}"
            )
        try:
            values = dict(data)
            lengths = tuple(_whole(n) for n in values.pop("lengths"))
            sampling = _sampling(values.pop("sampling"))
            for name in ("variation", "example_tokens", "example_crc"):
                values[name] = _whole(values.get(name, 0))
            for name in ("modality", "checkpoint", "digest", "ids", "example", "title", "mute"):
                values[name] = _text(values.get(name, ""))
            return cls(**values, lengths=lengths, sampling=sampling)
        except InputError as error:
            raise InputError(f"the recipe is damaged: {error}") from None
        except (TypeError, KeyError, ValueError, OverflowError):
            raise InputError(DAMAGED) from None


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number is expected")
    return value


def _sampling(values: dict[str, Any]) -> Sampling:
    sampling = Sampling(**values)
    _whole(sampling.seed)
    _whole(sampling.top_k or 0)
    return sampling


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is expected")
    return value


def pack_ids(ids: Tensor) -> str:
    """Ids (N,) below 65,536 as a short word."""
    return _pack(ids.numpy().astype("<u2").tobytes())


def crc32(ids: Tensor) -> int:
    """A checksum of ids (N,) below 65,536."""
    return zlib.crc32(ids.numpy().astype("<u2").tobytes())


def unpack_ids(word: str) -> Tensor:
    """The ids (N,) of `pack_ids`. Raises InputError."""
    data = _unpack(word)
    if len(data) % 2:
        raise InputError("the recipe is damaged: its prompt is cut")
    return torch.from_numpy(np.frombuffer(data, "<u2").astype(np.int64))


def marked(word: str) -> str:
    """A recipe's word as `find_recipe` finds it in a file; empty for an empty word."""
    return MARK + word if word else ""


def to_word(recipes: list[Recipe | None]) -> str:
    """One recipe, or those of both cards, as a word of letters, digits, - and _."""
    content = [recipe and recipe.to_dict() for recipe in recipes]
    return _pack(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


def from_word(word: str) -> list[Recipe | None]:
    """The recipes of `to_word`. Raises InputError."""
    data = _unpack(word)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(DAMAGED) from None
    if not isinstance(content, list) or not 1 <= len(content) <= 2 or not any(content):
        raise InputError("the recipe is damaged: it must hold one or two results")
    return [None if one is None else Recipe.from_dict(one) for one in content]


def find_recipe(path: Path) -> list[Recipe | None]:
    """The recipes in a file that waveletgpt wrote, or in a text with a page's address. Raises InputError."""
    try:
        found = FOUND.search(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a file that waveletgpt wrote") from None
    if found is None:
        raise InputError(f"{path} holds no recipe; give a WAV, MIDI or JSON file that waveletgpt wrote")
    try:
        return from_word(found[1].decode())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def _unpack(word: str) -> bytes:
    try:
        packed = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, LARGEST)
    except (ValueError, zlib.error):
        raise InputError(DAMAGED) from None
    if unpacker.unconsumed_tail:
        raise InputError(f"the recipe is too large, over {LARGEST >> 20} MB")
    if not unpacker.eof:
        raise InputError(DAMAGED)
    return data
