"""Causal filters over time, one for each filtered coordinate: the base of the layers between the blocks.

Shapes: B batch, T time, E embedding, C filtered coordinates (the last of the E), W the longest filter.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from waveletgpt.models.filters.convolution import convolve, delayed

Builder = Callable[[int, int], nn.Module]
"""Builds a layer from `n_embd` and `n_levels`."""


@dataclass
class WindowState:
    """What a filter remembers between decoding steps. Its memory is O(W), whatever the length.

    `ring` (B, W, C) holds the last W inputs; the input of time t is in slot t % W. `total` (B, C) holds the running
    sums of `haar` in float64, so that adding and removing inputs does not drift. `weights` (2 W, C) holds the kernels
    twice: rows W - t % W to 2 W - t % W are the weights of the ring's slots at time t. `time` (1,) counts the inputs on
    the device, so that a CUDA graph of a step can be replayed. `length` is the same count for Python.
    """

    ring: Tensor
    total: Tensor
    weights: Tensor
    time: Tensor
    length: int = 0

    def repeat(self, copies: int) -> "WindowState":
        """A state of `copies` times as many streams: all of them, `copies` times over."""
        ring, total = self.ring.repeat(copies, 1, 1), self.total.repeat(copies, 1)
        return WindowState(ring, total, self.weights, self.time.clone(), self.length)

    def copy_(self, other: "WindowState") -> None:
        """Copy the contents of a state with the same number of streams into this one."""
        for mine, its in ((self.ring, other.ring), (self.total, other.total), (self.time, other.time)):
            mine.copy_(its)
        self.length = other.length


class CausalFilter(nn.Module, ABC):
    """Convolve each of the last C coordinates with its own kernel: y[t] = sum of k[m] x[t - m], with x = 0 before the
    start. The first coordinates pass unchanged.

    A subclass defines the kernels (`kernel_matrix`) and may compute `mix` faster than the convolution here.

    Args:
        lengths: Kernel length of each filtered coordinate. Put similar lengths next to each other: neighbours share
            an FFT size.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.lengths = list(lengths)
        self.width, self.window = len(self.lengths), max(self.lengths)

    @abstractmethod
    def kernel_matrix(self) -> Tensor:
        """The kernels as (C, W), zero beyond each coordinate's own length. Column m weighs the input m steps ago."""

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Mix x (B, T, E) over time; same shape and dtype out.

        A new `state` (`new_state`) also remembers the inputs. With a state that holds inputs, x must be the next
        single position (T = 1), and the step costs the same whatever came before.

        Raises:
            ValueError: The state holds inputs and T is not 1.
        """
        if state is not None and state.length:
            return self._step(x, state)
        if state is not None:
            self._remember(x[..., -self.width :], state)
        return self.mix(x)

    def mix(self, x: Tensor) -> Tensor:
        """Mix x (B, T, E) over time, from an empty past."""
        return convolve(x, self.kernel_matrix(), self.lengths)

    def new_state(self, batch: int, device: torch.device | None = None) -> WindowState | None:
        """An empty state for decoding `batch` streams."""
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
        """Mix the next position x (B, 1, E)."""
        if x.shape[1] != 1:
            raise ValueError(f"a state takes one position at a time after its first, got {x.shape[1]}")
        new = x[:, 0, -self.width :].to(state.ring.dtype)  # (B, C)
        mixed = self._next(new, state)
        state.time += 1
        state.length += 1
        return torch.cat([x[..., : -self.width], mixed[:, None].to(x.dtype)], dim=-1)

    def _next(self, new: Tensor, state: WindowState) -> Tensor:
        """Put the input new (B, C) into the ring and return the output (B, C), in O(W)."""
        slot = state.time % self.window
        state.ring.index_copy_(1, slot, new[:, None])
        rows = self.window - slot + torch.arange(self.window, device=new.device)
        return (state.ring * state.weights[rows]).sum(1)


class FixedFilter(CausalFilter):
    """A filter whose kernels (C, W) are given and not learned."""

    kernels: Tensor

    def __init__(self, kernels: Tensor) -> None:
        super().__init__([int(row.nonzero().max()) + 1 for row in kernels])
        self.register_buffer("kernels", kernels[:, : self.window].contiguous(), persistent=False)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W). Column m weighs the input m steps ago."""
        return self.kernels


class TokenShift(CausalFilter):
    """Each of the last `width` coordinates takes its value of one token ago, as in RWKV (arXiv 2305.13048)."""

    kernel: Tensor

    def __init__(self, width: int) -> None:
        super().__init__([2] * width)
        self.register_buffer("kernel", torch.tensor([0.0, 1.0]), persistent=False)

    def kernel_matrix(self) -> Tensor:
        """The kernels (C, W). Column m weighs the input m steps ago."""
        return self.kernel.expand(self.width, 2)

    def mix(self, x: Tensor) -> Tensor:
        """Filter the last C coordinates of x (B, T, E) over time."""
        return torch.cat([x[..., : -self.width], delayed(x[..., -self.width :], 1)], dim=-1)


def quarter(n_embd: int) -> int:
    """A quarter of the coordinates, at least one."""
    return max(1, n_embd // 4)
