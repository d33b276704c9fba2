"""What the figure of devices plots, as values: a place per row of a run, and the line fitted to the decided rungs of a ladder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import stats
from harness.records import Run, Speedup, Summary
from harness.report import canvas, rows
from harness.report.plotted import ms
from harness.report.points import Point, points

Fits = Mapping[tuple[object, ...], stats.Fit | None]  # by panel and ladder


@dataclass(frozen=True)
class Place:
    """What is plotted of a row on a device: latency in ms, and relative to rung 0; what there is none of is None.

    `fitted_ms` is the height there of the line that was fitted to the decided rungs of its ladder.
    """

    run: str
    device: str
    runtime: str
    precision: str
    threads: int
    batch: int
    ladder: str
    label: str
    control: bool
    depth: int
    x: float
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    verdict: str | None
    decided: bool
    status: str
    warning: bool
    fitted_ms: float | None = None

    @property
    def panel(self) -> tuple[str, str, str, str, int, int]:
        """What has a column of its own."""
        return self.run, self.device, self.runtime, self.precision, self.threads, self.batch


def fitted(runs: Sequence[Run]) -> tuple[list[Place], Fits]:
    """Return the places of all rows of known depth, with the heights of the lines fitted to their ladders, and these."""
    table = [place for run in runs for place in places(run)]
    fits: dict[tuple[object, ...], stats.Fit | None] = {}
    for place in table:
        if not place.control and (*place.panel, place.ladder) not in fits:
            fits[*place.panel, place.ladder] = fit(table, place)
    return [_fitted(place, fits.get((*place.panel, place.ladder))) for place in table], fits


def places(run: Run) -> Iterator[Place]:
    """Yield a place per row of known depth, in the order of `points`."""
    panels = {(panel.runtime, panel.precision): panel for panel in rows.panels(run)}
    known = (row for panel in panels.values() for row in panel.rows if row.depth is not None)
    for point, row in zip(points(run), known, strict=True):
        yield _place(run, point, row)


def _place(run: Run, point: Point, row: Summary) -> Place:
    relative, low, high = _relative(row.speedup)
    return Place(
        run=run.run,
        device=run.device,
        runtime=row.runtime,
        precision=row.precision,
        threads=row.threads,
        batch=row.batch,
        ladder=row.ladder,
        label=point.label,
        control=point.control,
        depth=point.depth,
        x=point.x,
        latency_ms=ms(row.latency_ns.median if row.latency_ns else None),
        low_ms=point.low_ms,
        high_ms=point.high_ms,
        relative=relative,
        relative_low=low,
        relative_high=high,
        verdict=point.verdict,
        decided=canvas.decided(row),
        status=row.status,
        warning=point.warning,
    )


def _relative(found: Speedup | None) -> tuple[float | None, float | None, float | None]:
    """Latency over that of rung 0, with limits: one over the speed-up and its limits."""
    if found is None:
        return None, None, None
    low, high = (None if each is None else 1 / each for each in (found.high, found.low))
    return 1 / found.ratio, low, high


def fit(table: Sequence[Place], of: Place) -> stats.Fit | None:
    """Fit a line through the decided rungs of the ladder that a place is of."""
    mine = [p for p in table if p.panel == of.panel and p.ladder == of.ladder and not p.control and p.decided]
    return stats.line([p.depth for p in mine], [p.latency_ms or 0.0 for p in mine])


def _fitted(place: Place, line: stats.Fit | None) -> Place:
    return place if line is None or not place.decided else replace(place, fitted_ms=line.at(place.depth))
