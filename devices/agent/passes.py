"""Which energy passes a job still has to make: pure functions of the job and of what its journal holds.

A slot is (scenario, case, block). It is settled by a pass that was valid, neither contended nor throttled, or by the last
attempt allowed; its last attempt counts. Two failures in a row of one case and scenario end that pair; so does one that a
second pass would repeat. Four in a row of the sampler end all: no pass can go well. A resumed job therefore repeats exactly
the passes that are missing, at the same rate.
"""

import math
import random
from statistics import median
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple, Union

from harness import wire

MOST_FAILURES = 2
MOST_LOST = 4
SAMPLER = "the sampler: "  # how the detail of a failure begins that is the sampler's
MOST_HZ = 1000.0  # nobody who sleeps is woken more exactly than in about a tenth of such a period


class PassSlot(NamedTuple):
    """One energy pass that a block asks for; `case_id` is empty for the idle one."""

    scenario: str
    case_id: str
    block: int


class Passes:
    """What the journal says of energy passes so far, without their traces."""

    def __init__(self, regime: str) -> None:
        self.regime = regime
        self.begun = False
        self.attempts: Dict[PassSlot, int] = {}  # passes started, failed ones too
        self.made: Dict[PassSlot, int] = {}
        self.clean: Set[PassSlot] = set()
        self.failures: Dict[Tuple[str, str], int] = {}  # in a row, by scenario and case
        self.ended: Set[Tuple[str, str]] = set()
        self.lost = 0  # failures of the sampler in a row, whatever the pass
        self.rate_hz: Optional[float] = None

    def add(self, event: Union[wire.PassEvent, wire.PassFailedEvent]) -> None:
        """Take in a pass, in the journal's order."""
        self.begun = True
        slot, pair = PassSlot(event.scenario, event.case_id, event.block), (event.scenario, event.case_id)
        self.attempts[slot] = event.attempt
        if isinstance(event, wire.PassFailedEvent):
            self.failures[pair] = self.failures.get(pair, 0) + 1
            self.lost += event.detail.startswith(SAMPLER)
            if event.final:
                self.ended.add(pair)
            return
        self.failures.pop(pair, None)
        self.lost = 0
        self.made[slot] = self.made.get(slot, 0) + 1
        self.rate_hz = self.rate_hz or event.rate_hz
        if not event.contended and not wire.forbidden(event.throttled, self.regime):
            self.clean.add(slot)


def order(job: wire.Job, plan: wire.EnergyPlan, live: Iterable[str], block: int) -> List[PassSlot]:
    """Every slot of a block, for the idle device and the cases `live`, in its random order: the same each time."""
    slots = [PassSlot(wire.IDLE, "", block)]
    slots += [PassSlot(scenario, case_id, block) for case_id in live for scenario in dict.fromkeys(plan.scenarios)]
    chance(job, "order", block).shuffle(slots)
    return slots


def pending(job: wire.Job, plan: wire.EnergyPlan, passes: Passes, live: Iterable[str], block: int) -> List[PassSlot]:
    """The slots of a block that are still to be made, in order; those that were tried go to the end."""
    slots = [slot for slot in order(job, plan, live, block) if not settled(plan, passes, slot)]
    return sorted(slots, key=lambda slot: passes.attempts.get(slot, 0))


def settled(plan: wire.EnergyPlan, passes: Passes, slot: PassSlot) -> bool:
    """Whether a slot needs no further pass."""
    tried_enough = passes.made.get(slot, 0) >= plan.attempts
    ended = (slot.scenario, slot.case_id) in passes.ended or passes.lost >= MOST_LOST
    return slot in passes.clean or tried_enough or ended


def chance(job: wire.Job, *words: object) -> random.Random:
    """Chance that is the same each time it is asked for."""
    return random.Random(":".join(map(str, (job.seed, "energy", *words))))


def rate_hz(plan: wire.EnergyPlan, passes: Passes, log_medians: Dict[str, List[float]]) -> float:
    """Inferences per second of every paced pass: the plan's, else what the job began with, else half of the slowest's.

    `log_medians`: ln of the medians in ns of each live case's processes. At most 1000 Hz.
    """
    known = plan.rate_hz or passes.rate_hz
    if known is not None:
        return known
    slowest_s = max(math.exp(median(logs)) for logs in log_medians.values()) / 1e9
    return min(MOST_HZ, 0.5 / slowest_s)
