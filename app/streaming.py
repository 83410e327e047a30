"""Models writing at the same time, each in a thread of its own, seen every so often. Ids in, ids out.

Page, endpoints and command line all read from `stream`; closing it stops the work.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import cast

import numpy as np
import torch
from torch import Tensor

from waveletgpt.models.generation import Step, generate
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling


@dataclass(frozen=True)
class GenerationTask:
    """What one model is asked to write."""

    model: GPT
    prompt: Tensor
    """(P,) ids to continue, P > 0."""
    length: int
    """New tokens, at least 1."""
    shown: bool = True
    """Whether the result begins with the prompt."""


@dataclass(frozen=True)
class Completion:
    """What one model has written so far."""

    ids: Tensor
    """(P + N,) the prompt and N new tokens; P is 0 where the task's prompt is not shown."""
    prompt_length: int
    """P."""
    wanted: int
    """How many new tokens it will have in the end."""
    nats: float = 0.0
    """Minus the sum of the log-probabilities that the model itself gave the new tokens."""
    seconds: float = 0.0
    """From the beginning, reading the prompt included, to the last of the new tokens."""

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
        """Whether everything asked for is written."""
        return self.written >= self.wanted

    @property
    def nats_per_token(self) -> float:
        """How surprising the model finds what it wrote; 0 before the first token."""
        return self.nats / max(1, self.written)

    @property
    def tokens_per_second(self) -> float:
        """Of this sample, with all that was written beside it; 0 before the first token."""
        return self.written / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Time that it still needs, at the speed it has had; 0 before the first token."""
        return (self.wanted - self.written) / self.tokens_per_second if self.written else 0.0


def stream(
    tasks: Sequence[GenerationTask], sampling: Sampling, *, samples: int = 1, every: float = 0.3
) -> Iterator[list[list[Completion]]]:
    """Do all tasks at the same time, `samples` times each; yields the completions [task][sample] so far, every `every` s.

    The first that is yielded is empty and the last is complete. All draw with the same noise: given one vocabulary,
    models differ only where they disagree. Raises InputError before anything is yielded, and later whatever ends
    a model's work. Closing it stops all of them at their next token.
    """
    stopped, ends = Event(), SimpleQueue[BaseException | None]()
    writers = [_Writer(task, sampling, samples, stopped, ends) for task in tasks]
    yield [writer.completions() for writer in writers]
    # Daemons, so that the process may end without them.
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
    """One task in progress, B samples of it. `write` runs in a thread; `completions` may be called from another meanwhile."""

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
        self.ids = np.zeros((task.length, samples), np.int64)  # of which the first `written` rows are there
        self.log_probs = np.zeros((task.length, samples), np.float32)
        self.written = 0
        self.seconds = 0.0
        self.stopped, self.ends = stopped, ends

    def write(self) -> None:
        """Write until it is done or stopped, and say so."""
        error: BaseException | None = None
        try:
            begun = time.monotonic()
            for n, step in enumerate(self.steps):
                self.ids[n] = step.ids.numpy()
                self.log_probs[n] = step.log_probs.numpy()
                self.seconds = time.monotonic() - begun
                self.written = n + 1  # last, so that nobody reads a row that is not there yet
                if self.stopped.is_set():
                    break
            self.steps.close()
        except BaseException as raised:  # told where the results are read
            error = raised
        self.ends.put(error)

    def completions(self) -> list[Completion]:
        """What there is, in memory of its own."""
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
