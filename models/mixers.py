"""The layers that may sit between two blocks of the decoder, by name (`GPTConfig.mixer`)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.models.controls import approximation_and_detail, delays, family, moving_averages
from waveletgpt.models.filters import CausalFilter, FixedFilter, Place
from waveletgpt.models.multiscale import Added, Beside, DyadicFilter, Elsewhere, Gated, LearnedFilter
from waveletgpt.models.wavelet import CausalWavelet, WaveletKind, linear_levels


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

    @property
    def eighth(self) -> int:
        """Half as many again."""
        return max(1, self.n_embd // 8)

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


def skewed(width: int, n_levels: int) -> list[int]:
    """Levels for `width` coordinates from 1 to `n_levels` that lean to short windows: most are 1 or 2."""
    return [round(1 + (n_levels - 1) * u**3) for u in torch.linspace(0, 1, width).tolist()]


def window_linear(width: int, n_levels: int) -> list[int]:
    """Levels whose windows rise linearly with the coordinate: most are long."""
    return [max(1, round(math.log2(w))) for w in torch.linspace(2, 2**n_levels, width).tolist()]


def dyadic_lags(width: int, n_levels: int) -> list[int]:
    """Delays from 1 to a quarter of the longest window, leaning to short ones."""
    return [round(2 ** (max(0, n_levels - 2) * u**2)) for u in torch.linspace(0, 1, width).tolist()]


def taps(width: int, weights: Sequence[float]) -> Tensor:
    """The same kernel for `width` coordinates."""
    return torch.tensor(weights, dtype=torch.float32).expand(width, -1)


def stacked(*kernels: Tensor) -> Tensor:
    """Kernels (c, w) of several sizes as one matrix, padded with zeros."""
    longest = max(part.shape[1] for part in kernels)
    return torch.cat([F.pad(part, (0, longest - part.shape[1])) for part in kernels])


def haar_kernels(levels: list[int]) -> Tensor:
    """Means over 2**level inputs."""
    windows = 2 ** torch.tensor(levels)[:, None]
    return (torch.arange(int(windows.max())) < windows) / windows


def _atrous(level: int) -> Tensor:
    """The mean of now and 2**level ago, (1, 2**level + 1)."""
    kernel = torch.zeros(1, 2**level + 1)
    kernel[0, [0, -1]] = 0.5
    return kernel


def _one_interval_each(width: int, n_levels: int) -> Tensor:
    """Weights of `DyadicFilter` of which one is 1: most often that of a short lag."""
    return F.one_hot(torch.tensor(skewed(width, n_levels)), n_levels + 1).float()


Builders = dict[str, Callable[[Site], nn.Module]]

LAYERS: Builders = {
    "none": lambda at: at.wavelet("none"),
    "haar": lambda at: at.wavelet("haar"),
    "learnable": lambda at: at.wavelet("learnable"),
    # Every scale at once, on a quarter
    "dyadic": lambda at: DyadicFilter(taps(at.quarter, [0, 1] + [0] * (at.n_levels - 1))),
    # Is it the nearest neighbour alone? One scale alone? The shape of the window? That kernels are learned?
    "shift": lambda at: delays([1] * at.half),
    "window4": lambda at: at.wavelet("haar", at.one_level(4)),
    "window9": lambda at: at.wavelet("haar", at.one_level(9)),
    "ema": lambda at: moving_averages(at.half, at.n_levels),
    "conv4": lambda at: at.wavelet("learnable", at.one_level(2)),
    # On how much of the stream, and on which?
    "haar-quarter": lambda at: at.wavelet("haar", at.linear(at.quarter)),
    "haar-three-quarters": lambda at: at.wavelet("haar", at.linear(at.half + at.n_embd // 4)),
    "haar-output": lambda at: placed(at.wavelet("haar"), "output"),
    # Other wavelets
    "db2": lambda at: family("db2", at.linear(at.half), at.n_levels),
    "sym4": lambda at: family("sym4", at.linear(at.half), at.n_levels),
    "haar-detail": lambda at: approximation_and_detail(at.linear(at.quarter)),
}
"""The layers that the README tells of."""

TRIES: Builders = {
    # Other levels
    "haar-short": lambda at: at.wavelet("haar", skewed(at.half, at.n_levels)),
    "haar-long": lambda at: at.wavelet("haar", window_linear(at.half, at.n_levels)),
    "learnable-short": lambda at: at.wavelet("learnable", skewed(at.half, at.n_levels)),
    # Nothing averaged away: delays, one step of the transform a block, averages beside the nearest neighbour
    "delays": lambda at: delays(dyadic_lags(at.half, at.n_levels)),
    "delays-1234": lambda at: delays([1 + 4 * i // at.half for i in range(at.half)]),
    "atrous": lambda at: FixedFilter(stacked(*[_atrous(at.block % at.n_levels)] * at.half)),
    "shift-quarter": lambda at: delays([1] * at.quarter),
    "shift-haar": lambda at: FixedFilter(stacked(taps(at.quarter, [0, 1]), haar_kernels(at.linear(at.quarter)))),
    "shift-short": lambda at: FixedFilter(
        stacked(taps(at.quarter, [0, 1]), haar_kernels(skewed(at.quarter, at.n_levels)))
    ),
    # Elsewhere; learned gates, and which scales a coordinate hears
    "haar-keys": lambda at: placed(at.wavelet("haar"), "keys and values"),
    "shift-keys": lambda at: placed(delays([1] * at.half), "keys and values"),
    "shift-output": lambda at: placed(delays([1] * at.half), "output"),
    "haar-gate": lambda at: Gated(at.wavelet("haar"), 0.5),
    "shift-gate": lambda at: Gated(delays([1] * at.half), 0.5),
    "conv4-shift": lambda at: LearnedFilter(taps(at.half, [0, 1, 0, 0])),
    "shift-three-quarters": lambda at: delays([1] * (at.half + at.n_embd // 4)),
    "conv4-shift-fast": lambda at: LearnedFilter(taps(at.half, [0, 1, 0, 0]), pace=5),
    "conv4-both": lambda at: LearnedFilter(
        torch.cat([taps(at.n_embd - at.half, [1, 0, 0, 0]), taps(at.half, [0, 1, 0, 0])])
    ),
    "conv8-shift": lambda at: LearnedFilter(taps(at.half, [0, 1, 0, 0, 0, 0, 0, 0])),
    "learnable-shift": lambda at: LearnedFilter(taps(at.half, [0, 1] + [0] * (2**at.n_levels - 2))),
    "learned-shift-means": lambda at: LearnedFilter(
        stacked(taps(at.quarter, [0, 1]), haar_kernels(at.linear(at.quarter)))
    ),
    "learned-shift-short": lambda at: LearnedFilter(
        stacked(taps(at.quarter, [0, 1]), haar_kernels(skewed(at.quarter, at.n_levels)))
    ),
    "learned-identity": lambda at: LearnedFilter(taps(at.half, [1] + [0] * (2**at.n_levels - 1))),
    "learnable-quarter": lambda at: at.wavelet("learnable", at.linear(at.quarter)),
    "shift-first": lambda at: delays([1] * at.half) if at.block == 0 else at.wavelet("none"),
    "shift-two": lambda at: delays([1] * at.half) if at.block < 2 else at.wavelet("none"),
    "shift-eighth": lambda at: delays([1] * (at.eighth)),
    "haar-eighth": lambda at: at.wavelet("haar", at.linear(at.eighth)),
    "eighths": lambda at: FixedFilter(stacked(taps(at.eighth, [0, 1]), haar_kernels(skewed(at.eighth, at.n_levels)))),
    "shift-added": lambda at: Added(delays([1] * at.half)),
    "haar-added": lambda at: Added(at.wavelet("haar")),
    "short-added": lambda at: Added(
        FixedFilter(stacked(taps(at.quarter, [0, 1]), haar_kernels(skewed(at.quarter, at.n_levels))))
    ),
    "learned-added": lambda at: Added(
        LearnedFilter(stacked(taps(at.quarter, [0, 1]), haar_kernels(skewed(at.quarter, at.n_levels))))
    ),
    "shift-learnable": lambda at: Beside(delays([1] * at.quarter), at.wavelet("learnable", at.linear(at.quarter))),
    "shift-learnable-eighths": lambda at: Beside(
        delays([1] * (at.eighth)), at.wavelet("learnable", at.linear(at.eighth))
    ),
    "shift-learnable-eighth": lambda at: Beside(
        delays([1] * at.quarter), at.wavelet("learnable", at.linear(at.eighth))
    ),
    "learnable-eighth": lambda at: at.wavelet("learnable", at.linear(at.eighth)),
    "dyadic-spread-quarter": lambda at: DyadicFilter(_one_interval_each(at.quarter, at.n_levels)),
    "dyadic-fast-quarter": lambda at: DyadicFilter(taps(at.quarter, [0, 1] + [0] * (at.n_levels - 1)), pace=5),
    "dyadic-round": lambda at: Elsewhere(
        DyadicFilter(taps(at.quarter, [0, 1] + [0] * (at.n_levels - 1))), at.block * at.quarter
    ),
    "dyadic-round-half": lambda at: Elsewhere(
        DyadicFilter(taps(at.half, [0, 1] + [0] * (at.n_levels - 1))), at.block * at.half
    ),
    "dyadic-round-eighth": lambda at: Elsewhere(
        DyadicFilter(taps(at.quarter, [0, 1] + [0] * (at.n_levels - 1))), at.block * at.eighth
    ),
    "conv4-shift-quarter": lambda at: LearnedFilter(taps(at.quarter, [0, 1, 0, 0])),
    "delays-quarter": lambda at: delays([1 + 4 * i // at.quarter for i in range(at.quarter)]),
    "haar-first": lambda at: at.wavelet("haar" if at.block == 0 else "none"),
    "learnable-first": lambda at: at.wavelet("learnable" if at.block == 0 else "none"),
    "conv4-all": lambda at: LearnedFilter(taps(at.n_embd, [1, 0, 0, 0])),
    "dyadic-means": lambda at: DyadicFilter(taps(at.half, [0.5, 0.5] + [0] * (at.n_levels - 1))),
    "dyadic-shift": lambda at: DyadicFilter(taps(at.half, [0, 1] + [0] * (at.n_levels - 1))),
    "dyadic-all": lambda at: DyadicFilter(taps(at.n_embd, [1] + [0] * at.n_levels)),
    "dyadic-spread": lambda at: DyadicFilter(_one_interval_each(at.half, at.n_levels)),
}
"""Tried in search of a better one; docs/log.md tells with what result."""

MIXERS: Builders = LAYERS | TRIES
