"""What travels between controller and device: the job, the journal's events, the reply, sample tensors.

Both sides use this file, so it is standard library only and runs on Python 3.8. Everything is JSON. Reading is
the third of the four doors (CONTRIBUTING.md, Bad input): version, required and unknown keys, types, finite numbers,
bounded sizes (`decode`), names that cannot leave the job's folder, events that belong to the job. Past it, code trusts
its types.

    controller                                      device (workdir)
    job.json, artifacts/<sha256>     -- put -->     jobs/<job>/job.json, artifacts/<sha256>
    events.jsonl (copy)           <-- follow --     jobs/<job>/events.jsonl   the journal: the truth, append-only
    reply                            <-- get --     jobs/<job>/reply.json     written last
"""

import base64
import dataclasses
import json
import operator
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, TypeVar

from harness import decode as json_decode
from harness.decode import build, require
from harness.errors import WireError

VERSION = 1
MAX_LINE_BYTES = 16 * 2**20  # one journal line: 200,000 samples with their starts, and room
MAX_SAMPLES = 200_000  # per process
ENDS = ("decided", "reference-failed", "budget", "blocks", "failed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")

T = TypeVar("T")


# --- the job -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileRef:
    """A file in the device's `artifacts/` folder, named by the SHA-256 of its bytes."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        require(_SHA256.fullmatch(self.sha256) is not None, "sha256 must be 64 hexadecimal digits", self.sha256)
        require(self.size_bytes >= 0, "size_bytes must not be negative", self.size_bytes)


@dataclass(frozen=True)
class Protocol:
    """How a job is measured. Times in seconds; `half_width` and `spin_tolerance` as fractions.

    `looks` are the block counts at which the stopping rule looks; `alpha` is split evenly over them, so that the
    intervals hold at all looks together. The last look is also the most blocks a job will do.
    """

    budget_s: float = 240.0
    half_width: float = 0.02
    alpha: float = 0.05
    looks: Tuple[int, ...] = (6, 10, 16, 24, 36)
    timed_s: float = 0.3
    min_samples: int = 10
    max_samples: int = 5_000
    warmup_window_s: float = 0.03
    warmup_tolerance: float = 0.02
    warmup_cap_s: float = 2.0
    spin_s: float = 0.02
    spin_tolerance: float = 0.10
    attempts: int = 3
    process_limit_s: float = 300.0

    def __post_init__(self) -> None:
        positive = ("budget_s", "half_width", "timed_s", "warmup_window_s", "warmup_cap_s", "spin_s", "process_limit_s")
        for name in (*positive, "min_samples", "attempts", "warmup_tolerance", "spin_tolerance"):
            require(getattr(self, name) > 0, name + " must be positive", getattr(self, name))
        require(0 < self.alpha < 1, "alpha must lie between 0 and 1", self.alpha)
        require(self.min_samples <= self.max_samples <= MAX_SAMPLES, "max_samples out of range", self.max_samples)
        ascending = list(self.looks) == sorted(set(self.looks)) and self.looks and self.looks[0] >= 2
        require(bool(ascending), "looks must be ascending block counts from 2", self.looks)


@dataclass(frozen=True)
class JobCase:
    """One case as the device needs it: what to load, with what, and what its output must be.

    `sample` holds inputs and the torch network's outputs; an artifact whose relative max-abs error on them exceeds
    `tolerance` is a failed case. `replicates` is the number of processes per block (1, more for a reference).
    """

    case_id: str
    label: str
    artifact: FileRef
    sample: FileRef
    tolerance: float
    precision: str
    threads: int
    batch: int
    options: Dict[str, str] = field(default_factory=dict)
    replicates: int = 1

    def __post_init__(self) -> None:
        require(re.fullmatch(r"[0-9a-f]{16}", self.case_id) is not None, "case_id must be 16 hex digits", self.case_id)
        for name in ("threads", "batch", "replicates"):
            require(1 <= getattr(self, name) <= 4096, name + " must be from 1 to 4096", getattr(self, name))
        require(self.tolerance > 0, "tolerance must be positive", self.tolerance)


@dataclass(frozen=True)
class Job:
    """All cases of one device and runtime. `comparisons` are (case_id, reference case_id) pairs, one per ladder row."""

    run: str
    job: str
    runtime: str
    seed: int
    cases: Tuple[JobCase, ...]
    comparisons: Tuple[Tuple[str, str], ...]
    protocol: Protocol = field(default_factory=Protocol)
    v: int = VERSION

    def __post_init__(self) -> None:
        require(self.v == VERSION, "job version must be %d" % VERSION, self.v)
        for name in ("run", "job", "runtime"):
            require_name(getattr(self, name), name)
        ids = [case.case_id for case in self.cases]
        require(len(ids) > 0, "a job needs at least one case", len(ids))
        require(len(set(ids)) == len(ids), "case_ids must be distinct", ids)
        known = set(ids)
        require(all(set(pair) <= known for pair in self.comparisons), "comparisons must name cases of the job", "")


# --- the journal ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """What every journal line carries: format version, gapless sequence number, device-monotonic time in ns."""

    v: int
    seq: int
    t_ns: int
    kind: str


@dataclass(frozen=True)
class StartEvent(Event):
    """An agent began, or went on with, the job. `spin_ns`: the device's best spin so far, by thread count.

    Among `facts`: `boot_id`, `versions` of the runtime, `spin_rounds` (the work in a spin), `spin_stored_ns` (thread
    count -> a best of earlier jobs that this job could not come near when it began), `clock_resolution_ns`.
    """

    run: str
    job: str
    agent: str
    pid: int
    resumed: bool
    facts: Dict[str, Any]
    spin_ns: Dict[str, int]

    def __post_init__(self) -> None:
        plain = all(_COUNT.fullmatch(threads) for threads in self.spin_ns)
        require(plain, "spin_ns must go by thread count", sorted(self.spin_ns))


@dataclass(frozen=True)
class ProcessEvent(Event):
    """One fresh process: a case measured once in a block. Times in ns on the device's monotonic clock.

    `import_ns` is interpreter start and runtime import, `load_ns` loading the artifact; `warmup_ns` and `latency_ns`
    hold every inference in order and `start_ns` when each timed one began. `contended` when a spin beside it was
    slower than the device's best by more than the tolerance; then it is measured again as the next `attempt`, and the
    last attempt of a (case, block, replicate) counts. `wall_ns` runs from start to exit of the process as the agent sees it.
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
    """System state at one moment: each reading is (sensor, scope, kind, status, value, unit); value null unless ok."""

    block: int
    when: str
    readings: Tuple[Tuple[str, str, str, str, Optional[float], str], ...]

    def __post_init__(self) -> None:
        _require_counted(self.block)
        for sensor, _, _, status, value, _ in self.readings:
            require((value is None) == (status != "ok"), sensor + " must be null unless its status is ok", value)


