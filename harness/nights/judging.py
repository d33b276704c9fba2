"""What is said of tonight's series: confirmed changes, suspected ones, devices to blame. A night's series are judged together.

`stats.changes` decides; here is what it is told of: the least change that counts is what the device's calibration resolved, the
noise no less than a night's own interval or what differs between the device's jobs. A build is not made again the same night,
for the cache has it: what confirms it is that it lasts, over builds of several nights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import store
from harness.errors import StoreError
from harness.nights import series
from harness.nights.past import Past
from harness.nights.series import BUILD, LATENCY, QUANTITIES, SIZE, Case, Cases, Series
from harness.records.nights import Night, RowOutcome, SeriesChange
from harness.stats import changes
from harness.stats.changes import History, Judgement, Rule, Tolerance

if TYPE_CHECKING:
    from harness.calibration import Calibration

DEVICES = tuple(each.name for each in QUANTITIES if each.rule is not None)  # quantities that the device has a part in
_INTERVAL = 2 * 1.96  # standard errors that a 95 % interval is wide
_ONE_EXAMPLE = 0.1  # of an accuracy's interval: about what one example of the test set makes
_FROM_NOTHING = 1e6  # the ratio to a level of 0
_TINY = 1e-300
_SEEMS = "its canary seems to have moved, too"


@dataclass(frozen=True)
class Judged:
    """What is said of a night: what holds, what only seemed so, devices to blame and why. `moved`: both, whoever is to blame.

    `unheard`: devices whose canary says nothing tonight, and why; `waiting`: those of which something waits for it, or because
    the canary seems to have moved itself. `notes`: devices whose calibration cannot be read, and why.
    """

    confirmed: tuple[SeriesChange, ...]
    suspected: tuple[SeriesChange, ...]
    blamed: Mapping[str, str]
    moved: tuple[SeriesChange, ...]
    unheard: Mapping[str, str]
    waiting: Mapping[str, str]
    notes: Mapping[str, str]


def judge(night: Night, past: Past, cases: Cases) -> Judged:
    """Judge a night's series together. Raises StoreError."""
    found = series.tonight(night, past, cases)
    calibrated = {name: _calibration(cases.results, name) for name in sorted({each.row.device for each in found})}
    verdicts = _verdicts(found, {name: known for name, (known, _) in calibrated.items()})
    said = [(_change(each, of), of.state) for each, of in zip(found, verdicts, strict=True) if of.since is not None]
    blamed = {each.row.device: _blame(each) for each, state in said if is_of_device(each) and state == "confirmed"}
    unheard = _unheard(night, zip(found, verdicts, strict=True))
    doubted = {each.row.device: _SEEMS for each, state in said if is_of_device(each) and state == "suspected"}
    doubts = {**unheard, **doubted}
    told = [
        (each, "suspected" if _is_held(each, doubts) else state)
        for each, state in said
        if is_of_device(each) or each.row.device not in blamed
    ]
    held = {each.row.device for each, _ in told if _is_held(each, doubts)}
    return Judged(
        confirmed=tuple(each for each, state in told if state == "confirmed"),
        suspected=tuple(each for each, state in told if state == "suspected"),
        blamed=blamed,
        moved=tuple(each for each, _ in said),
        unheard=unheard,
        waiting={device: doubts[device] for device in sorted(held)},
        notes={name: note for name, (_, note) in calibrated.items() if note},
    )


def is_of_device(change: SeriesChange) -> bool:
    """Whether a change tells of the device: what a canary takes, in time or energy. Its size or accuracy is the program's."""
    return change.row.canary and change.quantity in DEVICES


def _is_held(change: SeriesChange, doubts: Collection[str]) -> bool:
    """Whether to wait a night with a change: nobody knows yet whether it is the device that moved."""
    return change.row.device in doubts and change.quantity in DEVICES and not change.row.canary


def _unheard(night: Night, judged: Iterable[tuple[Series, Judgement]]) -> dict[str, str]:
    """Devices whose canary says nothing tonight, and why: it was not measured, was disturbed, or has too few nights."""
    ranked = sorted(judged, key=lambda pair: pair[1].state != "unjudged")  # one rung that is judged is enough
    told = {each.row.device: of for each, of in ranked if each.row.canary and each.quantity is LATENCY}
    return {
        came.row.device: _silence(came, told.get(came.row.device))
        for came in night.rows
        if came.row.canary and (came.row.device not in told or told[came.row.device].state == "unjudged")
    }


