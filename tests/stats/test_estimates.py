import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import process, simulate

from harness import stats


def test_the_median_is_that_of_process_medians_not_of_pooled_samples():
    long, short, other = process([100] * 50), process([200], block=1), process([200], block=2)
    assert stats.estimate([long, short, other]).median == 200


def test_one_process_has_no_interval_and_the_reasons_say_so():
    one = stats.estimate([process([5.0])])
    assert (one.low, one.high, one.sd, one.p90) == (None, None, None, None)
    tails = {f"tails.{name}.{key}" for name in one.tails for key in ("value", "low", "high", "bound")}
    missing = {"low", "high", "sd", "p90", "p95", "p99", "lag1", "effective_samples"} | tails
    assert set(stats.absent(one)) == {f"latency_ns.{key}" for key in missing}
    assert "needs 368" in stats.absent(one)["latency_ns.p99"]


def test_mean_and_sd_are_of_the_pooled_samples_as_papers_print_them():
    pooled = stats.estimate([process([1.0, 2.0]), process([3.0, 6.0], block=1)])
    assert pooled.mean == 3 and pooled.sd == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    assert (pooled.samples, pooled.processes) == (4, 2)


def test_the_interval_of_a_median_is_t_over_blocks_however_many_processes_a_block_has():
    blocks = [[100, 110], [120, 130], [90, 95]]
    made = [process(value, block=b, replicate=r) for b, row in enumerate(blocks) for r, value in enumerate(row)]
    logs, median = [np.mean(np.log(row)) for row in blocks], np.median(blocks)
    width = 4.302652729696142 * np.std(logs, ddof=1) / math.sqrt(3) * math.sqrt(math.pi / 2)  # t(0.975, 2)
    assert stats.estimate(made).low == pytest.approx(median * math.exp(-width))
    assert stats.estimate(made).high == pytest.approx(median * math.exp(width))


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=1, max_size=4), min_size=1, max_size=8))
def test_any_latencies_give_finite_ordered_estimates(blocks):
    found = stats.estimate([process(samples, block=b) for b, samples in enumerate(blocks)])
    assert math.isfinite(found.mean) and found.median >= 0
    if found.low is not None:
        assert found.low <= max(found.median, stats.RESOLUTION_NS) and found.median <= found.high


def test_an_estimate_of_nothing_or_of_two_cases_is_refused():
    with pytest.raises(ValueError, match="one case"):
        stats.estimate([])
    with pytest.raises(ValueError, match="one case"):
        stats.estimate([process(1), process(1, "b" * 16)])


@pytest.mark.parametrize("blocks", [3, 8, 36])
@pytest.mark.parametrize("replicates", [1, 3])
def test_median_intervals_cover_the_true_median_without_drift(blocks, replicates):
    rng, held, tries = np.random.default_rng(3), 0, 400 if blocks < 20 else 200
    for _ in range(tries):
        made = simulate(rng, blocks, {"c": 1000}, replicates, drift=0, samples=1)
        found = stats.estimate(made["c"])
        held += found.low <= 1000 * 1.0014 <= found.high  # the tail's median is 0.0014
    assert held / tries >= 0.93


def test_one_process_beside_a_neighbour_moves_no_median():
    made = [process(v, block=b) for b, v in enumerate([100, 101, 99, 100, 102, 98, 100, 180])]
    found = stats.estimate(made)
    assert found.median == 100 and found.low < 100 < found.high


def test_from_twenty_blocks_on_whole_blocks_are_resampled():
    rng = np.random.default_rng(0)
    skewed = [process(1000 * np.exp(rng.exponential(0.6)), "c", b, r) for b in range(24) for r in range(2)]
    found, fewer = stats.estimate(skewed), stats.estimate([p for p in skewed if p.block < 19])
    assert found.median - found.low < 0.8 * (found.high - found.median)  # as skewed as the data
    assert math.log(fewer.high / fewer.median) == pytest.approx(math.log(fewer.median / fewer.low))  # t on logs
    assert stats.estimate(skewed) == found


def test_a_resampled_interval_is_no_narrower_than_the_clock_either():
    made = [process([100] * 5, block=b) for b in range(24)]
    found = stats.estimate(made, resolution_ns=1)
    assert (found.low, found.high) == (pytest.approx(100 * math.exp(-0.01)), pytest.approx(100 * math.exp(0.01)))
    zeros = stats.estimate([process([0] * 5, block=b) for b in range(24)])
    assert (zeros.low, zeros.median, zeros.high) == (0, 0, 1)  # one nanosecond stands for what was not seen


def test_replicates_of_one_block_stay_together_when_resampled():
    rng = np.random.default_rng(1)
    levels = rng.normal(0, 0.1, 24)
    once = stats.estimate([process(1000 * math.exp(v), block=b) for b, v in enumerate(levels)])
    thrice = stats.estimate([process(1000 * math.exp(v), "c", b, r) for b, v in enumerate(levels) for r in range(3)])
    assert (thrice.low, thrice.high) == (pytest.approx(once.low, rel=0.02), pytest.approx(once.high, rel=0.02))


def test_samples_that_follow_each_other_are_worth_fewer():
    rng = np.random.default_rng(2)
    walk = np.exp(np.cumsum(rng.normal(0, 0.01, 500)))
    follows, apart = stats.estimate([process(1e6 * walk)]), stats.estimate([process(1e6 * rng.permutation(walk))])
    assert follows.lag1 > 0.9 and abs(apart.lag1) < 0.15
    assert follows.effective_samples < 50 < 350 < apart.effective_samples <= 500


def test_equal_latencies_have_no_autocorrelation_and_the_reasons_say_so():
    flat = stats.estimate([process([7] * 50)])
    assert (flat.lag1, flat.effective_samples) == (None, None)
    assert {"latency_ns.lag1", "latency_ns.effective_samples"} <= stats.absent(flat).keys()
