"""A layer that learns how much each coordinate takes of each time scale.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), W the longest filter, S scales.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from waveletgpt.models.filters.base import CausalFilter


class DyadicFilter(CausalFilter):
    """Learned sums of the means over dyadic intervals of the past.

    The intervals hold 1, 1, 2, 4, ... 2**(n_levels - 1) inputs: the current one, the one before, the two before
    that, and so on. Each of the last `width` coordinates has a weight for each of the S = n_levels + 1 means. So it
    can take any combination of Haar averages, the kernels of the paper's layer among them. It starts as token shift.
    """

    intervals: Tensor
    sizes: Tensor

    def __init__(self, width: int, n_levels: int) -> None:
        super().__init__([2**n_levels] * width)
        lags, scales = torch.arange(self.window), n_levels + 1
        ends = 2 ** torch.arange(scales)[:, None]
        starts = ends // 2
        intervals = (lags >= starts) & (lags < ends)
        sizes = intervals.sum(1).float()
        self.register_buffer("intervals", intervals / sizes[:, None], persistent=False)  # (S, W)
        self.register_buffer("sizes", sizes, persistent=False)  # (S,)
        self.weights = nn.Parameter(torch.eye(scales)[1].repeat(width, 1))  # (C, S)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W). Column m weighs the input m steps ago."""
        return self.weights @ self.intervals

    def mix(self, x: Tensor) -> Tensor:
        """Filter the last C coordinates of x (B, T, E) over time."""
        y: Tensor = _DyadicSums.apply(x, (self.weights / self.sizes).T.contiguous())  # type: ignore[no-untyped-call]
        return y


class _DyadicSums(torch.autograd.Function):
    """Replace the last C coordinates of x (B, T, E) by sums over dyadic intervals of the past times weights (S, C).

    The interval that begins 2^s steps ago holds 2^s inputs. Its sum is the sum of the 2^s latest inputs, 2^s steps
    ago. Those sums double in length by the a trous cascade. The backward pass is the same cascade on the gradient,
    looking ahead; its sums times x give the weights' gradient too. Everything is computed in float32 or better; the
    result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        C, T = weights.shape[1], x.shape[1]
        latest = x[..., -C:].to(torch.promote_types(x.dtype, torch.float32), copy=True)
        mixed = latest * weights[0]
        for steps, weight in _intervals(weights, T):
            past = latest[:, : T - steps].clone()
            mixed[:, steps:].addcmul_(past, weight)
            latest[:, steps:] += past
        y = x.clone()
        y[..., -C:] = mixed
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weights = ctx.saved_tensors
        C, T, wide = weights.shape[1], x.shape[1], torch.promote_types(x.dtype, torch.float32)
        inputs, latest = x[..., -C:].to(wide), grad[..., -C:].to(wide, copy=True)
        mixed = latest * weights[0]
        grad_weights = [(inputs * latest).sum(1).sum(0)]
        for steps, weight in _intervals(weights, T):
            ahead = latest[:, steps:].clone()
            mixed[:, : T - steps].addcmul_(ahead, weight)
            grad_weights.append((inputs[:, : T - steps] * ahead).sum(1).sum(0))
            latest[:, : T - steps] += ahead
        unused = [torch.zeros_like(weight) for weight in weights[len(grad_weights) :]]
        grad_x = grad.clone()
        grad_x[..., -C:] = mixed
        return grad_x, torch.stack(grad_weights + unused)


def _intervals(weights: Tensor, length: int) -> list[tuple[int, Tensor]]:
    """How many steps ago each interval but the first begins, and its weights (C,); only those that hold inputs."""
    return [(2**s, weight) for s, weight in enumerate(weights[1:]) if 2**s < length]
