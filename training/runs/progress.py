"""The display of a training run."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from waveletgpt.common.units import in_unit
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.optimizer import lr_fraction
from waveletgpt.training.runs.tracking import Tracking


class TrainingProgress:
    """A progress bar (step, loss, tokens per second, time left), a line for each evaluation, and tracked curves."""

    def __init__(self, config: TrainConfig, data: DatasetInfo, step: int, console: Console, tracking: Tracking) -> None:
        self.config, self.report, self.console, self.tracking = config, data.report, console, tracking
        self.unit = data.report.replace(" ", "_")
        self.tokens_per_step = config.batch_size * config.model.block_size
        self.bar = Progress(
            TextColumn(f"[bold]{data.modality} {config.model.mixer}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("", total=config.steps, completed=step, loss="", speed="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, step: int, losses: list[float], seconds: float) -> None:
        """Show the training losses (nats per token) of the last steps, which took `seconds`."""
        speed = len(losses) * self.tokens_per_step / seconds
        loss = in_unit(losses[-1], self.report)
        shown = f"{loss:.4f} {self.report}"
        self.bar.update(self.task, completed=step, loss=shown, speed=f"{speed:,.0f} tokens/s")
        mean = in_unit(sum(losses) / len(losses), self.report)
        settings = self.config.optimizer
        rate = settings.lr * lr_fraction(settings, step - 1, self.config.steps)
        self.tracking.add(step, {f"train/{self.unit}": mean, "learning_rate": rate, "tokens_per_second": speed})

    def evaluated(self, train_loss: float, val_loss: float, *, is_best: bool) -> None:
        """Print an evaluation's mean losses (nats per token)."""
        step = int(self.bar.tasks[0].completed)
        train, val = in_unit(train_loss, self.report), in_unit(val_loss, self.report)
        mark = " (best)" if is_best else ""
        self.console.print(f"step {step:>7,}  train {train:.4f}  validation {val:.4f} {self.report}{mark}")
        self.tracking.add(step, {f"validation/{self.unit}": val})
        self.tracking.flush()

    def stopped(self) -> None:
        """Print that the run has stopped early."""
        step = int(self.bar.tasks[0].completed)
        self.console.print(f"Stopped at step {step:,}; the run is saved in {self.config.out}.")
