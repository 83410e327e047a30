"""Results: what one checkpoint wrote from one prompt, in variations. Page, endpoints and command line share them.

A result grows with `grow`, goes on with `continued`, gives its prompt to another checkpoint with `branched`, and is
made again from its recipe with `remade`.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveletgpt.app.checkpoints import CheckpointEntry, LoadedCheckpoint, load
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.recipe import Recipe, crc32, pack_ids, to_word, unpack_ids
from waveletgpt.app.serving.scheduling import Turn
from waveletgpt.app.streaming import Completion, GenerationTask, make_ready, stream
from waveletgpt.common.errors import InputError, quoted, renamed
from waveletgpt.models.generation import first_divergence
from waveletgpt.models.muting import muted
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.registry import same_ids

Entries = Mapping[str, CheckpointEntry]
"""The checkpoints of a kind of data, by name."""

EVERY = 0.25
"""Seconds between two updates of the results."""


@dataclass(frozen=True)
class Result:
    """What one checkpoint has written so far."""

    loaded: LoadedCheckpoint
    plan: Recipe
    """The recipe of the complete result, variation 0."""
    task: GenerationTask
    completions: tuple[Completion, ...] = ()
    """The variations."""
    chosen: int = 0
    """Index of the variation that is shown."""
    before: "Result | None" = None
    """What the card showed before, to which Undo returns; None if Undo is not offered."""
    by_other: Tensor | None = None
    """(n,) surprise of the other card's model at the first new tokens of the chosen variation, in nats; None if not
    computed."""

    @property
    def name(self) -> str:
        """Name of the checkpoint, as it is called here."""
        return self.loaded.name

    @property
    def completion(self) -> Completion:
        """The chosen variation."""
        return self.completions[self.chosen]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the chosen variation as far as it is written; InputError if nothing is."""
        left, lengths = self.completion.written, []
        for length in self.plan.lengths:
            lengths.append(min(length, left))
            left -= lengths[-1]
        return replace(
            self.plan,
            lengths=tuple(length for length in lengths if length),
            variation=self.task.samples[self.chosen],
        )

    @property
    def nats_by_other(self) -> float | None:
        """Loss of the other card's model on what is scored of the chosen variation, in nats per token."""
        return None if self.by_other is None else float(self.by_other.double().mean())

    def write(self, modality: AppModality[Any], folder: Path) -> dict[str, Path]:
        """Write the chosen variation to a new folder in every format; returns the files by suffix."""
        folder.mkdir(parents=True)
        recipe, tokenizer = self.recipe, self.loaded.tokenizer
        stem = modality.file_stem(recipe, self.completion, tokenizer)
        paths = {suffix: folder / f"{stem}{suffix}" for suffix in modality.files}
        for path in paths.values():
            modality.write(self.completion, tokenizer, path, to_word([recipe]))
        return paths

    def facts(self, modality: AppModality[Any]) -> dict[str, Any]:
        """What an endpoint returns about the chosen variation, JSON-able."""
        by_other = self.nats_by_other
        return {
            "checkpoint": self.name,
            "mixer": self.loaded.info.model.mixer,
            "seed": self.plan.sampling.seed,
            "variation": self.task.samples[self.chosen],
            "tokens": self.completion.written,
            "bits_per_token": self.completion.nats_per_token / math.log(2),
            "bits_per_token_by_other": None if by_other is None else by_other / math.log(2),
            "tokens_per_second": self.completion.tokens_per_second,
            **modality.facts(self.completion, self.loaded.tokenizer),
        }


Results = list[Result | None]
"""One for each card; None for an empty card."""


