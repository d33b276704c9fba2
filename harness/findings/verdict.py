"""One word for a run: whether its numbers can be believed, and the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.findings.trust import floors_beyond, missed
from harness.findings.views import MANY, count, distinct, percent, plus_minus
from harness.records import JobRecord, RunState, RunVerdict, Summary

_IGNORED = "setting-ignored"


def judge(summaries: Sequence[Summary], jobs: Sequence[JobRecord]) -> RunVerdict | None:
    """Return the first that applies of fell-back, throttled, contended, noisy, and else stable; None where nothing ran.

    fell-back: a case ran with another setting or provider than asked for. throttled: a process that counts was throttled, in a
    regime that is not to be. contended: at least 10 % of the processes that count met a neighbour, by the spin or because
    there were fewer cores than wanted. noisy: an interval is wider than asked for, the A/A floor is beyond 2 %, or at
    least 10 % of the processes had not settled.
    """
    measured = distinct(s for s in summaries if s.latency_ns is not None)
    fallen = [s for s in summaries if s.reasons.get("status", "").startswith(_IGNORED)]
    if not measured and not fallen:
        return None
    looks: Sequence[tuple[RunState, Iterator[str]]] = (
        ("fell-back", (f"{s.ladder} {_label(s)}: {s.reasons['status']}" for s in fallen)),
        ("throttled", _throttled(measured, jobs)),
        ("contended", _contended(measured, jobs)),
        ("noisy", _noisy(measured, jobs)),
    )
    for state, evidence in looks:
        said = tuple(evidence)
        if said:
            return RunVerdict(state, said)
    return RunVerdict("stable", (_stable(jobs),))


def _label(summary: Summary) -> str:
    return summary.model if summary.rung is None else str(summary.rung)


def _throttled(measured: Sequence[Summary], jobs: Sequence[JobRecord]) -> Iterator[str]:
    for job in jobs:
        counted = sum(s.throttled for s in measured if s.runtime == job.runtime)
        if counted:
            yield f"{count(counted, 'process', 'processes')} on {job.runtime}: {job.throttling[0]}"


def _contended(measured: Sequence[Summary], jobs: Sequence[JobRecord]) -> Iterator[str]:
    for job in jobs:
        mine = [s for s in measured if s.runtime == job.runtime]
        hit = sum(s.contended for s in mine)
        total = sum(s.latency_ns.processes for s in mine if s.latency_ns)
        if total and hit >= MANY * total:
            yield f"on {job.runtime} a spin beside {hit} of {count(total, 'process', 'processes')} was slow"
        crowded = job.usage.get("crowded")
        if crowded is not None and crowded >= MANY:
            yield f"on {job.runtime} {percent(crowded)} of the processes lacked cores that others used"


def _noisy(measured: Sequence[Summary], jobs: Sequence[JobRecord]) -> Iterator[str]:
    for job in jobs:
        wide, target = missed(job, measured)
        if wide:
            yield f"on {job.runtime} {len(wide)} of {count(len(job.half_widths), 'comparison')} missed {plus_minus(target)}"
        for size in sorted(floors_beyond(job).values())[-1:]:
            yield f"on {job.runtime} the reference differs from itself by up to {percent(size)}"
        mine = [s for s in measured if s.runtime == job.runtime]
        total = sum(s.latency_ns.processes for s in mine if s.latency_ns)
        unsettled = sum(s.not_steady for s in mine)
        if total and unsettled >= MANY * total:
            yield f"on {job.runtime} {unsettled} of {count(total, 'process', 'processes')} had not settled or shifted"


def _stable(jobs: Sequence[JobRecord]) -> str:
    runtimes = ", ".join(job.runtime for job in jobs)
    agrees = ", and the reference agrees with itself" * all(job.floor for job in jobs)
    return f"on {runtimes} every comparison is as narrow as asked for{agrees}"
