"""Runs of virtual devices without their times: what runs under emulation is equal or not, never fast or slow.

The samples are stored like any other's; no table, figure, finding or comparison is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.records import JobRecord, Summary

REASON = "a virtual device: its times stand for no real one"
_TIMES = ("latency_ns", "speedup")
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
    """Return a row without its times, and why they are null; a row that has none says why itself."""
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


def record(job: JobRecord) -> JobRecord:
    """Return a job's record without what was made of its times."""
    return replace(job, **_OF_TIMES)
