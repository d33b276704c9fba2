"""The energy of a window from readings whose true integral is known."""

import math

import numpy as np
import pytest

from harness import wire
from harness.stats.readings import Blank, Drawn, Readings
from harness.stats.windows import energy

START, LENGTH = 7 * 10**15, 10.0  # ns after a boot 81 days ago: a float of that has no nanoseconds
END = START + int(LENGTH * 1e9)


def channel(kind="instant_power", update_s=0.0, resolution=0.0, average_s=0.0):
    return wire.Channel("meter", "total", "module", kind, True, update_s, resolution, average_s)


def trace(of, times, values, gaps=()):
    return wire.Trace(of, tuple(START + round(t * 1e9) for t in times), tuple(map(float, values)), tuple(gaps))


def drawn(of, times, values, gaps=(), bound_s=0.0):
    return energy(Readings(trace(of, times, values, gaps), bound_s), START, END)


def gap(t, status="error", reason="No such device"):
    return wire.Gap(START + round(t * 1e9), status, reason)


def step(t, inside=9.0, outside=3.0):
    """The integral of a power that is higher within the window, from its start."""
    return inside * np.clip(t, 0, LENGTH) + outside * (np.minimum(t, 0) + np.maximum(t - LENGTH, 0))


def mean(t, over):
    return (step(t) - step(t - over)) / over


# --- power ---------------------------------------------------------------------------------------------------------


def test_a_line_between_readings_is_integrated_with_its_ends_where_the_window_ends():
    found = drawn(channel(), np.arange(-0.7, 11, 0.4), 5 + np.arange(-0.7, 11, 0.4))
    assert found.energy_j == pytest.approx(5 * LENGTH + LENGTH**2 / 2, rel=2e-3)
    level = drawn(channel(resolution=1e-9), np.arange(-0.7, 11, 0.4), np.full(30, 5.0))
    assert (level.energy_j, level.power_w, level.coverage) == (pytest.approx(50), pytest.approx(5), pytest.approx(1))
    assert level.bias_j == level.edge_j == 0 and level.quantum_j < 1e-8


def test_uneven_times_weigh_readings_by_how_long_they_stand_for():
    times = np.arange(-1, 11, 0.05) + np.random.default_rng(0).uniform(0, 0.05, 240)
    assert drawn(channel(), times, 5 + np.sin(times)).energy_j == pytest.approx(50 + 1 - math.cos(10), rel=1e-3)


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7])
def test_what_an_average_blurs_at_the_edges_is_given_back(phase):
    times = np.arange(-2.5, 12.5, 0.1) + 0.1 * phase
    found = drawn(channel("averaged_power", 0.1, 0.001, 1.0), times, mean(times, 1.0))
    assert found.energy_j == pytest.approx(90, rel=0.005) and abs(found.energy_j - 90) <= found.bias_j
    straight = np.interp(np.linspace(0, 10, 10_001), times - 0.5, mean(times, 1.0)).mean() * LENGTH
    assert straight < 90 * 0.99  # what a trapezoid alone says


def test_a_value_that_is_held_counts_once_however_often_it_is_read():
    # New every 70 ms, read every 20 ms: three readings of one value, four of the next, in step with pulses of 7.1 Hz.
    times = np.arange(-1, 11, 0.02)
    values = np.where(np.floor(times / 0.07) % 2 == 0, 9.0, 3.0)
    assert drawn(channel("instant_power", 0.07), times, values).power_w == pytest.approx(6, rel=0.005)


def test_rounding_does_not_average_out_on_one_step_and_does_over_many():
    times = np.arange(-1, 11, 0.05)
    fixed = drawn(channel(resolution=0.1), times, np.full(times.size, 5.0))
    many = drawn(channel(resolution=0.1), times, 5 + 0.1 * (np.arange(times.size) % 20))
    assert fixed.quantum_j == pytest.approx(LENGTH * 0.1 / math.sqrt(12))
    assert many.quantum_j == pytest.approx(fixed.quantum_j / math.sqrt(20), rel=0.01)


def test_steps_that_a_meter_does_not_tell_are_read_from_its_values():
    times = np.arange(-1, 11, 0.5)
    whole_watts, two = (
        drawn(channel(), times, np.full(24, 6.0)),
        drawn(channel(), times, 6.0 + 0.1 * (np.arange(24) % 2)),
    )
    assert whole_watts.quantum_j == pytest.approx(LENGTH / math.sqrt(12))
    assert two.quantum_j == pytest.approx(LENGTH * 0.1 / math.sqrt(24), rel=0.05)


def test_a_clock_that_is_off_widens_by_the_power():
    times = np.arange(-1, 11, 0.1)
    assert drawn(channel(), times, np.full(times.size, 5.0), bound_s=0.02).bias_j == pytest.approx(0.1)


# --- counters ------------------------------------------------------------------------------------------------------


