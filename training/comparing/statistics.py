"""How many times sooner a run reaches a loss than the baseline's run with the same seed, and how sure that is.

Losses are those of evaluations; between two of them the loss is taken to change linearly, and a loss counts as reached
the first time. What is known at the first evaluation is not claimed to have been known sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from math import log
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
TARGETS = 61
"""Losses at which the speed-up is told, from the first that all runs have to the lowest that all reach."""


@dataclass(frozen=True)
class Curve:
    """A run's validation loss by step, an evaluation each, in order."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]


Pairs = Sequence[tuple[Curve, Curve]]
"""By seed: a variant's curve and the baseline's."""


@dataclass(frozen=True)
class Interval:
    """A value, and where it lies with a probability of 95 %; None where one seed alone cannot tell."""

    value: float
    low: float | None
    high: float | None


def steps_to(curve: Curve, target: float) -> float | None:
    """Steps until the loss is `target` or lower, None if it never is."""
    if curve.losses[0] <= target:
        return float(curve.steps[0])
    points = pairwise(zip(curve.steps, curve.losses, strict=True))
    for (before, higher), (after, loss) in points:
        if loss <= target:
            return before + (after - before) * (higher - target) / (higher - loss)
    return None


def loss_at(curve: Curve, step: float) -> float:
    """The loss after so many steps, any number from the first evaluation's on; the last one's beyond it."""
    return float(np.interp(step, curve.steps, curve.losses))


def at_target(run: Curve, baseline: Curve, target: float) -> float:
    """The baseline's steps to `target` over the run's; ValueError if one of them never reaches it."""
    theirs, ours = steps_to(baseline, target), steps_to(run, target)
    if theirs is None or ours is None:
        raise ValueError(f"a loss of {target} is not reached by both")
    return theirs / ours


def speedup(run: Curve, baseline: Curve) -> tuple[float, bool]:
    """The baseline's steps to its final loss over the run's to the same, and whether the run has reached it.

    Where it has not, both are taken to the run's final loss instead, so that the figure is below 1: how the baseline
    would be told if the run were what it is compared with. The two agree where the final losses do.
    """
    reached = min(run.losses) <= baseline.losses[-1]
    return at_target(run, baseline, baseline.losses[-1] if reached else run.losses[-1]), reached


def overall(pairs: Pairs) -> tuple[Interval, int]:
    """The geometric mean of the seeds' speed-ups with its interval, and how many seeds reached the baseline's loss.

    Geometric, so that "twice as fast" and "half as fast" cancel out, and exchanging the two sides inverts it.
    """
    found = [speedup(run, baseline) for run, baseline in pairs]
    logs = np.array([[log(factor) for factor, _ in found]])  # (1, seeds)
    value, low, high = _geometric(logs)
    bounds = [None if bound is None else float(bound[0]) for bound in (low, high)]
    return Interval(float(value[0]), *bounds), sum(reached for _, reached in found)


def against_target(pairs: Pairs) -> dict[str, list[Any]]:
    """The speed-up (`steps`, geometric mean over the seeds, with `low` and `high`) by `target` loss, falling.

    Targets go from the first loss that every run had still to reach to the lowest that all reach; the lists are empty
    if there is none between.
    """
    curves = [curve for pair in pairs for curve in pair]
    first, last = min(curve.losses[0] for curve in curves), max(min(curve.losses) for curve in curves)
    targets = np.linspace(first, last, TARGETS) if first > last else np.array([])
    logs = np.array([[log(at_target(*pair, target)) for pair in pairs] for target in targets.tolist()])
    value, low, high = _geometric(logs.reshape(len(targets), len(pairs)))
    nothing = [None] * len(targets)
    return {
        "target": targets.tolist(),
        "steps": value.tolist(),
        "low": nothing if low is None else low.tolist(),
        "high": nothing if high is None else high.tolist(),
    }


def _geometric(
    logs: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Geometric means (N,) of what the logarithms (N, seeds) are of, and the bounds of their intervals.

    Bootstrap by percentiles: the seeds are drawn anew with replacement, the same draws for all N and every variant, so
    that pairs stay pairs. None for a single seed.
    """
    seeds = logs.shape[1]
    value = np.exp(logs.mean(axis=1))
    if seeds == 1:
        return value, None, None
    drawn = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))
    counts = np.stack([(drawn == seed).sum(axis=1) for seed in range(seeds)])  # (seeds, RESAMPLES)
    low, high = np.quantile(np.exp(logs @ counts / seeds), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    return value, low, high


def difference(runs: Sequence[float], baselines: Sequence[float]) -> dict[str, float | None]:
    """The mean of run - baseline over the seeds, its interval by Student's t, and the p-value of the paired t test.

    Both need SciPy and two seeds at least, else they are None; so is p if all differences are the same.
    """
    differences = [run - baseline for run, baseline in zip(runs, baselines, strict=True)]
    told: dict[str, float | None] = {"mean": mean(differences), "low": None, "high": None, "p": None}
    n = len(differences)
    try:
        stats = import_module("scipy.stats")
    except ImportError:
        return told
    if n < 2:
        return told
    error = stdev(differences) / n**0.5
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    told |= {"low": mean(differences) - reach, "high": mean(differences) + reach}
    if error > 1e-12:  # below that they differ by rounding alone
        told["p"] = float(stats.ttest_rel(runs, baselines).pvalue)
    return told
