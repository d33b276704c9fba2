"""Journals -> summaries, job records and findings: what `run` stores and `show` recomputes when it is older. Pure.

entries (ladder rows) + rungs (static facts) + processes (journal) -> one Summary per row
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import findings, stats, wire
from harness.records import Entry, Estimate, JobRecord, Ladder, Run, Rung, Speedup, Summary

Journals = Mapping[str, Sequence[wire.Event]]
Replies = Mapping[str, wire.Reply | None]

NO_ENERGY = "no sensor: this version measures latency only"


def analyse(run: Run, journals: Journals, replies: Replies) -> Run:
    """Return the run with cases, jobs and findings computed from its journals (by runtime) and replies."""
    measured = {runtime: _Measured.of(events) for runtime, events in journals.items()}
    jobs = tuple(_job(run, runtime, replies.get(runtime), measured[runtime]) for runtime in journals)
    summaries = tuple(_summary(run, entry, measured[entry.case.runtime]) for entry in run.entries)
    found = findings.find(summaries, run.ladders, jobs)
    return replace(run, cases=summaries, jobs=jobs, findings=found, analysis_version=findings.ANALYSIS_VERSION)


@dataclass(frozen=True)
class _Measured:
    """A journal by case: all processes, and the cause of what failed for good."""

    processes: Mapping[str, tuple[stats.Process, ...]]
    events: Mapping[str, tuple[wire.ProcessEvent, ...]]
    failed: Mapping[str, str]

    @classmethod
    def of(cls, journal: Iterable[wire.Event]) -> _Measured:
        events: dict[str, list[wire.ProcessEvent]] = {}
        failed: dict[str, str] = {}
        for event in journal:
            if isinstance(event, wire.ProcessEvent):
                events.setdefault(event.case_id, []).append(event)
            elif isinstance(event, wire.FailedEvent) and event.final:
                failed[event.case_id] = f"{event.cause}: {event.detail}"
        processes = {case: tuple(stats.Process.of(event) for event in found) for case, found in events.items()}
        return cls(processes, {case: tuple(found) for case, found in events.items()}, failed)


def _job(run: Run, runtime: str, reply: wire.Reply | None, measured: _Measured) -> JobRecord:
    protocol = wire.Protocol(budget_s=run.plan.budget_s)
    references = {e.reference for e in run.entries if e.case.runtime == runtime and e.reference}
    floors = {ref: stats.floor(measured.processes.get(ref, ()), protocol) for ref in sorted(references)}
    return JobRecord(
        job=f"{run.run}-{runtime}",
        runtime=runtime,
        reason=reply.reason if reply else "interrupted",
        blocks=reply.blocks if reply else max((e.block for es in measured.events.values() for e in es), default=0),
        half_widths=reply.half_widths if reply else {},
        blocks_needed=reply.blocks_needed if reply else {},
        floor={ref: floor for ref, floor in floors.items() if floor is not None},
        facts=reply.facts if reply else {},
        versions=reply.versions if reply else {},
    )


def _summary(run: Run, entry: Entry, measured: _Measured) -> Summary:
    """Join a ladder row's static facts with what was measured of its case."""
    ladder = next(ladder for ladder in run.ladders if ladder.name == entry.ladder)
    rung = ladder.rungs[entry.rung or 0]
    case_id = entry.case.case_id
    processes = () if entry.failure else measured.processes.get(case_id, ())
    cause = entry.failure or measured.failed.get(case_id)
    estimate = stats.estimate(processes) if processes and not cause else None
    speedup = _speedup(run, entry, measured) if estimate else None
    errors = [] if entry.failure else [event.artifact_error for event in measured.events.get(case_id, ())]
    counted = stats.last_attempts(processes)
    control = entry.method == "control"
    return Summary(
        case_id=None if entry.failure else case_id,
        ladder=entry.ladder,
        rung=None if control else rung.rung,
        removed=None if control else rung.removed,
        eligible=None if control else rung.eligible,
        setting=rung.setting,
        activations=rung.activations,
        removed_names=rung.removed_names,
        model=rung.network,
        task=ladder.task,
        method=entry.method,
        variant=entry.variant,
        depth=rung.cost.depth,
        macs=rung.cost.macs,
        macs_useful=rung.cost.macs_useful,
        flops=rung.cost.flops,
        parameters=rung.cost.parameters,
        weight_bytes=rung.cost.weight_bytes,
        activation_bytes=rung.cost.activation_bytes,
        ops_executed=entry.ops_executed,
        accuracy=rung.accuracy,
        accuracy_removed=rung.accuracy_removed,
        accuracy_moved=rung.accuracy_moved,
        padding=rung.padding,
        fold_error=rung.fold_error,
        fold_error_f64=rung.fold_error_f64,
        artifact_error=max(errors, default=None),
        runtime=entry.case.runtime,
        precision=entry.case.precision,
        threads=entry.case.threads,
        batch=entry.case.batch,
        options=entry.case.options,
        status="failed" if cause else "ok" if estimate else "skipped",
        latency_ns=estimate,
        speedup=speedup,
        energy_j=None,
        energy_status=NO_ENERGY,
        contended=sum(process.contended for process in counted),
        not_steady=sum(not process.steady for process in counted),
        reference=entry.reference,
        reasons=_reasons(rung, ladder, entry, cause, estimate, speedup),
    )


def _speedup(run: Run, entry: Entry, measured: _Measured) -> Speedup | None:
    if entry.reference is None:
        return None
    protocol = wire.Protocol(budget_s=run.plan.budget_s)
    processes = measured.processes
    return stats.speedup(processes[entry.case.case_id], processes.get(entry.reference, ()), protocol)


def _reasons(
    rung: Rung, ladder: Ladder, entry: Entry, cause: str | None, estimate: Estimate | None, speedup: Speedup | None
) -> dict[str, str]:
    """Say of every null why it is null."""
    reasons: dict[str, str] = {**rung.reasons, "energy_j": NO_ENERGY}
    if entry.method == "control":
        reasons |= dict.fromkeys(("rung", "removed", "eligible"), "a latency control, not a rung of a ladder")
    if entry.failure:
        reasons["case_id"] = "no artifact: " + entry.failure
    if entry.ops_executed is None:
        reasons["ops_executed"] = f"the graph of a {entry.case.runtime} artifact cannot be walked"
    if estimate is None:
        missing = cause or "not measured: the run ended before its first process"
        return reasons | dict.fromkeys(("latency_ns", "speedup", "artifact_error"), missing)
    reasons |= stats.absent(estimate)
    if speedup is None:
        reasons["speedup"] = "the reference, rung 0, was not measured in any block that holds this case"
    elif speedup.verdict is None:
        reasons["speedup.verdict"] = "the reference itself"
        reasons |= dict.fromkeys(
            ("speedup.low", "speedup.high"), "the reference itself: its ratio to itself is the A/A floor"
        )
    elif speedup.low is None:
        reasons |= dict.fromkeys(("speedup.low", "speedup.high"), "one block: an interval needs two")
    return {key: value for key, value in reasons.items() if value}
