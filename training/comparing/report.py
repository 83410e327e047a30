"""The report of a comparison, from the runs' evaluations: JSON-able, losses in nats per token."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import mean, median, stdev
from typing import Any

from waveletgpt.models.gpt import GPT
from waveletgpt.training.comparing.hardware import hardware
from waveletgpt.training.comparing.statistics import Curve, Interval, against_target, difference, loss_at, overall
from waveletgpt.training.comparing.step_times import Ratio, Seconds, ratio
from waveletgpt.training.comparing.study import Study
from waveletgpt.training.comparing.trial import Outcome, Trial
from waveletgpt.training.data import DatasetInfo

FORMAT_VERSION = 1
Rows = list[dict[str, Any]]
"""A run's evaluations."""
Runs = dict[int, Rows]
"""A variant's complete runs by seed."""


class NoReportError(Exception):
    """The baseline has no complete run. The message is one line: what has failed."""


def make_report(
    study: Study,
    baseline: str,
    data: DatasetInfo,
    outcomes: Mapping[Trial, Outcome],
    seconds: Seconds,
    *,
    command: str,
    jobs: int,
) -> dict[str, Any]:
    """The report. `seconds` are of interleaved steps, empty if they were not measured.

    A variant that failed with some seeds is reported over the others, and one without any complete run is only listed
    under `failed`. Raises NoReportError if that is the baseline.
    """
    rates = {name: study.chosen_lr(name, outcomes) for name in study.variants}
    failed = _failed(study, outcomes, rates)
    runs = {name: _complete(study, name, lr, outcomes) for name, lr in rates.items() if lr is not None}
    if not runs.get(baseline):
        raise NoReportError(f"there is no report without a run of {baseline}, the baseline; {told(failed)}")
    config, shared = study.config, study.config.to_dict()
    baselines, times = runs[baseline], Times(seconds, baseline, runs[baseline])
    return {
        "format_version": FORMAT_VERSION,
        "command": command,
        "data": {
            "modality": data.modality,
            "source": data.source,
            "licence": data.licence,
            "unit": data.report,
            "tokens": {split: facts["tokens"] for split, facts in data.splits.items()},
            "digests": {split: facts["sha256"] for split, facts in data.splits.items()},
        },
        "hardware": {**hardware(config), "jobs": jobs},
        "model": {name: value for name, value in shared["model"].items() if name != "mixer"},
        "optimizer": {name: value for name, value in shared["optimizer"].items() if name != "lr"},
        "steps": config.steps,
        "batch_size": config.batch_size,
        "tokens": config.steps * config.batch_size * config.model.block_size,
        "eval_every": config.eval_every,
        "eval_windows": config.eval_windows,
        "seeds": list(study.seeds),
        "rates_from": study.rates_from and f"{study.rates_from}",
        "baseline": baseline,
        "step_seconds": times.seconds,
        "steps_timed": "interleaved" if seconds else "runs",
        "variants": {
            name: {
                **_described(study, name, rates, outcomes),
                "runs": [_curves(seed, rows) for seed, rows in found.items()],
                **_figures(found, baselines, times.of(name, found), is_baseline=name == baseline),
            }
            for name, found in runs.items()
            if found and (name == baseline or found.keys() & baselines.keys())
        },
        "failed": failed,
    }


def told(failed: Sequence[dict[str, Any]]) -> str:
    """What failed, in one line."""
    return "; ".join(f"{entry['run']}: {entry['why']}" for entry in failed)


class Times:
    """How long the variants' steps take beside the baseline's: interleaved ones, or where there are none the runs'."""

    def __init__(self, interleaved: Seconds, baseline: str, baselines: Runs) -> None:
        self.interleaved, self.baseline, self.baselines = interleaved, baseline, baselines
        self.seconds = median(interleaved[baseline] if interleaved else self._of_runs(baselines).values())
        """Of one step of the baseline."""

    def of(self, name: str, runs: Runs) -> Ratio:
        """A variant's ratio; over the rounds, or over the seeds that both have."""
        if self.interleaved:
            return ratio(self.interleaved[name], self.interleaved[self.baseline])
        ours, theirs = self._of_runs(runs), self._of_runs(self.baselines)
        seeds = [seed for seed in ours if seed in theirs]
        return ratio([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])

    @staticmethod
    def _of_runs(runs: Runs) -> dict[int, float]:
        return {seed: max(rows[-1]["seconds"], 1e-9) / rows[-1]["step"] for seed, rows in runs.items()}


