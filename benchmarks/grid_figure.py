"""The figure of `grid`: accuracy of the artifact against its latency, a line a precision, a panel a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import grid_rows
from harness.report import style

OUT = grid_rows.DATA.parent.parent / "docs" / "figures" / "grid.svg"
LOOKS = dict(zip(("fp32", "fp16", "int8"), (style.LADDERS[0], style.LADDERS[2], style.DEVICES[1]), strict=True))


def draw(kept: Mapping[str, Any], out: Path = OUT) -> None:
    """Draw every runtime that is kept, with 95 % intervals; the numbers beside a line's ends are their rungs."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(4.4 * max(1, len(kept)), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, max(1, len(kept)), squeeze=False, sharey=True)[0]
        for axes, (runtime, found) in zip(panels, kept.items(), strict=True):
            for precision in dict.fromkeys(row["precision"] for row in found["rows"]):
                _line(axes, precision, found["rows"])
            axes.set(title=f"{runtime}, 1 thread, batch 1", xlabel="latency (ms, logarithmic)", xscale="log")
            _ticks(axes)
        panels[0].set_ylabel("accuracy of the artifact (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def _line(axes: Any, precision: str, rows: Sequence[grid_rows.Row]) -> None:
    colour, marker, line = LOOKS[precision]
    found = sorted((rung, row) for (kind, rung), row in grid_rows.by_place(rows).items() if kind == precision)
    latency = [row["latency_ns"] for _, row in found]
    x = [each["median"] / 1e6 for each in latency]
    shares = [tuple(100 * value for value in grid_rows.share(grid_rows.bits(row))) for _, row in found]
    y = [share[0] for share in shares]
    spread_x = [[(each["median"] - (each["low"] or each["median"])) / 1e6 for each in latency],
                [((each["high"] or each["median"]) - each["median"]) / 1e6 for each in latency]]  # fmt: skip
    spread_y = [[share[0] - share[1] for share in shares], [share[2] - share[0] for share in shares]]
    axes.errorbar(
        x,
        y,
        spread_y,
        spread_x,
        color=colour,
        marker=marker,
        linestyle=line,
        label=precision,
        elinewidth=0.6,
        capsize=0,
    )
    named = (found[0][0], found[-1][0])  # both ends: the others lie on the line between, in order
    for at, height, (rung, _) in zip(x, y, found, strict=True):
        if rung not in named:
            continue
        axes.annotate(
            str(rung), (at, height), (3, 4), textcoords="offset points", fontsize=7.5, path_effects=style.HALO
        )


def _ticks(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    draw(grid_rows.load())
