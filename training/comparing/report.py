"""The report of a comparison as JSON values, computed from the runs' evaluations. Losses are in nats per token."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from typing import Any

from waveletgpt.common.curves import Curve
from waveletgpt.models.gpt import GPT
from waveletgpt.training.comparing.statistics import (
    Interval,
    decayed_speedup,
    difference,
    holm,
    loss_at,
    mean_speedup,
    speedup_curve,
)
from waveletgpt.training.comparing.step_times import Ratio, Seconds, ratio
from waveletgpt.training.comparing.study import Study
from waveletgpt.training.comparing.trial import Outcome, Trial
from waveletgpt.training.data import DatasetInfo, count_windows
from waveletgpt.training.ranks.hardware import hardware

FORMAT_VERSION = 1
Evaluations = list[dict[str, Any]]
"""A run's lines of metrics.jsonl."""


@dataclass(frozen=True)
class FinishedRun:
    """A complete run. Curves are of its evaluations; the final loss may be measured on more windows."""

    evaluations: Evaluations
    final_loss: float


Runs = dict[int, FinishedRun]
"""A variant's complete runs by seed."""


class NoReportError(Exception):
    """The baseline has no complete run. The message, one line, says what failed."""


def make_report(
    study: Study,
    data: DatasetInfo,
    outcomes: Mapping[Trial, Outcome],
    seconds: Seconds,
    *,
    command: str,
    jobs: int,
) -> dict[str, Any]:
    """Make the report.

    A variant that failed with some seeds is reported over the others. One without any complete run is only listed under
    `failed`.

    Args:
        study: what was compared.
        data: of the prepared data.
        outcomes: how each run ended.
        seconds: interleaved step times; empty if they were not measured.
        command: the command line, for the report.
        jobs: runs at a time, for the report.

    Raises:
        NoReportError: the baseline has no complete run.
    """
    baseline = study.baseline
    rates = {name: study.best_lr(name, outcomes) for name in study.variants}
    failed = _failures(study, outcomes, rates)
    runs = {name: _complete(study, name, lr, outcomes) for name, lr in rates.items() if lr is not None}
    if not runs.get(baseline):
        raise NoReportError(
            f"there is no report without a run of {baseline}, the baseline; {summarize_failures(failed)}"
        )
    config, shared = study.config, study.config.to_dict()
    val_windows = count_windows(data.splits["val"]["tokens"], config.model.block_size)
    baselines, times = runs[baseline], StepTimes(seconds, baseline, runs[baseline])
    variants = {
        name: {
            **_describe(study, name, rates, outcomes),
            "runs": [_losses(seed, run) for seed, run in found.items()],
            **_compare(found, baselines, times.ratio(name, found), is_baseline=name == baseline),
        }
        for name, found in runs.items()
        if found and (name == baseline or found.keys() & baselines.keys())
    }
    lr = rates[baseline]
    longer = {trial.seed: trial for trial in study.longer_trials(lr)} if lr is not None else {}
    finals = {
        seed: trial.final_loss()
        for seed, trial in longer.items()
        if trial in outcomes and outcomes[trial].kind == "complete"
    }
    for name, variant in variants.items():
        variant["decayed_speedup"] = None if name == baseline else _decayed(runs[name], baselines, finals, study.longer)
    gaps = [variant["difference"] for variant in variants.values() if variant["difference"]]
    for gap, p in zip(gaps, holm([gap["p"] for gap in gaps]), strict=True):
        gap["p_holm"] = p
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
        "final_windows": min(study.final_windows or config.eval_windows, val_windows),
        "val_windows": val_windows,
        "seeds": list(study.seeds),
        "sweep_seed": study.sweep_seed if any(map(study.lr_trials, study.variants)) else None,
        "longer": {"times": study.longer, "val_loss": {f"{seed}": loss for seed, loss in finals.items()}},
        "rates_from": study.rates_from and f"{study.rates_from}",
        "baseline": baseline,
        "step_seconds": times.baseline_seconds,
        "steps_timed": "interleaved" if seconds else "runs",
        "variants": variants,
        "failed": failed,
    }


def summarize_failures(failed: Sequence[dict[str, Any]]) -> str:
    """The failed runs with their reasons, in one line."""
    return "; ".join(f"{entry['run']}: {entry['why']}" for entry in failed)


class StepTimes:
    """Step times of the variants and the baseline: interleaved ones if measured, otherwise those of the runs."""

    def __init__(self, interleaved: Seconds, baseline: str, baselines: Runs) -> None:
        self.interleaved, self.baseline, self.baselines = interleaved, baseline, baselines
        self.baseline_seconds = median(interleaved[baseline] if interleaved else self._of_runs(baselines).values())
        """Median time of one step of the baseline."""

    def ratio(self, name: str, runs: Runs) -> Ratio:
        """A variant's step time over the baseline's: over the rounds, or over the seeds that both have."""
        if self.interleaved:
            return ratio(self.interleaved[name], self.interleaved[self.baseline])
        ours, theirs = self._of_runs(runs), self._of_runs(self.baselines)
        seeds = [seed for seed in ours if seed in theirs]
        return ratio([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])

    @staticmethod
    def _of_runs(runs: Runs) -> dict[int, float]:
        """Mean seconds per step of each run, by seed."""
        last = {seed: run.evaluations[-1] for seed, run in runs.items()}
        return {seed: max(row["seconds"], 1e-9) / row["step"] for seed, row in last.items()}


