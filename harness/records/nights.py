"""A night of the benchmark matrix: what was to be measured, what came of it, what it says. `harness nightly` keeps and shows it.

A row of the matrix is one `harness run` on one device. Its series are the quantities of each rung that it measures, night after
night. `Matrix` is what `nightly:` in inventory.yaml says, as it stands there; `harness.nights.matrix` makes rows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records.canonical import digest

Due = Literal["due", "fresh", "excluded"]
Outcome = Literal["measured", "fresh", "failed", "missing", "unreachable", "out-of-time", "excluded"]
Direction = Literal["worse", "better"]


@dataclass(frozen=True)
class MatrixRow:
    """A row of the matrix: what runs where. `words`: further flags of `harness run`; `canary`: the one that never changes."""

    device: str
    model: str
    method: str
    runtime: str
    precision: str
    threads: int | None = None
    power_mode: str | None = None
    priority: int = 0
    words: Mapping[str, Any] = field(default_factory=dict)
    canary: bool = False

    @property
    def key(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of what is run where; its priority is no part of it."""
        named = ("device", "model", "method", "runtime", "precision", "threads", "power_mode", "canary")
        return digest({**{name: getattr(self, name) for name in named}, "words": dict(self.words)})[:16]

    @property
    def title(self) -> str:
        """What is run, in a few words, without the device."""
        parts = (self.model, self.method, self.runtime, self.precision)
        more = (
            f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else "",
            self.power_mode or "",
            "canary" if self.canary else "",
        )
        return " ".join(filter(None, (*parts, *more)))


@dataclass(frozen=True)
class Block:
    """Every combination of these is a row. No `runtimes`: each device's first; no `threads`: the profile's; None: no power mode.

    `words` are further flags of `harness run` by name; `why`: what the rows are for; `place` is file, line and key, for errors.
    """

    place: str
    devices: tuple[str, ...]
    models: tuple[str, ...]
    methods: tuple[str, ...]
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    threads: tuple[int | None, ...] = (None,)
    power_modes: tuple[str | None, ...] = (None,)
    priority: int = 0
    words: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Pick:
    """The rows that have one of each of these; what is empty leaves any. `place` is file, line and key, for errors."""

    place: str
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    power_modes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exclusion:
    """Rows that are not measured, and why."""

    pick: Pick
    reason: str


@dataclass(frozen=True)
class Override:
    """Rows that differ from the others: another priority (None: as it is), further words or others."""

    pick: Pick
    priority: int | None = None
    words: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """What is measured every night: `blocks` without `excludes`, `includes`, single rows that no exclusion reaches; `overrides`.

    `budget_s` of each device and night. `canary`: the row, as a block without devices, that never changes. `max_age_days`: nights
    after which a row is measured again although nothing changed; None: never. After
    `keep_samples_days` raw samples of runs are given up; None: never. `place` is file, line and key, for errors.
    """

    place: str
    budget_s: float
    canary: Block
    blocks: tuple[Block, ...] = ()
    includes: tuple[Block, ...] = ()
    excludes: tuple[Exclusion, ...] = ()
    overrides: tuple[Override, ...] = ()
    max_age_days: int | None = None
    keep_samples_days: int | None = None


@dataclass(frozen=True)
class PlannedRow:
    """A row tonight: whether it is due and why (or why not), seconds that it takes by its history, the run that is fresh."""

    row: MatrixRow
    due: Due
    reason: str
    expected_s: float | None = None
    run: str | None = None


@dataclass(frozen=True)
class RowOutcome:
    """What came of a row: its run, the run that repeated it to confirm a change, and why there is none.

    `new`: no earlier night has it. `failed_before`: the newest earlier night on which it was tried failed, too. `last`: the
    newest earlier night that measured it. `here` and `there`: what its result depends on, by name, as this machine and the device
    told it; where they differ next time, the row is due again. `build_s`: how long its artifacts took, if all were built tonight.
    `state`: the verdict of its run, `contended` and the like.
    """

    row: MatrixRow
    outcome: Outcome
    reason: str = ""
    run: str | None = None
    again: str | None = None
    seconds: float | None = None
    new: bool = False
    failed_before: bool = False
    last: str | None = None
    here: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, str] = field(default_factory=dict)
    build_s: float | None = None
    state: str = ""


@dataclass(frozen=True)
class SeriesChange:
    """A confirmed change of one quantity of one rung: tonight's level over the one before, with its interval, and since when.

    `quantity`: latency, p99, energy, accuracy, artifact size, fold error or build time; `unit` is that of `before` and `after`.
    """

    row: MatrixRow
    rung: str
    quantity: str
    unit: str
    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    since: str
    direction: Direction


@dataclass(frozen=True)
class Night:
    """A night: when, what came of every row, confirmed changes, what was annotated (upgrades), devices to blame and why.

    `suspected` are changes that a second run did not confirm; `waiting`: devices whose changes of time and energy could not be
    confirmed tonight, for their canary does not vouch for them, and why. Times are UTC, ISO 8601; `ended` is None while it goes
    on. `night` begins with the day on which it began; `session` is that of all its runs. `number` counts the nights of a folder
    and gives their order: a clock may be set between two of them. 0: of before there were numbers.
    """

    schema: int
    night: str
    began: str
    ended: str | None
    rows: tuple[RowOutcome, ...] = ()
    changes: tuple[SeriesChange, ...] = ()
    suspected: tuple[SeriesChange, ...] = ()
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blamed: Mapping[str, str] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    session: str = ""
    number: int = 0
