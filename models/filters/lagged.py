"""Sums of an input and of its running sum at a few lags, in one pass over memory for training on a CPU.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), N taps, S lags of the running sum.
"""

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from waveletgpt.models.filters.convolution import delayed


def lagged_sums(x: Tensor, taps: Tensor, sums: Tensor, lags: Sequence[int]) -> Tensor:
    """x[t] + sum of taps[n] x[t - n] + sum of sums[s] (x[0] + ... + x[t - lags[s]]), in the last C coordinates.

    Plain operations, which `torch.compile` can fuse, except where gradients are needed on a CPU: there every operation
    would read and write the whole of memory again, so compiled loops compute all in one pass.

    Args:
        x: Inputs (B, T, E), taken as 0 before the start. The first coordinates pass unchanged.
        taps: Weights (N, C) of the latest N inputs.
        sums: Weights (S, C) of the running sum.
        lags: Lags of the running sum.

    Returns:
        A tensor (B, T, E) of x's dtype, computed in float32 or better.
    """
    C, dtype = taps.shape[1], torch.promote_types(x.dtype, torch.float32)
    trains = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
    if trains and x.is_cpu and dtype == torch.float32 and compiled_loops() is not None:
        mixed: Tensor = _LaggedSums.apply(x.to(dtype), taps, sums, torch.tensor(lags, dtype=torch.long))  # type: ignore[no-untyped-call]
        return mixed.to(x.dtype)
    y = past = x[..., -C:].to(dtype)
    for lag, weight in enumerate(taps):
        y = y + weight * delayed(past, lag)
    running = past.cumsum(1) if lags else past
    for lag, weight in zip(lags, sums, strict=True):
        if lag < x.shape[1]:
            y = y + weight * delayed(running, lag)
    return torch.cat([x[..., :-C], y.to(x.dtype)], dim=-1)


@cache
def compiled_loops() -> ModuleType | None:
    """The module of the loops; None where numba cannot be imported."""
    try:
        return importlib.import_module("waveletgpt.models.filters.lagged_loops")  # numba takes a second to import
    except ImportError:
        return None


class _LaggedSums(torch.autograd.Function):
    """`lagged_sums` by the loops. It is linear in x, so the backward pass is the same filter looking ahead."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, *weights)
        y = torch.empty(x.shape)
        _call("lagged_sums", x, *weights, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, taps, sums, lags = ctx.saved_tensors
        grad_x = torch.empty(x.shape)
        grad_taps, grad_sums = (torch.zeros(len(x), *weights.shape) for weights in (taps, sums))
        _call("lagged_gradients", x, grad, taps, sums, lags, grad_x, grad_taps, grad_sums)
        return grad_x, grad_taps.sum(0), grad_sums.sum(0), None


def _call(name: str, *tensors: Tensor) -> None:
    getattr(compiled_loops(), name)(*(tensor.detach().contiguous().numpy() for tensor in tensors))
