"""The power curve of `noise`: how large a slow-down must be to be found, drawn from what it kept in benchmarks/data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.calibration import ENOUGH

COLOURS = {"quiet": "#0072B2", "loaded": "#D55E00"}  # told apart by those who see few colours, too


def draw(data: Path, out: Path) -> Path | None:
    """Draw every condition whose `noise-<condition>.json` is in `data`; None, and no file, when there is none.

    Share of tries called slower, with its exact 95 % interval, against the slow-down measured over all jobs, %. At 0: equal
    networks called different.
    """
    known = {name: file for name in COLOURS if (file := data / f"noise-{name}.json").is_file()}
    if not known:
        return None
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for name, file in known.items():
        _line(axes, name, json.loads(file.read_text(encoding="utf-8")))
    axes.axhline(100 * ENOUGH, color="0.6", linewidth=0.8, linestyle="--")
    axes.set(xlabel="measured slow-down (%)", ylabel="called different, 10 blocks (%)", ylim=(-3, 103))
    axes.legend(frameon=False, loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    return out


def _line(axes: Any, name: str, found: dict[str, Any]) -> None:
    points = [(0.0, found["false"])] + [(100 * effect["measured"], effect["found"]) for effect in found["effects"]]
    tried = [(x, rate) for x, rate in points if rate["tries"]]
    shares = [100 * rate["hits"] / rate["tries"] for _, rate in tried]
    below = [share - 100 * rate["low"] for share, (_, rate) in zip(shares, tried, strict=True)]
    above = [100 * rate["high"] - share for share, (_, rate) in zip(shares, tried, strict=True)]
    axes.errorbar([x for x, _ in tried], shares, (below, above), color=COLOURS[name], marker="o", capsize=3, label=name)
