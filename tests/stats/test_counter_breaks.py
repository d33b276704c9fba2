"""A counter that broke: no energy is taken across the break, be it in the window or between an edge and its next reading."""

from __future__ import annotations

import pytest

from harness import wire
from harness.stats import windows
from harness.stats.readings import Blank, Drawn, Readings

SECOND = 10**9
COUNTER = wire.Channel("rapl", "package-0", "package", "energy_counter", True, 0.001, 6e-5)


def readings(*gaps_s: float) -> Readings:
    """20 s at 10 W, read twice a second; where there is a gap the counter was reset, and what it lost is missing."""
    gaps = tuple(wire.Gap(int(gap * SECOND), "error", "it was reset") for gap in gaps_s)
    times = [n / 2 for n in range(41) if n / 2 not in gaps_s]
    values = [10 * t - 5 * sum(gap < t for gap in gaps_s) for t in times]
    return Readings(wire.Trace(COUNTER, tuple(int(t * SECOND) for t in times), tuple(values), gaps))


@pytest.mark.parametrize("gaps_s", [(10.0,), (15.5,), (15.5, 16.0), (4.5, 5.0)])
def test_a_break_in_the_window_or_beside_its_edge_leaves_no_figure(gaps_s: tuple[float, ...]) -> None:
    blank = windows.energy(readings(*gaps_s), int(5.1 * SECOND), int(15.2 * SECOND))
    assert isinstance(blank, Blank)
    assert (blank.status, blank.reason) == ("error", "it was reset (within a counter's window)")


@pytest.mark.parametrize("gaps_s", [(), (4.0,), (16.5, 17.0)])
def test_a_break_beyond_the_readings_around_a_window_does_not_touch_it(gaps_s: tuple[float, ...]) -> None:
    drawn = windows.energy(readings(*gaps_s), int(5.1 * SECOND), int(15.2 * SECOND))
    assert isinstance(drawn, Drawn) and drawn.energy_j == pytest.approx(101.0, abs=0.01)
