"""What a comparison of two runs is: frozen records, a field per thing that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import EnergyVerdict, Estimate, Interval, RunVerdict, Status
from harness.stats.across import Across

SCHEMA = 1
FAILED, REGRESSION = 1, 3  # exit codes


@dataclass(frozen=True)
class Head:
    """One of the two runs."""

    run: str
    device: str
    created: str
    commit: str | None
    verdict: RunVerdict | None


@dataclass(frozen=True)
class Unlike:
    """A fact that the runs do not share, and both its values in words."""

    fact: str
    a: str
    b: str


@dataclass(frozen=True)
class Measured:
    """A row in one run: its case, how that went, its latency in ns; counted are processes."""

    case_id: str | None
    status: Status
    latency_ns: Estimate | None
    blocks: int
    contended: int
    throttled: int


@dataclass(frozen=True)
class EnergyRatio:
    """Gross energy per inference in A over that in B, J, of one scope, sensor, scenario and rate: above 1, B takes less.

    The interval holds for all rows at once.
    """

    a: Interval
    b: Interval
    scope: str
    sensor: str
    scenario: str
    rate_hz: float | None
    ratio: float
    low: float | None
    high: float | None
    verdict: EnergyVerdict


@dataclass(frozen=True)
class Row:
    """A ladder's rung, or a control, in both runs, or in one of them.

    `ratio` is latency in A over latency in B; `reason` says why it is None. `same_artifact`: byte for byte; None where a run
    has none. `energy_reason` says why `energy` is None, where a run has any. `runtime`, `precision`, `method`, `model` and
    `task` are A's (B's where A has no such row).
    """

    label: str
    ladder: str
    rung: int | None
    model: str
    task: str | None
    method: str
    runtime: str
    precision: str
    a: Measured | None
    b: Measured | None
    same_artifact: bool | None
    ratio: Across | None
    reason: str | None
    energy: EnergyRatio | None = None
    energy_reason: str | None = None

    @property
    def lost(self) -> bool:
        """Whether the case was measured well in A and failed in B."""
        return self.a is not None and self.b is not None and self.a.status == "ok" and self.b.status == "failed"


@dataclass(frozen=True)
class Comparison:
    """Two runs compared. `unlike` are the facts that were waived; `floors` the A/A floors of both, on the log scale, by runtime.

    `between`: how far apart the same artifacts came to lie (`stats.across`); None where that says nothing of the device.
    """

    a: Head
    b: Head
    unlike: tuple[Unlike, ...]
    rows: tuple[Row, ...]
    floors: Mapping[str, tuple[float | None, float | None]]
    between: float | None
    notes: tuple[str, ...]

    def count(self, verdict: str) -> int:
        """How many rows have a verdict."""
        return sum(row.ratio is not None and row.ratio.verdict == verdict for row in self.rows)

    def count_energy(self, verdict: str) -> int:
        """How many rows have a verdict of energy."""
        return sum(row.energy is not None and row.energy.verdict == verdict for row in self.rows)

    @property
    def exit_code(self) -> int:
        """1 when a case failed in B that was measured in A, else 3 when a row is slower or takes more energy, else 0.

        A row of the same artifact counts too: then the device became slower, which whoever compares wants to know as well.
        """
        if any(row.lost for row in self.rows):
            return FAILED
        return REGRESSION if self.count("slower") or self.count_energy("more") else 0
