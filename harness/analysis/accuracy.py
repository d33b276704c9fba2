"""What accuracies are worth: their intervals, and each against the full network that was trained for as long. Pure.

All ladders of a run saw the same test examples, so a rung is compared with a rung of the control `continue` of its own
seed, example by example: with the one of as many epochs, else with the first that had more, as `--delta` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness import stats
from harness.findings.views import count
from harness.records import Ladder, PairedAccuracy, Rung, Summary

Controls = Mapping[tuple[str, str | None, int], Ladder]  # by model, task and seed

CONTROL = "continue"
_NO_BITS = "which examples were right was not recorded: made by an older version"


def attach(rows: Sequence[Summary], ladders: Sequence[Ladder]) -> tuple[Summary, ...]:
    """Return the rows with `accuracy_interval` and `accuracy_vs_continue`, or why there are none."""
    known = {ladder.name: ladder for ladder in ladders}
    controls = {(each.model, each.task, each.seed): each for each in ladders if each.method == CONTROL}
    return tuple(_with_accuracy(row, known[row.ladder], controls) for row in rows)


def _with_accuracy(row: Summary, ladder: Ladder, controls: Controls) -> Summary:
    if row.accuracy is None or row.rung is None:
        why = row.reasons.get("accuracy", "no accuracy")
        reasons = dict.fromkeys(("accuracy_interval", "accuracy_vs_continue"), why)
        return replace(row, reasons={**row.reasons, **reasons})
    examples, reasons = ladder.test_examples, dict(row.reasons)
    if not examples:
        reasons["accuracy_interval"] = "the size of the test part was not recorded: made by an older version"
    against = _against(ladder, row.rung, controls.get((ladder.model, ladder.task, ladder.seed)))
    if isinstance(against, str):
        reasons["accuracy_vs_continue"] = against
    return replace(
        row,
        accuracy_interval=stats.wilson(round(row.accuracy * examples), examples) if examples else None,
        accuracy_vs_continue=None if isinstance(against, str) else against,
        reasons=reasons,
    )


def _against(ladder: Ladder, number: int, control: Ladder | None) -> PairedAccuracy | str:
    """A rung's accuracy against that of the control, or why there is no comparison."""
    if ladder.method == CONTROL:
        return f"the control {CONTROL} itself"
    if number == 0:
        return f"full depth: what {CONTROL} goes on from"
    if control is None:
        return f"the run has no ladder {CONTROL} of this seed: name it by --method, too"
    rung = next(each for each in ladder.rungs if each.rung == number)
    other = partner(rung, control)
    if other is None:
        longest = max(each.epochs or 0 for each in control.rungs)
        return f"{CONTROL} was trained for {count(longest, 'epoch')} at most, this rung for {rung.epochs or 'unknown'}"
    ours, theirs = answers(ladder, rung), answers(control, other)
    return _NO_BITS if ours is None or theirs is None else stats.paired(ours, theirs)


def answers(ladder: Ladder, rung: Rung) -> stats.Bits | None:
    """Which test examples a rung has right; None where that was not recorded."""
    return stats.unpacked(rung.correct, ladder.test_examples) if rung.correct and ladder.test_examples else None


def partner(rung: Rung, control: Ladder) -> Rung | None:
    """Return the control's first rung below full depth that had as many epochs as `rung`, or more; None: it has none."""
    enough = (each for each in control.rungs if each.rung and each.epochs and each.epochs >= (rung.epochs or 0))
    return next(enough, None) if rung.epochs else None