def new_result(  # noqa: PLR0917
    modality: AppModality[Any],
    loaded: LoadedCheckpoint,
    prompt: Prompt | None,
    length: int,
    sampling: Sampling,
    samples: range = range(1),
    mute: str = "",
) -> Result:
    """A result of which nothing is written yet.

    Args:
        modality: kind of data.
        loaded: the checkpoint.
        prompt: what to continue; None begins anew.
        length: number of new tokens.
        sampling: settings and seed.
        samples: numbers of the variations.
        mute: levels and layers of the wavelet that are muted.

    Raises:
        InputError: there are no such levels or layers.
    """
    title = "" if prompt is None else prompt.title
    plan = Recipe(modality.name, loaded.name, loaded.digest, (length,), sampling, title=title, mute=mute)
    if prompt is not None and prompt.example:
        plan = replace(plan, example=prompt.example, example_tokens=len(prompt.ids), example_crc=crc32(prompt.ids))
    elif prompt is not None:
        plan = replace(plan, ids=pack_ids(prompt.ids))
    return _result(loaded, plan, None if prompt is None else prompt.ids, samples)


def _result(loaded: LoadedCheckpoint, plan: Recipe, ids: Tensor | None, samples: range) -> Result:
    prompt = loaded.tokenizer.start if ids is None else ids
    model = muted(loaded.model, plan.mute)
    task = GenerationTask(model, prompt, plan.lengths, plan.sampling, samples, shown=ids is not None)
    shown = prompt if task.shown else prompt[:0]
    nothing = Completion(shown, len(shown), sum(plan.lengths))
    return Result(loaded, plan, task, (nothing,) * len(samples))


def continued(result: Result, length: int) -> Result:
    """The chosen variation of a result, to go on by `length` tokens. `before` keeps the result."""
    recipe, completion = result.recipe, result.completion
    task = replace(
        result.task,
        lengths=(length,),
        samples=range(recipe.variation, recipe.variation + 1),
        earlier=replace(completion, stopped=False),
    )
    plan = replace(recipe, lengths=(*recipe.lengths, length), variation=0)
    wanted = replace(completion, wanted=completion.written + length, stopped=False)
    return Result(result.loaded, plan, task, (wanted,), before=result)


def with_muted(result: Result, mute: str) -> Result:
    """The chosen variation of a result, to be made again without some levels or layers of its wavelet.

    Raises:
        InputError: there are no such levels or layers.
    """
    recipe, prompt = replace(result.recipe, mute=mute), result.task.prompt if result.task.shown else None
    samples = range(recipe.variation, recipe.variation + 1)
    return replace(_result(result.loaded, replace(recipe, variation=0), prompt, samples), before=result)


def remade(modality: AppModality[Any], entries: Entries, recipe: Recipe) -> Result:
    """A result to be made again from its recipe.

    Raises:
        InputError: its checkpoint is not here, its example has changed, or it is for another kind of data.
    """
    if recipe.modality != modality.name:
        raise InputError(f"this is a recipe for {recipe.modality}, not for {modality.name}")
    loaded = load_named(modality, entries, recipe_entry(entries, recipe).name)
    ids = None
    if recipe.example:
        ids = modality.example_ids(recipe.example, loaded.tokenizer)[-recipe.example_tokens :]
        if crc32(ids) != recipe.example_crc:
            raise InputError(f"the example {recipe.example} has changed since, so this result cannot be made again")
    elif recipe.ids:
        ids = unpack_ids(recipe.ids)
        if not len(ids) or int(ids.max()) >= loaded.info.model.vocab_size:
            raise InputError("the recipe is damaged: its prompt has ids that its checkpoint does not know")
    samples = range(recipe.variation, recipe.variation + 1)
    return _result(loaded, replace(recipe, variation=0), ids, samples)


def recipe_entry(entries: Entries, recipe: Recipe) -> CheckpointEntry:
    """The checkpoint of a recipe, by the digest of its weights. Raises InputError if it is not here."""
    named = [entry for entry in entries.values() if entry.name == recipe.checkpoint]
    for entry in [*named, *entries.values()]:
        if entry.digest == recipe.digest:
            return entry
    raise InputError(
        f"this was made with the checkpoint {recipe.checkpoint} ({recipe.digest}), which is not here; "
        f"here are {', '.join(entries) or 'none'}"
    )