def _complete(study: Study, name: str, lr: float, outcomes: Mapping[Trial, Outcome]) -> Runs:
    trials = {seed: study.trial(name, lr, seed) for seed in study.seeds}
    return {
        seed: FinishedRun(trial.evaluations(), trial.final_loss())
        for seed, trial in trials.items()
        if trial in outcomes and outcomes[trial].kind == "complete"
    }


def _failures(
    study: Study, outcomes: Mapping[Trial, Outcome], rates: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """Runs that died, runs that diverged at the chosen learning rate, and variants that diverged at every one."""
    found = []
    for trial, outcome in outcomes.items():
        searched = trial in study.lr_trials(trial.variant).values()
        if outcome.kind == "failed" or (outcome.kind == "diverged" and not searched):
            entry = {"run": trial.name, "variant": trial.variant, "lr": trial.lr, "seed": trial.seed}
            found.append({**entry, "why": outcome.reason, "log": f"{trial.log}"})
    for name, lr in rates.items():
        trials = list(study.lr_trials(name).values())
        if lr is None and all(outcomes[trial].kind == "diverged" for trial in trials):
            why = f"it diverged with every learning rate ({', '.join(f'{rate:g}' for rate in study.lrs[name])})"
            found.append({"run": name, "variant": name, "lr": None, "seed": study.sweep_seed, "why": why, "log": None})
    return found


def _describe(
    study: Study, name: str, rates: Mapping[str, float | None], outcomes: Mapping[Trial, Outcome]
) -> dict[str, Any]:
    """A variant's model and the learning rates that were tried."""
    variant, lr = study.variants[name], rates[name]
    tried = study.lr_trials(name)
    losses = {
        f"{rate:g}": trial.final_loss() if outcomes[trial].kind == "complete" else None for rate, trial in tried.items()
    }
    return {
        "mixer": variant.mixer,
        "changes": dict(variant.changes),
        "parameters": GPT(variant.model(study.config.model)).n_parameters(),
        "lr": lr,
        "lrs": losses,
        "lr_at_edge": bool(tried) and lr in (min(tried), max(tried)),
    }


def _losses(seed: int, run: FinishedRun) -> dict[str, Any]:
    """A run's losses by step, and its final loss."""
    evaluations = run.evaluations
    return {
        "seed": seed,
        "steps": [row["step"] for row in evaluations],
        "val_loss": [row["val_loss"] for row in evaluations],
        "train_loss": [row["train_loss"] for row in evaluations],
        "final_loss": run.final_loss,
        "seconds": evaluations[-1]["seconds"],
    }


def _compare(runs: Runs, baselines: Runs, step_time: Ratio, *, is_baseline: bool) -> dict[str, Any]:
    """Final loss over the variant's seeds; differences and speed-ups over the seeds that the baseline has too.

    Seconds are steps times the median ratio of step times. The spread of that ratio is not in the intervals. A variant
    with faster steps than the baseline's does not train on after its last step. Speed-ups and losses in equal seconds
    are by the evaluations, all others by the final losses.
    """
    finals = {seed: run.final_loss for seed, run in runs.items()}
    seeds = [seed for seed in runs if seed in baselines]
    pairs = [(_curve(runs[seed]), _curve(baselines[seed])) for seed in seeds]
    steps, reached = mean_speedup(pairs)
    bounds = (None if bound is None else bound / step_time.ratio for bound in (steps.low, steps.high))
    in_seconds = Interval(steps.value / step_time.ratio, *bounds)
    by_target = speedup_curve(pairs)
    in_time = [loss_at(ours, ours.steps[-1] / step_time.ratio) for ours, _ in pairs]
    ours, theirs = [finals[seed] for seed in seeds], [baselines[seed].final_loss for seed in seeds]
    at_their_end = [curve.losses[-1] for _, curve in pairs]
    return {
        "final": {"mean": mean(finals.values()), "sd": stdev(finals.values()) if len(finals) > 1 else None},
        "difference": None if is_baseline else difference(ours, theirs),
        "difference_in_equal_seconds": None if is_baseline else difference(in_time, at_their_end),
        "speedup": {
            "steps": {**asdict(steps), "reached": reached},
            "seconds": {**asdict(in_seconds), "reached": reached},
        },
        "speedup_curve": {**by_target, "seconds": [value / step_time.ratio for value in by_target["steps"]]},
        "step_time": asdict(step_time),
    }


def _decayed(runs: Runs, baselines: Runs, longer: Mapping[int, float], times: int) -> dict[str, Any] | None:
    """`decayed_speedup` over the seeds that have all three runs; None if there are none."""
    triples = [
        (runs[seed].final_loss, baselines[seed].final_loss, longer[seed])
        for seed in runs
        if seed in baselines and seed in longer
    ]
    if not triples:
        return None
    found, at_least = decayed_speedup(triples, times)
    return {**asdict(found), "at_least": at_least}


def _curve(run: FinishedRun) -> Curve:
    return Curve(tuple(row["step"] for row in run.evaluations), tuple(row["val_loss"] for row in run.evaluations))
