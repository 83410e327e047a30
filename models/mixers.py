"""The layers that may mix the decoder over time, by name (`GPTConfig.mixer`)."""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from waveletgpt.models.filters.base import Builder, TokenShift, quarter
from waveletgpt.models.filters.controls import CONTROLS
from waveletgpt.models.filters.dyadic import DyadicFilter
from waveletgpt.models.filters.keys import KEY_MIXERS
from waveletgpt.models.filters.multiscale import CANDIDATES, Canon, side_by_side
from waveletgpt.models.wavelet import CausalWavelet


class Mixer(Protocol):
    """A causal layer on the residual stream between two blocks, or on the keys or the values of a block."""

    def __call__(self, x: Tensor, state: Any = None) -> Tensor:
        """Mix x (B, T, E) over time.

        With a state, x continues the positions that the state has read: any number of them when the state is new,
        one (T = 1) after that.
        """

    def new_state(self, batch: int, device: torch.device) -> Any:
        """An empty state for decoding `batch` streams token by token; None if the layer remembers nothing.

        The state's `repeat(copies)` returns a state of `copies` times as many streams. Its `copy_(other)` copies the
        contents of another state into it.
        """


MIXERS: dict[str, Builder] = {
    "none": lambda n_embd, n_levels: CausalWavelet(n_embd, "none", n_levels),
    "haar": lambda n_embd, n_levels: CausalWavelet(n_embd, "haar", n_levels),
    "learnable": lambda n_embd, n_levels: CausalWavelet(n_embd, "learnable", n_levels),
    "dyadic": lambda n_embd, n_levels: DyadicFilter(quarter(n_embd), n_levels),
    "shift": lambda n_embd, _: TokenShift(n_embd // 2),
}
"""The mixers of the README's results: the baseline, the paper's two wavelets, this project's own layer, and token
shift, the simplest layer to compare them with."""

ALL_MIXERS: dict[str, Builder] = MIXERS | CANDIDATES | CONTROLS
"""Everything that `GPTConfig.mixer` may name, except the layers on keys (`filters.keys`): the mixers, the candidates
for a better one (`filters.multiscale`) and the controls (`filters.controls`)."""


class KeysValues(nn.ModuleList):
    """The layers on the keys and on the values of a block, in this order; on keys alone, or none, by `name`."""

    def __init__(self, name: str, n_embd: int, n_head: int, n_levels: int) -> None:
        if name in KEY_MIXERS:
            super().__init__([KEY_MIXERS[name](n_embd, n_head, n_levels)])
        else:
            super().__init__(ALL_MIXERS[name](n_embd, n_levels) for _ in range(0 if name == "none" else 2))

    def forward(self, qkv: Tensor, states: list[Any] | None = None) -> Tensor:
        """Mix keys and values over time in qkv (B, T, 3 E): queries, keys, values. States are as in `Mixer`."""
        if states is None and len(self) == 2 and all(isinstance(mixer, Canon) for mixer in self):
            return side_by_side(qkv, cast("list[Canon]", list(self)))
        parts = list(qkv.chunk(3, dim=-1))
        for i, mixer in enumerate(self):
            parts[1 + i] = mixer(parts[1 + i], None if states is None else states[i])
        return torch.cat(parts, dim=-1)
