"""What a model might have written instead, and results that go on from there."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.results import Result, new_result
from waveletgpt.models.generation import next_probabilities
from waveletgpt.models.gpt import GPT

SHOWN = 10


@dataclass(frozen=True)
class Alternative:
    """A token that could stand somewhere."""

    token: int
    probability: float
    """Under the model that wrote the result, before temperature and filters."""
    by_other: float | None
    """Under the other model; None if there is none with the same tokens."""
    written: bool
    """Whether it stands there."""


def alternatives(result: Result, other: GPT | None, index: int) -> list[Alternative]:
    """The likeliest tokens in place of a new token of the chosen variation, and that token if it is not among them.

    Args:
        result: with more than `index` new tokens.
        other: the other card's model, of the same vocabulary; None if there is none.
        index: of the new token.
    """
    ids = torch.cat([result.task.prompt, result.completion.new[:index]])
    written = int(result.completion.new[index])
    own = next_probabilities(result.task.model, ids)
    others = None if other is None else next_probabilities(other, ids)
    tokens = own.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return [
        Alternative(token, float(own[token]), None if others is None else float(others[token]), token == written)
        for token in ([*tokens] if written in tokens else [*tokens, written])
    ]


def branched_at(modality: AppModality[Any], result: Result, index: int, token: int) -> Result:
    """A result that goes on from another token in place of a new one, as long as was asked for last.

    What stands before becomes its prompt, with the token. Undo returns to `result`.
    """
    kept = result.completion.ids[: result.completion.prompt_length + index]
    ids = torch.cat([kept, torch.tensor([token])])
    title = result.plan.title or modality.title(ids, result.loaded.tokenizer)
    sampling, length = result.plan.sampling, result.plan.lengths[-1]
    prompt, mute = Prompt(ids, title=title), result.plan.mute
    return replace(new_result(modality, result.loaded, prompt, length, sampling, mute=mute), before=result)
