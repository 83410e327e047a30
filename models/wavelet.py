"""The causal wavelet layer between the blocks of a decoder (WaveletGPT, arXiv 2409.12924, section 3).

Shapes: B batch, T time, E embedding, C = E // 2 coordinates with a window, W = 2**n_levels the longest window.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from waveletgpt.common.errors import InputError

WaveletKind = Literal["none", "haar", "learnable"]
KINDS: tuple[str, ...] = get_args(WaveletKind)


@dataclass
class WindowState:
    """What a wavelet layer remembers while decoding token by token: O(W) memory whatever the length.

    `ring` (B, W, C) holds the last W inputs, the input of time t at slot t % W. `total` (B, C) holds the sums
    of `haar`'s windows in float64, so that adding and removing inputs does not drift. `weights` (2 W, C) holds the
    kernels of `learnable` such that its rows W - t % W to 2 W - t % W weigh the slots of `ring` at time t. `time`
    (1,) is the number of inputs so far on the device, so that a CUDA graph of a step can be replayed; `length` is the
    same number for Python to check.
    """

    ring: Tensor
    total: Tensor
    weights: Tensor
    time: Tensor
    length: int = 0

    def repeat(self, copies: int) -> "WindowState":
        """The state of `copies` times as many streams: all of them, `copies` times over."""
        ring, total = self.ring.repeat(copies, 1, 1), self.total.repeat(copies, 1)
        return WindowState(ring, total, self.weights, self.time.clone(), self.length)

    def copy_(self, other: "WindowState") -> None:
        """Take over the contents of a state of as many streams, in place."""
        for mine, its in ((self.ring, other.ring), (self.total, other.total), (self.time, other.time)):
            mine.copy_(its)
        self.length = other.length


class CausalWavelet(nn.Module):
    """Replace the second half of the coordinates by causal averages over 2 to 2**n_levels past inputs.

    Coordinate j of the second half has a level l(j), rising linearly from 1 for the first of them to `n_levels`
    for the last. By `kind`:

    * `"haar"`: y[t] = 2^-l * sum of x[t - m] for m = 0 .. 2^l - 1, with x = 0 before the start.
    * `"learnable"`: the same with a free kernel of length 2^l a coordinate, initialised to 2^-l.
    * `"none"`: the identity, for the baseline.

    Raises InputError if `n_embd` is odd, `n_levels` is below 1 or `kind` is unknown.
    """

    levels: Tensor

    def __init__(self, n_embd: int, kind: WaveletKind = "haar", n_levels: int = 9) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"wavelet kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if n_embd < 2 or n_embd % 2:
            raise InputError(f"n_embd is {n_embd}; a wavelet needs an even number of coordinates")
        if n_levels < 1:
            raise InputError(f"n_levels is {n_levels}; a wavelet needs at least 1")
        self.kind = kind
        self.width = n_embd // 2
        self.window = 2**n_levels
        levels = torch.linspace(1, n_levels, self.width).round().long()
        self.register_buffer("levels", levels, persistent=False)  # (C,)
        # First coordinate of the half that has level l or above, for l = 1 .. n_levels.
        self.starts = [int((levels < level).sum()) for level in range(1, n_levels + 1)]
        if kind == "learnable":
            lengths = 2**levels
            self.kernels = nn.Parameter((1 / lengths.float()).repeat_interleave(lengths))  # (sum of 2^l,)

    def forward(self, x: Tensor, state: WindowState | None = None) -> Tensor:
        """Mix x (B, T, E) over time; same shape and dtype out.

        With a fresh `state` (`new_state`) the inputs are also remembered; with one that holds inputs, x is the
        next single position (T = 1) and costs the same whatever came before.
        """
        if self.kind == "none":
            return x
        if state is not None and state.length:
            return self._step(x, state)
        if state is not None:
            self._remember(x[..., self.width :], state)
        if self.kind == "haar":
            y: Tensor = _HaarCascade.apply(x, self.starts, self.width)  # type: ignore[no-untyped-call]
            return y
        mixed = causal_convolution(x[..., self.width :], self.kernel_matrix())
        return torch.cat([x[..., : self.width], mixed.to(x.dtype)], dim=-1)

    def kernel_matrix(self) -> Tensor:
        """The kernels as (C, W), zero beyond a coordinate's own length; column m weighs the input m steps ago."""
        lags = torch.arange(self.window, device=self.levels.device)
        inside = lags < 2 ** self.levels[:, None]  # (C, W)
        if self.kind == "haar":
            return inside / 2.0 ** self.levels[:, None]
        return torch.zeros_like(inside, dtype=self.kernels.dtype).masked_scatter(inside, self.kernels)

    def new_state(self, batch: int, device: torch.device | None = None) -> WindowState | None:
        """An empty memory for decoding `batch` streams; None for kind `none`, which needs none."""
        if self.kind == "none":
            return None
        ring = torch.zeros(batch, self.window, self.width, device=device)
        total = torch.zeros(batch, self.width, dtype=torch.float64, device=device)
        by_slot = self.kernel_matrix().detach().T.flip(0).roll(1, 0)  # (W, C); row s holds lag -s, modulo W
        time = torch.zeros(1, dtype=torch.long, device=device)
        return WindowState(ring, total, by_slot.repeat(2, 1), time)

    def _remember(self, x: Tensor, state: WindowState) -> None:
        """Fill an empty state with x (B, T, C)."""
        T = x.shape[1]
        recent = x[:, -self.window :].to(state.ring.dtype)
        times = torch.arange(T - recent.shape[1], T, device=x.device)
        state.ring[:, times % self.window] = recent
        ages = T - 1 - times
        inside = ages[:, None] < 2**self.levels  # (time, C)
        state.total += (recent.double() * inside).sum(1)
        state.time += T
        state.length += T

    def _step(self, x: Tensor, state: WindowState) -> Tensor:
        """The next position x (B, 1, E), in O(1) for `haar` and O(W) for `learnable`."""
        if x.shape[1] != 1:
            raise ValueError(f"a wavelet state takes one position at a time after its first, got {x.shape[1]}")
        new = x[:, 0, self.width :].to(state.ring.dtype)  # (B, C)
        slot = state.time % self.window
        if self.kind == "haar":
            leaving = (state.time - 2**self.levels) % self.window  # (C,)
            old = state.ring.gather(1, leaving.expand(len(new), 1, -1))[:, 0]  # (B, C); still zero before the start
            state.total += new.double() - old.double()
            mixed = state.total / 2**self.levels
        state.ring.index_copy_(1, slot, new[:, None])
        if self.kind == "learnable":
            rows = self.window - slot + torch.arange(self.window, device=x.device)
            mixed = (state.ring * state.weights[rows]).sum(1)
        state.time += 1
        state.length += 1
        return torch.cat([x[..., : self.width], mixed[:, None].to(x.dtype)], dim=-1)


