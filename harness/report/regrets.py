"""The figure of plans on settings that they were not made for: latency there over that of the plan made there, as a matrix.

A row per setting whose plan it is, a column per setting where it is measured: 1.00 on the diagonal, warm colours where a foreign
plan is slower, cold ones where it is faster, white in between. Cells whose verdict is neither are hatched: no difference was
told apart. On the diagonal stands what the plan made there gains over the unfolded network. The numbers lie beside it as CSV.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from harness.findings.views import count
from harness.records.transferred import Regret, Transfer
from harness.report import canvas, style
from harness.report.plotted import to_csv
from harness.report.transfers import name, names, shared, untold

_CELL = 1.02  # inches
_NAMES, _WORDS = 1.9, 2.1  # inches for the names at the left, and for what stands above and below
_LEAST = 6.4  # inches of the figure
_MOST = math.log(1.25)  # from there on colours are no deeper
_SHADES = LinearSegmentedColormap.from_list("regret", (style.SKY, "#FFFFFF", style.ORANGE))
_HATCH: Mapping[str, Any] = {"hatch": "////", "ec": "#CFCFCF"}


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: the plan of one setting on another. None: there is no such number."""

    of: str
    on: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    options: str
    failure: str | None


def draw(transfer: Transfer, out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw the matrix of what plans cost where they were not made, and write its numbers beside it.

    Raises UsageError for another suffix, StoreError where nothing can be written.
    """
    canvas.require_suffix(out)
    return canvas.written(out, lambda: _figure(transfer), to_csv(Cell, _cells(transfer)), also)


def is_plotted(transfer: Transfer, figure: Path) -> bool:
    """Whether a matrix's figure is there, and the numbers beside it are still those of the matrix."""
    points = figure.with_suffix(".csv")
    return figure.is_file() and points.is_file() and points.read_text() == to_csv(Cell, _cells(transfer))


def _cells(transfer: Transfer) -> list[Cell]:
    return [_cell(transfer, regret) for regret in transfer.regrets]


def _cell(transfer: Transfer, regret: Regret) -> Cell:
    ratio = regret.speedup
    return Cell(
        name(transfer.settings[regret.of]),
        name(transfer.settings[regret.on]),
        regret.ratio,
        regret.low,
        regret.high,
        regret.verdict,
        ratio.ratio if ratio else None,
        ratio.low if ratio else None,
        ratio.high if ratio else None,
        " + ".join(transfer.plans[regret.of]),
        regret.failure,
    )


def _figure(transfer: Transfer) -> Figure:
    many = len(transfer.settings)
    labels = [style.plain(_cut(each)) for each in names(transfer.settings, "\n")]
    width = max(_LEAST, _NAMES + _CELL * many)
    figure = canvas.blank(width, _WORDS + 0.8 * _CELL * many)
    axes: Axes = figure.subplots()
    axes.set(xlim=(0, many), ylim=(many, 0))
    axes.grid(visible=False)
    for regret in transfer.regrets:
        _square(axes, transfer, regret)
    axes.set_xticks([n + 0.5 for n in range(many)], labels)
    folds = [f"{label}\n({_folds(plan)})" for label, plan in zip(labels, transfer.plans, strict=True)]
    axes.set_yticks([n + 0.5 for n in range(many)], folds)
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("measured on")
    axes.set_ylabel("plan made for")
    axes.spines[:].set_visible(False)
    title = [f"{transfer.model}: what a plan costs where it was not made", shared(transfer.settings)]
    canvas.headed(figure, title, list(_key(transfer.regrets)))
    return figure


def _cut(label: str) -> str:
    """A name whose lines fit beside the matrix."""
    return "\n".join(line if len(line) <= 15 else f"{line[:7]}\u2026{line[-7:]}" for line in label.split("\n"))


def _folds(plan: Sequence[str]) -> str:
    return count(len(plan), "fold") if plan else "unfolded"


# --- a cell --------------------------------------------------------------------------------------------------------


def _square(axes: Axes, transfer: Transfer, regret: Regret) -> None:
    """A cell in its colour, with the ratio and, small, its interval."""
    x, y = float(regret.on), float(regret.of)
    hatch: Mapping[str, Any] = _HATCH if untold(regret) else {"ec": "white"}
    axes.add_patch(Rectangle((x, y), 1, 1, fc=_colour(regret), lw=1.5, **hatch))
    own, same = regret.of == regret.on, transfer.plans[regret.of] == transfer.plans[regret.on]
    big, small = _words(transfer, regret)
    weight = "normal" if same or untold(regret) or regret.ratio is None else "bold"
    look: dict[str, Any] = {"ha": "center", "va": "center", "path_effects": style.HALO}
    axes.text(x + 0.5, y + 0.4, big, fontsize=12, fontweight=weight, color=style.GREY if same else style.BLACK, **look)
    axes.text(x + 0.5, y + 0.72, small, fontsize=6.8, linespacing=1.15, **look)
    if own:
        axes.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, fill=False, ec=style.GREY, lw=0.9))


def _colour(regret: Regret) -> Any:
    if regret.ratio is None:
        return "#EDEDED"
    return _SHADES(0.5 + 0.5 * max(-1.0, min(1.0, math.log(regret.ratio) / _MOST)))


def _words(transfer: Transfer, regret: Regret) -> tuple[str, str]:
    """The number of a cell, and what stands below it."""
    if regret.ratio is None:
        return "\u2013", "not measured"
    if regret.of == regret.on:
        gain, folded = regret.speedup, bool(transfer.plans[regret.of])
        small = f"{gain.ratio:.3g}x unfolded" if gain and folded else "made here" if folded else "stays unfolded"
        return "1.00", small
    if regret.low is None or regret.high is None:
        same = transfer.plans[regret.of] == transfer.plans[regret.on]
        return f"{regret.ratio:.2f}", "the same plan" if same else "no interval"
    return f"{regret.ratio:.2f}", f"[{regret.low:.2f}, {regret.high:.2f}]"


def _key(regrets: Sequence[Regret]) -> Iterator[Line2D | Patch]:
    """Handles for what stands in the figure, and for nothing else."""
    yield canvas.handle("", "latency over that of the plan made there, 95 % interval")
    if any(each.verdict == "slower" for each in regrets):
        yield Patch(fc=_SHADES(0.8), label="slower than the plan made there")
    if any(each.verdict == "faster" for each in regrets):
        yield Patch(fc=_SHADES(0.2), label="faster than the plan made there")
    if any(map(untold, regrets)):
        yield Patch(fc="white", label="not told apart", **_HATCH)
    yield Patch(fc="white", ec=style.GREY, label="framed: at home, over the unfolded network")
