"""Two clocks on one line: the true offset lies within what is stated, and what cannot be aligned is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import clocks
from harness.clocks import Exchange, UnalignedError

S = 10**9
HOUR = 3600 * S


@dataclass(frozen=True)
class Device:
    """A clock that was `ahead_ns` when the controller's showed `since_ns`, and drifts."""

    ahead_ns: int
    drift_ppm: float
    since_ns: int = 0

    def at(self, c_ns: float) -> float:
        return c_ns + self.ahead_ns + (c_ns - self.since_ns) * self.drift_ppm * 1e-6

    def exchange(self, t0_ns: int, there_ns: int, held_ns: int, back_ns: int) -> Exchange:
        received, answered = t0_ns + there_ns, t0_ns + there_ns + held_ns
        return Exchange("boot", t0_ns, round(self.at(received)), round(self.at(answered)), answered + back_ns)


DELAYS = st.tuples(st.integers(1_000, 30_000_000), st.integers(0, 5_000_000), st.integers(1_000, 30_000_000))
GROUPS = st.lists(DELAYS, min_size=1, max_size=20)
DEVICES = st.builds(Device, st.integers(-(10**12), 10**15), st.floats(-50, 50), st.just(10**12))


def groups_of(device: Device, delays: Sequence[Sequence[tuple[int, int, int]]], apart_ns: int) -> list[list[Exchange]]:
    """A group for each of `delays`, so far apart; the exchanges of a group follow each other."""
    made, now = [], device.since_ns
    for group in delays:
        made.append([])
        for delay in group:
            made[-1].append(device.exchange(now, *delay))
            now = made[-1][-1].t3_ns + 1000
        now += apart_ns
    return made


@given(DEVICES, st.lists(GROUPS, min_size=1, max_size=5), st.integers(S, HOUR), st.floats(-0.5, 1.5))
def test_the_true_offset_lies_within_the_bound_everywhere(
    device: Device, delays: list[list[tuple[int, int, int]]], apart_ns: int, part: float
) -> None:
    groups = groups_of(device, delays, apart_ns)
    found = clocks.align(groups)
    first, last = groups[0][0].t0_ns, groups[-1][-1].t3_ns
    moment = round(first + part * (last - first))
    assert abs(found.device_ns(moment) - device.at(moment)) <= found.bound_ns(moment) + 1


@given(DEVICES, GROUPS, GROUPS, st.integers(60 * S, HOUR))
def test_the_drift_that_is_told_is_the_true_one_as_far_as_the_ends_can_tell(
    device: Device, start: list[tuple[int, int, int]], end: list[tuple[int, int, int]], apart_ns: int
) -> None:
    found = clocks.align(groups_of(device, [start, end], apart_ns))
    assert found.drift_ppm is not None
    ends_ns = found.first.within_ns + found.last.within_ns + 2
    assert abs(found.drift_ppm - device.drift_ppm) <= 1e6 * ends_ns / (found.last.at_ns - found.first.at_ns)


@given(DEVICES, GROUPS)
def test_between_groups_the_bound_is_half_of_the_least_time_under_way(
    device: Device, delays: list[tuple[int, int, int]]
) -> None:
    found = clocks.align(groups_of(device, [delays], S))
    half = min(there + back for there, _, back in delays) / 2
    assert half * 0.999 <= found.bound_ns(round(found.first.at_ns)) <= half * 1.001 + 50_000  # drift while it was held


def test_one_group_alone_leaves_the_drift_unknown_and_the_bound_grows_with_the_distance() -> None:
    device = Device(5 * S, 80.0)
    found = clocks.align(groups_of(device, [[(1_000_000, 0, 1_000_000)]], S))
    assert found.drift_ppm is None
    later = round(found.last.at_ns) + 100 * S
    assert found.bound_ns(later) == pytest.approx(1_000_000 + 100 * S * 100e-6, rel=0.01)
    assert abs(found.device_ns(later) - device.at(later)) <= found.bound_ns(later)


def test_a_clock_that_was_slewed_between_the_ends_is_shown_by_an_exchange_in_the_middle() -> None:
    quick = (100_000, 0, 100_000)
    even, slewed = Device(S, 0.0), Device(S + 20_000_000, 0.0)
    ends = [even.exchange(0, *quick)], [even.exchange(200 * S, *quick)]
    middle = [slewed.exchange(100 * S, *quick)]
    assert clocks.align(ends).bound_ns(100 * S) < 200_000
    found = clocks.align([ends[0], middle, ends[1]])
    assert 20_000_000 <= found.bound_ns(100 * S) <= 20_300_000
    assert abs(found.device_ns(100 * S) - slewed.at(100 * S)) <= found.bound_ns(100 * S)


def test_the_same_clock_is_off_by_nothing_however_far_away() -> None:
    same = clocks.Same("boot")
    found = clocks.align([[same.exchange()]])
    assert (found.device_ns(7 * HOUR), found.bound_ns(7 * HOUR), found.drift_ppm) == (7 * HOUR, 0.0, 0.0)


def _good() -> list[list[Exchange]]:
    return groups_of(Device(7 * S, 10.0), [[(10_000, 1_000, 20_000)] * 3] * 2, 60 * S)


def _spoilt(group: int, change: Callable[[Exchange], Exchange]) -> list[list[Exchange]]:
    groups = _good()
    groups[group][1] = change(groups[group][1])
    return groups


REFUSED = {
    "none": ([], "never compared"),
    "boot": (_spoilt(1, lambda e: replace(e, boot="another")), "booted"),
    "longer-there-than-here": (_spoilt(0, lambda e: replace(e, t2_ns=e.t2_ns + 40_000)), "on the device alone"),
    "back-within": (_spoilt(0, lambda e: replace(e, t2_ns=e.t1_ns - 1)), "went back within"),
    "back-between": (_spoilt(1, lambda e: replace(e, t1_ns=5 * S, t2_ns=5 * S + 1000)), "device's clock went back"),
    "controller-back": ([_good()[1], _good()[0]], "controller's clock went back"),
    "suspended": (
        [_good()[0], [replace(e, t1_ns=e.t1_ns + S, t2_ns=e.t2_ns + S) for e in _good()[1]]],
        "a clock jumped by 1000",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_aligned_is_refused_with_the_reason(name: str) -> None:
    groups, reason = REFUSED[name]
    assert clocks.align(_good()).drift_ppm == pytest.approx(10.0, abs=1.0)
    with pytest.raises(UnalignedError, match=reason):
        clocks.align(groups)
