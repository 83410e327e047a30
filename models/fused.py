"""Decoding on a CPU with everything that a token needs in one call of compiled code (numba).

A step of a small model is bound by the number of calls, not by arithmetic: PyTorch spends most of it between some
two hundred operations. Here the loops over blocks, heads and coordinates are compiled to vector instructions on the
user's machine, by LLVM from numba's wheel (no compiler needed), once: the result is cached on disk. Weights and cache
of the paper's shape stay in the processor's cache from one token to the next, and the GIL is released.

Shapes: B streams, P new positions of each, R = B P rows, E embedding, H heads, D = E / H, L blocks, T context,
V vocabulary, C coordinates with a window, S the sum of the windows' lengths.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.filters import CausalFilter
from waveletgpt.models.gpt import GPT, Block
from waveletgpt.models.kernels import FILTER, HAAR, NONE, Array, read
from waveletgpt.models.wavelet import CausalWavelet

ROWS_AT_ONCE = 2048
"""Most rows that are read in one call, which bounds the memory for what lies between the layers."""


def supports(model: GPT) -> bool:
    """Whether a model can be decoded here: float32 on a CPU, with filters or nothing between its blocks."""
    weights = list(model.parameters())
    return (
        all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
        and all(isinstance(mixer, CausalFilter) and mixer.place == "stream" for mixer in model.mixers)
        and len({mixer.width for mixer in model.mixers}) <= 1
        and not (model.training and model.config.dropout)
    )


class FusedDecoder:
    """A `Decoder` for models that `supports` names. It holds a copy of the weights as they are now."""

    def __init__(self, model: GPT) -> None:
        c = model.config
        blocks = [cast("Block", block) for block in model.blocks]
        mixers = [cast("CausalFilter", mixer) for mixer in model.mixers]
        none = torch.zeros(0, c.n_embd)

        def stacked(name: str) -> Tensor:
            """A weight of every block, (L, ...), matrices as (inputs, outputs)."""
            weights = torch.stack([block.get_parameter(name) for block in blocks])
            return weights.mT if weights.ndim == 3 else weights

        self.config, self.mixer = c, _how(mixers)
        cos, sin = model.rotation if c.positions == "rope" else (none, none)
        # One length a coordinate for all layers, as long as any of them needs.
        self.windows = torch.tensor([mixer.lengths for mixer in mixers if self.mixer != NONE] or [[]]).long().amax(0)
        filters = mixers if self.mixer == FILTER else []
        kernels = [self._twice_backwards(mixer.kernel_matrix()) for mixer in filters] or [torch.zeros(0)]
        self.model = tuple(
            w.detach().clone(memory_format=torch.contiguous_format).numpy()
            for w in (
                model.embedding.weight,
                model.position_embedding.weight if c.positions == "learned" else none,
                cos,
                sin,
                stacked("attention_norm.weight"),
                stacked("attention_norm.bias"),
                stacked("attention.qkv.weight"),
                stacked("attention.out.weight"),
                stacked("feed_forward_norm.weight"),
                stacked("feed_forward_norm.bias"),
                stacked("feed_forward.0.weight"),
                stacked("feed_forward.2.weight"),
                model.norm.weight,
                model.norm.bias,
                model.head.weight.T,
                self.windows,
                torch.stack(kernels),
            )
        )
        self.memory = self._new_memory(0)
        self.length = 0
        self.room: tuple[Array, ...] = ()
        self.rows = 0

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """See `Decoder`."""
        B, P = context.shape
        self.memory, self.length = self._new_memory(B), 0
        tokens, logits = context.numpy(), np.empty((B, self.config.vocab_size), np.float32)
        together = max(1, ROWS_AT_ONCE // P)
        for first in range(0, B, together):
            some = np.ascontiguousarray(tokens[first : first + together])
            logits[first : first + together] = self._read(first, some)
        self.length = P
        if copies > 1:
            self.memory = tuple(np.tile(m, (1, copies, *[1] * (m.ndim - 2))) for m in self.memory)
        return torch.from_numpy(np.tile(logits, (copies, 1)))

    def step(self, ids: Tensor) -> Tensor:
        """See `Decoder`."""
        logits = self._read(0, ids.numpy()[:, None])
        self.length += 1
        return torch.from_numpy(logits)

    def _read(self, first: int, tokens: NDArray[np.int64]) -> Array:
        c = self.config
        if tokens.size != self.rows:
            self.rows = tokens.size
            widths = (c.n_embd, c.n_embd, c.n_embd, 3 * c.n_embd, c.n_hidden)
            self.room = (
                *(np.empty((self.rows, width), np.float32) for width in widths),
                np.empty(c.block_size, np.float32),
            )
        logits = np.empty((len(tokens), c.vocab_size), np.float32)
        cast("Any", read)(*self.model, *self.memory, self.mixer, first, self.length, tokens, logits, *self.room)
        return logits

    def _new_memory(self, streams: int) -> tuple[NDArray[Any], ...]:
        """Keys, values, and the wavelets' rings and totals, of so many streams: (L, B, ...) each."""
        c = self.config
        cache = c.n_layer, streams, c.n_head, c.n_embd // c.n_head, c.block_size
        layers = 0 if self.mixer == NONE else c.n_layer - 1
        rings = np.zeros((layers, streams, int(self.windows.sum())), np.float32)
        totals = np.zeros((layers, streams, len(self.windows)))
        return np.zeros(cache, np.float32), np.zeros(cache, np.float32), rings, totals

    def _twice_backwards(self, kernels: Tensor) -> Tensor:
        """The kernels (C, W) of a layer as `kernels.convolve` wants them, (2 S,)."""
        longest = int(self.windows.max())
        kernels = F.pad(kernels, (0, longest - kernels.shape[1]))
        backwards = [kernel[:n].flip(0).roll(1) for kernel, n in zip(kernels, self.windows.tolist(), strict=True)]
        return torch.cat([part.repeat(2) for part in backwards])


def _how(mixers: list[CausalFilter]) -> int:
    """Which of the kernels' ways of filtering a model's layers need."""
    kinds = {mixer.kind if isinstance(mixer, CausalWavelet) else "filter" for mixer in mixers}
    if kinds <= {"none"}:
        return NONE
    alike = all(mixer.lengths == mixers[0].lengths for mixer in mixers)
    return HAAR if kinds == {"haar"} and alike else FILTER
