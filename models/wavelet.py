"""The causal wavelet layer between the blocks of a decoder (WaveletGPT, arXiv 2409.12924, section 3).

Shapes: B batch, T time, E embedding, C coordinates with a window (E // 2 in the paper), W the longest window.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.common.errors import InputError
from waveletgpt.models.filters import CausalFilter, WindowState

WaveletKind = Literal["none", "haar", "learnable"]
KINDS: tuple[str, ...] = get_args(WaveletKind)


class CausalWavelet(CausalFilter):
    """Replace the last coordinates, half of them, by causal averages over 2 to 2**n_levels past inputs.

    Coordinate j of that half has a level l(j), rising linearly from 1 for the first of them to `n_levels`
    for the last; or else `levels` are the last coordinates' levels, in rising order. By `kind`:

    * `"haar"`: y[t] = 2^-l * sum of x[t - m] for m = 0 .. 2^l - 1, with x = 0 before the start.
    * `"learnable"`: the same with a free kernel of length 2^l a coordinate, initialised to 2^-l.
    * `"none"`: the identity, for the baseline.

    Raises InputError if `n_embd` is odd, `n_levels` is below 1 or `kind` is unknown.
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
        # First coordinate of those with a window that has level l or above, for l = 1 and so on.
        self.starts = [int((by_coordinate < level).sum()) for level in range(1, int(by_coordinate[-1]) + 1)]
        if kind == "learnable":
            lengths = 2**by_coordinate
            self.kernels = nn.Parameter((1 / lengths.float()).repeat_interleave(lengths))  # (sum of 2^l,)
            # Where they are among the C * W places of `kernel_matrix`.
            self.register_buffer("places", self._inside().flatten().nonzero()[:, 0], persistent=False)

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """See `CausalFilter`."""
        return x if self.kind == "none" else super().forward(x, state)

    def mix(self, x: Tensor) -> Tensor:
        """See `CausalFilter`."""
        if self.kind == "learnable":
            return super().mix(x)
        first = x.shape[2] - self.width
        weights = F.pad(0.5**self.levels, (first, 0), value=1.0)  # (E,)
        starts = [first + start for start in self.starts]
        y: Tensor = _HaarCascade.apply(x, weights, starts, None)  # type: ignore[no-untyped-call]
        return y

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        if self.kind == "learnable":
            empty = self.kernels.new_zeros(self.width * self.window)
            return empty.scatter(0, self.places, self.kernels).view(self.width, self.window)
        return self._inside() / 2.0 ** self.levels[:, None]

    def _inside(self) -> Tensor:
        """Whether an input of so many steps ago is within a coordinate's window, (C, W)."""
        return torch.arange(self.window, device=self.levels.device) < 2 ** self.levels[:, None]

    def new_state(self, batch: int, device: torch.device | None = None) -> WindowState | None:
        """See `CausalFilter`; None for kind `none`, which needs none."""
        return None if self.kind == "none" else super().new_state(batch, device)

    def _remember(self, x: Tensor, state: WindowState) -> None:
        recent = x[:, -self.window :]
        ages = torch.arange(recent.shape[1] - 1, -1, -1, device=x.device)
        inside = ages[:, None] < 2**self.levels  # (time, C)
        state.total += (recent.to(state.ring.dtype).double() * inside).sum(1)
        super()._remember(x, state)

    def _next(self, new: Tensor, state: WindowState) -> Tensor:
        """In O(1) for `haar`: what enters a window is added to its sum, and what leaves it is taken off."""
        if self.kind != "haar":
            return super()._next(new, state)
        leaving = (state.time - 2**self.levels) % self.window  # (C,)
        old = state.ring.gather(1, leaving.expand(len(new), 1, -1))[:, 0]  # (B, C); still zero before the start
        state.total += new.double() - old.double()
        state.ring.index_copy_(1, state.time % self.window, new[:, None])
        return state.total / 2**self.levels


class HaarDetail(CausalFilter):
    """Haar averages and, by turns with them, Haar details: what the average of level l takes away from that of level
    l - 1. So no level's scale is lost to both.

    `levels`, in rising order, are those of the averages, and of as many details.
    """

    levels: Tensor
    signs: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        by_coordinate = torch.tensor(levels).repeat_interleave(2)
        super().__init__((2**by_coordinate).tolist())
        self.register_buffer("levels", by_coordinate, persistent=False)  # (C,)
        # What each level of the cascade adds of its past, (L, C): details take it off in their last.
        signs = torch.ones(int(by_coordinate[-1]), self.width)
        signs[by_coordinate[1::2] - 1, torch.arange(1, self.width, 2)] = -1
        self.register_buffer("signs", signs, persistent=False)
        self.starts = [int((by_coordinate < level).sum()) for level in range(1, len(signs) + 1)]

    def mix(self, x: Tensor) -> Tensor:
        """See `CausalFilter`."""
        first = x.shape[2] - self.width
        weights = F.pad(0.5**self.levels, (first, 0), value=1.0)  # (E,)
        starts = [first + start for start in self.starts]
        signs = F.pad(self.signs, (first, 0))  # (L, E)
        y: Tensor = _HaarCascade.apply(x, weights, starts, signs)  # type: ignore[no-untyped-call]
        return y

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        ages, windows = torch.arange(self.window, device=self.levels.device), 2 ** self.levels[:, None]
        averages = (ages < windows) / windows
        late = (ages >= windows // 2) & (torch.arange(self.width, device=ages.device) % 2 == 1)[:, None]
        return torch.where(late, -averages, averages)


def linear_levels(width: int, n_levels: int) -> list[int]:
    """The paper's levels for `width` coordinates: from 1 to `n_levels`, rising linearly."""
    levels: list[int] = torch.linspace(1, n_levels, width).round().long().tolist()
    return levels


class _HaarCascade(torch.autograd.Function):
    """The undecimated Haar transform by its a trous cascade: the sum of level l is that of level l-1 now and 2^(l-1)
    steps ago. Linear in x, so the backward pass is the same cascade looking ahead, and saves nothing of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, starts: list[int], signs: Tensor | None) -> Tensor:
        ctx.save_for_backward(weights, signs)
        ctx.starts = starts
        return _cascade(x, weights, starts, signs, ahead=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weights, signs = ctx.saved_tensors
        return _cascade(grad, weights, ctx.starts, signs, ahead=True), None, None, None


def _cascade(x: Tensor, weights: Tensor, starts: list[int], signs: Tensor | None, *, ahead: bool) -> Tensor:
    """Sum the last coordinates of x (B, T, E), by `weights` (E,), over past inputs, or over future ones if `ahead`.

    `starts` are, for each level, the first of the E coordinates that has it or a higher one; `signs` (L, E), by which
    each level takes what it adds, are 1 unless given.
    The weights are powers of two, so that to weigh the inputs or the sums is the same. Sums are taken in float32 or
    better; the result has x's dtype.
    """
    T = x.shape[1]
    y = x.to(torch.promote_types(x.dtype, torch.float32)) * weights
    for level, start in enumerate(starts, 1):
        part = y[:, :, start:]
        delay = 2 ** (level - 1)
        if delay < T:
            here, there = part[:, delay:], part[:, :-delay]
            to, of = (there, here) if ahead else (here, there)
            to += of.clone() if signs is None else of * signs[level - 1, start:]
    return y.to(x.dtype)
