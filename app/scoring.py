"""What models think of given tokens: of what the other card wrote, or of a file."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from waveletgpt.app.results import Result, Results, same_tokens
from waveletgpt.models.generation import context_start, score
from waveletgpt.models.gpt import GPT

PIECE = 2048
"""Tokens that `cross_score` scores at a time, in a fraction of a second."""


def can_cross_score(results: Sequence[Result | None]) -> bool:
    """Whether there are two results with one vocabulary and at least one new token each."""
    pair = [result for result in results if result and result.completion.written]
    return len(pair) == 2 and same_tokens(pair[0].loaded, pair[1].loaded)


def cross_score(results: Results) -> Iterator[Results]:
    """Score what each model wrote with the other model, both at the same time. The prompt is not scored.

    Args:
        results: complete or stopped. Nothing is yielded unless `can_cross_score`.

    Yields:
        `results` with `by_other` of the tokens scored so far, after every `PIECE` tokens.
    """
    if not can_cross_score(results):
        return
    first, second = (one for one in results if one)
    if first.by_other is not None and second.by_other is not None:  # what a tab opens with
        yield results
        return
    scored = [torch.zeros(0), torch.zeros(0)]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, max(first.completion.written, second.completion.written), PIECE):
            pieces = pool.map(_surprise, (second.loaded.model, first.loaded.model), (first, second), (start, start))
            scored = [torch.cat(pair) for pair in zip(scored, pieces, strict=True)]
            yield [replace(one, by_other=nats) for one, nats in zip((first, second), scored, strict=True)]


def _surprise(model: GPT, result: Result, start: int) -> Tensor:
    """Surprise (n,) of `model` at the new tokens `start` to `start + PIECE`, in nats."""
    prompt, new = result.task.prompt, result.completion.new
    return -score_piece(model, torch.cat([prompt, new]), len(prompt) + start)


def score_piece(model: GPT, ids: Tensor, first: int) -> Tensor:
    """Log-probabilities (n,) of `ids[first : first + PIECE]`, where ids (N,) and `first > 0`.

    `generate` would give the same: the windows of `score` begin where those of `generate` do.
    """
    begin = context_start(first, model.config.block_size)
    return score(model, ids[None, begin : first + PIECE])[0, first - begin :]
