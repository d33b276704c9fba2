"""The page's figures as Vega-Lite specifications: what is plotted against what, for one panel; the page brings the rows.

Every figure is drawn once per panel (a run's runtime and precision) over the rows that the filters leave, the data set `shown`.
Colours are the page's, which knows whether its ground is dark (the range `category`); symbols and dashes stand here. Every
interval is drawn. Vega-Lite's own words are at https://vega.github.io/vega-lite/docs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.page import layers
from harness.report.page.layers import Looks, Spec
from harness.report.page.marks import ASIDE

Rows = Sequence[Mapping[str, Any]]

_WHOLE = 100.25  # %: an error on its scale is this less the accuracy, so that none is 0
_NAMED = (0, 50, 80, 90, 95, 98, 99, 99.5, 100)  # accuracies on that scale
_BOXED = {"latency_{}_ms": "warned", "energy_{}_mj": "dearer"}
_LINE = 16  # pixels
_COLLAPSED = 25.0  # % between the best and the worst: then errors are drawn on a logarithmic scale


@dataclass(frozen=True)
class Chart:
    """A figure of the page: what it is called, how it is read, the fields a row must have, what it is drawn over, its palette.

    `line`: pixels for each row, where every row has a line of its own.
    """

    key: str
    title: str
    reads: str
    needs: tuple[str, ...]
    spec: Spec
    source: str = "rows"
    palette: str = "series"
    line: int = 0


def charts(looks: Looks, rows: Rows, kinds: Collection[str]) -> tuple[Chart, ...]:
    """Return the figures for which there is anything to plot; `kinds` are those of operators, empty where none was timed."""
    found = [*_ladders(looks), *_trades(looks, rows), _tails(looks), *([_operators(kinds)] if kinds else [])]
    return tuple(
        chart
        for chart in found
        if chart.source == "parts" or any(all(row.get(field) is not None for field in chart.needs) for row in rows)
    )


# --- what ladders are plotted against ----------------------------------------------------------------------------------


def _ladders(looks: Looks) -> list[Chart]:
    """Latency, time relative to full depth and energy against depth; latency against MACs."""
    latency = layers.axis("latency_ms", "latency (ms)")
    relative = layers.axis("relative", "time, full depth = 1")
    energy = layers.axis("energy_mj", "energy per inference, gross (mJ)")
    one = {
        "mark": {"type": "rule", "strokeDash": [3, 3], "opacity": 0.6, "aria": False},
        "encoding": {"y": {"datum": 1}},
    }
    macs = layers.axis("mmacs_useful", "useful MACs of an example (M)", zero=True)
    ceiling = {
        "transform": [{"filter": "isValid(datum.ceiling_ms)"}],
        "mark": {"type": "line", "strokeWidth": 4, "opacity": 0.35, "aria": False},
        "encoding": {"x": macs, "y": layers.quantitative("ceiling_ms")},
    }
    return [
        Chart(
            "latency",
            "Latency against depth",
            "Depth counts convolution and linear layers on the longest path. Full depth is on the left, fewer layers to the "
            "right: a ladder that pays falls. Where several have one depth they stand side by side, up to "
            f"{ASIDE:g} of a layer from it. Hollow symbols are controls; a box marks fewer layers or MACs and no more speed.",
            ("depth", "latency_ms"),
            layers.layered(*layers.points(looks, layers.depth(), latency, "latency_{}_ms")),
        ),
        Chart(
            "relative",
            "Time relative to full depth",
            "One over the speed-up, paired within blocks: below 1 is faster. Verdicts rest on these intervals, not on those "
            "of the latencies.",
            ("depth", "relative"),
            layers.layered(one, *layers.points(looks, layers.depth(), relative, "relative_{}")),
        ),
        Chart(
            "macs",
            "Latency against MACs",
            "Points on one ray from the origin compute at one rate; a rung that leaves the ray of full depth has gained or "
            "lost by something else than MACs. The pale line is the device's measured ceiling, where the run has one.",
            ("mmacs_useful", "latency_ms"),
            layers.layered(
                ceiling,
                *layers.points(looks, macs, layers.axis("latency_ms", "latency (ms)", zero=True), "latency_{}_ms"),
            ),
        ),
        Chart(
            "energy",
            "Energy against depth",
            "Gross energy of one inference in the scenario that is compared; different scopes (a point says its own) are not "
            "to be compared. A box marks fewer layers, or more speed, and more energy.",
            ("depth", "energy_mj"),
            layers.layered(*layers.points(looks, layers.depth(), energy, "energy_{}_mj", "dearer")),
        ),
    ]


# --- accuracy against what it takes --------------------------------------------------------------------------------------


def _trades(looks: Looks, rows: Rows) -> list[Chart]:
    reads = (
        "Up and to the left is better. The pale steps join what nothing else shown beats in both, by point estimates. "
        "Accuracies are torch's, of the rung as it is deployed; those of an artifact of fewer bits are its own, where known."
    )
    collapsed = _is_collapsed(rows)
    return [
        Chart(
            "accuracy",
            "Accuracy against latency",
            reads,
            ("accuracy_percent", "latency_ms"),
            _trade(looks, "latency_{}_ms", "latency (ms)", collapsed),
        ),
        Chart(
            "thrift",
            "Accuracy against energy",
            reads,
            ("accuracy_percent", "energy_mj"),
            _trade(looks, "energy_{}_mj", "energy per inference, gross (mJ)", collapsed),
        ),
    ]


def _trade(looks: Looks, fields: str, title: str, collapsed: bool) -> Spec:
    """Accuracy against what an inference takes; by the logarithm of the errors where a method collapsed."""
    x = layers.axis(fields.replace("_{}", ""), title)
    y = _errors() if collapsed else layers.axis("accuracy_percent", "accuracy (% of the test split)")
    across = {
        "transform": [layers.valid(fields.format("low"))],
        "mark": {"type": "rule", "opacity": 0.3, "aria": False},
        "encoding": {"x": {**x, "field": fields.format("low")}, "x2": {"field": fields.format("high")}, "y": y},
    }
    parts = layers.points(looks, x, y, "missed_{}_percent" if collapsed else "accuracy_{}_percent", _BOXED[fields])
    missed = [
        {"calculate": f"{_WHOLE} - datum.accuracy{end}_percent", "as": f"missed{end}_percent"}
        for end in ("", "_low", "_high")
    ]
    return {**layers.layered(_front(x, y), across, *parts), "transform": missed if collapsed else []}


def _front(x: Spec, y: Spec) -> Spec:
    """What nothing shown beats in both: more accurate than all that take less."""
    order = [{"field": x["field"]}, {"field": "accuracy_percent", "order": "descending"}]
    return {
        "transform": [
            {"window": [{"op": "max", "field": "accuracy_percent", "as": "best"}], "frame": [None, 0], "sort": order},
            {"window": [{"op": "lag", "field": "best", "as": "before"}], "sort": order},
            {"filter": "!isValid(datum.before) || datum.accuracy_percent > datum.before"},
        ],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 7, "opacity": 0.25, "aria": False},
        "encoding": {"x": x, "y": y},
    }


def _errors() -> Spec:
    values = [_WHOLE - each for each in _NAMED]
    return {
        **layers.axis("missed_percent", "accuracy (% of the test split), scale of errors"),
        "scale": {"type": "log", "reverse": True, "padding": 12, "nice": False},
        "axis": {"values": values, "labelExpr": f"format({_WHOLE} - datum.value, '~r')"},
    }


def _is_collapsed(rows: Rows) -> bool:
    found = [row["accuracy_percent"] for row in rows if row.get("accuracy_percent") is not None]
    return bool(found) and max(found) - min(found) > _COLLAPSED


# --- a line per row ------------------------------------------------------------------------------------------------------


def _tails(looks: Looks) -> Chart:
    x = layers.axis("latency_ms", "latency (ms)")
    said: Spec = {
        "color": layers.by_method(looks),
        "tooltip": layers.tooltip(_TAIL),
        "description": layers.described(x),
    }
    reach = {
        "mark": {"type": "rule", "opacity": 0.6, "strokeWidth": 2, "aria": False},
        "encoding": {"y": layers.names(), "x": x, "x2": layers.quantitative("reach_ms"), "color": said["color"]},
    }
    ticks: list[Spec] = [
        {
            "transform": [layers.valid(f"latency_{name}_ms")],
            "mark": {"type": "tick", "thickness": 2, "height": height, "aria": False},
            "encoding": {"y": layers.names(), "x": {**x, "field": f"latency_{name}_ms"}, **said},
        }
        for name, height in (("p90", 6), ("p95", 9), ("p99", 12))
    ]
    middle = {
        "mark": {"type": "point", "filled": True, "opacity": 1},
        "encoding": {"y": layers.names(), "x": x, **said},
    }
    return Chart(
        "tails",
        "Single inferences",
        "From the median of process medians (dot, with its interval) to the highest percentile of all timed inferences that "
        "so many tell: ticks are p90, p95 and p99.",
        ("latency_ms", "reach_ms"),
        layers.listed(reach, _beside(x, said["color"]), *ticks, middle),
        line=_LINE,
    )


def _beside(x: Spec, colour: Spec) -> Spec:
    """The interval of a latency on its line."""
    return {
        "transform": [layers.valid("latency_low_ms")],
        "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.5, "aria": False},
        "encoding": {
            "y": layers.names(),
            "x": {**x, "field": "latency_low_ms"},
            "x2": {"field": "latency_high_ms"},
            "color": colour,
        },
    }


def _operators(kinds: Collection[str]) -> Chart:
    x = {**layers.quantitative("from_ms"), "title": "time (ms)"}
    colour = {
        **layers.nominal("kind"),
        "title": None,
        "scale": {"domain": list(kinds), "range": "category"},
        "legend": {
            "orient": "bottom",
            "columns": {"expr": "width < 420 ? 1 : 2"},
            "labelLimit": 280,
            "symbolType": "square",
        },
    }
    bars = {
        "mark": {"type": "bar", "stroke": "#808080", "strokeWidth": 0.5},
        "encoding": {
            "y": layers.names(),
            "x": x,
            "x2": {"field": "until_ms"},
            "color": colour,
            "tooltip": layers.tooltip(_PART),
            "description": {"value": {"expr": "datum.name + ': ' + datum.kind + ' ' + datum.time"}},
        },
    }
    latency = {
        "transform": [layers.valid("latency_ms")],
        "mark": {"type": "point", "filled": True, "opacity": 1, "size": 45, "stroke": "#808080", "strokeWidth": 1},
        "encoding": {
            "y": layers.names(),
            "x": {**x, "field": "latency_ms"},
            "tooltip": layers.tooltip({"name": "row", "latency": "latency"}),
            "description": {"value": {"expr": "datum.name + ': latency ' + datum.latency"}},
        },
    }
    return Chart(
        "operators",
        "What latency is made of",
        "Operators timed in a process of their own, which takes time itself: their sum need not be the latency, which is the "
        "dot, with its interval.",
        ("time_ms",),
        layers.listed(bars, _beside(x, {"value": "#808080"}), latency),
        source="parts",
        palette="kinds",
        line=_LINE,
    )


_TAIL = {
    "name": "row",
    "series": "method",
    "latency": "median",
    "latency_p90_ms": "p90 (ms)",
    "latency_p95_ms": "p95 (ms)",
    "latency_p99_ms": "p99 (ms)",
}
_PART = {"name": "row", "kind": "kind", "operators": "operators", "time": "time"}
