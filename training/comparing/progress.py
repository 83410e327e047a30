"""Progress of a comparison on the terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from waveletgpt.common.units import in_unit
from waveletgpt.training.comparing.trial import Outcome, Trial


class ComparisonProgress:
    """Prints a line for every run that ends. A terminal also shows a bar for each running one, and one for all.

    A running run shows the step and loss of its last evaluation.
    """

    def __init__(self, total: int, tokens: int, unit: str, console: Console) -> None:
        """`total` is the number of runs, `tokens` what they train on, `unit` the unit of losses."""
        self.total, self.tokens, self.unit, self.console = total, tokens, unit, console
        self.done, self.tokens_done, self.tokens_left = 0, 0, tokens
        self.started_at = self.last_evaluation_at = time.monotonic()
        self.tokens_trained = 0
        """Tokens that all runs have trained on since the start."""
        self.running: dict[Trial, tuple[TaskID, int]] = {}
        """For each running run, its bar and the tokens that it has trained on."""
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}")
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.all_runs = self.bar.add_task("[bold]runs", total=total, status="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def already_done(self, trial: Trial) -> None:
        """A run was complete before this comparison started."""
        self._one_less(trial)

    def started(self, trial: Trial) -> None:
        """A run begins or resumes."""
        found = trial.evaluations()
        steps, tokens = (found[-1]["step"], found[-1]["tokens"]) if found else (0, 0)
        task = self.bar.add_task(trial.name, total=trial.config.steps, completed=steps, status="")
        self.running[trial] = task, tokens
        self._update_total()

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """A run has ended."""
        self.refresh()
        self.bar.remove_task(self.running.pop(trial)[0])
        self._one_less(trial)
        result = (
            self._in_unit(trial.final_loss()) if outcome.kind == "complete" else f"{outcome.kind}: {outcome.reason}"
        )
        count = f"{self.done} of {self.total} runs{self._time_left()}"
        self.console.print(f"{trial.name}: {result}  ({count})", markup=False)

    def refresh(self) -> None:
        """Read the evaluations of the running runs, and show the new ones."""
        for trial, (task, tokens) in self.running.items():
            found = trial.evaluations()
            if found and found[-1]["tokens"] > tokens:
                last = found[-1]
                self.tokens_trained += last["tokens"] - tokens
                self.last_evaluation_at = time.monotonic()
                self.running[trial] = task, last["tokens"]
                status = f"step {last['step']:,} of {trial.config.steps:,}, {self._in_unit(last['val_loss'])}"
                self.bar.update(task, completed=last["step"], status=status)
                self._update_total()

    def _in_unit(self, loss: float) -> str:
        return f"{in_unit(loss, self.unit):.4f} {self.unit}"

    def _one_less(self, trial: Trial) -> None:
        self.done += 1
        self.tokens_done += trial.tokens
        self._update_total()

    def _update_total(self) -> None:
        """Update the bar for all runs."""
        running = sum(tokens for _, tokens in self.running.values())
        self.tokens_left = self.tokens - self.tokens_done - running
        speed = f", {self._tokens_per_second():,.0f} tokens/s" if self.tokens_trained else ""
        self.bar.update(
            self.all_runs,
            completed=self.total * (1 - self.tokens_left / self.tokens),
            status=f"{self.done} of {self.total}{speed}{self._time_left()}",
        )

    def _tokens_per_second(self) -> float:
        """Of all runs together, from the start to the last evaluation."""
        return self.tokens_trained / max(self.last_evaluation_at - self.started_at, 1e-9)

    def _time_left(self) -> str:
        """The time left, with a comma before it; empty if unknown."""
        if not self.tokens_trained or self.done == self.total:
            return ""
        minutes = self.tokens_left / self._tokens_per_second() / 60
        return f", {minutes / 60:.1f} h left" if minutes >= 90 else f", {max(1, round(minutes))} min left"
