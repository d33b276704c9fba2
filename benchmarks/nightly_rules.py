"""Rules that look at a series night after night: ours, and others' as their sources have them, on the same histories.

- conbench (2023.4.10, `entities/history.py`, `_comparator.py`): tonight lies more than 5 sds of the residuals off the mean of
  the last 100 nights, nights that jump off and back left out.
- asv (0.6.6 itself, `step_detect.py`): a step up by more than 5 % and the fits' error is newly seen in an L1 Potts fit of the
  whole history; 5 % is the default of its `regressions.py`, 2 % is our least change.
- FAI-PEP (`regression_detectors.py`, `delay_detector.py`): tonight's and last night's p50 are above the 90th percentile of
  ten nights' p90s and a tenth of their range.
- ours: `harness.stats.changes.judge` confirms, with its second run.

They are given what is ours: one number a night, nights marked as contended left out. None of them measures again but FAI-PEP,
whose second run would have to pass the same rule. asv and FAI-PEP see slow-downs alone. A p90 is 5 % above its median, as
that of the yardstick is (benchmarks/data).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.histories import Floats, Year
from benchmarks.strangers import environment
from harness.stats import changes

Alarms = npt.NDArray[np.int8]  # [series, nights]: 1 slower, -1 faster, 0 nothing
Rule = Callable[[Year, int], Alarms]
LOOKBACK, Z = 100, 5.0  # conbench: DISTRIBUTION_COMMITS, Z_SCORE
RUNS = 10  # FAI-PEP: nights to compare with
NEEDS = ("asv==0.6.6", "ruptures==1.1.10", "numpy>=2")
CHILD = Path(__file__).resolve().parent / "peers" / "with_steps.py"


@dataclass(frozen=True)
class Told:
    """What our rule said: confirmed changes, and how many of how many judged series-nights were measured again."""

    alarms: Alarms
    suspected: int
    judged: int


def counted(year: Year) -> Floats:
    """The nights' values, NaN where nothing arrived or the run was marked."""
    return np.where(year.usable, year.first, np.nan)


def ours(year: Year, start: int, rule: changes.Rule = changes.TYPICAL) -> Told:
    """Judge all series of each night together, measure the suspected again, judge again; a confirmed change begins a
    segment."""
    values, alarms = year.first.copy(), np.zeros(year.first.shape, dtype=np.int8)
    breaks: list[tuple[int, ...]] = [()] * len(values)
    suspected = judged = 0
    for night in range(start, values.shape[1]):
        series = [
            changes.History(own[: night + 1], usable[: night + 1], cuts, rule=rule)
            for own, usable, cuts in zip(values, year.usable, breaks, strict=True)
        ]
        told = changes.judge(series)
        judged += sum(each.state != "unjudged" for each in told)
        again = [row for row, each in enumerate(told) if each.state == "suspected"]
        suspected += len(again)
        for row in again:
            values[row, night] = (year.first[row, night] + year.again[row, night]) / 2
            series[row] = replace(series[row], again=float(year.again[row, night]))
        for row, each in enumerate(changes.judge(series) if again else ()):
            if each.state == "confirmed" and each.ratio is not None and each.since is not None:
                alarms[row, night] = 1 if each.ratio > 1 else -1
                breaks[row] = (*breaks[row], each.since)
    return Told(alarms, suspected, judged)


def conbench(year: Year, start: int) -> Alarms:
    """The look-back z-score."""
    values = np.exp(counted(year))
    alarms = np.zeros(values.shape, dtype=np.int8)
    for night in range(start, values.shape[1]):
        mean, sd = _distribution(_newest(values[:, :night], LOOKBACK))
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.nan_to_num((values[:, night] - mean) / sd)
        alarms[:, night] = np.sign(z) * (np.abs(z) > Z)
    return alarms


def _newest(values: Floats, width: int) -> Floats:
    """The last `width` known values of each row, NaN before them."""
    order = np.argsort(np.isfinite(values), axis=1, kind="stable")
    kept: Floats = np.take_along_axis(values, order, axis=1)[:, -width:]
    return kept


def _distribution(history: Floats) -> tuple[Floats, Floats]:
    """The mean of what are no outliers, and the sd of their distances from the mean of those before them."""
    kept = np.where(_outliers(history), np.nan, history)
    known = np.isfinite(kept)
    sums, numbers = np.where(known, kept, 0.0).cumsum(axis=1), known.cumsum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        before = np.where(numbers > known, (sums - np.where(known, kept, 0.0)) / (numbers - known), kept)
    mean = sums[:, -1] / numbers[:, -1]
    return mean, np.nanstd(kept - before, axis=1, ddof=1)


def _outliers(history: Floats) -> npt.NDArray[np.bool_]:
    """Nights that jump off and back, by trimmed z-scores of the differences."""
    steps = np.diff(history, axis=1, prepend=np.nan)
    low, high = np.nanquantile(steps, (0.05, 0.95), axis=1)[..., None]
    clipped = np.where((steps < low) | (steps > high), np.nan, steps)
    known = np.isfinite(clipped)
    n = known.cumsum(axis=1)
    total, squares = (np.where(known, each, 0.0).cumsum(axis=1) for each in (clipped, clipped**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        z = (steps - mean) / np.sqrt((squares - n * mean**2) / (n - 1))
        shift = np.abs(z) > Z
    return shift & np.append(shift[:, 1:], np.zeros((len(shift), 1), dtype=bool), axis=1)


def fai_pep(year: Year, start: int) -> Alarms:
    """Two nights in a row above what the p90s of the nights before say."""
    values = np.exp(counted(year))
    spread = np.exp(np.random.default_rng(0).normal(0.05, 0.01, values.shape))
    alarms = np.zeros(values.shape, dtype=np.int8)
    for night in range(start, values.shape[1]):
        newest = _newest(values[:, : night + 1], RUNS + 2)
        p90 = np.sort(newest[:, :RUNS] * spread[:, :RUNS], axis=1)
        limit = p90[:, RUNS * 9 // 10] + (p90[:, -1] - p90[:, 0]) / 10
        tonight = np.isfinite(values[:, night])
        alarms[:, night] = tonight & (newest[:, -1] > limit) & (newest[:, -2] > limit)
    return alarms


def steps(year: Year, start: int) -> Iterator[tuple[str, Alarms]]:
    """asv's steps at its own threshold, and at ours."""
    for name, rows in _asked("asv", counted(year), start).items():
        yield name, np.array(rows, dtype=np.int8)


def ruptures(logs: Floats) -> list[list[int]]:
    """Where ruptures' PELT cuts each series: positions of nights."""
    cuts: list[list[int]] = _asked("ruptures", logs, 0)["ruptures"]
    return cuts


def _asked(what: str, logs: Floats, start: int) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, logs)
        command = [str(environment("steps", NEEDS)), str(CHILD), what, file.name, str(start)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
