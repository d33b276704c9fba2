"""Jobs, journals and replies -> summaries, job records and findings: what `run` stores and `show` recomputes. Pure.

    entries (ladder rows) + rungs (static facts) + processes (journal) -> one Summary per row

Numbers come from the journal by the protocol of its job, whether or not there is a reply: a job that was cut off says
of what it measured what a whole one says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from harness import findings, stats, wire
from harness.records import Entry, Estimate, JobRecord, Run, Rung, Speedup, Summary

Jobs = Mapping[str, wire.Job | None]
Journals = Mapping[str, Sequence[wire.Event]]
Replies = Mapping[str, wire.Reply | None]

NO_ENERGY = "no sensor: this version measures latency only"
_SUMMARY_FIELDS = {field.name for field in fields(Summary)}


def analyse(run: Run, jobs: Jobs, journals: Journals, replies: Replies) -> Run:
    """Return the run with cases, job records and findings computed from what there is of each runtime."""
    runtimes = dict.fromkeys(entry.case.runtime for entry in run.entries)
    measured = {name: _Measured.of(jobs.get(name), journals.get(name, ()), replies.get(name)) for name in runtimes}
    records = tuple(record for each in measured.values() for record in each.records())
    summaries = tuple(_summary(run, entry, measured[entry.case.runtime]) for entry in run.entries)
    found = findings.find(summaries, run.ladders, records)
    return replace(run, cases=summaries, jobs=records, findings=found, analysis_version=findings.ANALYSIS_VERSION)


# --- what a job measured -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measured:
    """A job with its journal by case, the cause of what failed for good, and what is known of the device."""

    job: wire.Job | None
    reply: wire.Reply | None
    processes: Mapping[str, tuple[stats.Process, ...]]
    errors: Mapping[str, float]
    effective: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    facts: Mapping[str, Any]
    blocks: int

    @classmethod
    def of(cls, job: wire.Job | None, journal: Sequence[wire.Event], reply: wire.Reply | None) -> _Measured:
        events = [event for event in journal if isinstance(event, wire.ProcessEvent)] if job else []
        starts = [event for event in journal if isinstance(event, wire.StartEvent)]
        ended = [event for event in journal if isinstance(event, wire.FailedEvent) and event.final]
        return cls(
            job=job,
            reply=reply,
            processes=processes(job, journal) if job else {},
            errors=_worst_errors(events),
            effective={event.case_id: event.effective for event in events},
            failed={event.case_id: f"{event.cause}: {event.detail}" for event in ended},
            facts=reply.facts if reply else starts[-1].facts if starts else {},
            blocks=reply.blocks if reply else _whole_blocks(journal),
        )

    @property
    def resolution_ns(self) -> float:
        """What the device's clock can see, as the agent found it; 0 where it did not say."""
        found = self.facts.get("clock_resolution_ns")
        return float(found) if isinstance(found, (int, float)) else 0.0

    def estimate(self, case: str) -> Estimate | None:
        """Latency of a case, from all blocks that hold it."""
        return stats.estimate(self.processes[case], self.resolution_ns) if case in self.processes else None

    def speedup(self, case: str, reference: str | None) -> Speedup | None:
        """A case against its reference; None where one of them failed or is missing."""
        if self.job is None or reference is None or {case, reference} & self.failed.keys():
            return None
        ours, theirs = self.processes.get(case, ()), self.processes.get(reference, ())
        return stats.speedup(ours, theirs, self.job.protocol, self.resolution_ns)

    def records(self) -> Iterator[JobRecord]:
        """The record of the job, where there was one."""
        if self.job is None:
            return
        reached, versions = self._reached(self.job), self.facts.get("versions")
        yield JobRecord(
            job=self.job.job,
            runtime=self.job.runtime,
            protocol=asdict(self.job.protocol),
            reason=self.reply.reason if self.reply else "interrupted",
            blocks=self.blocks,
            half_widths={case: reach.half_width for case, reach in reached.items()},
            blocks_needed={case: reach.blocks_needed for case, reach in reached.items()},
            floor=dict(self._floors(self.job)),
            facts=self.facts,
            versions=self.reply.versions if self.reply else versions if isinstance(versions, dict) else {},
        )

    def _reached(self, job: wire.Job) -> dict[str, stats.Reach]:
        """How far each comparison of two live cases has come; a case with several references: the least of it."""
        reached: dict[str, stats.Reach] = {}
        for case, reference in job.comparisons:
            if case == reference or {case, reference} & self.failed.keys():
                continue
            ours, theirs = self.processes.get(case, ()), self.processes.get(reference, ())
            reach = stats.reach(ours, theirs, job.protocol, self.resolution_ns)
            reached[case] = stats.least([reach, *([reached[case]] if case in reached else [])])
        return reached

    def _floors(self, job: wire.Job) -> Iterator[tuple[str, Speedup]]:
        references = {reference for _, reference in job.comparisons} - self.failed.keys()
        for reference in sorted(references):
            floor = stats.floor(self.processes.get(reference, ()), job.protocol, self.resolution_ns)
            if floor is not None:
                yield reference, floor


