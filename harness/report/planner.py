"""The figure of a plan: whether what was predicted came true, and which folds pay on the device at all.

    measured against predicted speed-up of each plan | what each option saves, as a bar with its interval,
    of the front, with the line of equality and 10 % | in % of the unfolded network's latency; costs are to the left of 0

Plans have the numbers of the table, the chosen one is a star. Options are sorted; of more than 30 those that save and that
cost most are drawn, and the rest is counted where it would stand. Bars that would press all others together are cut and say so.
What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.errors import StoreError
from harness.findings.views import count
from harness.records.planned import Planned
from harness.report import canvas, gained, scales, style
from harness.report.gained import Mark
from harness.report.plotted import to_csv

COLOURS: Mapping[str, str] = {"saves": style.BLUE, "costs": style.VERMILION, "undecided": "#BDBDBD"}
NEAR = 0.1  # of a latency: predictions are to be no further off
_LEFT, _RIGHT = 4.4, 6.2  # inches of the panels
_BAR, _LEAST = 0.2, 4.9  # inches of a bar, of the figure
_FAR = 4.0  # times as far as any saving reaches to the right do costs reach to the left, before they are cut ..
_WIDE = 12.0  # .. and at least so many % ..
_CUT = 1.5  # .. where some reach so many times as far
_FEW = 6  # bars that there is room for at least: one is no wider than one of many
_POINTS = 72.0  # to an inch


def draw(planned: Planned, out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw a plan's predictions beside what came of them, and its options' gains; write the points beside it.

    Raises UsageError for another suffix, StoreError where nothing was measured or nothing can be written.
    """
    canvas.require_suffix(out)
    table = gained.marks(planned)
    if not table:
        what = f"{planned.asked['model']} on {planned.device}: nothing to fold was measured, no figure"
        raise StoreError(what, "See why with: harness plan")
    return canvas.written(out, lambda: _figure(planned, table), to_csv(Mark, table), also)


def _figure(planned: Planned, table: Sequence[Mark]) -> Figure:
    plans, options = ([mark for mark in table if mark.kind == kind] for kind in ("plan", "option"))
    rows = sum(mark.drawn for mark in options)
    figure = canvas.blank(_LEFT + _RIGHT, max(_LEAST, 1.9 + _BAR * (rows + 1)))
    left, right = figure.subplots(1, 2, width_ratios=(_LEFT, _RIGHT))
    _front(left, plans)
    _options(right, options)
    asked = planned.asked
    setting = f"{asked['runtime']} {asked['precision']}, {count(asked['threads'], 'thread')}, batch {asked['batch']}"
    whole = "" if planned.reference_ns is None else f"unfolded {planned.reference_ns / 1e6:.3g} ms"
    canvas.headed(figure, [f"folding {asked['model']} on {planned.device}", setting, whole], list(_key(plans, options)))
    _number(left, plans)
    return figure


# --- predicted against measured ------------------------------------------------------------------------------------


def _front(axes: Axes, plans: Sequence[Mark]) -> None:
    """The plans about the line of equality."""
    axes.set_xlabel("predicted speed-up (unfolded: 1x)")
    axes.set_ylabel("measured speed-up (unfolded: 1x)")
    axes.set_title(canvas.fitted(_outcome(plans), _LEFT), loc="left")
    axes.grid(visible=True, axis="both")
    low, high = _limits(plans)
    ends = (low, high)
    axes.fill_between(
        ends, [each / (1 + NEAR) for each in ends], [each / (1 - NEAR) for each in ends], color=style.BAND
    )
    axes.plot(ends, ends, color=style.GREY, lw=0.9)
    for place in (axes.axhline, axes.axvline):
        place(1.0, color=style.GREY, lw=0.8, linestyle=(0, (1, 2)))
    for mark in _measured(plans):
        _spot(axes, mark)
    _square(axes, low, high)


def _measured(plans: Sequence[Mark]) -> list[Mark]:
    return [mark for mark in plans if mark.measured is not None]


