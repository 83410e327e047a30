"""Decoding on a CPU with one call of compiled code (numba) per token.

A step of a small model is bound by the number of calls, not by arithmetic: PyTorch spends most of the time between
its two hundred operations. Here LLVM, which comes with numba, compiles the loops over blocks, heads and coordinates
to vector instructions once on the user's machine; the result is cached on disk. At the paper's shape weights and
keys stay in the processor's cache from one token to the next. The GIL is released.

Shapes: B streams, P new positions of each, R = B P rows, E embedding, H heads, D = E / H, L blocks, T context,
V vocabulary, C filtered coordinates, S the sum of their windows' lengths.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from waveletgpt.models.filters.base import CausalFilter
from waveletgpt.models.gpt import GPT, Block
from waveletgpt.models.kernels import FILTER, HAAR, NONE, Array, Memory, Scratch, Weights, read
from waveletgpt.models.wavelet import CausalWavelet

ROWS_AT_ONCE = 2048
"""Most rows read in one call, which bounds the memory for activations."""


def supports(model: GPT) -> bool:
    """Whether this engine can decode a model: float32 on a CPU, filters or nothing between its blocks, and nothing on
    keys and values.
    """
    weights = list(model.parameters())
    return (
        all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
        and all(isinstance(mixer, CausalFilter) for mixer in model.mixers)
        and model.config.attention_mixer == "none"
        and not (model.training and model.config.dropout)
    )


class FusedDecoder:
    """A `Decoder` for models that `supports` accepts. It holds a copy of the weights."""

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
        cos, sin = model.rotation if c.rotary else (none, none)
        self.windows = [] if self.mixer == NONE else mixers[0].lengths  # those of all layers
        filters = mixers if self.mixer == FILTER else []
        matrices = [mixer.kernel_matrix() for mixer in filters]
        tensors = {
            "embedding": model.embedding.weight,
            "positions": model.position_embedding.weight if not c.rotary else none,
            "cos": cos,
            "sin": sin,
            "norm1": stacked("attention_norm.weight"),
            "bias1": stacked("attention_norm.bias"),
            "qkv": stacked("attention.qkv.weight"),
            "out": stacked("attention.out.weight"),
            "norm2": stacked("feed_forward_norm.weight"),
            "bias2": stacked("feed_forward_norm.bias"),
            "hidden_in": stacked("feed_forward.0.weight"),
            "hidden_out": stacked("feed_forward.2.weight"),
            "norm": model.norm.weight,
            "bias": model.norm.bias,
            "head": model.head.weight.T,
            "windows": torch.tensor(self.windows, dtype=torch.long),
            "kernels": twice_backwards(torch.stack(matrices), self.windows) if matrices else torch.zeros(1, 0),
        }
        contiguous = torch.contiguous_format
        self.weights = Weights(
            **{name: w.detach().clone(memory_format=contiguous).numpy() for name, w in tensors.items()}
        )
        self.memory = self._new_memory(0)
        self.length = 0
        self.scratch = self._new_scratch(0)

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """Start from the contexts (B, P), `copies` streams each. Returns the logits (B copies, V) of the next token."""
        B, P = context.shape
        self._check_fits(P)
        self.memory, self.length = self._new_memory(B), 0
        tokens, logits = context.numpy(), np.empty((B, self.config.vocab_size), np.float32)
        together = max(1, ROWS_AT_ONCE // P)
        for first in range(0, B, together):
            some = np.ascontiguousarray(tokens[first : first + together])
            logits[first : first + together] = self._read(first, some)
        self.length = P
        if copies > 1:
            self.memory = Memory._make(np.tile(m, (1, copies, *[1] * (m.ndim - 2))) for m in self.memory)
        return torch.from_numpy(np.tile(logits, (copies, 1)))

    def step(self, ids: Tensor) -> Tensor:
        """Continue every stream by one of `ids` (B,). Returns the logits (B, V) of the next token."""
        self._check_fits(self.length + 1)
        logits = self._read(0, ids.numpy()[:, None])
        self.length += 1
        return torch.from_numpy(logits)

    def _check_fits(self, length: int) -> None:
        """The compiled code writes outside its arrays past block_size."""
        if length > self.config.block_size:
            raise ValueError(f"{length} positions do not fit in block_size {self.config.block_size}")

    def _read(self, first: int, tokens: NDArray[np.int64]) -> Array:
        if tokens.size != len(self.scratch.x):
            self.scratch = self._new_scratch(tokens.size)
        logits = np.empty((len(tokens), self.config.vocab_size), np.float32)
        cast("Any", read)(self.weights, self.memory, self.scratch, self.mixer, first, self.length, tokens, logits)
        return logits

    def _new_scratch(self, rows: int) -> Scratch:
        c = self.config
        widths = c.n_embd, c.n_embd, c.n_embd, 3 * c.n_embd, c.n_hidden
        scores = np.empty(c.block_size, np.float32)
        return Scratch._make([*(np.empty((rows, width), np.float32) for width in widths), scores])

    def _new_memory(self, streams: int) -> Memory:
        c = self.config
        cache = c.n_layer, streams, c.n_head, c.n_embd // c.n_head, c.block_size
        layers = 0 if self.mixer == NONE else c.n_layer - 1
        rings = np.zeros((layers, streams, sum(self.windows)), np.float32)
        totals = np.zeros((layers, streams, len(self.windows)))
        return Memory(np.zeros(cache, np.float32), np.zeros(cache, np.float32), rings, totals)


def twice_backwards(kernels: Tensor, windows: list[int]) -> Tensor:
    """The kernels (L, C, W) of all layers as `kernels.convolve` takes them, (L, 2 S)."""
    W = kernels.shape[2]
    places = [c * W + -torch.arange(2 * n) % n for c, n in enumerate(windows)]
    return kernels.flatten(1)[:, torch.cat(places)]


def _how(mixers: list[CausalFilter]) -> int:
    """Which of the kernels' ways of filtering a model's layers need; they are all of one kind."""
    kinds = {mixer.kind if isinstance(mixer, CausalWavelet) else "filter" for mixer in mixers}
    if kinds <= {"none"}:
        return NONE
    return HAAR if kinds == {"haar"} else FILTER
