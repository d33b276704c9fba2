"""Latency under a lasting load, from its first second: how a sustained regime was reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import StoreError
from harness.records import Curve, Run
from harness.report import canvas, rows, style

_CSV = "runtime,at_s,median_ms,hottest_degc"


def draw(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw the curve of every job to `out`, a column each, and its points to the CSV beside it; return both.

    Raises UsageError for another suffix, StoreError when no job has a curve (it was of regime burst).
    """
    canvas.require_suffix(out)
    curves = {job.runtime: job.curve for job in run.jobs if job.curve is not None and job.curve.at_s}
    if not curves:
        raise StoreError(f"run {run.run}: no curve over time", "Make one: harness run --regime sustained")
    return canvas.written(out, lambda: _figure(run, curves), _points(curves))


def _figure(run: Run, curves: Mapping[str, Curve]) -> Figure:
    figure = canvas.blank(max(6.4, 5.2 * len(curves)), 4.2)
    for axes, (runtime, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        _draw(axes, runtime, curve)
    canvas.titled(figure, [rows.subject(run), f"device {run.device}", "under lasting load"])
    return figure


def _draw(axes: Axes, runtime: str, curve: Curve) -> None:
    """Medians of about a second on the left, the hottest zone on an axis of its own on the right, where there is one."""
    end = "level" if curve.plateau else "NOT level"
    axes.set_title(canvas.fitted(f"{runtime}: reference, medians of about 1 s; {end} at the end", 5.2), loc="left")
    axes.plot(curve.at_s, [median / 1e6 for median in curve.median_ns], color=style.BLUE, lw=1.2, label="latency")
    axes.set_xlabel("time under load (s)")
    axes.set_ylabel("latency (ms)")
    axes.set_ylim(bottom=0)
    zones = [(at, degrees) for at, degrees in zip(curve.at_s, curve.hottest_degc, strict=True) if degrees is not None]
    handles = axes.lines[:]
    if zones:
        heat = axes.twinx()
        heat.plot(*zip(*zones, strict=True), color=style.VERMILION, linestyle="--", lw=1.2, label="hottest zone")
        heat.set_ylabel("hottest zone (°C)")
        heat.grid(visible=False)
        handles += heat.lines[:]
    else:
        axes.annotate("no thermal zone to read", (0.99, 0.02), xycoords="axes fraction", ha="right", color=style.GREY)
    axes.legend(handles=handles, loc="lower left")


def _points(curves: Mapping[str, Curve]) -> str:
    lines = [_CSV]
    for runtime, curve in curves.items():
        for at, median, degrees in zip(curve.at_s, curve.median_ns, curve.hottest_degc, strict=True):
            lines.append(f"{runtime},{at:.3f},{median / 1e6:.6f},{'' if degrees is None else degrees}")
    return "\n".join(lines) + "\n"
