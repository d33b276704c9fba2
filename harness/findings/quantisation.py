"""What rounding the numbers of a network costs in accuracy, and whether folding adds to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.findings.views import Row, View, cases_of, listing, percent
from harness.records import Finding

_Z = 1.96  # of a 95 % interval
_FORMATS = {"fp16": "float16"}  # as folding calls the formats in which merged weights suffer


def worse_after_folding(view: View) -> Iterator[Finding]:
    """Rungs whose artifact loses more of torch's accuracy than that of rung 0 does, by more than the test split resolves."""
    n, base = view.ladder.test_examples, view.base
    before = base.summary.artifact_loss
    if not n or before is None:
        return
    worse = [row for row in view.rows if _beyond(row, base, n)]
    if not worse:
        return
    worst = max(worse, key=lambda row: row.summary.artifact_loss_added or 0.0)
    now = worst.summary
    added, lost, least = now.artifact_loss_added or 0.0, now.artifact_loss or 0.0, _resolved_by(worst, base, n)
    yield Finding(
        "quantisation-worse-after-folding",
        "warning",
        cases_of(worse),
        {
            "ladder": view.ladder.name,
            "runtime": now.runtime,
            "precision": now.precision,
            "rungs": listing(row.rung.rung for row in worse),
            "worst_rung": worst.rung.rung,
            "loss_before": before,
            "loss_after": lost,
            "loss_added": added,
            "resolution": least,
            "test_examples": n,
        },
        f"Built in {now.precision}, rung {worst.rung.rung} gets {percent(lost)} fewer of the test examples right than in "
        f"torch, rung 0 {percent(before)}: {percent(added)} more are lost; {n} examples resolve {percent(least)}. "
        f"{_why(worst)}",
        _advice(view, worse),
    )


def resolution(accuracies: Sequence[float], n: int) -> float:
    """Return the half-width of the 95 % interval of a difference of differences of four accuracies on n examples each.

    Price and Bonett (2004), for a linear function of binomial proportions: half a success and half a failure is added to
    each of the four, then 1.96 sqrt(sum p (1 - p) / (n + 1)). The examples are the same in all four, which are therefore
    alike: the true error is smaller, and a loss that is found is one.
    """
    adjusted = [(accuracy * n + 0.5) / (n + 1) for accuracy in accuracies]
    return _Z * math.sqrt(sum(p * (1 - p) for p in adjusted) / (n + 1))


def _resolved_by(row: Row, base: Row, n: int) -> float:
    pairs = [(each.summary.accuracy, each.summary.artifact_accuracy) for each in (row, base)]
    return resolution([accuracy for pair in pairs for accuracy in pair if accuracy is not None], n)


def _beyond(row: Row, base: Row, n: int) -> bool:
    added = row.summary.artifact_loss_added
    return added is not None and added > _resolved_by(row, base, n)


def _why(row: Row) -> str:
    """Which merged layers' weights lie worse within the format than those of the layers that they replaced."""
    precision = row.summary.precision
    format_ = _FORMATS.get(precision, precision)
    suffers = [
        group.path for group in row.rung.groups if any(suffering.startswith(format_) for suffering in group.suffers)
    ]
    if not suffers:
        return "No merged layer's weights alone explain it: look at the ranges of what lies between the layers."
    more = f" and {len(suffers) - 1} more" if len(suffers) > 1 else ""
    return f"The weights of the merged {suffers[0]}{more} round worse than those of the layers replaced."


def _advice(view: View, worse: Sequence[Row]) -> str:
    first = min(row.rung.rung for row in worse)
    kept = max((row.rung.rung for row in view.rows if row.rung.rung < first), default=0)
    return (
        f"Rung {kept} is the last before a clear loss at {view.base.summary.precision}; beyond it, keep the merged layers in "
        "a wider format, give each channel a scale of its own, or quantise rung 0 instead."
    )
