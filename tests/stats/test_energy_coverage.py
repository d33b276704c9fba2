"""Accuracy and coverage by experiment, in small: benchmarks/energy.py has all meters, all worlds and more tries."""

import numpy as np
import pytest

from benchmarks import energy


@pytest.mark.parametrize(
    ("meter", "world"),
    [("ina3221", "all of it"), ("nvml average", "quiet"), ("rapl", "closed"), ("shelly counter", "drift")],
)
def test_intervals_hold_the_truth_and_figures_are_within_half_a_percent(meter, world):
    found = energy.tried(meter, world, 60)
    assert found.worst >= 0.88  # 60 tries: five standard errors below what the bench finds over all
    assert np.quantile(np.abs(found.errors), 0.95) <= energy.ACCURATE


def test_intervals_from_readings_as_if_they_were_independent_would_not_hold():
    # The test of the test: noise that follows itself makes thousands of readings worth a few.
    rng, meter, world = np.random.default_rng(5), energy.METERS["ina3221"], energy.WORLDS["noise"]
    held = 0
    for _ in range(60):
        readings = energy.read(meter, energy.Pass.of(world, 1.0, meter.window_s, rng), rng)
        inside = readings.values[(readings.at_ns >= 100e9) & (readings.at_ns <= 105e9)]
        held += abs(inside.mean() - world.mean_w) <= 1.96 * inside.std(ddof=1) / np.sqrt(inside.size)
    assert held / 60 < 0.7
