"""What travels between controller and device: the job, the journal's events, the reply, sample tensors.

Both sides use this file, so it is standard library only and runs on Python 3.8. Everything is JSON. Reading is
the third of the four doors (CONTRIBUTING.md, Bad input): version, required and unknown keys, types, finite numbers,
bounded sizes, names that cannot leave the job's folder. Past it, code trusts its types.

    controller                                      device (workdir)
    job.json, artifacts/<sha256>     -- put -->     jobs/<job>/job.json, artifacts/<sha256>
    events.jsonl (copy)           <-- follow --     jobs/<job>/events.jsonl   the journal: the truth, append-only
    reply                            <-- get --     jobs/<job>/reply.json     written last
"""

import base64
import dataclasses
import json
import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple, Type, TypeVar

from harness.errors import WireError

VERSION = 1
MAX_LINE_BYTES = 16 * 2**20  # one journal line: 200,000 samples with their starts, and room
MAX_SAMPLES = 200_000  # per process
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


# --- the job -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileRef:
    """A file in the device's `artifacts/` folder, named by the SHA-256 of its bytes."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        _require(_SHA256.fullmatch(self.sha256) is not None, "sha256 must be 64 hexadecimal digits", self.sha256)
        _require(self.size_bytes >= 0, "size_bytes must not be negative", self.size_bytes)


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
            _require(getattr(self, name) > 0, name + " must be positive", getattr(self, name))
        _require(0 < self.alpha < 1, "alpha must lie between 0 and 1", self.alpha)
        _require(self.min_samples <= self.max_samples <= MAX_SAMPLES, "max_samples out of range", self.max_samples)
        ascending = list(self.looks) == sorted(set(self.looks)) and self.looks and self.looks[0] >= 2
        _require(bool(ascending), "looks must be ascending block counts from 2", self.looks)


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
        _require(re.fullmatch(r"[0-9a-f]{16}", self.case_id) is not None, "case_id must be 16 hex digits", self.case_id)
        for name in ("threads", "batch", "replicates"):
            _require(1 <= getattr(self, name) <= 4096, name + " must be from 1 to 4096", getattr(self, name))
        _require(self.tolerance > 0, "tolerance must be positive", self.tolerance)


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
        _require(self.v == VERSION, "job version must be %d" % VERSION, self.v)
        for name in ("run", "job", "runtime"):
            require_name(getattr(self, name), name)
        ids = [case.case_id for case in self.cases]
        _require(len(ids) > 0, "a job needs at least one case", len(ids))
        _require(len(set(ids)) == len(ids), "case_ids must be distinct", ids)
        known = set(ids)
        _require(all(set(pair) <= known for pair in self.comparisons), "comparisons must name cases of the job", "")


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
    """An agent began, or went on with, the job. `spin_ns`: the device's best spin so far, by thread count."""

    run: str
    job: str
    agent: str
    pid: int
    resumed: bool
    facts: Dict[str, Any]
    spin_ns: Dict[str, int]


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
        _require(len(self.latency_ns) == len(self.start_ns), "latency_ns and start_ns must be equally long", "")
        _require(0 < len(self.latency_ns) <= MAX_SAMPLES, "between 1 and %d samples" % MAX_SAMPLES, "")
        _require(min(self.latency_ns) >= 0, "latency_ns must not be negative", min(self.latency_ns))
        starts = self.start_ns
        _require(all(a <= b for a, b in zip(starts, starts[1:])), "start_ns must not go backwards", "")


@dataclass(frozen=True)
class StateEvent(Event):
    """System state at one moment: each reading is (sensor, scope, kind, status, value, unit); value null unless ok."""

    block: int
    when: str
    readings: Tuple[Tuple[str, str, str, str, Optional[float], str], ...]


@dataclass(frozen=True)
class FailedEvent(Event):
    """A process that gave no measurement. `cause`: crash, signal, wrong-output, out-of-memory, timeout or error."""

    case_id: str
    block: int
    replicate: int
    attempt: int
    cause: str
    detail: str
    final: bool


@dataclass(frozen=True)
class EndEvent(Event):
    """The job is over. `reason`: decided, budget, blocks, failed; half-widths as fractions by case_id (null: unknown)."""

    reason: str
    blocks: int
    half_widths: Dict[str, Optional[float]]
    blocks_needed: Dict[str, Optional[int]]


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
        _require(self.v == VERSION, "reply version must be %d" % VERSION, self.v)


