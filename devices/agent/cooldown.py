"""The cool-down gate of a `burst` job: waits, asleep, until the device is as cool and as quiet as when the job began.

At rest is: hottest zone within `cooldown_degc` of the reference, moving by at most `cooldown_drift` degC per minute (over the
last 60 s; 10 at least, or a third of `cooldown_s`), other processes below 0.3 of the cores. After `cooldown_s` the job goes
on anyway, and says so.
"""

import os
import time
from pathlib import Path
from typing import List, NamedTuple, Optional

from devices.agent import cpu, thermal, trend
from harness import wire

_STEP_S = 2.0
_STEPS_LEAST = 10  # within the longest wait, however short that is
_DRIFT_S, _DRIFT_LEAST_S = (
    60.0,
    10.0,
)  # less than ten seconds of a sensor with coarse steps show no drift, or a huge one
_FOREIGN = 0.3  # of all cores


class Waited(NamedTuple):
    """How the gate was passed, as `wire.WaitEvent` tells it."""

    waited_ns: int
    passed: bool
    reason: str


def wanted(protocol: wire.Protocol) -> bool:
    """Whether jobs of this protocol wait at all: a device that is to be warm never does."""
    return protocol.regime == "burst" and protocol.cooldown_s > 0


def wait(root: Path, protocol: wire.Protocol, reference: Optional[float]) -> Waited:
    """Wait until the device below `root` is cool and quiet; `reference`: its hottest zone when the job began, in degC."""
    began = time.monotonic()
    step = min(_STEP_S, protocol.cooldown_s / _STEPS_LEAST)
    curve: trend.Curve = []
    last = cpu.moment(root)
    while True:
        hottest = thermal.hottest(root)
        if hottest is None or reference is None:
            when = "" if hottest is None else " when the job began"
            return _waited(began, True, "no thermal zone could be read%s: nothing to wait for" % when)
        curve.append((time.monotonic(), hottest))
        now = cpu.moment(root)
        against = _against(curve, reference, cpu.foreign(last, now) if len(curve) > 1 else None, protocol)
        story = "hottest zone %.1f degC, %.1f when the job began" % (hottest, reference)
        if not against:
            return _waited(began, True, story)
        if time.monotonic() - began >= protocol.cooldown_s:
            return _waited(began, False, "%s; after %g s still %s" % (story, protocol.cooldown_s, ", ".join(against)))
        last = now
        time.sleep(step)


def _against(curve: trend.Curve, reference: float, foreign: Optional[float], protocol: wire.Protocol) -> List[str]:
    """What speaks against measuring now. CPU time of others that cannot be told speaks neither way."""
    found = []
    limit = reference + protocol.cooldown_degc
    if curve[-1][1] > limit:
        found.append("above %.1f degC" % limit)
    seen = curve[-1][0] - curve[0][0] >= min(_DRIFT_LEAST_S, protocol.cooldown_s / 3)
    drift = trend.per_minute(trend.last(curve, _DRIFT_S)) if seen else None
    if drift is None or abs(drift) > protocol.cooldown_drift:
        found.append("not yet seen at rest" if drift is None else "moving by %+.1f degC/min" % drift)
    if foreign is not None and foreign >= _FOREIGN * (os.cpu_count() or 1):
        found.append("%.1f cores in use by others" % foreign)
    return found


def _waited(began: float, passed: bool, reason: str) -> Waited:
    return Waited(int((time.monotonic() - began) * 1e9), passed, reason)
