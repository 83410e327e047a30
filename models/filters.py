"""Causal filters over time, one for each of some coordinates: what all layers between the blocks have in common.

Shapes: B batch, T time, E embedding, C coordinates with a filter (the last of the E), W the longest filter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Place = Literal["stream", "output"]
"""What a layer mixes: the residual stream between two blocks, or only what the block before it adds to the stream."""

SHORT = 8
"""The longest kernels that are multiplied out; for longer ones the FFT is quicker."""


@dataclass
class WindowState:
    """What a layer remembers while decoding token by token: O(W) memory whatever the length.

    `ring` (B, W, C) holds the last W inputs, the input of time t at slot t % W. `total` (B, C) holds the sums
    of `haar`'s windows in float64, so that adding and removing inputs does not drift. `weights` (2 W, C) holds the
    kernels such that its rows W - t % W to 2 W - t % W weigh the slots of `ring` at time t. `time` (1,) is the number
    of inputs so far on the device, so that a CUDA graph of a step can be replayed; `length` is the same number for
    Python to check.
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


class CausalFilter(nn.Module):
    """Convolve each of the last C coordinates with its own kernel: y[t] = sum of k[m] x[t - m], with x = 0 before the
    start. The first coordinates pass unchanged.

    A subclass says what the kernels are (`kernel_matrix`), and may compute its `mix` in a better way than by the FFT.
    `lengths` are the kernels' by coordinate; those of similar length should be neighbours.
    """

    place: Place = "stream"

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.lengths = list(lengths)
        self.width, self.window = len(self.lengths), max(self.lengths)

    def kernel_matrix(self) -> Tensor:
        """The kernels as (C, W), zero beyond a coordinate's own length; column m weighs the input m steps ago."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Mix x (B, T, E) over time; same shape and dtype out.

        With a fresh `state` (`new_state`) the inputs are also remembered; with one that holds inputs, x is the
        next single position (T = 1) and costs the same whatever came before.
        """
        if state is not None and state.length:
            return self._step(x, state)
        if state is not None:
            self._remember(x[..., -self.width :], state)
        return self.mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """x (B, T, E) mixed over time from its start on."""
        kernels = self.kernel_matrix()
        if self.window <= SHORT:
            y: Tensor = _ShortConvolution.apply(x, kernels)  # type: ignore[no-untyped-call]
        else:
            y = _Convolution.apply(x, kernels, self._bands(x.shape[1]))  # type: ignore[no-untyped-call]
        return y

    def new_state(self, batch: int, device: torch.device | None = None) -> WindowState | None:
        """An empty memory for decoding `batch` streams."""
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
        state.time += T
        state.length += T

    def _step(self, x: Tensor, state: WindowState) -> Tensor:
        """The next position x (B, 1, E)."""
        if x.shape[1] != 1:
            raise ValueError(f"a state takes one position at a time after its first, got {x.shape[1]}")
        new = x[:, 0, -self.width :].to(state.ring.dtype)  # (B, C)
        mixed = self._next(new, state)
        state.time += 1
        state.length += 1
        return torch.cat([x[..., : -self.width], mixed[:, None].to(x.dtype)], dim=-1)

    def _next(self, new: Tensor, state: WindowState) -> Tensor:
        """Put new (B, C) into the ring; what comes out (B, C), in O(W)."""
        slot = state.time % self.window
        state.ring.index_copy_(1, slot, new[:, None])
        rows = self.window - slot + torch.arange(self.window, device=new.device)
        return (state.ring * state.weights[rows]).sum(1)

    def _bands(self, length: int) -> list["_Band"]:
        """The runs of coordinates whose convolution over `length` positions takes an FFT of one size."""
        bands: list[_Band] = []
        for c, kernel in enumerate(self.lengths):
            longest = min(kernel, length)
            size = fast_size(max(length + longest - 1, 1))
            if bands and bands[-1].size == size:
                bands[-1] = replace(bands[-1], stop=c + 1, longest=max(bands[-1].longest, longest))
            else:
                bands.append(_Band(c, c + 1, self.width, longest, size))
        return bands


class FixedFilter(CausalFilter):
    """Kernels (C, W) that are not learned. A few taps a coordinate are added up one by one, more by the FFT."""

    kernels: Tensor
    MOST_TAPS = 4

    def __init__(self, kernels: Tensor) -> None:
        used = kernels != 0
        super().__init__([int(row.nonzero().max()) + 1 for row in used])
        self.register_buffer("kernels", kernels[:, : self.window].contiguous(), persistent=False)
        self.taps = _taps(self.kernels) if int(used.sum(1).max()) <= self.MOST_TAPS else None

    def kernel_matrix(self) -> Tensor:
        """See `CausalFilter`."""
        return self.kernels

    def mix(self, x: Tensor) -> Tensor:
        """See `CausalFilter`."""
        if self.taps is None:
            return super().mix(x)
        y: Tensor = _Taps.apply(x, self.taps, self.width)  # type: ignore[no-untyped-call]
        return y


@dataclass(frozen=True)
class _Tap:
    """One weight for the inputs `lag` steps ago, of the coordinates from `start` to `stop` of those with a filter."""

    start: int
    stop: int
    lag: int
    weight: float


def _taps(kernels: Tensor) -> list[_Tap]:
    """The weights of kernels (C, W) other than 0, those of neighbours that are alike together."""
    taps: list[_Tap] = []
    for lag in kernels.any(0).nonzero()[:, 0].tolist():
        for c, weight in enumerate(kernels[:, lag].tolist()):
            if not weight:
                continue
            last = taps[-1] if taps else None
            if last and (last.stop, last.lag, last.weight) == (c, lag, weight):
                taps[-1] = replace(last, stop=c + 1)
            else:
                taps.append(_Tap(c, c + 1, lag, weight))
    return taps


