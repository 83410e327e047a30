"""What a tab, or a call of its endpoint, asks for, checked before it is used.

Gradio's own checks are off: their messages neither name the setting nor fit in one line.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from waveletgpt.app.checkpoints import LoadedCheckpoint
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.modalities.extent import Extent
from waveletgpt.app.recipe import from_word
from waveletgpt.app.results import Entries, Result, Results, load_named, new_result, remade
from waveletgpt.app.web.session import CARDS
from waveletgpt.common.errors import InputError, quoted
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.sampling import Sampling

LARGEST_NUMBER = 2**64


class Settings(NamedTuple):
    """One value, or one component, for each setting. The names are those of the endpoint's arguments."""

    length: Any
    temperature: Any
    seed: Any
    variations: Any
    paired: Any
    """Whether both cards draw with the same random numbers."""
    keep: Any
    top_k: Any
    """0 for all tokens, as 1 is for top_p and 0 for min_p."""
    top_p: Any
    min_p: Any
    repetition_penalty: Any
    """1 for none."""

    def sampling(self, card: int = 0) -> Sampling:
        """Settings and seed of a card: B's seed is one more if the cards are not paired. Raises InputError."""
        top_k, top_p, min_p = (self.number(name) for name in ("top_k", "top_p", "min_p"))
        if not isinstance(self.paired, bool):
            raise InputError(f"paired is {quoted(self.paired)}; it must be true or false")
        return Sampling(
            temperature=self.number("temperature"),
            top_k=self._whole("top_k") if top_k else None,
            top_p=None if top_p == 1 else top_p,
            min_p=min_p or None,
            repetition_penalty=self.number("repetition_penalty"),
            seed=self._whole("seed") + (0 if self.paired else card),
        )

    def samples(self, most: int) -> range:
        """Numbers of the variations, `most` at most. Raises InputError."""
        count = self._whole("variations")
        if not 1 <= count <= most:
            raise InputError(f"variations is {count}; it must be from 1 to {most}")
        return range(count)

    def within(self, name: str, extent: Extent, unit: str) -> float:
        """A length in `unit`. Raises InputError if it is outside its bounds."""
        amount = self.number(name)
        if not extent.lowest <= amount <= extent.highest:
            raise InputError(f"{name} is {amount:g} {unit}; it must be from {extent.lowest:g} to {extent.highest:g}")
        return amount

    def number(self, name: str) -> float:
        """A setting as a number. Raises InputError."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{_flag(name)} is {quoted(value)}; it must be a number")
        if not abs(value) < LARGEST_NUMBER:  # not-a-number is not
            raise InputError(f"{_flag(name)} is {quoted(value)}; it must be a number below 2**64")
        return value

    def _whole(self, name: str) -> int:
        value = self.number(name)
        if value != value // 1:
            raise InputError(f"{_flag(name)} is {value:g}; it must be a whole number")
        return int(value)


def _flag(name: str) -> str:
    """A setting's name as in messages of the models and on the command line."""
    return name.replace("_", "-")


def left_out(value: Any) -> bool:
    """Whether an argument is not given: null, or an empty text."""
    return value is None or value == ""


def source_of(modality: AppModality[Any], prompt: Any) -> str | Path | None:
    """Typed text or the path of an upload; None for no prompt. Raises InputError."""
    if left_out(prompt):
        return None
    if modality.prompt.suffixes:
        return file_of(prompt, "prompt", modality.prompt.suffixes)
    if not isinstance(prompt, str):
        raise InputError(f"prompt is {quoted(prompt)}; it must be text")
    return prompt


def file_of(value: Any, name: str, suffixes: tuple[str, ...]) -> Path:
    """The path of a file that gradio has checked. Raises InputError if `value` is no file."""
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise InputError(f"{name} is {quoted(value)}; it must be a file ({', '.join(suffixes)})")
    return Path(path)


def new_results(  # noqa: PLR0917
    modality: AppModality[Any],
    entries: Entries,
    names: Sequence[Any],
    settings: Settings,
    length: float,
    read: Callable[[LoadedCheckpoint], Prompt | None],
) -> Results:
    """Results of both cards, of which nothing is written yet.

    Args:
        modality: kind of data.
        entries: its checkpoints.
        names: a checkpoint, or None, for each card.
        settings: how tokens are drawn.
        length: of the continuation, in the modality's `unit`.
        read: reads the prompt for a checkpoint.

    Raises:
        InputError: something cannot be used.
    """
    check_chosen(names)
    results: Results = []
    for card, name in enumerate(names):
        if left_out(name):
            results.append(None)
            continue
        loaded = load_named(modality, entries, name)
        count = modality.count(length, loaded.tokenizer)
        sampling, samples = settings.sampling(card), settings.samples(modality.most_variations)
        results.append(new_result(modality, loaded, read(loaded), count, sampling, samples))
    return results


def check_chosen(names: Sequence[Any]) -> None:
    """Raise InputError if no card has a checkpoint."""
    if all(map(left_out, names)):
        raise InputError("no checkpoint is chosen; choose at least one")


def from_recipe(modality: AppModality[Any], entries: Entries, word: str) -> Results:
    """Results of both cards that a recipe makes again, of which nothing is written yet. Raises InputError."""
    results: Results = [remade(modality, entries, recipe) if recipe else None for recipe in from_word(word)]
    for result in results:
        if result:
            _check_length(modality, result)
    return [*results, *[None] * (len(CARDS) - len(results))]


def is_recipe_of(modality: AppModality[Any], word: str) -> bool:
    """Whether a recipe is for a kind of data. A damaged one is for the first, so that its error shows in one tab."""
    try:
        return any(one.modality == modality.name for one in from_word(word) if one)
    except InputError:
        return modality.name == next(iter(MODALITIES))


def _check_length(modality: AppModality[Any], result: Result) -> None:
    tokenizer = result.loaded.tokenizer
    longest, longest_here = max(result.plan.lengths), modality.count(modality.length.highest, tokenizer)
    if longest > longest_here:
        raise InputError(
            f"this result has {modality.count_in_words(longest, tokenizer)} at a time; the page makes "
            f"{longest_here:,} at most, waveletgpt generate --recipe any number"
        )
