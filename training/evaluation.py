"""The loss of a model on held-out tokens, and the units it is told in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.gpt import GPT
from waveletgpt.training.data import Tokens, windows_at

Autocast = Callable[[], AbstractContextManager[None]]


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of targets (B, T) under logits (B, T, V)."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


@torch.no_grad()
def evaluate(
    model: GPT,
    tokens: Tokens,
    offsets: Sequence[int],
    *,
    batch_size: int,
    autocast: Autocast = nullcontext,
    advance: Callable[[int], None] = lambda _: None,
) -> float:
    """Mean loss in nats per token over the windows of `tokens` that begin at `offsets`.

    `advance` is told how many windows were just read.
    """
    was_training = model.training
    model.eval()
    device, total = model.embedding.weight.device, 0.0
    for i in range(0, len(offsets), batch_size):
        inputs, targets = windows_at(tokens, offsets[i : i + batch_size], model.config.block_size)
        with autocast():
            loss = token_loss(model(inputs.to(device)), targets.to(device))
        total += float(loss) * len(inputs)
        advance(len(inputs))
    model.train(was_training)
    return total / len(offsets)
