"""What a tokenizer is, and how one is rebuilt from the description that a checkpoint holds."""

from importlib import import_module
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError

# kind -> (module, class). Imported on demand: text needs neither torchaudio nor miditok.
TOKENIZERS: dict[str, tuple[str, str]] = {
    "characters": ("waveletgpt.tokenizers.characters", "CharacterTokenizer"),
    "mulaw": ("waveletgpt.tokenizers.mulaw", "MuLawTokenizer"),
    "midi": ("waveletgpt.tokenizers.midi", "MidiTokenizer"),
}


class Tokenizer(Protocol):
    """Media (text, a waveform, a score) to token ids and back. Ids are 1-D int64 in 0 .. vocab_size - 1."""

    kind: ClassVar[str]
    """The name in `TOKENIZERS`."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""

    @property
    def start(self) -> Tensor:
        """The ids (at least one) that an unprompted generation begins from."""

    def encode(self, media: Any, /) -> Tensor:
        """Ids of `media`. Raises InputError if it cannot be tokenized."""

    def decode(self, ids: Tensor, /) -> Any:
        """Media of `ids`. Raises InputError for ids outside the vocabulary."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description that `from_dict` rebuilds the tokenizer from; its "kind" is `kind`."""

    @classmethod
    def from_dict(cls, description: dict[str, Any], /) -> Self:
        """The tokenizer that `description` describes. Raises InputError if it describes none."""


T = TypeVar("T", bound=Tokenizer)


def tokenizer_from_dict(description: dict[str, Any]) -> Tokenizer:
    """The tokenizer, of any kind, that `to_dict` described. Raises InputError for anything else."""
    kind = description.get("kind") if isinstance(description, dict) else None
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise InputError(f"unknown kind of tokenizer {kind!r}: known are {', '.join(TOKENIZERS)}")
    module, name = TOKENIZERS[kind]
    tokenizer: Tokenizer = getattr(import_module(module), name).from_dict(description)
    return tokenizer


def construct(cls: type[T], description: dict[str, Any]) -> T:
    """`cls` called with what `description` holds beside "kind"; a missing or unknown key is an InputError."""
    if not isinstance(description, dict) or description.get("kind") != cls.kind:
        raise InputError(f'a {cls.kind} tokenizer is described by an object whose "kind" is "{cls.kind}"')
    settings = {name: value for name, value in description.items() if name != "kind"}
    try:
        return cls(**settings)
    except TypeError as error:
        raise InputError(f"malformed description of a {cls.kind} tokenizer: {error}") from error


WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def check_ids(ids: Tensor, vocab_size: int) -> None:
    """Raise InputError unless `ids` are 1-D whole numbers in 0 .. vocab_size - 1."""
    if ids.ndim != 1 or ids.dtype not in WHOLE:
        raise InputError(f"ids must be a 1-D tensor of whole numbers, not {tuple(ids.shape)} of {ids.dtype}")
    ids = ids.long()  # a bound may be more than a narrow type holds
    outside = ((ids < 0) | (ids >= vocab_size)).nonzero()
    if len(outside):
        position = int(outside[0])
        raise InputError(f"id {int(ids[position])} at position {position} is outside 0..{vocab_size - 1}")
