"""Findings about rows without a whole measurement: what failed, what was never reached, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.findings.views import count, listing, named
from harness.records import Finding, JobRecord, Status, Summary

_DETAIL = 300  # characters of what a device or converter said
_BUILD = "build"
_TARGET = (
    "Made for another processor or GPU than the device has: give the device the profile of what it is in the inventory, or "
    "name its `cpu` or `compute_capability` under `target:` in a profile of its own. harness check shows both."
)
_ADVICE: Mapping[str, str] = {
    _BUILD: "The runtime cannot build these networks as they are: try another runtime, precision or option.",
    "wrong-output": "The artifact computes something else than its network: its latency means nothing. Try another "
    "runtime, precision or option.",
    "setting-ignored": "The runtime does not do what it was asked for: drop the option, or name another value.",
    "out-of-memory": "Lower --batch, free memory on the device, or leave these rungs to a larger one.",
    "timeout": "A process took longer than the protocol allows: lower --batch, or look at what holds the device up.",
    "crash": "All that it said stands in the run's jobs/<runtime>/events.jsonl; the others are not touched by it.",
    "illegal-instruction": _TARGET,
    "wrong-target": _TARGET,
    "signal": "A runtime with a bug dies like this: try it with another --option.",
}
_OTHERWISE = "The message names what broke; the other rows are not touched by it."


def failures(summaries: Sequence[Summary], jobs: Sequence[JobRecord]) -> Iterator[Finding]:
    """Rows that failed (an error) or were never measured (a warning), those of one cause as one finding."""
    ended = {job.runtime: job.reason for job in jobs}
    groups: dict[tuple[Status, str, str, str, str], list[Summary]] = {}
    for row in summaries:
        if row.status != "ok":
            key = (row.status, row.runtime, row.precision, row.ladder, _class(row))
            groups.setdefault(key, []).append(row)
    for (status, runtime, _, _, kind), rows in groups.items():
        if status == "failed":
            yield _failed(kind, rows)
        else:
            yield _skipped(ended.get(runtime, "interrupted"), rows)


def _class(row: Summary) -> str:
    """The first word of a cause: what the agent calls it, or `build` where no artifact came to be."""
    if row.status != "failed":
        return ""
    return _BUILD if row.case_id is None else row.reasons["status"].partition(":")[0]


def _failed(kind: str, rows: Sequence[Summary]) -> Finding:
    first = rows[0]
    detail = _plain(first.reasons["status"])
    said = f"{detail}." if len(rows) == 1 else f"{named(rows[:1])}, for instance: {detail}."
    timed = sum(row.latency_ns is not None for row in rows)
    kept = f" {count(timed, 'row')} had been timed before and keep{'s' * (timed == 1)} that latency." if timed else ""
    lost = " Without rung 0 nothing in its ladder has a speed-up." if any(row.rung == 0 for row in rows) else ""
    return Finding(
        "failed",
        "error",
        _cases(rows),
        {**_numbers(rows), "cause": kind, "timed_before": timed},
        f"On {first.runtime}, {first.ladder} {named(rows)} failed: {said}{kept}",
        _ADVICE.get(kind, _OTHERWISE) + lost,
    )


def _skipped(ended: str, rows: Sequence[Summary]) -> Finding:
    advice = "Go on with harness run --resume."
    if ended != "interrupted":
        advice = "Allow a larger --budget, or measure fewer rungs in one run."
    return Finding(
        "skipped",
        "warning",
        _cases(rows),
        {**_numbers(rows), "ended": ended},
        f"On {rows[0].runtime}, {rows[0].ladder} {named(rows)} {'was' if len(rows) == 1 else 'were'} never measured: "
        f"the job ended first ({ended}).",
        advice,
    )


def _numbers(rows: Sequence[Summary]) -> dict[str, float | int | str | None]:
    first, rungs = rows[0], [row.rung for row in rows if row.rung is not None]
    where = {"ladder": first.ladder, "runtime": first.runtime, "precision": first.precision}
    return {**where, "rungs": listing(rungs) if rungs else None, "rows": len(rows)}


def _cases(rows: Sequence[Summary]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.case_id for row in rows if row.case_id))


def _plain(detail: str) -> str:
    """What somebody else said, as one ASCII line of bounded length without its full stop."""
    line = " ".join(detail.encode("ascii", "replace").decode().split())
    return (line if len(line) <= _DETAIL else line[: _DETAIL - 3] + "...").rstrip(".")
