import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import mstats, t, trim_mean
from simulated import ALPHA, PROTOCOL, process, simulate

from harness import stats
from harness.stats import Process, widths


def test_a_speedup_is_the_mean_paired_log_ratio_with_its_split_interval():
    reference = [
        process(v, "r", b, r) for b, row in enumerate([[100, 104], [90, 92], [110, 100]]) for r, v in enumerate(row)
    ]
    case = [process(v, "c", b) for b, v in enumerate([80, 75, 82])]
    d = [
        np.mean(np.log(row)) - np.log(v)
        for row, v in zip([[100, 104], [90, 92], [110, 100]], [80, 75, 82], strict=True)
    ]
    width = t.ppf(1 - ALPHA / 2, 2) * np.std(d, ddof=1) / math.sqrt(3)
    found = stats.speedup(case, reference, PROTOCOL)
    assert found.ratio == pytest.approx(math.exp(np.mean(d)))
    assert (found.low, found.high) == (
        pytest.approx(math.exp(np.mean(d) - width)),
        pytest.approx(math.exp(np.mean(d) + width)),
    )


def test_the_reference_against_itself_is_one_and_has_no_verdict():
    reference = simulate(np.random.default_rng(0), 6, {"r": 100})["r"]
    found = stats.speedup(reference, reference, PROTOCOL)
    assert (found.ratio, found.low, found.high, found.verdict) == (1, None, None, None)


def test_blocks_that_lack_one_side_are_left_out():
    reference = [process(100, "r", block) for block in range(4)]
    case = [process(50, "c", block) for block in (1, 3, 9)]
    assert stats.differences(case, reference) == pytest.approx([math.log(2)] * 2)
    assert stats.speedup([process(1, "c", 9)], reference, PROTOCOL) is None


def test_one_common_block_gives_a_ratio_but_neither_interval_nor_verdict():
    found = stats.speedup([process(50, "c")], [process(100, "r", replicate=r) for r in range(2)], PROTOCOL)
    assert (found.ratio, found.low, found.verdict) == (pytest.approx(2), None, "unclear")


def test_without_a_floor_nothing_is_claimed():
    made = simulate(np.random.default_rng(0), 10, {"r": 100, "c": 50}, replicates=1)
    assert stats.floor(made["r"], PROTOCOL) is None
    assert stats.speedup(made["c"], made["r"], PROTOCOL).verdict == "unclear"


def test_the_floor_splits_replicates_into_first_half_and_rest():
    reference = [process(v, "r", b, r) for b in range(3) for r, v in enumerate([100, 200, 400])]
    found = stats.floor(reference, PROTOCOL)
    assert found.ratio == pytest.approx(100 / math.sqrt(200 * 400))
    assert stats.floor_size(found) == pytest.approx(-math.log(found.ratio))


