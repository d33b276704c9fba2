"""Panels of the figure of accuracy: accuracy against one thing that a rung costs, or against its depth.

axis(table, ...)   what a panel is against: places of dots, words below it, whose front is drawn
panel(...)         dots with a thin line per method, pale intervals, and the front behind them
number(...)        numbers of rungs on the front, and of those that no line joins
scale(...)         the accuracies that all panels of a row share
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from harness.findings.views import listing
from harness.report import cells, style
from harness.report import dots as values
from harness.report.dots import Dot
from harness.report.text import UNICODE

_COLLAPSED = 25.0  # points between the best and the worst
_CROWDED = 80.0  # %: only where the best errs less do others crowd beside it
_ERRORS = (0, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 100)  # accuracies named on the scale of errors, %
_LEAST_ERROR = 0.25  # %, added to every error: none is 0
_NOTE = 68  # characters of a line below an axis
_UNBROKEN = "\u00a0"
_NUMBER = (0.035, 0.045)  # room that a number takes, of the axes
_PALE: Mapping[str, Any] = {"lw": 0.55, "ms": 3.2, "mew": 0.7, "alpha": 0.3, "zorder": 1}  # intervals
FULL: Mapping[str, Any] = {"marker": "h", "color": style.BLACK, "ms": 9.0}  # full depth
FRONT: Mapping[str, Any] = {"color": "#C9C9C9", "lw": 4.5}


@dataclass(frozen=True)
class Against:
    """What accuracy is put against: its title and label, the place of a dot with its limits, and which front is drawn."""

    title: str
    label: str
    place: Callable[[Dot], float | None]
    limits: Callable[[Dot], tuple[float | None, float | None]]
    front: values.Axis | None
    nothing: str = ""

    def there(self, table: Sequence[Dot]) -> bool:
        """Whether any dot has a place."""
        return any(self.place(dot) is not None for dot in table)


def latency(table: Sequence[Dot]) -> Against:
    """Measured latency."""
    label = "latency (ms): median of process medians, 95 % interval"
    note = _left_out("no latency", [dot for dot in table if dot.latency_ms is None], table)
    return Against(
        "accuracy against measured latency",
        label + note,
        lambda dot: dot.latency_ms,
        lambda dot: (dot.latency_low_ms, dot.latency_high_ms),
        "latency",
        "nothing measured",
    )


def energy(table: Sequence[Dot]) -> Against:
    """Measured energy, in the unit that fits the largest."""
    scale, unit = cells.joules((dot.energy_j for dot in table if dot.energy_j is not None), UNICODE)
    first = next((dot for dot in table if dot.energy_j is not None), None)
    of = f"\nscope {first.scope}, {first.scenario}" if first else ""
    note = _left_out("no energy, or not of this kind", [dot for dot in table if dot.energy_j is None], table)

    def scaled(joules: float | None) -> float | None:
        return None if joules is None else joules / scale

    return Against(
        "accuracy against measured energy",
        style.plain(f"gross energy per inference ({unit}), 95 % interval{of}") + note,
        lambda dot: scaled(dot.energy_j),
        lambda dot: (scaled(dot.energy_low_j), scaled(dot.energy_high_j)),
        "energy",
        "no energy measured",
    )


def depth(table: Sequence[Dot]) -> Against:
    """Depth; how far from it dots may stand is said, where some do."""
    label = "depth (convolutions and linear layers on the longest path)"
    if any(dot.x != dot.depth for dot in table):
        label += f"\nmethods stand side by side, up to {values.SPREAD:g} of a layer from their depth"
    return Against("accuracy against depth", label, lambda dot: dot.x, lambda _: (None, None), None)


def _left_out(why: str, missing: Sequence[Dot], table: Sequence[Dot]) -> str:
    """Below an axis, which rungs are not in its panel, if others are; whole, in lines that fit."""
    if not missing or len(missing) == len(table):
        return ""
    rungs: dict[str, list[int]] = {}
    for dot in missing:
        rungs.setdefault(dot.name, []).append(dot.rung)
    named = "; ".join(f"{name} {listing(found)}".replace(" ", _UNBROKEN) for name, found in rungs.items())
    note = textwrap.fill(f"{why}: {named}", _NOTE, break_long_words=False, break_on_hyphens=False)
    return f"\n{style.plain(note.replace(_UNBROKEN, ' '))}"


# --- one panel -----------------------------------------------------------------------------------------------------


def panel(axes: Axes, table: Sequence[Dot], looks: Mapping[str, style.Look], against: Against) -> None:
    """Draw the dots of a panel, a line per method; full depth, which all share, once."""
    axes.set_xlabel(against.label)
    if against.front:
        _front(axes, table, against)
    for n, name in enumerate(dict.fromkeys(dot.name for dot in table)):
        _method(axes, [dot for dot in table if dot.name == name], looks[name], against, first=n == 0)
    if against.nothing and not against.there(table):
        axes.text(0.5, 0.5, against.nothing, transform=axes.transAxes, ha="center", color=style.GREY)
    if against.front is None:
        depths = [dot.depth for dot in table if dot.depth is not None]
        if depths:
            axes.set_xlim(max(depths) + 0.7, min(depths) - 0.7)  # depth falls from left to right
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))


def _method(axes: Axes, mine: Sequence[Dot], look: style.Look, against: Against, *, first: bool) -> None:
    """A method's dots with a thin line between them; what has no place is left out, and breaks the line."""
    colour, marker, line = look
    places = [against.place(dot) for dot in mine]
    xs = [float("nan") if x is None else x for x in places]
    axes.plot(xs, [100 * dot.accuracy for dot in mine], color=colour, linestyle=line, lw=0.9, alpha=0.75, zorder=2)
    for x, dot in zip(places, mine, strict=True):
        if x is not None and (dot.rung or first):
            size = 8.0 if marker == "*" else 5.5
            own = {"marker": marker, "color": colour, "ms": size, "mfc": face(dot.control, colour)}
            _dot(axes, x, dot, own if dot.rung else FULL, against.limits(dot))


