"""A request for the two results side by side, and the results as they grow: the same for page and endpoints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waveletgpt.app.checkpoints import Listed, Loaded, load
from waveletgpt.app.modality import Extent, Modality
from waveletgpt.app.streaming import Sampling, Take, stream
from waveletgpt.common.errors import InputError


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
    loaded: Loaded
    take: Take
    seed: int

    def facts(self, modality: Modality[Any]) -> dict[str, Any]:
        """Its figures, as an endpoint tells them."""
        return {
            "checkpoint": self.name,
            "mixer": self.loaded.info.model.mixer,
            "seed": self.seed,
            "tokens": self.take.written,
            "bits_per_token": self.take.nats_per_token / math.log(2),
            "tokens_per_second": self.take.tokens_per_second,
            **modality.facts(self.take, self.loaded.tokenizer),
        }


EVERY = 0.25
"""Seconds between two looks at the results."""

FACT_TYPES = {
    "checkpoint": "string",
    "mixer": "string",
    "seed": "integer",
    "tokens": "integer",
    "bits_per_token": "number",
    "tokens_per_second": "number",
}
"""JSON types of what every modality's `Result.facts` begins with."""

Results = list[Result | None]


def results(modality: Modality[Any], listed: Mapping[str, Listed], request: Request) -> Iterator[Results]:
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
        jobs = [modality.job(one, request.prompt, request.length, request.keep) for one in loaded]
    except InputError as error:
        raise InputError(_with_names(str(error), request.prompt, [listed[name] for name in chosen])) from None
    for takes in stream(jobs, request.sampling, every=EVERY):
        made = iter(
            Result(name, one, take, request.sampling.seed)
            for name, one, (take,) in zip(chosen, loaded, takes, strict=True)
        )
        yield [None if name is None else next(made) for name in request.checkpoints]


def check_extent(name: str, amount: float, extent: Extent, unit: str) -> None:
    """Raise InputError for a length outside its bounds."""
    if not extent.lowest <= amount <= extent.highest:
        raise InputError(f"{name} is {amount:g} {unit}; it must be from {extent.lowest:g} to {extent.highest:g}")


def _with_names(message: str, prompt: str | Path | None, listed: Sequence[Listed]) -> str:
    """`message` with the names that a person on the page knows in place of the server's paths."""
    if isinstance(prompt, Path):
        message = message.replace(str(prompt), prompt.name)
    for one in listed:
        message = message.replace(str(one.path), one.name)
    return message
