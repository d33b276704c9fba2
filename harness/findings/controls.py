"""Controls that beat a ladder: narrower or shallower networks that were to be had without its method.

A trained control beats a rung where it is clearly faster and not clearly less accurate, or clearly more accurate and not slower
by 2 %, for sure. It beats the ladder where it beats a rung, and every other one is clearly slower than it or clearly less
accurate. Clearly faster: by intervals that do not meet (those that hold for a whole ladder at once), and by more than the
floor. Clearly more accurate: by the paired interval where it is known which examples were right, else by Wilson's two
intervals that do not meet. An untrained control has no accuracy: it is told where it is clearly faster than every rung.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness import stats
from harness.findings.views import (
    TRAINED_CONTROLS,
    Row,
    View,
    cases_of,
    exceeds,
    joint_verdict,
    listing,
    ratio,
    series,
    sure,
    times,
)
from harness.records import Finding, Interval, Ladder, Summary

_NO_RIVALS = (*TRAINED_CONTROLS, "continue")  # what ladders are held against is not held against itself


@dataclass(frozen=True)
class _Duel:
    """A trained control's rung beside one of a ladder: is it faster or slower, more or less accurate, for sure?"""

    rung: Row
    control: Row
    accuracy: Interval | None
    floor: float | None

    @property
    def wins(self) -> bool:
        """Whether the control beats the rung."""
        if self.accuracy is None or self.accuracy.low is None or self.accuracy.high is None:
            return False
        return (self.faster and self.accuracy.high >= 0) or (self.accuracy.low > 0 and self._no_slower)

    @property
    def settled(self) -> bool:
        """Whether the rung is no match for the control: beaten, clearly slower, or clearly less accurate."""
        better = self.accuracy is not None and self.accuracy.low is not None and self.accuracy.low > 0
        return self.wins or self.faster or better

    @property
    def faster(self) -> bool:
        """Whether the control is clearly faster than the rung."""
        return exceeds(sure(self.control.summary), sure(self.rung.summary), self.floor)

    @property
    def _no_slower(self) -> bool:
        control, rung = sure(self.control.summary), sure(self.rung.summary)
        if control is None or rung is None or control.low is None or rung.high is None:
            return False
        return control.low >= (1 - stats.SAME) * rung.high


def trained(view: View, views: Sequence[View]) -> Iterator[Finding]:
    """Trained controls of the same run, task and seed that beat a ladder: one finding, the numbers of the best of them."""
    if view.ladder.method in _NO_RIVALS:
        return
    wins = [
        won
        for other in views
        if _comparable(view, other)
        for row in other.rows
        if row.rung.rung and joint_verdict(row) not in (None, "unclear") and (won := _won(view, other.ladder, row))
    ]
    if wins:
        best = max(wins, key=lambda won: (len(won), ratio(won[0].control.summary)))
        alone = len({other.ladder.seed for other in views}) == 1
        yield _beaten(view, best, [won[0].control for won in wins if won is not best], alone)


def _comparable(view: View, other: View) -> bool:
    """Whether a view is that of a trained control, held against the same full network on the same examples."""
    mine, its = view.ladder, other.ladder
    same = (its.model, its.task, its.seed) == (mine.model, mine.task, mine.seed)
    return its.method in TRAINED_CONTROLS and same and view.base.summary.case_id == other.base.summary.case_id


def _won(view: View, ladder: Ladder, control: Row) -> list[_Duel]:
    """The rungs below full depth that a control beats, the fastest first; none unless it beats the ladder."""
    measured = [row for row in view.rows if row.summary.speedup is not None]
    duels = [_Duel(row, control, _gain(ladder, control, view.ladder, row), view.floor) for row in measured]
    if not all(duel.settled for duel in duels):
        return []
    return sorted((duel for duel in duels if duel.rung.rung.rung and duel.wins), key=lambda d: -ratio(d.rung.summary))


def _gain(ladder: Ladder, control: Row, other: Ladder, row: Row) -> Interval | None:
    """The control's accuracy less the rung's, with an interval; None where one of them is not known.

    Of artifacts of rounded numbers only the counts are known.
    """
    n = ladder.test_examples
    ours, theirs = (_accuracy(each.summary) for each in (control, row))
    if not n or n != other.test_examples or ours is None or theirs is None:
        return None
    rounded = any(each.summary.artifact_accuracy is not None for each in (control, row))
    if control.rung.correct and row.rung.correct and not rounded:
        paired = stats.paired(stats.unpacked(control.rung.correct, n), stats.unpacked(row.rung.correct, n))
        return Interval(paired.difference, paired.low, paired.high)
    first, second = (stats.wilson(round(each * n), n) for each in (ours, theirs))
    return Interval(ours - theirs, first.low - second.high, first.high - second.low)


def _accuracy(summary: Summary) -> float | None:
    """That of the artifact itself where its numbers are rounded."""
    return summary.accuracy if summary.artifact_accuracy is None else summary.artifact_accuracy