class _Taps(torch.autograd.Function):
    """Sums of some past inputs. Linear in x, so the backward pass is the same looking ahead, and saves nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: list[_Tap], width: int) -> Tensor:
        ctx.taps, ctx.width = taps, width
        return _tapped(x, taps, width, ahead=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _tapped(grad, ctx.taps, ctx.width, ahead=True), None, None


def _tapped(x: Tensor, taps: list[_Tap], width: int, *, ahead: bool) -> Tensor:
    """The last `width` coordinates of x (B, T, E) summed in float32 or better; the result has x's dtype."""
    T, first = x.shape[1], x.shape[2] - width
    source = x.to(torch.promote_types(x.dtype, torch.float32))
    y = source.clone()
    y[:, :, first:] = 0
    for tap in taps:
        if tap.lag < T:
            part = slice(first + tap.start, first + tap.stop)
            early, late = slice(T - tap.lag), slice(tap.lag, T)
            to, of = (early, late) if ahead else (late, early)
            y[:, to, part].add_(source[:, of, part], alpha=tap.weight)
    return y.to(x.dtype)


class _ShortConvolution(torch.autograd.Function):
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), a product a lag.

    All is computed in float32 or better; the result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernels)
        inputs = x.to(torch.promote_types(x.dtype, torch.float32))
        y, C = inputs.clone(), len(kernels)
        y[:, :, -C:] *= kernels[:, 0]
        for lag, weights in enumerate(kernels.unbind(1)[1 : x.shape[1]], 1):
            y[:, lag:, -C:].addcmul_(inputs[:, :-lag, -C:], weights)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, kernels = ctx.saved_tensors
        wide, C = torch.promote_types(x.dtype, torch.float32), len(kernels)
        inputs, ahead = x[:, :, -C:].to(wide), grad[:, :, -C:].to(wide)
        grad_x, grad_kernels = grad.to(wide, copy=True), torch.zeros_like(kernels)
        grad_x[:, :, -C:] *= kernels[:, 0]
        grad_kernels[:, 0] = (ahead * inputs).sum((0, 1))
        for lag, weights in enumerate(kernels.unbind(1)[1 : x.shape[1]], 1):
            grad_x[:, :-lag, -C:].addcmul_(ahead[:, lag:], weights)
            grad_kernels[:, lag] = (ahead[:, lag:] * inputs[:, :-lag]).sum((0, 1))
        return grad_x.to(x.dtype), grad_kernels


@dataclass(frozen=True)
class _Band:
    """Neighbouring coordinates of those that have a filter: `start` to `stop` of `width`."""

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


class _Convolution(torch.autograd.Function):
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), by the FFT.

    Short kernels take smaller transforms than long ones, a band of coordinates at a time. Autograd's gradient of a
    real transform is a complex one of twice the size; this adjoint is made of real ones, of the gradient and of the
    spectra that the forward pass keeps. All is computed in float32 or better; the result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bands: list[_Band]) -> Tensor:
        y, spectra, learned = x.clone(), [], ctx.needs_input_grad[1]
        for band in bands:
            inputs = _spectrum(band.of(x), band.size)  # (B, c, F)
            filters = torch.fft.rfft(kernels[band.start : band.stop, : band.longest].to(inputs.real.dtype), n=band.size)
            band.of(y).copy_(_signal(inputs * filters, band.size, x.shape[1]))
            spectra += [inputs, filters] if learned else [filters]
        ctx.save_for_backward(*spectra)
        ctx.bands, ctx.shape, ctx.learned = bands, kernels.shape, learned
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_x, spectra = grad.clone(), list(ctx.saved_tensors)
        grad_kernels = grad.new_zeros(ctx.shape, dtype=spectra[0].real.dtype) if ctx.learned else None
        for band in ctx.bands:
            inputs = spectra.pop(0) if ctx.learned else None
            filters = spectra.pop(0)
            ahead = _spectrum(band.of(grad), band.size)
            band.of(grad_x).copy_(_signal(ahead * filters.conj(), band.size, grad.shape[1]))
            if grad_kernels is not None and inputs is not None:
                lags = torch.fft.irfft((ahead * inputs.conj()).sum(0), n=band.size)  # (c, size)
                grad_kernels[band.start : band.stop, : band.longest] = lags[:, : band.longest]
        return grad_x, grad_kernels, None


def _spectrum(x: Tensor, size: int) -> Tensor:
    """x (B, T, c), followed by zeros up to `size`, to its spectrum (B, c, size // 2 + 1)."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    spectrum: Tensor = torch.fft.rfft(x, n=size, dim=1).transpose(1, 2)
    return spectrum


def _signal(spectrum: Tensor, size: int, length: int) -> Tensor:
    """A spectrum (B, c, size // 2 + 1) to the first `length` positions of its signal, (B, length, c)."""
    signal: Tensor = torch.fft.irfft(spectrum, n=size)  # (B, c, size)
    return signal[:, :, :length].transpose(1, 2)


def fast_size(least: int) -> int:
    """The smallest of 4, 5 and 6 times a power of two that is `least` or more: FFTs of such sizes are fast."""
    power = 1 << (least - 1).bit_length()
    return next(size for size in (power * 5 // 8, power * 3 // 4, power) if size >= least)
