import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.noise import gumbel_noise
from waveletgpt.models.sampling import (
    Sampling,
    apply_temperature,
    keep_likeliest,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    seen_tokens,
)

LOGITS = torch.tensor([[0.5, 0.05, 0.15, 0.3]]).log()  # in descending order: tokens 0, 3, 2, 1


def kept(logits: Tensor) -> list[int]:
    return logits.isfinite().nonzero()[:, -1].tolist()


def test_temperature_raises_probabilities_to_a_power() -> None:
    for temperature in (0.5, 1.0, 2.0):
        powers = LOGITS.exp() ** (1 / temperature)
        torch.testing.assert_close(apply_temperature(LOGITS, temperature).softmax(-1), powers / powers.sum())


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-44])
def test_a_low_temperature_ends_at_the_likeliest_token(temperature: float) -> None:
    """Logits far above 0 are included; they would overflow if divided without subtracting the largest."""
    probabilities = apply_temperature(LOGITS + 50, temperature).softmax(-1)
    assert probabilities.tolist() == [[1.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(("k", "tokens"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_top_k(k: int, tokens: list[int]) -> None:
    assert kept(keep_top_k(LOGITS, k)) == tokens


def test_top_k_keeps_no_more_in_a_tie() -> None:
    assert kept(keep_top_k(torch.tensor([[1.0, 2.0, 2.0, 2.0]]), 2)) == [1, 2]


@pytest.mark.parametrize(
    ("p", "tokens"),
    [
        (0.01, [0]),
        (0.49, [0]),
        (0.51, [0, 3]),
        (0.79, [0, 3]),
        (0.81, [0, 2, 3]),
        (0.96, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p(p: float, tokens: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, p)) == tokens


@pytest.mark.parametrize(
    ("p", "tokens"),
    [(0.0, [0, 1, 2, 3]), (0.09, [0, 1, 2, 3]), (0.11, [0, 2, 3]), (0.31, [0, 3]), (0.61, [0]), (1.0, [0])],
)
def test_min_p(p: float, tokens: list[int]) -> None:
    assert kept(keep_min_p(LOGITS, p)) == tokens


def test_the_likeliest_is_the_first_of_a_tie() -> None:
    assert kept(keep_likeliest(torch.tensor([[1.0, 3.0, 3.0, 2.0]]))) == [1]


def test_rows_are_filtered_independently() -> None:
    logits = torch.randn(5, 30)
    for sampling in (Sampling(0), Sampling(0.7, 5), Sampling(top_p=0.8), Sampling(min_p=0.2)):
        alone = torch.cat([sampling.filter(row[None]) for row in logits])
        assert torch.equal(sampling.filter(logits), alone)


def test_filters_follow_one_another() -> None:
    """At temperature 0.5 the probabilities are 0.68, 0.25, 0.06 and 0.01. Top-k keeps three tokens, and the
    first two of them hold 0.93 of the remaining probability.
    """
    assert kept(Sampling(0.5, top_k=3, top_p=0.92).filter(LOGITS)) == [0, 3]
    assert kept(Sampling(0.5, top_k=3, top_p=0.95).filter(LOGITS)) == [0, 2, 3]
    assert kept(Sampling(0.5, top_k=3, top_p=0.95, min_p=0.2).filter(LOGITS)) == [0, 3]
    assert kept(Sampling(0).filter(LOGITS)) == [0]
    assert kept(Sampling().filter(LOGITS)) == [0, 1, 2, 3]


def test_a_repetition_penalty_by_hand() -> None:
    """Positive logits of seen tokens are divided by the penalty, negative ones multiplied; others do not change."""
    logits = torch.tensor([[2.0, -1.0, 0.0, 0.5, -3.0], [2.0, -1.0, 0.0, 0.5, -3.0]])
    seen = torch.tensor([[True, True, True, False, False], [False, False, False, True, True]])
    expected = [[1.0, -2.0, 0.0, 0.5, -3.0], [2.0, -1.0, 0.0, 0.25, -6.0]]
    assert penalize_repetition(logits, seen, 2.0).tolist() == expected
    assert torch.equal(penalize_repetition(logits, seen, 1.0), logits)
    assert penalize_repetition(logits, seen, 0.5)[0].tolist() == [4.0, -0.5, 0.0, 0.5, -3.0]


def test_the_penalty_comes_before_the_temperature_and_the_filters() -> None:
    logits, seen = torch.tensor([[3.0, 2.0, -1.0, -2.0]]), torch.tensor([[True, False, True, False]])
    penalized = torch.tensor([[1.5, 2.0, -2.0, -2.0]])
    found = Sampling(0.5, repetition_penalty=2.0).filter(logits, seen)
    torch.testing.assert_close(found.softmax(-1), (penalized / 0.5).softmax(-1))
    assert kept(Sampling(0, repetition_penalty=2.0).filter(logits, seen)) == [1]
    assert kept(Sampling(top_k=1, repetition_penalty=2.0).filter(logits, seen)) == [1]
    assert kept(Sampling(top_p=0.5, repetition_penalty=2.0).filter(logits, seen)) == [1]
    assert kept(Sampling(min_p=0.9, repetition_penalty=2.0).filter(logits, seen)) == [1]
    assert torch.equal(Sampling(repetition_penalty=2.0).filter(logits), logits)  # nothing was seen
    assert not Sampling().penalizes


def test_top_p_counts_what_top_k_and_min_p_what_top_p_leaves() -> None:
    """Of 0.5 and 0.3 alone, the first has a share of 0.625, enough for top-p 0.6; among all four tokens it has not."""
    assert kept(keep_top_p(LOGITS, 0.6)) == [0, 3]
    assert kept(Sampling(top_k=2, top_p=0.6).filter(LOGITS)) == [0]
    assert kept(Sampling(top_p=0.75, min_p=0.2).filter(LOGITS)) == [0, 3]
    assert kept(Sampling(min_p=0.2).filter(LOGITS)) == [0, 2, 3]


def test_filters_leave_their_input_as_it_was() -> None:
    logits, seen = torch.randn(3, 9), torch.rand(3, 9) < 0.5
    before = logits.clone(), seen.clone()
    for sampling in (Sampling(0), Sampling(0.7, 5, 0.9, 0.1, 1.3)):
        sampling.filter(logits, seen)
        assert torch.equal(logits, before[0]) and torch.equal(seen, before[1])


def test_seen_tokens_are_those_of_each_prompt_for_all_its_samples() -> None:
    seen = seen_tokens(torch.tensor([[0, 2, 2], [4, 0, 3]]), 2, 5)
    assert [row.nonzero()[:, 0].tolist() for row in seen] == [[0, 2], [0, 3, 4], [0, 2], [0, 3, 4]]
    assert not seen_tokens(torch.zeros(1, 0, dtype=torch.long), 3, 5).any()


def test_a_draw_takes_the_largest_with_noise_marks_it_as_seen_and_tells_how_probable_it_was() -> None:
    """Noise makes tokens 1 and 2 the largest, unless top-k removes them."""
    noise = torch.tensor([[0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 99.0, 0.0]])
    logits = torch.cat([LOGITS, LOGITS.flip(-1)]) + 3.0
    seen = torch.tensor([[False, False, True, False], [False] * 4])
    ids, log_probs = Sampling(0.5, top_k=4, repetition_penalty=1.1).draw(logits, noise, seen)
    assert ids.tolist() == [1, 2]
    assert seen.tolist() == [[False, True, True, False], [False, False, True, False]]
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.05, 0.05]))  # before all settings
    ids, log_probs = Sampling(top_k=2).draw(logits, noise)
    assert ids.tolist() == [0, 3]
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    "sampling", [Sampling(0), Sampling(0.5), Sampling(top_k=2), Sampling(top_p=0.7), Sampling(0.8, 3, 0.95, 0.2)]
)
def test_draws_follow_the_filtered_distribution(sampling: Sampling) -> None:
    """A chi-square test of 8,000 draws; with 3 degrees of freedom or fewer, chance exceeds 16.3 in at most 0.1 %."""
    ids, _ = sampling.draw(LOGITS.expand(8000, -1), gumbel_noise(1, range(8000), range(1), 4)[0])
    expected = 8000 * sampling.filter(LOGITS).double().softmax(-1)[0]
    found = torch.bincount(ids, minlength=4)
    assert (found[expected == 0] == 0).all()
    assert ((found - expected) ** 2 / expected)[expected > 0].sum() < 16.3


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    st.integers(1, 50),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_filters_against_their_definitions(values: list[float], k: int, p: float, min_p: float) -> None:
    logits = torch.tensor([values])
    probabilities = logits.double().softmax(-1)[0]
    for filtered in (keep_top_k(logits, k), keep_top_p(logits, p), keep_min_p(logits, min_p)):
        inside = filtered.isfinite()
        assert inside[0, logits.argmax()]  # the likeliest always stays
        assert torch.equal(filtered[inside], logits[inside])  # and what stays is not changed
        assert (filtered[~inside] == -math.inf).all()
    assert len(kept(keep_top_k(logits, k))) == min(k, len(values))
    chosen = kept(keep_top_p(logits, p))
    assert probabilities[chosen].sum() >= p - 1e-6
    assert probabilities[chosen].sum() - probabilities[chosen].min() < p + 1e-6  # one fewer would not do
    for token, probability in enumerate(probabilities / probabilities.max()):
        if abs(probability - min_p) > 1e-5:
            assert (token in kept(keep_min_p(logits, min_p))) == bool(probability > min_p)


def test_everything_stays_at_top_p_1() -> None:
    """The tail is kept although its probabilities are too small to change the rounded sum."""
    logits = torch.linspace(0, -25, 400)[None]
    assert len(kept(keep_top_p(logits, 1.0))) == 400


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
        ({"top_p": math.nan}, "top-p"),
        ({"min_p": -0.1}, "min-p"),
        ({"min_p": 1.1}, "min-p"),
        ({"min_p": math.nan}, "min-p"),
        ({"repetition_penalty": 0.0}, "repetition penalty"),
        ({"repetition_penalty": -1.0}, "repetition penalty"),
        ({"repetition_penalty": math.inf}, "repetition penalty"),
        ({"repetition_penalty": math.nan}, "repetition penalty"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError) as refusal:
        Sampling(**setting)
    assert str(refusal.value).startswith(name)
    assert len(str(refusal.value).splitlines()) == 1
