"""What a job measured: its journal by case, judged as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import stats, wire
from harness.analysis import conditions
from harness.analysis.energy import Energies
from harness.records import Components, Estimate, JobRecord, Remote, Speedup


@dataclass(frozen=True)
class Measured:
    """A job with its journal by case, the cause of what failed for good, and what is known of the device.

    `energy`: what its energy passes came to, None where none were asked for.
    """

    job: wire.Job | None
    journal: Sequence[wire.Event]
    reply: wire.Reply | None
    processes: Mapping[str, tuple[stats.Process, ...]]
    errors: Mapping[str, float]
    effective: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    facts: Mapping[str, Any]
    blocks: int
    energy: Energies | None = None

    @classmethod
    def of(
        cls,
        job: wire.Job | None,
        journal: Sequence[wire.Event],
        reply: wire.Reply | None,
        meters: Iterable[Remote] = (),
    ) -> Measured:
        """What came of a job, as far as it came; `meters` are those that the controller read meanwhile."""
        events = [event for event in journal if isinstance(event, wire.ProcessEvent)] if job else []
        starts = [event for event in journal if isinstance(event, wire.StartEvent)]
        ended = [event for event in journal if isinstance(event, wire.FailedEvent) and event.final]
        return cls(
            job=job,
            journal=journal,
            reply=reply,
            processes=processes(job, journal) if job else {},
            errors=_worst_errors(events),
            effective={event.case_id: event.effective for event in events},
            failed={event.case_id: f"{event.cause}: {event.detail}" for event in ended},
            facts=reply.facts if reply else starts[-1].facts if starts else {},
            blocks=reply.blocks if reply else _whole_blocks(journal),
            energy=Energies.of(job, journal, meters),
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

    def joint(self, cases: Iterable[str], reference: str | None) -> Mapping[str, tuple[float, float] | None]:
        """Intervals of all these cases' speed-ups over their reference that hold at once; those that failed are no members."""
        if self.job is None or reference is None or reference in self.failed:
            return {}
        members = {case: self.processes[case] for case in cases if case in self.processes and case not in self.failed}
        return stats.joint(members, self.processes.get(reference, ()), self.job.protocol, self.resolution_ns)

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
            components=dict(self._components(self.job)),
            energy=self.energy.record() if self.energy else None,
            **conditions.fields(self.job, self.journal, self.processes),
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

    def _components(self, job: wire.Job) -> Iterator[tuple[str, Components]]:
        for reference in sorted({reference for _, reference in job.comparisons} - self.failed.keys()):
            found = stats.components(self.processes.get(reference, ()))
            if found is not None:
                yield reference, found

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
        slowed = wire.forbidden(event.throttled, job.protocol.regime)
        process = stats.Process.of(event, contended=contended[event.seq], throttled=slowed)
        found.setdefault(event.case_id, []).append(process)
    return {case: tuple(group) for case, group in found.items()}


def _contention(
    job: wire.Job, starts: Iterable[wire.StartEvent], events: Sequence[wire.ProcessEvent]
) -> Mapping[int, bool]:
    """Judge every process (by `seq`) by the best spin of the whole job: the agent knew only the best so far."""
    places = {case.case_id: case.place for case in job.cases}
    best: dict[wire.Place, int] = {}
    spins = [(wire.Place.parse(text), spin) for start in starts for text, spin in start.spin_ns.items()]
    spins += [(places[e.case_id], min(e.spin_before_ns, e.spin_after_ns)) for e in events]
    for place, spin in spins:
        best[place] = min(spin, best.get(place, spin))
    limit = {place: spin * (1 + job.protocol.spin_tolerance) for place, spin in best.items()}
    return {e.seq: max(e.spin_before_ns, e.spin_after_ns) > limit[places[e.case_id]] for e in events}


def _whole_blocks(journal: Iterable[wire.Event]) -> int:
    """How many blocks a job that was cut off brought to their end: all before the last, and that if it says so."""
    begun = ended = 0
    for event in journal:
        if isinstance(event, wire.ProcessEvent):
            begun = max(begun, event.block)
        elif isinstance(event, wire.StateEvent) and event.when == "after" and not event.case_id:
            ended = max(ended, event.block)
    return max(ended, begun - 1)
