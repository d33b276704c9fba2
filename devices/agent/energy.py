"""The energy passes of a job, once its latencies are measured: block after block, each pass between two spins.

A pass is two processes, the window's and the sampler's, joined by two pipes (`sampler`); only the meters that a device reads
need the latter. The sampler is kept off the case as far as that is possible without changing what was measured: on the CPUs
outside the case's option `cpus`; else, where the case has fewer threads than there are CPUs, on the highest of them, from
which the case itself is not kept away; else it shares all of them and is not pinned. Whatever happens in a pass ends that
pass alone, never the job: the latencies are in the journal before the first.
"""

import os
import time
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Tuple

from devices.agent import passes, schedule, window
from devices.agent.bench import Bench
from devices.agent.launch import Child, Outcome, launch
from devices.agent.passes import PassSlot
from devices.agent.watch import Beside
from harness import wire
from harness.decode import build
from harness.errors import WireError

_FINAL_CAUSES = (*schedule.FINAL_CAUSES, window.TooSlowError.cause)
_SAMPLER_S = 15.0  # for its last readings and its answer
_READY_S = 40.0  # beside the window: stretches, what is waited for the sampler
_SEEN_S = 12.0  # a controller looks at the journal every 10 s
_LEAST_PHASE_S, _REMOTE_PHASE_S = 0.1, 1.0  # a meter on the network gives a value about once a second


class Passes:
    """Makes the passes that a job asks for and its journal does not hold yet."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._job, self._made = bench.job, bench.history.passes
        self._live = bench.live()
        self._rate_hz = 0.0

    def make(self) -> None:
        """Make block after block; nothing where no energy is to be measured or no case is left. Raises OSError (disk)."""
        plan = self._job.energy
        if plan is None or not self._live:
            return
        self._rate_hz = passes.rate_hz(plan, self._made, self._log_medians())
        if plan.remote and not self._made.begun:
            self._announce(plan)
        for block in range(1, plan.windows + 1):
            self._block(plan, block)

    def _announce(self, plan: wire.EnergyPlan) -> None:
        """Say that passes begin, and give the controller the time to see it: its meters are read from then on only.

        No longer than a window: more than one could not be lost.
        """
        self._bench.note(wire.StateEvent, block=1, when="before", readings=(), scenario=wire.IDLE)
        time.sleep(min(_SEEN_S, plan.window_s))

    def _log_medians(self) -> Dict[str, List[float]]:
        found: Dict[str, List[float]] = {case_id: [] for case_id in self._live}
        for slot, value in self._bench.history.log_median.items():
            if slot.case_id in found:
                found[slot.case_id].append(value)
        return found

    def _block(self, plan: wire.EnergyPlan, block: int) -> None:
        slots = passes.pending(self._job, plan, self._made, self._live, block)
        if slots:
            self._bench.cool(block, energy=True)
        while slots:
            for slot in slots:
                if not passes.settled(plan, self._made, slot):
                    self._pass(plan, slot)
            slots = passes.pending(self._job, plan, self._made, self._live, block)

    def _pass(self, plan: wire.EnergyPlan, slot: PassSlot) -> None:
        """Make one pass and write down what came of it."""
        where = {**slot._asdict(), "attempt": self._made.attempts.get(slot, 0) + 1}
        case = self._live.get(slot.case_id)
        place = min(each.place for each in self._live.values()) if case is None else case.place
        assert self._bench.watch is not None
        beside = self._bench.watch.process(where)
        sampled: List[Outcome] = []
        act = lambda: self._launch(plan, slot, case, beside, sampled)  # noqa: E731
        outcome, spins = self._bench.between_spins(place, act, beside.exited, patient=True)
        throttled = beside.finish()
        try:
            fields = _fields(outcome, sampled)
        except _FailedError as error:
            self._failed(where, error.outcome)
            return
        self._bench.note(
            wire.PassEvent,
            **where,
            **fields,
            wall_ns=outcome.wall_ns,
            spin_before_ns=spins[0],
            spin_after_ns=spins[1],
            contended=self._bench.spinner.slow(max(spins), place),
            throttled=throttled,
            usage=beside.usage(outcome.used),
            rate_hz=self._rate_hz if slot.scenario == "paced" else None,
        )
        if wire.forbidden(throttled, self._job.protocol.regime):
            self._bench.cool(slot.block, energy=True)

    def _failed(self, where: Dict[str, Any], outcome: Outcome) -> None:
        failures = self._made.failures.get((where["scenario"], where["case_id"]), 0) + 1
        final = outcome.cause in _FINAL_CAUSES or failures >= passes.MOST_FAILURES
        self._bench.note(wire.PassFailedEvent, **where, cause=outcome.cause, detail=outcome.detail, final=final)

    # --- the two processes -------------------------------------------------------------------------------------------

    def _launch(
        self,
        plan: wire.EnergyPlan,
        slot: PassSlot,
        case: Optional[wire.JobCase],
        beside: Beside,
        sampled: List[Outcome],
    ) -> Outcome:
        """Run the window, the sampler beside it where there is something to sample; what that says goes to `sampled`."""
        request, length_s = self._request(plan, slot, case), self._length_s(plan, slot)
        limit_s = self._job.protocol.process_limit_s + length_s + _READY_S
        threads, log = 1 if case is None else case.threads, self._bench.folder / "worker.log"
        if not plan.meters:
            return launch("window-worker", {**request, "go": -1, "ack": -1}, threads, log, limit_s, beside.during)
        go, go_in = os.pipe()
        ack_out, ack = os.pipe()
        asked = {
            "meters": [asdict(meter) for meter in plan.meters],
            "cpus": _sampler_cpus(case),
            "expected_s": length_s,
            "rate_hz": self._rate_hz if slot.scenario == "paced" else 0.0,
        }
        request, asked = {**request, "go": go_in, "ack": ack_out}, {**asked, "go": go, "ack": ack}
        with Child("sampler-worker", asked, 1, self._bench.folder / "sampler.log", (go, ack)) as sampler:
            outcome = launch("window-worker", request, threads, log, limit_s, beside.during, (go_in, ack_out))
            sampled.append(sampler.end(_SAMPLER_S))
        return outcome

    def _request(self, plan: wire.EnergyPlan, slot: PassSlot, case: Optional[wire.JobCase]) -> Dict[str, Any]:
        known = {} if case is None else self._bench.request(case, self._job.protocol)
        return {
            **known,
            "scenario": slot.scenario,
            "block": slot.block,
            "rate_hz": self._rate_hz,
            "window_s": plan.window_s,
            "lead_s": plan.lead_s,
            "phase": passes.chance(self._job, *slot).random(),
            "least_phase_s": _REMOTE_PHASE_S if plan.remote else _LEAST_PHASE_S,
        }

    def _length_s(self, plan: wire.EnergyPlan, slot: PassSlot) -> float:
        """How long there will be readings of a pass, roughly, s."""
        window_s = plan.window_s
        if slot.scenario == "paced":
            window_s = max(window_s, window.periods(window_s, self._rate_hz) / self._rate_hz)
        return window_s + 2 * plan.lead_s + 5.0


class _FailedError(Exception):
    """A pass that came to nothing, and what it came of."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


