"""Candidates for a better layer: residual filters of all coordinates, which start as the identity.

docs/log.md says where the ideas come from and what came of them.

Shapes: B batch, T time, E embedding, W the longest filter, S scales.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.models.filters.base import Builder, CausalFilter
from waveletgpt.models.filters.convolution import delayed
from waveletgpt.models.filters.lagged import lagged_sums

TAPS = 4


class ResidualFilter(CausalFilter):
    """A filter in plain differentiable operations, which `torch.compile` can fuse. Its kernels are what it makes of an
    impulse.
    """

    def __init__(self, n_embd: int, window: int) -> None:
        super().__init__([window] * n_embd)

    @abstractmethod
    def filtered(self, x: Tensor) -> Tensor:
        """Filter x (B, T, E) of float32 or better."""

    def mix(self, x: Tensor) -> Tensor:
        """Mix x (B, T, E) over time, from an empty past."""
        return self.filtered(x.to(torch.promote_types(x.dtype, torch.float32))).to(x.dtype)

    def kernel_matrix(self) -> Tensor:
        """The kernels (E, W). Column m weighs the input m steps ago."""
        impulse = next(self.parameters()).new_zeros(1, self.window, self.width)
        impulse[:, 0] = 1
        return self.filtered(impulse)[0].T


class Canon(ResidualFilter):
    """x[t] + sum of taps[i] x[t - i] for i = 0 .. 3: the convolution of Canon layers (arXiv 2512.17351)."""

    def __init__(self, n_embd: int, window: int = TAPS) -> None:
        super().__init__(n_embd, window)
        self.taps = nn.Parameter(torch.zeros(TAPS, n_embd))
        self.lags: list[int] = []

    def filtered(self, x: Tensor) -> Tensor:
        """Filter x (B, T, E) of float32 or better."""
        return lagged_sums(x, self.taps, self.sums(), self.lags)

    def sums(self) -> Tensor:
        """The weights (S, E) of the running sum, one for each of `lags`."""
        return self.taps[:0]


class Multiscale(Canon):
    """`Canon`, and the means of the inputs 4 to 7, 8 to 15, ... 2**(n_levels - 1) to 2**n_levels - 1 steps ago, with a
    weight for each mean and coordinate.

    A mean is the difference of two running sums, so each sum is used once for the two means that it bounds.
    """

    sizes: Tensor

    def __init__(self, n_embd: int, n_levels: int) -> None:
        lags = [2**level for level in range(2, max(4, n_levels + 1))]
        super().__init__(n_embd, lags[-1])
        self.lags = lags
        self.means = nn.Parameter(torch.zeros(len(lags) - 1, n_embd))
        self.register_buffer("sizes", torch.tensor(lags[:-1])[:, None], persistent=False)

    def sums(self) -> Tensor:
        """The weights (S, E) of the running sum, one for each of `lags`."""
        weights = self.means / self.sizes  # (S - 1, E)
        return F.pad(weights, (0, 0, 0, 1)) - F.pad(weights, (0, 0, 1, 0))


def side_by_side(x: Tensor, filters: Sequence[Canon]) -> Tensor:
    """Filter the last coordinates of x (B, T, E), by one filter after another, in one pass."""
    taps, sums = (torch.cat(weights, dim=1) for weights in zip(*((f.taps, f.sums()) for f in filters), strict=True))
    return lagged_sums(x, taps, sums, filters[0].lags)


class MultiResolution(ResidualFilter):
    """Averages and differences at every scale: the causal wavelet cascade of MultiresConv (arXiv 2305.01638).

    Level j splits what is left, low, into low[0] a[t] + low[1] a[t - 2^j] and high[0] a[t] + high[1] a[t - 2^j]. The
    output adds the second of every level, and what is left at the end, with a weight each to the input. The two filters
    start as Haar's.
    """

    def __init__(self, n_embd: int, n_levels: int) -> None:
        super().__init__(n_embd, 2**n_levels)
        self.low = nn.Parameter(torch.tensor([[0.5], [0.5]]).repeat(1, n_embd))
        self.high = nn.Parameter(torch.tensor([[0.5], [-0.5]]).repeat(1, n_embd))
        self.weights = nn.Parameter(torch.zeros(n_levels + 1, n_embd))

    def filtered(self, x: Tensor) -> Tensor:
        """Filter x (B, T, E) of float32 or better."""
        y = low = x
        for level, weight in enumerate(self.weights[:-1]):
            past = delayed(low, 2**level)
            y = y + weight * (self.high[0] * low + self.high[1] * past)
            low = self.low[0] * low + self.low[1] * past
        return y + self.weights[-1] * low


class Damped(CausalFilter):
    """Damped oscillations: x[t] plus a sum over S states of amplitude (1 - d) d^m cos(f m) x[t - m] for m = 0 .. W - 1.

    Half-lives start log-spaced from 1 to W steps, and each frequency with a period of eight half-lives. Amplitude,
    half-life and frequency of each state and coordinate are learned, as in MEGA and Megalodon (arXiv 2404.08801).
    """

    STATES = 4

    def __init__(self, n_embd: int, n_levels: int) -> None:
        super().__init__([2**n_levels] * n_embd)
        log_half_lives = torch.linspace(0, n_levels, self.STATES)[:, None].repeat(1, n_embd)
        self.log_half_lives = nn.Parameter(log_half_lives)  # (S, E), to base 2
        self.frequencies = nn.Parameter(torch.pi / 4 / 2**log_half_lives)  # (S, E), radians a step
        self.amplitudes = nn.Parameter(torch.zeros(self.STATES, n_embd))  # (S, E)

    def kernel_matrix(self) -> Tensor:
        """The kernels (E, W). Column m weighs the input m steps ago."""
        lags = torch.arange(self.window, device=self.amplitudes.device)
        decay = 0.5 ** (0.5**self.log_half_lives)[..., None]  # (S, E, 1)
        waves = (1 - decay) * decay**lags * (self.frequencies[..., None] * lags).cos()  # (S, E, W)
        return (self.amplitudes[..., None] * waves).sum(0) + (lags == 0)


CANDIDATES: dict[str, Builder] = {
    "canon": lambda n_embd, _: Canon(n_embd),
    "multiscale": Multiscale,
    "multires": MultiResolution,
    "damped": Damped,
}
"""Builders of the candidates, by the name that `GPTConfig.mixer` gives them."""