def branched(modality: AppModality[Any], result: Result, other: LoadedCheckpoint, keep: int, length: int) -> Result:
    """A result of `other` that goes on from another card's result.

    Args:
        modality: kind of data.
        result: what to go on from; its chosen variation.
        other: the checkpoint that goes on.
        keep: number of tokens at the result's end that become the prompt.
        length: number of new tokens.

    Raises:
        InputError: the checkpoint has another vocabulary.
    """
    if not same_tokens(other, result.loaded):
        raise InputError(f"{other.name} has other tokens than {result.name}, so it cannot go on from its result")
    ids = result.completion.ids[-keep:]
    title = result.plan.title or modality.title(ids, other.tokenizer)
    return new_result(modality, other, Prompt(ids, title=title), length, result.plan.sampling)


def same_tokens(a: LoadedCheckpoint, b: LoadedCheckpoint) -> bool:
    """Whether an id means the same to both checkpoints."""
    return same_ids(a.tokenizer.to_dict(), b.tokenizer.to_dict())


def load_named(modality: AppModality[Any], entries: Entries, name: Any) -> LoadedCheckpoint:
    """Load a checkpoint by its name on the page. Raises InputError, in which files have the names of the page."""
    if not isinstance(name, str) or name not in entries:
        raise InputError(f"there is no {modality.name} checkpoint {quoted(name)}; choose {', '.join(entries)}")
    entry = entries[name]
    with renamed(entry.path, name):
        return replace(load(entry.path, modality.name, modality.tokenizer_kind, entry.device), name=name)


def ongoing(results: Sequence[Result | None]) -> list[GenerationTask]:
    """What is left to do for results that are neither complete nor stopped, in their order."""
    return [result.task for result in results if result and result.completion.ongoing]


def grow(
    results: Sequence[Result | None], *, every: float = EVERY, first: float | None = None, turns: Sequence[Turn] = ()
) -> Generator[Results, None, None]:
    """Write all results that are neither complete nor stopped, at the same time. Closing the iterator stops the work.

    Args:
        results: one for each card.
        every: seconds between two yields.
        first: seconds until the first, which may be sooner, as in `stream`.
        turns: when the model of each of the `ongoing` results may compute; by default always.

    Yields:
        The results so far. The last are complete.

    Raises:
        InputError: a setting or prompt cannot be used; raised before anything is yielded.
    """
    growing = {i: result for i, result in enumerate(results) if result and result.completion.ongoing}
    if not growing:
        yield list(results)
        return
    make_ready()
    with closing(stream(ongoing(results), every=every, first=first, turns=turns)) as snapshots:
        for snapshot in snapshots:
            found = list(results)
            for (i, result), completions in zip(growing.items(), snapshot, strict=True):
                found[i] = replace(result, completions=tuple(completions))
            yield found


def stopped(results: Sequence[Result | None]) -> Results:
    """`results` with the mark that no more tokens will come. One of which nothing is written becomes None."""
    return [
        replace(result, completions=tuple(replace(one, stopped=True) for one in result.completions))
        if result and result.completion.written
        else None
        for result in results
    ]


def are_paired(results: Sequence[Result | None]) -> bool:
    """Whether the chosen variations of two cards can be compared token by token: same tokens, prompt and noise."""
    pair = [result for result in results if result]
    if len(pair) < 2:
        return False
    a, b = pair
    return (
        same_tokens(a.loaded, b.loaded)
        and torch.equal(a.task.prompt, b.task.prompt)
        and a.plan.sampling == b.plan.sampling
        and a.task.samples[a.chosen] == b.task.samples[b.chosen]
    )


def divergence(results: Sequence[Result | None]) -> int | None:
    """Index of the first new token in which two paired results differ; None if none does yet."""
    if not are_paired(results):
        return None
    a, b = (result.completion.new for result in results if result)
    return first_divergence(a, b)


def shared_tokens(results: Sequence[Result | None]) -> int:
    """Number of new tokens that two results have in common before the first difference; 0 if they are not paired."""
    if not are_paired(results):
        return 0
    first = divergence(results)
    return min(result.completion.written for result in results if result) if first is None else first
