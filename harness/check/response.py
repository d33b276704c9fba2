"""How a sensor of power answers to a step of load: its rise, its lag, how often it really is anew, its return. Pure.

idle | load on every core | idle        W: level before, plateau of the second half, last half after
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from harness import wire
from harness.check.points import Point

_MAD_TO_SD = 1.4826  # of a normal distribution
_LEAST_SDS, _LEAST_STEPS = 5.0, 3.0  # a rise is one beyond so many sd of idle, and so many steps of the resolution
_REACHED = 0.9  # of the rise: the lag runs until here
_BACK = 0.1  # of the rise: what may be left of it at the end
_SLOWER = 2.0  # times what the sensor's file says of its period: worth a word
_FEW = 3  # readings, of each level

Curve = list[tuple[float, float]]  # s, W


@dataclass(frozen=True)
class Response:
    """A channel's answer to a step of load. Powers in W, times in s; `noise_w`: sd of idle, by its median deviation.

    `lag_s`: from the step until 90 % of the rise; None where it did not rise. `read_s`: median time between two readings,
    `update_s` between two different values; None where none differ.
    """

    channel: wire.Channel
    idle_w: float
    load_w: float
    after_w: float
    noise_w: float
    lag_s: float | None
    read_s: float
    update_s: float | None

    @property
    def rise_w(self) -> float:
        """By how much the load raised it, W."""
        return self.load_w - self.idle_w

    @property
    def rose(self) -> bool:
        """Whether the load is to be seen at all."""
        steps = 0.0 if self.channel.unit == "J" else _LEAST_STEPS * self.channel.resolution
        return self.rise_w > max(_LEAST_SDS * self.noise_w, steps, 0.0)

    @property
    def slower(self) -> bool:
        """Whether new values come more rarely than its file says, though it was read often enough."""
        told = max(self.channel.update_s, self.read_s)
        return bool(self.channel.update_s and self.update_s and self.update_s > _SLOWER * told)

    @property
    def returned(self) -> bool:
        """Whether it came back to idle."""
        return self.after_w - self.idle_w <= max(_BACK * self.rise_w, _LEAST_SDS * self.noise_w)


def response(trace: wire.Trace, load_ns: tuple[int, int]) -> Response | str:
    """Return how a trace answers to a load from `load_ns[0]` to `load_ns[1]`, or why that cannot be said."""
    if trace.gaps:
        first = trace.gaps[0]
        return f"{first.status} in {len(trace.gaps)} of {len(trace.gaps) + len(trace.values)} readings: {first.reason}"
    curve = _power(trace)
    begins, ends = load_ns[0] / 1e9, load_ns[1] / 1e9
    lag = trace.channel.average_s
    before = _levels(curve, float("-inf"), begins)
    during = _levels(curve, (begins + ends) / 2, ends)
    after = _levels(curve, (ends + lag + curve[-1][0]) / 2, float("inf")) if curve else []
    if min(len(before), len(during), len(after)) < _FEW:
        counts = f"{len(before)}, {len(during)} and {len(after)}"
        return f"too few readings before, during and after the load: {counts}, {_FEW} each are needed"
    idle = median(before)
    noise = _MAD_TO_SD * median(abs(value - idle) for value in before)
    read_s = median(now - last for last, now in pairwise(trace.t_ns)) / 1e9
    found = Response(trace.channel, idle, median(during), median(after), noise, None, read_s, _update_s(trace))
    return _with_lag(found, curve, begins) if found.rose else found


def _with_lag(found: Response, curve: Curve, begins: float) -> Response:
    threshold = found.idle_w + _REACHED * found.rise_w
    reached = next((t for t, value in curve if t >= begins and value >= threshold), None)
    return replace(found, lag_s=None if reached is None else reached - begins)


def _power(trace: wire.Trace) -> Curve:
    """Power over time in s and W; of a counter, the slope between one new value and the next, at its end."""
    times = [t / 1e9 for t in trace.t_ns]
    if trace.channel.unit == "W":
        return list(zip(times, trace.values, strict=True))
    new = _news(times, trace.values)
    return [(t, (value - last) / (t - was)) for (was, last), (t, value) in pairwise(new) if t > was]


def _news(times: Sequence[float], values: Sequence[float]) -> Curve:
    """The readings that differ from the one before, and the first."""
    pairs = list(zip(times, values, strict=True))
    return pairs[:1] + [now for last, now in pairwise(pairs) if now[1] != last[1]]


def _update_s(trace: wire.Trace) -> float | None:
    new = _news([t / 1e9 for t in trace.t_ns], trace.values)
    return median(now[0] - last[0] for last, now in pairwise(new)) if len(new) > _FEW else None


def _levels(curve: Curve, begins: float, ends: float) -> list[float]:
    return [value for t, value in curve if begins <= t < ends]


def point(trace: wire.Trace, load_ns: tuple[int, int]) -> Point:
    """Say how a channel answered, with what to do where it did not."""
    channel = trace.channel
    what = f"{channel.sensor} {channel.name}".strip()
    found = response(trace, load_ns)
    if isinstance(found, str):
        return Point(what, found, "missing", "an answer to a load on every core")
    levels = f"{found.idle_w:.2f} W idle, {found.load_w:.2f} W loaded ({channel.scope}, {channel.kind})"
    if not found.rose:
        return Point(what, levels, "differs", "a rise under load", _unmoved(channel))
    rise = f"rises by {found.rise_w:.2f} W" + (f", 90 % of it after {found.lag_s:.2f} s" if found.lag_s else "")
    news = "never a new value" if found.update_s is None else f"a new value every {found.update_s:.3g} s"
    back = "returns to idle" if found.returned else f"stays {found.after_w - found.idle_w:.2f} W above idle"
    words = f"{levels}: {rise}; {news}; {back}"
    if found.slower:
        slower = f"a new value every {channel.update_s:.3g} s"
        return Point(what, words, "differs", slower, "Use longer windows: --window, by as much as it is slower.")
    if not found.returned:
        return Point(what, words, "differs", "idle again", "Something else is running, or it is still warm: try again.")
    return Point(what, words)


def _unmoved(channel: wire.Channel) -> str:
    if channel.scope == "gpu":
        return "The load is on the processors; a card shows its answer only while it computes."
    return "Is it the right rail, meter or plug? It did not see all cores at work."
