"""Samples beside held-out passages: the same measures for both, with intervals.

A kind of data says how one passage is measured (`text.py`, `audio.py`, `music.py`); what is done with many of them is
here, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Histogram = NDArray[np.float64]
RESAMPLINGS = 2000
"""Of the bootstrap."""


class Measures(Protocol):
    """How a passage of one kind of data is measured."""

    def numbers(self, ids: Tensor) -> dict[str, float]:
        """Measures of a passage of ids (T,) by name; NaN where one says nothing about this passage."""

    def histograms(self, ids: Tensor) -> dict[str, Histogram]:
        """Distributions in a passage by name, each (bins,) and of sum 1, or of sum 0 where there is nothing."""


@dataclass(frozen=True)
class Figure:
    """A measure of samples beside the same measure of held-out passages."""

    mean: float
    """Of the samples."""
    low: float
    """The 95 % interval of that mean, by the bootstrap over the samples."""
    high: float
    held_out: float
    """Mean of the held-out passages."""
    held_out_p10: float
    held_out_p90: float
    """Between these lie four fifths of the held-out passages."""

    @property
    def is_usual(self) -> bool:
        """Whether the samples' mean lies where four fifths of the held-out passages do."""
        return self.held_out_p10 <= self.mean <= self.held_out_p90


@dataclass(frozen=True)
class Overlap:
    """How much distributions in samples overlap those in held-out passages: 1 where they are the same, 0 apart."""

    mean: float
    """Over all pairs of a sample and a passage."""
    low: float
    """The 95 % interval, by the bootstrap over the samples."""
    high: float
    held_out: float
    """Over all pairs of two held-out passages: as much as can be expected."""


def compare(
    measures: Measures, samples: Sequence[Tensor], passages: Sequence[Tensor], seed: int = 0
) -> tuple[dict[str, Figure], dict[str, Overlap]]:
    """Measure samples and held-out passages alike; figures by measure, overlaps by histogram."""
    random = np.random.default_rng(seed)
    ours, theirs = (_columns([measures.numbers(ids) for ids in rows]) for rows in (samples, passages))
    figures = {name: _figure(values, theirs[name], random) for name, values in ours.items()}
    our_shapes, their_shapes = ([measures.histograms(ids) for ids in rows] for rows in (samples, passages))
    overlaps = {}
    for name in our_shapes[0] if our_shapes else ():
        ours_, theirs_ = (np.stack([shapes[name] for shapes in rows]) for rows in (our_shapes, their_shapes))
        overlaps[name] = _overlap(ours_, theirs_, random)
    return figures, overlaps


def as_json(figures: Mapping[str, Figure], overlaps: Mapping[str, Overlap]) -> dict[str, Any]:
    """Both, JSON-able, numbers rounded to four digits; what is not a number is None."""
    rows: dict[str, Figure | Overlap] = {**figures, **overlaps}
    return {name: {key: _rounded(value) for key, value in asdict(row).items()} for name, row in rows.items()}


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _figure(ours: NDArray[np.float64], theirs: NDArray[np.float64], random: np.random.Generator) -> Figure:
    ours, theirs = ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]
    low, high = _interval(ours, random)
    p10, p90 = np.quantile(theirs, (0.1, 0.9)) if len(theirs) else (np.nan, np.nan)
    mean, held_out = (float(values.mean()) if len(values) else np.nan for values in (ours, theirs))
    return Figure(mean, low, high, held_out, float(p10), float(p90))


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64], random: np.random.Generator) -> Overlap:
    by_sample = _shared(ours, theirs).mean(1)  # (samples,)
    among = _shared(theirs, theirs)[~np.eye(len(theirs), dtype=bool)]
    low, high = _interval(by_sample, random)
    return Overlap(float(by_sample.mean()), low, high, float(among.mean()) if len(among) else np.nan)


def _shared(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The common area of each pair of distributions of a (A, bins) and b (B, bins), (A, B)."""
    areas: NDArray[np.float64] = np.minimum(a[:, None], b[None]).sum(-1)
    return areas


def _interval(values: NDArray[np.float64], random: np.random.Generator) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` (N,), by the bootstrap; NaN for fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    means = random.choice(values, (RESAMPLINGS, len(values))).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
