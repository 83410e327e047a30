"""Layers that learn which scales to keep.

Shapes: C coordinates with a filter, W the longest filter, S scales.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.models.filters import CausalFilter, Place


class Beside(CausalFilter):
    """Two layers' filters, on neighbouring coordinates: the second's on the last ones."""

    def __init__(self, first: CausalFilter, second: CausalFilter) -> None:
        super().__init__(first.lengths + second.lengths)
        self.first, self.second = first, second

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        parts = [part.kernel_matrix() for part in (self.first, self.second)]
        return torch.cat([F.pad(part, (0, self.window - part.shape[1])) for part in parts])

    def mix(self, x: Tensor) -> Tensor:
        """See `CausalFilter`."""
        C = self.second.width
        return torch.cat([self.first.mix(x[..., :-C]), self.second.mix(x)[..., -C:]], dim=-1)


class DyadicFilter(CausalFilter):
    """Kernels that are constant on dyadic intervals of the past, with a learned weight for each of them.

    The intervals hold 1, 1, 2, 4, ... 2**(n_levels - 1) inputs: the current one, the one before, the two before
    that, and so on; an interval's mean is what its weight multiplies. These are the combinations of the Haar
    approximations of all levels: the kernel of every level of the paper's layer is one, and so are token shift and the
    identity. `weights` (C, S) are those to start with, S = n_levels + 1; they are learned at `pace` times the model's
    learning rate.
    """

    intervals: Tensor

    def __init__(self, weights: Tensor, pace: float = 1.0) -> None:
        scales = weights.shape[1]
        super().__init__([2 ** (scales - 1)] * len(weights))
        lags, intervals = torch.arange(self.window), torch.zeros(scales, self.window)
        for scale, row in enumerate(intervals):
            start, stop = (2 ** (scale - 1), 2**scale) if scale else (0, 1)
            row[(lags >= start) & (lags < stop)] = 1 / (stop - start)
        self.register_buffer("intervals", intervals, persistent=False)  # (S, W)
        self.pace = pace
        self.weights = nn.Parameter(weights / pace)

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        return self.pace * self.weights @ self.intervals


class Added(nn.Module):
    """Add to the last C coordinates what another layer's filters make of the C coordinates before them, so that no
    coordinate loses its own.
    """

    place: Place = "stream"

    def __init__(self, filters: CausalFilter, share: float = 1.0) -> None:
        super().__init__()
        self.filters, self.share = filters, share

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """See `CausalFilter`."""
        C = self.filters.width
        filtered = self.filters(x[..., -2 * C : -C], state)
        return torch.cat([x[..., :-C], x[..., -C:] + self.share * filtered], dim=-1)

    def new_state(self, batch: int, device: torch.device) -> Any:
        """See `CausalFilter`."""
        return self.filters.new_state(batch, device)


class Elsewhere(nn.Module):
    """Another layer, on coordinates `offset` before the last ones, going round."""

    place: Place = "stream"

    def __init__(self, filters: CausalFilter, offset: int) -> None:
        super().__init__()
        self.filters, self.offset = filters, offset

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """See `CausalFilter`."""
        mixed: Tensor = self.filters(x.roll(self.offset, -1), state)
        return mixed.roll(-self.offset, -1)

    def new_state(self, batch: int, device: torch.device) -> Any:
        """See `CausalFilter`."""
        return self.filters.new_state(batch, device)


class Gated(CausalFilter):
    """Another layer's filters and the identity, mixed by a learned gate for each coordinate: all filter at first."""

    def __init__(self, filters: CausalFilter, start: float = 1.0) -> None:
        super().__init__(filters.lengths)
        self.filters = filters
        self.gates = nn.Parameter(torch.full((self.width, 1), start))

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        kernels = self.filters.kernel_matrix()
        identity = torch.zeros_like(kernels)
        identity[:, 0] = 1
        return self.gates * kernels + (1 - self.gates) * identity


class LearnedFilter(CausalFilter):
    """Kernels (C, W) of equal length, every weight of which is learned from `kernels` on, at `pace` times the model's
    learning rate.
    """

    def __init__(self, kernels: Tensor, pace: float = 1.0) -> None:
        super().__init__([kernels.shape[1]] * len(kernels))
        self.pace = pace
        self.kernels = nn.Parameter(kernels / pace)

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        return self.pace * self.kernels