def _worst_errors(events: Iterable[wire.ProcessEvent]) -> Mapping[str, float]:
    worst: dict[str, float] = {}
    for event in events:
        worst[event.case_id] = max(event.artifact_error, worst.get(event.case_id, 0.0))
    return worst


def processes(job: wire.Job, journal: Iterable[wire.Event]) -> Mapping[str, tuple[stats.Process, ...]]:
    """All processes of a job's journal, by case, in order; contention judged by the best spin of the whole journal."""
    journal = tuple(journal)
    events = [event for event in journal if isinstance(event, wire.ProcessEvent)]
    starts = [event for event in journal if isinstance(event, wire.StartEvent)]
    contended = _contention(job, starts, events)
    found: dict[str, list[stats.Process]] = {}
    for event in events:
        found.setdefault(event.case_id, []).append(stats.Process.of(event, contended=contended[event.seq]))
    return {case: tuple(group) for case, group in found.items()}


def _contention(
    job: wire.Job, starts: Iterable[wire.StartEvent], events: Sequence[wire.ProcessEvent]
) -> Mapping[int, bool]:
    """Judge every process (by `seq`) by the best spin of the whole job: the agent knew only the best so far."""
    threads = {case.case_id: case.threads for case in job.cases}
    best: dict[int, int] = {}
    spins = [(int(n), spin) for start in starts for n, spin in start.spin_ns.items()]
    spins += [(threads[e.case_id], min(e.spin_before_ns, e.spin_after_ns)) for e in events]
    for n, spin in spins:
        best[n] = min(spin, best.get(n, spin))
    limit = {n: spin * (1 + job.protocol.spin_tolerance) for n, spin in best.items()}
    return {e.seq: max(e.spin_before_ns, e.spin_after_ns) > limit[threads[e.case_id]] for e in events}


def _whole_blocks(journal: Iterable[wire.Event]) -> int:
    """How many blocks a job that was cut off brought to their end: all before the last, and that if it says so."""
    begun = ended = 0
    for event in journal:
        if isinstance(event, wire.ProcessEvent):
            begun = max(begun, event.block)
        elif isinstance(event, wire.StateEvent) and event.when == "after" and not event.case_id:
            ended = max(ended, event.block)
    return max(ended, begun - 1)


# --- a row ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """What was measured of one ladder row; `cause`: why its case failed."""

    case_id: str | None
    cause: str | None
    latency_ns: Estimate | None
    speedup: Speedup | None
    processes: Sequence[stats.Process]
    artifact_error: float | None
    effective: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Entry, measured: _Measured) -> _Result:
        if entry.failure:
            return cls(None, entry.failure, None, None, (), None, {})
        case = entry.case.case_id
        return cls(
            case_id=case,
            cause=measured.failed.get(case),
            latency_ns=measured.estimate(case),
            speedup=measured.speedup(case, entry.reference),
            processes=stats.last_attempts(measured.processes.get(case, ())),
            artifact_error=measured.errors.get(case),
            effective=measured.effective.get(case, {}),
        )

    @property
    def blocks(self) -> int:
        """How many blocks hold the case."""
        return len({process.block for process in self.processes})


