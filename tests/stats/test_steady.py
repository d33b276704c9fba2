import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from simulated import process

from harness import stats


def series(rng, tries, samples, rho=0.0, noise=0.02, slow=0.02):
    """Log latencies that keep one level: AR(1), with heavy outliers; (tries, samples)."""
    fresh = rng.normal(0, noise * math.sqrt(1 - rho**2), (tries, samples + 50))
    logs = lfilter([1], [1, -rho], fresh, axis=1)[:, 50:]
    return logs + np.where(rng.random(logs.shape) < slow, rng.exponential(1.0, logs.shape), 0)


@pytest.mark.parametrize("samples", [60, 85, 150, 319, 1000])
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_series_that_keeps_its_level_is_hardly_ever_said_to_change(samples, rho, noise):
    logs = series(np.random.default_rng(0), 400, samples, rho, noise)
    # 1 % of 400, and what chance adds to a count of 4
    assert sum(stats.change(1e5 * np.exp(row)) is not None for row in logs) <= 8


@pytest.mark.parametrize(("samples", "shift"), [(60, 0.2), (150, 0.08), (1000, 0.03), (5000, -0.03)])
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_a_shift_is_found_where_it_is_and_as_large_as_it_is(samples, shift, rho):
    logs = series(np.random.default_rng(1), 50, samples, rho)
    logs[:, : samples // 2] += math.log1p(shift)
    found = [change for row in logs if (change := stats.change(1e5 * np.exp(row)))]
    assert len(found) >= 45
    edges = [change.last + 1 if change.first == 0 else change.first for change in found]
    assert abs(np.median(edges) - samples / 2) <= samples / 16
    steps = [change.shift if change.first == 0 else 1 / (1 + change.shift) - 1 for change in found]
    assert np.median(steps) == pytest.approx(shift, abs=0.01)


def test_a_bump_in_the_middle_is_found_like_a_step():
    logs = series(np.random.default_rng(2), 1, 1000)[0]
    logs[400:600] += 0.1
    found = stats.change(1e5 * np.exp(logs))
    assert found.shift == pytest.approx(0.105, abs=0.02)
    assert abs(found.first - 400) <= 40 and abs(found.last - 599) <= 40


def test_a_shift_of_two_per_cent_or_less_is_none_however_clear():
    assert stats.change(np.repeat([1000.0, 1019.0], 500)) is None
    assert stats.change(np.repeat([1000.0, 1030.0], 500)) is not None


def test_too_few_inferences_cannot_be_judged():
    assert stats.change(np.repeat([1.0, 100.0], 29)) is None


def test_a_process_has_settled_when_its_warm_up_ended_and_its_level_stayed():
    flat, stepped = [1000] * 100, [1000] * 50 + [2000] * 50
    assert process(flat).settled and not process(stepped).settled
    assert process(stepped).change == stats.Change(0, 49, pytest.approx(-0.5)) or process(stepped).change.shift > 0.9
    assert not stats.Process("c", 0, 0, 0, flat, steady=False).settled


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_lag_1_autocorrelation_is_found_beside_outliers(rho):
    logs = series(np.random.default_rng(3), 1, 20_000, rho, slow=0.005)[0]
    assert stats.lag1(np.exp(logs)) == pytest.approx(rho, abs=0.06)


def test_a_series_of_equal_values_has_no_autocorrelation():
    assert stats.lag1(np.full(100, 7.0)) is None
    assert stats.lag1(np.array([1.0, 2.0])) is None


@given(st.integers(1, 10**6), st.none() | st.floats(-1, 1))
def test_samples_are_worth_more_than_none_and_never_more_than_they_are(samples, rho):
    assert 0 < stats.effective(samples, rho) <= samples
    assert stats.effective(100, 0.5) == pytest.approx(100 / 3)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 10**12]), min_size=1, max_size=400))
def test_any_latencies_can_be_asked_for_a_change(latencies):
    found = process(latencies).change
    assert found is None or (0 <= found.first <= found.last < len(latencies) and abs(found.shift) > stats.SHIFT)
    rho = process(latencies).lag1
    assert rho is None or -1 <= rho <= 1
