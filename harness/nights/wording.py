"""What summary and JUnit report say alike: values with units, changes with intervals, reasons. One fact, one line. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from harness.nights.facts import Facts, share
from harness.records.nights import MatrixRow, RowOutcome, SeriesChange
from harness.report.text import digits
from harness.text import printable

Name = Callable[[str], str]  # how a name is written where it is told

_PREFIXES = {  # unit -> units that are read more easily, with what one of them is worth, largest first
    "ns": (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0)),
    "s": (("s", 1.0), ("ms", 1e-3)),
    "J": (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)),
    "bytes": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)),
    "fraction": (("%", 0.01),),
}


def levels(change: SeriesChange) -> str:
    """The level before and after, in one unit: 12.1 → 13.4 ms; with as many digits as tell the two apart."""
    unit, worth = readable(change.unit, max(abs(change.before), abs(change.after)))
    before, after = change.before / worth, change.after / worth
    for count in range(3, 9):
        if digits(before, count) != digits(after, count):
            break
    return f"{_written(before, count)} → {_written(after, count)} {unit}".rstrip()


def readable(unit: str, largest: float) -> tuple[str, float]:
    """The unit in which values up to `largest` are read most easily, and what one of it is worth in `unit`."""
    known = _PREFIXES.get(unit, ((unit, 1.0),))
    return next((each for each in known if largest >= each[1]), known[-1])


def _written(value: float, count: int) -> str:
    """A value; errors of folding are far below what can be written without a power of ten."""
    return f"{value:.{count - 1}e}" if 0 < abs(value) < 1e-4 else digits(value, count)


def percent(change: SeriesChange) -> str:
    """By how much, with the interval: +10.7 % (+8.1 to +13.0); the interval alone says how sure it is."""
    if not math.isfinite(change.ratio):
        return "from nothing"
    limits = (change.low, change.high)
    low, high = (None if limit is None or not math.isfinite(limit) else limit for limit in limits)
    interval = "" if low is None or high is None else f" ({_percent(low - 1)} to {_percent(high - 1)})"
    return f"{_percent(share(change))} %{interval}"


def _percent(fraction: float) -> str:
    """A signed percentage, to a tenth below ten percent."""
    return f"{100 * fraction:+.1f}" if abs(fraction) < 10 else f"{100 * fraction:+.0f}"


def fact(change: SeriesChange, name: Name = str) -> str:
    """A change without its row: rung, quantity, before and after, how much, since when."""
    certainty = "" if change.p is None else ", p < 0.001" if change.p < 0.001 else f", p {digits(change.p, 2)}"
    what = f"{name(printable(change.rung))}, {change.quantity}"
    return f"{what}: {levels(change)}, {percent(change)}{certainty}, since {change.since}"


def runs(row: RowOutcome) -> str:
    """The run of a row and the one that confirmed it; nothing where there is none."""
    again = f", confirmed by {row.again}" if row.again else ""
    return f"run {row.run}{again}" if row.run else ""


def why(row: RowOutcome) -> str:
    """Why a row has no figures, fit for one line."""
    return printable(row.reason) or {"failed": "no reason was told"}.get(row.outcome, row.outcome)


def last(row: RowOutcome) -> str:
    """When a row last arrived."""
    return f"last measured {printable(row.last)}" if row.last else "never measured yet"


def where(row: MatrixRow, name: Name = str) -> str:
    """A row with its device."""
    return f"{name(printable(row.device))} {name(printable(title(row)))}"


def title(row: MatrixRow) -> str:
    """A row without its device, further words included: two of a device may differ in these alone; canaries do not."""
    words = () if row.canary else (f"{word}={_plain(value)}" for word, value in sorted(row.words.items()))
    return " ".join((row.title, *words))


def _plain(value: Any) -> str:
    """A word's value as it stands in YAML, or nearly so."""
    if isinstance(value, list | tuple):
        return ",".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def headline(found: Facts, ended: bool, name: Name = str) -> str:
    """Say in one sentence whether someone has to get up."""
    counts = found.counts
    trouble = [
        plural(counts[key], *words)
        for key, words in (
            ("newly_failing", ("row newly fails", "rows newly fail")),
            ("still_failing", ("row still fails", "rows still fail")),
            ("missing", ("row is missing", "rows are missing")),
            ("blamed_devices", ("device is blamed", "devices are blamed")),
        )
        if counts[key]
    ]
    so_far = "" if ended else " (the night is not over)"
    if found.regressions:
        devices = [name(each) for each in sorted({printable(change.row.device) for change in found.regressions})]
        more = f"; besides, {listed(trouble)}" if trouble else ""
        return f"Get up: {plural(len(found.regressions), 'confirmed regression')} on {listed(devices)}{more}{so_far}."
    if trouble:
        return f"Nobody has to get up, but look at it by day: nothing regressed, {listed(trouble)}{so_far}."
    return f"Nobody has to get up: nothing regressed, nothing fails, nothing is missing{so_far}."


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its word."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
