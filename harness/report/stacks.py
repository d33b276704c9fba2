"""What latency is made of: the operators of each rung as stacked bars, by kind, and what passes between them.

    a row per ladder, runtime and precision; a bar per rung, rung 0 first, then controls; the dot is the latency as it was
    measured, without timing of operators, with its 95 % interval

Operators are timed in a process of their own, and timing takes time: where their sum is more than the latency there is nothing
to draw `between operators`, and the bar rises above its dot. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.errors import StoreError
from harness.records import Operation, Run, Summary
from harness.report import canvas, rows, style
from harness.report.plotted import ms, to_csv
from harness.report.rows import Panel

BETWEEN, CONVERSION = "between operators", "conversion of layout or numbers"
# What runtimes call their operators, by words; the first that fits counts.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "convolution": ("conv",),
    CONVERSION: (
        *("reorder", "transpose", "permute", "layout", "contiguous", "cast", "quantize", "copy", "convert", "reformat"),
    ),
    "linear and matrix products": (
        "gemm",
        "matmul",
        "linear",
        "fullyconnected",
        "fully_connected",
        "addmm",
        "bmm",
        "einsum",
        "attention",
    ),
    "pooling": ("pool", "reducemean", "mean"),
    "normalisation and softmax": ("norm", "softmax"),
    "elementwise": (
        *("relu", "add", "mul", "sub", "div", "sigmoid", "tanh", "gelu", "silu", "swish", "clip", "hard", "eltwise"),
        *("erf", "clamp", "activation", "pointwise", "elementwise"),
    ),
}
OTHER = "other operators"
LOOKS: Mapping[str, tuple[str, str]] = {  # fills fall from dark to light, and hatches tell neighbours apart in grey
    "convolution": (style.BLUE, ""),
    "linear and matrix products": (style.GREEN, "\\\\\\"),
    CONVERSION: (style.VERMILION, "xxx"),
    "pooling": (style.PURPLE, ".."),
    "normalisation and softmax": (style.ORANGE, "---"),
    "elementwise": (style.SKY, "///"),
    OTHER: ("#BBBBBB", "ooo"),
    BETWEEN: ("#FFFFFF", ""),
}
_BAR = 0.72
_INCHES, _NARROW, _MANY = 0.62, 0.45, 16  # inches that a bar takes, and takes where there are more than so many


@dataclass(frozen=True)
class Part:
    """A part of a bar: the time of a row's operators of one kind, from where it is stacked, beside the whole latency."""

    runtime: str
    precision: str
    ladder: str
    label: str
    control: bool
    depth: int | None
    kind: str
    operators: int
    time_ms: float
    from_ms: float
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    contended: bool
    warning: bool

    @property
    def panel(self) -> tuple[str, str, str]:
        """What has axes of its own; controls stand beside the first ladder."""
        return self.runtime, self.precision, self.ladder


