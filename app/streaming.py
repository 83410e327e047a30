"""Models writing side by side, a token of each in turn, seen every so often. Ids in, ids out.

Page, endpoints and command line all read from `stream`; closing it stops the work.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor

from waveletgpt.models.generation import Step, generate
from waveletgpt.models.gpt import GPT


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: the settings of `waveletgpt.models.generation.generate`."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """What one model is asked to write."""

    model: GPT
    prompt: Tensor
    """(P,) ids to continue, P > 0."""
    length: int
    """New tokens, at least 1."""
    shown: bool = True
    """Whether the result begins with the prompt."""


@dataclass(frozen=True)
class Take:
    """What one model has written so far."""

    ids: Tensor
    """(P + N,) the prompt and N new tokens; P is 0 where the job's prompt is not shown."""
    prompted: int
    """P."""
    wanted: int
    """How many new tokens it will have in the end."""
    nats: float = 0.0
    """Minus the sum of the log-probabilities that the model itself gave the new tokens."""
    seconds: float = 0.0
    """Time that this model has taken."""

    @property
    def written(self) -> int:
        """N."""
        return len(self.ids) - self.prompted

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
        """Of this model on its own; 0 before the first token."""
        return self.written / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Time that this model still needs, at the speed it has had; 0 before the first token."""
        return (self.wanted - self.written) / self.tokens_per_second if self.written else 0.0


def stream(
    jobs: Sequence[Job], sampling: Sampling, *, samples: int = 1, every: float = 0.3
) -> Iterator[list[list[Take]]]:
    """Do all jobs together, `samples` times each; yields the takes [job][sample] so far, at most every `every` s.

    The first that is yielded is empty and the last is complete. The models take turns at every token, so that
    they are seen to write together, and draw with the same noise: given one vocabulary, they differ only where
    they disagree. Raises InputError before anything is yielded.
    """
    writers = [_Writer.begin(job, sampling, samples) for job in jobs]
    yield [writer.takes() for writer in writers]
    seen = time.monotonic()
    for _ in range(max(job.length for job in jobs)):
        for writer in writers:
            writer.step()
        if time.monotonic() - seen >= every:
            yield [writer.takes() for writer in writers]
            seen = time.monotonic()
    yield [writer.takes() for writer in writers]


@dataclass
class _Writer:
    """One job in progress, B samples of it."""

    steps: Iterator[Step]
    ids: Tensor  # (B, P + length), of which the first `filled` columns are written
    prompted: int
    filled: int
    nats: Tensor  # (B,)
    seconds: float = 0.0

    @classmethod
    def begin(cls, job: Job, sampling: Sampling, samples: int) -> Self:
        prompt = job.prompt.expand(samples, -1)
        steps = generate(job.model, prompt, job.length, **asdict(sampling))
        shown = prompt if job.shown else prompt[:, :0]
        ids = torch.cat([shown, shown.new_zeros(samples, job.length)], dim=1)
        return cls(steps, ids, shown.shape[1], shown.shape[1], torch.zeros(samples, dtype=torch.float64))

    def step(self) -> None:
        """Write one token more, if there is one left to write."""
        begun = time.monotonic()
        step = next(self.steps, None)
        self.seconds += time.monotonic() - begun
        if step is not None:
            self.ids[:, self.filled] = step.ids
            self.nats -= step.log_probs
            self.filled += 1

    def takes(self) -> list[Take]:
        ids, wanted = self.ids[:, : self.filled].clone(), self.ids.shape[1] - self.prompted
        return [Take(ids[b], self.prompted, wanted, float(self.nats[b]), self.seconds) for b in range(len(ids))]
