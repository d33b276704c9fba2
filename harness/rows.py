"""Rows: every rung of every ladder, for every runtime and precision, as a case with its reference.

ladders + plan -> one BuildRequest per row -> artifacts -> entries
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import build, content, wire
from harness.child import OnProgress
from harness.compress import client
from harness.errors import StoreError
from harness.records import Artifact, Case, Device, Entry, Examples, Ladder, Plan, Run, Rung

EXACT = "fp32"  # its outputs are bound to torch's, and so is its accuracy


@dataclass(frozen=True)
class _Row:
    """A rung of a ladder on its way to becoming a case: one per runtime and precision."""

    ladder: Ladder
    rung: int
    request: build.BuildRequest


def make(
    plan: Plan, device: Device, ladders: Sequence[Ladder], tell: OnProgress
) -> tuple[tuple[Entry, ...], dict[str, Artifact]]:
    """Build every rung for every runtime and precision; return the ladders' rows as cases, and the artifacts by case."""
    examples = _examples(plan, ladders, tell)
    rows = [
        _Row(ladder, n, _request(plan, device, rung, runtime, precision, examples))
        for runtime in plan.runtimes
        for precision in plan.precisions
        for ladder in ladders
        for n, rung in enumerate(ladder.rungs)
    ]
    built = build.build([row.request for row in rows], tell)
    entries = [_entry(plan, row, outcome) for row, outcome in zip(rows, built, strict=True)]
    made = zip(entries, built, strict=True)
    artifacts = {entry.case.case_id: outcome for entry, outcome in made if isinstance(outcome, Artifact)}
    return tuple(_with_references(entries)), artifacts


def _examples(plan: Plan, ladders: Sequence[Ladder], tell: OnProgress) -> Examples | None:
    """Return what artifacts are calibrated and judged on, where any is: all ladders of a plan are of one task."""
    judged = any(rung.accuracy is not None for ladder in ladders for rung in ladder.rungs)
    rounded = [precision for precision in plan.precisions if precision != EXACT]
    if not plan.ladders or not ("int8" in rounded or (rounded and judged)):
        return None
    return client.examples(plan.ladders[0].task, plan.ladders[0].data, tell)


def _request(
    plan: Plan, device: Device, rung: Rung, runtime: str, precision: str, examples: Examples | None
) -> build.BuildRequest:
    """Ask for an artifact; it is judged by its accuracy where it is not fp32 and its network was trained."""
    judged = precision != EXACT and rung.accuracy is not None
    return build.BuildRequest(
        rung.variant,
        runtime,
        precision,
        plan.batch,
        build.target_of(device, runtime, precision),
        options_of(runtime, plan.options),
        calibration=examples.calibration if examples and precision == "int8" else None,
        exam=examples.exam if examples and judged else None,
    )


def options_of(runtime: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that a runtime has, of those given for all runtimes of a plan: they decide what is built."""
    known = content.constant("runtime", runtime, "OPTIONS")
    return {key: value for key, value in options.items() if key in known}


def _entry(plan: Plan, row: _Row, outcome: Artifact | str) -> Entry:
    """Make a ladder's row a case; its reference is filled in when all rows are known."""
    request = row.request
    failure = outcome if isinstance(outcome, str) else None
    artifact = "" if isinstance(outcome, str) else outcome.sha256
    pinned = {key: value for key, value in plan.options.items() if key == wire.CPUS}
    options = {**options_of(request.runtime, plan.options), **pinned}
    return Entry(
        case=Case(plan.device, artifact, request.runtime, request.precision, plan.threads, plan.batch, options),
        ladder=row.ladder.name,
        method=row.ladder.method,
        rung=row.rung,
        variant=request.variant.name,
        reference=None,
        ops_executed=None if isinstance(outcome, str) else outcome.ops_executed,
        failure=failure,
        artifact_accuracy=None if isinstance(outcome, str) else outcome.accuracy,
        no_accuracy="" if isinstance(outcome, str) else outcome.no_accuracy,
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
