"""Series over nights as a figure each: values with their intervals, levels, and where a level ended and why.

A chronicle is one quantity of one rung of one row of the matrix. Its levels are looked back upon (`stats.segments`), with all
nights known; what a night has told (`told`) was decided then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from harness.report.page.layers import Spec, axis, layered, nominal, tooltip
from harness.stats.segments import Segment, segments

HEIGHT = 150  # pixels
_LATE = 0.75  # of the nights: words stand on the left of their line
_MARGIN = 0.01
_LEAST = 1e-300  # a quantity may be 0, its logarithm may not


@dataclass(frozen=True)
class Chronicle:
    """A series, one position a night: dates (ISO 8601), values in `unit` with their intervals, None where there is none.

    `usable`: False where the run was disturbed. `breaks`: positions at which something around it changed, with what it was.
    `told`: positions at which a change was confirmed, with the words. `tonight`: what is said of it tonight, nothing mostly.
    """

    device: str
    row: str
    rung: str
    quantity: str
    unit: str
    nights: tuple[str, ...]
    values: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    usable: tuple[bool, ...]
    breaks: Mapping[int, str]
    told: Mapping[int, str]
    more_is_worse: bool = True
    canary: bool = False
    tonight: str = ""

    @property
    def title(self) -> str:
        """What it is a series of, without the device."""
        return ", ".join(filter(None, (self.row, self.rung, self.quantity)))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Its levels, looked back on."""
        pairs = zip(self.values, self.usable, strict=True)
        logs = [math.log(max(value, _LEAST)) if value is not None and usable else math.nan for value, usable in pairs]
        return segments(np.asarray(logs), breaks=tuple(self.breaks))

    @property
    def measured(self) -> int:
        """Nights with a value."""
        return sum(value is not None for value in self.values)

    @property
    def newest(self) -> float | None:
        """The newest value."""
        return next((value for value in reversed(self.values) if value is not None), None)


def marks(each: Chronicle, number: int) -> Iterator[dict[str, Any]]:
    """Yield what is drawn of a chronicle: points, levels, cuts. Its panel is its own."""
    columns = zip(each.nights, each.values, each.low, each.high, each.usable, strict=True)
    for night, value, low, high, usable in columns:
        if value is not None:
            span = {"value": value, "low": low, "high": high}
            yield {"n": number, "panel": number, "kind": "point", "night": night, **span, "usable": usable}
    yield from lines(each, number)


def lines(each: Chronicle, number: int, begin: str = "") -> Iterator[dict[str, Any]]:
    """Yield what is drawn of a chronicle but for its points, from the night `begin` on: levels, cuts."""
    common = {"n": number, "panel": number}
    for value in _margins(each):  # an axis that is never so narrow that rounding fills it
        yield {**common, "kind": "margin", "night": max(each.nights[-1], begin), "value": value}
    for segment in each.segments:
        span = {"night": max(each.nights[segment.first], begin), "until": each.nights[segment.last]}
        if span["until"] >= begin:
            yield {**common, "kind": "level", **span, "value": math.exp(segment.level)}
    shown = sum(night >= begin for night in each.nights)
    late = len(each.nights) - (1 - _LATE) * shown
    for kind, texts in (("moved", _moves(each)), ("around", each.breaks), ("told", each.told)):
        for place, text in texts.items():
            if (night := each.nights[place]) >= begin:
                yield {**common, "kind": kind, "night": night, "text": text, "late": place > late}


def _margins(each: Chronicle) -> tuple[float, ...]:
    """What the axis of values reaches to at least: a hundredth around what was measured."""
    known = [value for value in each.values if value is not None]
    if not known:
        return ()
    least = _MARGIN * max(map(abs, known)) or 1.0
    return min(known) - least, max(known) + least


def points(found: Sequence[Chronicle], begin: str = "") -> dict[str, Any]:
    """Return the points of all chronicles from the night `begin` on, as columns: as objects they take four times the room.

    `nights` are those of all; of each series `at` are positions among them, `off` the places of points that were disturbed.
    """
    nights = sorted({night for each in found for night in each.nights if night >= begin})
    place = {night: n for n, night in enumerate(nights)}
    return {"nights": nights, "series": [_columns(each, place) for each in found]}


def _columns(each: Chronicle, place: Mapping[str, int]) -> dict[str, list[Any]]:
    kept = [n for n, night in enumerate(each.nights) if night in place and each.values[n] is not None]
    return {
        "at": [place[each.nights[n]] for n in kept],
        **{name: [_short(column[n]) for n in kept] for name, column in _limits(each).items()},
        "off": [at for at, n in enumerate(kept) if not each.usable[n]],
    }


