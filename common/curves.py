"""Losses along a training run, the steps until a loss is reached, and the speed-up of one run over another.

Between two evaluations the loss is interpolated linearly. A loss counts as reached the first time. A loss that was
reached before the first evaluation counts as reached at it.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Curve:
    """A run's validation losses and the steps, tokens or seconds after which they were evaluated, in order."""

    steps: tuple[float, ...]
    losses: tuple[float, ...]


def steps_to(curve: Curve, target: float) -> float | None:
    """Steps until the loss is `target` or lower; None if it never is."""
    if curve.losses[0] <= target:
        return float(curve.steps[0])
    points = pairwise(zip(curve.steps, curve.losses, strict=True))
    for (before, higher), (after, loss) in points:
        if loss <= target:
            return before + (after - before) * (higher - target) / (higher - loss)
    return None


def speedup_to(run: Curve, baseline: Curve, target: float) -> float:
    """The baseline's steps to the loss `target` over the run's. Raises ValueError if one never reaches it."""
    theirs, ours = steps_to(baseline, target), steps_to(run, target)
    if theirs is None or ours is None:
        raise ValueError(f"a loss of {target} is not reached by both")
    return theirs / ours


def speedup(run: Curve, baseline: Curve) -> tuple[float, bool]:
    """The speed-up to the baseline's final loss, and whether the run reaches that loss.

    If it does not, the speed-up is to the run's own final loss, and below 1. So exchanging run and baseline inverts
    the speed-up.
    """
    reached = min(run.losses) <= baseline.losses[-1]
    return speedup_to(run, baseline, baseline.losses[-1] if reached else run.losses[-1]), reached
