"""What a device tells of the networks that it really runs, and of what it can do at best: journal events of a job's end."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from harness.decode import require
from harness.wire.events import Event

MAX_OPERATORS = 20_000  # per network
MAX_WORDS = 200  # characters of what an operator says of itself: exporters write paths of modules into names


@dataclass(frozen=True)
class Operator:
    """One operator of a graph as it was loaded: `name` and `kind` in the runtime's own words.

    `macs`: multiply-adds of one inference, 0 where the kind does none, None where it could not be counted. `bytes`: its
    inputs, weights and outputs, None where their sizes are not told. `time_ns`: median of one inference, with `--profile`
    alone. `dtype`: the numbers that it computes in (`fp32`, `fp16`, `int8`), "" where that is not told. `layout`: "" likewise.
    """

    name: str
    kind: str
    macs: Optional[int]
    bytes: Optional[int]
    time_ns: Optional[int] = None
    dtype: str = ""
    layout: str = ""

    def __post_init__(self) -> None:
        for number in (self.macs, self.bytes, self.time_ns):
            require(number is None or number >= 0, "an operator's numbers must not be negative", number)
        longest = max(map(len, (self.name, self.kind, self.dtype, self.layout)))
        require(longest <= MAX_WORDS, "an operator's words must have at most %d characters" % MAX_WORDS, longest)


@dataclass(frozen=True)
class GraphEvent(Event):
    """The operators of a case's network in their order, from a process of its own in which nothing was timed for the case.

    `reason` is why there are none: the format cannot be walked, or the process failed. `inferences`: how many the times are
    medians of; 0 where nothing was profiled. `counters`: hardware counters per inference by perf's names (`instructions`,
    `cycles`, `cache-misses`), null where the device does not permit or have them, with the cause under `reasons`.
    `contended`: somebody else used the processor meanwhile, as in `ProcessEvent`; False in journals that do not tell it.
    """

    case_id: str
    operators: Tuple[Operator, ...]
    reason: str = ""
    inferences: int = 0
    counters: Dict[str, Optional[float]] = field(default_factory=dict)
    reasons: Dict[str, str] = field(default_factory=dict)
    contended: bool = False

    def __post_init__(self) -> None:
        for number in self.counters.values():
            require(number is None or number >= 0, "counters must not be negative", number)
        require(len(self.operators) <= MAX_OPERATORS, "too many operators", len(self.operators))
        require(bool(self.operators) != bool(self.reason), "operators or the reason why there are none", self.reason)


@dataclass(frozen=True)
class CeilingsEvent(Event):
    """What this device did at best with `threads` on `cpus`: a matrix product in float32, and a copy, in a fresh process.

    `macs_per_s` and `bytes_per_s` (read and written) are the best of several; null with `reason`. `made_with`: the library and
    its version. `settings`: sizes of both. `cpus`: the cases' option of that name, "" where they have none. `contended`:
    somebody else used the processor meanwhile, so that nothing may be judged by them; False in journals that do not tell it.
    """

    threads: int
    macs_per_s: Optional[float]
    bytes_per_s: Optional[float]
    made_with: str
    settings: Dict[str, Any]
    reason: str = ""
    cpus: str = ""
    contended: bool = False

    def __post_init__(self) -> None:
        for ceiling in (self.macs_per_s, self.bytes_per_s):
            require(ceiling is None or ceiling > 0, "a ceiling must be above 0", ceiling)
        require(1 <= self.threads <= 4096, "threads must be from 1 to 4096", self.threads)
        known = self.macs_per_s is not None and self.bytes_per_s is not None
        require(known != bool(self.reason), "both ceilings or the reason why there are none", self.reason)
