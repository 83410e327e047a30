"""A GPT decoder with a mixer (a causal wavelet, or nothing) between its blocks.

Shapes: B batch, T time, E n_embd, H heads, D = E / H, V vocabulary, L blocks.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from waveletgpt.common.errors import InputError, quoted
from waveletgpt.models.attention import cached_attention, causal_attention
from waveletgpt.models.filters.keys import KEY_MIXERS
from waveletgpt.models.mixers import ALL_MIXERS, KeysValues, Mixer
from waveletgpt.models.state import DecodingState, KeyValueCache

LARGEST_SIZE, LARGEST_DEPTH = 1 << 30, 1 << 10
"""Bounds of all sizes, and of n_layer, so that no product overflows 64 bits."""


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. The defaults are the paper's. Baseline and wavelet models differ only in `mixer`."""

    vocab_size: int = 256
    """Number of token ids. In training, the prepared data sets it."""
    block_size: int = 512
    """Context length: the number of positions that attention sees at most."""
    n_layer: int = 10
    """Number of blocks. There is a mixer between every two of them: n_layer - 1 in all."""
    n_head: int = 8
    """Attention heads."""
    n_embd: int = 128
    """Width of the residual stream."""
    n_hidden: int = 512
    """Width of the hidden layer in a block's feed-forward network."""
    dropout: float = 0.0
    """Dropout probability, for embeddings, attention weights and both branches of a block."""
    mixer: str = "none"
    """Layer that mixes over time: none (the baseline), haar, learnable, dyadic, shift, a candidate or a control; or one
    on keys alone, key-offset or key-means, which needs the site keys-values."""
    site: Literal["stream", "keys-values", "both"] = "stream"
    """Where the mixer is: in the stream between the blocks as in the paper, on the keys and on the values of each
    block before rotation, or both."""
    n_levels: int = 9
    """Wavelet levels: windows of 2 to 2**n_levels positions."""
    positions: Literal["rope", "half-rope", "learned"] = "rope"
    """Position encoding: rotary, rotary on half of each head's coordinates, or a learned embedding for each position as
    in the paper."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_hidden", "n_levels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {quoted(value)}; it must be a whole number of 1 or more")
            largest = LARGEST_DEPTH if name == "n_layer" else LARGEST_SIZE
            if value > largest:
                raise InputError(f"{name} is {quoted(value)}; it must be {largest:,} or less")
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise InputError(
                f"n_embd is {self.n_embd} and n_head {self.n_head}; "
                "n_embd must be an even number of coordinates for each head"
            )
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {quoted(self.dropout)}; it must be at least 0 and below 1")
        mixers = [*ALL_MIXERS, *KEY_MIXERS]
        if not isinstance(self.mixer, str) or self.mixer not in mixers:
            raise InputError(f"mixer is {quoted(self.mixer)}; choose one of {', '.join(mixers)}")
        most = self.block_size.bit_length() - 1
        if self.n_levels > most:
            raise InputError(
                f"n_levels is {self.n_levels}, a window of 2**{self.n_levels} positions, longer than block_size "
                f"{self.block_size}; n_levels may be at most {most}"
            )
        if self.site not in ("stream", "keys-values", "both"):
            raise InputError(f"site is {quoted(self.site)}; choose stream, keys-values or both")
        if self.mixer in KEY_MIXERS and self.site != "keys-values":
            raise InputError(f"site is {self.site}, but the mixer {self.mixer} is for keys; it needs site keys-values")
        if self.positions not in ("rope", "half-rope", "learned"):
            raise InputError(f"positions is {quoted(self.positions)}; choose rope, half-rope or learned")
        halves = [name for name in (self.mixer, self.positions) if name in (*KEY_MIXERS, "half-rope")]
        if halves and self.n_embd % (4 * self.n_head):
            raise InputError(
                f"n_embd is {self.n_embd} and n_head {self.n_head}; {halves[0]} needs a multiple of 4 coordinates for "
                "each head"
            )

    @property
    def stream_mixer(self) -> str:
        """Name of the layer between the blocks."""
        return "none" if self.site == "keys-values" else self.mixer

    @property
    def attention_mixer(self) -> str:
        """Name of the layers on keys and values."""
        return "none" if self.site == "stream" else self.mixer

    @property
    def place(self) -> str:
        """Where the mixer is, in words."""
        if self.mixer in KEY_MIXERS:
            return "on keys"
        places = {"stream": "between the blocks", "keys-values": "on keys and values"}
        return places.get(self.site, "between the blocks and on keys and values")

    @property
    def rotary(self) -> bool:
        """Whether positions are rotary. Then no weight depends on block_size."""
        return self.positions != "learned"

    @property
    def cache_size(self) -> int:
        """Numbers in the key/value cache of one stream."""
        return 2 * self.n_layer * self.block_size * self.n_embd


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.mixers = KeysValues(config.attention_mixer, config.n_embd, config.n_head, config.n_levels)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor | None,
        cache: KeyValueCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, E) -> (B, T, E).

        Args:
            x: Inputs. With a cache they are the first positions, or a single one that continues the cache.
            rotation: Cosines and sines (2, T, D / 2) of the positions; None if positions are learned.
            cache: Keys and values so far, updated in place.
            positions: Positions of x (T,), needed with a cache.
        """
        B, T, E = x.shape
        qkv = self.qkv(x)
        if self.mixers:
            qkv = self.mixers(qkv, None if cache is None else cache.mixers)
        qkv = qkv.view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        q, k, v = qkv
        if rotation is not None:
            q, k = rotate(qkv[:2], rotation)
        seen = None  # every position sees itself and those before it
        if cache is not None and positions is not None:
            cache.extend(k, v, positions)
            if T == 1:
                k, v = cache.keys, cache.values
                seen = torch.arange(k.shape[2], device=x.device)[None] <= positions  # (1, block_size)
        dropout = self.dropout if self.training else 0.0
        y = causal_attention(q, k, v, dropout) if seen is None else cached_attention(q, k, v, seen, dropout)
        out: Tensor = self.out(y.transpose(1, 2).reshape(B, T, E))
        return out


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(
            nn.Linear(config.n_embd, config.n_hidden, bias=False),
            nn.GELU(),
            nn.Linear(config.n_hidden, config.n_embd, bias=False),
        )


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.n_embd)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.n_embd)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor | None,
        cache: KeyValueCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, E) -> (B, T, E)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, cache, positions))
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return out