def _dot(axes: Axes, x: float, dot: Dot, look: Mapping[str, Any], across: tuple[float | None, float | None]) -> None:
    """One dot, edged in white where it covers others, and its pale intervals, whose caps tell them from other lines."""
    y = 100 * dot.accuracy
    if dot.accuracy_low is not None and dot.accuracy_high is not None:
        axes.plot([x, x], [100 * dot.accuracy_low, 100 * dot.accuracy_high], marker="_", color=look["color"], **_PALE)
    low, high = across
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], marker="|", color=look["color"], **_PALE)
    edge = {"mec": look["color"], "mew": 1.3} if look.get("mfc") == "white" else {"mec": "white", "mew": 0.6}
    axes.plot([x], [y], linestyle="none", zorder=4 if dot.rung else 6, **{**look, **edge})


def face(control: bool, colour: str) -> str:
    """The fill of a marker: controls are hollow."""
    return "white" if control else colour


def _front(axes: Axes, table: Sequence[Dot], against: Against) -> None:
    """The front as a broad grey step behind the dots: at each cost, the best accuracy to be had."""
    found = list(values.front(table, against.front or "latency"))
    xs, ys = [against.place(dot) or 0.0 for dot in found], [100 * dot.accuracy for dot in found]
    axes.step(xs, ys, where="post", solid_capstyle="round", zorder=0.5, **FRONT)
    if len(found) == 1:  # a step of one place has no length
        axes.plot(xs, ys, marker="o", ms=13, linestyle="none", color=FRONT["color"], mew=0, zorder=0.5)


def number(axes: Axes, table: Sequence[Dot], looks: Mapping[str, style.Look], against: Against) -> None:
    """Write the numbers of rungs on the front, then of those that no line joins, above them to the left, where they have room.

    To be called when the axes have their limits.
    """
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "bottom", "zorder": 7}
    front = reversed(list(values.front(table, against.front))) if against.front else ()  # the most accurate ones first
    alone = (dot for dot in table if dot.rung and style.is_unordered(dot.name) and against.place(dot) is not None)
    named: list[tuple[float, float]] = []
    for dot in dict.fromkeys((*front, *alone)):
        spot = (against.place(dot) or 0.0, 100 * dot.accuracy)
        across, up = axes.transAxes.inverted().transform(axes.transData.transform(spot))
        if all(abs(across - x) > _NUMBER[0] or abs(up - y) > _NUMBER[1] for x, y in named):
            named.append((across, up))
            colour = style.BLACK if dot.rung == 0 else looks[dot.name][0]
            label = "full" if dot.rung == 0 else str(dot.rung)
            axes.annotate(label, spot, (-4, 4), color=colour, fontsize=8.5, path_effects=style.HALO, **place)


# --- the accuracies, which the panels of a row share ---------------------------------------------------------------


def scale(axes: Axes, table: Sequence[Dot]) -> None:
    """Have all accuracies in sight with their whole intervals, told apart where one method collapsed."""
    shares = [100 * dot.accuracy for dot in table]
    least = min(*shares, *(100 * dot.accuracy_low for dot in table if dot.accuracy_low is not None), 100.0)
    most = max(*shares, *(100 * dot.accuracy_high for dot in table if dot.accuracy_high is not None), 0.0)
    if max(shares) > _CROWDED and max(shares) - min(shares) > _COLLAPSED:
        _by_errors(axes, least, most)
    else:
        room = max(0.04 * (most - least), 0.5)
        axes.set_ylim(least - room, min(most + room, 100 + room))


def _by_errors(axes: Axes, low: float, high: float) -> None:
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
