"""A layer that learns which scales each coordinate hears.

Shapes: C coordinates with a filter, W the longest filter, S scales.
"""

import torch
from torch import Tensor, nn

from waveletgpt.models.filters import CausalFilter


class DyadicFilter(CausalFilter):
    """Kernels that are constant on dyadic intervals of the past, with a learned weight for each of them.

    The intervals hold 1, 1, 2, 4, ... 2**(n_levels - 1) inputs: the current one, the one before, the two before
    that, and so on; an interval's mean is what its weight multiplies, S = n_levels + 1 of them for each of `width`
    coordinates. These are all combinations of Haar approximations: the kernel of every level of the paper's layer is
    one, and so are the identity and token shift, which it starts as.
    """

    intervals: Tensor

    def __init__(self, width: int, n_levels: int) -> None:
        super().__init__([2**n_levels] * width)
        scales = n_levels + 1
        lags, intervals = torch.arange(self.window), torch.zeros(scales, self.window)
        for scale, row in enumerate(intervals):
            start, stop = (2 ** (scale - 1), 2**scale) if scale else (0, 1)
            row[(lags >= start) & (lags < stop)] = 1 / (stop - start)
        self.register_buffer("intervals", intervals, persistent=False)  # (S, W)
        self.weights = nn.Parameter(torch.eye(scales)[1].repeat(width, 1))  # (C, S)

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        return self.weights @ self.intervals
