"""Runs of virtual devices without their times: what runs under emulation is equal or not, never fast or slow.

The samples are stored like any other's; no table, figure, finding or comparison is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.records import JobRecord, Operation, Summary

REASON = "a virtual device: its times stand for no real one"
NO_ENERGY = "a virtual device: its passes were made and its meters read, but they stand for no real energy"
_TIMES = ("latency_ns", "speedup")
_RATES = ("macs_per_s", "flops_per_s", "bytes_per_s", "of_compute", "of_copy")
_OF_TIMES: Mapping[str, Any] = {
    "half_widths": {},
    "blocks_needed": {},
    "floor": {},
    "components": {},
    "usage": {},
    "throttling": (),
    "neighbours": {},
    "follows": {},
    "curve": None,
}


def summary(found: Summary) -> Summary:
    """Return a row without its times and energy, and why they are null; a row that has none says why itself."""
    if found.energy_j is not None or found.energy_status == "too-slow":  # the words of the latter tell times
        reasons = {key: why for key, why in found.reasons.items() if key.partition(".")[0] != "energy_j"}
        found = replace(found, energy_j=None, energy_status="virtual", reasons=reasons | {"energy_j": NO_ENERGY})
    if found.latency_ns is None:
        return found
    reasons = {key: why for key, why in found.reasons.items() if key.partition(".")[0] not in _TIMES}
    return replace(
        found,
        latency_ns=None,
        speedup=None,
        contended=0,
        not_steady=0,
        throttled=0,
        reasons=reasons | dict.fromkeys(_TIMES, REASON),
    )


def executed(row: Summary) -> Summary:
    """Return a row without rates and times of what it executed; the operators, MACs and bytes stay."""
    if row.executed is None:
        return row
    timeless: Mapping[str, Any] = dict.fromkeys((*_RATES, "operators_ns", "ceilings"))
    counters = dict.fromkeys(row.executed.counters)
    keys = (*timeless, *(f"counters.{name}" for name in counters))
    reasons = {**row.reasons, **{f"executed.{key}": REASON for key in keys}}
    made = replace(row.executed, **timeless, inferences=0, counters=counters, contended=False)
    return replace(row, executed=made, reasons=reasons)


def operators(told: Mapping[str, tuple[Operation, ...]]) -> dict[str, tuple[Operation, ...]]:
    """Return operators without their times and what follows from them."""
    timeless: Mapping[str, Any] = dict.fromkeys(
        ("time_ns", "share", "macs_per_s", "bytes_per_s", "of_compute", "of_copy", "bound")
    )
    return {case: tuple(replace(each, **timeless) for each in found) for case, found in told.items()}


def record(job: JobRecord) -> JobRecord:
    """Return a job's record without what was made of its times and its power; which passes and meters there were stays."""
    energy = job.energy and replace(job.energy, rate_hz=None, idle_w=None, idle_drift=None, sampler=None)
    return replace(job, **_OF_TIMES, energy=energy)
