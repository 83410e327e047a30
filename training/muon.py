"""Muon for many matrices at once."""

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the Newton-Schulz iteration (kellerjordan.github.io/posts/muon)."""


class BatchedMuon(torch.optim.Muon):
    """torch.optim.Muon with Nesterov momentum and match_rms_adamw, all matrices of one shape in the same products.

    torch.optim.Muon takes 15 small products a matrix, 600 for ten blocks, which a GPU spends its time launching. A step
    here never waits for the device, and the learning rate may be a tensor, so that a CUDA graph can hold it. Weights
    and momentum are those of torch.optim.Muon but for rounding.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        if closure is not None:
            raise ValueError("BatchedMuon takes no closure")
        for group in self.param_groups:
            with_grad = [p for p in group["params"] if p.grad is not None]
            for shape, same in groupby(sorted(with_grad, key=lambda p: tuple(p.shape)), key=lambda p: p.shape):
                self._update(list(same), max(shape), group)

    def _update(self, matrices: list[Tensor], longest: int, group: dict[str, Any]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        momenta = [self._momentum(p) for p in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = orthogonal(torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"])), group["eps"])
        rate = group["lr"] * (0.2 * math.sqrt(longest))
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(matrices, list((updates.float() * rate).unbind()))

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonal(matrices: Tensor, eps: float, steps: int = 5) -> Tensor:
    """The nearly orthogonal factor of each of `matrices` (N, R, C), in bfloat16, by the Newton-Schulz iteration."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=eps)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT  # (N, r, r)
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, gram, x, beta=a)
    return x.mT if is_tall else x
