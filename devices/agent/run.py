"""The story of a job on the device: blocks of fresh processes in random order, until decided or out of budget."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from devices.agent import ceilings, energy, facts, graph, pinning, prepare, schedule, soak, spin, tune
from devices.agent.bench import Bench
from devices.agent.journal import replace_file
from devices.agent.launch import Outcome, launch
from devices.agent.schedule import Slot
from devices.agent.watch import Watch
from harness import wire
from harness.sensing import sysroot

PROBE_LIMIT_S = 120.0


def probe(runtime: str, log: Path) -> Dict[str, Any]:
    """Import the runtime in a child, as an illegal instruction kills: {"versions": ..} or {"cause": .., "detail": ..}."""
    outcome = launch("probe-worker", {"runtime": runtime}, 1, log, PROBE_LIMIT_S)
    return outcome.result or {"versions": {}, "cause": outcome.cause, "detail": outcome.detail}


class JobRun(Bench):
    """One job from its beginning to its reply."""

    def __init__(self, workdir: Path, job: wire.Job, agent: str) -> None:
        super().__init__(workdir, job)
        self.agent = agent
        self.walks = False  # whether the runtime can tell the operators of what it has loaded

    def finish(self) -> None:
        """Measure what is missing, end the journal, write the reply. Raises OSError (disk), WireError (journal)."""
        if self.history.end is None:
            with tune.applied(self.workdir, self.job.tune, self._untuned) as tuned:
                self._start(tuned)
                self._warm()
                ending = self._measure()
                energy.Passes(self).make()
                if self.job.look:
                    self._look()
            self._end(ending)
            self.memory.learn(self.spinner.rounds, self.spinner.seen, self.job.protocol.spin_tolerance)
        replace_file(self.folder / "reply.json", wire.encode(self._reply()))

    # --- beginning ---------------------------------------------------------------------------------------------------

    def _start(self, tuned: Sequence[wire.Tuned]) -> None:
        found = {**facts.read(), **probe(self.job.runtime, self.folder / "worker.log")}
        unprepared = self._prepare() if found.pop("prepares", False) else {}
        self.walks = found.pop("walks", False)
        found.update(self._settle(found["cpu"]))
        self.note(
            wire.StartEvent,
            run=self.job.run,
            job=self.job.job,
            agent=self.agent,
            pid=os.getpid(),
            resumed=bool(self.journal.past),
            facts=found,
            spin_ns={str(place): best for place, best in self.spinner.best.items()},
        )
        for case_id, outcome in unprepared.items():
            said = "could not be prepared: %s" % outcome.detail
            self.note(
                wire.FailedEvent, **self._where(Slot(case_id, 1, 0)), cause=outcome.cause, detail=said, final=True
            )
        if tuned:
            self.note(wire.TuneEvent, action="apply", settings=tuple(tuned))
        self.watch = Watch(self.journal, self.spinner.effective)
        self.deadline = time.monotonic() + self.job.protocol.budget_s - self.history.spent_ns / 1e9

    def _prepare(self) -> Dict[str, Outcome]:
        """Let the runtime make what it needs here for the cases that are still alive; returns what failed."""
        alive = [case for case in self.job.cases if case.case_id not in self.history.given_up]
        requests = {case.case_id: self.request(case, self.job.protocol) for case in alive}
        return prepare.all_of(requests, self.folder / "worker.log")

    def _untuned(self, tuned: Sequence[wire.Tuned]) -> None:
        """Write what was put back, once this agent's start stands in the journal."""
        if self.watch is not None and tuned:
            self.note(wire.TuneEvent, action="restore", settings=tuple(tuned))

    def _settle(self, cpu: Optional[str]) -> Dict[str, Any]:
        """Make the spinner, with the job's own rounds if it goes on, else the device's; return what to say of it."""
        history, protocol = self.history, self.job.protocol
        tuned = sorted({setting.name for setting in self.job.tune})  # another clock has another best spin
        machine = "%s tuned by %s" % (cpu, ", ".join(tuned)) if tuned else cpu
        if protocol.regime != "burst":  # and so has a device that is warm
            machine = "%s, %s" % (machine, protocol.regime)
        self.best_of = ceilings.Memory(self.workdir / "ceilings.json", machine)
        self.memory = spin.Memory(self.workdir / "spin.json", machine, protocol.spin_s)
        rounds = history.spin_rounds or self.memory.rounds or spin.calibrate(protocol.spin_s)
        known = [history.best_spin, self._spun(), self.memory.best if self.memory.rounds == rounds else {}]
        best = {place: min(k[place] for k in known if place in k) for place in set().union(*known)}
        self.spinner = spin.Spinner(rounds, best, protocol.spin_tolerance)
        cold = protocol.regime != "burst"  # what is to be warm settles when it is (`_warm`)
        missed = {} if cold else {str(p): best[p] for p in self._places() if not self.spinner.settle(p)}
        return {"spin_rounds": rounds, "spin_stored_ns": missed}

    def _places(self) -> List[wire.Place]:
        """Where the cases compute; a case whose CPUs cannot be had fails when it is its turn."""
        return sorted(place for place in {case.place for case in self.job.cases} if pinning.possible(place.cpus))

    def _spun(self) -> Dict[wire.Place, int]:
        """The best spin beside the processes of the journal so far, by place: a resumed job forgets none."""
        best: Dict[wire.Place, int] = {}
        for event in self.journal.past:
            if isinstance(event, wire.ProcessEvent) and event.case_id in self.cases:
                place = self.cases[event.case_id].place
                best[place] = min(best.get(place, event.spin_before_ns), event.spin_before_ns, event.spin_after_ns)
        return best

    def _warm(self) -> None:
        """Bring a device to its sustained state, where that is to be measured; not counted against the budget."""
        protocol, boot = self.job.protocol, self.history.facts.get("boot_id")
        if protocol.regime != "sustained":
            return
        began = time.monotonic()
        if not soak.still_warm(self.journal.past, boot):
            case = soak.case_of(self.job)
            told = soak.soak(sysroot(), protocol, lambda how, watch: self._launch(case, how, watch))
            self.note(wire.SoakEvent, case_id=case.case_id, **told)
        for place in self._places():
            self.spinner.settle(place)
        self.deadline += time.monotonic() - began

    # --- measuring ---------------------------------------------------------------------------------------------------

    def _measure(self) -> Tuple[str, int]:
        """Measure block after block; returns why it ended, and the complete blocks."""
        blocks = schedule.complete_blocks(self.job, self.history)
        while True:
            reason = schedule.verdict(self.job, self.history, blocks)
            if (
                reason is None and self.history.passes.begun
            ):  # the latencies were over: nothing else ends them without a word
                reason = "budget"
            if reason is not None:
                return reason, blocks
            if not self._block(blocks + 1):
                return "budget", blocks
            blocks += 1

    def _block(self, block: int) -> bool:
        """Bring a block to its end; False when the budget ended first."""
        self.cool(block)
        assert self.watch is not None
        self.watch.block_begins(block)
        slots = schedule.pending(self.job, self.history, block)
        while slots:
            for slot in slots:
                if time.monotonic() >= self.deadline:
                    self.watch.block_ends(block)
                    return False
                if not schedule.settled(self.job, self.history, slot):
                    self._process(slot)
            slots = schedule.pending(self.job, self.history, block)
        self.watch.block_ends(block)
        return True

    def _process(self, slot: Slot) -> None:
        case, where = self.cases[slot.case_id], self._where(slot)
        assert self.watch is not None
        beside = self.watch.process(where)
        outcome, spins = self.between_spins(
            case.place,
            lambda: self._launch(case, self.job.protocol, beside.during, slot.block),
            beside.exited,
        )
        if outcome.result is None:
            beside.finish()
            self._failed(where, outcome)
            return
        event = self.note(
            wire.ProcessEvent,
            **where,
            **outcome.result,
            wall_ns=outcome.wall_ns,
            spin_before_ns=spins[0],
            spin_after_ns=spins[1],
            contended=self.spinner.slow(max(spins), case.place),
            throttled=beside.finish(),
            usage=beside.usage(outcome.used),
        )
        if event.throttled:
            self.cool(slot.block)

    def _launch(
        self, case: wire.JobCase, protocol: wire.Protocol, watch: Callable[[], None], block: int = 1
    ) -> Outcome:
        log, request = self.folder / "worker.log", {**self.request(case, protocol), "block": block}
        return launch("worker", request, case.threads, log, self.job.protocol.process_limit_s, watch)

    def _failed(self, where: Dict[str, Any], outcome: Outcome) -> None:
        failures = self.history.failures.get(where["case_id"], 0) + 1
        final = outcome.cause in schedule.FINAL_CAUSES or failures >= schedule.MOST_FAILURES
        self.note(wire.FailedEvent, **where, cause=outcome.cause, detail=outcome.detail, final=final)

    def _where(self, slot: Slot) -> Dict[str, Any]:
        return {**slot._asdict(), "attempt": self.history.attempts.get(slot, 0) + 1}

    # --- what ran, once all is measured ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Note the operators of each network and the ceilings of the device, those that the journal does not have yet."""
        for case in graph.wanted(self.journal.past, self.job, set(self.live())):
            self.note(wire.GraphEvent, **graph.look(self.job, case, self.walks, partial(self._walk, case)))
        for place in ceilings.wanted(self.journal.past, self.job):
            act = partial(self._act_at_best, place)
            self.note(wire.CeilingsEvent, **ceilings.look(self.best_of, place, act))

    def _walk(self, case: wire.JobCase) -> Tuple[Outcome, bool]:
        request = {**self.request(case, self.job.protocol), "profile": self.job.profile}
        limit_s = self.job.protocol.process_limit_s
        return self._watched(case.place, "graph-worker", request, limit_s)

    def _act_at_best(self, place: wire.Place) -> Tuple[Outcome, bool]:
        return self._watched(place, "ceilings-worker", place._asdict(), ceilings.LIMIT_S)

    def _watched(self, place: wire.Place, verb: str, request: Dict[str, Any], limit_s: float) -> Tuple[Outcome, bool]:
        """Launch a process; its outcome, and whether it was contended."""
        log = self.folder / "worker.log"
        act = partial(launch, verb, request, place.threads, log, limit_s)
        outcome, spins = self.between_spins(place, act, lambda: None)
        return outcome, outcome.result is not None and self.spinner.slow(max(spins), place)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _end(self, ending: Tuple[str, int]) -> None:
        reason, blocks = ending
        reached = schedule.reaches(self.job, self.history, self.job.protocol.looks[-1])
        half_widths = {case: _worst([r.half_width for c, r in reached if c == case]) for case in self._compared()}
        needed = {case: _worst([r.blocks_needed for c, r in reached if c == case]) for case in self._compared()}
        self.note(wire.EndEvent, reason=reason, blocks=blocks, half_widths=half_widths, blocks_needed=needed)

    def _compared(self) -> List[str]:
        return list(dict.fromkeys(case for case, reference in self.job.comparisons if case != reference))

    def _reply(self) -> wire.Reply:
        end, known = self.history.end, self.history.facts
        assert end is not None
        versions = known.get("versions")
        return wire.Reply(
            run=self.job.run,
            job=self.job.job,
            reason=end.reason,
            blocks=end.blocks,
            events=self.journal.seq,
            half_widths=end.half_widths,
            blocks_needed=end.blocks_needed,
            failed=self.history.given_up,
            facts=known,
            versions=versions if isinstance(versions, dict) else {},
        )


def _worst(values: List[Optional[Any]]) -> Optional[Any]:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
