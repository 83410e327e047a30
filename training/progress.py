"""What a person sees while a model trains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from waveletgpt.common.units import in_unit
from waveletgpt.training.config import TrainConfig
from waveletgpt.training.data import DatasetInfo


class TrainingProgress:
    """A progress line (step, loss, tokens per second, time left) and a printed line for every evaluation."""

    def __init__(self, config: TrainConfig, data: DatasetInfo, step: int, *, shown: bool) -> None:
        self.config, self.report = config, data.report
        self.tokens_per_step = config.batch_size * config.model.block_size
        self.console = Console(highlight=False, soft_wrap=True, quiet=not shown)
        self.bar = Progress(
            TextColumn(f"[bold]{data.modality} {config.model.mixer}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task = self.bar.add_task("", total=config.steps, completed=step, loss="", speed="")

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, step: int, loss: float) -> None:
        """Show the training loss (nats per token) of the step just done."""
        speed = self.bar.tasks[0].speed
        self.bar.update(
            self.task,
            completed=step,
            loss=f"{in_unit(loss, self.report):.4f} {self.report}",
            speed=f"{speed * self.tokens_per_step:,.0f} tokens/s" if speed else "",
        )

    def evaluated(self, train_loss: float, val_loss: float, *, is_best: bool) -> None:
        """Print an evaluation's mean losses (nats per token)."""
        step = int(self.bar.tasks[0].completed)
        train, val = in_unit(train_loss, self.report), in_unit(val_loss, self.report)
        mark = " (best)" if is_best else ""
        self.console.print(f"step {step:>7,}  train {train:.4f}  validation {val:.4f} {self.report}{mark}")

    def stopped(self) -> None:
        """Say that the run has stopped early and how to go on."""
        self.console.print(f"Stopped; the run is saved in {self.config.out}. To go on, add --resume to the command.")


@contextmanager
def progress_bar(what: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Show a bar on a terminal while the block runs; yields the function that is told how many more are done."""
    console = Console(stderr=True)  # standard output is for results
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.update(task, advance=count)
