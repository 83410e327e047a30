"""The interface between the app and one kind of data. Page, endpoints and command line all use it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from waveletgpt.app.checkpoints import LoadedCheckpoint
from waveletgpt.app.streaming import Completion, GenerationTask
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import Modality, find_modality
from waveletgpt.models.checkpoint import CheckpointInfo
from waveletgpt.tokenizers.registry import Tokenizer

T = TypeVar("T", bound=Tokenizer)


@dataclass(frozen=True)
class Extent:
    """Bounds, step and default of a length that people choose on the page, in the modality's unit."""

    default: float
    lowest: float
    highest: float
    step: float


@dataclass(frozen=True)
class Clip:
    """Sound."""

    samples: Tensor
    """(S,) float32 in -1..1."""
    sample_rate: int
    """Hz."""


@dataclass(frozen=True)
class PromptField:
    """The page's input for a prompt."""

    label: str
    hint: str
    """What a prompt does, or what happens without one."""
    suffixes: tuple[str, ...] = ()
    """Suffixes of accepted files. Empty if people type the prompt."""
    records: bool = False
    """Whether people may record the prompt with a microphone."""


class AppModality(ABC, Generic[T]):
    """What the app can do with one kind of data, whose tokenizer is a T."""

    prompt: ClassVar[PromptField]
    length: ClassVar[Extent]
    """Length of the continuation."""
    keep: ClassVar[Extent]
    """How much of the prompt's end the result starts with."""
    files: ClassVar[tuple[str, ...]]
    """Suffixes of the files that a result can be written to, the default first. Empty if people read it as text."""
    refresh: ClassVar[float]
    """Seconds between two updates of `view` during generation."""
    fact_types: ClassVar[dict[str, str]]
    """JSON types of the values in `facts`."""
    heard_early: ClassVar[bool] = False
    """Whether `clip` and `write` are fast enough to play a result every second during generation."""

    def __init__(self, record: Modality) -> None:
        self.name, self.tokenizer_kind = record.name, record.tokenizer_kind
        self.unit, self.tokens, self.loss_unit = record.unit, record.tokens, record.loss_unit
        self.temperature, self.top_p, self.min_p = record.temperature, record.top_p, record.min_p

    def sampling(self, info: CheckpointInfo | None) -> dict[str, float | None]:
        """Default temperature, top_p and min_p: the checkpoint's own where it has them, else those of this kind."""
        own = {} if info is None else info.sampling
        return {"temperature": self.temperature, "top_p": self.top_p, "min_p": self.min_p, **own}

    @abstractmethod
    def read_prompt(self, source: str | Path, tokenizer: T) -> Tensor:
        """Ids (P,), P > 0, of typed text (str) or a file (Path). Raises InputError."""

    def count(self, amount: float, tokenizer: T) -> int:  # noqa: ARG002, for kinds whose tokens are not their unit
        """Convert a length above 0 from `unit` to tokens, at least 1."""
        return max(1, round(amount))

    @abstractmethod
    def view(self, completion: Completion, tokenizer: T, shared: int = 0) -> str:
        """HTML of a finished or unfinished result, which shows where the prompt ends.

        The first `shared` new tokens are equal in both columns; a view may mark them.
        """

    @abstractmethod
    def facts(self, completion: Completion, tokenizer: T) -> dict[str, Any]:
        """JSON-able facts that an endpoint returns about a result, beside speed and loss."""

    @abstractmethod
    def write(self, completion: Completion, tokenizer: T, path: Path) -> None:
        """Write prompt and continuation atomically, in the format given by the suffix of `path`."""

    def clip(self, completion: Completion, tokenizer: T) -> Clip:
        """The sound of a result. Needed only if `heard_early`."""
        raise NotImplementedError

    def count_in_words(self, count: int, tokenizer: T) -> str:  # noqa: ARG002, for kinds whose tokens are not their unit
        """A number of tokens in words."""
        return f"{count:,} {self.tokens if count != 1 else self.tokens.removesuffix('s')}"

    def example(self, tokenizers: Sequence[dict[str, Any]]) -> str:  # noqa: ARG002, for typed prompts
        """An example prompt that all described tokenizers can encode. Empty if prompts are files."""
        return ""

    def check_target(self, path: Path) -> None:
        """Raise InputError if `write` cannot write to `path`."""
        if path.suffix.lower() not in self.files:
            raise InputError(f"{path}: {self.name} is written as {' or '.join(self.files)}")
        if path.is_dir():
            raise InputError(f"{path} is a directory; give the name of a file to write")

    def task(self, loaded: LoadedCheckpoint, prompt: str | Path | None, length: float, keep: float) -> GenerationTask:
        """The task of continuing a prompt with a checkpoint.

        Args:
            loaded: the checkpoint.
            prompt: typed text or a file. Without one, generation continues the tokenizer's start ids, which are not
                part of the result.
            length: length of the continuation, in `unit`.
            keep: how much of the prompt's end the result starts with, in `unit`.

        Raises:
            InputError: unusable prompt, or a length that is not above 0.
        """
        for flag, amount in (("length", length), ("keep", keep)):
            if not 0 < amount < math.inf:
                raise InputError(f"{flag} is {amount:g} {self.unit}; it must be above 0")
        tokenizer: Any = loaded.tokenizer
        wanted = self.count(length, tokenizer)
        if prompt is None:
            return GenerationTask(loaded.model, tokenizer.start, wanted, shown=False)
        kept = self.read_prompt(prompt, tokenizer)[-self.count(keep, tokenizer) :]
        return GenerationTask(loaded.model, kept, wanted)


@cache
def _load(record: Modality) -> AppModality[Any]:
    loaded: AppModality[Any] = record.module("app/modalities").APP_MODALITY(record)
    return loaded


def load_modality(name: str) -> AppModality[Any]:
    """Import `app/modalities/<name>.py`. Raises InputError for an unknown name."""
    return _load(find_modality(name))