def _limits(each: Chronicle) -> Mapping[str, Sequence[float | None]]:
    return {"value": each.values, "low": each.low, "high": each.high}


def _short(value: float | None) -> float | None:
    """A value to six digits: more than is drawn, and half as long."""
    return None if value is None else float(f"{value:.6g}")


def _moves(each: Chronicle) -> dict[int, str]:
    """Where a level ended by itself: by how much."""
    return {
        after.first: f"{100 * (after.ratio - 1):+.1f} %"
        for _, after in pairwise(each.segments)
        if after.ratio is not None and after.first not in each.breaks
    }


def figure() -> Spec:
    """The figure of a chronicle; its unit stands in its caption."""
    x: Spec = {"field": "night", "type": "temporal", "title": None, "axis": {"tickCount": 6, "format": "%b %d"}}
    y = {**axis("value", ""), "title": None, "axis": {"tickCount": 5, "format": ".6~g"}}
    points = {
        "transform": [_only("point")],
        "mark": {"type": "point", "size": 16, "strokeWidth": 1, "opacity": 0.85},
        "encoding": {
            "x": x,
            "y": y,
            "color": _ink("value"),
            "fill": {"condition": {"test": "datum.usable", **_ink("value")}, "value": "transparent"},
            "tooltip": tooltip(
                {"night": "night", "value": "value", "low": "from", "high": "to", "usable": "undisturbed"}
            ),
        },
    }
    limits = {
        "transform": [_only("point"), {"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "opacity": 0.3},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": _ink("value")},
    }
    levels = {
        "transform": [_only("level")],
        "mark": {"type": "rule", "strokeWidth": 2.5},
        "encoding": {"x": x, "x2": {"field": "until"}, "y": y, "color": _ink("level")},
    }
    cuts = [*_cut("moved", x, [6, 3], 0), *_cut("around", x, [2, 3], 13)]
    told = {
        "transform": [_only("told")],
        "mark": {"type": "point", "shape": "triangle-down", "filled": True, "size": 70, "opacity": 1},
        "encoding": {"x": x, "y": {"value": 4}, "color": _ink("told"), "tooltip": _what()},
    }
    margin = {
        "transform": [_only("margin")],
        "mark": {"type": "point", "opacity": 0, "size": 0, "tooltip": None},
        "encoding": {"x": x, "y": y},
    }
    return {**layered(margin, limits, points, levels, *cuts, told), "height": HEIGHT}


def _cut(kind: str, x: Spec, dash: Sequence[int], below: int) -> list[Spec]:
    """Vertical lines where a level ended or something around it changed, with the words beside them."""
    line = {
        "transform": [_only(kind)],
        "mark": {"type": "rule", "strokeDash": list(dash), "strokeWidth": 1.2},
        "encoding": {"x": x, "tooltip": _what()},
    }
    return [line, *(_words(kind, x, below, late) for late in (False, True))]


def _words(kind: str, x: Spec, below: int, late: bool) -> Spec:
    """Words beside a line, on its left where there is no room on its right."""
    look = {"align": "right" if late else "left", "dx": -4 if late else 4, "baseline": "top", "fontSize": 10}
    return {
        "transform": [_only(kind), {"filter": f"datum.late == {str(late).lower()}"}],
        "mark": {"type": "text", **look, "limit": 140},
        "encoding": {"x": x, "y": {"value": below}, "text": nominal("text")},
    }


def _only(kind: str) -> Spec:
    return {"filter": f"datum.kind == '{kind}'"}


def _what() -> Spec:
    return tooltip({"night": "night", "text": "what"})


INKS = {"value": ("#0072B2", "#56B4E9"), "level": ("#000000", "#E8E9EB"), "told": ("#D55E00", "#F5A25D")}  # light, dark


def _ink(name: str) -> Spec:
    """A colour of the page's palette `inks`."""
    return {"datum": name, "type": "nominal", "scale": {"domain": list(INKS), "range": "category"}, "legend": None}


def ranked(found: Sequence[Chronicle]) -> list[int]:
    """Return positions: first those of which something is said tonight, then those whose level ended last; then by device."""

    def rank(place: int) -> tuple[Any, ...]:
        each = found[place]
        return not each.tonight, -_newest_end(each), each.device, not each.canary, place

    return sorted(range(len(found)), key=rank)


def _newest_end(each: Chronicle) -> int:
    return max((segment.first for segment in each.segments[1:]), default=0)
