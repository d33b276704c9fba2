"""Loads a device with one case until it is as warm as it gets: how a `sustained` job begins."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from devices.agent import thermal, trend
from devices.agent.journal import now_ns
from devices.agent.launch import Outcome
from harness import wire

_PROCESS_S = 5.0
_LEVEL_S = 60.0  # the temperature must be level so long
_LEVEL_LATENCY_S, _LEVEL_LATENCY = 30.0, 0.02  # without a thermometer: the latency so long, within this fraction
_FRESH_S = 60.0  # a device that was loaded so recently is still warm

Run = Callable[[wire.Protocol, Callable[[], None]], Outcome]


class Second(NamedTuple):
    """About a second of load."""

    at_ns: int
    median_ns: int
    hottest_degc: Optional[float]


def case_of(job: wire.Job) -> wire.JobCase:
    """The case that loads the device: the first comparison's reference, else the first case."""
    wanted = job.comparisons[0][1] if job.comparisons else job.cases[0].case_id
    return next(case for case in job.cases if case.case_id == wanted)


def still_warm(past: List[wire.Event], boot_id: Any) -> bool:
    """Whether a job that goes on was soaked, and worked, so recently in the same boot that it need not be again."""
    starts = [event for event in past if isinstance(event, wire.StartEvent)]
    if not starts or boot_id is None or starts[-1].facts.get("boot_id") != boot_id:
        return False
    boot = len(past) - next(
        (
            n
            for n, event in enumerate(reversed(past))
            if isinstance(event, wire.StartEvent) and event.facts.get("boot_id") != boot_id
        ),
        len(past),
    )
    loads = [event for event in past[boot:] if isinstance(event, (wire.SoakEvent, wire.ProcessEvent))]
    soaked = any(isinstance(event, wire.SoakEvent) for event in loads)
    return soaked and now_ns() - loads[-1].t_ns < _FRESH_S * 1e9


def soak(root: Path, protocol: wire.Protocol, run: Run) -> Dict[str, Any]:
    """Load the device until it is level, at most `soak_s`; `run` measures a process. Returns fields of a SoakEvent."""
    end = time.monotonic() + protocol.soak_s
    seconds: List[Second] = []
    while True:
        length = max(0.1, min(_PROCESS_S, protocol.soak_s / 4, end - time.monotonic()))
        heat: List[Tuple[int, float]] = []
        outcome = run(_loading(protocol, length), partial(_feel, root, heat))
        _feel(root, heat)
        if outcome.result is None:
            return _told(seconds, False, "the load failed: %s: %s" % (outcome.cause, outcome.detail))
        seconds += _by_second(outcome.result, heat)
        level, how = _level(seconds, protocol)
        if level or time.monotonic() >= end:
            return _told(seconds, level, how)


def _loading(protocol: wire.Protocol, seconds: float) -> wire.Protocol:
    """The protocol for a process that only loads: all in one stretch, hardly any warm-up."""
    loading = replace(protocol, timed_s=seconds, min_samples=1, max_samples=wire.MAX_SAMPLES)
    return replace(loading, warmup_window_s=0.001, warmup_cap_s=0.003)


def _feel(root: Path, into: List[Tuple[int, float]]) -> None:
    hottest = thermal.hottest(root)
    if hottest is not None:
        into.append((now_ns(), hottest))


def _by_second(result: Dict[str, Any], heat: List[Tuple[int, float]]) -> List[Second]:
    """The median of each second of a process, and the temperature read nearest to it."""
    groups: Dict[int, List[int]] = {}
    first = result["start_ns"][0]
    for start, latency in zip(result["start_ns"], result["latency_ns"]):
        groups.setdefault((start - first) // 1_000_000_000, []).append(latency)
    found = []
    for n in sorted(groups):
        at = first + n * 1_000_000_000
        nearest = min(heat, key=lambda felt: abs(felt[0] - at), default=None)
        found.append(Second(at, int(median(groups[n])), nearest[1] if nearest else None))
    return found


def _level(seconds: List[Second], protocol: wire.Protocol) -> Tuple[bool, str]:
    """Whether the device has come to rest, by its hottest zone, else by its latency; and how it stands."""
    heat = [(second.at_ns / 1e9, second.hottest_degc) for second in seconds if second.hottest_degc is not None]
    if heat:
        window = min(_LEVEL_S, protocol.soak_s / 3)
        drift = trend.per_minute(trend.last(heat, window)) if heat[-1][0] - heat[0][0] >= window else None
        if drift is None:
            return False, "hottest zone %.1f degC, loaded for less than %g s" % (heat[-1][1], window)
        told = "hottest zone %.1f degC, moving by %+.2f degC/min" % (heat[-1][1], drift)
        return abs(drift) <= protocol.cooldown_drift, told
    return _level_latency([(second.at_ns / 1e9, float(second.median_ns)) for second in seconds], protocol)


def _level_latency(curve: trend.Curve, protocol: wire.Protocol) -> Tuple[bool, str]:
    window = min(_LEVEL_LATENCY_S, protocol.soak_s / 3)
    recent = [value for _, value in trend.last(curve, window)]
    if len(recent) < 2 or curve[-1][0] - curve[0][0] < window:
        return False, "no thermal zone; loaded for less than %g s" % window
    half = len(recent) // 2
    moved = abs(median(recent[half:]) / median(recent[:half]) - 1)
    return moved < _LEVEL_LATENCY, "no thermal zone; the latency moved by %.1f %% within %g s" % (100 * moved, window)


def _told(seconds: List[Second], plateau: bool, reason: str) -> Dict[str, Any]:
    columns = tuple(zip(*seconds)) or ((), (), ())
    return {
        **dict(zip(Second._fields, columns)),
        "plateau": plateau,
        "reason": reason,
    }
