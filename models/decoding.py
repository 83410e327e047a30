"""Engines that decode: a context is read at once, then one token after another."""

import importlib
from types import ModuleType
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT, GPTConfig

Engine = Literal["auto", "eager", "fused", "graph"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


class Decoder(Protocol):
    """Reads ids and tells what may follow: logits (B, V) float32, V the vocabulary.

    They equal the last ones of `GPT(everything read)`. No more than the model's block_size tokens can be read.
    """

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """Forget everything and read `context` (B, P), P > 0, once; go on with `copies` B streams: all of them,
        `copies` times over.
        """

    def step(self, ids: Tensor) -> Tensor:
        """Read one more token of every stream, (B,) int64."""


class EagerDecoder:
    """A `Decoder` of plain PyTorch, for any model on any device."""

    def __init__(self, model: GPT) -> None:
        self.model, self.device = model, model.embedding.weight.device

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """See `Decoder`."""
        state = self.model.new_state(len(context))
        logits: Tensor = self.model(context.to(self.device), state)[:, -1]
        self.state = state.repeat(copies) if copies > 1 else state
        return logits.repeat(copies, 1).float()

    def step(self, ids: Tensor) -> Tensor:
        """See `Decoder`."""
        logits: Tensor = self.model(ids[:, None].to(self.device), self.state)[:, -1]
        return logits.float()


def fused_engine() -> ModuleType | None:
    """The module of the fused engine; None where numba is missing or cannot be imported (a NumPy too new for it)."""
    try:
        return importlib.import_module("waveletgpt.models.fused")  # numba takes a second to import
    except ImportError:
        return None


def make_decoder(model: GPT, engine: Engine = "auto") -> Decoder:
    """The decoder for a model: the fused one where it can be had, or the `engine` asked for.

    ("graph" is not one of them: `models.ahead` does without a Decoder.)

    Raises InputError if `engine` is unknown or cannot decode this model here.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    if engine == "eager":
        return EagerDecoder(model)
    fused = fused_engine()
    if fused is not None and fused.supports(model):
        decoder: Decoder = fused.FusedDecoder(model)
        return decoder
    if engine == "fused":
        raise InputError(
            "the fused engine needs the package numba, and a float32 model on a CPU with wavelets or nothing between "
            "its blocks; use engine='auto'"
        )
    return EagerDecoder(model)


def warm_up() -> None:
    """Compile or load the fused engine: seconds the first time on a machine, less than one after that."""
    fused = fused_engine()
    if fused is not None:
        tiny = GPT(GPTConfig(vocab_size=2, block_size=2, n_layer=1, n_head=1, n_embd=2, n_hidden=2, n_levels=1))
        with torch.inference_mode():
            fused.FusedDecoder(tiny).read(torch.zeros(1, 1, dtype=torch.long))
