"""The interface between the app and one kind of data. Page, endpoints and command line all use it."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import Tensor

from waveletgpt.app.access import Limits
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.prompts.example import Example, find_example
from waveletgpt.app.recipe import Recipe
from waveletgpt.app.streaming import MOST_TOKENS, Completion
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import Modality, find_modality
from waveletgpt.models.checkpoint import CheckpointInfo
from waveletgpt.tokenizers.registry import Tokenizer

T = TypeVar("T", bound=Tokenizer)


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


@dataclass(frozen=True)
class Prompt:
    """What a model continues."""

    ids: Tensor
    """(P,), P > 0."""
    note: str = ""
    """What was changed in the text or file, in one line for people; empty if nothing was."""
    title: str = ""
    """A few words for people: the beginning of a text, or the name of a file."""
    example: str = ""
    """Name of the ready-made prompt whose end this is; empty for other prompts."""
    whole: int = 0
    """Tokens of the whole file, if only the end of it was read."""


class AppModality(ABC, Generic[T]):
    """What the app can do with one kind of data, whose tokenizer is a T."""

    prompt: ClassVar[PromptField]
    length: Extent
    """Length of the continuation, in `unit`: the bounds of endpoint and command line."""
    length_unit: ClassVar[str]
    """What visitors of the page think of lengths in, in the plural: words, seconds or notes."""
    units_each: ClassVar[float] = 1.0
    """How many `unit` one `length_unit` has, on average."""
    length_on_page: Extent
    """`length` in `length_unit`."""
    most_variations: int = 4
    """Most results of each checkpoint at a time, on the page and from the endpoint."""
    longest_upload: float = math.inf
    """Seconds that a prompt's file may last."""
    keep: ClassVar[Extent]
    """How much of the prompt's end the result starts with, in `unit`."""
    files: ClassVar[tuple[str, ...]]
    """Suffixes of the files that a result can be written to, the default first. Empty if people read it as text."""
    refresh: ClassVar[float]
    """Seconds between two updates of `view` during generation."""
    first: ClassVar[float] = 0.25
    """Seconds until the first: as many as it takes to have something to read, to see or to hear."""
    place: ClassVar[str] = "a place"
    """What people click on to look closer at a token."""
    fact_types: ClassVar[dict[str, tuple[str, str]]]
    """JSON type and meaning of each value in `facts`."""
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

    def limited(self, limits: Limits) -> Self:
        """This kind of data with the bounds of a page. Raises InputError if its results could have no length."""
        mine, highest = copy(self), limits.max_length.get(self.name, self.length.highest)
        if highest < self.length.lowest:
            raise InputError(
                f"--max-length of {self.name} is {highest:g} {self.unit}; it must be {self.length.lowest:g} or more"
            )
        mine.length = self.length.up_to(highest)
        if self.name in limits.max_length:
            step = self.length_on_page.step
            steps = max(1, math.floor(highest / self.units_each / step + 1e-9))
            mine.length_on_page = self.length_on_page.up_to(round(steps * step, 6))
        mine.most_variations, mine.longest_upload = limits.max_variations, limits.max_duration
        return mine

    def check_duration(self, path: Path, seconds: float) -> None:
        """Raise InputError if a prompt's file lasts too long."""
        if seconds > self.longest_upload:
            raise InputError(f"{path}: lasts {seconds:,.0f} seconds; it must be at most {self.longest_upload:,.0f}")

    @abstractmethod
    def read_prompt(self, source: str | Path, tokenizer: T) -> Prompt:
        """Encode typed text (str) or a file (Path). Raises InputError."""

    def count(self, amount: float, tokenizer: T) -> int:  # noqa: ARG002, for kinds whose tokens are not their unit
        """Convert a length above 0 from `unit` to tokens, at least 1."""
        return max(1, round(amount))

    def amount(self, count: int, tokenizer: T) -> float:  # noqa: ARG002, for kinds whose tokens are not their unit
        """Convert tokens to `unit`, the inverse of `count`."""
        return count

    @abstractmethod
    def view(
        self,
        completion: Completion,
        tokenizer: T,
        shared: int = 0,
        axes: Any = None,
        surprise: Tensor | None = None,
    ) -> str:
        """HTML of a finished or unfinished result, which shows where the prompt ends.

        Args:
            completion: the result.
            tokenizer: its checkpoint's tokenizer.
            shared: number of first new tokens that are equal in both cards; a view may mark them.
            axes: what `axes` returned for all results that are shown; None for the result's own.
            surprise: (n,) nats of the first new tokens, to mark them by; None for no marks.
        """

    def label(self, token: int, tokenizer: T) -> str:  # noqa: ARG002, for kinds that name their tokens
        """A token's name for people."""
        return f"token {token}"

    def token_at(self, seconds: float, ids: Tensor, tokenizer: T) -> int:  # noqa: ARG002, for kinds with time
        """Index of the token of `ids` (T,) that stands at a time."""
        return 0

    def axes(self, completions: Sequence[Completion], tokenizers: Sequence[T]) -> Any:  # noqa: ARG002
        """The axes that the views of some results share, for `view`. None for kinds without axes.

        Args:
            completions: the results, at least one.
            tokenizers: the tokenizer of each.
        """
        return None

    def token_times(self, ids: Tensor, tokenizer: T) -> Tensor | None:  # noqa: ARG002, for kinds of even tokens
        """The time (T,) in seconds at which each of `ids` (T,) stands; None if tokens are evenly spaced."""
        return None

    @abstractmethod
    def facts(self, completion: Completion, tokenizer: T) -> dict[str, Any]:
        """JSON-able facts that an endpoint returns about a result, beside speed and loss."""

    @abstractmethod
    def write(self, completion: Completion, tokenizer: T, path: Path, recipe: str = "") -> None:
        """Write prompt and continuation atomically, in the format given by the suffix of `path`.

        `recipe` is kept in formats that have a place for it.
        """

    @property
    def token(self) -> str:
        """One of `tokens`."""
        return self.tokens.removesuffix("s")

    @property
    def is_printed(self) -> bool:
        """Whether results are read rather than heard."""
        return not self.prompt.suffixes

    @property
    def is_heard(self) -> bool:
        """Whether results can be heard."""
        return ".wav" in self.files

    def file_stem(self, recipe: Recipe, completion: Completion, tokenizer: T) -> str:
        """A file's name without suffix: kind, checkpoint, seed, length and the prompt's first words."""
        named = recipe.checkpoint.startswith(self.name)
        parts = [recipe.checkpoint if named else f"{self.name} {recipe.checkpoint}", f"seed{recipe.sampling.seed}"]
        if recipe.variation:
            parts.append(f"variation{recipe.variation + 1}")
        if recipe.mute:
            parts.append(f"muted {recipe.mute}")
        parts += [self.describe(completion.written, tokenizer).removeprefix("about "), recipe.title]
        return "-".join(re.findall(r"\w+(?:\.\d+)?", " ".join(parts)))[:80]

    def clip(self, completion: Completion, tokenizer: T) -> Clip | None:  # noqa: ARG002
        """The sound of a result, for kinds that are `heard_early`."""
        return None

    def tokens_for(self, amount: float, tokenizer: T) -> int:
        """Convert a length above 0 from `length_unit` to tokens, at least 1."""
        return self.count(amount * self.units_each, tokenizer)

    def describe(self, count: int, tokenizer: T) -> str:  # noqa: ARG002, for kinds whose tokens are not their unit
        """A number of tokens in `length_unit`, such as "about 90 words"."""
        amount = round(count / self.units_each)
        unit = self.length_unit if amount != 1 else self.length_unit.removesuffix("s")
        return f"{'about ' * (self.units_each != 1)}{amount:,} {unit}"

    def count_in_words(self, count: int, tokenizer: T) -> str:  # noqa: ARG002, for kinds whose tokens are not their unit
        """A number of tokens in words."""
        return f"{count:,} {self.tokens if count != 1 else self.token}"

    def examples(self) -> tuple[Example, ...]:
        """Ready-made prompts. A kind may have none."""
        return ()

    def example_file(self, name: str, folder: Path) -> str | Path:  # noqa: ARG002, for kinds without examples
        """A ready-made prompt as people would give it: text, or a file that is written to `folder`.

        Raises InputError for an unknown name.
        """
        raise InputError(f"there is no example {name!r}; this kind has none")

    def example_ids(self, name: str, tokenizer: T) -> Tensor:
        """Ids (P,) of a ready-made prompt. Raises InputError for an unknown name, or if it cannot be encoded."""
        find_example(self.examples(), name)
        with TemporaryDirectory() as folder:
            return self.read_prompt(self.example_file(name, Path(folder)), tokenizer).ids

    def seconds(self, prompt: Prompt, tokenizer: T) -> float:  # noqa: ARG002
        """How long a prompt's whole file lasts; 0 for kinds without time."""
        return 0.0

    def ids_until(self, seconds: float, prompt: Prompt, source: Any, tokenizer: T) -> Tensor:  # noqa: ARG002
        """The ids of a prompt, read from `source`, up to a second of its file, at least one."""
        return prompt.ids

    def read_sample(self, path: Path, tokenizer: T) -> Completion:
        """A sample that training wrote, as a finished result without a prompt. Raises InputError."""
        ids = self.sample_ids(path, tokenizer)
        return Completion(ids, 0, len(ids))

    def sample_ids(self, path: Path, tokenizer: T) -> Tensor:
        """Ids (S,) of such a sample. Raises InputError."""
        return self.read_prompt(path, tokenizer).ids

    def title(self, ids: Tensor, tokenizer: T) -> str:  # noqa: ARG002, for text
        """A few words for a prompt that people know from a result."""
        return ""

    def headline(self, recipes: Sequence[Recipe]) -> str:
        """A result's line in the history."""
        names = " and ".join(dict.fromkeys(recipe.checkpoint for recipe in recipes))
        title = next((recipe.title for recipe in recipes if recipe.title), "")
        return f"{f'{title} … ' if title else ''}{names}, seed {recipes[0].sampling.seed}"

    def check_target(self, path: Path) -> None:
        """Raise InputError if `write` cannot write to `path`."""
        if path.suffix.lower() not in self.files:
            raise InputError(f"{path}: {self.name} is written as {' or '.join(self.files)}")
        if path.is_dir():
            raise InputError(f"{path} is a directory; give the name of a file to write")

    def checked_count(self, name: str, amount: float, tokenizer: T) -> int:
        """Convert the length `name` from `unit` to tokens. Raises InputError unless it is above 0, and not too long."""
        if not 0 < amount <= MOST_TOKENS or (count := self.count(amount, tokenizer)) > MOST_TOKENS:
            raise InputError(
                f"{name} is {amount:g} {self.unit}; it must be above 0, and at most {MOST_TOKENS:,} {self.tokens}"
            )
        return count

    def kept_prompt(
        self,
        source: str | Path | None,
        keep: float,
        tokenizer: T,
        example: str = "",
        until: float | None = None,
    ) -> Prompt | None:
        """The end of a prompt, or of its beginning.

        Args:
            source: typed text or a file; None or empty for none.
            keep: how much of the prompt's end is used, in `unit`; infinity for all of it.
            tokenizer: the checkpoint's tokenizer.
            example: name of a ready-made prompt, to use instead.
            until: seconds from the beginning of the file; the rest is left out. None for all of it.

        Returns:
            The prompt; None if there is none.

        Raises:
            InputError: the prompt or `keep` cannot be used.
        """
        most = None if keep == math.inf else self.checked_count("keep", keep, tokenizer)
        if example:
            title = find_example(self.examples(), example).title
            prompt = Prompt(self.example_ids(example, tokenizer), "", title, example)
        elif source:
            prompt = self.read_prompt(source, tokenizer)
        else:
            return None
        note = prompt.note
        if until is not None and until < self.seconds(prompt, tokenizer):
            prompt = replace(prompt, ids=self.ids_until(until, prompt, source, tokenizer), example="")
        kept = prompt.ids[-most:] if most else prompt.ids
        whole = prompt.whole or len(prompt.ids)
        if len(kept) < whole and until is None:
            used, given = self.describe(len(kept), tokenizer), self.describe(whole, tokenizer)
            note = f"{note}; " * bool(note) + f"only the end of the prompt is used, {used} of {given}"
        return replace(prompt, ids=kept, note=note)


@cache
def _load(record: Modality) -> AppModality[Any]:
    loaded: AppModality[Any] = record.module("app/modalities").APP_MODALITY(record)
    return loaded


def load_modality(name: str) -> AppModality[Any]:
    """Import `app/modalities/<name>.py`. Raises InputError for an unknown name."""
    return _load(find_modality(name))
