"""What the figure of accuracy plots, as values: one dot per method and rung, and the CSV that lies beside the figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.records import Run
from harness.report.levels import Level, distinct
from harness.report.plotted import ms

SPREAD = 0.3  # methods stand side by side at a depth, up to so much of a layer to each side


@dataclass(frozen=True)
class Dot:
    """What is plotted of a rung, all its seeds together: latency in ms, accuracy a fraction; None: there is none.

    The limits of an accuracy are Wilson's for one seed, one standard deviation about the mean for several; `x` is where
    the depth is drawn, up to SPREAD beside it. `front`: no other dot of its panel is as fast and as accurate, and better
    in one of the two.
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


def dots(runs: Sequence[Run]) -> tuple[Dot, ...]:
    """Return a dot per rung that has an accuracy, run by run; a ladder that stands in several is that of the first."""
    found = [level for level in distinct(runs) if level.accuracy is not None]
    names = list(dict.fromkeys(level.name for level in found))
    table = [_dot(level, names) for level in found]
    return tuple(replace(dot, front=_on_front(dot, table)) for dot in table)


def places(table: Sequence[Dot]) -> tuple[tuple[str, str], ...]:
    """The panels: runtimes with their precisions."""
    return tuple(dict.fromkeys((dot.runtime, dot.precision) for dot in table))


def of(table: Sequence[Dot], place: tuple[str, str]) -> list[Dot]:
    """The dots of a panel."""
    return [dot for dot in table if (dot.runtime, dot.precision) == place]


def front(table: Sequence[Dot]) -> Iterator[Dot]:
    """Yield the dots of the front by rising latency; of those at one place, the first."""
    seen = set()
    for dot in sorted((dot for dot in table if dot.front), key=lambda dot: dot.latency_ms or 0.0):
        if (place := (dot.latency_ms, dot.accuracy)) not in seen:
            seen.add(place)
            yield dot


def _dot(level: Level, names: Sequence[str]) -> Dot:
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
    )


def _aside(place: int, places: int, rung: int) -> float:
    """How far a method stands from its depth; full depth, which all share, stands in the middle."""
    return 0.0 if rung == 0 or places < 2 else SPREAD * (1 - 2 * place / (places - 1))


def _on_front(dot: Dot, table: Sequence[Dot]) -> bool:
    """Whether nothing beats a dot, by point estimates, among those of its panel."""
    mine = dot.latency_ms
    if mine is None:
        return False
    others = [each for each in of(table, (dot.runtime, dot.precision)) if each.latency_ms is not None]
    return not any(
        (each.latency_ms or 0.0) <= mine
        and each.accuracy >= dot.accuracy
        and (each.latency_ms, each.accuracy) != (mine, dot.accuracy)
        for each in others
    )
