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
        results: may grow still. What they have of `by_other` is not scored again. Nothing is yielded unless
            `can_cross_score`.

    Yields:
        `results` with `by_other` of the tokens scored so far, after every `PIECE` tokens, at least once.
    """
    if not can_cross_score(results):
        return
    a, b = (one for one in results if one)
    with ThreadPoolExecutor(2) as pool:
        while True:
            a, b = pool.map(_scored, (a, b), (b.loaded.model, a.loaded.model))
            yield [a, b]
            if all(one.by_other is not None and len(one.by_other) >= one.completion.written for one in (a, b)):
                return


def _scored(result: Result, model: GPT) -> Result:
    """`result` with the surprise of `model` at `PIECE` more of its new tokens, in nats."""
    prompt, new = result.task.prompt, result.completion.new
    known = torch.zeros(0) if result.by_other is None else result.by_other
    if len(known) >= len(new):
        return result
    more = -score_piece(model, torch.cat([prompt, new]), len(prompt) + len(known))
    return replace(result, by_other=torch.cat([known, more]))


def with_scores(results: Results, scored: Results) -> Results:
    """`results` with what `cross_score` knew of them when they were shorter; as they are if it knew nothing."""
    if not all(one and known and is_longer(one, known) for one, known in zip(results, scored, strict=True)):
        return results
    pairs = zip(results, scored, strict=True)
    return [replace(one, by_other=known.by_other) for one, known in pairs if one and known]


def is_longer(result: Result, known: Result) -> bool:
    """Whether one result was another before it grew."""
    return result.task is known.task and result.chosen == known.chosen


def score_piece(model: GPT, ids: Tensor, first: int) -> Tensor:
    """Log-probabilities (n,) of `ids[first : first + PIECE]`, where ids (N,) and `first > 0`.

    `generate` would give the same: the windows of `score` begin where those of `generate` do.
    """
    begin = context_start(first, model.config.block_size)
    return score(model, ids[None, begin : first + PIECE])[0, first - begin :]
