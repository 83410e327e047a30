"""What a person sees while the runs of a comparison are trained."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from waveletgpt.common.units import in_unit
from waveletgpt.training.comparing.trial import Outcome, Trial


class ComparisonProgress:
    """A line for every run that has ended; on a terminal also one for each under way, and one for the whole.

    A run's step and loss are those of its last evaluation.
    """

    def __init__(self, total: int, unit: str, console: Console) -> None:
        """`total` is how many runs there will be, `unit` the one that losses are told in."""
        self.total, self.unit, self.console = total, unit, console
        self.done, self.tokens_ahead = 0, 0
        self.begun = self.last_news = time.monotonic()
        self.learned = 0
        """Tokens that runs have been trained on since this began."""
        self.lines: dict[Trial, tuple[TaskID, int]] = {}
        """Of each run under way: its line, and the tokens that it has been trained on."""
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}")
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.whole = self.bar.add_task("[bold]runs", total=total, told="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def found(self, trial: Trial) -> None:
        """A run was there already."""
        self.done += 1
        self._tell(trial)

    def started(self, trial: Trial) -> None:
        """A run begins, or goes on."""
        rows = trial.rows()
        steps = rows[-1]["step"] if rows else 0
        line = self.bar.add_task(trial.name, total=trial.config.steps, completed=steps, told="")
        self.lines[trial] = line, rows[-1]["tokens"] if rows else 0
        self._tell(trial)

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """A run has ended."""
        self.look()
        self.bar.remove_task(self.lines.pop(trial)[0])
        self.done += 1
        self._tell(trial)
        said = self._loss(trial) if outcome.kind == "complete" else f"{outcome.kind}: {outcome.why}"
        self.console.print(f"{trial.name}: {said}  ({self.done} of {self.total} runs{self._left()})", markup=False)

    def look(self) -> None:
        """Show how far the runs under way have come."""
        for trial, (line, tokens) in self.lines.items():
            rows = trial.rows()
            if rows and rows[-1]["tokens"] > tokens:
                self.learned += rows[-1]["tokens"] - tokens
                self.last_news = time.monotonic()
                self.lines[trial] = line, rows[-1]["tokens"]
                told = f"step {rows[-1]['step']:,} of {trial.config.steps:,}, {self._loss(trial)}"
                self.bar.update(line, completed=rows[-1]["step"], told=told)
                self._tell(trial)

    def _loss(self, trial: Trial) -> str:
        return f"{in_unit(trial.rows()[-1]['val_loss'], self.unit):.4f} {self.unit}"

    def _tell(self, trial: Trial) -> None:
        """Show the whole; every run is as long as `trial`."""
        self.tokens_ahead = (self.total - self.done) * trial.tokens - sum(tokens for _, tokens in self.lines.values())
        rate = f", {self._rate():,.0f} tokens/s" if self.learned else ""
        self.bar.update(
            self.whole,
            completed=self.total - self.tokens_ahead / trial.tokens,
            told=f"{self.done} of {self.total}{rate}{self._left()}",
        )

    def _rate(self) -> float:
        """Tokens a second, of all runs together, from the beginning to the last evaluation."""
        return self.learned / max(self.last_news - self.begun, 1e-9)

    def _left(self) -> str:
        """The time left, in words."""
        if not self.learned or self.done == self.total:
            return ""
        minutes = self.tokens_ahead / self._rate() / 60
        return f", {minutes / 60:.1f} h left" if minutes >= 90 else f", {max(1, round(minutes))} min left"
