import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom, norm
from simulated import process

from harness import stats
from harness.stats import tails


@pytest.mark.parametrize(("name", "least"), [("p90", 36), ("p95", 72), ("p99", 368)])
def test_a_tail_is_given_from_the_first_n_that_can_bound_it(name, least):
    quantile = int(name[1:]) / 100
    assert quantile**least <= 0.025 < quantile ** (least - 1)
    assert getattr(stats.estimate([process(np.arange(1, least))]), name) is None
    whole = stats.estimate([process(np.arange(1, least + 1))])
    assert getattr(whole, name) == pytest.approx(np.quantile(np.arange(1, least + 1), quantile))


def spread(rng, blocks, samples, own=0.0, noise=0.05):
    """Processes, one per block, whose levels differ by `own`."""
    levels = rng.normal(0, own, blocks)
    return [process(1e6 * np.exp(rng.normal(level, noise, samples)), "c", b) for b, level in enumerate(levels)]


@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [36, 100, 368, 5000])
def test_ranks_of_independent_samples_are_those_of_the_binomial(n, share):
    low, high = tails.ranks(n, n, share)
    assert binom.cdf(low - 1, n, share) <= 0.025 < binom.cdf(low, n, share)
    if high is None:
        assert share**n > 0.025  # not even the largest sample bounds it
    else:
        assert binom.cdf(high - 1, n, share) >= 0.975 > binom.cdf(high - 2, n, share)


@given(st.integers(36, 100_000), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_fewer_independent_samples_never_narrow_the_ranks(n, data, share):
    less = data.draw(st.integers(1, n))
    (low, high), (wide_low, wide_high) = tails.ranks(n, n, share), tails.ranks(n, less, share)
    slack = 2 * n / less + 1  # ranks of fewer samples are a coarser grid
    assert wide_low is None or 1 <= wide_low <= low + slack
    assert wide_high is None or high - slack <= wide_high <= n


@pytest.mark.parametrize(("name", "n"), [("p90", 64), ("p95", 130), ("p99", 662)])
def test_the_one_sided_bound_is_given_from_loadgens_least_n_on(name, n):
    share = int(name[1:]) / 100
    assert stats.BOUND_SAMPLES[name] == n
    assert tails.bound(np.arange(1.0, n), share) is None
    assert tails.bound(np.arange(1.0, n + 1), share) == n  # nothing dropped yet: the largest


@pytest.mark.parametrize(("share", "t", "n"), [(0.9, 2, 81), (0.9, 10, 197), (0.95, 5, 259), (0.99, 2, 838)])
def test_the_one_sided_bound_drops_as_many_as_loadgen(share, t, n):
    assert tails.bound(np.arange(1.0, n + 1), share) == n - (t - 1)
    assert tails.bound(np.arange(1.0, n), share) == (n - 1) - (t - 2)  # one sample fewer, one dropped fewer


def test_where_one_block_is_all_there_is_its_autocorrelation_widens_the_interval():
    rng = np.random.default_rng(0)
    walk = 1e6 * np.exp(lfilter([1], [1, -0.9], rng.normal(0, 0.01, 2000)))
    follows, shuffled = (stats.estimate([process(each)]).tails["p90"] for each in (walk, rng.permutation(walk)))
    assert follows.value == shuffled.value
    assert follows.high / follows.low - 1 > 2 * (shuffled.high / shuffled.low - 1)


def test_blocks_that_differ_are_worth_fewer_samples_than_blocks_alike():
    rng = np.random.default_rng(1)
    alike, differ = (stats.estimate(spread(rng, 12, 400, own)).tails["p90"] for own in (0.0, 0.1))
    assert None not in (alike.low, alike.high, differ.low)
    assert differ.value / differ.low > alike.value / alike.low
    assert differ.high is None  # twelve levels cannot show the worst one in ten
    assert differ.bound is not None  # LoadGen takes all 4800 as independent


def test_the_interval_of_p90_covers_it():
    rng, held, limits, tries = np.random.default_rng(2), 0, 0, 300
    truth = 1e6 * math.exp(norm.ppf(0.9) * math.hypot(0.01, 0.05))
    for _ in range(tries):
        tail = stats.estimate(spread(rng, 12, 200, own=0.01)).tails["p90"]
        held += tail.low <= truth and (tail.high is None or truth <= tail.high)
        limits += tail.high is not None
    assert held / tries >= 0.93 and limits / tries >= 0.3


@given(st.lists(st.lists(st.sampled_from([0, 1, 5, 10**12]), min_size=1, max_size=60), min_size=1, max_size=5))
def test_any_tail_is_ordered_and_what_is_missing_has_a_reason(blocks):
    found = stats.estimate([process(samples, block=b) for b, samples in enumerate(blocks)])
    reasons = stats.absent(found)
    for name, tail in found.tails.items():
        assert tail.value == getattr(found, name)
        assert tail.low is None or tail.low <= tail.value
        assert tail.high is None or tail.value <= tail.high
        assert tail.bound is None or tail.value is not None
        for key in ("value", "low", "high", "bound"):
            assert (getattr(tail, key) is None) == (f"latency_ns.tails.{name}.{key}" in reasons)


def test_equal_latencies_have_tails_of_no_width():
    for blocks in (1, 40):
        found = stats.estimate([process([7] * 50, block=b) for b in range(blocks)]).tails["p90"]
        assert (found.value, found.low, found.high) == (7, 7, 7)


def test_blocks_that_differ_much_bound_p90_from_thirty_six_on():
    rng = np.random.default_rng(3)
    few, enough = (stats.estimate(spread(rng, blocks, 100, own=0.3)).tails["p90"].high for blocks in (34, 40))
    assert few is None and enough is not None