def test_a_counter_is_read_where_it_changes_not_where_it_is_read():
    times, ours, naive = np.arange(-2, 12, 0.11), [], []
    for phase in np.arange(0, 1, 0.05):
        counted = 5 * (np.floor(times / 0.7 + phase) - phase) * 0.7 + 1000
        found = drawn(channel("energy_counter", 0.7, 1e-3), times, counted)
        assert found.edge_j == pytest.approx(5 * 0.11 * math.sqrt(2 / 12), rel=0.01)
        ours.append(found.energy_j - 50)
        naive.append(np.diff(np.interp([0, 10], times, counted))[0] - 50)
    assert np.abs(ours).max() <= 5 * 0.11 and np.std(ours) < np.std(naive) / 3


@pytest.mark.parametrize("phase", [0.02, 0.25, 0.4])
def test_a_step_between_two_values_of_a_counter_bends_its_line(phase):
    times = np.arange(-3, 13, 0.5) + phase
    found = drawn(channel("energy_counter", 1e-3), times, step(times) + 50)
    assert found.energy_j == pytest.approx(90, rel=2e-4)
    assert abs(np.diff(np.interp([0, 10], times, step(times)))[0] - 90) > abs(found.energy_j - 90)


def test_a_reading_that_is_sure_to_be_fresh_serves_at_either_end():
    times = np.array([-0.1, 2.0, 4.0, 6.0, 8.0, 10.1])
    assert drawn(channel("energy_counter", 1e-3), times, 5 * times).energy_j == pytest.approx(50, rel=1e-3)


def test_each_end_of_a_counter_is_rounded_by_itself():
    times = np.arange(-2, 12, 0.1)
    found = drawn(channel("energy_counter", 0.1, 0.6), times, np.floor(5 * times / 0.6) * 0.6)
    assert found.quantum_j == pytest.approx(0.6 / math.sqrt(6))


# --- what gives no number --------------------------------------------------------------------------------------------


def blank(found, status):
    assert isinstance(found, Blank) and found.status == status, found
    return found


def test_a_window_that_readings_do_not_cover_has_no_figure():
    times = np.array([t for t in np.arange(-1, 11, 0.1) if not 4 < t < 4.7])
    found = blank(drawn(channel(), times, np.full(times.size, 5.0)), "uncovered")
    assert found.coverage == pytest.approx(0.92) and "less than 95 %" in found.reason
    little = np.array([t for t in np.arange(-1, 11, 0.1) if not 4 < t < 4.3])
    assert drawn(channel(), little, np.full(little.size, 5.0)).energy_j == pytest.approx(50)


def test_a_sensor_that_disappears_in_mid_window_says_so():
    times = np.arange(-1, 5, 0.1)
    found = blank(drawn(channel(), times, np.full(times.size, 5.0), [gap(6), gap(7)]), "error")
    assert found.reason.startswith("No such device (readings cover less")


def test_a_stall_is_what_the_sensor_says_not_a_value_that_stays():
    times = np.arange(-1, 11, 0.1)
    still = drawn(channel(resolution=0.04), times, np.full(times.size, 5.0))
    assert isinstance(still, Drawn)
    stalled = drawn(channel(resolution=0.04), times[:60], np.full(60, 5.0), [gap(6, "stale", "it stands still")])
    assert "it stands still" in blank(stalled, "stale").reason


@pytest.mark.parametrize("status", ["error", "permission"])
def test_a_counter_that_failed_within_its_window_has_no_figure_however_well_it_is_covered(status):
    times = np.arange(-1, 11, 0.1)
    blank(drawn(channel("energy_counter", 0.1), times, 5 * times, [gap(5, status)]), status)
    assert isinstance(drawn(channel(), times, 5 + 0 * times, [gap(5, status)]), Drawn)
    assert isinstance(drawn(channel("energy_counter", 0.1), times, 5 * times, [gap(-0.5, status)]), Drawn)


@pytest.mark.parametrize("kind", ["instant_power", "energy_counter"])
def test_a_meter_too_coarse_for_a_device_gives_no_joules_rather_than_none(kind):
    found = drawn(channel(kind, update_s=0.1, resolution=1.0), np.arange(-1, 11, 0.1), np.zeros(120))
    assert isinstance(found, Blank) and found.status in ("error", "too-short")


def test_a_counter_that_goes_backwards_has_no_figure():
    times = np.arange(-1, 11, 0.1)
    assert "backwards" in blank(drawn(channel("energy_counter"), times, 5 * times % 30), "error").reason


def test_a_counter_that_stands_still_before_the_end_is_stale():
    times = np.arange(-1, 11, 0.1)
    assert "stood still" in blank(drawn(channel("energy_counter"), times, np.minimum(5 * times, 30)), "stale").reason


@pytest.mark.parametrize("kind", sorted(wire.UNITS))
def test_a_window_that_holds_too_few_new_values_says_how_long_it_ought_to_be(kind):
    times = np.arange(-12, 22, 6.0)
    assert "--window" in blank(drawn(channel(kind, 6.0, 0.1), times, 50 + 5 * times), "too-short").reason


@pytest.mark.parametrize("kind", sorted(wire.UNITS))
@pytest.mark.parametrize("times", [(), (-500.0,), (-0.5,), (3.0,), (-500.0, 500.0)], ids=str)
def test_next_to_nothing_gives_nothing(kind, times):
    assert isinstance(drawn(channel(kind, 0.1), times, [5.0 * t + 5000 for t in times]), Blank)
