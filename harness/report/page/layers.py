"""What the page's figures are made of: axes, scales by series, tooltips, and the layers that ladders are drawn as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.page.looks import Look

Spec = dict[str, Any]
Looks = Mapping[str, Look]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # names the language; nobody fetches it
_HEIGHT = 260  # pixels
_SIZE = 70  # square pixels of a symbol
_BOX = "#D55E00"
_POINT = {
    "name": "row",
    "series": "method",
    "model": "model",
    "depth": "depth",
    "latency": "latency",
    "against": "speed-up",
    "verdict": "verdict",
    "right": "accuracy",
    "accuracy_is": "which is",
    "mmacs_useful": "useful MMACs",
    "takes": "energy",
    "findings": "findings",
}


def points(looks: Looks, x: Spec, y: Spec, limits: str, boxed: str = "warned") -> list[Spec]:
    """Lines of ladders, intervals (`limits` names their ends), boxes about those that a finding warns of, points."""
    colour, low, high = by_method(looks), limits.format("low"), limits.format("high")
    courses = {
        "transform": [{"filter": "!datum.control"}],
        "mark": {"type": "line", "strokeWidth": 1.5, "aria": False},
        "encoding": {
            "x": x,
            "y": y,
            "color": colour,
            "detail": nominal("ladder"),
            "order": quantitative("rung"),
            "strokeDash": _ranged(looks, [list(look.dash) for look in looks.values()]),
        },
    }
    intervals = {
        "transform": [valid(low)],
        "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.55, "aria": False},
        "encoding": {"x": x, "y": {**y, "field": low}, "y2": {"field": high}, "color": colour},
    }
    boxes = {
        "transform": [{"filter": f"datum.{boxed}"}],
        "mark": {
            "type": "point",
            "shape": "square",
            "size": 4 * _SIZE,
            "strokeWidth": 1.4,
            "color": _BOX,
            "opacity": 1,
            "aria": False,
        },
        "encoding": {"x": x, "y": y},
    }
    symbols = {
        "mark": {"type": "point", "size": _SIZE, "strokeWidth": 1.6, "opacity": 1},
        "encoding": {
            "x": x,
            "y": y,
            "color": colour,
            "tooltip": tooltip(_POINT),
            "description": described(y),
            "shape": _ranged(looks, [look.path for look in looks.values()]),
            "fill": {"condition": {"test": "!datum.hollow", **colour}, "value": "transparent"},
        },
    }
    return [courses, intervals, boxes, symbols]


def layered(*parts: Spec) -> Spec:
    """Layers over the rows that the page shows."""
    return {"$schema": _SCHEMA, "data": {"name": "shown"}, "width": "container", "height": _HEIGHT, "layer": [*parts]}


def listed(*parts: Spec) -> Spec:
    """Layers with a line per row, by its name; how many there are, the page knows."""
    return layered(*parts)


def depth() -> Spec:
    """Depth along x, full depth on the left."""
    return {
        **axis("place", "depth (layers on the longest path)"),
        "scale": {"zero": False, "reverse": True, "padding": 14, "nice": False},
        "axis": {"tickMinStep": 1, "format": "d"},
    }


def axis(field: str, title: str, *, zero: bool = False) -> Spec:
    """A number along an axis with its title, which says the unit."""
    return {**quantitative(field), "title": title, "scale": {"zero": zero}}


def names() -> Spec:
    """Rows down y, in their order."""
    return {**nominal("name"), "title": None, "sort": None, "axis": {"labelLimit": 190}}


def by_method(looks: Looks) -> Spec:
    """Colours of series; which ones, the page says."""
    return _ranged(looks, "category")


def _ranged(looks: Looks, range_: Any) -> Spec:
    return {**nominal("series"), "scale": {"domain": list(looks), "range": range_}, "legend": None}


def quantitative(field: str) -> Spec:
    """A field of numbers."""
    return {"field": field, "type": "quantitative"}


def nominal(field: str) -> Spec:
    """A field of names."""
    return {"field": field, "type": "nominal"}


def valid(field: str) -> Spec:
    """Only rows that have a field."""
    return {"filter": f"isValid(datum.{field})"}


def tooltip(fields: Mapping[str, str]) -> Spec:
    """What is told of a mark, by field: its name there; times and MACs to three digits, others as they are, none left out."""
    told = (
        f"isValid(datum.{name}) && datum.{name} !== '' ? {{'{title}': {_written(name)}}} : {{}}"
        for name, title in fields.items()
    )
    return {"value": {"expr": f"merge({', '.join(told)})"}}


def _written(field: str) -> str:
    is_number = field.endswith("_ms") or field == "mmacs_useful"
    return f"format(datum.{field}, '.3~r')" if is_number else f"datum.{field}"


def described(y: Spec) -> Spec:
    """What a screen reader says of a mark: its row, and what it is drawn for."""
    return {"value": {"expr": f"datum.name + ': {y['title']} ' + format(datum.{y['field']}, '.3~r')"}}
