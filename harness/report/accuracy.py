"""Accuracy against measured latency, beside accuracy against depth: which method trades the two best, here.

    per runtime and precision:   accuracy            | accuracy
                                 against latency,    | against depth
                                 with the front      |

Every method has a colour and a marker of its own, the same in all figures; the controls are black and hollow. Full
depth, which all ladders share, is drawn once. The front joins what nothing else beats in both, by point estimates.
Intervals are thin and pale, and have caps, since few test examples make them long: of latency the median's, of accuracy
Wilson's, or one standard deviation where there are several seeds. Methods of equal depth are set aside by up to
`dots.SPREAD` of a layer, which the axis says; rungs without latency are named below theirs. What is plotted lies beside
the figure as CSV, the depth as it is. Where a method collapsed, accuracy is on the scale of the logarithm of the errors,
or the others could not be told apart.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from harness import store
from harness.errors import StoreError, UsageError
from harness.findings.views import count, listing
from harness.records import Run
from harness.report import dots as values
from harness.report import rows, style
from harness.report.depth import SUFFIXES, UNDATED
from harness.report.dots import Dot
from harness.report.plotted import to_csv

_MARGIN = 0.09  # inches
_PANEL = (5.6, 4.6)
_LEGEND_COLUMN = 2.15  # inches
_TITLE_PER_INCH = 11.5  # characters
_COLLAPSED = 25.0  # points between the best and the worst
_CROWDED = 80.0  # %: only where the best errs less do others crowd beside it
_ERRORS = (0, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 100)  # accuracies named on the scale of errors, %
_LEAST_ERROR = 0.25  # %, added to every error: none is 0
_NOTE = 68  # characters of a line below an axis
_LINE = 0.16  # inches that such a line is high
_UNBROKEN = "\u00a0"
_NUMBER = (0.035, 0.045)  # room that a number takes, of the axes
_PALE: Mapping[str, Any] = {"lw": 0.55, "ms": 3.2, "mew": 0.7, "alpha": 0.3, "zorder": 1}  # intervals
_FULL: Mapping[str, Any] = {"marker": "h", "color": style.BLACK, "ms": 9.0}  # full depth


def draw(runs: Sequence[Run], out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw accuracy against latency and depth to `out`, a row per runtime and precision, and its points to the CSV.

    Several runs, of one model on one device, share the axes. `also` are further suffixes. Raises UsageError for another
    suffix, StoreError when no ladder was trained or nothing can be written.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out}: a figure ends in {', '.join(SUFFIXES)}, not in {out.suffix or 'nothing'}")
    table = values.dots(runs)
    if not table:
        raise _nothing(runs)
    hint = "or give another file with --out."
    with mpl.rc_context(style.RC):
        figure = _figure(runs, table)
        for suffix in (out.suffix, *also):
            picture = io.BytesIO()
            figure.savefig(picture, format=suffix[1:], metadata=UNDATED.get(suffix))
            store.write(out.with_suffix(suffix), picture.getvalue(), hint)
    store.write(out.with_suffix(".csv"), to_csv(Dot, table).encode(), hint)
    return out, out.with_suffix(".csv")


def _nothing(runs: Sequence[Run]) -> StoreError:
    why = dict.fromkeys(row.reasons.get("accuracy", "unknown") for run in runs for row in run.cases)
    named = ", ".join(run.run for run in runs)
    hint = "Name a --method that trains: see harness methods."
    return StoreError(f"run {named}: no accuracy, no figure of it: {'; '.join(why) or 'nothing was made'}", hint)


def _figure(runs: Sequence[Run], table: Sequence[Dot]) -> Figure:
    places, looks = values.places(table), style.of_methods(_names(table))
    width, height = 2 * _PANEL[0], _PANEL[1] * len(places)
    columns = max(1, int(width / _LEGEND_COLUMN))
    key = list(_key(table, looks))
    notes = sum(_latency_label(values.of(table, place)).count("\n") for place in places)
    figure = Figure(
        figsize=(width, height + 0.55 + _LINE * notes + 0.19 * -(-len(key) // columns)),
        layout=ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN),
    )
    grid = figure.subplots(len(places), 2, squeeze=False, sharey="row")
    for pair, place in zip(grid, places, strict=True):
        _pair(pair, values.of(table, place), looks, " ".join(place) if len(places) > 1 else "")
    title = textwrap.fill(_title(runs, places), int(_TITLE_PER_INCH * width), break_long_words=False)
    figure.suptitle(title, x=_MARGIN / width, ha="left", fontsize=10.5, fontweight="bold")
    figure.legend(handles=key, loc="outside lower left", ncols=columns, columnspacing=1.4, handlelength=2.6)
    return figure


def _title(runs: Sequence[Run], places: Sequence[tuple[str, str]]) -> str:
    """What the figure is of."""
    subjects = dict.fromkeys(rows.subject(run) for run in runs)
    devices = dict.fromkeys(run.device for run in runs)
    where = " ".join(places[0]) if len(places) == 1 else ""
    many = f"{len(runs)} runs" if len(runs) > 1 else ""
    parts = (", ".join(subjects), f"device {', '.join(devices)}", where, many)
    return style.plain("  ·  ".join(part for part in parts if part))


def _names(table: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(dot.name for dot in table))


# --- two panels ----------------------------------------------------------------------------------------------------


def _pair(pair: Sequence[Axes], table: Sequence[Dot], looks: Mapping[str, style.Look], title: str) -> None:
    by_latency, by_depth = pair
    above = f"{title}\n" if title else ""
    by_latency.set_title(f"{above}accuracy against measured latency", loc="left")
    by_depth.set_title(f"{above}accuracy against depth", loc="left")
    by_latency.set_ylabel(_accuracy_label(table))
    by_latency.set_xlabel(_latency_label(table))
    by_depth.set_xlabel(_depth_label(table))
    _front(by_latency, table)
    for n, name in enumerate(_names(table)):
        mine = [dot for dot in table if dot.name == name]
        _method(by_latency, [(dot.latency_ms, dot) for dot in mine], looks[name], across=True, first=n == 0)
        _method(by_depth, [(dot.x, dot) for dot in mine], looks[name], across=False, first=n == 0)
    _axes(by_latency, by_depth, table)
    _name_front(by_latency, table, looks)


def _latency_label(table: Sequence[Dot]) -> str:
    """What the axis is, and below it which rungs are not in its panel, if others are; whole, in lines that fit."""
    label = "latency (ms): median of process medians, 95 % interval"
    missing: dict[str, list[int]] = {}
    for dot in (dot for dot in table if dot.latency_ms is None):
        missing.setdefault(dot.name, []).append(dot.rung)
    if not missing or all(dot.latency_ms is None for dot in table):
        return label
    named = "; ".join(f"{name} {listing(rungs)}".replace(" ", _UNBROKEN) for name, rungs in missing.items())
    note = textwrap.fill(f"no latency: {named}", _NOTE, break_long_words=False, break_on_hyphens=False)
    return f"{label}\n{style.plain(note.replace(_UNBROKEN, ' '))}"


def _depth_label(table: Sequence[Dot]) -> str:
    """What the axis is, and how far from their depths dots may stand, where some do."""
    label = "depth (convolutions and linear layers on the longest path)"
    if all(dot.x == dot.depth for dot in table):
        return label
    return f"{label}\nmethods stand side by side, up to {values.SPREAD:g} of a layer from their depth"


def _accuracy_label(table: Sequence[Dot]) -> str:
    """The unit, and what one example is worth: no difference below it means anything."""
    counts = {dot.examples for dot in table}
    only = next(iter(counts))
    seeds = max(dot.seeds for dot in table)
    of = f" of {count(only, 'test example')}" if only and len(counts) == 1 else " of the test part"
    bars = f"mean of {seeds} seeds, bars: one sd" if seeds > 1 else "Wilson 95 % interval"
    return f"accuracy (%{of})\n{bars}"


def _axes(by_latency: Axes, by_depth: Axes, table: Sequence[Dot]) -> None:
    """All accuracies are in sight with their whole intervals; depth falls from left to right."""
    shares = [100 * dot.accuracy for dot in table]
    least = min(*shares, *(100 * dot.accuracy_low for dot in table if dot.accuracy_low is not None))
    most = max(*shares, *(100 * dot.accuracy_high for dot in table if dot.accuracy_high is not None))
    if max(shares) > _CROWDED and max(shares) - min(shares) > _COLLAPSED:
        _scale_by_errors(by_latency, least, most)
    else:
        room = max(0.04 * (most - least), 0.5)
        by_latency.set_ylim(least - room, min(most + room, 100 + room))
    depths = [dot.depth for dot in table if dot.depth is not None]
    if depths:
        by_depth.set_xlim(max(depths) + 0.7, min(depths) - 0.7)
    by_depth.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    if not any(dot.latency_ms is not None for dot in table):
        by_latency.text(0.5, 0.5, "nothing measured", transform=by_latency.transAxes, ha="center", color=style.GREY)


def _scale_by_errors(axes: Axes, low: float, high: float) -> None:
    """Accuracies on the scale of the logarithm of errors: half as many errors are the same way up everywhere."""

    def forward(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log(np.clip(100 - np.asarray(accuracy), -0.9 * _LEAST_ERROR, None) + _LEAST_ERROR)

    def backward(height: NDArray[np.float64]) -> NDArray[np.float64]:
        return 100 + _LEAST_ERROR - np.exp(-np.asarray(height))

    axes.set_yscale("function", functions=(forward, backward))
    bottom, top = forward(np.array([low, high]))
    room = 0.06 * (top - bottom)
    axes.set_ylim(*backward(np.array([bottom - room, top + room])))  # beyond 100 %, where a dot stands on it
    axes.set_yticks([5.0 * (low // 5), *(tick for tick in _ERRORS if low + 5 < tick < axes.get_ylim()[1])])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(f"{axes.get_ylabel()}, scale of errors")


def _method(
    axes: Axes, places: Sequence[tuple[float | None, Dot]], look: style.Look, *, across: bool, first: bool
) -> None:
    """A method's dots with a thin line between them; what has no place is left out, and breaks the line."""
    colour, marker, line = look
    xs = [float("nan") if x is None else x for x, _ in places]
    ys = [100 * dot.accuracy for _, dot in places]
    axes.plot(xs, ys, color=colour, linestyle=line, lw=0.9, alpha=0.75, zorder=2)
    for x, dot in places:
        if x is not None and (dot.rung or first):
            size = 8.0 if marker == "*" else 5.5
            mine = {"marker": marker, "color": colour, "ms": size, "mfc": _face(dot.control, colour)}
            _dot(axes, x, dot, mine if dot.rung else _FULL, across=across)


