"""What each of two models thinks of what the other wrote."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from waveletgpt.app.results import Result, Results
from waveletgpt.models.generation import context_start, score
from waveletgpt.models.gpt import GPT

PIECE = 2048
"""Tokens that are scored at a time: a fraction of a second."""


def can_judge(made: Results) -> bool:
    """Whether there are two results of one vocabulary, with something in both."""
    return all(one and one.paired and one.completion.written for one in made) and len(made) == 2


def judged(made: Results) -> Iterator[Results]:
    """`made` with `nats_by_other` of what is scored so far, after every piece, so that whoever reads may stop.

    The prompt is context and not scored. Both models work at the same time. Nothing comes of what `can_judge` denies.
    """
    if not can_judge(made):
        return
    first, second = (one for one in made if one)
    sums = [0.0, 0.0]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, max(first.completion.written, second.completion.written), PIECE):
            pieces = pool.map(_nats, (second.loaded.model, first.loaded.model), (first, second), (start, start))
            sums = [total + piece for total, piece in zip(sums, pieces, strict=True)]
            yield [
                replace(one, nats_by_other=total / min(start + PIECE, one.completion.written))
                for one, total in zip((first, second), sums, strict=True)
            ]


def _nats(model: GPT, written: Result, start: int) -> float:
    """Minus the sum of `model`'s log-probabilities of the new tokens from `start` on, one piece of them.

    They are what it would have told while writing them: the windows of `score` begin where those of `generate` do.
    """
    prompt, new = written.task.prompt, written.completion.new
    first = len(prompt) + start
    begin = context_start(first, model.config.block_size)
    ids = torch.cat([prompt, new[: start + PIECE]])[begin:]
    return -float(score(model, ids[None])[0, first - begin :].double().sum())
