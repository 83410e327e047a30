"""Generation with several models at the same time, each in its own thread. Token ids in, token ids out.

Page, endpoints and command line all read from `stream`; closing it stops the work. Where many share the processor, the
models work in turns.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cache
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import cast

import numpy as np
import torch
from torch import Tensor

from waveletgpt.app.serving.scheduling import Scheduler, Turn
from waveletgpt.common.errors import InputError
from waveletgpt.models.generation import Step, generate, warm_up
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling

MOST_TOKENS = 1 << 24
"""New tokens of all samples of a task at most: 17 minutes of audio at 16 kHz. They take 12 bytes each."""

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
    lengths: tuple[int, ...]
    """Numbers of new tokens, each at least 1. The model reads its context anew before each part, as it does when
    somebody goes on from a finished result. So a result that grew in parts can be made again to the byte."""
    sampling: Sampling = field(default_factory=Sampling)
    samples: range = range(1)
    """Numbers of the samples. Only a single one can have several parts."""
    shown: bool = True
    """Whether the completion starts with the prompt."""
    earlier: "Completion | None" = None
    """The completion of this prompt to go on from."""

    @property
    def steps(self) -> int:
        """Number of new tokens of each sample."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Completion:
    """The tokens that one model has written so far."""

    ids: Tensor
    """(P + N,) the prompt and N new tokens; P is 0 if the task's prompt is not shown."""
    prompt_length: int
    """P."""
    wanted: int
    """Number of new tokens that the task asks for."""
    surprise: Tensor = field(default_factory=lambda: torch.zeros(0))
    """(N,) minus the log-probability, in nats, that the model gave each new token."""
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
    def nats(self) -> float:
        """The sum of `surprise`."""
        return float(self.surprise.double().sum())

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
    tasks: Sequence[GenerationTask], *, every: float = 0.3, first: float | None = None, turns: Sequence[Turn] = ()
) -> Generator[list[list[Completion]], None, None]:
    """Run all tasks at the same time.

    Tasks of one seed draw a sample with the same noise: with equal vocabularies, models differ only where they
    disagree. Closing the iterator stops all models at their next token.

    Args:
        tasks: one for each model.
        every: seconds between two yields.
        first: seconds between two yields until all have tokens; then twice as long each time, up to `every`.
        turns: when each model may compute; by default always.

    Yields:
        The completions so far, by task and sample. The first are empty, the last complete.

    Raises:
        InputError: impossible settings; raised before anything is yielded.
        BaseException: whatever ended a model's work.
    """
    ends = SimpleQueue[BaseException | None]()
    turns = turns or Scheduler(at_once=len(tasks)).turns("", [task.steps for task in tasks])
    writers = [_Writer(task, turn, ends) for task, turn in zip(tasks, turns, strict=True)]
    yield [writer.completions() for writer in writers]
    # Daemon threads do not keep the process from exiting.
    threads = [Thread(target=writer.write, name="writer", daemon=True) for writer in writers]
    try:
        for thread in threads:
            thread.start()
        writing, seen, pause = len(threads), time.monotonic(), first or every
        while writing:
            try:
                error = ends.get(timeout=max(0.0, seen + pause - time.monotonic()))
            except Empty:
                yield [writer.completions() for writer in writers]
                seen = time.monotonic()
                if all(writer.written for writer in writers):
                    pause = min(2 * pause, every)
            else:
                if error is not None:
                    raise error
                writing -= 1
    finally:
        for turn in turns:
            turn.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    yield [writer.completions() for writer in writers]


class _Writer:
    """A task in progress, with B samples. `write` runs in one thread while another calls `completions`."""

    def __init__(self, task: GenerationTask, turn: Turn, ends: "SimpleQueue[BaseException | None]") -> None:
        if len(task.samples) > 1 and (len(task.lengths) > 1 or task.earlier):
            raise ValueError("only a single sample can have several parts")
        shown = task.prompt if task.shown else task.prompt[:0]  # (P,)
        self.earlier = task.earlier or Completion(shown, len(shown), 0)
        self.task, self.wanted, B = task, task.steps, len(task.samples)
        if self.wanted * B > MOST_TOKENS:
            raise InputError(f"these are {self.wanted * B:,} tokens; at most {MOST_TOKENS:,} are made at a time")
        self.ids = np.zeros((self.wanted, B), np.int64)  # the first `written` rows are valid
        self.log_probs = np.zeros((self.wanted, B), np.float32)
        self.written = 0
        self.begun = self.seconds = 0.0
        self.turn, self.ends = turn, ends
        self.first_part = self._part(0)  # raises InputError here rather than in the thread

    def write(self) -> None:
        """Write until the task is done or stopped, then put the error, or None, into `ends`."""
        error: BaseException | None = None
        try:
            with closing(self._steps()) as steps, closing(self.turn.slices(steps)) as slices:
                for n, step in enumerate(slices):
                    self.ids[n] = step.ids.numpy()
                    self.log_probs[n] = step.log_probs.numpy()
                    self.seconds = time.monotonic() - self.begun
                    self.written = n + 1  # last, so that `completions` reads only valid rows
        except BaseException as raised:  # `stream` raises it again
            error = raised
        finally:
            self.ends.put(error)

    def _steps(self) -> Generator[Step, None, None]:
        """The steps of all parts."""
        self.begun = time.monotonic()
        for part in range(len(self.task.lengths)):
            with closing(self._part(part) if part else self.first_part) as steps:
                yield from steps

    def _part(self, number: int) -> Generator[Step, None, None]:
        """The steps of one part, which continues all that there is."""
        task = self.task
        so_far = torch.cat([task.prompt, self.earlier.new, torch.from_numpy(self.ids[: self.written, 0])])
        steps = generate(
            task.model,
            so_far[None],
            task.lengths[number],
            **asdict(task.sampling),
            samples=task.samples,
            first_step=len(so_far) - len(task.prompt),
        )
        return cast("Generator[Step, None, None]", steps)

    def completions(self) -> list[Completion]:
        """The B completions so far, as copies."""
        n, earlier = self.written, self.earlier
        ids, surprise = self.ids[:n].T.copy(), -self.log_probs[:n].T  # (B, N) each
        return [
            Completion(
                torch.cat([earlier.ids, torch.from_numpy(one)]),
                earlier.prompt_length,
                earlier.written + self.wanted,
                torch.cat([earlier.surprise, torch.from_numpy(surprise[b])]),
                earlier.seconds + self.seconds,
            )
            for b, one in enumerate(ids)
        ]