def _outcome(plans: Sequence[Mark]) -> str:
    """What came of the predictions, in words."""
    found = _measured(plans)
    if not plans:
        return "no plan: nothing surely gains here"
    if not found:
        return f"none of {count(len(plans), 'plan')} measured"
    near = sum(abs((mark.predicted or 0.0) / (mark.measured or 1.0) - 1) <= NEAR for mark in found)
    return f"{near} of {count(len(found), 'plan')} within {NEAR:.0%} of the prediction"


def _limits(plans: Sequence[Mark]) -> tuple[float, float]:
    """Of both axes alike: all values with their intervals, and 1."""
    kinds = ("predicted", "measured")
    ends = [
        getattr(mark, f"{kind}{end}") for mark in _measured(plans) for kind in kinds for end in ("", "_low", "_high")
    ]
    return scales.room([1.0, *(each for each in ends if each is not None and each > 0)])


def _square(axes: Axes, low: float, high: float) -> None:
    """The same logarithmic scale on both axes: ratios, and 10 % are as wide everywhere."""
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    found = scales.ticks(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(found[:: -(-len(found) // 7)]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))


def _spot(axes: Axes, mark: Mark) -> None:
    x, y = mark.predicted or 0.0, mark.measured or 0.0
    across, up = (
        canvas.reach(value, low, high)
        for value, low, high in (
            (x, mark.predicted_low, mark.predicted_high),
            (y, mark.measured_low, mark.measured_high),
        )
    )
    look: dict[str, Any] = {
        "marker": "*" if mark.chosen else "o",
        "ms": 12 if mark.chosen else 6,
        "mec": "white",
        "mew": 0.6,
    }
    bars: dict[str, Any] = {"color": style.BLUE, "elinewidth": 0.8, "capsize": 1.5, "ecolor": "#7FB8D8"}
    axes.errorbar([x], [y], up, across, zorder=3 + mark.chosen, **bars, **look)


def _number(axes: Axes, plans: Sequence[Mark]) -> None:
    """Write the plans' numbers where there is most room; to be called when the figure is laid out."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    found = _measured(plans)
    pixels = [axes.transData.transform((mark.predicted or 0.0, mark.measured or 0.0)) for mark in found]
    points = _POINTS / float(axes.figure.dpi)
    spots = [(points * float(x), points * float(y)) for x, y in pixels]
    for mark, away in zip(found, style.beside(spots), strict=True):
        axes.annotate(
            str(mark.place),
            (mark.predicted or 0.0, mark.measured or 0.0),
            away,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold" if mark.chosen else "normal",
            path_effects=style.HALO,
            zorder=6,
        )


# --- what each option saves ----------------------------------------------------------------------------------------


def _options(axes: Axes, options: Sequence[Mark]) -> None:
    """A bar per option, that which saves most on top."""
    known = [mark for mark in options if mark.verdict != "failed"]
    axes.set_title(style.plain(_message(known)), loc="left")
    axes.set_xlabel("latency saved in the whole network, % of the unfolded one\n\u25c4 costs        saves \u25ba")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    if not known:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no option was measured", transform=axes.transAxes, ha="center", color=style.GREY)
        return
    lines = _lines(known)
    low, high = _reach([mark for mark in lines if mark])
    axes.set_xlim(low, high)
    for n, mark in enumerate(lines):
        if mark:
            _bar(axes, n, mark, low)
        else:
            axes.text(low, n, f"  {_rest(known)}", va="center", fontsize=8.5, color=style.GREY, fontstyle="italic")
    axes.axvline(0.0, color=style.BLACK, lw=0.9, zorder=3)
    axes.set_ylim(max(len(lines), _FEW) - 0.4, -0.6)
    axes.set_yticks(range(len(lines)), [style.plain(gained.short(mark.name)) if mark else "" for mark in lines])
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    for mark, label in zip(lines, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if mark and mark.chosen else "normal")


def _message(known: Sequence[Mark]) -> str:
    """What a glance is to tell: how many folds would make the network slower here, and how many would not."""
    if not known:
        return "nothing measured"
    slower, faster, unclear = (sum(mark.verdict == word for mark in known) for word in ("costs", "saves", "undecided"))
    rest = f", {unclear} undecided" if unclear else ""
    first, second = ("slower", "faster") if slower >= faster else ("faster", "slower")
    most, least = max(slower, faster), min(slower, faster)
    return f"{most} of {count(len(known), 'fold')} would make it {first} here\n{least} would make it {second}{rest}"


def _lines(known: Sequence[Mark]) -> list[Mark | None]:
    """What stands on each line: a mark, or None for those that are left out."""
    lines: list[Mark | None] = []
    for mark in known:
        if mark.drawn:
            lines.append(mark)
        elif not lines or lines[-1] is not None:
            lines.append(None)
    return lines


def _rest(known: Sequence[Mark]) -> str:
    left = [mark for mark in known if not mark.drawn]
    parts = [(sum(mark.verdict == word for mark in left), word) for word in ("saves", "undecided", "costs")]
    words = {"saves": "faster", "costs": "slower", "undecided": "undecided"}
    return f"{len(left)} more between: {', '.join(f'{n} {words[word]}' for n, word in parts if n)}"


def _reach(shown: Sequence[Mark]) -> tuple[float, float]:
    """Limits in %: all savings with their intervals; costs as far as they leave room for these."""
    ends = [100 * each for mark in shown for each in (mark.saved, mark.saved_low, mark.saved_high) if each is not None]
    high = max(*ends, 0.0) if len(ends) > 1 else 0.0
    low = min(*ends, 0.0) if len(ends) > 1 else 0.0
    most = max(_FAR * high, _WIDE)
    low = low if low >= -_CUT * most else -most
    high = min(high, max(100.0, _WIDE))
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _bar(axes: Axes, line: int, mark: Mark, low: float) -> None:
    """One option's bar: hollow where it was measured by itself alone; one that is cut says how far it goes."""
    value = 100 * (mark.saved or 0.0)
    colour = COLOURS[mark.verdict or "undecided"]
    face = "white" if mark.basis == "isolated" else colour
    axes.barh([line], [max(value, low)], height=0.66, color=face, edgecolor=colour, linewidth=1.0, zorder=2)
    below, above = canvas.reach(
        value, *(None if end is None else 100 * end for end in (mark.saved_low, mark.saved_high))
    )
    if value < low:
        axes.text(
            low, line, f" \u25c4 \u2212{-value:.0f} %", va="center", fontsize=8, path_effects=style.HALO, zorder=5
        )
        return
    axes.errorbar([value], [line], xerr=[below, above], color=style.BLACK, elinewidth=0.8, capsize=1.8, zorder=4)


# --- the key ---------------------------------------------------------------------------------------------------------


def _key(plans: Sequence[Mark], options: Sequence[Mark]) -> Iterator[Line2D | Patch]:
    """Handles for what stands in the figure, and for nothing else."""
    found = _measured(plans)
    shown = [mark for mark in options if mark.drawn and mark.verdict != "failed"]
    words = {"saves": "makes it faster", "costs": "makes it slower", "undecided": "undecided: the interval holds 0"}
    for verdict, label in words.items():
        if any(mark.verdict == verdict for mark in shown):
            yield Patch(color=COLOURS[verdict], label=label)
    if any(mark.basis == "isolated" for mark in shown):
        yield Patch(fc="white", ec=style.BLACK, label="hollow: measured by itself, corrected")
    if any(not mark.chosen for mark in found):
        yield canvas.handle("o", "a plan, by its number in the table", color=style.BLUE, ms=6)
    if any(mark.chosen for mark in plans):
        yield canvas.handle("*", "the chosen plan; its options are bold", color=style.BLUE, ms=11)
    yield Patch(color=style.BAND, label=f"within {NEAR:.0%} of the predicted latency")
    yield canvas.handle("", "bars and lines: 95 % intervals")
    lost = [str(mark.place) for mark in plans if mark.measured is None]
    if lost:
        yield canvas.handle("", f"not measured: plan {', '.join(lost)}")
    failed = sum(mark.verdict == "failed" for mark in options)
    if failed:
        yield canvas.handle("", f"not measured: {count(failed, 'option')}")