def _fields(outcome: Outcome, sampled: List[Outcome]) -> Dict[str, Any]:
    """Return what the two processes measured, as the fields of a `wire.PassEvent`. Raises _FailedError."""
    if outcome.result is None:
        raise _FailedError(_blamed(outcome, sampled))
    if not sampled:
        return {**outcome.result, "traces": ()}
    (sampler,) = sampled
    if sampler.result is None:
        raise _FailedError(sampler._replace(detail=passes.SAMPLER + sampler.detail))
    try:
        traces = tuple(build(wire.Trace, trace, "trace") for trace in sampler.result["traces"])
        _require_distinct(traces)
    except (WireError, ValueError) as error:
        raise _FailedError(Outcome(None, "error", passes.SAMPLER + str(error), outcome.wall_ns)) from None
    told = {"unopened": sampler.result["unopened"], "sampler_cpus": sampler.result["cpus"]}
    return {**outcome.result, **told, "traces": traces}


def _blamed(outcome: Outcome, sampled: List[Outcome]) -> Outcome:
    """A window that failed for want of the sampler says what became of that."""
    if "SamplerError" in outcome.detail and sampled and sampled[0].result is None:
        return sampled[0]._replace(detail=passes.SAMPLER + sampled[0].detail)
    return outcome


def _require_distinct(traces: Tuple[wire.Trace, ...]) -> None:
    named = [(trace.channel.sensor, trace.channel.name, trace.channel.kind) for trace in traces]
    if len(set(named)) != len(named):
        raise ValueError("two channels have the same name, of %s" % named)


def _sampler_cpus(case: Optional[wire.JobCase]) -> str:
    """The CPUs that the sampler is kept on, as an option `cpus` says them; "" where it shares those of the case."""
    usable = sorted(os.sched_getaffinity(0))
    asked = "" if case is None else case.options.get(wire.CPUS, "")
    if asked:
        return ",".join(str(cpu) for cpu in usable if str(cpu) not in asked.split(","))
    return str(usable[-1]) if (0 if case is None else case.threads) < len(usable) else ""