def _complete(study: Study, name: str, lr: float, outcomes: Mapping[Trial, Outcome]) -> Runs:
    trials = {seed: study.trial(name, lr, seed) for seed in study.seeds}
    return {
        seed: trial.rows() for seed, trial in trials.items() if trial in outcomes and outcomes[trial].kind == "complete"
    }


def _failed(study: Study, outcomes: Mapping[Trial, Outcome], rates: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Runs that died, runs that diverged with the learning rate that was chosen, variants that diverged with all."""
    found = []
    for trial, outcome in outcomes.items():
        candidates = study.searched(trial.variant).values()
        searched = trial in candidates and len(candidates) > 1
        if outcome.kind == "failed" or (outcome.kind == "diverged" and not searched):
            entry = {"run": trial.name, "variant": trial.variant, "lr": trial.lr, "seed": trial.seed}
            found.append({**entry, "why": outcome.why, "log": f"{trial.log}"})
    for name, lr in rates.items():
        trials = list(study.searched(name).values())
        if lr is None and len(trials) > 1 and all(outcomes[trial].kind == "diverged" for trial in trials):
            why = f"it diverged with every learning rate ({', '.join(f'{rate:g}' for rate in study.lrs[name])})"
            found.append({"run": name, "variant": name, "lr": None, "seed": study.seeds[0], "why": why, "log": None})
    return found


def _described(
    study: Study, name: str, rates: Mapping[str, float | None], outcomes: Mapping[Trial, Outcome]
) -> dict[str, Any]:
    """What a variant is, and the learning rates it was tried with."""
    variant, lr = study.variants[name], rates[name]
    searched = study.searched(name)
    losses = {
        f"{rate:g}": trial.rows()[-1]["val_loss"] if outcomes[trial].kind == "complete" else None
        for rate, trial in searched.items()
    }
    return {
        "mixer": variant.mixer,
        "changes": dict(variant.changes),
        "parameters": GPT(variant.model(study.config.model)).n_parameters(),
        "lr": lr,
        "lrs": losses,
        "lr_at_edge": len(searched) > 1 and lr in (min(searched), max(searched)),
    }


def _curves(seed: int, rows: Rows) -> dict[str, Any]:
    return {
        "seed": seed,
        "steps": [row["step"] for row in rows],
        "val_loss": [row["val_loss"] for row in rows],
        "train_loss": [row["train_loss"] for row in rows],
        "seconds": rows[-1]["seconds"],
    }


def _figures(runs: Runs, baselines: Runs, step_time: Ratio, *, is_baseline: bool) -> dict[str, Any]:
    """Final loss over the variant's seeds, and all that is told beside the baseline over the seeds that both have.

    What is told in seconds is told in steps that last as much longer as the ratio of step times says, whose own spread
    is not in the intervals. A variant with shorter steps than the baseline's is taken to wait when its own are done.
    """
    finals = {seed: rows[-1]["val_loss"] for seed, rows in runs.items()}
    seeds = [seed for seed in runs if seed in baselines]
    pairs = [(_curve(runs[seed]), _curve(baselines[seed])) for seed in seeds]
    steps, reached = overall(pairs)
    bounds = (None if bound is None else bound / step_time.ratio for bound in (steps.low, steps.high))
    in_seconds = Interval(steps.value / step_time.ratio, *bounds)
    by_target = against_target(pairs)
    timely = [loss_at(ours, ours.steps[-1] / step_time.ratio) for ours, _ in pairs]
    theirs = [baselines[seed][-1]["val_loss"] for seed in seeds]
    return {
        "final": {"mean": mean(finals.values()), "sd": stdev(finals.values()) if len(finals) > 1 else None},
        "difference": None if is_baseline else difference([finals[seed] for seed in seeds], theirs),
        "difference_in_equal_seconds": None if is_baseline else difference(timely, theirs),
        "speedup": {
            "steps": {**asdict(steps), "reached": reached},
            "seconds": {**asdict(in_seconds), "reached": reached},
        },
        "speedup_curve": {**by_target, "seconds": [value / step_time.ratio for value in by_target["steps"]]},
        "step_time": asdict(step_time),
    }


def _curve(rows: Rows) -> Curve:
    return Curve(tuple(row["step"] for row in rows), tuple(row["val_loss"] for row in rows))
