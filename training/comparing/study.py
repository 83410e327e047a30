"""All runs of a comparison: which are needed, and training them side by side."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from waveletgpt.training.comparing.progress import ComparisonProgress
from waveletgpt.training.comparing.subprocesses import Process, stop, wait_a_moment
from waveletgpt.training.comparing.trial import Outcome, Trial
from waveletgpt.training.comparing.variants import Variant
from waveletgpt.training.config import TrainConfig

Outcomes = Mapping[Trial, Outcome]


@dataclass(frozen=True)
class Study:
    """Each variant is trained with all its learning rates at one seed, then with the best one at all others. The
    baseline is trained for longer as well.
    """

    config: TrainConfig
    """Settings that all runs share, with device and precision decided. `out` is the comparison's directory."""
    variants: Mapping[str, Variant]
    seeds: tuple[int, ...]
    lrs: Mapping[str, tuple[float, ...]]
    """The learning rates to try, by variant."""
    baseline: str
    """The variant that the others are compared with."""
    longer: int
    """The baseline is also trained for so many times as many steps; 1 leaves that out."""
    sweep_seed: int
    """The seed that chooses among learning rates. It is not one of `seeds`, so that the choice favours nobody there."""
    rates_from: Path | None = None
    """Directory of the comparison that chose the learning rates, if another one did."""
    final_windows: int = 0
    """Windows of the validation split that final losses are measured on; 0 takes the last evaluations."""

    def trial(self, variant: str, lr: float, seed: int, times: int = 1) -> Trial:
        """The run of a variant with a learning rate (`optimizer.lr`) and a seed, `times` as long as the others."""
        found, longer = self.variants[variant], f"-{times}-times" if times > 1 else ""
        config = replace(
            self.config,
            out=self.config.out / "runs" / found.folder / f"lr-{lr:g}-seed-{seed}{longer}",
            steps=times * self.config.steps,
            model=found.model(self.config.model),
            optimizer=replace(self.config.optimizer, lr=lr),
            seed=seed,
        )
        return Trial(variant, config, times, self.final_windows)

    def all_trials(self) -> Iterator[Trial]:
        """Every run that may be needed: all variants, learning rates and seeds."""
        for variant in self.variants:
            yield from self.lr_trials(variant).values()
            for lr in self.lrs[variant]:
                yield from (self.trial(variant, lr, seed) for seed in self.seeds)
        for lr in self.lrs[self.baseline]:
            yield from self.longer_trials(lr)

    @property
    def n_trials(self) -> int:
        """Number of runs that will be needed if no variant fails."""
        longer = len(self.seeds) if self.longer > 1 else 0
        return sum(len(self.lr_trials(variant)) + len(self.seeds) for variant in self.variants) + longer

    @property
    def n_tokens(self) -> int:
        """Number of tokens that those runs train on."""
        one = self.config.steps * self.config.batch_size * self.config.model.block_size
        longer = len(self.seeds) * (self.longer - 1) if self.longer > 1 else 0
        return one * (self.n_trials + longer)

    def longer_trials(self, lr: float) -> list[Trial]:
        """The longer runs of the baseline."""
        return [self.trial(self.baseline, lr, seed, self.longer) for seed in self.seeds if self.longer > 1]

    def lr_trials(self, variant: str) -> dict[float, Trial]:
        """The runs that choose a variant's learning rate, by learning rate; none if there is but one."""
        lrs = self.lrs[variant]
        return {lr: self.trial(variant, lr, self.sweep_seed) for lr in lrs} if len(lrs) > 1 else {}

    def best_lr(self, variant: str, outcomes: Outcomes) -> float | None:
        """The learning rate with the lowest final validation loss, or the only one.

        None until all its runs have ended, and if one of them failed or all of them diverged.
        """
        if len(self.lrs[variant]) == 1:
            return self.lrs[variant][0]
        losses = {}
        for lr, trial in self.lr_trials(variant).items():
            if trial not in outcomes or outcomes[trial].kind == "failed":
                return None
            if outcomes[trial].kind == "complete":
                losses[lr] = trial.final_loss()
        return min(losses, key=losses.__getitem__) if losses else None

    def needed_trials(self, outcomes: Outcomes) -> list[Trial]:
        """Every run that is known to be needed, in order: those that choose learning rates, then all variants with the
        first seed, then with the next, then the longer ones of the baseline.
        """
        sweeps = [trial for variant in self.variants for trial in self.lr_trials(variant).values()]
        rates = {variant: self.best_lr(variant, outcomes) for variant in self.variants}
        chosen = {variant: lr for variant, lr in rates.items() if lr is not None}
        equal = [self.trial(variant, lr, seed) for seed in self.seeds for variant, lr in chosen.items()]
        return sweeps + equal + (self.longer_trials(chosen[self.baseline]) if self.baseline in chosen else [])


def train_all(
    study: Study, jobs: int, progress: ComparisonProgress, stopping: Callable[[], bool]
) -> dict[Trial, Outcome]:
    """Train the needed runs that are not complete yet, `jobs` at a time. A run that fails does not stop the others.

    Returns:
        The outcome of each run.

    Raises:
        KeyboardInterrupt: `stopping` returned True. All runs have saved by then.
    """
    outcomes: dict[Trial, Outcome] = {}
    running: dict[Trial, Process] = {}
    with ExitStack() as at_the_end:
        at_the_end.callback(lambda: stop(running.values()))
        while todo := [trial for trial in study.needed_trials(outcomes) if trial not in outcomes]:
            waiting = [trial for trial in todo if trial not in running]
            found = {trial: outcome for trial in waiting if (outcome := trial.outcome())}
            for trial in found:
                progress.already_done(trial)
            outcomes |= found
            if found:
                continue
            for trial in waiting[: jobs - len(running)]:
                progress.started(trial)
                running[trial] = trial.start()
            while all(process.poll() is None for process in running.values()):
                progress.refresh()
                wait_a_moment(stopping)
            for trial in [trial for trial, process in running.items() if process.poll() is not None]:
                process = running.pop(trial)
                stop([process])
                outcomes[trial] = trial.final_outcome(process.returncode)
                progress.ended(trial, outcomes[trial])
    return outcomes
