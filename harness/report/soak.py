"""Latency under a lasting load, from its first second: how a sustained regime was reached."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness import store
from harness.errors import StoreError, UsageError
from harness.records import Curve, Run
from harness.report import rows, style
from harness.report.depth import SUFFIXES

_CSV = "runtime,at_s,median_ms,hottest_degc"


def draw(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw the curve of every job to `out`, a column each, and its points to the CSV beside it; return both.

    Raises UsageError for another suffix, StoreError when no job has a curve (it was of regime burst).
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out}: a figure ends in {', '.join(SUFFIXES)}, not in {out.suffix or 'nothing'}")
    curves = {job.runtime: job.curve for job in run.jobs if job.curve is not None and job.curve.at_s}
    if not curves:
        raise StoreError(f"run {run.run}: no curve over time", "Make one: harness run --regime sustained")
    picture = io.BytesIO()
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(5.2 * len(curves), 4.2), layout="constrained")
        for axes, (runtime, curve) in zip(
            figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
        ):
            _draw(axes, runtime, curve)
        title = f"{rows.subject(run)}  ·  device {run.device}  ·  under lasting load"
        figure.suptitle(style.plain(title), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        figure.savefig(picture, format=out.suffix[1:])
    store.write(out, picture.getvalue(), "or give another file with --out.")
    store.write(out.with_suffix(".csv"), _points(curves).encode(), "or give another file with --out.")
    return out, out.with_suffix(".csv")


def _draw(axes: Axes, runtime: str, curve: Curve) -> None:
    """Medians of about a second on the left, the hottest zone on an axis of its own on the right, where there is one."""
    end = "level" if curve.plateau else "NOT level"
    axes.set_title(f"{runtime}: reference, medians of about 1 s; {end} at the end", loc="left")
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


def _points(curves: dict[str, Curve]) -> str:
    lines = [_CSV]
    for runtime, curve in curves.items():
        for at, median, degrees in zip(curve.at_s, curve.median_ns, curve.hottest_degc, strict=True):
            lines.append(f"{runtime},{at:.3f},{median / 1e6:.6f},{'' if degrees is None else degrees}")
    return "\n".join(lines) + "\n"
