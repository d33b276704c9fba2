"""What figures share: where they may be written and how, looks of ladders, handles of keys, intervals about values."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from harness import store
from harness.errors import StoreError, UsageError
from harness.records import Run, Summary
from harness.report import rows, style

SUFFIXES = (".png", ".svg", ".pdf")
UNDATED: Mapping[str, Mapping[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_MARGIN = 0.09  # inches
_HANDLE, _CHARACTER = 0.75, 0.07  # inches that a handle of the key takes with its gaps, and a character
_TITLE_CHARACTER = 0.079  # inches
_MOST_COLUMNS = 6
_NUMBERS = 24  # of rungs, along an axis
_TITLE_PER_INCH = 11.0  # characters of a title
_HINT = "or give another file with --out."


def require_suffix(out: Path) -> None:
    """Raise UsageError unless `out` ends as a figure does."""
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out}: a figure ends in {', '.join(SUFFIXES)}, not in {out.suffix or 'nothing'}")


def require_measured(run: Run) -> None:
    """Raise StoreError unless something of the run has a latency that stands for a real one."""
    if run.virtual:
        what = "a virtual device's times stand for no real one, no figure"
        raise StoreError(f"run {run.run}: {what}", "Measure on a board.")
    if rows.measured(run):
        return
    if run.status == "done":
        raise StoreError(f"run {run.run}: nothing measured, no figure", f"See why with: harness show {run.run}")
    hint = f"It is {run.status}; go on with: harness run --resume {run.run}"
    raise StoreError(f"run {run.run}: nothing measured yet, no figure", hint)


def written(out: Path, draw: Callable[[], Figure], points: str, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw in the project's style, write the figure and its points as CSV beside it; return both paths.

    `also` are further suffixes in which the same figure is written.
    """
    with mpl.rc_context(style.RC):
        figure = draw()
        for suffix in (out.suffix, *also):
            picture = io.BytesIO()
            figure.savefig(picture, format=suffix[1:], metadata=UNDATED.get(suffix))
            store.write(out.with_suffix(suffix), picture.getvalue(), _HINT)
    store.write(out.with_suffix(".csv"), points.encode(), _HINT)
    return out, out.with_suffix(".csv")


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN))


def headed(figure: Figure, parts: Sequence[str], handles: Sequence[Any]) -> None:
    """Write the title above a figure and the key below it, each as wide as there is room."""
    titled(figure, parts)
    columns = _columns(handles, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, handleheight=1.2)


def titled(figure: Figure, parts: Sequence[str]) -> None:
    """Write the title above a figure, broken between its parts where that is enough."""
    width = figure.get_figwidth()
    room = int(_TITLE_PER_INCH * width)
    lines = [""]
    for part in filter(None, parts):
        together = f"{lines[-1]}  ·  {part}" if lines[-1] else part
        lines[-1:] = [together] if len(together) <= room else [*filter(None, lines[-1:]), part]
    fitted = (textwrap.fill(line, room - 4, break_on_hyphens=False) if len(line) > room else line for line in lines)
    title = style.plain("\n".join(fitted))
    figure.suptitle(title, x=_MARGIN / width, ha="left", fontsize=10.5, fontweight="bold")


def _columns(handles: Sequence[Any], width: float) -> int:
    """The most columns of the key for which there is room, which it fills one after the other."""
    sizes = [_HANDLE + _CHARACTER * max(map(len, each.get_label().split("\n"))) for each in handles]
    for columns in range(min(len(sizes), _MOST_COLUMNS), 1, -1):
        if sum(float(max(part)) for part in np.array_split(sizes, columns)) <= width:
            return columns
    return 1


def looks(names: Sequence[str]) -> Mapping[str, style.Look]:
    """A look for each ladder, in order; where there are more than looks, that which its method has elsewhere."""
    found = list(dict.fromkeys(names))
    if len(found) > len(style.LADDERS):
        return style.of_methods(found)
    looks = zip(found, style.LADDERS, strict=False)
    return {name: (*look[:2], "" if style.is_unordered(name) else look[2]) for name, look in looks}


def crowded(looks: Mapping[str, style.Look]) -> bool:
    """Whether there are so many ladders that their rungs' numbers would lie on each other: then none is written."""
    return len(looks) > len(style.LADDERS)


def fitted(text: str, inches: float) -> str:
    """The title of a panel of so many inches, its lines broken where they are longer."""
    room = int((inches - 0.6) / _TITLE_CHARACTER)
    return style.plain(
        "\n".join(textwrap.fill(line, max(room, 12), break_on_hyphens=False) for line in text.split("\n"))
    )


def handle(marker: str, label: str, **look: Any) -> Line2D:
    """A marker of the key with its words; long notes are broken."""
    text = style.plain(textwrap.fill(label, 56))
    return Line2D([], [], marker=marker, label=text, **{"linestyle": "none", **look})


def line(name: str, look: style.Look, label: str) -> Line2D:
    """A ladder of the key."""
    colour, marker, stroke = look
    text = style.plain(textwrap.fill(f"{name}{label}", 56))
    return Line2D([], [], color=colour, marker=marker, linestyle=stroke, label=text)


def reach(value: float, low: float | None, high: float | None) -> tuple[list[float], list[float]]:
    """How far an interval reaches below and above its value; nothing where there is none, or an edited file has it elsewhere."""
    return [0.0 if low is None else max(0.0, value - low)], [0.0 if high is None else max(0.0, high - value)]


def spaced(label: str, labels: int) -> bool:
    """Whether a rung's number is written: of very many every second or third is."""
    return not label.isdecimal() or int(label) % -(-labels // _NUMBERS) == 0


def missing(run: Run, drawn: Collection[tuple[str, str, str, str]]) -> str:
    """Which rows of a run are not among those that are drawn (runtime, precision, ladder, label); nothing where all are."""
    left: dict[tuple[str, str], list[str]] = {}
    for row in run.cases:
        if (row.runtime, row.precision, row.ladder, rows.label(row)) not in drawn:
            left.setdefault((f"{row.runtime} {row.precision}", row.ladder), []).append(rows.label(row))
    return "; ".join(f"{where} {ladder} {', '.join(labels)}" for (where, ladder), labels in left.items())


def decided(row: Summary) -> bool:
    """Whether a row's latency may carry a claim: it is a reference, or its verdict is not `unclear`."""
    if row.status != "ok" or row.latency_ns is None or row.speedup is None:
        return False
    return row.rung == 0 or row.speedup.verdict in ("faster", "slower", "same")
