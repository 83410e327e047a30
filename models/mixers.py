"""The layers that may sit between two blocks of the decoder, by name (`GPTConfig.mixer`)."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from waveletgpt.models.wavelet import CausalWavelet


class Mixer(Protocol):
    """What such a layer offers. It must be causal."""

    def __call__(self, x: Tensor, state: Any = None) -> Tensor:
        """Mix x (B, T, E) over time. With a state, x continues what the state has seen: any T when it is new,
        T = 1 after that.
        """

    def new_state(self, batch: int, device: torch.device) -> Any:
        """What it remembers while decoding `batch` streams token by token, None if nothing. Its `repeat(copies)`
        gives the same for `copies` times as many streams, and `copy_(other)` takes over the contents of another.
        """


MIXERS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda n_embd, n_levels: CausalWavelet(n_embd, "none", n_levels),
    "haar": lambda n_embd, n_levels: CausalWavelet(n_embd, "haar", n_levels),
    "learnable": lambda n_embd, n_levels: CausalWavelet(n_embd, "learnable", n_levels),
}
"""Builders, from (n_embd, n_levels)."""
