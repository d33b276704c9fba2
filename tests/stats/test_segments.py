"""A whole history cut into segments: found where levels change, seldom where they do not."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import histories
from harness.stats.segments import SHORTEST, segments


def firsts(logs, **also):
    return [each.first for each in segments(np.asarray(logs, dtype=float), **also)]


def test_steps_are_cut_where_they_are_with_their_size():
    noise = np.random.default_rng(0).normal(16.0, 0.004, 120)
    noise[40:90] += math.log(1.05)
    found = segments(noise)
    assert [(each.first, each.last) for each in found] == [(0, 39), (40, 89), (90, 119)]
    assert [each.ratio for each in found[1:]] == [pytest.approx(1.05, abs=0.004), pytest.approx(1 / 1.05, abs=0.004)]
    assert found[0].ratio is None and all(each.p < 1e-6 for each in found[1:])


def test_spikes_of_a_night_or_two_are_no_segments():
    noise = np.random.default_rng(1).normal(16.0, 0.004, 60)
    noise[[20, 40, 41]] += 0.5
    assert firsts(noise) == [0]


def test_three_nights_at_another_level_are_a_segment():
    noise = np.random.default_rng(2).normal(16.0, 0.004, 60)
    noise[30:33] += 0.2
    assert firsts(noise) == [0, 30, 33]


def test_a_change_below_the_least_is_none():
    logs = np.random.default_rng(3).normal(16.0, 1e-4, 60)
    logs[30:] += math.log(1.015)
    assert firsts(logs) == [0]
    assert firsts(logs, least=0.01) == [0, 30]


def test_upgrades_cut_without_a_ratio_and_nights_that_are_missing_are_skipped():
    logs = np.random.default_rng(4).normal(16.0, 0.004, 40)
    logs[[0, 19, 20]] = np.nan
    found = segments(logs, breaks=(20,))
    assert [(each.first, each.last, each.ratio) for each in found] == [(1, 18, None), (21, 39, None)]
    assert segments(np.full(5, np.nan), breaks=(2,)) == () == segments(np.empty(0))


def test_few_nights_and_nights_that_never_moved_are_one_segment():
    for number in range(1, 12):
        assert firsts([16.0] * number) == [0], number


@pytest.mark.parametrize(("sd", "most"), [(0.005, 2), (0.01, 6), (0.02, 12)])
def test_a_history_without_a_change_is_seldom_cut(sd, most):
    """Of 100 histories of 180 nights, with spikes, autocorrelation and gaps."""
    year = histories.simulate(np.random.default_rng(5), histories.World(sd=sd), np.zeros((100, 180)))
    assert sum(len(segments(own)) - 1 for own in np.where(year.usable, year.first, np.nan)) <= most


@given(st.lists(st.floats(-0.1, 0.1), max_size=60), st.floats(-20, 20), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_segments_hold_each_night_once_in_order_and_units_do_not_matter(values, by, cut):
    logs = np.array(values)
    found = segments(logs, breaks=(cut,))
    edges = [edge for each in found for edge in (each.first, each.last)]
    assert edges == sorted(edges) and (not values or (edges[0], edges[-1]) == (0, len(values) - 1))
    assert all(a.last + 1 == b.first for a, b in pairwise(found))
    assert all(each.last - each.first + 1 >= min(SHORTEST, len(values)) for each in found if not 0 < cut < len(values))
    assert len(segments(logs + by, breaks=(cut,))) == len(found)
