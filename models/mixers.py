"""The layers that may sit between two blocks of the decoder, by name (`GPTConfig.mixer`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from waveletgpt.models.controls import delays, family, moving_averages
from waveletgpt.models.dyadic import DyadicFilter, averages, details, token_shift
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

    def dyadic(self, width: int, *starts: Callable[[int, int], Tensor]) -> DyadicFilter:
        """Dyadic kernels for `width` coordinates, as many for each way to start."""
        each = max(1, width // len(starts))
        return DyadicFilter(each * len(starts), self.n_levels, torch.cat([s(each, self.n_levels) for s in starts]))

    def linear(self, width: int) -> list[int]:
        """Levels as the paper has them, for so many coordinates."""
        return linear_levels(width, self.n_levels)


def placed(filters: CausalFilter, place: Place) -> CausalFilter:
    """The layer, but in another place."""
    filters.place = place
    return filters


def all_averages(width: int, n_levels: int) -> Tensor:
    """Dyadic weights that start as Haar averages, levels rising linearly."""
    return averages(linear_levels(width, n_levels), n_levels)


def all_details(width: int, n_levels: int) -> Tensor:
    """Dyadic weights that start as Haar details, levels rising linearly."""
    return details(linear_levels(width, n_levels), n_levels)


Builders = dict[str, Callable[[Site], nn.Module]]

MIXERS: Builders = {
    "none": lambda at: at.wavelet("none"),
    "haar": lambda at: at.wavelet("haar"),
    "learnable": lambda at: at.wavelet("learnable"),
    # Every scale at once, on a quarter
    "dyadic": lambda at: DyadicFilter(at.quarter, at.n_levels),
    # The same, but some of the coordinates start as Haar averages or details of all levels
    "dyadic-detail": lambda at: at.dyadic(at.quarter, token_shift, all_details),
    "dyadic-detail-half": lambda at: at.dyadic(at.half, token_shift, all_details),
    "dyadic-average-detail-half": lambda at: at.dyadic(at.half, all_averages, all_details),
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