class GPT(nn.Module):
    """The decoder: embedding, blocks with a mixer between every two, norm, logits.

    `GPT(config)(tokens)` takes ids (B, T) int64 with T <= block_size and returns logits (B, T, V).
    """

    rotation: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        if config.rotary:
            head_size, half = config.n_embd // config.n_head, config.positions == "half-rope"
            self.register_buffer("rotation", rotation_table(config.block_size, head_size, half=half), persistent=False)
        else:
            self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.mixers = nn.ModuleList(
            ALL_MIXERS[config.stream_mixer](config.n_embd, config.n_levels) for _ in range(config.n_layer - 1)
        )
        self.norm = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        init_weights(self)

    def forward(self, tokens: Tensor, state: DecodingState | None = None) -> Tensor:
        """Logits (B, T, V) of the token that follows each of `tokens` (B, T).

        With a `state`, the tokens continue what the state has read: any number of tokens when it is new, one at a time
        after that. The result equals that of one pass over everything read.

        Raises:
            ValueError: The tokens go past block_size, or more than one token continues a state.
        """
        T = tokens.shape[1]
        start = state.length if state is not None else 0
        if start + T > self.config.block_size:
            raise ValueError(f"{start + T} positions do not fit in block_size {self.config.block_size}")
        if start and T != 1:
            raise ValueError(f"a state that has read {start} tokens takes one at a time, got {T}")
        positions = None if state is None else state.time + torch.arange(T, device=tokens.device)
        at = slice(T) if positions is None else positions
        x = self.embedding(tokens)  # (B, T, E)
        rotation = None
        if self.config.rotary:
            rotation = self.rotation[:, at]
        else:
            x = x + self.position_embedding.weight[at]
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            cache = state.caches[i] if state is not None else None
            x = block(x, rotation, cache, positions)
            if i < len(self.mixers):
                x = self.mixers[i](x, state.mixers[i] if state is not None else None)
        if state is not None:
            state.time += T
            state.length += T
        logits: Tensor = self.head(self.norm(x))
        return logits

    def new_state(self, batch: int) -> DecodingState:
        """An empty state for decoding `batch` streams."""
        c, weight = self.config, self.embedding.weight
        shape = batch, c.n_head, c.block_size, c.n_embd // c.n_head

        def states(mixers: nn.ModuleList) -> list[Any]:
            return [cast("Mixer", mixer).new_state(batch, weight.device) for mixer in mixers]

        caches = [
            KeyValueCache(weight.new_zeros(shape), weight.new_zeros(shape), states(cast("Block", one).attention.mixers))
            for one in self.blocks
        ]
        return DecodingState(caches, states(self.mixers), torch.zeros(1, dtype=torch.long, device=weight.device))

    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())

    def flops_per_token(self) -> int:
        """Floating-point operations to train on one token, counted as in PaLM (arXiv 2204.02311, appendix B)."""
        c = self.config
        embeddings = c.vocab_size * c.n_embd + (0 if c.rotary else c.block_size * c.n_embd)
        return 6 * (self.n_parameters() - embeddings) + 12 * c.n_layer * c.n_embd * c.block_size

    def cache_bytes(self, batch: int = 1) -> int:
        """Bytes of the key/value cache of `batch` streams."""
        return batch * self.config.cache_size * self.embedding.weight.element_size()


def init_weights(model: GPT) -> None:
    """Initialise all weights. Only norms have biases.

    ==========================================  ==============================================
    embeddings, qkv, feed-forward in, head      normal, standard deviation 0.02
    attention out, feed-forward out             normal, 0.02 / sqrt(2 L), as in GPT-2
    norms                                       weight 1, bias 0
    mixers                                      their own (a learnable wavelet starts as Haar)
    ==========================================  ==============================================
    """
    into_residual = 0.02 / math.sqrt(2 * model.config.n_layer)
    for name, parameter in model.named_parameters():
        if "mixers." in name or "norm" in name:
            continue
        std = into_residual if name.endswith(("attention.out.weight", "feed_forward.2.weight")) else 0.02
        nn.init.normal_(parameter, std=std)


def rotation_table(block_size: int, head_size: int, base: float = 10_000.0, *, half: bool = False) -> Tensor:
    """Cosines and sines (2, block_size, D / 2) of rotary positions (RoFormer, arXiv 2104.09864).

    With `half`, only the first half of the pairs turn, as those of a head of half the size.
    """
    turning = head_size // 2 if half else head_size
    frequencies = base ** (-torch.arange(0, turning, 2).double() / turning)
    frequencies = F.pad(frequencies, (0, (head_size - turning) // 2))  # (D / 2,)
    angles = torch.arange(block_size).double()[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + D/2]) of x (..., T, D) by its position's angle; `rotation` is (2, T, D / 2)."""
    cos, sin = rotation.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
