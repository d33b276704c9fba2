"""The story of a job on the device: blocks of fresh processes in random order, until decided or out of budget."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from devices.agent import schedule, spin, state
from devices.agent.journal import Journal, replace_file
from devices.agent.launch import Outcome, launch
from devices.agent.schedule import History, Slot
from harness import wire

PROBE_LIMIT_S = 120.0


def probe(runtime: str, log: Path) -> Dict[str, Any]:
    """Import the runtime in a child, as an illegal instruction kills: {"versions": ..} or {"cause": .., "detail": ..}."""
    outcome = launch("probe-worker", {"runtime": runtime}, 1, log, PROBE_LIMIT_S)
    return outcome.result or {"versions": {}, "cause": outcome.cause, "detail": outcome.detail}


class JobRun:
    """One job under way: what it reads (job, artifacts), what it keeps (journal), what it knows (history)."""

    def __init__(self, workdir: Path, job: wire.Job, agent: str) -> None:
        self.workdir = workdir
        self.folder = workdir / "jobs" / job.job
        self.job = job
        self.cases = {case.case_id: case for case in job.cases}
        self.journal = Journal(self.folder / "events.jsonl")
        self.history = History(self.journal.past)
        self.agent = agent

    def finish(self) -> None:
        """Measure what is missing, end the journal, write the reply. Raises OSError (disk), WireError (journal)."""
        if self.history.end is None:
            self._start()
            self._end(self._measure())
            self.memory.learn(self.spinner.rounds, self.spinner.seen, self.job.protocol.spin_tolerance)
        replace_file(self.folder / "reply.json", wire.encode(self._reply()))

    # --- beginning ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        facts = {**state.facts(), **probe(self.job.runtime, self.folder / "worker.log")}
        facts.update(self._settle(facts["cpu"]))
        self._note(
            wire.StartEvent,
            run=self.job.run,
            job=self.job.job,
            agent=self.agent,
            pid=os.getpid(),
            resumed=bool(self.journal.past),
            facts=facts,
            spin_ns={str(threads): best for threads, best in self.spinner.best.items()},
        )
        self.deadline = time.monotonic() + self.job.protocol.budget_s - self.history.spent_ns / 1e9

    def _settle(self, cpu: Optional[str]) -> Dict[str, Any]:
        """Make the spinner, with the job's own rounds if it goes on, else the device's; return what to say of it."""
        history, protocol = self.history, self.job.protocol
        self.memory = spin.Memory(self.workdir / "spin.json", cpu, protocol.spin_s)
        rounds = history.spin_rounds or self.memory.rounds or spin.calibrate(protocol.spin_s)
        known = [history.best_spin, self._spun(), self.memory.best if self.memory.rounds == rounds else {}]
        best = {threads: min(k[threads] for k in known if threads in k) for threads in set().union(*known)}
        self.spinner = spin.Spinner(rounds, best, protocol.spin_tolerance)
        wanted = sorted({case.threads for case in self.job.cases})
        missed = {str(threads): best[threads] for threads in wanted if not self.spinner.settle(threads)}
        return {"spin_rounds": rounds, "spin_stored_ns": missed}

    def _spun(self) -> Dict[int, int]:
        """The best spin beside the processes of the journal so far, by thread count: a resumed job forgets none."""
        best: Dict[int, int] = {}
        for event in self.journal.past:
            if isinstance(event, wire.ProcessEvent) and event.case_id in self.cases:
                threads = self.cases[event.case_id].threads
                best[threads] = min(best.get(threads, event.spin_before_ns), event.spin_before_ns, event.spin_after_ns)
        return best

    # --- measuring ---------------------------------------------------------------------------------------------------

    def _measure(self) -> Tuple[str, int]:
        """Measure block after block; returns why it ended, and the complete blocks."""
        blocks = schedule.complete_blocks(self.job, self.history)
        while True:
            reason = schedule.verdict(self.job, self.history, blocks)
            if reason is not None:
                return reason, blocks
            if not self._block(blocks + 1):
                return "budget", blocks
            blocks += 1

    def _block(self, block: int) -> bool:
        """Bring a block to its end; False when the budget ended first."""
        self._note(wire.StateEvent, block=block, when="before", readings=state.readings())
        slots = schedule.pending(self.job, self.history, block)
        while slots:
            for slot in slots:
                if time.monotonic() >= self.deadline:
                    return False
                if not schedule.settled(self.job, self.history, slot):
                    self._process(slot)
            slots = schedule.pending(self.job, self.history, block)
        self._note(wire.StateEvent, block=block, when="after", readings=state.readings())
        return True

    def _process(self, slot: Slot) -> None:
        case, protocol = self.cases[slot.case_id], self.job.protocol
        before = self.spinner.before(case.threads)
        outcome = launch(
            "worker", self._request(case), case.threads, self.folder / "worker.log", protocol.process_limit_s
        )
        if outcome.result is None:
            self._failed(slot, outcome)
            return
        after = self.spinner.after(case.threads)
        self._note(
            wire.ProcessEvent,
            **self._where(slot),
            **outcome.result,
            wall_ns=outcome.wall_ns,
            spin_before_ns=before,
            spin_after_ns=after,
            contended=self.spinner.slow(max(before, after), case.threads),
        )

    def _failed(self, slot: Slot, outcome: Outcome) -> None:
        failures = self.history.failures.get(slot.case_id, 0) + 1
        final = outcome.cause in schedule.FINAL_CAUSES or failures >= schedule.MOST_FAILURES
        self._note(wire.FailedEvent, **self._where(slot), cause=outcome.cause, detail=outcome.detail, final=final)

    def _where(self, slot: Slot) -> Dict[str, Any]:
        return {**slot._asdict(), "attempt": self.history.attempts.get(slot, 0) + 1}

    def _request(self, case: wire.JobCase) -> Dict[str, Any]:
        artifacts = self.workdir / "artifacts"
        return {
            "runtime": self.job.runtime,
            "artifact": str(artifacts / case.artifact.sha256),
            "sample": str(artifacts / case.sample.sha256),
            "case": asdict(case),
            "protocol": asdict(self.job.protocol),
        }

    # --- ending ------------------------------------------------------------------------------------------------------

    def _end(self, ending: Tuple[str, int]) -> None:
        reason, blocks = ending
        reached = schedule.reaches(self.job, self.history, self.job.protocol.looks[-1])
        half_widths = {case: _worst([r.half_width for c, r in reached if c == case]) for case in self._compared()}
        needed = {case: _worst([r.blocks_needed for c, r in reached if c == case]) for case in self._compared()}
        self._note(wire.EndEvent, reason=reason, blocks=blocks, half_widths=half_widths, blocks_needed=needed)

    def _compared(self) -> List[str]:
        return list(dict.fromkeys(case for case, reference in self.job.comparisons if case != reference))

    def _reply(self) -> wire.Reply:
        end, facts = self.history.end, self.history.facts
        assert end is not None
        versions = facts.get("versions")
        return wire.Reply(
            run=self.job.run,
            job=self.job.job,
            reason=end.reason,
            blocks=end.blocks,
            events=self.journal.seq,
            half_widths=end.half_widths,
            blocks_needed=end.blocks_needed,
            failed=self.history.given_up,
            facts=facts,
            versions=versions if isinstance(versions, dict) else {},
        )

    def _note(self, kind: Any, **fields: Any) -> None:
        self.history.add(self.journal.append(kind, **fields))


def _worst(values: List[Optional[Any]]) -> Optional[Any]:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
