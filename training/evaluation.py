"""The loss of a model."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.gpt import GPT
from waveletgpt.training.data import Tokens, windows_at
from waveletgpt.training.ranks.devices import Autocast


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats per token, of targets (B, T) under logits (B, T, V)."""
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
    """Measure the mean loss over windows, in nats per token.

    Args:
        model: the model; it is in evaluation mode meanwhile.
        tokens: ids (N,).
        offsets: where the windows of block_size tokens begin.
        batch_size: windows in a forward pass.
        autocast: makes the context in which the model computes.
        advance: called with the number of windows just read.
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
