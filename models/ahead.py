"""Decoding ahead of the reader, for devices that a step should never wait for.

Reading, drawing and reading again stay on the device: on CUDA a whole step with its sampling is one graph. The host
enqueues some steps, fetches the ids of the ones before, and never waits for a single token.

Shapes: B samples, V vocabulary.
"""

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from waveletgpt.models.context import context_start
from waveletgpt.models.gpt import GPT
from waveletgpt.models.noise import gumbel_noise
from waveletgpt.models.sampling import Sampling, seen_tokens

STEPS_AHEAD = 64
"""Most steps that are enqueued at once. The first few times it is fewer, for the sake of who waits for the first."""


@torch.inference_mode()
def decode_ahead(
    model: GPT, prompt: Tensor, max_new_tokens: int | None, sampling: Sampling, samples: int
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Ids and log-probabilities (B,) of one token after another, as `generate` promises them."""
    desk = _Desk(model, prompt, sampling, samples)
    done, chunk, fetched = 0, 1, None
    while max_new_tokens is None or done < max_new_tokens:
        count = chunk if max_new_tokens is None else min(chunk, max_new_tokens - done)
        enqueued = desk.enqueue(done, count)
        if fetched is not None:
            yield from fetched()
        fetched, done, chunk = enqueued, done + count, min(2 * chunk, STEPS_AHEAD)
    if fetched is not None:
        yield from fetched()


class _Desk:
    """All that a step reads and writes, at fixed addresses."""

    def __init__(self, model: GPT, prompt: Tensor, sampling: Sampling, samples: int) -> None:
        self.model, self.sampling, self.samples = model, sampling, samples
        self.block_size, V = model.config.block_size, model.config.vocab_size
        self.device = device = model.embedding.weight.device
        B = len(prompt) * samples
        self.length = prompt.shape[1]
        self.start = context_start(self.length, self.block_size)
        self.state = model.new_state(B)
        self.ids = torch.zeros(B, dtype=torch.long, device=device)
        self.context = torch.zeros(B, self.block_size + 1, dtype=torch.long, device=device)  # one drawn, not yet read
        self.noise = torch.zeros(STEPS_AHEAD, B, V, device=device)
        self.drawn_ids = torch.zeros(STEPS_AHEAD, B, dtype=torch.long, device=device)
        self.drawn_log_probs = torch.zeros(STEPS_AHEAD, B, device=device)
        self.slot = torch.zeros(1, dtype=torch.long, device=device)
        self.seen = torch.zeros(B, V, dtype=torch.bool, device=device) if sampling.penalizes else None
        self.replay = self._captured() if device.type == "cuda" else None
        if self.seen is not None:
            self.seen.copy_(seen_tokens(prompt, samples, V))
        self.prompt: Tensor | None = prompt[:, self.start :].to(device)

    def enqueue(self, done: int, count: int) -> Callable[[], list[tuple[Tensor, Tensor]]]:
        """Begin to make `count` tokens after the `done` first; returns how to fetch them."""
        B, V = self.noise.shape[1:]
        steps = range(done, done + count)
        self.noise[:count] = gumbel_noise(self.sampling.seed, B, steps, V, self.device)
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
                (self.replay or self._step)()
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
        """Forget everything and read `context` (B / copies, P), if there is any; logits (B, V)."""
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
        """Read the token drawn last and draw the next; nothing here depends on the host."""
        self._draw(self.model(self.ids[:, None], self.state)[:, -1].float())

    def _draw(self, logits: Tensor) -> None:
        ids, log_probs = self.sampling.draw(logits, self.noise.index_select(0, self.slot)[0], self.seen)
        self.ids.copy_(ids)
        self.context.index_copy_(1, self.state.time, ids[:, None])
        self.drawn_ids.index_copy_(0, self.slot, ids[None])
        self.drawn_log_probs.index_copy_(0, self.slot, log_probs[None])
        self.slot += 1

    def _captured(self) -> Callable[[], None]:
        """`_step` as a CUDA graph. What is tried out on the way is overwritten by the first `_read`."""
        self._read(torch.zeros(len(self.ids), 1, dtype=torch.long, device=self.device), 1)
        before = self.state.repeat(1)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.state.copy_(before)
                self.slot.zero_()
                self._step()
            self.state.copy_(before)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph.replay
