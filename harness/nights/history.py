"""Series of real nights as chronicles: what the page of a night draws. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.nights.past import Past
from harness.nights.series import Series
from harness.nights.wording import percent, readable, title
from harness.records.nights import Night, SeriesChange
from harness.report.page.chronicles import Chronicle


def chronicles(found: Sequence[Series], night: Night, past: Past) -> tuple[Chronicle, ...]:
    """Return a chronicle of each series, in their order, with what earlier nights and tonight said of it."""
    began = {each.night: each.began for each in (*past.nights, night)}
    said = [change for each in (*past.nights, night) for change in each.changes]
    return tuple(_chronicle(each, began, [change for change in said if _is_of(change, each)], night) for each in found)


def _is_of(change: SeriesChange, of: Series) -> bool:
    return (change.row.key, change.rung, change.quantity) == (of.row.key, of.rung, of.quantity.name)


def _chronicle(of: Series, began: dict[str, str], said: Sequence[SeriesChange], night: Night) -> Chronicle:
    unit, worth = readable(
        of.quantity.unit, max((abs(value) for value in of.values if not math.isnan(value)), default=1.0)
    )
    tonight = [change for change in night.changes if change in said]
    return Chronicle(
        device=of.row.device,
        row=title(of.row),
        rung=of.rung,
        quantity=of.quantity.name,
        unit=unit,
        nights=tuple(began[name] for name in of.nights),
        values=tuple(None if math.isnan(value) else value / worth for value in of.values),
        low=_limits(of, "low", worth),
        high=_limits(of, "high", worth),
        usable=of.usable,
        breaks=dict(of.around),
        told={of.nights.index(change.since): percent(change) for change in said if change.since in of.nights},
        more_is_worse=of.quantity.more_is_worse,
        canary=of.row.canary,
        tonight=percent(tonight[0]) if tonight else "",
    )


def _limits(of: Series, side: str, worth: float) -> tuple[float | None, ...]:
    """The limits of each night's 95 % interval, where it has one."""
    if not of.cases:
        return (None,) * len(of.values)
    known = (case and case.get(f"{of.quantity.column}_{side}") for case in of.cases)
    return tuple(None if not value else float(value) / worth for value in known)
