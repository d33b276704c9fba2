"""What artifacts lose of their networks' accuracy, and how much more of it than rung 0's artifact. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.records import Summary

_REFERENCE = "rung 0 itself: what others lose is compared with it"


def attach(rows: Sequence[Summary]) -> tuple[Summary, ...]:
    """Return the rows with `artifact_loss` and `artifact_loss_added`, or why there are none."""
    heads = {_family(row): loss(row) for row in reversed(rows) if row.rung == 0}
    return tuple(_with_losses(row, heads.get(_family(row))) for row in rows)


def loss(row: Summary) -> float | None:
    """The accuracy of a row's network in torch less that of its artifact, on the same test split."""
    return None if row.accuracy is None or row.artifact_accuracy is None else row.accuracy - row.artifact_accuracy


def _family(row: Summary) -> tuple[str, ...]:
    return row.ladder, row.runtime, row.precision


def _with_losses(row: Summary, base: float | None) -> Summary:
    lost = loss(row)
    added = None if lost is None or base is None or row.rung == 0 else lost - base
    reasons = dict(row.reasons)
    if lost is None:
        lacking = "accuracy" if row.accuracy is None else "artifact_accuracy"
        reasons |= dict.fromkeys(("artifact_loss", "artifact_loss_added"), row.reasons.get(lacking, f"no {lacking}"))
    elif added is None:
        reasons["artifact_loss_added"] = _REFERENCE if row.rung == 0 else "the artifact of rung 0 has no accuracy"
    return replace(row, artifact_loss=lost, artifact_loss_added=added, reasons=reasons)
