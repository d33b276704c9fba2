"""What a figure plots, as values: one point per row of a run, and the CSV that lies beside the figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import Run, Summary
from harness.report import rows
from harness.report.plotted import ms
from harness.report.rows import Panel

_SPREAD = 0.34  # rungs of equal depth share the width of one layer, this much to each side
_BETWEEN = 0.11  # ladders stand side by side too, so that none hides another


@dataclass(frozen=True)
class Point:
    """What is plotted of one row; latency and interval in ms; what there is none of is None."""

    runtime: str
    precision: str
    ladder: str
    label: str
    control: bool
    depth: int
    x: float
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    mmacs: float | None
    mmacs_useful: float | None
    weight_mb: float
    status: str
    verdict: str | None
    warning: bool
    letters: str


def points(run: Run) -> Iterator[Point]:
    """Yield a point per row of every panel whose depth is known, ladders before controls."""
    for panel in rows.panels(run):
        for n, ladder in enumerate(panel.ladders.values()):
            known = [(summary, summary.depth) for summary in ladder if summary.depth is not None]
            places = _abreast([depth for _, depth in known], n, len(panel.ladders))
            yield from (_point(run, panel, *pair, x) for pair, x in zip(known, places, strict=True))
        controls = [(summary, summary.depth) for summary in panel.controls if summary.depth is not None]
        yield from (_point(run, panel, summary, depth, float(depth)) for summary, depth in controls)


def _point(run: Run, panel: Panel, summary: Summary, depth: int, x: float) -> Point:
    estimate = summary.latency_ns
    return Point(
        runtime=panel.runtime,
        precision=panel.precision,
        ladder=summary.ladder,
        label=rows.label(summary),
        control=summary.method == "control",
        depth=depth,
        x=x,
        latency_ms=ms(estimate.median) if estimate else None,
        low_ms=ms(estimate.low) if estimate else None,
        high_ms=ms(estimate.high) if estimate else None,
        mmacs=_mega(summary.macs),
        mmacs_useful=_mega(summary.macs_useful),
        weight_mb=summary.weight_bytes / 1e6,
        status=summary.status,
        verdict=summary.speedup.verdict if summary.speedup else None,
        warning=rows.is_warned_of(run, summary),
        letters=rows.marks(run, summary, rows.LETTERED),
    )


def _abreast(depths: Sequence[int], n: int, ladders: int) -> list[float]:
    """Where the rungs of ladder `n` of so many stand: at their depth, or side by side there, in order (x falls).

    Each rung of a depth has a slot of the width of one layer, and in it a place per ladder.
    """
    many, seen, places = Counter(depths), Counter[int](), []
    for depth in depths:
        slots, slot = many[depth], seen[depth]
        seen[depth] += 1
        middle = _spread(slot, slots, _SPREAD)
        places.append(depth + middle + _spread(n, ladders, _BETWEEN / slots))
    return places


def _spread(place: int, places: int, reach: float) -> float:
    """The offset of one of some places, evenly from `reach` down to -`reach`."""
    return reach * (1 - 2 * place / (places - 1)) if places > 1 else 0.0


def _mega(count: int | None) -> float | None:
    return None if count is None else count / 1e6
