"""The interface of tokenizers, and how to rebuild one from its description in a checkpoint."""

from inspect import signature
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES


class Tokenizer(Protocol):
    """Media (text, a waveform, a score) to token ids and back. Ids are 1-D int64 in 0 .. vocab_size - 1."""

    kind: ClassVar[str]
    """The name of its file, which identifies it in config.json and dataset.json."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def start(self) -> Tensor:
        """The ids (S,), S > 0, that generation without a prompt continues."""

    def encode(self, media: Any, /) -> Tensor:
        """Ids of `media`. Raises InputError for unusable media."""

    def decode(self, ids: Tensor, /) -> Any:
        """Media of `ids`. Raises InputError for ids outside the vocabulary."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description for `from_dict`; its "kind" is `kind`."""

    @classmethod
    def from_dict(cls, description: dict[str, Any], /) -> Self:
        """Rebuild a tokenizer from its description. Raises InputError if that is malformed."""


T = TypeVar("T", bound=Tokenizer)


def tokenizer_from_dict(description: dict[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer of any kind from its `to_dict`. Raises InputError for an unknown or malformed description.

    Only that kind's file is imported: text needs neither torchaudio nor miditok.
    """
    known = {modality.tokenizer_kind: modality for modality in MODALITIES.values()}
    kind = description.get("kind") if isinstance(description, dict) else None
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"unknown kind of tokenizer {kind!r}; known are {', '.join(known)}")
    cls: type[Tokenizer] = known[kind].tokenizer_class()
    return cls.from_dict(description)


def same_ids(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether an id means the same to the two described tokenizers. What they do with unknown media does not matter."""
    ours, theirs = ({name: value for name, value in one.items() if name != "replacement"} for one in (a, b))
    return ours == theirs


def construct(cls: type[T], description: dict[str, Any]) -> T:
    """Build `cls` from a description whose keys are "kind" and the names of its arguments. Raises InputError."""
    if not isinstance(description, dict) or description.get("kind") != cls.kind:
        raise InputError(f'a {cls.kind} tokenizer is described by an object whose "kind" is "{cls.kind}"')
    settings = {name: value for name, value in description.items() if name != "kind"}
    try:
        return cls(**settings)
    except TypeError:
        entries = ", ".join(signature(cls).parameters)
        raise InputError(f"malformed description of a {cls.kind} tokenizer; its entries are kind, {entries}") from None


WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def check_ids(ids: Tensor, vocab_size: int) -> None:
    """Raise InputError unless `ids` are 1-D whole numbers in 0 .. vocab_size - 1."""
    if ids.ndim != 1 or ids.dtype not in WHOLE:
        raise InputError(f"ids must be a 1-D tensor of whole numbers, not {tuple(ids.shape)} of {ids.dtype}")
    ids = ids.long()  # a narrow type may not hold vocab_size
    outside = ((ids < 0) | (ids >= vocab_size)).nonzero()
    if len(outside):
        position = int(outside[0])
        raise InputError(f"id {int(ids[position])} at position {position} is outside 0..{vocab_size - 1}")