def _dot(axes: Axes, x: float, dot: Dot, look: Mapping[str, Any], *, across: bool) -> None:
    """One dot, edged in white where it covers others, and its pale intervals, whose caps tell them from other lines."""
    y = 100 * dot.accuracy
    if dot.accuracy_low is not None and dot.accuracy_high is not None:
        axes.plot([x, x], [100 * dot.accuracy_low, 100 * dot.accuracy_high], marker="_", color=look["color"], **_PALE)
    if across and dot.latency_low_ms is not None and dot.latency_high_ms is not None:
        axes.plot([dot.latency_low_ms, dot.latency_high_ms], [y, y], marker="|", color=look["color"], **_PALE)
    edge = {"mec": look["color"], "mew": 1.3} if look.get("mfc") == "white" else {"mec": "white", "mew": 0.6}
    axes.plot([x], [y], linestyle="none", zorder=4 if dot.rung else 6, **{**look, **edge})


def _face(control: bool, colour: str) -> str:
    return "white" if control else colour


def _front(axes: Axes, table: Sequence[Dot]) -> None:
    """The front as a broad grey step behind the dots: at each latency, the best accuracy to be had."""
    found = list(values.front(table))
    xs, ys = [dot.latency_ms or 0.0 for dot in found], [100 * dot.accuracy for dot in found]
    axes.step(xs, ys, where="post", color="#C9C9C9", lw=4.5, solid_capstyle="round", zorder=0.5)