@pytest.mark.parametrize(
    ("mean", "half_width", "floor", "expected"),
    [
        (0.10, 0.02, 0.01, "faster"),
        (-0.10, 0.02, 0.01, "slower"),
        (0.10, 0.02, 0.11, "unclear"),  # smaller than the reference's ratio to itself
        (0.10, 0.12, 0.01, "unclear"),  # the interval holds 1
        (0.001, 0.01, 0.01, "same"),
        (0.001, 0.01, 0.03, "unclear"),  # the floor is wider than what `same` means
        (0.003, 0.005, 0.015, "same"),  # smaller than the floor, which is itself within +-2 %
        (0.015, 0.01, 0.02, "unclear"),
        (0.10, None, 0.01, "unclear"),
        (0.10, 0.02, None, "unclear"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_floor(mean, half_width, floor, expected):
    assert stats.verdict(mean, half_width, floor) == expected


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_swapping_case_and_reference_swaps_the_verdict(mean, half_width, floor):
    swapped = {"faster": "slower", "slower": "faster"}
    found, mirrored = (stats.verdict(sign * mean, half_width, floor) for sign in (1, -1))
    if "same" not in (found, mirrored):  # +-2 % is on the ratio, so its two ends differ a little on the log scale
        assert mirrored == swapped.get(found, found)


def trimmed_width(spread, n):
    """Of an interval of Tukey and McLaughlin's on n values."""
    left = n - 2 * (n // 5)
    return stdtrit(left - 1, 1 - ALPHA / 2) * spread * math.sqrt((n - 1) / (left * (left - 1)))


def test_blocks_needed_are_the_fewest_fives_that_reach_the_half_width():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.05, 6)
    more = stats.blocks_needed(values, PROTOCOL)
    spread = np.clip(values, *np.sort(values)[[1, 4]]).std(ddof=1)
    assert (6 + more) % 5 == 0
    assert trimmed_width(spread, 6 + more) <= PROTOCOL.half_width < trimmed_width(spread, 1 + more)
    assert stats.blocks_needed(np.zeros(6), PROTOCOL) == 0
    assert stats.blocks_needed(values[:1], PROTOCOL) is None
    assert stats.blocks_needed(values * 10_000, PROTOCOL) == stats.MAX_BLOCKS - 6


def test_a_projected_half_width_is_the_one_that_more_blocks_of_equal_spread_have():
    few, many = np.array([-1.0, 1.0] * 4), np.array([-1.0, 1.0] * 18)
    few, many = few / few.std(ddof=1), many / many.std(ddof=1)
    projected = stats.projected(stats.half_width(few, PROTOCOL), 8, 36, PROTOCOL)
    assert projected == pytest.approx(stats.half_width(many, PROTOCOL))


def test_equal_latencies_everywhere_give_an_interval_of_no_width():
    made = [process([7, 7, 7], block=block) for block in range(6)]
    found = stats.estimate(made)
    assert (found.low, found.high, found.sd) == (pytest.approx(7), pytest.approx(7), 0)
    other = [process([7, 7, 7], "b" * 16, block, replicate) for block in range(6) for replicate in range(2)]
    compared = stats.speedup(made, other, PROTOCOL)
    assert (compared.ratio, compared.verdict) == (1, "same")


def test_a_clock_that_saw_nothing_counts_as_one_nanosecond():
    zeros = [process([0, 0, 0], block=block) for block in range(3)]
    ones = [process([2, 2, 2], "b" * 16, block) for block in range(3)]
    assert stats.estimate(zeros).median == 0
    assert stats.speedup(zeros, ones, PROTOCOL).ratio == pytest.approx(2)


def test_no_interval_is_narrower_than_what_the_clock_can_see():
    case = [process([100] * 5, "c", block) for block in range(6)]
    reference = [process([200] * 5, "r", block, replicate) for block in range(6) for replicate in range(2)]
    found = stats.estimate(case, resolution_ns=1)
    assert (found.low, found.high) == (pytest.approx(100 * math.exp(-0.01)), pytest.approx(100 * math.exp(0.01)))
    compared, floor = stats.speedup(case, reference, PROTOCOL, 1), stats.floor(reference, PROTOCOL, 1)
    assert compared.high == pytest.approx(2 * math.exp(0.01 + 0.005)) and floor.high == pytest.approx(math.exp(0.01))
    assert stats.reach(case, reference, PROTOCOL, 1) == stats.Reach(pytest.approx(0.015), 0)


def test_blocks_that_no_clock_could_narrow_are_not_asked_for():
    case = [process([100] * 5, "c", block) for block in range(6)]
    assert stats.reach(case, case, PROTOCOL, 2) == stats.Reach(pytest.approx(0.04), None)


def test_paired_intervals_cover_the_truth_under_drift_process_effects_and_outliers():
    rng, held, tries = np.random.default_rng(2), 0, 400
    for _ in range(tries):
        made = simulate(rng, 8, {"r": 1000, "c": 900})
        if rng.random() < 0.3:  # one process met a neighbour
            made["c"][3] = Process("c", 3, 0, 0, np.asarray(made["c"][3].latency_ns) * 1.3)
        found = stats.speedup(made["c"], made["r"], PROTOCOL)
        held += found.low <= 1000 / 900 <= found.high
    assert held / tries >= 0.93


def test_identical_cases_are_almost_never_called_faster_or_slower():
    rng, wrong, tries = np.random.default_rng(4), 0, 1000
    for _ in range(tries):
        made = simulate(rng, 10, {"r": 1000, "c": 1000})
        wrong += stats.speedup(made["c"], made["r"], PROTOCOL).verdict in ("faster", "slower")
    assert wrong / tries <= 0.01


def test_a_true_speedup_of_a_tenth_is_found_on_a_quiet_machine():
    rng, found, tries = np.random.default_rng(5), 0, 200
    for _ in range(tries):
        made = simulate(rng, 10, {"r": 1000, "c": 1000 / 1.1}, noise=0.02)
        found += stats.speedup(made["c"], made["r"], PROTOCOL).verdict == "faster"
    assert found / tries >= 0.95


def test_a_throttled_process_leaves_nothing_to_claim():
    made = simulate(np.random.default_rng(6), 10, {"r": 1000, "c": 500}, noise=0.01)
    assert stats.speedup(made["c"], made["r"], PROTOCOL).verdict == "faster"
    for name in ("r", "c"):
        throttled = dict(made)
        throttled[name] = [replace(made[name][0], throttled=True), *made[name][1:]]
        found = stats.speedup(throttled["c"], throttled["r"], PROTOCOL)
        assert found.verdict == "unclear" and found.low > 1  # the numbers stay


def test_a_throttled_process_that_was_measured_again_or_has_no_partner_does_not_count():
    made = simulate(np.random.default_rng(6), 10, {"r": 1000, "c": 500}, noise=0.01)
    again = replace(made["c"][0], attempt=-1, throttled=True)
    alone = process(500, "c", block=99)
    case = [again, *made["c"], replace(alone, throttled=True)]
    assert stats.speedup(case, made["r"], PROTOCOL).verdict == "faster"


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(2, 25))
def test_any_two_levels_have_a_finite_comparison(ours, theirs, blocks):
    case = [process([ours, theirs], "c", b) for b in range(blocks)]
    reference = [process([theirs, ours][b % 2], "r", b, r) for b in range(blocks) for r in range(2)]
    found, floor = stats.speedup(case, reference, PROTOCOL), stats.floor(reference, PROTOCOL)
    assert 0 < found.low <= found.ratio * (1 + 1e-9) and found.ratio <= found.high * (1 + 1e-9) < math.inf
    assert floor.ratio == pytest.approx(1)


def test_a_centre_and_its_spread_are_those_of_scipy():
    values = np.random.default_rng(3).standard_t(2, 23)
    assert widths.centre(values) == pytest.approx(trim_mean(values, 0.2))
    assert widths.spread(values) == pytest.approx(mstats.winsorize(values, limits=(0.2, 0.2)).std(ddof=1))


def test_a_process_that_is_slower_as_a_whole_neither_moves_nor_widens_a_comparison_much():
    rng = np.random.default_rng(4)
    levels = np.exp(rng.normal(0, 0.01, (2, 10)))
    reference = [process(1000 * level, "r", b) for b, level in enumerate(levels[0])]
    case = [process(1000 * level, "c", b) for b, level in enumerate(levels[1])]
    odd = [*case[:-1], process(1250, "c", 9)]
    quiet, disturbed = (stats.speedup(each, reference, PROTOCOL) for each in (case, odd))
    assert abs(math.log(disturbed.ratio / quiet.ratio)) < 0.005
    assert math.log(disturbed.high / disturbed.low) < 1.5 * math.log(quiet.high / quiet.low)


def test_one_odd_replicate_of_three_says_nothing_of_its_block():
    assert stats.differences(
        [process(1000, "c", 0)], [process(v, "r", 0, replicate=n) for n, v in enumerate((1000, 1000, 1300))]
    ) == pytest.approx([0.0])
