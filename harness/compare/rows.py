"""The rows of two runs brought together, and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import stats
from harness.compare.energy import energies
from harness.compare.facts import OF_THE_NETWORK
from harness.compare.records import Measured, Row
from harness.compare.taken import Taken
from harness.records import ONNX, Summary
from harness.stats.across import Across, Side, across

_TWICE = "several rows of a run answer to that name"

Pair = tuple[str, str | None, str, str | None]  # runtime and case in A, in B
_Name = tuple[Any, ...]


@dataclass(frozen=True)
class _Match:
    """A row of A and its like in B; `reason`: why they cannot be compared."""

    a: Summary | None
    b: Summary | None
    reason: str | None = None

    @property
    def pair(self) -> Pair | None:
        """The two cases, where they can be compared: rows of several ladders may share them."""
        if self.a is None or self.b is None or self.reason is not None:
            return None
        return self.a.runtime, self.a.case_id, self.b.runtime, self.b.case_id


def rows(a: Taken, b: Taken, waived: Collection[str]) -> tuple[tuple[Row, ...], float | None]:
    """Return all rows of both runs, compared where both have one, and the floor between the runs (`across`)."""
    matches = tuple(_matches(a, b, waived))
    pairs = {match.pair: _sides(a, b, match.pair) for match in matches if match.pair is not None}
    device_is_the_same = set(waived) <= set(OF_THE_NETWORK)
    alike = {match.pair for match in matches if match.pair is not None and _same_artifact(a, b, match)}
    compared, between = across(pairs, alike if device_is_the_same else set())
    metered = energies([(match.a, match.b) if match.pair else (None, None) for match in matches])
    found = tuple(
        replace(
            _row(a, b, match, compared.get(match.pair) if match.pair else None), energy=energy, energy_reason=reason
        )
        for match, (energy, reason) in zip(matches, metered, strict=True)
    )
    return found, between


def _row(a: Taken, b: Taken, match: _Match, ratio: Across | None) -> Row:
    known = match.a or match.b
    assert known is not None  # a match has at least one side
    return Row(
        label=_label(known),
        ladder=known.ladder,
        rung=known.rung,
        model=known.model,
        task=known.task,
        method=known.method,
        runtime=known.runtime,
        precision=known.precision,
        a=_measured(match.a),
        b=_measured(match.b),
        same_artifact=_same_artifact(a, b, match),
        ratio=ratio,
        reason=match.reason,
    )


def _label(row: Summary) -> str:
    """A row's rung; what was given by name stands under its name, whatever its place."""
    return row.model if row.rung is None or row.method == ONNX else str(row.rung)


def _measured(row: Summary | None) -> Measured | None:
    if row is None:
        return None
    return Measured(row.case_id, row.status, row.latency_ns, row.blocks, row.contended, row.throttled)


def _same_artifact(a: Taken, b: Taken, match: _Match) -> bool | None:
    ours = a.artifact(match.a.case_id) if match.a else None
    theirs = b.artifact(match.b.case_id) if match.b else None
    return None if ours is None or theirs is None else ours == theirs


# --- which row is which --------------------------------------------------------------------------------------------


def _matches(a: Taken, b: Taken, waived: Collection[str]) -> Iterator[_Match]:
    """Every row of A with its like in B, then what only B has."""
    ours = [(_name(row, waived), row) for row in a.run.cases]
    theirs = [(_name(row, waived), row) for row in b.run.cases]
    counts = [Counter(name for name, _ in rows) for rows in (ours, theirs)]
    once = {name: row for name, row in theirs if counts[1][name] == 1 and counts[0][name] == 1}
    for name, row in ours:
        other = once.get(name)
        yield _Match(row, other, _why_not(row, other) if other else _only("A", row, counts, name))
    for name, row in theirs:
        if name not in once:
            yield _Match(None, row, _only("B", row, counts, name))


def _name(row: Summary, waived: Collection[str]) -> _Name:
    """What makes a row the same row in another run. What was waived makes no difference; of another method only rung 0 does.

    Ladders are named by their method, models and tasks in different runs; controls and given networks by their own names.
    """
    said: dict[str, str | None] = {"runtime": row.runtime, "precision": row.precision}
    if row.method == "control":
        said["control"] = row.model
    else:
        said |= {"model": row.model, "task": row.task}
        if row.rung or "method" not in waived:
            said["ladder"] = row.ladder
    place = None if row.method == ONNX else row.rung  # of a given network it is the order of flags
    return (place, *((key, value) for key, value in said.items() if key not in waived))


def _only(run: str, row: Summary, counts: Sequence[Counter[_Name]], name: _Name) -> str:
    if all(count[name] for count in counts):
        return _TWICE
    made = row.rung and row.method != ONNX
    return f"only {run} has {f'rungs of {row.ladder}' if made else 'it'}"


def _why_not(ours: Summary, theirs: Summary) -> str | None:
    """Why two rows that belong together cannot be compared."""
    found = [
        f"{row.status} in {run}: {row.reasons.get('status', 'unknown')}"
        for run, row in (("A", ours), ("B", theirs))
        if row.status != "ok"
    ]
    return "; ".join(found) or None


# --- numbers ---------------------------------------------------------------------------------------------------------


def _sides(a: Taken, b: Taken, pair: Pair) -> tuple[Side, Side]:
    fallback = spread(a) or spread(b)
    return _side(a, pair[0], pair[1], fallback), _side(b, pair[2], pair[3], fallback)


def _side(taken: Taken, runtime: str, case: str | None, fallback: tuple[float, int] | None) -> Side:
    between, jobs = spread(taken) or fallback or (None, 3)
    resolution = taken.jobs[runtime].facts.get("clock_resolution_ns")
    return Side(
        processes=taken.processes[runtime].get(case or "", ()),
        floor=floor(taken, runtime),
        resolution_ns=float(resolution) if isinstance(resolution, (int, float)) else 0.0,
        between_jobs_sd=between,
        jobs=jobs,
    )


def floor(taken: Taken, runtime: str) -> float | None:
    """The size of the largest A/A floor of a runtime's job, on the log scale; None where it has none."""
    job = taken.jobs.get(runtime)
    sizes = [stats.floor_size(each) for each in job.floor.values()] if job else []
    return max((size for size in sizes if size is not None), default=None)


def spread(taken: Taken) -> tuple[float, int] | None:
    """What differs from job to job on the run's device (sd, a fraction), and over how many jobs; None: not calibrated."""
    said = taken.run.calibration or {}
    found, jobs = said.get("between_jobs_sd"), said.get("jobs")
    if not isinstance(found, (int, float)):
        return None
    return float(found), int(jobs) if isinstance(jobs, int) else 3
