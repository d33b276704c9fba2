"""The latency of one case: median with interval, tails, mean and sd, and what its inferences are worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.records import Estimate, Tail
from harness.stats import resampling, widths
from harness.stats.processes import RESOLUTION_NS, Floats, Process, by_block, last_attempts
from harness.stats.steady import effective
from harness.stats.tails import BOUND_SAMPLES, QUANTILE_SAMPLES, tails

CONFIDENCE = 0.95  # of the interval of a median

_MEDIAN = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean
_TIMES = 2_000  # resamples


def estimate(processes: Iterable[Process], resolution_ns: float = 0.0) -> Estimate:
    """Latency of one case, ns, from all its processes (last attempts count), read on a clock of this resolution.

    `median` is the median of process medians; `low` and `high` its 95 % interval, None below two blocks: Student's t
    on logarithms below `resampling.BLOCKS` blocks, the percentiles of resampled whole blocks from there on. Tails, mean
    and sd are of the pooled samples: a tail is None where n cannot bound it (`tails`), sd below two samples.
    Raises ValueError without processes, or when they are of several cases.
    """
    counted = last_attempts(processes)
    if len({process.case_id for process in counted}) != 1:
        raise ValueError("an estimate needs processes, all of one case")
    pooled = np.concatenate([process.samples for process in counted])
    medians = np.array([process.median_ns for process in counted])
    low, high = _interval(counted, medians, widths.clock(resolution_ns, counted))
    found = tails(counted)
    return Estimate(
        median=float(np.median(medians)),
        low=low,
        high=high,
        p90=found["p90"].value,
        p95=found["p95"].value,
        p99=found["p99"].value,
        mean=float(pooled.mean()),
        sd=float(pooled.std(ddof=1)) if pooled.size > 1 else None,
        samples=int(pooled.size),
        processes=len(counted),
        tails=found,
        **_worth(counted),
    )


def _worth(processes: Sequence[Process]) -> dict[str, float | None]:
    """Lag-1 autocorrelation, the median over processes, and what all samples are worth; None where none has any."""
    known = [process.lag1 for process in processes if process.lag1 is not None]
    if not known:
        return {"lag1": None, "effective_samples": None}
    worth = sum(effective(process.samples.size, process.lag1) for process in processes)
    return {"lag1": float(np.median(known)), "effective_samples": worth}


def _interval(processes: Sequence[Process], medians: Floats, seen: float) -> tuple[float | None, float | None]:
    """Of the median of process medians; never narrower than the clock can see, never without the median itself."""
    median, blocks = float(np.median(medians)), by_block(processes)
    centre = math.log(max(median, RESOLUTION_NS))
    if len(blocks) >= resampling.BLOCKS:
        low, high = _resampled(processes, medians)
        seen_low, seen_high = widths.limits(centre, seen)
        return min(low, seen_low, median), max(high, seen_high, median)
    mean_width = widths.half_width(np.array(list(blocks.values())), 1 - CONFIDENCE)
    if mean_width is None:
        return None, None
    low, high = widths.limits(centre, max(_MEDIAN * mean_width, seen))
    return min(low, median), max(high, median)  # against rounding, and a median below what is stored


def _resampled(processes: Sequence[Process], medians: Floats) -> tuple[float, float]:
    """By percentiles of resampled whole blocks, expanded by what few blocks lack (Hesterberg, Am. Stat. 2015, 4.2).

    The percentiles are those of a normal at -+ t(0.975, n - 1) * sqrt(n / (n - 1)): a resample varies as if n were n - 1.
    """
    from scipy.special import ndtr, stdtrit  # takes longer to import than showing a run takes

    _, block = np.unique([process.block for process in processes], return_inverse=True)
    n = int(block.max()) + 1
    counts = resampling.draws(medians, n, _TIMES)
    beyond = float(ndtr(-stdtrit(n - 1, (1 + CONFIDENCE) / 2) * math.sqrt(n / (n - 1))))
    low, high = np.quantile(resampling.medians(medians, counts[:, block]), (beyond, 1 - beyond))
    return float(low), float(high)


# --- why what is None is None --------------------------------------------------------------------------------------


def absent(estimate: Estimate) -> dict[str, str]:
    """Why numbers of an estimate are None, by their key (`latency_ns.tails.p99.high`), for `Summary.reasons`."""
    reasons = {
        f"latency_ns.{name}": f"n too small: {estimate.samples} samples, a 95 % interval of {name} needs {least}"
        for name, least in QUANTILE_SAMPLES.items()
        if getattr(estimate, name) is None
    }
    for name, tail in estimate.tails.items():
        reasons |= {f"latency_ns.tails.{name}.{key}": why for key, why in _untold(name, tail, estimate.samples).items()}
    if estimate.low is None:
        reasons |= dict.fromkeys(("latency_ns.low", "latency_ns.high"), "one block: an interval needs two")
    if estimate.sd is None:
        reasons["latency_ns.sd"] = "one sample: a standard deviation needs two"
    if estimate.lag1 is None:
        flat = "no process has three latencies that are not all equal: no autocorrelation"
        reasons |= dict.fromkeys(("latency_ns.lag1", "latency_ns.effective_samples"), flat)
    return reasons


def _untold(name: str, tail: Tail, samples: int) -> dict[str, str]:
    """Why parts of a tail are None."""
    few = f"n too small: {samples} samples, a 95 % interval of {name} needs {QUANTILE_SAMPLES[name]}"
    less = (
        f"n too small: {samples} samples that follow each other, in blocks that differ, are worth too few independent "
        f"ones for this limit of {name} ({QUANTILE_SAMPLES[name]} bound it on both sides)"
    )
    one_sided = f"n too small: {samples} samples, a one-sided 99 % bound of {name} needs {BOUND_SAMPLES[name]}"
    whole = few if samples < QUANTILE_SAMPLES[name] else less
    reasons = {"value": few, "low": whole, "high": whole, "bound": one_sided}
    return {key: reason for key, reason in reasons.items() if getattr(tail, key) is None}
