"""Samples of a checkpoint beside held-out passages, and the sampling settings whose samples come closest to these."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT
from waveletgpt.training.data import Tokens, spread_offsets
from waveletgpt.training.quality.measures import Figure, Measures, Overlap, compare

TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0)
FILTERS: tuple[tuple[float | None, float | None], ...] = ((None, None), (0.95, None), (None, 0.05))
"""top_p and min_p, tried at each temperature."""


@dataclass(frozen=True)
class Settings:
    """How tokens are drawn; None keeps all tokens."""

    temperature: float
    top_p: float | None = None
    min_p: float | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in asdict(self).items() if value is not None)


GRID = [Settings(temperature, *kept) for temperature, kept in product(TEMPERATURES, FILTERS)]


@dataclass(frozen=True)
class Quality:
    """What samples with some settings are like."""

    settings: Settings
    figures: dict[str, Figure]
    overlaps: dict[str, Overlap]

    @property
    def distance(self) -> float:
        """How far the samples are from held-out passages; 0 is as close as can be.

        The mean over all measures: for a figure, how far its mean is from that of the passages, in widths of the range
        that holds four fifths of these; for an overlap, the share that is missing of the passages' own.
        """
        parts = [_distance(figure) for figure in self.figures.values()]
        parts += [max(0.0, 1 - overlap.mean / overlap.held_out) for overlap in self.overlaps.values()]
        return float(np.nanmean(parts))

    def rows(self) -> list[tuple[str, ...]]:
        """A table of all measures, its head first."""
        table: list[tuple[str, ...]] = [("measure", "samples", "95 % interval", "held-out", "10th to 90th percentile")]
        for name, figure in self.figures.items():
            usual = f"{_number(figure.held_out_p10)} to {_number(figure.held_out_p90)}"
            is_outside = np.isfinite(figure.mean) and not figure.is_usual
            table.append((name, *_shown(figure), f"{usual}{' (outside)' if is_outside else ''}"))
        return table + [(name, *_shown(overlap), "") for name, overlap in self.overlaps.items()]


def held_out_passages(tokens: Tokens, length: int, count: int) -> list[Tensor]:
    """Up to `count` passages of `length` ids, spread evenly over a split; (T,) int64 each."""
    starts = spread_offsets(len(tokens), length, count)
    return [torch.from_numpy(np.asarray(tokens[start : start + length]).astype(np.int64)) for start in starts]


def sample(
    model: GPT,
    start: Tensor,
    settings: Settings,
    *,
    length: int,
    count: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Tensor]:
    """Generate `count` samples of `length` ids each from the ids `start` (P,), which are no part of them.

    Calls `advance` with the number of ids just drawn.
    """
    rows = []
    for step in generate(
        model,
        start[None],
        length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        min_p=settings.min_p,
        samples=count,
        seed=seed,
    ):
        rows.append(step.ids)
        advance(count)
    return list(torch.stack(rows, dim=1))


def judged(measures: Measures, settings: Settings, samples: Sequence[Tensor], passages: Sequence[Tensor]) -> Quality:
    """Measure samples beside passages."""
    return Quality(settings, *compare(measures, samples, passages))


def closest(qualities: Iterator[Quality]) -> Quality:
    """The one whose samples are closest to held-out passages; the first in a tie."""
    return min(qualities, key=lambda quality: quality.distance)


def _distance(figure: Figure) -> float:
    """In widths of the usual range. A range of no width, where nearly all passages are alike, counts as the mean's own
    size: else nothing could be close.
    """
    width = (figure.held_out_p90 - figure.held_out_p10) or abs(figure.held_out) or 1.0
    return abs(figure.mean - figure.held_out) / width


def _shown(row: Figure | Overlap) -> tuple[str, str, str]:
    return _number(row.mean), f"{_number(row.low)} to {_number(row.high)}", _number(row.held_out)


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "-"
