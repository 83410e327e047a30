"""A request for the two results side by side, and the results as they grow: the same for page and endpoints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waveletgpt.app.checkpoints import CheckpointEntry, LoadedCheckpoint, load
from waveletgpt.app.engine import make_ready
from waveletgpt.app.modalities.base import Extent, Modality
from waveletgpt.app.streaming import Completion, GenerationTask, stream
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import first_divergence
from waveletgpt.models.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """What a person asks for; lengths are in the modality's unit."""

    prompt: str | Path | None
    checkpoints: tuple[str | None, ...]
    """A name for each column; None leaves the column empty."""
    length: float
    keep: float
    sampling: Sampling


@dataclass(frozen=True)
class Result:
    """What one checkpoint has made so far."""

    name: str
    loaded: LoadedCheckpoint
    task: GenerationTask
    completion: Completion
    seed: int
    paired: bool = False
    """Whether there is another column, of a model with the same vocabulary."""
    first_divergence: int | None = None
    """Of the new tokens, the first in which the two columns differ; None if there is none so far, or no pair."""
    shared: int = 0
    """How many new tokens, from the first, are the same in both columns as far as both are."""
    nats_by_other: float | None = None
    """Nats per token that the other column's model gives this one; None while it has not been asked, or no pair."""

    def facts(self, modality: Modality[Any]) -> dict[str, Any]:
        """Its figures, as an endpoint tells them."""
        by_other = self.nats_by_other
        return {
            "checkpoint": self.name,
            "mixer": self.loaded.info.model.mixer,
            "seed": self.seed,
            "tokens": self.completion.written,
            "bits_per_token": self.completion.nats_per_token / math.log(2),
            "bits_per_token_by_other": None if by_other is None else by_other / math.log(2),
            "tokens_per_second": self.completion.tokens_per_second,
            "first_divergence": self.first_divergence,
            **modality.facts(self.completion, self.loaded.tokenizer),
        }


EVERY = 0.25
"""Seconds between two looks at the results."""

FACT_TYPES = {
    "checkpoint": "string",
    "mixer": "string",
    "seed": "integer",
    "tokens": "integer",
    "bits_per_token": "number",
    "bits_per_token_by_other": "number or null",
    "tokens_per_second": "number",
    "first_divergence": "integer or null",
}
"""JSON types of what every modality's `Result.facts` begins with."""

Results = list[Result | None]


def results(modality: Modality[Any], listed: Mapping[str, CheckpointEntry], request: Request) -> Iterator[Results]:
    """The columns' results, again and again until they are complete. Raises InputError before the first."""
    check_extent("length", request.length, modality.length, modality.unit)
    check_extent("keep", request.keep, modality.keep, modality.unit)
    chosen = [name for name in request.checkpoints if name is not None]
    if not chosen:
        raise InputError("no checkpoint is chosen; choose at least one")
    for name in chosen:
        if name not in listed:
            raise InputError(f"there is no {modality.name} checkpoint {name!r}; choose {', '.join(listed)}")
    try:
        loaded = [load(listed[name].path, modality.name, modality.tokenizer_kind) for name in chosen]
        tasks = [modality.task(one, request.prompt, request.length, request.keep) for one in loaded]
    except InputError as error:
        raise InputError(_with_names(str(error), request.prompt, [listed[name] for name in chosen])) from None
    make_ready()
    paired = len(loaded) == 2 and loaded[0].tokenizer.to_dict() == loaded[1].tokenizer.to_dict()
    for completions in stream(tasks, request.sampling, every=EVERY):
        divergence, shared = _agreement([completion for (completion,) in completions]) if paired else (None, 0)
        made = iter(
            Result(name, one, task, completion, request.sampling.seed, paired, divergence, shared)
            for name, one, task, (completion,) in zip(chosen, loaded, tasks, completions, strict=True)
        )
        yield [None if name is None else next(made) for name in request.checkpoints]


def check_extent(name: str, amount: float, extent: Extent, unit: str) -> None:
    """Raise InputError for a length outside its bounds."""
    if not extent.lowest <= amount <= extent.highest:
        raise InputError(f"{name} is {amount:g} {unit}; it must be from {extent.lowest:g} to {extent.highest:g}")


def _agreement(completions: Sequence[Completion]) -> tuple[int | None, int]:
    """`first_divergence` and `shared` of a pair."""
    divergence = first_divergence(completions[0].new, completions[1].new)
    return divergence, min(completion.written for completion in completions) if divergence is None else divergence


def _with_names(message: str, prompt: str | Path | None, listed: Sequence[CheckpointEntry]) -> str:
    """`message` with the names that a person on the page knows in place of the server's paths."""
    if isinstance(prompt, Path):
        message = message.replace(str(prompt), prompt.name)
    for one in listed:
        message = message.replace(str(one.path), one.name)
    return message
