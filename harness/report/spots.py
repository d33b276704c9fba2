"""What the figure of energy plots, as values: one spot per row of a run and scenario, and the CSV that lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records import Figure, Run, Summary
from harness.report import rows
from harness.report.plotted import ms
from harness.report.points import points


@dataclass(frozen=True)
class Spot:
    """What is plotted of a row in one scenario: energies in J per inference, latency in ms; None: there is none.

    `compared`: the scenario whose gross energy is compared; `verdict` is that of its saving. `warning`: a finding says that the
    row has fewer layers, or is faster, and takes more energy.
    """

    runtime: str
    precision: str
    ladder: str
    label: str
    control: bool
    depth: int
    x: float
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None
    scenario: str
    compared: bool
    rate_hz: float | None
    gross_j: float
    gross_low_j: float | None
    gross_high_j: float | None
    net_j: float | None
    net_low_j: float | None
    net_high_j: float | None
    power_w: float
    windows: int
    window_s: float
    scope: str
    sensor: str
    channel: str
    verdict: str | None
    warning: bool


def spots(run: Run) -> Iterator[Spot]:
    """Yield what is plotted, per row whose depth is known and scenario, where the depth figure has it."""
    for panel in rows.panels(run):
        known = [row for row in panel.rows if row.depth is not None]
        here = [p for p in points(run) if (p.runtime, p.precision) == (panel.runtime, panel.precision)]
        for row, point in zip(known, here, strict=True):
            for name, figure in row.energy_j.figures.items() if row.energy_j else ():
                yield _spot(row, point.x, name, figure, warning=rows.is_dearer(run, row))


def _spot(row: Summary, x: float, scenario: str, figure: Figure, *, warning: bool) -> Spot:
    energy, latency = row.energy_j, row.latency_ns
    assert energy is not None and row.depth is not None  # as `spots` chose it
    net = figure.net
    return Spot(
        runtime=row.runtime,
        precision=row.precision,
        ladder=row.ladder,
        label=rows.label(row),
        control=row.method == "control",
        depth=row.depth,
        x=x,
        latency_ms=ms(latency.median if latency else None),
        latency_low_ms=ms(latency.low if latency else None),
        latency_high_ms=ms(latency.high if latency else None),
        scenario=scenario,
        compared=scenario == energy.scenario,
        rate_hz=figure.rate_hz,
        gross_j=figure.gross.value,
        gross_low_j=figure.gross.low,
        gross_high_j=figure.gross.high,
        net_j=net.value if net else None,
        net_low_j=net.low if net else None,
        net_high_j=net.high if net else None,
        power_w=figure.power_w.value,
        windows=figure.windows,
        window_s=figure.window_s,
        scope=energy.scope,
        sensor=energy.sensor,
        channel=energy.channel,
        verdict=figure.saving.verdict if figure.saving else None,
        warning=warning,
    )
