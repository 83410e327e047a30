"""Engines that decode: read a context at once, then one token after another.

Shapes: B streams, P positions of a context, V vocabulary.
"""

import importlib
import math
import threading
from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.noise import gumbel_noise
from waveletgpt.models.sampling import Sampling, seen_tokens

Engine = Literal["auto", "eager", "fused", "graph", "compiled"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

STEPS_AHEAD = 64
"""Most steps that `decode_ahead` enqueues at once. It begins with fewer, so that the first tokens come soon."""

_CAPTURE = threading.Lock()
"""Held while a step is compiled and captured: PyTorch captures one CUDA graph at a time."""


def context_start(position: int, block_size: int) -> int:
    """Where the context begins from which the token at `position` is predicted.

    The context is everything before the token as long as that fits into `block_size`. When it does not fit, half a
    block is dropped and the rest is read again. So the context holds from half a block to a whole one, as in training.
    `benchmarks/context.py` compares this with a rolling cache.
    """
    half = max(1, block_size // 2)
    return max(0, math.ceil((position - block_size) / half)) * half


def windows(length: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """The contexts that together give what follows each of `length` tokens, in the order of their starts.

    Yields:
        (start, first, end): read the tokens from `start` to `end`, and take what follows those from `first` on. What
        follows the others was given by the window before, from a longer context.
    """
    half = max(1, block_size // 2)
    for start in range(0, context_start(length, block_size) + 1, half):
        yield start, start + block_size - half if start else 0, min(start + block_size, length)


class Decoder(Protocol):
    """Reads ids and returns the logits (B, V) float32 of what follows.

    They equal the last logits of `GPT(everything read)`. Reading more than the model's block_size tokens is a
    ValueError.
    """

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """Forget everything and read `context` (B, P) once, P > 0. Continue with `copies` times B streams: all of
        them, `copies` times over.
        """

    def step(self, ids: Tensor) -> Tensor:
        """Read one more token of every stream, (B,) int64."""


class EagerDecoder:
    """A `Decoder` of plain PyTorch, for any model on any device."""

    def __init__(self, model: GPT) -> None:
        self.model, self.device = model, model.embedding.weight.device

    def read(self, context: Tensor, copies: int = 1) -> Tensor:
        """Start from the contexts (B, P), `copies` streams each. Returns the logits (B copies, V) of the next token."""
        state = self.model.new_state(len(context))
        logits: Tensor = self.model(context.to(self.device), state)[:, -1]
        self.state = state.repeat(copies) if copies > 1 else state
        return logits.repeat(copies, 1).float()

    def step(self, ids: Tensor) -> Tensor:
        """Continue every stream by one of `ids` (B,). Returns the logits (B, V) of the next token."""
        logits: Tensor = self.model(ids[:, None].to(self.device), self.state)[:, -1]
        return logits.float()


def fused_engine() -> ModuleType | None:
    """The module of the fused engine; None where numba is missing or cannot be imported (a NumPy too new for it)."""
    try:
        return importlib.import_module("waveletgpt.models.fused")  # numba takes a second to import
    except ImportError:
        return None


def make_decoder(model: GPT, engine: Engine = "auto") -> Decoder:
    """The decoder for a model: the `engine` asked for, or with "auto" the fused one where it can be used.

    Raises:
        InputError: `engine` is unknown, is one of `decode_ahead`, or cannot decode this model here.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    if engine in ("graph", "compiled"):
        raise InputError(f"make_decoder cannot make the engine {engine!r} (use generate); choose auto, eager or fused")
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
    """Compile or load the fused engine: seconds the first time on a machine, less than one second after that."""
    fused = fused_engine()
    if fused is not None:
        tiny = GPT(GPTConfig(vocab_size=2, block_size=2, n_layer=1, n_head=1, n_embd=2, n_hidden=2, n_levels=1))
        with torch.inference_mode():
            fused.FusedDecoder(tiny).read(torch.zeros(1, 1, dtype=torch.long))


@torch.inference_mode()
def decode_ahead(  # noqa: PLR0917
    model: GPT,
    prompt: Tensor,
    max_new_tokens: int | None,
    sampling: Sampling,
    samples: range,
    first_step: int,
    *,
    compiled: bool = False,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The engines "graph" and "compiled": yields ids and log-probabilities (B,) of one token after another, as
    `generate` does.

    Reading and drawing stay on the device; on CUDA a whole step is one graph. The host enqueues some steps, then
    fetches the ids of the steps before, and never waits for a single token. With `compiled`, torch.compile fuses the
    kernels of a step first, as in gpt-fast. That takes up to a minute for each model and number of streams, so it is
    for long generations.
    """
    state = GraphState(model, prompt, sampling, samples, compiled=compiled)
    done, chunk, fetched = 0, 1, None
    while max_new_tokens is None or done < max_new_tokens:
        count = chunk if max_new_tokens is None else min(chunk, max_new_tokens - done)
        enqueued = state.enqueue(first_step + done, count)
        if fetched is not None:
            yield from fetched()
        fetched, done, chunk = enqueued, done + count, min(2 * chunk, STEPS_AHEAD)
    if fetched is not None:
        yield from fetched()


class GraphState:
    """Everything that a step of `decode_ahead` reads and writes, at fixed addresses."""

    def __init__(
        self, model: GPT, prompt: Tensor, sampling: Sampling, samples: range, *, compiled: bool = False
    ) -> None:
        self.model, self.sampling, self.samples = model, sampling, len(samples)
        self.block_size, V = model.config.block_size, model.config.vocab_size
        self.device = device = model.embedding.weight.device
        B = len(prompt) * len(samples)
        self.streams = range(len(prompt) * samples.start, len(prompt) * samples.stop)
        self.length = prompt.shape[1]
        self.start = context_start(self.length, self.block_size)
        self.state = model.new_state(B)
        self.ids = torch.zeros(B, dtype=torch.long, device=device)
        self.context = torch.zeros(B, self.block_size + 1, dtype=torch.long, device=device)  # + 1: drawn, not read
        self.noise = torch.zeros(STEPS_AHEAD, B, V, device=device)
        self.drawn_ids = torch.zeros(STEPS_AHEAD, B, dtype=torch.long, device=device)
        self.drawn_log_probs = torch.zeros(STEPS_AHEAD, B, device=device)
        self.slot = torch.zeros(1, dtype=torch.long, device=device)
        self.seen = torch.zeros(B, V, dtype=torch.bool, device=device) if sampling.penalizes else None
        self.step = fused_step(GraphState._step) if compiled else GraphState._step
        self.replay = self._captured() if device.type == "cuda" else None
        if self.seen is not None:
            self.seen.copy_(seen_tokens(prompt, len(samples), V))
        self.prompt: Tensor | None = prompt[:, self.start :].to(device)

    def enqueue(self, first: int, count: int) -> Callable[[], list[tuple[Tensor, Tensor]]]:
        """Enqueue the `count` steps from step `first` on. Returns a function that waits for their results."""
        steps = range(first, first + count)
        self.noise[:count] = gumbel_noise(self.sampling.seed, self.streams, steps, self.noise.shape[2], self.device)
        self.slot.zero_()
        for _ in steps:
            start = context_start(self.length, self.block_size)
            if self.prompt is not None:
                self._draw(self._read(self.prompt, self.samples))
                self.prompt = None
            elif start > self.start or self.length == 1:
                self._draw(self._read(self.context[:, start - self.start : self.length - self.start].clone(), 1))
                self.start = start
            else:
                self.replay() if self.replay else self.step(self)
            self.length += 1
        on_cuda = self.device.type == "cuda"
        results = []
        for drawn in (self.drawn_ids[:count], self.drawn_log_probs[:count]):
            result = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=on_cuda)
            results.append(result.copy_(drawn, non_blocking=True))
        event = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]
        if event is not None:
            event.record()

        def fetch() -> list[tuple[Tensor, Tensor]]:
            if event is not None:
                event.synchronize()
            return list(zip(*(result.unbind(0) for result in results), strict=True))

        return fetch

    def _read(self, context: Tensor, copies: int) -> Tensor:
        """Forget everything and read `context` (B / copies, P), P >= 0. Returns logits (B, V)."""
        B, V = self.noise.shape[1:]
        P = context.shape[1]
        if not P:
            self.state.time.zero_()
            return torch.zeros(B, V, device=self.device)
        state = self.model.new_state(len(context))
        logits: Tensor = self.model(context, state)[:, -1].float()
        self.state.copy_(state.repeat(copies))
        self.context[:, :P] = context.repeat(copies, 1)
        return logits.repeat(copies, 1)

    def _step(self) -> None:
        """Read the token drawn last and draw the next. Nothing here depends on the host."""
        self._draw(self.model(self.ids[:, None], self.state)[:, -1].float())

    def _draw(self, logits: Tensor) -> None:
        ids, log_probs = self.sampling.draw(logits, self.noise.index_select(0, self.slot)[0], self.seen)
        self.ids.copy_(ids)
        self.context.index_copy_(1, self.state.time, ids[:, None])
        self.drawn_ids.index_copy_(0, self.slot, ids[None])
        self.drawn_log_probs.index_copy_(0, self.slot, log_probs[None])
        self.slot += 1

    def _captured(self) -> Callable[[], None]:
        """A step as a CUDA graph. The steps taken to warm it up are overwritten by the first `_read`.

        Other threads may use CUDA meanwhile, so capturing forbids unsafe calls in this thread alone.
        """
        self._read(torch.zeros(len(self.ids), 1, dtype=torch.long, device=self.device), 1)
        before = self.state.repeat(1)
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        with _CAPTURE:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.state.copy_(before)
                    self.slot.zero_()
                    self.step(self)
                self.state.copy_(before)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.step(self)
        return graph.replay


def fused_step(step: Callable[[GraphState], None]) -> Callable[[GraphState], None]:
    """`step` by torch.compile. It would compile again for a length that Python counts up, so that one stays at 1."""
    compiled = torch.compile(step, dynamic=False, options={"coordinate_descent_tuning": True})

    def fused(graph_state: GraphState) -> None:
        graph_state.state.set_length(1)
        compiled(graph_state)

    return fused
