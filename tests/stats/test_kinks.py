"""A line of latency over depth, and where it breaks: found where it is there, seldom where it is not."""

import numpy as np
import pytest

from harness import stats

DEPTHS = [float(depth) for depth in range(18, 9, -1)]


def test_a_straight_ladder_has_one_slope_whose_interval_holds_the_truth():
    noise = np.random.default_rng(0).normal(0, 0.02, 9)
    fit = stats.line(DEPTHS, [0.3 * x + 1 + n for x, n in zip(DEPTHS, noise, strict=True)])
    (slope,) = fit.slopes
    assert fit.breaks_at is None and fit.points == 9
    assert slope.low < 0.3 < slope.high and slope.high - slope.low < 0.05
    assert fit.at(14) == pytest.approx(0.3 * 14 + 1, abs=0.05)


def test_a_ladder_that_breaks_has_two_slopes_that_meet_at_the_rung_where_it_breaks():
    fit = stats.line(DEPTHS, [0.3 * max(x, 14) + 0.05 * min(x, 14) for x in DEPTHS])
    assert fit.breaks_at == 14
    assert [slope.value for slope in fit.slopes] == pytest.approx([0.3, 0.05])
    assert fit.at(14) == pytest.approx(0.3 * 14 + 0.05 * 14)


def test_slopes_stand_in_the_order_of_a_ladder_full_depth_first():
    rising_then_falling = [-0.2 * max(x, 12) + 0.4 * min(x, 12) for x in DEPTHS]
    assert [slope.value for slope in stats.line(DEPTHS, rising_then_falling).slopes] == pytest.approx([-0.2, 0.4])


@pytest.mark.parametrize(("rungs", "most"), [(7, 0.09), (9, 0.06), (12, 0.04)])
def test_a_straight_ladder_seldom_seems_to_break(rungs, most):
    random, xs = np.random.default_rng(1), np.arange(rungs, 0, -1) + 3.0
    broken = [stats.line(xs, 0.3 * xs + random.normal(0, 0.05, rungs)).breaks_at is not None for _ in range(400)]
    assert np.mean(broken) <= most


@pytest.mark.parametrize("rungs", [0, 1, 4])
def test_too_few_rungs_have_no_line(rungs):
    assert stats.line(DEPTHS[:rungs], [1.0] * rungs) is None


@pytest.mark.parametrize("rungs", [5, 6])
def test_few_rungs_have_a_line_and_no_break(rungs):
    assert stats.line(DEPTHS[:rungs], [0.3 * max(x, 16) for x in DEPTHS[:rungs]]).breaks_at is None


def test_rungs_of_one_depth_or_two_have_no_line_and_equal_depths_are_no_harm():
    assert stats.line([18.0, 18.0, 18.0, 17.0, 17.0], [1.0, 1.1, 1.2, 1.0, 1.1]) is None
    assert stats.line([18.0, 18.0, 17.0, 17.0, 16.0], [3.6, 3.6, 3.4, 3.4, 3.2]).slopes[0].value == pytest.approx(0.2)


@pytest.mark.parametrize("height", [0.0, 2.5])
def test_a_level_ladder_costs_nothing_per_layer(height):
    (slope,) = stats.line(DEPTHS, [height] * 9).slopes
    assert slope.value == pytest.approx(0, abs=1e-9)
