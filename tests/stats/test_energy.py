"""Windows to intervals, net of idle, and savings."""

import math

import numpy as np
import pytest

from harness.stats.energy import Share, interval, net, paired, saving
from harness.stats.readings import Drawn

VALUES = (1.00, 1.02, 0.99, 1.01, 0.98)


def shares(values, **unknown):
    return {block: Share(value, **unknown) for block, value in enumerate(values, 1)}


def test_an_interval_is_students_t_over_windows():
    found = interval(shares(VALUES).values())
    half = 2.776445 * np.std(VALUES, ddof=1) / math.sqrt(5)
    assert found.value == pytest.approx(1) and found.high - found.value == pytest.approx(half, rel=1e-6)
    assert found.value - found.low == pytest.approx(half, rel=1e-6)


def test_below_five_windows_there_is_a_value_and_no_interval_and_below_two_nothing():
    four = interval(shares(VALUES[:4]).values())
    assert four.value == pytest.approx(1.005) and four.low is four.high is None
    assert interval(shares(VALUES[:1]).values()) is None and interval(()) is None


def width(**unknown):
    found = interval(shares((1.0,) * 5, **unknown).values())
    return found.high - found.value


def test_what_a_meter_leaves_unknown_widens_a_bias_in_full_rounding_for_good_edges_less_with_more_windows():
    assert width() == 0
    assert width(bias=0.01) == pytest.approx(0.01)
    assert width(quantum=0.01) == pytest.approx(0.0196, rel=1e-3)
    assert width(edge=0.01) == pytest.approx(0.0196 / math.sqrt(5), rel=1e-3)


def test_a_window_is_shared_among_its_inferences():
    found = Share.of(Drawn(100.0, 20.0, 1.0, bias_j=1.0, quantum_j=0.5, edge_j=0.2), 50)
    assert found == Share(2.0, 0.02, 0.01, 0.004)


def test_net_of_idle_pairs_blocks_so_that_drift_cancels():
    idle = np.array([3.0, 3.3, 3.1, 3.6, 3.2])
    gross = shares(0.5 * idle + 1.0)
    found = interval(net(gross, shares(idle), dict.fromkeys(gross, 0.5)).values())
    assert (found.value, found.high - found.low) == (pytest.approx(1.0), pytest.approx(0, abs=1e-9))
    assert interval(gross.values()).high - interval(gross.values()).low > 0.2
    assert sorted(net(gross, {2: Share(3.3)}, dict.fromkeys(gross, 0.5))) == [2]


def test_a_saving_pairs_blocks_so_that_drift_cancels():
    drift = np.array([1.0, 1.2, 1.1, 0.9, 1.3])
    found = saving(shares(drift), shares(1.1 * drift))
    assert found.ratio == pytest.approx(1.1) and found.low == pytest.approx(1.1) and found.verdict == "less"
    assert saving(shares(1.1 * drift), shares(drift)).verdict == "more"


def verdict(ratio, spread=0.001, **unknown):
    noise = np.exp(spread * np.array([-1, 1, 0, -1, 1]))
    return saving(shares(noise, **unknown), shares((ratio,) * 5, **unknown)).verdict


def test_nothing_is_claimed_that_the_meter_cannot_tell():
    assert verdict(1.05) == "less" and verdict(0.95) == "more" and verdict(1.005) in ("less", "same")
    assert verdict(1.0, 0.005) == "same"
    assert verdict(1.05, bias=0.03) == "unclear" and verdict(1.0, bias=0.03) == "unclear"
    assert verdict(1.05, quantum=0.03) == "unclear"
    assert verdict(1.05, 0.1) == "unclear"


def test_fewer_than_five_pairs_decide_nothing():
    found = saving(shares((1.0,) * 5), {block: Share(2.0) for block in (2, 3, 4, 5, 6)})
    assert (found.ratio, found.low, found.verdict) == (pytest.approx(2.0), None, "unclear")
    assert saving(shares((1.0,) * 5), {5: Share(2.0), 6: Share(2.0)}) is None


def test_a_window_without_energy_has_no_logarithm():
    assert saving(shares((0.0, 1.0, 1.0, 1.0, 1.0, 1.0)), shares((2.0,) * 6)).ratio == pytest.approx(2.0)


def test_paired_logs_are_trimmed_against_the_odd_one():
    found = paired([0.0] * 9 + [1.0])
    assert found.value == 1.0 and found.high == pytest.approx(1.0)
    assert paired([0.1]) is None and paired([0.1, 0.1]).low is None
