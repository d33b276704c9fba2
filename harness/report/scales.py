"""Axes: limits with room beyond what is drawn, logarithmic ones with round numbers, names that keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.report import style

_NARROW = 2.5  # times the least is the most, where ticks stand evenly apart
_STEPS = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))  # of a decade, where there are more of them ..
_MANY = (12.0, 1000.0)  # .. from so many times the least


_FAR = 25.0  # times: from there on an axis that would begin at 0 is logarithmic


def limit(axes: Axes, values: Sequence[float], free: float) -> None:
    """Have values in sight, from 0 on or, where they are far apart, on a logarithmic axis; a part of it `free` above them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if not 0 < low < high / _FAR:
        axes.set_ylim(0, (high or 1.0) / (1 - free))
        return
    bottom = 0.8 * low
    logarithmic(axes, bottom, bottom * (high / bottom) ** (1 / (1 - free)))


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """Make the upright axis logarithmic between two limits, with round numbers."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def apart(axes: Axes, heights: Sequence[float], share: float) -> list[float]:
    """Move heights up until each is a share of the axes above the one below it."""
    low, high = axes.get_ylim()
    if axes.get_yscale() != "log":
        return style.apart(heights, share * (high - low))
    return [math.exp(each) for each in style.apart([math.log(h) for h in heights], share * math.log(high / low))]


def room(values: Sequence[float]) -> tuple[float, float]:
    """Limits with an eighth of the span beyond the values, and at least so much that one value has room."""
    more = max((max(values) / min(values)) ** 0.125, 1.04)
    return min(values) / more, max(values) * more


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two: evenly apart where they are near, else as many per decade as there is room for."""
    if high < _NARROW * low:
        values = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [float(value) for value in values if low <= value <= high]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = _STEPS[sum(high > each * low for each in _MANY)]
    found = [step * 10.0**n for n in decades for step in steps if low <= step * 10.0**n <= high]
    return found[:: -(-len(found) // 10)]  # over many decades not every one
