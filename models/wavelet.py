"""The causal wavelet layer between the blocks of a decoder (WaveletGPT, arXiv 2409.12924, section 3).

Shapes: B batch, T time, E embedding, C = E // 2 coordinates with a window, W = 2**n_levels the longest window.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

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
    places: Tensor

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
            # Where they are among the C * W places of `kernel_matrix`.
            self.register_buffer("places", self._inside().flatten().nonzero()[:, 0], persistent=False)

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
            weights = F.pad(0.5**self.levels, (self.width, 0), value=1.0)  # (E,)
            y: Tensor = _HaarCascade.apply(x, weights, self.starts)  # type: ignore[no-untyped-call]
        else:
            y = _LearnedFilters.apply(x, self.kernel_matrix(), self._bands(x.shape[1]))  # type: ignore[no-untyped-call]
        return y

    def kernel_matrix(self) -> Tensor:
        """The kernels as (C, W), zero beyond a coordinate's own length; column m weighs the input m steps ago."""
        if self.kind == "learnable":
            empty = self.kernels.new_zeros(self.width * self.window)
            return empty.scatter(0, self.places, self.kernels).view(self.width, self.window)
        return self._inside() / 2.0 ** self.levels[:, None]

    def _inside(self) -> Tensor:
        """Whether an input of so many steps ago is within a coordinate's window, (C, W)."""
        return torch.arange(self.window, device=self.levels.device) < 2 ** self.levels[:, None]

    def _bands(self, length: int) -> list["_Band"]:
        """The runs of coordinates whose convolution over `length` positions takes an FFT of one size."""
        bands: list[_Band] = []
        for level, (start, stop) in enumerate(pairwise([*self.starts, self.width]), 1):
            longest = min(2**level, length)
            size = fast_size(max(length + longest - 1, 1))
            if bands and bands[-1].size == size:
                bands[-1] = replace(bands[-1], stop=stop, longest=longest)
            elif start < stop:
                bands.append(_Band(start, stop, self.width, longest, size))
        return bands

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
    """The undecimated Haar approximation by its a trous cascade: the sum of level l is that of level l-1 now and
    2^(l-1) steps ago. Linear in x, so the backward pass is the same cascade looking ahead, and saves nothing of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, starts: list[int]) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.starts = starts
        return _cascade(x, weights, starts, ahead=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        return _cascade(grad, weights, ctx.starts, ahead=True), None, None


def _cascade(x: Tensor, weights: Tensor, starts: list[int], *, ahead: bool) -> Tensor:
    """Sum the second half of x (B, T, E), by `weights` (E,), over past inputs, or over future ones if `ahead`.

    The weights are powers of two, so that to weigh the inputs or the sums is the same. Sums are taken in float32 or
    better; the result has x's dtype.
    """
    T, offset = x.shape[1], x.shape[2] // 2
    y = x.to(torch.promote_types(x.dtype, torch.float32)) * weights
    for level, start in enumerate(starts, 1):
        part = y[:, :, offset + start :]
        delay = 2 ** (level - 1)
        if delay < T:
            here, there = part[:, delay:], part[:, :-delay]
            if ahead:
                there += here.clone()
            else:
                here += there.clone()
    return y.to(x.dtype)


@dataclass(frozen=True)
class _Band:
    """Neighbouring coordinates of those that have a window: `start` to `stop` of `width`."""

    start: int
    stop: int
    width: int
    longest: int
    """Their longest kernel."""
    size: int
    """Of the FFT: so large that nothing wraps around into the positions that are kept."""

    def of(self, x: Tensor) -> Tensor:
        """Their part (B, T, c) of x (B, T, E)."""
        first = x.shape[2] - self.width
        return x[:, :, first + self.start : first + self.stop]


class _LearnedFilters(torch.autograd.Function):
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), by the FFT.

    Short kernels take smaller transforms than long ones, a band of coordinates at a time. Autograd's gradient of a
    real transform is a complex one of twice the size; this adjoint is made of real ones, of the gradient and of the
    spectra that the forward pass keeps. All is computed in float32 or better; the result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bands: list[_Band]) -> Tensor:
        y, spectra = x.clone(), []
        for band in bands:
            inputs = _spectrum(band.of(x), band.size)  # (B, c, F)
            filters = torch.fft.rfft(kernels[band.start : band.stop, : band.longest].to(inputs.real.dtype), n=band.size)
            band.of(y).copy_(_signal(inputs * filters, band.size, x.shape[1]))
            spectra += [inputs, filters]
        ctx.save_for_backward(*spectra)
        ctx.bands, ctx.shape = bands, kernels.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, spectra = grad.clone(), ctx.saved_tensors
        grad_kernels = grad.new_zeros(ctx.shape, dtype=spectra[0].real.dtype)
        for band, inputs, filters in zip(ctx.bands, spectra[::2], spectra[1::2], strict=True):
            ahead = _spectrum(band.of(grad), band.size)
            band.of(grad_x).copy_(_signal(ahead * filters.conj(), band.size, grad.shape[1]))
            lags = torch.fft.irfft((ahead * inputs.conj()).sum(0), n=band.size)  # (c, size)
            grad_kernels[band.start : band.stop, : band.longest] = lags[:, : band.longest]
        return grad_x, grad_kernels, None


def _spectrum(x: Tensor, size: int) -> Tensor:
    """x (B, T, c), followed by zeros up to `size`, to its spectrum (B, c, size // 2 + 1)."""
    B, T, c = x.shape
    padded = x.new_zeros(B, c, size, dtype=torch.promote_types(x.dtype, torch.float32))
    padded[:, :, :T] = x.transpose(1, 2)
    spectrum: Tensor = torch.fft.rfft(padded)
    return spectrum


def _signal(spectrum: Tensor, size: int, length: int) -> Tensor:
    """A spectrum (B, c, size // 2 + 1) to the first `length` positions of its signal, (B, length, c)."""
    signal: Tensor = torch.fft.irfft(spectrum, n=size)  # (B, c, size)
    return signal[:, :, :length].transpose(1, 2)


def fast_size(least: int) -> int:
    """The smallest of 4, 5 and 6 times a power of two that is `least` or more: FFTs of such sizes are fast."""
    power = 1 << (least - 1).bit_length()
    return next(size for size in (power * 5 // 8, power * 3 // 4, power) if size >= least)
