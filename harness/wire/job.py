"""The job: what goes to a device (one runtime, all its cases, how to measure them)."""

import re
from dataclasses import dataclass, field
from typing import Dict, NamedTuple, Optional, Tuple

from harness.decode import require
from harness.wire.names import VERSION, require_name
from harness.wire.plans import EnergyPlan

MAX_SAMPLES = 200_000  # per process
REGIMES = ("burst", "sustained")
CPUS = "cpus"  # an option of every runtime: on which CPUs a measured process runs
_PLACE = re.compile(r"([1-9][0-9]{0,3})(?: on ([0-9]{1,4}(?:,[0-9]{1,4})*))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Place(NamedTuple):
    """Where a case computes: in so many threads, on the CPUs of its option `cpus`, "" where it may use all."""

    threads: int
    cpus: str = ""

    def __str__(self) -> str:
        """As keys of journals and of the device's files say it: `2`, or `2 on 0,1`."""
        return "%d on %s" % self if self.cpus else str(self.threads)

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read such a key. Raises ValueError."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError("a place must be a thread count, or one with CPUs like `2 on 0,1`, not %.200r" % text)
        return cls(int(found.group(1)), found.group(2) or "")


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

    `regime` says in which thermal state: `burst` measures a cool device, which before each block (and after throttling)
    waits at most `cooldown_s` until its hottest zone is within `cooldown_degc` of where it stood when the job began, and
    moves by at most `cooldown_drift` degC per minute (0 s: no waiting); `sustained` first loads it for at most `soak_s`,
    until its temperature rises no more, and never waits.
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
    regime: str = "burst"
    cooldown_s: float = 0.0
    cooldown_degc: float = 2.0
    cooldown_drift: float = 0.5
    soak_s: float = 600.0

    def __post_init__(self) -> None:
        positive = ("budget_s", "half_width", "timed_s", "warmup_window_s", "warmup_cap_s", "spin_s", "process_limit_s")
        for name in (*positive, "min_samples", "attempts", "warmup_tolerance", "spin_tolerance"):
            require(getattr(self, name) > 0, name + " must be positive", getattr(self, name))
        for name in ("cooldown_s", "cooldown_degc", "cooldown_drift", "soak_s"):
            require(getattr(self, name) >= 0, name + " must not be negative", getattr(self, name))
        require(self.regime in REGIMES, "regime must be one of " + ", ".join(REGIMES), self.regime)
        require(0 < self.alpha < 1, "alpha must lie between 0 and 1", self.alpha)
        require(self.min_samples <= self.max_samples <= MAX_SAMPLES, "max_samples out of range", self.max_samples)
        ascending = list(self.looks) == sorted(set(self.looks)) and self.looks and self.looks[0] >= 2
        require(bool(ascending), "looks must be ascending block counts from 2", self.looks)


@dataclass(frozen=True)
class JobCase:
    """One case as the device needs it: what to load, with what, and what its output must be.

    `sample` holds inputs and the torch network's outputs; an artifact whose relative max-abs error on them exceeds
    `tolerance` is a failed case. `replicates` is the number of processes per block (1, more for a reference).
    `made_for` is the processor that the artifact was compiled for, empty where its format knows none.
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
    made_for: str = ""

    def __post_init__(self) -> None:
        require(re.fullmatch(r"[0-9a-f]{16}", self.case_id) is not None, "case_id must be 16 hex digits", self.case_id)
        for name in ("threads", "batch", "replicates"):
            require(1 <= getattr(self, name) <= 4096, name + " must be from 1 to 4096", getattr(self, name))
        require(self.tolerance > 0, "tolerance must be positive", self.tolerance)

    @property
    def place(self) -> Place:
        """Where it computes: what its spins and ceilings go by."""
        return Place(self.threads, self.options.get(CPUS, ""))


@dataclass(frozen=True)
class Setting:
    """A state of the device to bring about for a job and undo after it: files with a value, or commands.

    `name` is what `--tune` calls it. `file` is a pattern of absolute paths, and each file gets `value` ("@name": what the
    file of that name beside it holds). Or `apply` is run, `query` before and after it (its output is what is compared
    with `value`, a regular expression), and `restore` at the end; "{before}" in it is what `query` said before.
    """

    name: str
    value: str
    file: str = ""
    apply: Tuple[str, ...] = ()
    query: Tuple[str, ...] = ()
    restore: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_name(self.name, "a setting's name")
        commands = bool(self.apply and self.query and self.restore)
        require(self.file.startswith("/") != commands, "a setting needs a file, or apply, query and restore", self.name)
        if commands:
            require(_is_pattern(self.value), "what a query is to say must be a regular expression", self.value)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """All cases of one device and runtime. `comparisons` are (case_id, reference case_id) pairs, one per ladder row.

    `tune` are the settings to bring about while it is measured. `profile`: time the operators too, once it is measured.
    `energy`: the passes that measure energy, after the latencies; None: no meter can be read, or none was asked for.
    `look`: once all is measured, look at what ran as each case, and at what the device can do; nothing of a plan's tables rests
    on that.
    """

    run: str
    job: str
    runtime: str
    seed: int
    cases: Tuple[JobCase, ...]
    comparisons: Tuple[Tuple[str, str], ...]
    protocol: Protocol = field(default_factory=Protocol)
    tune: Tuple[Setting, ...] = ()
    profile: bool = False
    energy: Optional[EnergyPlan] = None
    look: bool = True
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

    def files(self) -> Tuple[FileRef, ...]:
        """Return the files that the job needs in `artifacts/`, each once."""
        return tuple(dict.fromkeys(file for case in self.cases for file in (case.artifact, case.sample)))
