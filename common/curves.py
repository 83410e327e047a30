"""Losses along a training run, and the steps until a loss is reached.

Between two evaluations the loss is interpolated linearly. A loss counts as reached the first time. A loss that was
reached before the first evaluation counts as reached at it.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Curve:
    """A run's validation losses and the steps at which they were evaluated, in order."""

    steps: tuple[int, ...]
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
