"""What the figure of the roofline plots, as values: a mark per row that has MACs and a latency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records import Ceilings, Run, Summary
from harness.report import rows
from harness.report.plotted import ms


@dataclass(frozen=True)
class Mark:
    """What is plotted of a row: millions of useful MACs and ms of one inference, a whole batch; None: there is none.

    `ceiling_ms` is what the MACs take at the ceiling, `copy_ms` what the executed operators' bytes take at the copy's.
    """

    runtime: str
    precision: str
    ladder: str
    label: str
    control: bool
    batch: int
    mmacs_useful: float
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    gmacs_per_s: float
    ceiling_ms: float | None
    copy_ms: float | None
    verdict: str | None
    status: str
    warning: bool


def marks(run: Run, row: Summary) -> Iterator[Mark]:
    """Yield the mark of a row, if it has both."""
    found = row.latency_ns
    if found is None or found.median <= 0 or not row.macs_useful:
        return
    macs, best = row.macs_useful * row.batch, ceilings(row)
    copied = row.executed.bytes if row.executed else None
    yield Mark(
        runtime=row.runtime,
        precision=row.precision,
        ladder=row.ladder,
        label=rows.label(row),
        control=row.method == "control",
        batch=row.batch,
        mmacs_useful=macs / 1e6,
        latency_ms=found.median / 1e6,
        low_ms=ms(found.low),
        high_ms=ms(found.high),
        gmacs_per_s=macs / found.median,
        ceiling_ms=1e3 * macs / best.macs_per_s if best and best.macs_per_s else None,
        copy_ms=1e3 * copied / best.bytes_per_s if best and best.bytes_per_s and copied else None,
        verdict=row.speedup.verdict if row.speedup else None,
        status=row.status,
        warning=rows.is_warned_of(run, row),
    )


def ceilings(row: Summary) -> Ceilings | None:
    """Return those that the row may be put beside: of its threads and CPUs, where a processor computed it."""
    return row.executed.ceilings if row.executed else None
