"""One fresh process: the unit of replication."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.stats.steady import Change, change, lag1
from harness.wire import ProcessEvent

RESOLUTION_NS = 1.0  # of what is stored

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Process:
    """One fresh process: the timed latencies of a case in ns, in order. Raises ValueError on impossible ones.

    `steady`: its warm-up had settled. `contended`, `throttled`: something else slowed the device meanwhile.
    """

    case_id: str
    block: int
    replicate: int
    attempt: int
    latency_ns: npt.NDArray[Any] | Sequence[int]
    contended: bool = False
    steady: bool = True
    throttled: bool = False

    def __post_init__(self) -> None:
        samples = np.asarray(self.latency_ns, dtype=np.float64)
        if samples.ndim != 1 or samples.size == 0:
            raise ValueError("a process needs at least one latency")
        if not (np.isfinite(samples).all() and samples.min() >= 0):
            raise ValueError("latencies must be finite and not negative")

    @classmethod
    def of(cls, event: ProcessEvent, *, contended: bool | None = None, throttled: bool | None = None) -> Process:
        """The process as its journal event tells it, or as who knows the whole journal judges it."""
        key = (event.case_id, event.block, event.replicate, event.attempt)
        judged = event.contended if contended is None else contended
        slowed = bool(event.throttled) if throttled is None else throttled
        return cls(*key, np.asarray(event.latency_ns), judged, event.steady, slowed)

    @cached_property
    def samples(self) -> Floats:
        """The latencies as floats, ns."""
        return np.asarray(self.latency_ns, dtype=np.float64)

    @cached_property
    def median_ns(self) -> float:
        """Median latency, ns."""
        return float(np.median(self.latency_ns))

    @cached_property
    def log_median(self) -> float:
        """Natural logarithm of the median in ns, at least that of RESOLUTION_NS."""
        return math.log(max(self.median_ns, RESOLUTION_NS))

    @cached_property
    def change(self) -> Change | None:
        """The shift of level within the timed part, None where there is none (`steady.change`)."""
        return change(self.samples)

    @property
    def settled(self) -> bool:
        """Whether the process was steady: its warm-up had ended, and its level did not shift while it was timed."""
        return self.steady and self.change is None

    @cached_property
    def lag1(self) -> float | None:
        """Lag-1 autocorrelation of its inferences (`steady.lag1`)."""
        return lag1(self.samples)


def last_attempts(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Keep, of each (case, block, replicate), the last attempt: earlier ones were disturbed and measured again."""
    last: dict[tuple[str, int, int], Process] = {}
    for process in processes:
        key = (process.case_id, process.block, process.replicate)
        if key not in last or process.attempt > last[key].attempt:
            last[key] = process
    return tuple(last[key] for key in sorted(last))


def by_block(processes: Iterable[Process]) -> dict[int, float]:
    """The median of ln(process median) over the replicates of each block: one odd process of several says nothing."""
    blocks: dict[int, list[float]] = defaultdict(list)
    for process in processes:
        blocks[process.block].append(process.log_median)
    return {block: statistics.median(values) for block, values in blocks.items()}
