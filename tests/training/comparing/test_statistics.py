"""Speed-ups, their intervals, differences and step times, on curves whose answers are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waveletgpt.common.curves import Curve, speedup, steps_to
from waveletgpt.training.comparing.statistics import (
    difference,
    holm,
    loss_at,
    mean_speedup,
    speedup_curve,
)
from waveletgpt.training.comparing.step_times import ratio


def curve(*points: tuple[int, float]) -> Curve:
    return Curve(tuple(step for step, _ in points), tuple(loss for _, loss in points))


def at_speed(factor: float, offset: float = 0.0) -> Curve:
    """A loss that falls from 4 in a straight line, `factor` times as fast as the baseline; interpolation is exact."""
    return curve(*((step, 4 + offset - 0.002 * factor * step) for step in range(100, 1001, 100)))


BASELINE = curve((10, 3.0), (20, 2.0), (30, 1.5), (40, 1.0))


@pytest.mark.parametrize(
    ("run", "factor", "reached"),
    [
        (BASELINE, 1.0, True),
        (curve((10, 2.0), (20, 1.0), (30, 0.9), (40, 0.8)), 2.0, True),
        (curve((10, 2.0), (20, 0.0), (30, 0.0), (40, 0.0)), 40 / 15, True),  # half-way between two evaluations
        (curve((10, 0.5), (20, 0.4)), 4.0, True),  # already lower at the first evaluation
        (curve((10, 1.5), (20, 0.5), (30, 2.0), (40, 2.0)), 40 / 15, True),  # only the first time counts
        (curve((10, 3.0), (20, 2.5), (30, 2.2), (40, 2.0)), 20 / 40, False),  # the baseline was there at step 20
        (curve((10, 9.0), (20, 9.0), (30, 9.0), (40, 8.0)), 10 / 40, False),
    ],
)
def test_a_speed_up_is_in_steps_to_the_baseline_s_final_loss(run: Curve, factor: float, reached: bool) -> None:
    assert speedup(run, BASELINE) == (pytest.approx(factor), reached)


def test_the_loss_after_some_steps_lies_between_two_evaluations() -> None:
    """The loss after the last evaluation is the last loss."""
    found = [loss_at(BASELINE, step) for step in (BASELINE.steps[0], 35, BASELINE.steps[-1], 1000)]
    assert found == [BASELINE.losses[0], 1.25, BASELINE.losses[-1], BASELINE.losses[-1]]


def test_steps_to_a_loss_that_is_never_reached_are_not_made_up() -> None:
    assert steps_to(BASELINE, 1.25) == 35
    assert steps_to(BASELINE, 0.99) is None


def test_a_baseline_that_got_worse_at_the_end_is_as_fast_as_itself() -> None:
    baseline = curve((10, 3.0), (20, 1.0), (30, 2.0))
    assert speedup(baseline, baseline) == (1.0, True)


losses = st.lists(st.floats(0.5, 5), min_size=8, max_size=8, unique=True).map(lambda given: sorted(given, reverse=True))


@given(losses, losses)
def test_exchanging_the_two_sides_inverts_the_speed_up(ours: list[float], theirs: list[float]) -> None:
    run, baseline = (curve(*zip(range(10, 90, 10), losses, strict=True)) for losses in (ours, theirs))
    assert speedup(run, baseline)[0] * speedup(baseline, run)[0] == pytest.approx(1)


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.0])
def test_a_run_at_another_speed_has_that_speed_up_at_every_target_with_every_seed(factor: float) -> None:
    pairs = [(at_speed(factor, offset), at_speed(1, offset)) for offset in (0.0, 0.3, -0.2)]
    found, reached = mean_speedup(pairs)
    assert [found.value, found.low, found.high] == pytest.approx([factor] * 3)
    assert reached == (3 if factor >= 1 else 0)
    by_target = speedup_curve(pairs)
    assert len(by_target["target"]) > 20
    # Targets run from the lowest first loss (the faster side, one seed) to the highest last loss.
    assert by_target["target"][0] == pytest.approx(4 - 0.2 - 0.2 * max(factor, 1))
    assert by_target["target"][-1] == pytest.approx(4 + 0.3 - 2 * min(factor, 1))
    for name in ("steps", "low", "high"):
        assert by_target[name] == pytest.approx([factor] * len(by_target["target"]))


def test_seeds_meet_in_the_geometric_mean_and_two_bound_the_interval() -> None:
    """The mean of 2 and 8 is 4. Each quarter of the bootstrap draws holds one seed twice, so the interval is 2 to 8."""
    slow = curve((100, 4.0), (800, 1.0))
    pairs = [(curve((100, 4.0), (400, 1.0)), slow), (curve((50, 4.0), (100, 1.0)), slow)]
    found, _ = mean_speedup(pairs)
    assert [found.value, found.low, found.high] == pytest.approx([4, 2, 8])


def test_one_seed_has_no_interval() -> None:
    found, reached = mean_speedup([(at_speed(2), at_speed(1))])
    assert (found.value, found.low, found.high, reached) == (pytest.approx(2), None, None, 1)
    by_target = speedup_curve([(at_speed(2), at_speed(1))])
    assert set(by_target["low"]) == set(by_target["high"]) == {None}


def test_curves_that_share_no_loss_have_no_speed_up_by_target() -> None:
    high, low = curve((10, 5.0), (20, 4.0)), curve((10, 3.0), (20, 2.0))
    assert speedup_curve([(low, high)]) == {"target": [], "steps": [], "low": [], "high": []}
    assert speedup(low, high) == (2.0, True)


def test_differences_are_paired_and_tested_by_student_s_t() -> None:
    """Differences of 1, 2 and 3: t = 2 sqrt(3) with two degrees of freedom, for which p is known in closed form."""
    found = difference([2.0, 5.0, 5.0], [1.0, 3.0, 2.0])
    t = 2 * math.sqrt(3)
    assert found["mean"] == 2
    assert found["p"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert (found["low"], found["high"]) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_equal_runs_and_a_single_seed_have_no_p_value() -> None:
    assert difference([1.5, 2.5], [1.5, 2.5]) == {"mean": 0, "low": 0, "high": 0, "p": None}
    assert difference([1.1, 2.1, 3.1], [1.0, 2.0, 3.0])["p"] is None  # all differences are equal
    assert difference([1.5], [1.0]) == {"mean": 0.5, "low": None, "high": None, "p": None}


def test_step_times_are_compared_within_a_round() -> None:
    """A slow round slows the run and the baseline by the same factor, so the ratio hardly changes."""
    baseline = [1.0, 1.0, 10.0, 1.0, 1.0]
    found = ratio([1.1, 1.1, 12.0, 1.3, 1.4], baseline)
    assert (found.ratio, found.q25, found.q75) == pytest.approx((1.2, 1.1, 1.3))
    assert ratio([3.0], [2.0]).ratio == 1.5


def test_holm_corrects_for_the_number_of_tests() -> None:
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([0.7, 0.6]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []
