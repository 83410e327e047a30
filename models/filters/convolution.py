"""Causal convolutions, one kernel for each coordinate: directly, by the FFT, or by Toeplitz products.

An autograd function here must not return `y.to(dtype)` where y has that dtype already: `torch.compile` of torch 2.11
then drops its gradient without a word.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), W the longest filter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SHORT = 8
"""Filters up to this length are computed by a direct convolution. Longer ones are faster by the FFT on a CPU; on a GPU
they are Toeplitz products."""
SMALLEST_BLOCK, BLOCK_GROWTH = 128, 4
"""Positions in a block of the Toeplitz products for the shortest filters, and how much larger blocks get."""


def convolve(x: Tensor, kernels: Tensor, lengths: Sequence[int]) -> Tensor:
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W): y[t] = sum of
    k[m] x[t - m], with x = 0 before the start. The first coordinates pass unchanged.

    Args:
        x: Inputs.
        kernels: Column m weighs the input m steps ago.
        lengths: Length of each kernel. Put similar lengths next to each other: neighbours share their transforms.
    """
    if max(lengths) <= SHORT:
        return short_convolution(x, kernels)
    if x.is_cuda:
        return toeplitz_convolution(x, kernels, lengths)
    y: Tensor = _Convolution.apply(x, kernels, _bands(lengths, x.shape[1]))  # type: ignore[no-untyped-call]
    return y


def delayed(x: Tensor, steps: int) -> Tensor:
    """x (B, T, C) of `steps` positions ago, zero before the start. Negative steps look ahead."""
    return F.pad(x, (0, 0, steps, -steps)) if abs(steps) < x.shape[1] else torch.zeros_like(x)


def short_convolution(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), in float32 or better."""
    C, W = kernels.shape
    with torch.autocast(x.device.type, enabled=False):
        past = F.pad(x[..., -C:].to(torch.promote_types(x.dtype, torch.float32)).mT, (W, 0))  # (B, C, W + T)
        mixed = F.conv1d(past, kernels.flip(1)[:, None].to(past.dtype), groups=C)[..., 1:].mT  # (B, T, C)
    return torch.cat([x[..., :-C], mixed.to(x.dtype)], dim=-1)


def toeplitz_convolution(x: Tensor, kernels: Tensor, lengths: Sequence[int]) -> Tensor:
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), by matrix products.

    Meant for GPUs, whose matrix units do more operations than the FFT needs in less time; not measured yet. Time is cut
    into blocks at least as long as the filter, so a block depends on itself and the one before. Neighbours with similar
    lengths share their blocks, and so a batched product. The products have autocast's dtype.

    Args:
        x: Inputs, taken as 0 before the start.
        kernels: Column m weighs the input m steps ago.
        lengths: Length of each kernel. Put similar lengths next to each other.
    """
    C, T = len(kernels), x.shape[1]
    if not T:
        return x
    mixed, start, blocks = [x[..., :-C]], 0, [min(_block_size(length), T) for length in lengths]
    while start < C:
        block = blocks[start]
        stop = next((c for c in range(start, C) if blocks[c] != block), C)
        part = x[..., x.shape[2] - C + start : x.shape[2] - C + stop]
        mixed.append(_toeplitz_product(part, kernels[start:stop, :block], block).to(x.dtype))
        start = stop
    return torch.cat(mixed, dim=-1)


def _block_size(length: int) -> int:
    """Positions in a block, for filters of this length."""
    block = SMALLEST_BLOCK
    while block < length:
        block *= BLOCK_GROWTH
    return block


