"""The latency of one case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.records import Estimate
from harness.stats import widths
from harness.stats.processes import RESOLUTION_NS, Floats, Process, by_block, last_attempts

CONFIDENCE = 0.95  # of the interval of a median
# The smallest n for which a two-sided 95 % order-statistic interval of the quantile exists: q^n <= 0.025.
QUANTILE_SAMPLES: Mapping[str, int] = {"p90": 36, "p95": 72, "p99": 368}

_MEDIAN = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean


def estimate(processes: Iterable[Process], resolution_ns: float = 0.0) -> Estimate:
    """Latency of one case, ns, from all its processes (last attempts count), read on a clock of this resolution.

    `median` is the median of process medians; `low` and `high` its 95 % interval, None below two blocks. Tails, mean
    and sd are of the pooled samples: a tail is None where n cannot bound it (QUANTILE_SAMPLES), sd below two samples.
    Raises ValueError without processes, or when they are of several cases.
    """
    counted = last_attempts(processes)
    if len({process.case_id for process in counted}) != 1:
        raise ValueError("an estimate needs processes, all of one case")
    pooled = np.concatenate([np.asarray(process.latency_ns, dtype=np.float64) for process in counted])
    median = float(np.median([process.median_ns for process in counted]))
    low, high = _median_interval(counted, median, widths.clock(resolution_ns, counted))
    return Estimate(
        median=median,
        low=low,
        high=high,
        p90=_quantile(pooled, "p90"),
        p95=_quantile(pooled, "p95"),
        p99=_quantile(pooled, "p99"),
        mean=float(pooled.mean()),
        sd=float(pooled.std(ddof=1)) if pooled.size > 1 else None,
        samples=int(pooled.size),
        processes=len(counted),
    )


def absent(estimate: Estimate) -> dict[str, str]:
    """Why numbers of an estimate are None, by their key (`latency_ns.p99`), for `Summary.reasons`."""
    reasons = {
        f"latency_ns.{name}": f"n too small: {estimate.samples} samples, a 95 % interval of {name} needs {least}"
        for name, least in QUANTILE_SAMPLES.items()
        if getattr(estimate, name) is None
    }
    if estimate.low is None:
        reasons |= dict.fromkeys(("latency_ns.low", "latency_ns.high"), "one block: an interval needs two")
    if estimate.sd is None:
        reasons["latency_ns.sd"] = "one sample: a standard deviation needs two"
    return reasons


def _median_interval(processes: Sequence[Process], median: float, seen: float) -> tuple[float | None, float | None]:
    mean_width = widths.half_width(np.array(list(by_block(processes).values())), 1 - CONFIDENCE)
    if mean_width is None:
        return None, None
    centre, width = math.log(max(median, RESOLUTION_NS)), max(_MEDIAN * mean_width, seen)
    low, high = math.exp(centre - width), math.exp(centre + width)
    return min(low, median), max(high, median)  # against rounding, and a median below what is stored


def _quantile(pooled: Floats, name: str) -> float | None:
    return float(np.quantile(pooled, int(name[1:]) / 100)) if pooled.size >= QUANTILE_SAMPLES[name] else None
