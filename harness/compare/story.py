"""The story of a comparison: take both runs, refuse what is unlike, bring rows together, say what to keep in mind."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from harness import content
from harness.compare import facts
from harness.compare.records import Comparison, Head, Unlike
from harness.compare.rows import floor, rows, spread
from harness.compare.taken import Taken, take
from harness.errors import UsageError

_SPIN = 0.02  # a smaller difference of spins is not worth a word


def compare(a: Path, b: Path, despite: Sequence[str] = ()) -> Comparison:
    """Compare the runs in two folders, in spite of the facts that are named.

    Raises UsageError: the same run twice, a virtual one, two regimes, a fact that there is not, unlike facts that were not
    waived, no common row. Raises StoreError and WireError: a run is not done, or damaged.
    """
    ours, theirs = take(a), take(b)
    _require_comparable(ours, theirs)
    known = facts.names(ours, theirs)
    for name in despite:
        content.require_known("fact", name, known)
    unlike = facts.unlike(ours, theirs)
    _require_waived(ours, theirs, unlike, despite)
    waived = tuple(dict.fromkeys(each.fact for each in unlike))
    found, between = rows(ours, theirs, waived)
    if not any(row.ratio for row in found) and not any(row.lost for row in found):
        reasons = dict.fromkeys(row.reason for row in found if row.reason)
        raise UsageError(
            f"runs {ours.run.run} and {theirs.run.run} have no row to compare",
            f"Of their rows: {'; '.join(reasons) or 'there are none'}.",
        )
    floors = {
        name: (floor(ours, one.runtime), floor(theirs, other.runtime))
        for name, one, other in facts.paired(ours, theirs)
    }
    notes = tuple(_notes(ours, theirs, waived, between))
    return Comparison(_head(ours), _head(theirs), unlike, found, floors, between, notes)


def _require_comparable(a: Taken, b: Taken) -> None:
    if a.run.run == b.run.run:
        raise UsageError(
            f"{a.run.run} is one run: compared with itself it is always the same",
            "Name two runs: harness compare A B",
        )
    virtual = [taken.run.run for taken in (a, b) if taken.run.virtual]
    if virtual:
        raise UsageError(
            f"run {' and run '.join(virtual)}: of a virtual device, whose times stand for no real one",
            "Times of virtual devices are never compared; nothing waives that.",
        )
    regimes = [taken.run.plan.regime for taken in (a, b)]
    if regimes[0] != regimes[1]:
        raise UsageError(
            f"runs {a.run.run} ({regimes[0]}) and {b.run.run} ({regimes[1]}) are of two regimes: a cool device and a hot one",
            "Regimes are never compared; nothing waives that.",
        )


def _require_waived(a: Taken, b: Taken, unlike: Sequence[Unlike], despite: Collection[str]) -> None:
    missing = [each for each in unlike if each.fact not in despite]
    if missing:
        told = "\n".join(f"  {each.fact}: {each.a} | {each.b}" for each in missing)
        names = ",".join(dict.fromkeys(each.fact for each in unlike))
        raise UsageError(
            f"runs {a.run.run} and {b.run.run} are unlike; a difference would not be the network's alone\n{told}",
            f"To compare in spite of that, say so by name: --despite {names}",
        )


def _head(taken: Taken) -> Head:
    run = taken.run
    commit = run.provenance.get("commit")
    return Head(run.run, run.device, run.created, str(commit) if commit else None, run.verdict)


# --- what to keep in mind --------------------------------------------------------------------------------------------


def _notes(a: Taken, b: Taken, waived: Collection[str], between: float | None) -> Iterator[str]:
    yield _apart(a, b)
    if waived:
        yield f"Compared in spite of unlike facts ({', '.join(waived)}): a difference may come from them."
    yield _calibrated(a, b)
    if between is not None:
        yield (
            f"Between the runs the same artifacts came out apart, by up to {_percent(between)} with their intervals: no smaller "
            "difference of other rows is faster or slower."
        )
    yield from _spun(a, b)
    if unknown := facts.unknown(a, b):
        yield f"Only one of the runs knows: {', '.join(unknown)}."
    if a.agents != b.agents:
        yield "The programs that measured differ (another agent)."
    for name, taken in (("A", a), ("B", b)):
        verdict = taken.run.verdict
        if verdict is not None and verdict.state != "stable":
            yield f"Verdict of {name}: {verdict.state}; {'; '.join(verdict.evidence)}."


def _apart(a: Taken, b: Taken) -> str:
    boots = [{job.facts.get("boot_id") for job in taken.run.jobs} - {None} for taken in (a, b)]
    booted = ", across another boot" if all(boots) and boots[0] != boots[1] else ""
    return (
        f"Not interleaved: the runs are {_time_between(a, b)} apart{booted}, "
        "and nothing cancels what drifted between them."
    )


def _time_between(a: Taken, b: Taken) -> str:
    began = [datetime.fromisoformat(taken.run.created) for taken in (a, b)]
    minutes = abs((began[1] - began[0]).total_seconds()) / 60
    for name, length in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{minutes / length:.0f} {name}"
    return f"{minutes:.0f} minutes"


def _calibrated(a: Taken, b: Taken) -> str:
    found = [spread(taken) for taken in (a, b)]
    known = [f"{100 * each[0]:.1f} %" for each in found if each is not None]
    if not known:
        return (
            "How far jobs of this device differ by themselves is not known, and not in the intervals: "
            f"harness calibrate --device {b.run.device} finds out."
        )
    alone = "" if all(found) else " (of one run's calibration, taken for both)"
    what = f"what differs between consecutive jobs of one calibration (sd {' and '.join(dict.fromkeys(known))})"
    return f"Intervals hold {what}{alone}, added in quadrature; what differs from hour to hour may be more."


def _spun(a: Taken, b: Taken) -> Iterator[str]:
    """Whether fixed work took as long in both runs: if not, the device was another in speed, not only the network."""
    for name, one, other in facts.paired(a, b):
        per_round = [
            float(np.median(taken.spins[job.runtime])) / job.facts["spin_rounds"]
            for taken, job in ((a, one), (b, other))
            if job.facts.get("spin_rounds") and taken.spins.get(job.runtime)
        ]
        if len(per_round) == 2 and abs(math.log(per_round[1] / per_round[0])) > _SPIN:
            factor = per_round[1] / per_round[0]
            yield f"Fixed work (the spin) took {factor:.3f} times as long in B as in A on {name}: the device itself differed."


def _percent(log_size: float) -> str:
    return f"{100 * math.expm1(log_size):.1f} %"
