"""What energy passes say: windows with the traces of their meters. No latency is ever taken from them."""

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from harness.decode import require
from harness.wire.events import Event, Usage
from harness.wire.plans import IDLE, SCENARIOS
from harness.wire.power import Trace


@dataclass(frozen=True)
class PassEvent(Event):
    """One energy pass: a fresh process that was idle, or inferred back to back (`closed`) or at a rate (`paced`).

    The window runs from `start_ns` to `end_ns` on the device's monotonic clock and holds whole `inferences`: from the first
    one's start to the last one's end (closed), or whole periods of `rate_hz` (paced). `late` inferences of a paced pass began
    more than a tenth of a period after their time. `unsampled_ns` and `sampled_ns` are median latencies of two stretches
    back to back before the window, without and with the sampler: its effect. `sampler_cpus`: where the sampler ran, "" where
    it shares the cores of the case. `contended`, `throttled` and `usage` as of a process; such a pass is made again as
    the next `attempt`. `traces` reach beyond the window at both ends where the sensors gave something. `unopened`: the
    sensors that could not be opened, each with "status: reason".
    """

    scenario: str
    case_id: str
    block: int
    attempt: int
    start_ns: int
    end_ns: int
    inferences: int
    wall_ns: int
    spin_before_ns: int
    spin_after_ns: int
    contended: bool
    traces: Tuple[Trace, ...]
    rate_hz: Optional[float] = None
    late: int = 0
    unsampled_ns: Optional[int] = None
    sampled_ns: Optional[int] = None
    sampler_cpus: str = ""
    throttled: Tuple[str, ...] = ()
    usage: Optional[Usage] = None
    unopened: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_pass(self.scenario, self.case_id, self.block, self.attempt)
        require(self.start_ns < self.end_ns, "a window must end after it began", (self.start_ns, self.end_ns))
        require(
            (self.inferences == 0) == (self.scenario == IDLE), "only an idle pass has no inferences", self.inferences
        )
        require(self.scenario != "paced" or bool(self.rate_hz), "a paced pass must have a rate", self.rate_hz)
        named = [(t.channel.sensor, t.channel.name, t.channel.kind) for t in self.traces]
        require(len(set(named)) == len(named), "a channel must have one trace", named)


@dataclass(frozen=True)
class PassFailedEvent(Event):
    """A pass that came to nothing, with the cause as of a failed process. `final`: none like it is tried again."""

    scenario: str
    case_id: str
    block: int
    attempt: int
    cause: str
    detail: str
    final: bool

    def __post_init__(self) -> None:
        _require_pass(self.scenario, self.case_id, self.block, self.attempt)


def _require_pass(scenario: str, case_id: str, block: int, attempt: int) -> None:
    require(scenario in (IDLE, *SCENARIOS), "scenario must be idle, " + ", ".join(SCENARIOS), scenario)
    require((case_id == "") == (scenario == IDLE), "only an idle pass has no case", case_id)
    require(min(block, attempt) >= 1, "block and attempt must count from 1", min(block, attempt))
