"""Samples are compared with held-out passages by means, intervals and overlaps."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from waveletgpt.training.quality.measures import Histogram, as_json, compare


class Toy:
    """A passage is measured by its mean, and by which ids from 0 to 3 it holds."""

    def numbers(self, ids: Tensor) -> dict[str, float]:
        return {"mean": float(ids.double().mean()), "never": np.nan}

    def histograms(self, ids: Tensor) -> dict[str, Histogram]:
        counts = np.bincount(ids.numpy(), minlength=4).astype(np.float64)
        return {"ids": counts / counts.sum()}


def rows(*values: list[int]) -> list[Tensor]:
    return [torch.tensor(row) for row in values]


def test_the_same_passages_are_as_usual_and_overlap_as_they_do_among_themselves() -> None:
    held_out = rows([0, 1], [0, 0], [1, 1], [0, 1])
    figures, overlaps = compare(Toy(), held_out, held_out)
    mean = figures["mean"]
    assert mean.mean == mean.held_out == pytest.approx(0.5)
    assert mean.low < 0.5 < mean.high
    assert mean.held_out_p10 == pytest.approx(0.15)
    assert mean.is_usual
    assert overlaps["ids"].held_out == pytest.approx(0.5)  # 5 pairs: 1 once, 1/2 four times, 0 once
    assert overlaps["ids"].mean == pytest.approx((2 * 6 * 0.5 + 4) / 16)


def test_what_is_unlike_is_told() -> None:
    figures, overlaps = compare(Toy(), rows([3, 3], [3, 2], [3, 3]), rows([0, 1], [0, 0], [1, 1]))
    assert not figures["mean"].is_usual
    assert overlaps["ids"].mean == 0
    assert figures["mean"].low > figures["mean"].held_out_p90


def test_intervals_narrow_with_the_number_of_samples() -> None:
    random = np.random.default_rng(0)
    many = [torch.from_numpy(random.integers(0, 4, 5)) for _ in range(100)]
    wide, narrow = (compare(Toy(), samples, many)[0]["mean"] for samples in (many[:8], many))
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)
    assert narrow.low < narrow.held_out < narrow.high


def test_what_cannot_be_measured_is_no_number_in_json() -> None:
    found = as_json(*compare(Toy(), rows([0, 1]), rows([0, 1], [1, 1])))
    assert json.loads(json.dumps(found, allow_nan=False))["never"]["mean"] is None
    assert found["mean"]["low"] is None  # one sample has no spread
    assert found["mean"]["held_out"] == 0.75
