"""What a sensor of power or energy gives: channels, and the trace of each over a stretch of time."""

import operator
from dataclasses import dataclass
from typing import Dict, Tuple

from harness.decode import require

SCOPES = ("rail", "gpu", "package", "package_dram", "module", "board_partial", "dc_input", "wall")
UNITS: Dict[str, str] = {"energy_counter": "J", "instant_power": "W", "averaged_power": "W"}  # by kind
STATUSES = ("ok", "unsupported", "permission", "stale", "error")
MAX_READINGS = 200_000  # per channel and trace
MAX_VALUE = (
    1e15  # of a reading, and of what a channel says of itself: the sun gives more, and sums of squares stay finite
)


@dataclass(frozen=True)
class Channel:
    """One figure that a sensor gives. Its unit follows from its kind (`UNITS`): J for a counter, else W.

    `scope` says what is measured; a `total` is all that its sensor knows of that scope, anything else only a part of it,
    kept and drawn but never added. `update_s`: how often the value becomes a new one (0: unknown); `resolution`: its
    smallest step, in its unit (0: unknown); `average_s`: over how long a mean of `averaged_power` reaches back.
    """

    sensor: str
    name: str
    scope: str
    kind: str
    total: bool
    update_s: float = 0.0
    resolution: float = 0.0
    average_s: float = 0.0

    def __post_init__(self) -> None:
        require(self.scope in SCOPES, "scope must be one of " + ", ".join(SCOPES), self.scope)
        require(self.kind in UNITS, "kind must be one of " + ", ".join(UNITS), self.kind)
        for name in ("update_s", "resolution", "average_s"):
            require(
                0 <= getattr(self, name) <= MAX_VALUE,
                "%s must be from 0 to %g" % (name, MAX_VALUE),
                getattr(self, name),
            )

    @property
    def unit(self) -> str:
        """J or W."""
        return UNITS[self.kind]


@dataclass(frozen=True)
class Gap:
    """A reading that gave no number, when and why; `status` as in `STATUSES`, never ok."""

    t_ns: int
    status: str
    reason: str

    def __post_init__(self) -> None:
        require(self.status in STATUSES[1:], "a gap's status must be one of " + ", ".join(STATUSES[1:]), self.status)


@dataclass(frozen=True)
class Trace:
    """The readings of a channel in the order they were taken: monotonic times in ns, values in its unit, and the gaps."""

    channel: Channel
    t_ns: Tuple[int, ...]
    values: Tuple[float, ...]
    gaps: Tuple[Gap, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.t_ns)
        require(count == len(self.values), "t_ns and values must be equally long", count)
        require(
            max(count, len(self.gaps)) <= MAX_READINGS, "a trace must have at most %d readings" % MAX_READINGS, count
        )
        require(all(map(operator.le, self.t_ns, self.t_ns[1:])), "t_ns must not go backwards", "")
        extremes = (min(self.values, default=0.0), max(self.values, default=0.0))
        require(
            -MAX_VALUE <= extremes[0] <= extremes[1] <= MAX_VALUE, "values must be at most %g" % MAX_VALUE, extremes
        )


@dataclass(frozen=True)
class Stepped:
    """What sensors saw of a step of load, which lasted from `load_ns[0]` to `load_ns[1]` (monotonic).

    `unopened`: "status: reason" of each that could not be opened.
    """

    traces: Tuple[Trace, ...]
    unopened: Dict[str, str]
    load_ns: Tuple[int, int]
