"""What a night's devices work on: rows with their plans, and what all devices share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.nights.book import Book
from harness.nights.machine import Machine
from harness.nights.matrix import Laid
from harness.nights.past import Past
from harness.records import Plan
from harness.records.nights import Outcome, PlannedRow, RowOutcome


@dataclass(frozen=True)
class Task:
    """A row with its plan, and what is to be done about it tonight."""

    laid: Laid
    planned: PlannedRow

    @property
    def plan(self) -> Plan:
        """The plan of a row that is not excluded."""
        assert self.laid.plan is not None
        return self.laid.plan


@dataclass(frozen=True)
class Shared:
    """What the nights of all devices share."""

    results: Path
    book: Book
    past: Past
    machine: Machine
    budget_s: float
    command: tuple[str, ...]


def outcome_of(
    task: Task, past: Past, outcome: Outcome, reason: str, run: str | None, seconds: float | None
) -> RowOutcome:
    """Return what came of a row, with what earlier nights say of it."""
    key = task.planned.row.key
    once = past.measured(key)
    return RowOutcome(
        row=task.planned.row,
        outcome=outcome,
        reason=reason,
        run=run,
        seconds=None if seconds is None else round(seconds, 3),
        new=not past.of(key),
        failed_before=past.failed(key),
        last=once.night.night if once else None,
    )
