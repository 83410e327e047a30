"""All runs of a comparison: which there may be, which are wanted next, and training them side by side."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from waveletgpt.training.comparing.progress import ComparisonProgress
from waveletgpt.training.comparing.subprocesses import Process, end, pause
from waveletgpt.training.comparing.trial import Outcome, Trial
from waveletgpt.training.comparing.variants import Variant
from waveletgpt.training.config import TrainConfig

Outcomes = Mapping[Trial, Outcome]


@dataclass(frozen=True)
class Study:
    """Variants, each trained with all its learning rates at the first seed, and with its best one at the others."""

    config: TrainConfig
    """What the runs share, as the trainer resolves it; `out` is the comparison's directory."""
    variants: Mapping[str, Variant]
    seeds: tuple[int, ...]
    lrs: Mapping[str, tuple[float, ...]]
    """The rates to choose from, by variant."""
    rates_from: Path | None = None
    """The comparison that chose them, if another one did."""

    def trial(self, variant: str, lr: float, seed: int) -> Trial:
        """The run of a variant with a learning rate and a seed."""
        found = self.variants[variant]
        config = replace(
            self.config,
            out=self.config.out / "runs" / found.folder / f"lr-{lr:g}-seed-{seed}",
            model=found.model(self.config.model),
            optimizer=replace(self.config.optimizer, lr=lr),
            seed=seed,
        )
        return Trial(variant, config)

    def possible(self) -> Iterator[Trial]:
        """Every run that may come to be wanted."""
        for variant in self.variants:
            for lr in self.lrs[variant]:
                yield from (self.trial(variant, lr, seed) for seed in self.seeds)

    @property
    def most(self) -> int:
        """How many runs will be wanted in all, if no variant fails."""
        return sum(len(self.lrs[variant]) + len(self.seeds) - 1 for variant in self.variants)

    def searched(self, variant: str) -> dict[float, Trial]:
        """The runs, by learning rate, that a variant's rate is chosen by."""
        return {lr: self.trial(variant, lr, self.seeds[0]) for lr in self.lrs[variant]}

    def chosen_lr(self, variant: str, outcomes: Outcomes) -> float | None:
        """The rate with the lowest final validation loss; one that diverges is the worst.

        None as long as not all are known, and if none of them gives a loss.
        """
        losses = {}
        for lr, trial in self.searched(variant).items():
            if trial not in outcomes or outcomes[trial].kind == "failed":
                return None
            if outcomes[trial].kind == "complete":
                losses[lr] = trial.rows()[-1]["val_loss"]
        return min(losses, key=losses.__getitem__) if losses else None

    def wanted(self, outcomes: Outcomes) -> list[Trial]:
        """Every run that is known to be needed, in order: all variants with the first seed, then with the next."""
        first = [trial for variant in self.variants for trial in self.searched(variant).values()]
        rates = {variant: self.chosen_lr(variant, outcomes) for variant in self.variants}
        others = [self.trial(v, lr, seed) for seed in self.seeds[1:] for v, lr in rates.items() if lr is not None]
        return first + others


def train_all(
    study: Study, jobs: int, progress: ComparisonProgress, stopping: Callable[[], bool]
) -> dict[Trial, Outcome]:
    """Train what is wanted and not there yet, `jobs` runs at a time; returns how each run has ended.

    A run that fails does not keep the others from ending. Raises KeyboardInterrupt, after every run has saved, when
    `stopping` says so.
    """
    outcomes: dict[Trial, Outcome] = {}
    running: dict[Trial, Process] = {}
    with ExitStack() as at_the_end:
        at_the_end.callback(lambda: end(running.values()))
        while ahead := [trial for trial in study.wanted(outcomes) if trial not in outcomes]:
            waiting = [trial for trial in ahead if trial not in running]
            found = {trial: outcome for trial in waiting if (outcome := trial.outcome())}
            for trial in found:
                progress.found(trial)
            outcomes |= found
            if found:
                continue
            for trial in waiting[: jobs - len(running)]:
                progress.started(trial)
                running[trial] = trial.start()
            while all(process.poll() is None for process in running.values()):
                progress.look()
                pause(stopping)
            for trial in [trial for trial, process in running.items() if process.poll() is not None]:
                process = running.pop(trial)
                end([process])
                outcomes[trial] = trial.ended(process.returncode)
                progress.ended(trial, outcomes[trial])
    return outcomes
