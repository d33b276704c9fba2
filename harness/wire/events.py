"""The journal's events, and the reply: what comes back from a device."""

import operator
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Optional, Tuple

from harness.decode import require
from harness.wire.job import MAX_SAMPLES, Place
from harness.wire.names import VERSION

ENDS = ("decided", "reference-failed", "budget", "blocks", "failed")


SUSPENDED = "the device was suspended"  # how the evidence of that begins: no regime makes such a process valid


def forbidden(throttled: Iterable[str], regime: str) -> bool:
    """Whether what was seen of the device forbids to count a process: throttling in a cool regime, sleep in any.

    Under a lasting load throttling is part of what is measured: it is told, and makes nothing invalid.
    """
    return any(regime == "burst" or sentence.startswith(SUSPENDED) for sentence in throttled)


@dataclass(frozen=True)
class Event:
    """What every journal line carries: format version, gapless sequence number, device-monotonic time in ns."""

    v: int
    seq: int
    t_ns: int
    kind: str


@dataclass(frozen=True)
class StartEvent(Event):
    """An agent began, or went on with, the job. `spin_ns`: the device's best spin so far, by place (`Place`).

    Among `facts`: `boot_id`, `versions` of the runtime, `spin_rounds` (the work in a spin), `spin_stored_ns` (place
    -> a best of earlier jobs that this job could not come near when it began), `clock_resolution_ns`.
    """

    run: str
    job: str
    agent: str
    pid: int
    resumed: bool
    facts: Dict[str, Any]
    spin_ns: Dict[str, int]

    def __post_init__(self) -> None:
        for place in self.spin_ns:
            Place.parse(place)


@dataclass(frozen=True)
class Usage:
    """What a process took of the machine, and what others took meanwhile; None where the device cannot tell.

    `cpu_ns`: of the process, user and system, in all its threads. Context switches, major faults and migrations between
    cores are counts over its life (`migrations`: of its main thread). `foreign_cpu` and `steal`: cores that other processes,
    and other guests of a hypervisor, were using on average.
    """

    cpu_ns: int
    switches_voluntary: int
    switches_involuntary: int
    major_faults: int
    migrations: Optional[int]
    foreign_cpu: Optional[float]
    steal: Optional[float]


@dataclass(frozen=True)
class ProcessEvent(Event):
    """One fresh process: a case measured once in a block. Times in ns on the device's monotonic clock.

    `import_ns` is interpreter start and runtime import, `load_ns` loading the artifact; `warmup_ns` and `latency_ns`
    hold every inference in order and `start_ns` when each timed one began. `contended` when a spin beside it was
    slower than the device's best by more than the tolerance; then it is measured again as the next `attempt`, and the
    last attempt of a (case, block, replicate) counts. `throttled` holds the evidence, one sentence each, that the device
    was throttled meanwhile: then the process is invalid, and measured again likewise. `wall_ns` runs
    from start to exit of the process as the agent sees it.
    """

    case_id: str
    block: int
    replicate: int
    attempt: int
    wall_ns: int
    import_ns: int
    load_ns: int
    spin_before_ns: int
    spin_after_ns: int
    contended: bool
    steady: bool
    artifact_error: float
    effective: Dict[str, Any]
    warmup_ns: Tuple[int, ...]
    start_ns: Tuple[int, ...]
    latency_ns: Tuple[int, ...]
    throttled: Tuple[str, ...] = ()
    usage: Optional[Usage] = None

    def __post_init__(self) -> None:
        _require_counted(self.block, self.attempt)
        count = len(self.latency_ns)
        require(count == len(self.start_ns), "latency_ns and start_ns must be equally long", count)
        require(0 < count <= MAX_SAMPLES, "a process must have from 1 to %d samples" % MAX_SAMPLES, count)
        # the last window of a warm-up may run over `max_samples`
        require(len(self.warmup_ns) <= 2 * MAX_SAMPLES, "warmup_ns must have bounded length", len(self.warmup_ns))
        starts = self.start_ns
        require(all(map(operator.le, starts, starts[1:])), "start_ns must not go backwards", "")


