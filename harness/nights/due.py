"""Which rows are due tonight, and why: what was never measured, failed, changed, or grew too old. Everything else is fresh.

Decided from here, before any device is asked: an upgrade that only the device knows of is found when it is looked at
(`upgraded`), and makes rows due then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from harness.nights import identity, judging
from harness.nights.identity import Identity
from harness.nights.matrix import Laid
from harness.nights.past import Once, Past, day
from harness.records.nights import PlannedRow

_PASSES = ("contended", "throttled")  # what disturbs a run tonight and may not tomorrow: such a run decides nothing


def plan(
    rows: Sequence[Laid], past: Past, results: Path, today: date, max_age_days: int | None
) -> tuple[PlannedRow, ...]:
    """Return each row with what is to be done about it tonight, in their order, those longest unmeasured first among equals."""
    planned = [_planned(laid, past, results, today, max_age_days) for laid in rows]
    order = sorted(range(len(rows)), key=lambda n: _order(rows[n], past, n, rows))
    return tuple(planned[n] for n in order)


def upgraded(past: Past, key: str, told: Identity) -> tuple[str, ...]:
    """Return in what the device differs from what it was when a row was last measured, in words."""
    once = past.measured(key)
    return identity.changes(once.came.there, told) if once else ()


def _planned(laid: Laid, past: Past, results: Path, today: date, max_age_days: int | None) -> PlannedRow:
    row = laid.row
    expected_s = past.expected_s(row.key)
    if laid.plan is None:
        return PlannedRow(row, "excluded", laid.excluded, expected_s)
    once = past.measured(row.key)
    if reason := _reason(laid, once, past, results, today, max_age_days):
        return PlannedRow(row, "due", reason, expected_s)
    assert once is not None
    return PlannedRow(row, "fresh", f"nothing changed since {once.night.night}", expected_s, once.came.run)


def _reason(laid: Laid, once: Once | None, past: Past, results: Path, today: date, max_age_days: int | None) -> str:
    """Why a row is due; empty where it is not."""
    if laid.row.canary:
        return "the canary: every night"
    if once is None:
        return "failed when it was last tried" if past.failed(laid.row.key) else "never measured"
    if past.failed(laid.row.key):
        return "failed when it was last tried"
    if not (results / laid.row.device / str(once.came.run) / "run.json").is_file():
        return f"its run {once.came.run} is gone"
    assert laid.plan is not None
    if changed := identity.changes(once.came.here, identity.here(laid.plan, laid.device)):
        return "; ".join(changed)
    if any(map(judging.is_worth_another_run, past.suspected(laid.row.key))):  # a second night confirms it, or does not
        return f"it seemed to have changed on {once.night.night}"
    if once.came.state in _PASSES:
        return f"its run of {once.night.night} was {once.came.state}"
    return "" if max_age_days is None else _old((today - day(once.night)).days, once, max_age_days)


def _old(age: int, once: Once, max_age_days: int) -> str:
    """Why a row is measured again for its age. One of the future has none: a clock was wrong, and must not keep it for ever."""
    if age < 0:
        return f"measured on {day(once.night)}, which is yet to come: a clock was wrong"
    return f"measured {age} night{'s' * (age != 1)} ago" if age >= max_age_days else ""


def _order(laid: Laid, past: Past, n: int, rows: Sequence[Laid]) -> tuple[object, ...]:
    """By device, canary, priority, as they stand; then by when a row was last measured, never being first of all."""
    devices = list(dict.fromkeys(each.row.device for each in rows))
    once = past.measured(laid.row.key)
    when = (once.night.number, once.night.began) if once else (-1, "")
    row = laid.row
    return (devices.index(row.device), bool(laid.excluded), not row.canary, -row.priority, when, n)
