"""Accuracy against measured latency and measured energy, beside accuracy against depth: which method trades best, here.

    per runtime and precision:   accuracy            | accuracy             | accuracy
                                 against latency,    | against energy,      | against depth
                                 with the front      | with the front, if   |
                                                     | a run has energies   |

Every method has a colour and a marker of its own, the same in all figures; the controls are black and hollow. A thin line
joins the rungs of a ladder; plans, which do not build on one another, have numbers instead. Full depth, which all ladders
share, is drawn once. A front joins what nothing else beats in both, by point estimates.
Intervals are thin and pale, and have caps, since few test examples make them long: of latency the median's, of accuracy
Wilson's, or one standard deviation where there are several seeds. Methods of equal depth are set aside by up to
`dots.SPREAD` of a layer, which the axis says; rungs without latency or energy are named below theirs. What is plotted lies
beside the figure as CSV, the depth as it is. Where a method collapsed, accuracy is on the scale of the logarithm of the
errors, or the others could not be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.errors import StoreError
from harness.findings.views import count
from harness.records import Run
from harness.report import canvas, rows, style, tradeoff
from harness.report import dots as values
from harness.report.dots import Dot
from harness.report.plotted import to_csv

_PANEL = {2: (5.6, 4.6), 3: (4.8, 4.6)}  # inches, by how many stand side by side
_LEGEND_COLUMN = 2.15  # inches
_LINE = 0.16  # inches that a line below an axis is high


def draw(runs: Sequence[Run], out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw accuracy against its costs and depth to `out`, a row per runtime and precision, and its points to the CSV.

    Several runs, of one model on one device, share the axes. `also` are further suffixes. Raises UsageError for another
    suffix, StoreError when no ladder was trained or nothing can be written.
    """
    canvas.require_suffix(out)
    table = values.dots(runs)
    if not table:
        raise _nothing(runs)
    return canvas.written(out, lambda: _figure(runs, table), to_csv(Dot, table), also)


def _nothing(runs: Sequence[Run]) -> StoreError:
    why = dict.fromkeys(row.reasons.get("accuracy", "unknown") for run in runs for row in run.cases)
    named = ", ".join(run.run for run in runs)
    hint = "Name a --method that trains: see harness methods."
    return StoreError(f"run {named}: no accuracy, no figure of it: {'; '.join(why) or 'nothing was made'}", hint)


def _figure(runs: Sequence[Run], table: Sequence[Dot]) -> Figure:
    places, looks = values.places(table), style.of_methods(_names(table))
    wide = 2 + any(dot.energy_j is not None for dot in table)
    width, height = wide * _PANEL[wide][0], _PANEL[wide][1] * len(places)
    columns = max(1, int(width / _LEGEND_COLUMN))
    key = list(_key(table, looks))
    axes = {place: _against(values.of(table, place), wide) for place in places}
    notes = sum(max(each.label.count("\n") for each in found) for found in axes.values())
    figure = canvas.blank(width, height + 0.55 + _LINE * notes + 0.19 * -(-len(key) // columns))
    grid = figure.subplots(len(places), wide, squeeze=False, sharey="row")
    for row, place in zip(grid, places, strict=True):
        _row(row, values.of(table, place), looks, axes[place], " ".join(place) if len(places) > 1 else "")
    canvas.titled(figure, _title(runs, places))
    figure.legend(handles=key, loc="outside lower left", ncols=columns, columnspacing=1.4, handlelength=2.6)
    return figure


def _against(table: Sequence[Dot], wide: int) -> list[tradeoff.Against]:
    """What accuracy is put against in the panels of a row."""
    costs = (tradeoff.latency, tradeoff.energy) if wide > 2 else (tradeoff.latency,)
    return [each(table) for each in (*costs, tradeoff.depth)]


def _row(
    grid: Sequence[Axes],
    table: Sequence[Dot],
    looks: Mapping[str, style.Look],
    against: Sequence[tradeoff.Against],
    title: str,
) -> None:
    grid[0].set_ylabel(_accuracy_label(table))
    for axes, each in zip(grid, against, strict=True):
        axes.set_title(style.plain(f"{title}\n" if title else "") + each.title, loc="left")
        tradeoff.panel(axes, table, looks, each)
    tradeoff.scale(grid[0], table)
    for axes, each in zip(grid, against, strict=True):
        tradeoff.number(axes, table, looks, each)


def _title(runs: Sequence[Run], places: Sequence[tuple[str, str]]) -> list[str]:
    """What the figure is of."""
    subjects = dict.fromkeys(rows.subject(run) for run in runs)
    devices = dict.fromkeys(run.device + ", virtual" * run.virtual for run in runs)
    where = " ".join(places[0]) if len(places) == 1 else ""
    many = f"{len(runs)} runs" if len(runs) > 1 else ""
    return [", ".join(subjects), f"device {', '.join(devices)}", where, many]


def _names(table: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(dot.name for dot in table))


def _accuracy_label(table: Sequence[Dot]) -> str:
    """The unit, and what one example is worth: no difference below it means anything."""
    counts = {dot.examples for dot in table}
    only = next(iter(counts))
    seeds = max(dot.seeds for dot in table)
    of = f" of {count(only, 'test example')}" if only and len(counts) == 1 else " of the test part"
    bars = f"mean of {seeds} seeds, bars: one sd" if seeds > 1 else "Wilson 95 % interval"
    return f"accuracy (%{of})\n{bars}"


# --- the key -------------------------------------------------------------------------------------------------------


def _key(table: Sequence[Dot], looks: Mapping[str, style.Look]) -> Iterator[Line2D]:
    """Handles for what stands in the figure: methods, then controls, then what all share."""
    control = {dot.name: dot.control for dot in table}
    for name in sorted(_names(table), key=lambda name: control[name]):
        colour, marker, line = looks[name]
        face = tradeoff.face(control[name], colour)
        label = name + " (control)" * control[name] + ", rungs numbered" * style.is_unordered(name)
        yield Line2D([], [], color=colour, marker=marker, linestyle=line, lw=0.9, mfc=face, label=style.plain(label))
    yield Line2D([], [], linestyle="none", label="full depth", **tradeoff.FULL)
    if any(dot.front or dot.energy_front for dot in table):
        yield Line2D([], [], label="front, rungs numbered", **tradeoff.FRONT)
