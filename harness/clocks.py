r"""Two clocks on one line: exchanges of times between controller and device -> offset, drift and a bound. Pure.

    controller   t0 ------------------------------> t3        theta = ((t1 - t0) + (t2 - t3)) / 2   device minus controller
                     \                         /
    device             t1 ----------------> t2                delta = (t3 - t0) - (t2 - t1)         time under way

However the time under way is shared between there and back, theta is off by delta / 2 at most; so of a group of exchanges the
one with the least delta counts (measurement.md, 1.8). Between the first group and the last a line is drawn; those between
them are its check: clocks that a time service slews do not drift evenly. All times are CLOCK_MONOTONIC, in ns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

GROUP = 20
"""Exchanges of a group at either end."""

UNKNOWN_PPM = 100.0
"""How fast two clocks may part where nothing says how fast they do: two bad crystals."""

MOST_PPM = 1000.0
"""How fast they part at most: a kernel lets a time service slew by 500 ppm, and there are two."""


class UnalignedError(ValueError):
    """The clocks cannot be put on one line; the text says why."""


@dataclass(frozen=True)
class Exchange:
    """Controller sends (t0), device receives (t1) and answers (t2), controller receives (t3).

    `boot` is the device's, "" where it is unknown.
    """

    boot: str
    t0_ns: int
    t1_ns: int
    t2_ns: int
    t3_ns: int

    @property
    def offset_ns(self) -> float:
        """Device's clock minus the controller's, theta."""
        return ((self.t1_ns - self.t0_ns) + (self.t2_ns - self.t3_ns)) / 2

    @property
    def under_way_ns(self) -> int:
        """How long question and answer were under way, delta."""
        return (self.t3_ns - self.t0_ns) - (self.t2_ns - self.t1_ns)


class Echo(Protocol):
    """Somebody who answers with the device's time."""

    def exchange(self) -> Exchange:
        """Return one exchange. Raises DeviceError."""


@dataclass(frozen=True)
class Same:
    """A device that is the controller's own machine: one clock, read once for both."""

    boot: str

    def exchange(self) -> Exchange:
        """Return the same time four times."""
        now = time.monotonic_ns()
        return Exchange(self.boot, now, now, now, now)


@dataclass(frozen=True)
class Anchor:
    """The offset at one moment of the controller's clock, and by how much it may be off."""

    at_ns: float
    offset_ns: float
    within_ns: float

    @classmethod
    def of(cls, group: Sequence[Exchange]) -> Anchor:
        """The exchange with the least delta; the clocks part a little while it is under way, too."""
        best = min(group, key=lambda exchange: exchange.under_way_ns)
        took = best.t3_ns - best.t0_ns
        within = best.under_way_ns / 2 + took / 2 * MOST_PPM * 1e-6
        return cls((best.t0_ns + best.t3_ns) / 2, best.offset_ns, within)


@dataclass(frozen=True)
class Alignment:
    """From the controller's clock to the device's: a line between two anchors, level beyond them.

    `within_ns` bounds the error between the anchors; beyond them `beyond_ppm` times the distance is added. `drift_ppm`: how much
    faster the device's clock runs, None where one group alone was to be had.
    """

    boot: str
    first: Anchor
    last: Anchor
    within_ns: float
    beyond_ppm: float
    drift_ppm: float | None

    def device_ns(self, t_ns: int) -> int:
        """Return what the device's clock showed at the controller's `t_ns`."""
        return t_ns + round(_on_line(self.first, self.last, t_ns))

    def bound_ns(self, t_ns: int) -> float:
        """Return by how much `device_ns` may be off there."""
        distance = max(self.first.at_ns - t_ns, t_ns - self.last.at_ns, 0.0)
        return self.within_ns + distance * self.beyond_ppm * 1e-6


def align(groups: Sequence[Sequence[Exchange]]) -> Alignment:
    """Put the clocks on one line by groups of exchanges, in the order they were made; a group may be a single one.

    Raises UnalignedError where there is none, where one contradicts itself, where a clock went back or jumped (a machine
    was suspended, for one), or where the device booted meanwhile.
    """
    groups = [group for group in groups if group]
    if not groups:
        raise UnalignedError("the clocks of controller and device were never compared")
    exchanges = [exchange for group in groups for exchange in group]
    _require_sound(exchanges)
    anchors = [Anchor.of(group) for group in groups]
    for one, next_one in pairwise(anchors):
        _require_steady(one, next_one)
    first, last = anchors[0], anchors[-1]
    drift = _ppm(first, last) if len(anchors) > 1 else None
    if _is_same(exchanges):
        return Alignment(exchanges[0].boot, first, last, 0.0, 0.0, 0.0)
    beyond = max(UNKNOWN_PPM, abs(drift or 0.0))
    return Alignment(exchanges[0].boot, first, last, _within_ns(anchors), beyond, drift)


def _is_same(exchanges: Sequence[Exchange]) -> bool:
    """Whether there is one clock only: no message takes no time at all."""
    return all(e.t0_ns == e.t1_ns == e.t2_ns == e.t3_ns for e in exchanges)


def _on_line(first: Anchor, last: Anchor, t_ns: float) -> float:
    """The offset at `t_ns`: linear between the anchors, level beyond them."""
    if t_ns <= first.at_ns or last.at_ns <= first.at_ns:
        return first.offset_ns
    part = min(1.0, (t_ns - first.at_ns) / (last.at_ns - first.at_ns))
    return first.offset_ns + part * (last.offset_ns - first.offset_ns)


def _within_ns(anchors: Sequence[Anchor]) -> float:
    """The bound between the ends: the worse end's; where an anchor between contradicts the line, what it shows."""
    first, last = anchors[0], anchors[-1]
    ends = max(first.within_ns, last.within_ns)
    shown = [ends]
    for anchor in anchors[1:-1]:
        off = abs(anchor.offset_ns - _on_line(first, last, anchor.at_ns))
        if off > ends + anchor.within_ns:
            shown.append(off + anchor.within_ns)
    return max(shown)


def _ppm(first: Anchor, last: Anchor) -> float:
    return 1e6 * (last.offset_ns - first.offset_ns) / max(1.0, last.at_ns - first.at_ns)


def _require_sound(exchanges: Sequence[Exchange]) -> None:
    if len({exchange.boot for exchange in exchanges}) > 1:
        raise UnalignedError("the device booted while its clock was compared: its times begin anew")
    for exchange in exchanges:
        if exchange.t2_ns < exchange.t1_ns or exchange.t3_ns < exchange.t0_ns:
            raise UnalignedError("a clock went back within an exchange")
        if exchange.under_way_ns < 0:
            raise UnalignedError(
                f"an exchange took {exchange.t3_ns - exchange.t0_ns} ns here and "
                f"{exchange.t2_ns - exchange.t1_ns} ns on the device alone: its clock is coarse or wrong"
            )
    for one, next_one in pairwise(exchanges):
        for whose, before, after in (
            ("the controller's", one.t3_ns, next_one.t0_ns),
            ("the device's", one.t2_ns, next_one.t1_ns),
        ):
            if after < before:
                raise UnalignedError(f"{whose} clock went back between two exchanges")


def _require_steady(one: Anchor, next_one: Anchor) -> None:
    """Raise UnalignedError where two anchors differ by more than clocks drift."""
    moved = abs(next_one.offset_ns - one.offset_ns)
    allowed = one.within_ns + next_one.within_ns + (next_one.at_ns - one.at_ns) * MOST_PPM * 1e-6
    if moved > allowed:
        raise UnalignedError(
            f"a clock jumped by {moved / 1e6:.1f} ms against the other: was the controller or the device suspended?"
        )
