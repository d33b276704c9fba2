"""Two runs unpaired: what is said of equal and unequal ones, and how often it is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import WORLDS
from harness import stats, wire
from harness.stats import Process
from harness.stats.across import Side, across

PROTOCOL = wire.Protocol()
FLOOR = 0.01


def side(logs, floor=FLOOR, **options):
    """A case as a run measured it: one process per block, given by its log latency over 1 ms."""
    return Side([Process("a" * 16, block, 0, 1, [1e6 * math.exp(x)]) for block, x in enumerate(logs)], floor, **options)


def levels(seed, n=12, sd=0.02, shift=0.0):
    return np.random.default_rng(seed).normal(shift, sd, n)


def one(before, after):
    return across({"x": (before, after)})[0]["x"]


def job(rng, world, cases):
    """Sides of the cases of one job that stops by the rule: decided cases leave early."""
    total = PROTOCOL.looks[-1]
    level = world.levels(rng, 1, total)[0]
    logs = level + np.median(world.inferences(rng, (cases + 1, total), 9), axis=-1)
    ends = [next((n for n in PROTOCOL.looks if _decided(logs[0, :n] - own[:n])), total) for own in logs[1:]]
    return [side(own[:end]) for own, end in zip(logs[1:], ends, strict=True)]


def _decided(differences):
    return stats.half_width(differences, PROTOCOL) <= PROTOCOL.half_width


@pytest.mark.slow
@pytest.mark.parametrize("world", ["quiet", "calm", "outliers", "one process in 20", "process effects"])
def test_equal_runs_that_stop_by_the_rule_are_seldom_told_apart(world):
    rng, cases, tries = np.random.default_rng(5), 6, 120
    missed = wrong = 0
    for _ in range(tries):
        pairs = dict(enumerate(zip(job(rng, WORLDS[world], cases), job(rng, WORLDS[world], cases), strict=True)))
        found = across(pairs)[0].values()
        missed += any(not each.low <= 1 <= each.high for each in found)
        wrong += sum(each.verdict in ("faster", "slower") for each in found)
    assert missed <= 0.06 * tries  # all intervals of a comparison at once: 5 %
    assert wrong <= 0.01 * tries * cases


def test_what_differs_from_job_to_job_is_found_where_nothing_says_how_much_and_covered_where_a_calibration_does():
    rng, tries, found = np.random.default_rng(6), 150, {None: 0, 0.05: 0}
    for _ in range(tries):
        ours, theirs = (rng.normal(0, 0.05) + rng.normal(0, 0.02, 12) for _ in range(2))
        for sd in found:
            ratio = one(side(ours, between_jobs_sd=sd, jobs=20), side(theirs, between_jobs_sd=sd, jobs=20))
            found[sd] += not ratio.low <= 1 <= ratio.high
    assert found[None] > 0.4 * tries
    assert found[0.05] <= 0.08 * tries


def test_blocks_that_go_up_and_down_together_widen_the_interval():
    slow = 0.05 * np.sin(np.arange(24) / 4)
    mixed = np.random.default_rng(0).permutation(slow)
    wide, narrow = (one(side(values), side(values)) for values in (slow, mixed))
    assert math.log(wide.high) > 1.5 * math.log(narrow.high)


def test_a_difference_beyond_interval_and_floor_has_a_direction():
    assert one(side(levels(0)), side(levels(1, shift=0.10))).verdict == "slower"
    assert one(side(levels(0)), side(levels(1, shift=-0.10))).verdict == "faster"


def test_a_slow_down_of_five_percent_is_found_in_sixteen_blocks_that_vary_by_two():
    found = [one(side(levels(i, 16)), side(levels(i + 500, 16, shift=0.05))).verdict for i in range(100)]
    assert found.count("slower") >= 90 and "faster" not in found


def test_nothing_is_told_apart_within_the_larger_floor():
    ours, theirs = levels(0), levels(1, shift=0.10)
    assert one(side(ours), side(theirs, floor=0.2)).verdict == "unclear"
    assert one(side(ours, floor=0.2), side(theirs)).verdict == "unclear"
    assert one(side(ours, floor=None), side(theirs)).verdict == "unclear"


def test_equal_levels_within_two_percent_are_the_same():
    ours = side(levels(0, sd=0.003))
    assert one(ours, side(levels(1, sd=0.003))).verdict == "same"
    assert one(ours, side(levels(1, sd=0.003), floor=0.03)).verdict == "unclear"


@pytest.mark.parametrize("seed", range(20))
def test_the_runs_swapped_give_the_inverse_and_the_opposite_verdict(seed):
    rng = np.random.default_rng(seed)
    ours = side(rng.normal(0, 0.02, rng.integers(2, 30)), floor=0.03, resolution_ns=40.0)
    theirs = side(rng.normal(rng.normal(0, 0.1), 0.05, rng.integers(2, 30)), between_jobs_sd=0.01)
    there, back = one(ours, theirs), one(theirs, ours)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))
    opposite = {"faster": "slower", "slower": "faster"}
    assert there.verdict == opposite.get(back.verdict, back.verdict)


def test_a_throttled_process_that_counts_makes_it_unclear():
    ours, theirs = side(levels(0)), side(levels(1, shift=0.1))
    hot = replace(theirs, processes=[replace(theirs.processes[0], throttled=True), *theirs.processes[1:]])
    assert one(ours, theirs).verdict == "slower" and one(ours, hot).verdict == "unclear"
    again = [*hot.processes, replace(theirs.processes[0], attempt=2)]
    assert one(ours, replace(hot, processes=again)).verdict == "slower"


def test_what_the_same_artifact_does_is_a_floor_for_all_others_and_not_for_itself():
    pairs = {
        "control": (side(levels(0)), side(levels(1, shift=0.2))),
        "rung": (side(levels(2)), side(levels(3, shift=0.1))),
    }
    free, nothing = across(pairs)
    assert nothing is None and {each.verdict for each in free.values()} == {"slower"}
    bound, between = across(pairs, {"control"})
    assert between > 0.2
    assert bound["rung"].verdict == "unclear" and bound["control"].verdict == "slower"


def test_more_cases_make_every_interval_wider():
    pair = (side(levels(0)), side(levels(1)))
    few, many = across({0: pair})[0][0], across(dict.fromkeys(range(12), pair))[0][0]
    assert many.low < few.low and many.high > few.high and many.ratio == few.ratio


def test_one_block_has_no_interval_and_none_no_ratio():
    single = one(side([0.0]), side([0.1, 0.1]))
    assert single.low is None and single.verdict == "unclear" and single.ratio == pytest.approx(math.exp(-0.1))
    assert one(side([]), side(levels(0))) is None
    assert across({}) == ({}, None)


def test_equal_and_zero_latencies_have_the_width_of_the_clock():
    flat = side([0.0] * 5, resolution_ns=1000.0)
    found = one(flat, flat)
    assert found.ratio == 1 and math.log(found.high) == pytest.approx(0.002)
    nought = Side([Process("a" * 16, block, 0, 1, [0]) for block in range(3)], FLOOR)
    assert one(nought, nought).ratio == 1