# --- tensors -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tensor:
    """A dense float32 tensor in C order; `data` is base64 of its little-endian bytes."""

    shape: Tuple[int, ...]
    data: str

    def __post_init__(self) -> None:
        size = 4
        for extent in self.shape:
            _require(extent >= 1, "a tensor's extents must be positive", self.shape)
            size *= extent
        _require(size <= 2**30, "a tensor must be at most 1 GiB", size)
        _require(len(self.data) == 4 * ((size + 2) // 3), "a tensor's data must match its shape", len(self.data))

    @classmethod
    def of(cls, shape: typing.Sequence[int], raw: bytes) -> "Tensor":
        """Wrap the little-endian float32 bytes `raw` of a C-ordered array with this `shape`."""
        return cls(tuple(int(n) for n in shape), base64.b64encode(raw).decode("ascii"))

    def raw(self) -> bytes:
        """Return the little-endian float32 bytes."""
        return base64.b64decode(self.data)


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


def read_journal(text: str, where: str) -> List[Event]:
    """Read whole journal lines and check that `seq` runs 0, 1, 2, ... An incomplete last line (a torn write) is left out."""
    lines = text.split("\n")[:-1]
    events = [decode_event(line, "%s line %d" % (where, n + 1)) for n, line in enumerate(lines)]
    for n, event in enumerate(events):
        if event.seq != n:
            raise WireError("%s line %d: seq must be %d, it is %d" % (where, n + 1, n, event.seq))
    return events


def require_name(name: str, what: str) -> str:
    """Check that `name` is one plain path component (letters, digits, . _ + -) and return it."""
    _require(_NAME.fullmatch(name) is not None, what + " must be a plain name", name)
    return name


def parse(text: str, where: str) -> Any:
    """Parse JSON, refusing NaN, infinities, duplicate keys and lines beyond MAX_LINE_BYTES."""
    if len(text) > MAX_LINE_BYTES:
        raise WireError("%s: %d characters, at most %d are accepted" % (where, len(text), MAX_LINE_BYTES))
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise WireError("%s: not JSON: %s" % (where, error)) from None


def build(kind: Type[T], value: Any, where: str) -> T:
    """Turn parsed JSON into the dataclass `kind`, checking keys and types all the way down. Raises WireError."""
    try:
        return typing.cast(T, _convert(kind, value, where))
    except ValueError as error:
        raise WireError("%s: %s" % (where, error)) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _convert_fields(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Union:  # Optional[X] is the only union of this file
        return None if value is None else _convert(arguments[0], value, where)
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {key: _convert(arguments[1], item, where + "." + key) for key, item in value.items()}
    if origin is tuple:
        return _convert_items(arguments, value, where)
    return _convert_scalar(hint, value, where)


def _convert_fields(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(known))
    _expect(not unknown, "an object without unknown keys", unknown, where)
    has_default = (
        f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING for f in known.values()
    )
    missing = [name for (name, optional) in zip(known, has_default) if not optional and name not in value]
    _expect(not missing, "an object with " + ", ".join(missing), sorted(value), where)
    return kind(**{name: _convert(hints[name], item, where + "." + name) for name, item in value.items()})


def _convert_items(arguments: Tuple[Any, ...], value: Any, where: str) -> Tuple[Any, ...]:
    _expect(isinstance(value, (list, tuple)), "a list", value, where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        if arguments[0] is int:  # the long lists of samples: one pass, no call per item
            _expect(all(type(item) is int for item in value), "a list of integers", "another type", where)
            return tuple(value)
        return tuple(_convert(arguments[0], item, "%s[%d]" % (where, n)) for n, item in enumerate(value))
    _expect(len(value) == len(arguments), "a list of %d" % len(arguments), value, where)
    return tuple(_convert(hint, item, "%s[%d]" % (where, n)) for n, (hint, item) in enumerate(zip(arguments, value)))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        _expect(math.isfinite(value), "a finite number", value, where)
        return float(value)
    _expect(type(value) is hint, "of type " + getattr(hint, "__name__", str(hint)), value, where)
    return value


def _expect(condition: bool, rule: str, value: Any, where: str) -> None:
    if not condition:
        raise WireError("%s: must be %s, it is %.200r" % (where, rule, value))


def _require(condition: bool, rule: str, value: Any) -> None:
    if not condition:
        raise ValueError("%s, not %.200r" % (rule, value))


def _refuse_constant(text: str) -> None:
    raise ValueError("%s is not a number that JSON has" % text)


def _distinct(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return items
