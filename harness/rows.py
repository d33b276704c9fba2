"""Rows: every rung of every ladder, for every runtime and precision, as a case with its reference.

ladders + plan -> one BuildRequest per row -> artifacts -> entries
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness import build
from harness.child import OnProgress
from harness.errors import StoreError
from harness.records import Artifact, Case, Device, Entry, Ladder, Plan, Run


@dataclass(frozen=True)
class _Row:
    """A rung of a ladder on its way to becoming a case: one per runtime and precision."""

    ladder: Ladder
    rung: int
    request: build.BuildRequest


def make(
    plan: Plan, device: Device, ladders: Sequence[Ladder], tell: OnProgress
) -> tuple[tuple[Entry, ...], dict[str, Artifact]]:
    """Build every rung for every runtime and precision; return the ladders' rows as cases, and the artifacts by hash."""
    rows = [
        _Row(
            ladder,
            n,
            build.BuildRequest(
                rung.variant, runtime, precision, plan.batch, build.target_of(device, runtime), plan.options
            ),
        )
        for runtime in plan.runtimes
        for precision in plan.precisions
        for ladder in ladders
        for n, rung in enumerate(ladder.rungs)
    ]
    built = build.build([row.request for row in rows], tell)
    entries = [_entry(plan, row, outcome) for row, outcome in zip(rows, built, strict=True)]
    artifacts = {outcome.sha256: outcome for outcome in built if isinstance(outcome, Artifact)}
    return tuple(_with_references(entries)), artifacts


def _entry(plan: Plan, row: _Row, outcome: Artifact | str) -> Entry:
    """Make a ladder's row a case; its reference is filled in when all rows are known."""
    request = row.request
    failure = outcome if isinstance(outcome, str) else None
    artifact = "" if isinstance(outcome, str) else outcome.sha256
    return Entry(
        case=Case(plan.device, artifact, request.runtime, request.precision, plan.threads, plan.batch, plan.options),
        ladder=row.ladder.name,
        method=row.ladder.method,
        rung=row.rung,
        variant=request.variant.name,
        reference=None,
        ops_executed=None if isinstance(outcome, str) else outcome.ops_executed,
        failure=failure,
    )


def _with_references(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Give each row rung 0 of its own ladder as reference; controls are compared with the first ladder's."""
    heads: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.ladder, entry.case.runtime, entry.case.precision)
        heads.setdefault(key, entry)
    first = entries[0].ladder
    for entry in entries:
        ladder = first if entry.method == "control" else entry.ladder
        head = heads[ladder, entry.case.runtime, entry.case.precision]
        yield replace(entry, reference=None if head.failure else head.case.case_id)


def agree(record: Run, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries to measure: a run that goes on measures what it began with, no more and no less.

    Raises StoreError when a ladder came out different, or when a row that was built then cannot be built now.
    """
    if not record.entries:
        return entries
    ids = [None if entry.failure else entry.case.case_id for entry in entries]
    for old, new, now in zip(record.entries, entries, ids, strict=False):
        if old.failure is None and new.failure is not None:
            raise StoreError(f"{new.ladder} {new.rung} was built before and could not be now: {new.failure}")
        if len(record.entries) != len(entries) or (now not in (None, old.case.case_id) and old.failure is None):
            raise StoreError(
                f"run {record.run}: its ladders came out different this time (cache cleared, and sources or packages changed)",
                "It cannot go on; start a new run.",
            )
    return record.entries