def _name_front(axes: Axes, table: Sequence[Dot], looks: Mapping[str, style.Look]) -> None:
    """Numbers of the rungs on the front, above it to the left, where nothing can be; where they have room."""
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "bottom", "zorder": 7}
    named: list[tuple[float, float]] = []
    for dot in reversed(list(values.front(table))):  # the most accurate ones first
        spot = (dot.latency_ms or 0.0, 100 * dot.accuracy)
        across, up = axes.transAxes.inverted().transform(axes.transData.transform(spot))
        if all(abs(across - x) > _NUMBER[0] or abs(up - y) > _NUMBER[1] for x, y in named):
            named.append((across, up))
            colour = style.BLACK if dot.rung == 0 else looks[dot.name][0]
            label = "full" if dot.rung == 0 else str(dot.rung)
            axes.annotate(label, spot, (-4, 4), color=colour, fontsize=8.5, path_effects=style.HALO, **place)


# --- the key -------------------------------------------------------------------------------------------------------


def _key(table: Sequence[Dot], looks: Mapping[str, style.Look]) -> Iterator[Line2D]:
    """Handles for what stands in the figure: methods, then controls, then what all share."""
    control = {dot.name: dot.control for dot in table}
    for name in sorted(_names(table), key=lambda name: control[name]):
        colour, marker, line = looks[name]
        face = _face(control[name], colour)
        label = f"{name} (control)" if control[name] else name
        yield Line2D([], [], color=colour, marker=marker, linestyle=line, lw=0.9, mfc=face, label=style.plain(label))
    yield Line2D([], [], linestyle="none", label="full depth", **_FULL)
    if any(dot.front for dot in table):
        label = "front, rungs numbered"
        yield Line2D([], [], color="#C9C9C9", lw=4.5, label=label)
