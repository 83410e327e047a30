"""Generation with several models at the same time, each in its own thread. Token ids in, token ids out.

Page, endpoints and command line all read from `stream`; closing it stops the work.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import cast

import numpy as np
import torch
from torch import Tensor

from waveletgpt.models.generation import Step, generate, warm_up
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling

_warming_up = Lock()


def make_ready() -> None:
    """Load or compile the generation engine, which takes seconds the first time. Safe to call from any thread."""
    with _warming_up:
        _warm_up()


def is_ready() -> bool:
    """Whether `make_ready` has nothing left to do."""
    return _warm_up.cache_info().currsize > 0


@cache
def _warm_up() -> None:
    warm_up()


@dataclass(frozen=True)
class GenerationTask:
    """A prompt for one model to continue."""

    model: GPT
    prompt: Tensor
    """(P,) ids, P > 0."""
    length: int
    """Number of new tokens, at least 1."""
    shown: bool = True
    """Whether the completion starts with the prompt."""


@dataclass(frozen=True)
class Completion:
    """The tokens that one model has written so far."""

    ids: Tensor
    """(P + N,) the prompt and N new tokens; P is 0 if the task's prompt is not shown."""
    prompt_length: int
    """P."""
    wanted: int
    """Number of new tokens that the task asks for."""
    nats: float = 0.0
    """Minus the sum of the log-probabilities that the model gave the new tokens."""
    seconds: float = 0.0
    """From the start, reading the prompt included, to the last of the new tokens."""
    stopped: bool = False
    """Whether the work has ended, so that no more tokens will come."""

    @property
    def new(self) -> Tensor:
        """(N,) the new tokens."""
        return self.ids[self.prompt_length :]

    @property
    def written(self) -> int:
        """N."""
        return len(self.ids) - self.prompt_length

    @property
    def done(self) -> bool:
        """Whether all tokens that the task asks for are written."""
        return self.written >= self.wanted

    @property
    def ongoing(self) -> bool:
        """Whether more tokens will come."""
        return not (self.done or self.stopped)

    @property
    def nats_per_token(self) -> float:
        """The model's loss on its own new tokens; 0 before the first token."""
        return self.nats / max(1, self.written)

    @property
    def tokens_per_second(self) -> float:
        """Speed of this sample while others are written beside it; 0 before the first token."""
        return self.written / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Time to the last token at the speed so far; 0 before the first token."""
        return (self.wanted - self.written) / self.tokens_per_second if self.written else 0.0


def stream(
    tasks: Sequence[GenerationTask], sampling: Sampling, *, samples: int = 1, every: float = 0.3
) -> Iterator[list[list[Completion]]]:
    """Run all tasks at the same time.

    Every sample number draws with the same noise in all tasks: with equal vocabularies, models differ only where they
    disagree. Closing the iterator stops all models at their next token.

    Args:
        tasks: one for each model.
        sampling: settings and seed for all of them.
        samples: number of samples of each task.
        every: seconds between two yields.

    Yields:
        The completions so far, by task and sample. The first are empty, the last complete.

    Raises:
        InputError: impossible settings; raised before anything is yielded.
        BaseException: whatever ended a model's work.
    """
    stopped, ends = Event(), SimpleQueue[BaseException | None]()
    writers = [_Writer(task, sampling, samples, stopped, ends) for task in tasks]
    yield [writer.completions() for writer in writers]
    # Daemon threads do not keep the process from exiting.
    threads = [Thread(target=writer.write, name="writer", daemon=True) for writer in writers]
    try:
        for thread in threads:
            thread.start()
        writing, seen = len(threads), time.monotonic()
        while writing:
            try:
                error = ends.get(timeout=max(0.0, seen + every - time.monotonic()))
            except Empty:
                yield [writer.completions() for writer in writers]
                seen = time.monotonic()
            else:
                if error is not None:
                    raise error
                writing -= 1
    finally:
        stopped.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    yield [writer.completions() for writer in writers]


class _Writer:
    """A task in progress, with B samples. `write` runs in one thread while another calls `completions`."""

    def __init__(
        self,
        task: GenerationTask,
        sampling: Sampling,
        samples: int,
        stopped: Event,
        ends: "SimpleQueue[BaseException | None]",
    ) -> None:
        self.steps = cast(
            "Generator[Step, None, None]",
            generate(task.model, task.prompt[None], task.length, **asdict(sampling), samples=samples),
        )
        self.shown = task.prompt if task.shown else task.prompt[:0]  # (P,)
        self.ids = np.zeros((task.length, samples), np.int64)  # the first `written` rows are valid
        self.log_probs = np.zeros((task.length, samples), np.float32)
        self.written = 0
        self.seconds = 0.0
        self.stopped, self.ends = stopped, ends

    def write(self) -> None:
        """Write until the task is done or stopped, then put the error, or None, into `ends`."""
        error: BaseException | None = None
        try:
            begun = time.monotonic()
            for n, step in enumerate(self.steps):
                self.ids[n] = step.ids.numpy()
                self.log_probs[n] = step.log_probs.numpy()
                self.seconds = time.monotonic() - begun
                self.written = n + 1  # last, so that `completions` reads only valid rows
                if self.stopped.is_set():
                    break
            self.steps.close()
        except BaseException as raised:  # `stream` raises it again
            error = raised
        self.ends.put(error)

    def completions(self) -> list[Completion]:
        """The B completions so far, as copies."""
        n = self.written
        ids, nats = self.ids[:n].T.copy(), -self.log_probs[:n].sum(axis=0, dtype=np.float64)  # (B, N), (B,)
        return [
            Completion(
                torch.cat([self.shown, torch.from_numpy(one)]),
                len(self.shown),
                len(self.ids),
                float(nats[b]),
                self.seconds,
            )
            for b, one in enumerate(ids)
        ]
