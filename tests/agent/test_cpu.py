"""Who used the processors: from counters before and after, None where they cannot tell."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import write

from devices.agent import cpu, trend, worker
from devices.agent.cpu import Moment


@pytest.mark.parametrize(
    ("before", "after", "child_s", "foreign"),
    [
        (Moment(0, 100, 0, 1), Moment(2, 104, 0, 1.5), 1.5, 1.0),
        (Moment(0, 100, 0, 1), Moment(2, 101, 0, 1.1), 1.0, 0.0),  # ticks are coarse: never below 0
        (Moment(0, None, None, 1), Moment(2, 101, 0, 1.1), 1.0, None),
        (Moment(0, 100, 0, 1), Moment(2, 3, 0, 1.1), 1.0, None),  # the counter was reset
        (Moment(0, 0, 0, 1), Moment(2, 0, 0, 1.1), 1.0, None),  # a counter that stands still is no counter
        (Moment(0, 100, 0, 1), Moment(0, 100, 0, 1), 0.0, None),
    ],
)
def test_what_others_used_is_all_that_was_used_less_our_own(
    before: Moment, after: Moment, child_s: float, foreign: float | None
) -> None:
    assert cpu.foreign(before, after, child_s) == (None if foreign is None else pytest.approx(foreign))


def test_stolen_time_is_a_rate_and_unknown_when_its_counter_goes_back() -> None:
    assert cpu.stolen(Moment(0, 0, 4, 0), Moment(2, 0, 5, 0)) == 0.5
    assert cpu.stolen(Moment(0, 0, 4, 0), Moment(2, 0, 3, 0)) is None
    assert cpu.stolen(Moment(0, 0, None, 0), Moment(2, 0, None, 0)) is None


def stat(pid: int, name: str, ticks: int, parent: int = 1, start: int = 50) -> dict[str, str]:
    middle = " ".join(["0"] * 9)
    return {f"proc/{pid}/stat": f"{pid} ({name}) S {parent} {middle} {ticks} 0 {' '.join(['0'] * 6)} {start} 0\n"}


def test_the_busiest_others_are_named_with_their_cores_without_us_and_our_children(tmp_path: Path) -> None:
    hertz, us = os.sysconf("SC_CLK_TCK"), os.getpid()
    quiet = stat(10, "cc1 (x)", 5) | stat(11, "cc1 (x)", 0) | stat(12, "idle", 9)
    before = cpu.processes(write(tmp_path, quiet | stat(us, "agent", 0) | stat(13, "worker", 0, parent=us)))
    busy = stat(10, "cc1 (x)", 5 + hertz) | stat(11, "cc1 (x)", hertz) | stat(14, "new", hertz // 2)
    after = cpu.processes(write(tmp_path, busy | stat(us, "agent", hertz) | stat(13, "worker", hertz, parent=us)))
    assert [(scope, value) for _, scope, _, _, value, _ in cpu.busiest(before, after, 2.0)] == [
        ("cc1 (x)", 1.0),
        ("new", 0.25),
    ]


def test_a_process_id_that_was_used_anew_counts_from_nothing(tmp_path: Path) -> None:
    before = cpu.processes(write(tmp_path, stat(10, "old", 1000)))
    after = cpu.processes(write(tmp_path, stat(10, "young", os.sysconf("SC_CLK_TCK"), start=99)))
    assert [(r[1], r[4]) for r in cpu.busiest(before, after, 1.0)] == [("young", 1.0)]


def test_a_process_counts_its_own_time_and_switches() -> None:
    before = worker.used()
    time.sleep(0.001)
    sum(range(1_000_000))
    after = worker.used()
    assert after["cpu_ns"] > before["cpu_ns"] and after["switches_voluntary"] > before["switches_voluntary"]


def test_a_trend_is_read_through_the_steps_of_a_coarse_sensor() -> None:
    still = [(2.0 * n, 50.0 + 0.55 * (n % 2)) for n in range(31)]
    rising = [(t, v + t / 60 * 3) for t, v in still]
    level, steep = trend.per_minute(still), trend.per_minute(rising)
    assert level is not None and abs(level) < 0.1 and steep is not None and abs(steep - 3) < 0.1
    assert trend.per_minute(still[:1]) is None and trend.per_minute([]) is None
    assert trend.last(still, 10.0) == still[-6:]


@given(st.floats(-50, 120), st.lists(st.floats(0.01, 3), min_size=2, max_size=20))
def test_what_stands_still_moves_by_exactly_nothing(level: float, waits: list[float]) -> None:
    curve = [(t, level) for t in itertools.accumulate(waits)]
    assert f"{trend.per_minute(curve):+.2f}" == "+0.00"