@dataclass(frozen=True)
class FailedEvent(Event):
    """A process that gave no measurement. `final`: the case is given up.

    `cause`: crash, signal, out-of-memory, timeout or error; wrong-output (it computes something else) and
    setting-ignored (what is in force is not what was asked for), both final at once.
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


EVENTS: Dict[str, Type[Event]] = {
    "start": StartEvent,
    "process": ProcessEvent,
    "state": StateEvent,
    "failed": FailedEvent,
    "end": EndEvent,
}


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


# --- tensors -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """A dense float32 tensor in C order; `data` is base64 of its little-endian bytes."""

    shape: Tuple[int, ...]
    data: str

    def __post_init__(self) -> None:
        size = 4
        for extent in self.shape:
            require(extent >= 1, "a tensor's extents must be positive", self.shape)
            size *= extent
        require(size <= 2**30, "a tensor must be at most 1 GiB", size)
        require(len(self.data) == 4 * ((size + 2) // 3), "a tensor's data must match its shape", len(self.data))

    @classmethod
    def of(cls, shape: Sequence[int], raw: bytes) -> "Tensor":
        """Wrap the little-endian float32 bytes `raw` of a C-ordered array with this `shape`."""
        return cls(tuple(int(n) for n in shape), base64.b64encode(raw).decode("ascii"))

    def raw(self) -> bytes:
        """Return the little-endian float32 bytes."""
        return base64.b64decode(self.data)

    def rows(self, first: int, count: int) -> "Tensor":
        """Return the rows (first axis) `first` to `first + count - 1` as a tensor of their own."""
        raw = self.raw()
        size = len(raw) // self.shape[0]
        return Tensor.of((count, *self.shape[1:]), raw[first * size : (first + count) * size])


@dataclass(frozen=True)
class Sample:
    """Inputs of a network (batch first) and the outputs that torch gave for them in float32."""

    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]


# --- reading and writing -------------------------------------------------------------------------------------------


def encode(value: Any) -> str:
    """Write a dataclass of this file as one line of canonical JSON (sorted keys, no spaces, no NaN)."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode(kind: Type[T], text: str, where: str) -> T:
    """Read `kind` from JSON `text`; `where` names the source in errors. Raises WireError at the first broken rule."""
    return build(kind, parse(text, where), where)


