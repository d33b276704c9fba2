"""How a device stands at the moment, as its agent told it: room, clock, lock, heat, sensors. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from harness import energy
from harness.check.points import Point, Said, bytes_said, listed
from harness.records import Device
from harness.text import printable
from harness.transport import ROOM_BYTES

_DISK_BYTES = 2_000_000_000
_MEMORY_BYTES = 250_000_000
_HOT_DEGC = 70.0  # boards slow down from 80 degC on, some from 60
_CLOCK_S = 1.0
_NEVER_SET_NS = 1_577_836_800 * 10**9  # 2020: a clock before that was never set


def standing(seen: Mapping[str, Any], now_ns: int) -> tuple[Point, ...]:
    """Return a point for each thing that `look` has seen; `now_ns` is this machine's clock when the answer had come."""
    said = Said(seen)
    return (
        *_disk(said),
        _memory(said),
        _clock(said, now_ns),
        _holder(said),
        *_throttling(said.inner("throttling")),
        *_heat(said),
    )


def _disk(said: Said) -> Iterator[Point]:
    """The workdir: whether it can be written, and how much."""
    where, free, total = said.text("workdir") or "workdir", said.number("free_bytes"), said.number("total_bytes")
    hint = "Make room there, or give the device another `workdir` in the inventory."
    if said.answer.get("writable") is not True:
        reason = said.text("writable") or "it cannot be written"
        yield Point("workdir", f"{where}: {reason}", "differs", "a folder that can be written", hint, stops=True)
    if free is None:
        yield Point("disk", "it does not tell", "unknown", f"{bytes_said(_DISK_BYTES)} free")
        return
    found = f"{bytes_said(free)} free" + (f" of {bytes_said(total)}" if total else "") + f" at {where}"
    if free < _DISK_BYTES:
        expected = f"{bytes_said(_DISK_BYTES)} free"
        yield Point("disk", found, "differs", expected, hint, stops=free < ROOM_BYTES)
    else:
        yield Point("disk", found)


def _memory(said: Said) -> Point:
    total, free = said.inner("facts").number("memory_bytes"), said.number("memory_available_bytes")
    if total is None or free is None:
        return Point("memory", "it does not tell", "unknown")
    found = f"{bytes_said(free)} free of {bytes_said(total)}"
    if free < _MEMORY_BYTES:
        advice = "Stop what else runs there, a desktop for one: a network that does not fit is killed."
        return Point("memory", found, "differs", f"{bytes_said(_MEMORY_BYTES)} free", advice)
    return Point("memory", found)


def _clock(said: Said, now_ns: int) -> Point:
    """Its clock against ours: it was read within the round trip, so half of that is the bound of the offset's error."""
    there, trip = said.number("clock_ns"), said.number("round_trip_ns")
    if there is None or trip is None:
        return Point("clock", "it does not tell", "unknown")
    bound_s = trip / 2e9
    offset_s = (there - (now_ns - trip / 2)) / 1e9
    advice = "Set it, `sudo timedatectl set-ntp true` for one. Latency is measured by another clock, dates are told by this one."
    expected = "this machine's, to a second"
    if there < _NEVER_SET_NS:
        found = f"{_date(there)}: it was never set"
        return Point("clock", found, "differs", expected, advice)
    way = "ahead" if offset_s > 0 else "behind"
    apart = "as this machine's" if abs(offset_s) <= bound_s else f"{abs(offset_s):.3g} s {way}"
    found = f"{apart}, give or take {bound_s:.2g} s"
    if abs(offset_s) > _CLOCK_S + bound_s:
        return Point("clock", found, "differs", expected, advice)
    return Point("clock", found)


def _date(clock_ns: float) -> str:
    try:
        return f"{datetime.fromtimestamp(clock_ns / 1e9, UTC):%Y-%m-%d}"
    except (OverflowError, OSError, ValueError):
        return f"{clock_ns / 1e9:.3g} s after 1970"


def _holder(said: Said) -> Point:
    """Who is at work on it, and for how long, by the device's own clock."""
    if said.answer.get("holder") is None:
        return Point("lock", "free")
    holder = said.inner("holder")
    run, owner, job = (holder.text(key) or "?" for key in ("run", "owner", "job"))
    found = f"held by run {run} of {owner} (job {job})" if holder.text("run") else "held by another agent"
    since, clock = holder.number("since"), said.number("clock_ns")
    if since is not None and clock is not None:
        found += f" for {max(0.0, clock / 1e9 - since) / 60:.0f} min"
    advice = "`harness run --wait` waits for it, --steal ends it. Its runtimes were not tried: that would disturb it."
    return Point("lock", found, "differs", "free", advice, stops=True)


def _throttling(said: Said) -> Iterator[Point]:
    now, before = said.texts("now"), said.texts("since_boot")
    reasons = said.inner("reasons")
    if now:
        advice = "A better supply or more cooling, then look again: what is measured meanwhile does not count."
        yield Point("throttling", listed(now, "; "), "differs", "none", advice)
    if before:
        advice = "While a sign stands, the same cannot be seen again: mend it, and start the device anew."
        yield Point("since boot", listed(before), "differs", "none", advice)
    if not now and said.answer.get("readable") is True:
        yield Point("throttling", "none")
    elif not now:
        found = listed(list(filter(None, map(reasons.text, reasons.answer))), "; ") or "it does not tell"
        yield Point("throttling", found, "unknown", None, "A clock that falls is seen by the spin that is timed alone.")


def _heat(said: Said) -> Iterator[Point]:
    degrees, fan = said.inner("facts").number("hottest_degc"), said.inner("fan")
    if degrees is None:
        yield Point("temperature", "no thermal zone tells one", "unknown")
    elif degrees > _HOT_DEGC:
        yield Point(
            "temperature", f"{degrees:.0f} degC", "differs", f"below {_HOT_DEGC:.0f} degC", "Let it cool, or cool it."
        )
    else:
        yield Point("temperature", f"{degrees:.0f} degC")
    profile = fan.text("profile")
    words = [f"profile {profile}"] if profile else []
    for key, unit in (("pwm", "/255"), ("speed_rpm", " rpm")):
        words += [f"{printable(name)} {value:g}{unit}" for name, value in fan.inner(key).numbers()]
    if words:
        yield Point("fan", listed(words))


def sensors(device: Device, found: energy.Found) -> tuple[Point, ...]:
    """Return whether each of the device's sensors can be read, as it was `found`: there, or from here."""
    if not device.sensors:
        return (Point("sensors", "none: attach a meter and name it in the inventory, or energy is null"),)
    meters = energy.usable(device, found)
    return tuple(_sensor(name, *found[name], meters) for name in device.sensors)


def _sensor(name: str, status: str, reason: str, meters: energy.Meters) -> Point:
    """A sensor that is not needed, since another one is read, is no trouble."""
    what, more = f"sensor {name}", f": {reason}" if reason else ""
    if status == "ok":
        unused = meters.left_out.get(name)
        read = f"not used: {unused}" if unused else f"readable{' from here' * (name in meters.controller)}{more}"
        return Point(what, read)
    without = f"Energy is measured by {' and '.join(meters.names)}." if meters.names else "Energy is null without it."
    return Point(what, f"{status}{more}", "missing", "readable", without)