def _silence(canary: RowOutcome, judged: Judgement | None) -> str:
    """Why a canary says nothing."""
    if judged is not None:
        return f"its canary cannot be judged: {judged.reason}"
    why = f"{canary.outcome}: {canary.reason}" if canary.outcome != "measured" else "its run has no latency"
    return f"its canary was not measured, {why}"


def is_worth_another_run(change: SeriesChange) -> bool:
    """Whether a second run can confirm a change: not of a build, which the cache has, nor of what has no noise."""
    return change.quantity in DEVICES


def _verdicts(found: Sequence[Series], calibrations: Mapping[str, Calibration | None]) -> list[Judgement]:
    """One verdict per series: those with noise all together, the others each by itself."""
    noisy = [each for each in found if each.quantity.rule is not None]
    judged = iter(changes.judge([_history(each, calibrations[each.row.device]) for each in noisy]))
    return [next(judged) if each.quantity.rule else _exact(each) for each in found]


def _history(of: Series, calibration: Calibration | None) -> History:
    logs = np.log(np.maximum(np.asarray(of.values, dtype=np.float64), _TINY))
    rule, column = of.quantity.rule or Rule(), of.quantity.column
    if calibration and calibration.resolution and of.quantity is not BUILD:
        rule = replace(rule, least=max(rule.least, calibration.resolution))
    again = float(logs[-1]) if of.quantity is BUILD else None
    if of.again and of.again.get(column):
        again = math.log(max(float(of.again[column]), _TINY))
        logs[-1] = _both(float(logs[-1]), again, of.cases[-1], of.again)
    noise = max(
        _error(of.cases[-1] if of.cases else None, column), (calibration and calibration.between_jobs_sd) or 0.0
    )
    return History(logs, np.asarray(of.usable), of.breaks, again, noise, rule)


def _both(first: float, second: float, case: Case | None, again: Case) -> float:
    """The level of two runs of one night: each weighs as many blocks as it has."""
    weights = [max(int((each or {}).get("blocks") or 0), 1) for each in (case, again)]
    return (first * weights[0] + second * weights[1]) / sum(weights)


def _error(case: Case | None, column: str) -> float:
    """Standard error of a night's value on the log scale, by its interval; 0 where it has none."""
    low, high = ((case or {}).get(f"{column}_{side}") for side in ("low", "high"))
    return math.log(high / low) / _INTERVAL if low and high else 0.0


def _exact(of: Series) -> Judgement:
    return changes.exact(np.asarray(of.values, dtype=np.float64), _tolerance(of), of.breaks)


def _tolerance(of: Series) -> Tolerance:
    """How far a quantity without noise may move: accuracies by one example, or, of another network, by half their interval."""
    if of.quantity is SIZE:
        return changes.BYTES
    if of.quantity.name == "fold error":
        return changes.FOLD_ERROR
    now, start = of.cases[-1], max(of.breaks, default=0)
    first = next((case for case in of.cases[start:-1] if case and case["accuracy"] is not None), None)
    low, high = ((now or {}).get(f"accuracy_{side}") for side in ("low", "high"))
    if now is None or first is None or low is None or high is None:
        return Tolerance()
    same = now["variant"] == first["variant"]
    return Tolerance(absolute=(high - low) * (_ONE_EXAMPLE if same else 0.5))


def _change(of: Series, verdict: Judgement) -> SeriesChange:
    now = of.values[-1]
    start = max(of.breaks, default=0)
    known = [value for value in of.values[start:-1] if not math.isnan(value)]
    exact = of.quantity.rule is None
    before = known[0] if exact else now / (verdict.ratio or 1.0)
    ratio = verdict.ratio if verdict.ratio is not None else _FROM_NOTHING
    worse = (now > before) == of.quantity.more_is_worse
    assert verdict.since is not None
    return SeriesChange(
        row=of.row,
        rung=of.rung,
        quantity=of.quantity.name,
        unit=of.quantity.unit,
        before=before,
        after=now,
        ratio=ratio,
        low=verdict.low,
        high=verdict.high,
        p=None if exact else verdict.p,
        since=of.nights[verdict.since],
        direction="worse" if worse else "better",
    )


def _blame(change: SeriesChange) -> str:
    what = f"{change.quantity} of its canary ({change.row.title}, {change.rung})"
    return f"{what} is {change.ratio:.3f} times what it was, since {change.since}"


def _calibration(results: Path, device: str) -> tuple[Calibration | None, str]:
    """A device's calibration, or why it cannot be read: that is told, and keeps nobody from judging."""
    try:
        return store.load_calibration(results, device), ""
    except StoreError as error:
        return None, f"{error.message}: changes count from {100 * Rule().least:g} % on"
