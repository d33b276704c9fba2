"""What a job still has to measure: pure functions of the job and of what its journal holds.

A slot is (case, block, replicate). It is settled by a process that was valid, or by the last attempt allowed; its last
attempt counts. A process is valid unless it was contended, the device slept meanwhile, or it was throttled - which in the
regime `sustained` is part of what is measured: there the evidence is kept and counts for nothing. A resumed job therefore
repeats exactly the slots that are missing.
"""

import math
import random
from statistics import median
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from devices.agent import stopping
from devices.agent.passes import Passes
from harness import wire

MOST_FAILURES = 2  # failed processes in a row, of one case, after which it is given up
FINAL_CAUSES = (
    "wrong-output",
    "setting-ignored",
    "illegal-instruction",
    "wrong-target",
)  # a second process would fail alike
_UNSPENT = (wire.SoakEvent, wire.PassEvent, wire.PassFailedEvent, wire.GraphEvent, wire.CeilingsEvent)


class Slot(NamedTuple):
    """One fresh process that a block asks for."""

    case_id: str
    block: int
    replicate: int


class History:
    """What the journal says so far, kept small: one number per process, never its samples."""

    def __init__(self, events: Iterable[wire.Event] = (), regime: str = "burst") -> None:
        self.regime = regime
        self.attempts: Dict[Slot, int] = {}  # processes started, failed ones too
        self.measured: Dict[Slot, int] = {}  # processes that measured
        self.clean: Set[Slot] = set()
        self.log_median: Dict[Slot, float] = {}
        self.failures: Dict[str, int] = {}  # failed processes of a case since its last that measured
        self.given_up: Dict[str, str] = {}
        self.best_spin: Dict[wire.Place, int] = {}
        self.spin_rounds: Optional[int] = None
        self.facts: Dict[str, object] = {}
        self.reference_degc: Optional[float] = None  # the hottest zone when the job began
        self.passes = Passes(regime)
        self.end: Optional[wire.EndEvent] = None
        self.spent_ns = 0
        self._last_t_ns = 0
        for event in events:
            self.add(event)

    def add(self, event: wire.Event) -> None:
        """Take in one event, in the journal's order."""
        if isinstance(event, wire.StartEvent):
            self._start(event)
        else:
            self.spent_ns += max(0, event.t_ns - self._last_t_ns - _unspent_ns(event, self._last_t_ns))
        self._last_t_ns = event.t_ns
        if isinstance(event, wire.ProcessEvent):
            self._process(event)
        elif isinstance(event, wire.FailedEvent):
            self._failed(event)
        elif isinstance(event, (wire.PassEvent, wire.PassFailedEvent)):
            self.passes.add(event)
        elif isinstance(event, wire.EndEvent):
            self.end = event

    def _start(self, event: wire.StartEvent) -> None:
        hottest = event.facts.get("hottest_degc")
        if self.reference_degc is None and isinstance(hottest, (int, float)):
            self.reference_degc = float(hottest)
        self.facts = event.facts
        rounds = event.facts.get("spin_rounds")
        self.spin_rounds = rounds if isinstance(rounds, int) else None
        self.best_spin = {wire.Place.parse(place): best for place, best in event.spin_ns.items()}

    def _process(self, event: wire.ProcessEvent) -> None:
        slot = Slot(event.case_id, event.block, event.replicate)
        self.attempts[slot] = event.attempt
        self.measured[slot] = self.measured.get(slot, 0) + 1
        self.failures.pop(event.case_id, None)
        self.log_median[slot] = math.log(max(1.0, median(event.latency_ns)))
        if not event.contended and not wire.forbidden(event.throttled, self.regime):
            self.clean.add(slot)

    def _failed(self, event: wire.FailedEvent) -> None:
        self.attempts[Slot(event.case_id, event.block, event.replicate)] = event.attempt
        self.failures[event.case_id] = self.failures.get(event.case_id, 0) + 1
        if event.final:
            self.given_up[event.case_id] = "%s: %s" % (event.cause, event.detail)

    def log_medians(self) -> stopping.LogMedians:
        """ln of the process medians by (case, block), the last attempt of each replicate."""
        found: stopping.LogMedians = {}
        for slot in sorted(self.log_median):
            found.setdefault((slot.case_id, slot.block), []).append(self.log_median[slot])
        return found


