"""What a model remembers while it decodes.

Shapes: B streams, T positions, H heads, D coordinates of a head.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class KeyValueCache:
    """Keys and values (B, H, block_size, D) of one block, by position, and the states of the layers on them."""

    keys: Tensor
    values: Tensor
    mixers: list[Any]

    def extend(self, k: Tensor, v: Tensor, positions: Tensor) -> None:
        """Store k, v (B, H, T, D) of `positions` (T,)."""
        self.keys.index_copy_(2, positions, k)
        self.values.index_copy_(2, positions, v)

    def repeat(self, copies: int) -> "KeyValueCache":
        """A cache of `copies` times as many streams."""
        mixers = [state and state.repeat(copies) for state in self.mixers]
        return KeyValueCache(self.keys.repeat(copies, 1, 1, 1), self.values.repeat(copies, 1, 1, 1), mixers)


@dataclass
class DecodingState:
    """What a model remembers of the tokens it has read. Made by `GPT.new_state`, updated by `GPT(tokens, state)`.

    `time` (1,) counts the tokens on the device. A step reads its position from there alone, so that a CUDA graph of
    the step can be replayed. `length` is the same count for Python.
    """

    caches: list[KeyValueCache]
    mixers: list[Any]
    """The state of each mixer (`Mixer.new_state`)."""
    time: Tensor
    length: int = 0

    def repeat(self, copies: int) -> "DecodingState":
        """A state of `copies` times as many streams: all of them, `copies` times over."""
        mixers = [state and state.repeat(copies) for state in self.mixers]
        caches = [cache.repeat(copies) for cache in self.caches]
        return DecodingState(caches, mixers, self.time.clone(), self.length)

    def copy_(self, other: "DecodingState") -> None:
        """Copy the contents of a state with the same number of streams into this one."""
        for mine, its in zip(self.caches, other.caches, strict=True):
            mine.keys.copy_(its.keys)
            mine.values.copy_(its.values)
        for state, its_state in zip(self.every_mixer(), other.every_mixer(), strict=True):
            if state is not None:
                state.copy_(its_state)
        self.time.copy_(other.time)
        self.length = other.length

    def set_length(self, length: int) -> None:
        """Set the counts for Python, and not those on the device."""
        self.length = length
        for state in self.every_mixer():
            if state is not None:
                state.length = length

    def every_mixer(self) -> list[Any]:
        """The states of all mixers, between the blocks and on keys and values; None for one that remembers nothing."""
        return [*self.mixers, *(state for cache in self.caches for state in cache.mixers)]
