"""The causal wavelet layer between the blocks of a decoder (WaveletGPT, arXiv 2409.12924, section 3).

Shapes: B batch, T time, E embedding, C filtered coordinates (E // 2 in the paper), W the longest window.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.common.errors import InputError
from waveletgpt.models.filters.base import CausalFilter, WindowState

WaveletKind = Literal["none", "haar", "learnable"]
KINDS: tuple[str, ...] = get_args(WaveletKind)


class CausalWavelet(CausalFilter):
    """Replace the second half of the coordinates by causal averages over their last 2 to 2**n_levels inputs.

    Each of these coordinates has a level l. The averages are, by `kind`:

    * `"haar"`: y[t] = 2^-l * sum of x[t - m] for m = 0 .. 2^l - 1, with x = 0 before the start.
    * `"learnable"`: the same sum with a free kernel of length 2^l for each coordinate, initialised to 2^-l.
    * `"none"`: the identity, for the baseline.

    Args:
        n_embd: Number of coordinates E.
        kind: "none", "haar" or "learnable".
        n_levels: The highest level.
        levels: Levels of the last len(levels) coordinates, in rising order. By default half of the coordinates
            have levels that rise linearly from 1 to `n_levels`, as in the paper.

    Raises:
        InputError: `n_embd` is odd, `n_levels` is below 1 or `kind` is unknown.
        ValueError: `levels` are below 1, not in rising order, or more than `n_embd`.
    """

    levels: Tensor
    places: Tensor

    def __init__(
        self, n_embd: int, kind: WaveletKind = "haar", n_levels: int = 9, levels: Sequence[int] | None = None
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"wavelet kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if n_embd < 2 or n_embd % 2:
            raise InputError(f"n_embd is {n_embd}; a wavelet needs an even number of coordinates")
        if n_levels < 1:
            raise InputError(f"n_levels is {n_levels}; a wavelet needs at least 1")
        by_coordinate = torch.tensor(linear_levels(n_embd // 2, n_levels) if levels is None else levels)
        if not 1 <= len(by_coordinate) <= n_embd or (by_coordinate.diff() < 0).any() or by_coordinate[0] < 1:
            raise ValueError(f"levels must be 1 or more, in rising order, for at most {n_embd} coordinates")
        super().__init__((2**by_coordinate).tolist())
        self.kind = kind
        self.register_buffer("levels", by_coordinate, persistent=False)  # (C,)
        if kind == "learnable":
            lengths = 2**by_coordinate
            self.kernels = nn.Parameter((1 / lengths.float()).repeat_interleave(lengths))  # (sum of 2^l,)
            # Their indices in `kernel_matrix`, flattened to (C * W,).
            self.register_buffer("places", self._inside().flatten().nonzero()[:, 0], persistent=False)

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Filter x (B, T, E), or return it unchanged for kind `none`. With a state, x continues it."""
        return x if self.kind == "none" else super().forward(x, state)

    def mix(self, x: Tensor) -> Tensor:
        """Filter the last C coordinates of x (B, T, E) over time."""
        if self.kind == "learnable":
            return super().mix(x)
        return haar_averages(x, self.lengths, 0.5**self.levels)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W). Column m weighs the input m steps ago."""
        if self.kind == "learnable":
            empty = self.kernels.new_zeros(self.width * self.window)
            return empty.scatter(0, self.places, self.kernels).view(self.width, self.window)
        return self._inside() / 2.0 ** self.levels[:, None]

    def _inside(self) -> Tensor:
        """Whether each lag lies in each coordinate's window, (C, W)."""
        return torch.arange(self.window, device=self.levels.device) < 2 ** self.levels[:, None]

    def new_state(self, batch: int, device: torch.device | None = None) -> WindowState | None:
        """An empty state for `batch` streams; None for kind `none`, which remembers nothing."""
        return None if self.kind == "none" else super().new_state(batch, device)

    def _remember(self, x: Tensor, state: WindowState) -> None:
        recent = x[:, -self.window :]
        ages = torch.arange(recent.shape[1] - 1, -1, -1, device=x.device)
        inside = ages[:, None] < 2**self.levels  # (time, C)
        state.total += (recent.to(state.ring.dtype).double() * inside).sum(1)
        super()._remember(x, state)

    def _next(self, new: Tensor, state: WindowState) -> Tensor:
        """The next output (B, C). O(1) for `haar`: add the input that enters a window, subtract the one that leaves."""
        if self.kind != "haar":
            return super()._next(new, state)
        leaving = (state.time - 2**self.levels) % self.window  # (C,)
        old = state.ring.gather(1, leaving.expand(len(new), 1, -1))[:, 0]  # (B, C); still zero before the start
        state.total += new.double() - old.double()
        state.ring.index_copy_(1, state.time % self.window, new[:, None])
        return state.total / 2**self.levels


def linear_levels(width: int, n_levels: int) -> list[int]:
    """The paper's levels for `width` coordinates: from 1 to `n_levels`, rising linearly."""
    levels: list[int] = torch.linspace(1, n_levels, width).round().long().tolist()
    return levels


def haar_averages(x: Tensor, windows: list[int], weights: Tensor) -> Tensor:
    """Replace the last C coordinates of x (B, T, E) by averages of their last inputs.

    Args:
        x: Inputs (B, T, E), taken as 0 before the start.
        windows: Number of inputs that each of the C coordinates averages: powers of two, in rising order.
        weights: 1 / windows, (C,) on x's device.

    Returns:
        A tensor (B, T, E) of x's dtype. Sums are taken in float32 or better.
    """
    first = x.shape[2] - len(windows)
    y: Tensor = _HaarAverages.apply(x, windows, F.pad(weights, (first, 0), value=1.0))  # type: ignore[no-untyped-call]
    return y


class _HaarAverages(torch.autograd.Function):
    """`haar_averages`. It is linear, so the backward pass is the same cascade looking ahead and saves nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: list[int], weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.windows = windows
        return _cascade(x, windows, weights, ahead=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _cascade(grad, ctx.windows, *ctx.saved_tensors, ahead=True), None, None


def _cascade(x: Tensor, windows: list[int], weights: Tensor, *, ahead: bool) -> Tensor:
    """Average past inputs, or future ones, by the undecimated (a trous) Haar transform.

    The sum over 2 w inputs is the sum over w inputs now plus the one w steps ago. `weights` (E,) are powers of two, so
    it is exact to multiply by them before the sums are taken.
    """
    first, T = x.shape[2] - len(windows), x.shape[1]
    y = x.to(torch.promote_types(x.dtype, torch.float32)) * weights
    for level in range(1, windows[-1].bit_length()):
        steps = 2 ** (level - 1)
        part = y[:, :, first + sum(window <= steps for window in windows) :]
        if steps < T:
            early, late = part[:, :-steps], part[:, steps:]
            to, of = (early, late) if ahead else (late, early)
            to += of.clone()
    return y if y.dtype == x.dtype else y.to(x.dtype)
