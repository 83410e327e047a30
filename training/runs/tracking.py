"""Curves of a run in TensorBoard, trackio and Weights & Biases. `metrics.jsonl` stays the record of the run."""

import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console

from waveletgpt.common.extras import import_extra
from waveletgpt.common.files import read_text, write_text
from waveletgpt.training.config import TrackerName, TrainConfig

PROJECT = "waveletgpt"
"""The project of all runs in trackio and W&B."""


class Tracker(Protocol):
    """A tracked run that has begun."""

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Log named `scalars` of `step`."""

    def flush(self) -> None:
        """Write buffered scalars to the disk."""

    def end(self) -> None:
        """Finish the tracked run."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker needs to begin, or to go on after a run is resumed."""

    out: Path
    step: int
    """The step after which the run begins or goes on."""
    settings: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """The run's id in trackers. A run that goes on keeps it, in the file tracking-id."""
        path = self.out / "tracking-id"
        found = read_text(path) if self.step else None  # a run that begins anew is another run
        if not found:
            found = uuid.uuid4().hex[:8]
            write_text(path, found)
        return found


class TensorBoard:
    """Writes to RUN/tensorboard."""

    def __init__(self, run: TrackedRun) -> None:
        """Begin after `run.step`; what was written for later steps is replaced."""
        make = import_module("torch.utils.tensorboard").SummaryWriter
        _silence_writer_threads()
        self.writer = make(f"{run.out / 'tensorboard'}", purge_step=run.step + 1)

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Log named `scalars` of `step`."""
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write buffered scalars to the disk."""
        self.writer.flush()

    def end(self) -> None:
        """Close the files."""
        self.writer.close()


class Module:
    """trackio or W&B: modules with `log` and `finish`, which write in the background.

    A run that was killed logs the steps since its last save again, with equal values.
    """

    def __init__(self, module: Any, **options: Any) -> None:
        self.module = module
        module.init(resume="allow", **options)

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Log named `scalars` of `step`."""
        self.module.log(scalars, step=step)

    def flush(self) -> None:
        """Nothing: both write in the background."""

    def end(self) -> None:
        """Write the rest and finish the tracked run."""
        self.module.finish()


def begin_trackio(run: TrackedRun) -> Tracker:
    """Begin or go on in trackio's local store. It finds a run by its name, so the name holds the id."""
    return Module(
        import_module("trackio"), project=PROJECT, name=f"{run.out.resolve().name}-{run.id}", config=run.settings
    )


def begin_wandb(run: TrackedRun) -> Tracker:
    """Begin or go on in RUN/wandb, offline unless WANDB_MODE says otherwise."""
    wandb = import_module("wandb")
    return Module(
        wandb,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.out.resolve().name,
        id=run.id,
        config=run.settings,
        dir=f"{run.out}",
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(console="off"),  # the progress bar would be thousands of lines
    )


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": begin_trackio,
    "wandb": begin_wandb,
}


def check_trackers(names: tuple[TrackerName, ...]) -> None:
    """Raise InputError if a tracker that --track names is not installed."""
    for name in names:
        import_extra(name, extra=name)


class Tracking:
    """The trackers of a run. They begin with the first scalars. One that fails ends, and the run goes on."""

    def __init__(self, config: TrainConfig, step: int, console: Console, *, wanted: bool = True) -> None:
        """Begin after `step`. `wanted` is False in all processes but the first."""
        self.run, self.console = TrackedRun(config.out, step, config.to_dict()), console
        self.waiting = [*(["tensorboard"] if config.tensorboard else []), *config.track] if wanted else []
        self.trackers: dict[str, Tracker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda tracker: tracker.end())

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Log named `scalars` of `step`."""
        while self.waiting:
            self._begin(self.waiting.pop(0))
        self._each(lambda tracker: tracker.add(step, scalars))

    def flush(self) -> None:
        """Write buffered scalars to the disk."""
        self._each(lambda tracker: tracker.flush())

    def _begin(self, name: str) -> None:
        try:
            self.trackers[name] = TRACKERS[name](self.run)
        except Exception as error:
            if not (name == "tensorboard" and isinstance(error, ImportError)):  # on by default, installed or not
                self._failed(name, error)

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in [*self.trackers.items()]:
            try:
                call(tracker)
            except Exception as error:  # other people's code, which must not end the run
                del self.trackers[name]
                self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self.console.print(f"No more curves for {name}: {' '.join(str(error).split())}")


def _silence_writer_threads() -> None:
    """Print no traceback for an OSError in TensorBoard's threads, because the next call raises it again."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        is_writer = type(arguments.thread).__module__.startswith("tensorboard")
        if not (is_writer and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