def _toeplitz_product(x: Tensor, kernels: Tensor, block: int) -> Tensor:
    """Convolve x (B, T, c) with `kernels` (c, W), W <= Q, in blocks of Q positions. Returns (B, T, c).

    Row t of a filter's Toeplitz matrix (Q, 2 Q) weighs the block before and the block itself: k[Q + t - s] in column
    s. Flattened, it repeats the Q + 1 numbers 0, k[Q - 1], ... k[0] and then Q zeros, so it is made by repeating them,
    and its gradient is a plain sum.
    """
    (B, T, c), Q, n = x.shape, block, -(-x.shape[1] // block)
    row = F.pad(F.pad(kernels, (0, Q + 1 - kernels.shape[1])).flip(1), (0, Q))  # (c, 2 Q + 1)
    matrices = row.repeat(1, Q)[:, : 2 * Q * Q].view(c, Q, 2 * Q)
    now = F.pad(x, (0, 0, 0, n * Q - T)).view(B, n, Q, c).permute(3, 2, 0, 1)  # (c, Q, B, n)
    if n == 1:  # nothing is before the first block
        windows, matrices = now, matrices[:, :, Q:]
    else:
        windows = torch.cat([F.pad(now[..., :-1], (1, 0)), now], dim=1)  # (c, 2 Q, B, n)
    y = torch.bmm(matrices.to(x.dtype), windows.flatten(2)).view(c, Q, B, n)
    return y.permute(2, 3, 1, 0).reshape(B, n * Q, c)[:, :T]


@dataclass(frozen=True)
class _Band:
    """The filtered coordinates from `start` to `stop`, which share an FFT size."""

    start: int
    stop: int
    longest: int
    """Their longest kernel."""
    size: int
    """FFT size: so large that nothing wraps around into the positions that are kept."""


def _bands(lengths: Sequence[int], duration: int) -> list[_Band]:
    """Group neighbouring coordinates whose convolution over `duration` positions uses the same FFT size."""
    bands: list[_Band] = []
    for c, length in enumerate(lengths):
        longest = min(length, duration)
        size = fast_size(max(duration + longest - 1, 1))
        if bands and bands[-1].size == size:
            bands[-1] = replace(bands[-1], stop=c + 1, longest=max(bands[-1].longest, longest))
        else:
            bands.append(_Band(c, c + 1, longest, size))
    return bands


class _Convolution(torch.autograd.Function):
    """Convolve each of the last C coordinates of x (B, T, E) with its row of `kernels` (C, W), by the FFT.

    One band of coordinates at a time, so short kernels take small transforms. Autograd's own gradient of a real
    transform is a complex transform of twice the size. This backward pass uses real transforms: of the gradient, and
    the spectra kept from the forward pass. Everything is computed in float32 or better; the result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bands: list[_Band]) -> Tensor:
        first, learned = x.shape[2] - len(kernels), ctx.needs_input_grad[1]
        mixed, spectra = [x[..., :first]], []
        for band in bands:
            inputs = _spectrum(x[..., first + band.start : first + band.stop], band.size)  # (B, c, F)
            filters = torch.fft.rfft(kernels[band.start : band.stop, : band.longest].to(inputs.real.dtype), n=band.size)
            mixed.append(_signal(inputs * filters, band.size, x.shape[1]).to(x.dtype))
            spectra += [inputs, filters] if learned else [filters]
        ctx.save_for_backward(*spectra)
        ctx.bands, ctx.window, ctx.first, ctx.learned = bands, kernels.shape[1], first, learned
        return torch.cat(mixed, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        spectra, grad_mixed, grad_kernels = list(ctx.saved_tensors), [grad[..., : ctx.first]], []
        for band in ctx.bands:
            inputs = spectra.pop(0) if ctx.learned else None
            filters = spectra.pop(0)
            ahead = _spectrum(grad[..., ctx.first + band.start : ctx.first + band.stop], band.size)
            grad_mixed.append(_signal(ahead * filters.conj(), band.size, grad.shape[1]).to(grad.dtype))
            if inputs is not None:
                lags = torch.fft.irfft((ahead * inputs.conj()).sum(0), n=band.size)  # (c, size)
                grad_kernels.append(F.pad(lags[:, : band.longest], (0, ctx.window - band.longest)))
        return torch.cat(grad_mixed, dim=-1), torch.cat(grad_kernels) if ctx.learned else None, None


def _spectrum(x: Tensor, size: int) -> Tensor:
    """The spectrum (B, c, size // 2 + 1) of x (B, T, c) padded with zeros to `size`."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    spectrum: Tensor = torch.fft.rfft(x, n=size, dim=1).transpose(1, 2)
    return spectrum


def _signal(spectrum: Tensor, size: int, length: int) -> Tensor:
    """The first `length` positions (B, length, c) of the signal with this spectrum (B, c, size // 2 + 1)."""
    signal: Tensor = torch.fft.irfft(spectrum, n=size)  # (B, c, size)
    return signal[:, :, :length].transpose(1, 2)


def fast_size(least: int) -> int:
    """The smallest of 4, 5 and 6 times a power of two that is `least` or more. FFTs of these sizes are fast."""
    power = 1 << (least - 1).bit_length()
    return next(size for size in (power * 5 // 8, power * 3 // 4, power) if size >= least)