def parse(text: str, where: str) -> Any:
    """Parse JSON of at most MAX_LINE_BYTES characters, with finite, bounded numbers. Raises WireError."""
    return json_decode.parse(text, MAX_LINE_BYTES, where)


def decode_event(line: str, where: str) -> Event:
    """Read one journal line as the event its `kind` says. Raises WireError."""
    value = parse(line, where)
    name = value.get("kind") if isinstance(value, dict) else None
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError("%s: kind must be one of %s" % (where, ", ".join(sorted(EVENTS))))
    event = build(kind, value, where)
    if event.v != VERSION:
        raise WireError("%s: journal version %d, this program reads %d" % (where, event.v, VERSION))
    return event


def read_journal(text: str, where: str, first: int = 0) -> List[Event]:
    """Read whole journal lines and check that `seq` runs `first`, `first` + 1, ... A torn last line is left out."""
    lines = text.split("\n")[:-1]
    events = [decode_event(line, "%s line %d" % (where, n)) for n, line in enumerate(lines, first + 1)]
    for n, event in enumerate(events, first):
        if event.seq != n:
            raise WireError("%s line %d: seq must be %d, it is %d" % (where, n + 1, n, event.seq))
    return events


class JournalReader:
    """Reads a job's journal piece by piece, as it grows; every line must belong to the job and follow the one before.

    `seq` runs 0, 1, 2, ...; time may go backwards only where the device has booted anew: at a start whose `boot_id` is
    another one, or unknown.
    """

    def __init__(self, job: Job, where: str) -> None:
        self.job, self.where = job, where
        self.replicates = {case.case_id: case.replicates for case in job.cases}
        self.events = 0
        self._last_t_ns = 0
        self._boot: Any = None

    def read(self, text: str) -> List[Event]:
        """Return the events of the next whole lines. Raises WireError, and then has read nothing of them."""
        found = read_journal(text, self.where, first=self.events)
        last_t_ns, boot = self._last_t_ns, self._boot
        for n, event in enumerate(found, self.events):
            try:
                if isinstance(event, StartEvent):
                    before, boot = boot, event.facts.get("boot_id")
                    last_t_ns = last_t_ns if boot is not None and boot == before else 0
                self._check(n, event, last_t_ns)
            except ValueError as error:
                raise WireError("%s line %d: %s" % (self.where, n + 1, error)) from None
            last_t_ns = event.t_ns
        self.events += len(found)
        self._last_t_ns, self._boot = last_t_ns, boot
        return found

    def _check(self, n: int, event: Event, last_t_ns: int) -> None:
        require(n > 0 or isinstance(event, StartEvent), "a journal must begin with a start", event.kind)
        require(event.t_ns >= last_t_ns, "t_ns must not go back from %d" % last_t_ns, event.t_ns)
        if isinstance(event, StartEvent):
            ours, named = (self.job.run, self.job.job), (event.run, event.job)
            require(named == ours, "run and job must be %s, %s" % ours, named)
        _require_place(event, self.replicates, self.job.protocol.looks[-1])


def _require_place(event: Event, replicates: Dict[str, int], most_blocks: int) -> None:
    """Raise ValueError unless an event is about a case, replicate and block that the job has."""
    if isinstance(event, (ProcessEvent, FailedEvent)):
        require(event.case_id in replicates, "case_id must be one of the job's", event.case_id)
        most = replicates[event.case_id]
        require(event.replicate < most, "replicate must be below %d" % most, event.replicate)
    if isinstance(event, (ProcessEvent, FailedEvent, StateEvent)):
        require(event.block <= most_blocks, "block must be at most %d" % most_blocks, event.block)
    if isinstance(event, EndEvent):
        named = {*event.half_widths, *event.blocks_needed}
        require(named <= set(replicates), "an end must name cases of the job", sorted(named - set(replicates)))


def require_name(name: str, what: str) -> str:
    """Check that `name` is one plain path component (letters, digits, . _ + -) and return it."""
    require(_NAME.fullmatch(name) is not None, what + " must be a plain name", name)
    return name
