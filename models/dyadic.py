"""A layer that learns which scales each coordinate hears.

Shapes: B batch, T time, E embedding, C coordinates with a filter (the last of the E), W the longest filter, S scales.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from waveletgpt.models.filters import CausalFilter


class DyadicFilter(CausalFilter):
    """Kernels that are constant on dyadic intervals of the past, with a learned weight for each of them.

    The intervals hold 1, 1, 2, 4, ... 2**(n_levels - 1) inputs: the current one, the one before, the two before
    that, and so on; an interval's mean is what its weight multiplies, S = n_levels + 1 of them for each of `width`
    coordinates. These are all combinations of Haar approximations: the kernel of every level of the paper's layer is
    one, and so are the identity and token shift, which it starts as.
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
        """See `CausalFilter`."""
        return self.weights @ self.intervals

    def mix(self, x: Tensor) -> Tensor:
        """See `CausalFilter`."""
        y: Tensor = _DyadicSums.apply(x, (self.weights / self.sizes).T.contiguous())  # type: ignore[no-untyped-call]
        return y


class _DyadicSums(torch.autograd.Function):
    """The last C coordinates of x (B, T, E) become sums over dyadic intervals of the past, times weights (S, C).

    The sum over the interval that begins 2^s steps ago is that of the 2^s latest inputs, 2^s steps ago, and those sums
    double in length by the a trous cascade. Backward the same cascade looks ahead, at the gradient; its sums times x
    are the weights' gradient as well. All is computed in float32 or better; the result has x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        C, T = weights.shape[1], x.shape[1]
        latest = x[..., -C:].to(torch.promote_types(x.dtype, torch.float32), copy=True)
        mixed, doubled = latest * weights[0], torch.empty_like(latest)
        for delay, weight in _delays(weights, T):
            past = latest[:, : T - delay]
            mixed[:, delay:].addcmul_(past, weight)
            doubled[:, :delay] = latest[:, :delay]
            torch.add(latest[:, delay:], past, out=doubled[:, delay:])
            latest, doubled = doubled, latest
        y = x.clone()
        y[..., -C:] = mixed
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weights = ctx.saved_tensors
        C, T, wide = weights.shape[1], x.shape[1], torch.promote_types(x.dtype, torch.float32)
        inputs, latest = x[..., -C:].to(wide), grad[..., -C:].to(wide, copy=True)
        mixed, doubled, grad_weights = latest * weights[0], torch.empty_like(latest), torch.zeros_like(weights)
        grad_weights[0] = (inputs * latest).sum(1).sum(0)
        for scale, (delay, weight) in enumerate(_delays(weights, T), 1):
            ahead = latest[:, delay:]
            mixed[:, : T - delay].addcmul_(ahead, weight)
            products = torch.mul(inputs[:, : T - delay], ahead, out=doubled[:, : T - delay])
            grad_weights[scale] = products.sum(1).sum(0)
            torch.add(latest[:, : T - delay], ahead, out=doubled[:, : T - delay])
            doubled[:, T - delay :] = latest[:, T - delay :]
            latest, doubled = doubled, latest
        grad_x = grad.clone()
        grad_x[..., -C:] = mixed
        return grad_x, grad_weights


def _delays(weights: Tensor, length: int) -> list[tuple[int, Tensor]]:
    """How many steps ago each interval but the first begins, and its weights (C,); those before all inputs left out."""
    return [(2**s, weight) for s, weight in enumerate(weights[1:]) if 2**s < length]