class _HaarCascade(torch.autograd.Function):
    """The undecimated Haar approximation by its a trous cascade: level l is the mean of level l-1 now and
    2^(l-1) steps ago. Linear in x, so the backward pass is the same cascade looking ahead, and saves nothing.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, starts: list[int], width: int) -> Tensor:
        ctx.arguments = starts, width
        return _cascade(x, starts, width, ahead=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _cascade(grad, *ctx.arguments, ahead=True), None, None


def _cascade(x: Tensor, starts: list[int], width: int, *, ahead: bool) -> Tensor:
    """Average the last `width` coordinates of x (B, T, E) over past inputs, or over future ones if `ahead`.

    Sums are taken in float32 or better; the result has x's dtype.
    """
    T, offset = x.shape[1], x.shape[2] - width
    y = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
    for level, start in enumerate(starts, 1):
        part = y[:, :, offset + start :]
        part *= 0.5
        delay = 2 ** (level - 1)
        if delay < T:
            here, there = part[:, delay:], part[:, :-delay]
            if ahead:
                there += here.clone()
            else:
                here += there.clone()
    return y.to(x.dtype)


def causal_convolution(x: Tensor, kernels: Tensor) -> Tensor:
    """y[b, t, c] = sum over m of kernels[c, m] * x[b, t - m, c], with x = 0 before the start, by the FFT.

    x (B, T, C), kernels (C, W) -> (B, T, C), computed in float32 or better.
    """
    T = x.shape[1]
    dtype = torch.promote_types(x.dtype, torch.float32)
    kernels = kernels[:, :T].to(dtype)
    size = 2 ** (T + kernels.shape[1] - 2).bit_length()  # at least T + W - 1, so that nothing wraps around
    spectrum = torch.fft.rfft(x.to(dtype), n=size, dim=1) * torch.fft.rfft(kernels, n=size, dim=1).T
    y: Tensor = torch.fft.irfft(spectrum, n=size, dim=1)
    return y[:, :T]
