"""What page, endpoints and command line need to know of a kind of data. It knows nothing of any of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from waveletgpt.app.checkpoints import LoadedCheckpoint
from waveletgpt.app.streaming import Completion, GenerationTask
from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.registry import Tokenizer

T = TypeVar("T", bound=Tokenizer)


@dataclass(frozen=True)
class Extent:
    """A length that a person chooses, in the modality's unit. The page keeps it within its bounds."""

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
    """How the page asks for a prompt."""

    label: str
    hint: str
    """What happens without a prompt, or an example of one."""
    suffixes: tuple[str, ...] = ()
    """Of the files that may be given; none where the prompt is typed."""
    records: bool = False
    """Whether the prompt may be recorded with a microphone."""


class Modality(ABC, Generic[T]):
    """A kind of data, made of the tokens of a tokenizer T."""

    name: ClassVar[str]
    """As in a checkpoint's `modality`; also the name of the tab and of the endpoint."""
    tokenizer_kind: ClassVar[str]
    unit: ClassVar[str]
    """What lengths are counted in: characters, seconds, events."""
    tokens: ClassVar[str]
    """What tokens are called: characters, samples, events."""
    loss_unit: ClassVar[str]
    """"bits per ..." or "nats per ..."."""
    prompt: ClassVar[PromptField]
    length: ClassVar[Extent]
    """Of what is generated."""
    keep: ClassVar[Extent]
    """Of the end of a prompt, which is what the result begins with."""
    temperature: ClassVar[float]
    """To begin with."""
    files: ClassVar[tuple[str, ...]]
    """Suffixes of the files that a result is written to, the usual one first; none where it is text to read."""
    refresh: ClassVar[float]
    """Seconds from one drawing of a view to the next while a result is being made."""
    fact_types: ClassVar[dict[str, str]]
    """JSON types of what `facts` tells."""
    heard_early: ClassVar[bool] = False
    """Whether `clip` and `write` are quick enough to let a result be heard every second while it is being made."""

    @abstractmethod
    def read_prompt(self, source: str | Path, tokenizer: T) -> Tensor:
        """Ids (P,) of a prompt, P > 0: typed text (str) or a file (Path). Raises InputError."""

    @abstractmethod
    def count(self, amount: float, tokenizer: T) -> int:
        """How many tokens a length in `unit` is; at least 1 for one above 0."""

    @abstractmethod
    def view(self, completion: Completion, tokenizer: T, shared: int = 0) -> str:
        """HTML of a result, finished or not: prompt and continuation, told apart.

        The first `shared` new tokens are the other column's too; a view that can do so shows which they are.
        """

    @abstractmethod
    def facts(self, completion: Completion, tokenizer: T) -> dict[str, Any]:
        """What an endpoint tells of a result beside its figures; JSON-able."""

    @abstractmethod
    def write(self, completion: Completion, tokenizer: T, path: Path) -> None:
        """Write prompt and continuation, atomically, in the format that the suffix of `path` names."""

    def clip(self, completion: Completion, tokenizer: T) -> Clip:
        """What can be heard of a result; only where `heard_early`."""
        raise NotImplementedError

    def count_in_words(self, count: int, tokenizer: T) -> str:  # noqa: ARG002, audio uses it
        """A number of tokens in words."""
        return f"{count:,} {self.tokens if count != 1 else self.tokens.removesuffix('s')}"

    def example(self, tokenizers: Sequence[dict[str, Any]]) -> str:  # noqa: ARG002, for those that are typed
        """A prompt to begin with, which every one of the described tokenizers takes; empty if it is not typed."""
        return ""

    def check_target(self, path: Path) -> None:
        """Raise InputError if `write` could not write `path`."""
        if path.suffix.lower() not in self.files:
            raise InputError(f"{path}: {self.name} is written as {' or '.join(self.files)}")
        if path.is_dir():
            raise InputError(f"{path} is a directory; give the name of a file to write")

    def task(self, loaded: LoadedCheckpoint, prompt: str | Path | None, length: float, keep: float) -> GenerationTask:
        """What `loaded` has to do to continue the last `keep` of `prompt` by `length`, both in `unit`.

        Without a prompt it begins from the tokenizer's start, which is no part of the result.
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
