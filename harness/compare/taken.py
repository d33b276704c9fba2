"""A run taken from its folder, with all that its journals say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import analysis, stats, store, wire
from harness.errors import StoreError
from harness.records import JobRecord, Run, Summary


@dataclass(frozen=True)
class Taken:
    """A run, analysed anew, with its processes by runtime and case, and its spins and agents by runtime."""

    run: Run
    processes: Mapping[str, Mapping[str, Sequence[stats.Process]]]
    spins: Mapping[str, tuple[float, ...]]
    agents: frozenset[str]

    @property
    def jobs(self) -> dict[str, JobRecord]:
        """The records of the jobs by runtime."""
        return {job.runtime: job for job in self.run.jobs}

    @property
    def ladder_rows(self) -> tuple[Summary, ...]:
        """The rows that are no controls."""
        return tuple(row for row in self.run.cases if row.method != "control")

    def artifact(self, case_id: str | None) -> str | None:
        """The artifact of a case, by the hash of its bytes; None where none was built."""
        found = (entry.case.artifact for entry in self.run.entries if entry.case.case_id == case_id)
        return next(found, None) or None


def take(folder: Path) -> Taken:
    """Read a run that came to its end. Raises StoreError, WireError."""
    run = store.load(folder)
    if run.status != "done":
        raise StoreError(
            f"run {run.run} is {run.status}, not done: what it measured is not all it set out to",
            f"Finish it: harness run --resume {run.run}",
        )
    jobs, journals, replies = store.measured(folder, run.plan.runtimes)
    found = {name: analysis.processes(job, journals[name]) for name, job in jobs.items() if job is not None}
    starts = {event.agent for events in journals.values() for event in events if isinstance(event, wire.StartEvent)}
    spins = {name: tuple(_spins(events)) for name, events in journals.items()}
    meters = store.all_meters(folder, run.plan.runtimes)
    return Taken(analysis.analyse(run, jobs, journals, replies, meters), found, spins, frozenset(starts))


def _spins(events: Sequence[wire.Event]) -> list[float]:
    """The better of the two spins beside each process, ns."""
    return [float(min(e.spin_before_ns, e.spin_after_ns)) for e in events if isinstance(e, wire.ProcessEvent)]