@dataclass(frozen=True)
class StateEvent(Event):
    """System state at one moment: each reading is (sensor, scope, kind, status, value, unit); value null unless ok.

    `when` is before, during or after: a process (`case_id`, `replicate`, `attempt` name it), or a whole block (`case_id`
    is empty); an energy pass where `scenario` is not empty. `reasons`: why a reading is not ok, by "sensor scope".
    """

    block: int
    when: str
    readings: Tuple[Tuple[str, str, str, str, Optional[float], str], ...]
    case_id: str = ""
    replicate: int = 0
    attempt: int = 0
    reasons: Dict[str, str] = field(default_factory=dict)
    scenario: str = ""

    def __post_init__(self) -> None:
        _require_counted(self.block)
        for sensor, _, _, status, value, _ in self.readings:
            require((value is None) == (status != "ok"), sensor + " must be null unless its status is ok", value)


@dataclass(frozen=True)
class WaitEvent(Event):
    """The agent waited for the device to cool before a block. `passed`: it did, within the limit; `reason` says how it stood.

    `energy`: the block is one of energy passes.
    """

    block: int
    waited_ns: int
    passed: bool
    reason: str
    energy: bool = False

    def __post_init__(self) -> None:
        _require_counted(self.block)


@dataclass(frozen=True)
class SoakEvent(Event):
    """The load that brought the device to its sustained state: medians of about a second each, and the hottest zone then.

    `plateau`: the temperature (or, without a thermal zone, the latency) had ceased to move when it ended.
    """

    case_id: str
    at_ns: Tuple[int, ...]
    median_ns: Tuple[int, ...]
    hottest_degc: Tuple[Optional[float], ...]
    plateau: bool
    reason: str

    def __post_init__(self) -> None:
        count = len(self.at_ns)
        equal = count == len(self.median_ns) == len(self.hottest_degc)
        require(equal, "at_ns, median_ns and hottest_degc must be equally long", count)


@dataclass(frozen=True)
class Tuned:
    """One setting on one target (a file, a command): what it was, what was asked for, what was found then.

    `status`: ok, refused (it reads back otherwise), error (it cannot be read); `reason` where it is not ok.
    """

    name: str
    target: str
    before: Optional[str]
    asked: str
    found: Optional[str]
    status: str
    reason: str = ""


@dataclass(frozen=True)
class TuneEvent(Event):
    """Settings were applied, or restored (`action`), each read back."""

    action: str
    settings: Tuple[Tuned, ...]

    def __post_init__(self) -> None:
        require(self.action in ("apply", "restore"), "action must be apply or restore", self.action)


@dataclass(frozen=True)
class FailedEvent(Event):
    """A process that gave no measurement. `final`: the case is given up.

    `cause`: crash, signal, out-of-memory, timeout or error; wrong-output (it computes something else), setting-ignored
    (what is in force is not what was asked for), illegal-instruction (SIGILL) and wrong-target (made for another processor or
    GPU), final at once.
    """

    case_id: str
    block: int
    replicate: int
    attempt: int
    cause: str
    detail: str
    final: bool

    def __post_init__(self) -> None:
        _require_counted(self.block, self.attempt)


@dataclass(frozen=True)
class EndEvent(Event):
    """The job is over. Half-widths as fractions by case_id (null: unknown); `reason` says why it ended:

    decided            every comparison of a live case is as narrow as asked for
    reference-failed   the same, but live cases have lost their reference, and with it their comparison
    budget, blocks     time was up, or the last look was reached, with comparisons still wider than asked for
    failed             every case was given up
    """

    reason: str
    blocks: int
    half_widths: Dict[str, Optional[float]]
    blocks_needed: Dict[str, Optional[int]]

    def __post_init__(self) -> None:
        require(self.reason in ENDS, "reason must be one of " + ", ".join(ENDS), self.reason)


def _require_counted(*numbers: int) -> None:
    require(min(numbers) >= 1, "block and attempt must count from 1", min(numbers))


@dataclass(frozen=True)
class Reply:
    """The last word of a job: how it ended and what the device is. The journal holds the measurements."""

    run: str
    job: str
    reason: str
    blocks: int
    events: int
    half_widths: Dict[str, Optional[float]]
    blocks_needed: Dict[str, Optional[int]]
    failed: Dict[str, str]
    facts: Dict[str, Any]
    versions: Dict[str, str]
    v: int = VERSION

    def __post_init__(self) -> None:
        require(self.v == VERSION, "reply version must be %d" % VERSION, self.v)
        require(self.reason in ENDS, "reason must be one of " + ", ".join(ENDS), self.reason)