def _unspent_ns(event: wire.Event, last_t_ns: int) -> int:
    """How much of the time up to an event does not count against the budget: waiting to cool, loading until warm.

    Nor do energy passes and looking at what ran, once all is measured.
    """
    beside_pass = isinstance(event, wire.StateEvent) and event.scenario
    if beside_pass or isinstance(event, _UNSPENT):
        return event.t_ns - last_t_ns
    return event.waited_ns if isinstance(event, wire.WaitEvent) else 0


def order(job: wire.Job, block: int) -> List[Slot]:
    """Every slot of a block in its random order, the same each time it is asked for."""
    slots = [Slot(case.case_id, block, r) for case in job.cases for r in range(case.replicates)]
    random.Random("%d:%d" % (job.seed, block)).shuffle(slots)
    return slots


def pending(job: wire.Job, history: History, block: int) -> List[Slot]:
    """The slots of a block that are still to be measured, in order; contended ones go to the end."""
    wanted = needed(job, history, block)
    slots = [s for s in order(job, block) if s.case_id in wanted and not settled(job, history, s)]
    return sorted(slots, key=lambda slot: history.attempts.get(slot, 0))


def settled(job: wire.Job, history: History, slot: Slot) -> bool:
    """Whether a slot needs no further process."""
    tried_enough = history.measured.get(slot, 0) >= job.protocol.attempts
    return slot in history.clean or tried_enough or slot.case_id in history.given_up


def needed(job: wire.Job, history: History, block: int) -> Set[str]:
    """The cases that a block must hold: all until the first look, then the undecided ones and every reference."""
    passed = [look for look in job.protocol.looks if look < block]
    if not passed:
        return {case.case_id for case in job.cases}
    return undecided(job, history, passed[-1]) | {reference for _, reference in job.comparisons}


def undecided(job: wire.Job, history: History, look: int) -> Set[str]:
    """The cases of comparisons that are wider than asked for after `look` blocks; failed cases wait for nothing."""
    reached = reaches(job, history, look)
    return {case for case, reach in reached if reach.half_width is None or reach.half_width > job.protocol.half_width}


def bereft(job: wire.Job, history: History) -> bool:
    """Whether a live case has lost its reference, and with it its comparison."""
    lost = set(history.given_up)
    return any(case not in lost and reference in lost for case, reference in job.comparisons)


def reaches(job: wire.Job, history: History, blocks: int) -> List[Tuple[str, stopping.Reach]]:
    """Per comparison of two live, different cases: how far it has come within `blocks` blocks."""
    medians = history.log_medians()
    return [
        (case, stopping.reach(stopping.differences(medians, case, reference, blocks), job.protocol))
        for case, reference in job.comparisons
        if case != reference and not {case, reference} & set(history.given_up)
    ]


def complete_blocks(job: wire.Job, history: History) -> int:
    """How many of the blocks that were begun, from the first on, hold all that they must hold."""
    begun = max((slot.block for slot in history.attempts), default=0)
    return next((block for block in range(begun) if pending(job, history, block + 1)), begun)


def verdict(job: wire.Job, history: History, blocks: int) -> Optional[str]:
    """Why the job ends after `blocks` complete blocks, in the words of `wire.EndEvent`; None when it goes on."""
    if len(history.given_up) == len(job.cases):
        return "failed"
    if blocks in job.protocol.looks and not undecided(job, history, blocks):
        return "reference-failed" if bereft(job, history) else "decided"
    return "blocks" if blocks >= job.protocol.looks[-1] else None
