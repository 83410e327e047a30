"""Speed-ups and differences in loss between runs and the baseline's runs with the same seeds, with their intervals.

`common/curves.py` says when a loss counts as reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waveletgpt.common.curves import Curve, speedup, speedup_to
from waveletgpt.common.extras import import_extra

CONFIDENCE = 0.95
RESAMPLES = 10_000
TARGETS = 61
"""Losses at which the speed-up is computed, from the first that all runs have to the lowest that all reach."""

Pairs = Sequence[tuple[Curve, Curve]]
"""For each seed, a variant's curve and the baseline's."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval. The bounds are None if there is only one seed."""

    value: float
    low: float | None
    high: float | None


def loss_at(curve: Curve, step: float) -> float:
    """The loss at `step`, which may lie between evaluations. After the last evaluation the loss stays constant."""
    return float(np.interp(step, curve.steps, curve.losses))


def mean_speedup(pairs: Pairs) -> tuple[Interval, int]:
    """The geometric mean of the speed-ups over the seeds, and how many seeds reach the baseline's final loss."""
    found = [speedup(run, baseline) for run, baseline in pairs]
    logs = np.array([[log(factor) for factor, _ in found]])  # (1, seeds)
    value, low, high = _geometric_mean(logs)
    bounds = [None if bound is None else float(bound[0]) for bound in (low, high)]
    return Interval(float(value[0]), *bounds), sum(reached for _, reached in found)


def decayed_speedup(triples: Sequence[tuple[float, float, float]], times: int) -> tuple[Interval, bool]:
    """How many times as long the baseline has to train to end where a variant ends, from decayed runs alone.

    Args:
        triples: for each seed the final losses of the variant, of the baseline, and of the baseline trained `times` as
            long.
        times: how much longer.

    Returns:
        The geometric mean over the seeds of times ** share, where share is the variant's part of what the longer run
        gains: loss against the logarithm of steps is taken as a straight line. And whether some seed gained more than
        the longer run. It counts as `times` then, so that the mean is a lower bound.
    """
    shares = [
        (once - ours) / (once - longer) if once > longer else inf if ours < once else 0.0
        for ours, once, longer in triples
    ]
    logs = np.array([[min(share, 1.0) * log(times) for share in shares]])  # (1, seeds)
    value, low, high = _geometric_mean(logs)
    bounds = [None if bound is None else float(bound[0]) for bound in (low, high)]
    return Interval(float(value[0]), *bounds), max(shares) > 1


def speedup_curve(pairs: Pairs) -> dict[str, list[Any]]:
    """The speed-up at each of several target losses.

    Targets fall from the first loss that no run starts below to the lowest that all runs reach.

    Returns:
        Lists of equal length: `target`, `steps` (geometric mean of the speed-ups), `low` and `high`. They are empty if
        there is no such loss.
    """
    curves = [curve for pair in pairs for curve in pair]
    first, last = min(curve.losses[0] for curve in curves), max(min(curve.losses) for curve in curves)
    targets = np.linspace(first, last, TARGETS) if first > last else np.array([])
    logs = np.array([[log(speedup_to(*pair, target)) for pair in pairs] for target in targets.tolist()])
    value, low, high = _geometric_mean(logs.reshape(len(targets), len(pairs)))
    nothing = [None] * len(targets)
    return {
        "target": targets.tolist(),
        "steps": value.tolist(),
        "low": nothing if low is None else low.tolist(),
        "high": nothing if high is None else high.tolist(),
    }


def _geometric_mean(
    logs: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Geometric means (N,) over the seeds from logarithms (N, seeds), and the bounds of their intervals (N,).

    Percentile bootstrap over the seeds, with the same resamples for all N and all variants. Bounds are None for one
    seed.
    """
    seeds = logs.shape[1]
    value = np.exp(logs.mean(axis=1))
    if seeds == 1:
        return value, None, None
    drawn = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))
    counts = np.stack([(drawn == seed).sum(axis=1) for seed in range(seeds)])  # (seeds, RESAMPLES)
    low, high = np.quantile(np.exp(logs @ counts / seeds), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    return value, low, high


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for several tests: p-values such that with any of them below 5 %, the chance that a true null
    hypothesis is rejected is at most that. None stays None and does not count.
    """
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None for _ in ps]
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        corrected[i] = largest = max(largest, min(1.0, p * (len(known) - rank)))
    return corrected


def difference(runs: Sequence[float], baselines: Sequence[float]) -> dict[str, float | None]:
    """Compare losses of runs and baselines with the same seeds by the paired t test.

    Returns:
        `mean` of run - baseline, its 95 % interval `low` to `high`, and `p`. Interval and p are None for one seed; p is
        None as well if all differences are equal.
    """
    differences = [run - baseline for run, baseline in zip(runs, baselines, strict=True)]
    found: dict[str, float | None] = {"mean": mean(differences), "low": None, "high": None, "p": None}
    n = len(differences)
    if n < 2:
        return found
    error = stdev(differences) / n**0.5
    stats = import_extra("scipy.stats", "compare")
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    found |= {"low": mean(differences) - reach, "high": mean(differences) + reach}
    if error > 1e-12:  # below that, the differences are equal up to rounding
        found["p"] = float(stats.ttest_rel(runs, baselines).pvalue)
    return found
