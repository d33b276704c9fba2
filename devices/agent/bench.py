"""What the measuring of latencies and the energy passes of a job share: its files, its spins, its journal, its processes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from devices.agent import cooldown, pinning, spin
from devices.agent.journal import Journal
from devices.agent.launch import Outcome
from devices.agent.schedule import History
from devices.agent.watch import Watch
from harness import wire
from harness.sensing import sysroot


class Bench:
    """One job under way: what it reads (job, artifacts), what it keeps (journal), what it knows (history)."""

    spinner: spin.Spinner
    deadline: float  # monotonic, s: when the budget is spent

    def __init__(self, workdir: Path, job: wire.Job) -> None:
        self.workdir = workdir
        self.folder = workdir / "jobs" / job.job
        self.job = job
        self.cases = {case.case_id: case for case in job.cases}
        self.journal = Journal(self.folder / "events.jsonl")
        self.history = History(self.journal.past, job.protocol.regime)
        self.watch: Optional[Watch] = None

    def note(self, kind: Any, **fields: Any) -> Any:
        """Write an event, durably, take it in, and return it. Raises OSError."""
        event = self.journal.append(kind, **fields)
        self.history.add(event)
        return event

    def request(self, case: wire.JobCase, protocol: wire.Protocol) -> Dict[str, Any]:
        """What a process is told of a case."""
        artifacts = self.workdir / "artifacts"
        return {
            "runtime": self.job.runtime,
            "artifact": str(artifacts / case.artifact.sha256),
            "sample": str(artifacts / case.sample.sha256),
            "case": asdict(case),
            "protocol": asdict(protocol),
        }

    def live(self) -> Dict[str, wire.JobCase]:
        """The cases that were measured and are not given up."""
        measured = {slot.case_id for slot in self.history.measured} - set(self.history.given_up)
        return {case_id: case for case_id, case in self.cases.items() if case_id in measured}

    def cool(self, block: int, energy: bool = False) -> None:
        """Wait until the device has cooled down, where that is to be waited for; not counted against the budget."""
        if cooldown.wanted(self.job.protocol):
            waited = cooldown.wait(sysroot(), self.job.protocol, self.history.reference_degc)
            self.deadline += waited.waited_ns / 1e9
            self.spinner.forget()
            self.note(wire.WaitEvent, block=block, energy=energy, **waited._asdict())

    def between_spins(
        self,
        place: wire.Place,
        launch: Callable[[], Outcome],
        exited: Callable[[], None],
        patient: bool = False,
    ) -> Tuple[Outcome, Tuple[int, int]]:
        """Launch a process between two spins where it computes; its outcome, that of a failure where there were no CPUs.

        `patient`: the process may have been idle for long, so the clock has to rise again before a slow spin tells anything.
        """
        try:
            before = self.spinner.before(place)
            outcome = launch()
            exited()
            if outcome.result is None:
                return outcome, (before, before)
            if patient:
                self.spinner.forget()
            return outcome, (before, (self.spinner.before if patient else self.spinner.after)(place))
        except pinning.NotPinnedError as error:
            return Outcome(None, error.cause, "%s: %s" % (type(error).__name__, error), 0), (0, 0)
