"""What the figure of accuracy plots, as values: one dot per method and rung, and the CSV that lies beside the figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.records import Run
from harness.report.levels import Level, Used, distinct
from harness.report.plotted import ms

Axis = Literal["latency", "energy"]  # what accuracy is traded for

SPREAD = 0.3  # methods stand side by side at a depth, up to so much of a layer to each side


@dataclass(frozen=True)
class Dot:
    """What is plotted of a rung, all its seeds together: latency in ms, accuracy a fraction; None: there is none.

    The limits of an accuracy are Wilson's for one seed, one standard deviation about the mean for several; `x` is where
    the depth is drawn, up to SPREAD beside it. `front`: no other dot of its panel is as fast and as accurate, and better
    in one of the two; `energy_front`: none takes as little energy. Energies are gross, J per inference, of `scope` in
    `scenario`; those of another scope, scenario or rate than the first of a panel are None: they are never compared.
    """

    run: str
    runtime: str
    precision: str
    name: str
    method: str
    control: bool
    rung: int
    seeds: int
    examples: int | None
    depth: float | None
    x: float | None
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    verdict: str | None
    front: bool = False
    energy_j: float | None = None
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    scope: str | None = None
    scenario: str | None = None
    energy_front: bool = False

    def cost(self, axis: Axis) -> float | None:
        """What it takes, on one of the two axes of cost."""
        return self.latency_ms if axis == "latency" else self.energy_j


def dots(runs: Sequence[Run]) -> tuple[Dot, ...]:
    """Return a dot per rung that has an accuracy, run by run; a ladder that stands in several is that of the first."""
    found = [level for level in distinct(runs) if level.accuracy is not None]
    names = list(dict.fromkeys(level.name for level in found))
    table = [_dot(each, names) for each in _comparable(found)]
    virtual = {run.run for run in runs if run.virtual}
    table = [_timeless(dot) if dot.run in virtual else dot for dot in table]
    return tuple(
        replace(dot, front=_on_front(dot, table, "latency"), energy_front=_on_front(dot, table, "energy"))
        for dot in table
    )


def places(table: Sequence[Dot]) -> tuple[tuple[str, str], ...]:
    """The panels: runtimes with their precisions."""
    return tuple(dict.fromkeys((dot.runtime, dot.precision) for dot in table))


def of(table: Sequence[Dot], place: tuple[str, str]) -> list[Dot]:
    """The dots of a panel."""
    return [dot for dot in table if (dot.runtime, dot.precision) == place]


def front(table: Sequence[Dot], axis: Axis = "latency") -> Iterator[Dot]:
    """Yield the dots of the front by rising cost; of those at one place, the first."""
    seen = set()
    mine = [dot for dot in table if (dot.front if axis == "latency" else dot.energy_front)]
    for dot in sorted(mine, key=lambda dot: dot.cost(axis) or 0.0):
        if (place := (dot.cost(axis), dot.accuracy)) not in seen:
            seen.add(place)
            yield dot


def _comparable(found: Sequence[Level]) -> Iterator[tuple[Level, Used | None]]:
    """Yield levels with their energies, where these are of what the first of their panel are of."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for level in found:
        row, used = level.rows[0], level.energy
        same = used is None or first.setdefault((row.runtime, row.precision), used.basis) == used.basis
        yield level, used if same else None


def _timeless(dot: Dot) -> Dot:
    """A dot of an emulated device: its times and energies stand for no real ones."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            *("latency_ms", "latency_low_ms", "latency_high_ms", "verdict"),
            *("energy_j", "energy_low_j", "energy_high_j", "scope", "scenario"),
        )
    )
    return replace(dot, **nothing)


def _dot(of: tuple[Level, Used | None], names: Sequence[str]) -> Dot:
    level, used = of
    row, latency, limits, depth = level.rows[0], level.latency_ns, level.limits, level.depth
    accuracy = level.accuracy
    assert accuracy is not None  # as `dots` chose it
    return Dot(
        run=level.run,
        runtime=row.runtime,
        precision=row.precision,
        name=level.name,
        method=level.ladder.method,
        control=level.is_control,
        rung=level.number,
        seeds=len(level.members),
        examples=level.ladder.test_examples,
        depth=depth,
        x=None if depth is None else depth + _aside(names.index(level.name), len(names), level.number),
        latency_ms=ms(latency.value if latency else None),
        latency_low_ms=ms(latency.low if latency else None),
        latency_high_ms=ms(latency.high if latency else None),
        accuracy=accuracy,
        accuracy_low=limits.low if limits else None,
        accuracy_high=limits.high if limits else None,
        verdict=level.verdict,
        energy_j=used.gross_j.value if used else None,
        energy_low_j=used.gross_j.low if used else None,
        energy_high_j=used.gross_j.high if used else None,
        scope=used.scope if used else None,
        scenario=used.scenario if used else None,
    )


def _aside(place: int, places: int, rung: int) -> float:
    """How far a method stands from its depth; full depth, which all share, stands in the middle."""
    return 0.0 if rung == 0 or places < 2 else SPREAD * (1 - 2 * place / (places - 1))


def _on_front(dot: Dot, table: Sequence[Dot], axis: Axis) -> bool:
    """Whether nothing beats a dot, by point estimates, among those of its panel."""
    mine = dot.cost(axis)
    if mine is None:
        return False
    others = [(each.cost(axis), each.accuracy) for each in of(table, (dot.runtime, dot.precision))]
    return not any(
        cost is not None and cost <= mine and accuracy >= dot.accuracy and (cost, accuracy) != (mine, dot.accuracy)
        for cost, accuracy in others
    )
