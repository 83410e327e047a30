"""The layers that may sit between two blocks of the decoder, by name (`GPTConfig.mixer`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from waveletgpt.models.controls import delays, family, moving_averages
from waveletgpt.models.dyadic import DyadicFilter
from waveletgpt.models.filters import CausalFilter, Place
from waveletgpt.models.wavelet import CausalWavelet, HaarDetail, WaveletKind, linear_levels


class Mixer(Protocol):
    """What such a layer offers. It must be causal."""

    place: Place

    def __call__(self, x: Tensor, state: Any = None) -> Tensor:
        """Mix x (B, T, E) over time. With a state, x continues what the state has seen: any T when it is new,
        T = 1 after that.
        """

    def new_state(self, batch: int, device: torch.device) -> Any:
        """What it remembers while decoding `batch` streams token by token, None if nothing. Its `repeat(copies)`
        gives the same for `copies` times as many streams, and `copy_(other)` takes over the contents of another.
        """


@dataclass(frozen=True)
class Site:
    """What a layer is built for."""

    n_embd: int
    n_levels: int
    block: int
    """The number, from 0, of the block that it follows."""

    @property
    def half(self) -> int:
        """Coordinates that the paper's layer changes."""
        return self.n_embd // 2

    @property
    def quarter(self) -> int:
        """Half as many."""
        return max(1, self.n_embd // 4)

    def wavelet(self, kind: WaveletKind, levels: list[int] | None = None) -> CausalWavelet:
        """The paper's layer, or one with other levels."""
        return CausalWavelet(self.n_embd, kind, self.n_levels, levels)

    def one_level(self, level: int) -> list[int]:
        """The same for half of the coordinates."""
        return [min(level, self.n_levels)] * self.half

    def linear(self, width: int) -> list[int]:
        """Levels as the paper has them, for so many coordinates."""
        return linear_levels(width, self.n_levels)


def placed(filters: CausalFilter, place: Place) -> CausalFilter:
    """The layer, but in another place."""
    filters.place = place
    return filters


Builders = dict[str, Callable[[Site], nn.Module]]

MIXERS: Builders = {
    "none": lambda at: at.wavelet("none"),
    "haar": lambda at: at.wavelet("haar"),
    "learnable": lambda at: at.wavelet("learnable"),
    # Every scale at once, on a quarter
    "dyadic": lambda at: DyadicFilter(at.quarter, at.n_levels),
    # Is it the nearest neighbour alone? One scale alone? The shape of the window? That kernels are learned?
    "shift": lambda at: delays([1] * at.half),
    "window4": lambda at: at.wavelet("haar", at.one_level(4)),
    "window9": lambda at: at.wavelet("haar", at.one_level(9)),
    "ema": lambda at: moving_averages(at.half, at.n_levels),
    "conv4": lambda at: at.wavelet("learnable", at.one_level(2)),
    # On how much of the stream, and on which?
    "shift-quarter": lambda at: delays([1] * at.quarter),
    "haar-quarter": lambda at: at.wavelet("haar", at.linear(at.quarter)),
    "haar-three-quarters": lambda at: at.wavelet("haar", at.linear(at.half + at.n_embd // 4)),
    "haar-output": lambda at: placed(at.wavelet("haar"), "output"),
    # Other wavelets
    "db2": lambda at: family("db2", at.linear(at.half), at.n_levels),
    "sym4": lambda at: family("sym4", at.linear(at.half), at.n_levels),
    "haar-detail": lambda at: HaarDetail(at.linear(at.quarter)),
}
"""What README and docs/log.md tell of."""