def _summary(run: Run, entry: Entry, measured: _Measured) -> Summary:
    """Join a ladder row's static facts with what was measured of its case."""
    ladder = next(ladder for ladder in run.ladders if ladder.name == entry.ladder)
    rung = ladder.rungs[entry.rung]
    result = _Result.of(entry, measured)
    return Summary(
        **_shared(ladder, rung, rung.cost, entry, entry.case)
        | {"model": rung.network}
        | (dict.fromkeys(("rung", "removed", "eligible")) if entry.method == "control" else {})
        | {
            "case_id": result.case_id,
            "status": "failed" if result.cause else "ok" if result.latency_ns else "skipped",
            "latency_ns": result.latency_ns,
            "speedup": result.speedup,
            "artifact_error": result.artifact_error,
            "effective": result.effective,
            "energy_j": None,
            "energy_status": NO_ENERGY,
            "blocks": result.blocks,
            "contended": sum(process.contended for process in result.processes),
            "not_steady": sum(not process.steady for process in result.processes),
            "reasons": {**_static_reasons(rung, entry), **_measured_reasons(entry, result, measured)},
        }
    )


def _shared(*records: Any) -> dict[str, Any]:
    """The fields that these records and a Summary have under the same name; later records win."""
    return {
        field.name: getattr(record, field.name)
        for record in records
        for field in fields(record)
        if field.name in _SUMMARY_FIELDS
    }


# --- why what is null is null --------------------------------------------------------------------------------------


def _static_reasons(rung: Rung, entry: Entry) -> dict[str, str]:
    reasons = {**rung.reasons, "energy_j": NO_ENERGY}
    if entry.method == "control":
        reasons |= dict.fromkeys(("rung", "removed", "eligible"), "a latency control, not a rung of a ladder")
    if entry.failure:
        reasons |= dict.fromkeys(("case_id", "ops_executed"), "no artifact: " + entry.failure)
    elif entry.ops_executed is None:
        reasons["ops_executed"] = f"the graph of a {entry.case.runtime} artifact cannot be walked"
    if rung.cost.uncounted:
        reasons["macs"] = f"without what no rule of the counter covers: {', '.join(rung.cost.uncounted)}"
    return {key: reason for key, reason in reasons.items() if reason}


def _measured_reasons(entry: Entry, result: _Result, measured: _Measured) -> dict[str, str]:
    """Of what comes from processes; `status` says why a row is not ok."""
    estimate, speedup = result.latency_ns, result.speedup
    if estimate is None:
        missing = result.cause or "not measured: the job ended before its first process"
        return dict.fromkeys(("status", "latency_ns", "speedup", "artifact_error"), missing)
    reasons = stats.absent(estimate)
    if result.cause:
        reasons["status"] = result.cause
    if speedup is None:
        reasons["speedup"] = _no_speedup(entry, result, measured)
    elif speedup.verdict is None:
        itself = "the reference itself: its ratio to itself is the A/A floor"
        reasons |= dict.fromkeys(("speedup.low", "speedup.high", "speedup.verdict"), itself)
    elif speedup.low is None:
        reasons |= dict.fromkeys(("speedup.low", "speedup.high"), "one block: an interval needs two")
    return reasons


def _no_speedup(entry: Entry, result: _Result, measured: _Measured) -> str:
    if result.cause:
        return f"the case failed; its latency is that of the {result.blocks} blocks before: {result.cause}"
    if entry.reference is None:
        return "the reference, rung 0, has no artifact"
    if entry.reference in measured.failed:
        return "the reference, rung 0, failed: " + measured.failed[entry.reference]
    return "the reference, rung 0, was not measured in any block that holds this case"
