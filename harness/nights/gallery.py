"""The page of a night: its facts as the summary has them, and its series over all nights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.nights.facts import Facts, facts
from harness.nights.wording import fact, headline, last, title, why
from harness.records.nights import MatrixRow, Night, RowOutcome, SeriesChange
from harness.report.page import nights as page
from harness.report.page.chronicles import Chronicle
from harness.report.page.nights import Fact, Section

_Drawn = Sequence[Chronicle]


def write(night: Night, found: _Drawn, out: Path) -> Path:
    """Write the page of a night to an .html file and return its path. Raises UsageError, StoreError."""
    told = facts(night)
    about = f"Night {night.night}, {len(night.rows)} rows, {len(found)} series."
    return page.write(headline(told, night.ended is not None), about, list(_sections(told, night, found)), found, out)


def _sections(told: Facts, night: Night, found: _Drawn) -> Iterator[Section]:
    """What is told, the worst first, in the order of the summary."""
    blamed = tuple(_of_device(device, reason, found) for device, reason in told.blamed.items())
    notes = ((device, text) for device, texts in night.annotations.items() for text in texts)
    around = tuple(_of_device(device, text, found) for device, text in notes)
    yield Section("Blamed devices", "error", "A canary moved: the device did. Its other rows are not reported.", blamed)
    yield Section(
        "Regressions", "error", "Confirmed by a second run of the same night.", _changed(told.regressions, found)
    )
    yield Section("Newly failing", "error", "Rows that failed tonight and not before.", _failed(told.failing, found))
    yield Section("Still failing", "warning", "Rows that failed before, too.", _failed(told.still_failing, found))
    missing = "Planned, and did not arrive."
    yield Section("Missing", "warning", missing, _failed((*told.absent, *told.late), found))
    yield Section("What changed around it", "info", "Upgrades: series begin anew behind them.", around)
    new = tuple(Fact(_where(each.row), "Measured for the first time.", _of(each.row, found)) for each in told.new)
    yield Section("New", "info", "Rows that no earlier night has.", new)
    yield Section("Improved", "info", "Confirmed by a second run of the same night.", _changed(told.improved, found))
    doubts = (_of_device(device, reason, found) for device, reason in told.doubted.items())
    wait = "The device's canary does not vouch for it tonight: nobody knows yet whether the device moved."
    yield Section("Waiting a night", "info", wait, (*doubts, *_changed(told.waiting, found)))
    once = "No alarm: a second run did not show it."
    yield Section("Seen once, not confirmed", "info", once, _changed(told.suspected, found))
    unchanged = tuple(Fact(_where(each.row), "No change.", _of(each.row, found)) for each in told.unchanged)
    yield Section("Unchanged", "info", "Measured tonight, and as before.", unchanged)


def _of_device(device: str, text: str, found: _Drawn) -> Fact:
    return Fact(device, text, tuple(n for n, each in enumerate(found) if each.device == device))


def _changed(changes: Sequence[SeriesChange], found: _Drawn) -> tuple[Fact, ...]:
    return tuple(Fact(_where(each.row), fact(each), _of_change(each, found)) for each in changes)


def _failed(rows: Sequence[RowOutcome], found: _Drawn) -> tuple[Fact, ...]:
    return tuple(Fact(_where(each.row), f"{why(each)}; {last(each)}.", _of(each.row, found)) for each in rows)


def _where(row: MatrixRow) -> str:
    return f"{row.device}: {title(row)}"


def _of(row: MatrixRow, found: _Drawn) -> tuple[int, ...]:
    return tuple(n for n, each in enumerate(found) if (each.device, each.row) == (row.device, title(row)))


def _of_change(change: SeriesChange, found: _Drawn) -> tuple[int, ...]:
    return tuple(
        n for n in _of(change.row, found) if (found[n].rung, found[n].quantity) == (change.rung, change.quantity)
    )
