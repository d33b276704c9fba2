import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import t

from devices.agent import stopping
from harness import stats, wire
from harness.stats import Process

PROTOCOL = wire.Protocol()
ALPHA = PROTOCOL.alpha / len(PROTOCOL.looks)


def process(latency_ns, case="a" * 16, block=0, replicate=0, attempt=0):
    return Process(case, block, replicate, attempt, np.atleast_1d(latency_ns))


def simulate(rng, blocks, cases, replicates=3, noise=0.04, drift=0.3, samples=5):
    """Fresh processes of cases with true latencies `cases` (ns, the first is the reference), interleaved in blocks.

    A random walk shared by a block's processes stands for heat and neighbours; each process has an effect of its own;
    samples within a process are autocorrelated and have a long right tail.
    """
    walk = np.cumsum(rng.normal(0, drift / math.sqrt(blocks), blocks))
    made = {name: [] for name in cases}
    for block in range(blocks):
        for number, (name, latency) in enumerate(cases.items()):
            for replicate in range(replicates if number == 0 else 1):
                level = latency * math.exp(walk[block] + rng.normal(0, noise))
                tail = rng.exponential(0.002, samples).cumsum()
                made[name].append(Process(name, block, replicate, 0, level * (1 + tail)))
    return made


# --- attempts and estimates ----------------------------------------------------------------------------------------


def test_only_the_last_attempt_of_a_process_counts():
    first, last = process(100, attempt=0), process(50, attempt=2)
    other = process(70, replicate=1)
    assert stats.last_attempts([last, first, other]) == (last, other)
    assert stats.estimate([last, first, other]).median == 60


def test_a_journal_event_becomes_a_process():
    event = wire.ProcessEvent(
        1, 0, 9, "process", "a" * 16, 2, 1, 3, 1, 1, 1, 1, 1, True, False, 0.0, {}, (9,), (0, 5), (5, 7)
    )
    made = Process.of(event)
    assert (made.block, made.replicate, made.attempt, made.contended, made.steady) == (2, 1, 3, True, False)
    assert not Process.of(event, contended=False).contended
    assert made.median_ns == 6


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


@pytest.mark.parametrize(("name", "least"), [("p90", 36), ("p95", 72), ("p99", 368)])
def test_a_tail_is_given_from_the_first_n_that_can_bound_it(name, least):
    quantile = int(name[1:]) / 100
    assert quantile**least <= 0.025 < quantile ** (least - 1)
    assert getattr(stats.estimate([process(np.arange(1, least))]), name) is None
    whole = stats.estimate([process(np.arange(1, least + 1))])
    assert getattr(whole, name) == pytest.approx(np.quantile(np.arange(1, least + 1), quantile))


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


@pytest.mark.parametrize("bad", [[], [-1], [1, math.nan], [math.inf]])
def test_impossible_latencies_are_refused(bad):
    with pytest.raises(ValueError, match="latenc"):
        Process("a" * 16, 0, 0, 0, bad)


def test_an_estimate_of_nothing_or_of_two_cases_is_refused():
    with pytest.raises(ValueError, match="one case"):
        stats.estimate([])
    with pytest.raises(ValueError, match="one case"):
        stats.estimate([process(1), process(1, "b" * 16)])


# --- comparisons ---------------------------------------------------------------------------------------------------


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


def test_blocks_needed_is_the_first_count_that_reaches_the_half_width():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.05, 6)
    more = stats.blocks_needed(values, PROTOCOL)
    spread = values.std(ddof=1)
    assert stdtrit(5 + more, 1 - ALPHA / 2) * spread / math.sqrt(6 + more) <= PROTOCOL.half_width
    assert stdtrit(4 + more, 1 - ALPHA / 2) * spread / math.sqrt(5 + more) > PROTOCOL.half_width
    assert stats.blocks_needed(np.zeros(6), PROTOCOL) == 0
    assert stats.blocks_needed(values[:1], PROTOCOL) is None
    assert stats.blocks_needed(values * 10_000, PROTOCOL) == stats.MAX_BLOCKS - 6


def test_a_projected_half_width_is_the_one_that_more_blocks_of_equal_spread_have():
    few, many = np.array([-1.0, 1.0] * 4), np.array([-1.0, 1.0] * 18)
    few, many = few / few.std(ddof=1), many / many.std(ddof=1)
    projected = stats.projected(stats.half_width(few, PROTOCOL), 8, 36, PROTOCOL)
    assert projected == pytest.approx(stats.half_width(many, PROTOCOL))


# --- on simulated drift, contention and shared references ------------------------------------------------------------


def test_paired_intervals_cover_the_truth_under_drift_process_effects_and_outliers():
    rng, held, tries = np.random.default_rng(2), 0, 400
    for _ in range(tries):
        made = simulate(rng, 8, {"r": 1000, "c": 900})
        if rng.random() < 0.3:  # one process met a neighbour
            made["c"][3] = Process("c", 3, 0, 0, np.asarray(made["c"][3].latency_ns) * 1.3)
        found = stats.speedup(made["c"], made["r"], PROTOCOL)
        held += found.low <= 1000 / 900 <= found.high
    assert held / tries >= 0.93


@pytest.mark.parametrize("blocks", [3, 8, 36])
@pytest.mark.parametrize("replicates", [1, 3])
def test_median_intervals_cover_the_true_median_without_drift(blocks, replicates):
    rng, held, tries = np.random.default_rng(3), 0, 400
    for _ in range(tries):
        made = simulate(rng, blocks, {"c": 1000}, replicates, drift=0, samples=1)
        found = stats.estimate(made["c"])
        held += found.low <= 1000 * 1.0014 <= found.high  # the tail's median is 0.0014
    assert held / tries >= 0.93


def test_one_process_beside_a_neighbour_moves_no_median():
    made = [process(v, block=b) for b, v in enumerate([100, 101, 99, 100, 102, 98, 100, 180])]
    found = stats.estimate(made)
    assert found.median == 100 and found.low < 100 < found.high


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


# --- the agent's own rule -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4), st.floats(1e-4, 3))
def test_the_agents_stopping_rule_and_these_statistics_agree(seed, blocks, replicates, noise):
    made = simulate(np.random.default_rng(seed), blocks, {"r": 1000, "c": 900}, replicates, noise)
    made["c"] = [p for p in made["c"] if p.block % 5 != 3]  # some blocks lack the case
    medians = {}
    for p in (*made["r"], *made["c"]):
        medians.setdefault((p.case_id, p.block + 1), []).append(p.log_median)  # the agent counts blocks from 1
    theirs, ours = stopping.differences(medians, "c", "r", blocks), stats.differences(made["c"], made["r"])
    assert ours == pytest.approx(theirs, abs=1e-12)
    reach = stopping.reach(theirs, PROTOCOL)
    assert stats.half_width(ours, PROTOCOL) == (pytest.approx(reach.half_width) if reach.half_width else None)
    assert stats.blocks_needed(ours, PROTOCOL) == reach.blocks_needed


@pytest.mark.parametrize("df", [1, 2, 3, 7, 30, 400])
def test_the_agents_t_quantile_is_that_of_scipy(df):
    for probability in (0.5, 0.9, 0.975, 0.995, 0.9999):
        assert stopping.t_quantile(probability, df) == pytest.approx(t.ppf(probability, df), rel=1e-7, abs=1e-12)
