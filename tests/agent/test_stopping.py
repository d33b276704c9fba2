"""The agent's stopping rule: exact quantiles in plain Python, paired differences, blocks still needed."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from scipy.stats import mstats

from devices.agent import stopping
from harness import wire

PROTOCOL = wire.Protocol()


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 15, 23, 35, 100, 200, 201, 1001])
@pytest.mark.parametrize("probability", [0.51, 0.6, 0.9, 0.975, 0.995, 0.9995, 1 - 1e-7])
def test_t_quantiles_agree_with_scipy_to_one_in_a_million(df: int, probability: float) -> None:
    assert stopping.t_quantile(probability, df) == pytest.approx(reference.t.ppf(probability, df), rel=1e-6)


@settings(deadline=None)  # other work may share the machine
@given(st.floats(0.5, 1 - 1e-9), st.integers(1, 60))
def test_any_t_quantile_agrees_with_scipy(probability: float, df: int) -> None:
    assert stopping.t_quantile(probability, df) == pytest.approx(reference.t.ppf(probability, df), rel=1e-6, abs=1e-9)


@settings(deadline=None)  # other work may share the machine
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
def test_the_half_width_is_tukey_and_mclaughlins_with_the_error_split_over_the_looks(values: list[float]) -> None:
    level = 1 - PROTOCOL.alpha / len(PROTOCOL.looks) / 2
    n = len(values)
    left = n - 2 * int(0.2 * n)
    spread = statistics.stdev(mstats.winsorize(np.array(values), limits=(0.2, 0.2)).tolist())
    wanted = reference.t.ppf(level, left - 1) * spread * math.sqrt((n - 1) / (left * (left - 1)))
    assert stopping.reach(values, PROTOCOL).half_width == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@settings(deadline=None)  # other work may share the machine
@given(st.floats(0.001, 0.5))
def test_blocks_needed_are_the_fewest_fives_that_are_narrow_enough_and_so_is_any_larger_number(sd: float) -> None:
    values = [0.0, sd * math.sqrt(2)]  # standard deviation sd
    needed = stopping.reach(values, PROTOCOL).blocks_needed
    assert needed is not None
    total = needed + len(values)
    assert total == 2 or total % 5 == 0
    assert all(stopping.half_width(sd, n, PROTOCOL) <= PROTOCOL.half_width for n in range(total, total + 20))
    assert total <= 5 or stopping.half_width(sd, total - 5, PROTOCOL) > PROTOCOL.half_width


def test_one_odd_block_in_ten_hardly_widens_an_interval() -> None:
    quiet = [0.01, -0.01] * 5
    odd = [*quiet[:-1], 0.25]
    widths = [stopping.reach(values, PROTOCOL).half_width for values in (quiet, odd)]
    assert widths[1] is not None and widths[0] is not None and widths[1] < 1.2 * widths[0]


def test_equal_values_everywhere_need_no_more_blocks() -> None:
    assert stopping.reach([0.1, 0.1, 0.1], PROTOCOL) == pytest.approx((0.0, 0), abs=1e-12)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_below_two_blocks_nothing_is_known(values: list[float]) -> None:
    assert stopping.reach(values, PROTOCOL) == stopping.Reach(None, None)


def test_differences_pair_blocks_that_hold_both_and_average_replicates() -> None:
    medians = {
        ("a", 1): [1.0],
        ("r", 1): [2.0, 4.0],
        ("a", 2): [1.0],
        ("r", 3): [9.0],
        ("a", 4): [0.5],
        ("r", 4): [1.0],
    }
    assert stopping.differences(medians, "a", "r", blocks=3) == [2.0]
    assert stopping.differences(medians, "a", "r", blocks=4) == [2.0, 0.5]
