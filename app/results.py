"""Two results side by side, as they grow: what page and endpoints have in common."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from waveletgpt.app.checkpoints import CheckpointEntry, LoadedCheckpoint, load
from waveletgpt.app.modalities.base import AppModality, Extent
from waveletgpt.app.streaming import Completion, GenerationTask, make_ready, stream
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import context_start, first_divergence, score
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """Prompt and settings for both results. Lengths are in the modality's unit."""

    prompt: str | Path | None
    checkpoints: tuple[str | None, ...]
    """Name for each column; None leaves the column empty."""
    length: float
    keep: float
    sampling: Sampling


@dataclass(frozen=True)
class Result:
    """What one checkpoint has written so far."""

    name: str
    loaded: LoadedCheckpoint
    task: GenerationTask
    completion: Completion
    seed: int
    paired: bool = False
    """Whether there is another column whose model has the same vocabulary."""
    first_divergence: int | None = None
    """Index of the first new token that differs between the columns; None if none differs yet, or if not `paired`."""
    shared: int = 0
    """Number of new tokens before the first difference between the columns."""
    nats_by_other: float | None = None
    """Loss of the other column's model on this completion, in nats per token; None if not computed."""

    def facts(self, modality: AppModality[Any]) -> dict[str, Any]:
        """What an endpoint returns about the result, JSON-able."""
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
"""Seconds between two updates of the results."""
PIECE = 2048
"""Tokens that `cross_score` scores at a time, in a fraction of a second."""

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
"""JSON types of the values that `Result.facts` has for every modality."""

Results = list[Result | None]
"""One for each column; None for an empty column."""


def generate_results(
    modality: AppModality[Any], entries: Mapping[str, CheckpointEntry], request: Request
) -> Iterator[Results]:
    """Generate with both checkpoints at the same time.

    Args:
        modality: kind of data.
        entries: the checkpoints that can be chosen, by name.
        request: prompt and settings.

    Yields:
        The results so far, every `EVERY` seconds. The first are empty, the last complete.

    Raises:
        InputError: the request cannot be met; raised before anything is yielded.
    """
    check_extent("length", request.length, modality.length, modality.unit)
    check_extent("keep", request.keep, modality.keep, modality.unit)
    chosen = [name for name in request.checkpoints if name is not None]
    if not chosen:
        raise InputError("no checkpoint is chosen; choose at least one")
    for name in chosen:
        if name not in entries:
            raise InputError(f"there is no {modality.name} checkpoint {name!r}; choose {', '.join(entries)}")
    try:
        loaded = [load(entries[name].path, modality.name, modality.tokenizer_kind) for name in chosen]
        tasks = [modality.task(one, request.prompt, request.length, request.keep) for one in loaded]
    except InputError as error:
        raise InputError(_with_names(str(error), request.prompt, [entries[name] for name in chosen])) from None
    make_ready()
    paired = len(loaded) == 2 and loaded[0].tokenizer.to_dict() == loaded[1].tokenizer.to_dict()
    for completions in stream(tasks, request.sampling, every=EVERY):
        divergence, shared = _agreement([completion for (completion,) in completions]) if paired else (None, 0)
        columns = iter(
            Result(name, one, task, completion, request.sampling.seed, paired, divergence, shared)
            for name, one, task, (completion,) in zip(chosen, loaded, tasks, completions, strict=True)
        )
        yield [None if name is None else next(columns) for name in request.checkpoints]


def check_extent(name: str, amount: float, extent: Extent, unit: str) -> None:
    """Raise InputError if a length is outside its bounds."""
    if not extent.lowest <= amount <= extent.highest:
        raise InputError(f"{name} is {amount:g} {unit}; it must be from {extent.lowest:g} to {extent.highest:g}")


def _agreement(completions: Sequence[Completion]) -> tuple[int | None, int]:
    """`first_divergence` and `shared` of a pair."""
    divergence = first_divergence(completions[0].new, completions[1].new)
    return divergence, min(completion.written for completion in completions) if divergence is None else divergence


def _with_names(message: str, prompt: str | Path | None, entries: Sequence[CheckpointEntry]) -> str:
    """`message` with the names shown on the page in place of the server's paths."""
    if isinstance(prompt, Path):
        message = message.replace(str(prompt), prompt.name)
    for entry in entries:
        message = message.replace(str(entry.path), entry.name)
    return message


def stopped(results: Results) -> Results:
    """`results` with the mark that no more tokens will come."""
    return [result and replace(result, completion=replace(result.completion, stopped=True)) for result in results]


def can_cross_score(results: Results) -> bool:
    """Whether there are two results with one vocabulary and at least one new token each."""
    return len(results) == 2 and all(one and one.paired and one.completion.written for one in results)


def cross_score(results: Results) -> Iterator[Results]:
    """Score what each model wrote with the other model, both at the same time. The prompt is not scored.

    Args:
        results: complete or stopped. Nothing is yielded unless `can_cross_score`.

    Yields:
        `results` with `nats_by_other` of the tokens scored so far, after every `PIECE` tokens.
    """
    if not can_cross_score(results):
        return
    first, second = (one for one in results if one)
    sums = [0.0, 0.0]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, max(first.completion.written, second.completion.written), PIECE):
            pieces = pool.map(_nats, (second.loaded.model, first.loaded.model), (first, second), (start, start))
            sums = [total + piece for total, piece in zip(sums, pieces, strict=True)]
            yield [
                replace(one, nats_by_other=total / min(start + PIECE, one.completion.written))
                for one, total in zip((first, second), sums, strict=True)
            ]


def _nats(model: GPT, result: Result, start: int) -> float:
    """Minus the sum of `model`'s log-probabilities of the new tokens `start` to `start + PIECE`.

    `generate` would give the same: the windows of `score` begin where those of `generate` do.
    """
    prompt, new = result.task.prompt, result.completion.new
    first = len(prompt) + start
    begin = context_start(first, model.config.block_size)
    ids = torch.cat([prompt, new[: start + PIECE]])[begin:]
    return -float(score(model, ids[None])[0, first - begin :].double().sum())