def draw(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw operators per rung as stacked bars to `out`, and its parts to the CSV; return both.

    Raises UsageError for another suffix, StoreError when operators were not timed (it says how to) or nothing can be written.
    """
    canvas.require_suffix(out)
    canvas.require_measured(run)
    table = tuple(part for row in run.cases for part in parts(run, row))
    if not table:
        raise _untimed(run)
    return canvas.written(out, lambda: _figure(run, table), to_csv(Part, table))


def _untimed(run: Run) -> StoreError:
    reasons = dict.fromkeys(
        row.reasons.get("executed.operators_ns") or row.reasons.get("executed", "made by an older version")
        for row in run.cases
    )
    return StoreError(
        f"run {run.run}: no operator has a time, no figure of them: {'; '.join(reasons)}",
        f"Time them: harness run --device {run.device} --profile",
    )


def parts(run: Run, row: Summary) -> Iterator[Part]:
    """Yield the parts of a row's bar from below; none where its operators have no times."""
    told, found = run.operators.get(row.case_id or "", ()), row.latency_ns
    if not any(each.time_ns is not None for each in told):
        return
    groups: dict[str, list[Operation]] = {kind: [] for kind in LOOKS}
    for each in told:
        groups[kind_of(each)].append(each)
    latency = ms(found.median) if found else None
    height = 0.0
    for kind, group in groups.items():
        time_ms = sum(each.time_ns or 0 for each in group) / 1e6
        if kind == BETWEEN:
            time_ms = max(0.0, (latency or 0.0) - height)
        if time_ms > 0:
            yield Part(
                runtime=row.runtime,
                precision=row.precision,
                ladder=row.ladder,
                label=rows.label(row),
                control=row.method == "control",
                depth=row.depth,
                kind=kind,
                operators=len(group),
                time_ms=time_ms,
                from_ms=height,
                latency_ms=latency,
                low_ms=ms(found.low if found else None),
                high_ms=ms(found.high if found else None),
                contended=bool(row.executed and row.executed.contended),
                warning=rows.is_warned_of(run, row),
            )
        height += time_ms


def kind_of(operator: Operation) -> str:
    """What an operator is, by what its runtime calls it; one that multiplies and has no known name is a matrix product."""
    name = operator.kind.lower().replace("convert", "reformat")  # no convolution
    named = (kind for kind, words in _WORDS.items() if any(word in name for word in words))
    found = next((kind for kind in named if not (operator.macs and kind == CONVERSION)), None)
    return found or ("linear and matrix products" if operator.macs else OTHER)


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(run: Run, table: Sequence[Part]) -> Figure:
    shown = list(_shown(run, table))
    most = max(len(_labels(mine)) for _, _, mine in shown)
    width = max(8.0, 1.5 + (_INCHES if most <= _MANY else _NARROW) * most)
    figure = canvas.blank(width, 1.7 + 3.5 * len(shown))
    for axes, (panel, name, mine) in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        axes.set_title(canvas.fitted(f"{panel.title}, {name}", width), loc="left")
        _panel(axes, mine)
    title = [rows.subject(run), f"device {run.device}", "what latency is made of"]
    canvas.headed(figure, title, list(_key(run, table)))
    return figure


def _shown(run: Run, table: Sequence[Part]) -> Iterator[tuple[Panel, str, list[Part]]]:
    """Yield what has axes of its own: a ladder of which something is drawn; controls stand beside the first, or alone."""
    for panel in rows.panels(run):
        mine = [part for part in table if (part.runtime, part.precision) == (panel.runtime, panel.precision)]
        rungs, controls = ([part for part in mine if part.control is wanted] for wanted in (False, True))
        for name in dict.fromkeys(part.ladder for part in rungs):
            yield panel, f"ladder {name}", [*(part for part in rungs if part.ladder == name), *controls]
            controls = []
        if controls:
            yield panel, "controls", controls


def _labels(table: Sequence[Part]) -> list[tuple[bool, str]]:
    return list(dict.fromkeys((part.control, part.label) for part in table))


def _panel(axes: Axes, table: Sequence[Part]) -> None:
    bars = _labels(table)
    places = {bar: n + 0.6 * bar[0] for n, bar in enumerate(bars)}
    for part in table:
        _bar(axes, places[part.control, part.label], part)
    for bar in bars:
        mine = next(part for part in table if (part.control, part.label) == bar)
        _latency(axes, places[bar], mine)
    axes.set_xticks([places[bar] for bar in bars], [_tick(bar, table) for bar in bars])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, max(places.values()) + 0.6)
    tops = [max(p.from_ms + p.time_ms, p.high_ms or 0.0, p.latency_ms or 0.0) for p in table]
    axes.set_ylim(0, 1.08 * max(tops))
    axes.set_ylabel("time per inference (ms)")
    axes.set_xlabel("rung, and its depth below" + "; then controls" * any(part.control for part in table))


def _tick(bar: tuple[bool, str], table: Sequence[Part]) -> str:
    """A bar's name and depth; a star where it is a warning."""
    part = next(part for part in table if (part.control, part.label) == bar)
    star = " *" if part.warning else ""
    return style.plain(
        f"{part.label.replace('-', chr(10))}{star}\n" + ("" if part.depth is None else f"({part.depth})")
    )


def _bar(axes: Axes, place: float, part: Part) -> BarContainer:
    fill, hatch = LOOKS[part.kind]
    edge = style.GREY if part.kind == BETWEEN else "white"
    line: dict[str, Any] = {"linestyle": ":" if part.kind == BETWEEN else "-", "linewidth": 0.8}
    return axes.bar(place, part.time_ms, _BAR, part.from_ms, facecolor=fill, edgecolor=edge, hatch=hatch, **line)


def _latency(axes: Axes, place: float, part: Part) -> None:
    if part.latency_ms is None:
        return
    bars = canvas.reach(part.latency_ms, part.low_ms, part.high_ms)
    face = "white" if part.contended else style.BLACK
    look: dict[str, Any] = {"color": style.BLACK, "marker": "o", "ms": 4, "mfc": face, "linestyle": "none", "zorder": 4}
    axes.errorbar(place, part.latency_ms, bars, **look, path_effects=style.HALO)


def _key(run: Run, table: Sequence[Part]) -> Iterator[Line2D | Patch]:
    """Handles for what stands in the figure, and for nothing else."""
    for kind, (fill, hatch) in reversed(tuple(LOOKS.items())):
        if any(part.kind == kind for part in table):
            edge = style.GREY if kind == BETWEEN else "white"
            line: style.LineStyle = ":" if kind == BETWEEN else "-"
            yield Patch(facecolor=fill, edgecolor=edge, hatch=hatch, linestyle=line, label=kind)
    yield canvas.handle("o", "latency, measured without timing operators, 95 % interval", color=style.BLACK, ms=4)
    if any(part.contended for part in table):
        yield canvas.handle(
            "o", "hollow: somebody else used the processor meanwhile", color=style.BLACK, ms=4, mfc="white"
        )
    if any(_swollen(part) for part in table):
        yield canvas.handle("", "bars above their dot: timing operators took time of its own")
    if any(part.warning for part in table):
        yield canvas.handle("", "* fewer layers or MACs, not faster")
    if left := canvas.missing(run, {(part.runtime, part.precision, part.ladder, part.label) for part in table}):
        yield canvas.handle("", f"operators not timed: {left}")


def _swollen(part: Part) -> bool:
    return part.latency_ms is not None and part.from_ms + part.time_ms > 1.001 * part.latency_ms