def _beaten(view: View, won: Sequence[_Duel], others: Sequence[Row], alone: bool) -> Finding:
    first = won[0]
    control, rung = first.control.summary, first.rung.summary
    fast, slow, gain = sure(control), sure(rung), first.accuracy
    assert fast is not None and slow is not None and gain is not None
    beaten = listing(duel.rung.rung.rung for duel in won)
    also = f" So do {_names(others)}." if len(others) > 1 else f" So does {_names(others)}." if others else ""
    return Finding(
        "control-wins",
        "warning",
        cases_of((first.control, *others, *(duel.rung for duel in won))),
        {
            "ladder": view.ladder.name,
            "runtime": rung.runtime,
            "precision": rung.precision,
            "rungs": beaten,
            "control": control.ladder,
            "control_rung": control.rung,
            "network": control.model,
            "rung": rung.rung,
            "ratio": fast.value,
            "low": fast.low,
            "high": fast.high,
            "rung_ratio": slow.value,
            "rung_low": slow.low,
            "rung_high": slow.high,
            "accuracy": _accuracy(control),
            "rung_accuracy": _accuracy(rung),
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
        },
        f"The trained control {_names([first.control])} beats {view.ladder.name} on {view.place}: it has {times(fast)} the speed "
        f"of the full network; of the rungs that it beats ({beaten}), rung {rung.rung} is the fastest with {times(slow)}, and "
        f"the control's accuracy less that rung's is {_points(gain)}. No rung is both as fast and as accurate.{also}",
        _advice(control, alone),
    )


def _advice(control: Summary, alone: bool) -> str:
    what = "train the shallower network from the start" if control.method == "shallow" else "prune channels"
    more = " One seed is one draw: repeat with --seeds 3 before it is published." if alone else ""
    return f"At this training budget, {what} instead of removing depth, or give both more (--budget-epochs).{more}"


def _names(rows: Sequence[Row]) -> str:
    return series([f"{row.summary.ladder} {row.rung.rung} ({row.summary.model})" for row in rows])


def _points(gain: Interval) -> str:
    low, high = (f"{100 * (each or 0.0):+.2f}" for each in (gain.low, gain.high))
    return f"{100 * gain.value:+.2f} points [{low}, {high}]"


# --- untrained -----------------------------------------------------------------------------------------------------


def untrained(views: Sequence[View]) -> Iterator[Finding]:
    """Untrained controls that are faster than every rung: one finding for the ladders that the same controls beat."""
    groups: dict[tuple[str, ...], list[View]] = {}
    for view in views:
        faster = tuple(each.case_id for each in view.controls if each.case_id and _outruns(each, view))
        if faster and view.ladder.method not in _NO_RIVALS:
            groups.setdefault(faster, []).append(view)
    for cases, beaten in groups.items():
        yield _outrun([each for each in beaten[0].controls if each.case_id in cases], beaten, views)


def _outruns(control: Summary, view: View) -> bool:
    """Whether a control is clearly faster than each measured rung of a ladder whose rung 0 it was held against."""
    measured = [row for row in view.rows if row.summary.speedup is not None]
    decided = control.speedup is not None and control.speedup.verdict == "faster"
    if not decided or control.reference != view.base.summary.case_id or len(measured) < 2:
        return False
    return all(exceeds(sure(control), sure(row.summary), view.floor) for row in measured)


def _outrun(controls: Sequence[Summary], beaten: Sequence[View], views: Sequence[View]) -> Finding:
    rungs = [(view, row) for view in beaten for row in view.rows if row.summary.speedup is not None]
    view, best = max(rungs, key=lambda pair: ratio(pair[1].summary))
    last = min(controls, key=ratio)
    fast, slow = sure(last), sure(best.summary)
    assert fast is not None and slow is not None
    named = series([f"{each.model} ({times(found)})" for each in controls if (found := sure(each)) is not None])
    trained_here = series(
        list(dict.fromkeys(v.ladder.name for v in views if v.ladder.method in TRAINED_CONTROLS)) or [""]
    )
    label = f"{view.ladder.name} {best.rung.rung}"
    rest = f"the fastest rung, {label}, has {times(slow)}" if best.rung.rung else "no rung is faster than that"
    what = "An untrained control is" if len(controls) == 1 else "Untrained controls are"
    return Finding(
        "control-wins",
        "info",
        tuple(each.case_id for each in controls if each.case_id),
        {
            "ladder": series([each.ladder.name for each in beaten]),
            "runtime": best.summary.runtime,
            "precision": best.summary.precision,
            "network": last.model,
            "rung": best.rung.rung,
            "ratio": fast.value,
            "low": fast.low,
            "high": fast.high,
            "rung_ratio": slow.value,
            "rung_low": slow.low,
            "rung_high": slow.high,
            "accuracy": None,
        },
        f"{what} faster on {view.place} than every rung of {series([each.ladder.name for each in beaten])}: {named} the speed "
        f"of the full network; {rest}. How accurate {'it' if len(controls) == 1 else 'they'} would be is unknown.",
        f"Compare with the trained controls of this run ({trained_here}) before a rung is deployed."
        if trained_here
        else "Train such networks with the ladder's budget beside it (--method ...,shallow,narrow) before a rung is deployed.",
    )
