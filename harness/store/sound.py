"""What a night's file must say beyond its shape, whoever edited it: moments, plain names, numbers that are numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from harness import wire
from harness.records.nights import Night, RowOutcome, SeriesChange


def require_sound(night: Night, name: str) -> None:
    """Raise ValueError for the first rule that a night breaks; `name` is that of its file, without the ending."""
    if night.night != name:
        raise ValueError(f"night: {night.night!r} is not what its file is called")
    _moment("began", night.began)
    if night.ended is not None:
        _moment("ended", night.ended)
    for place, row in enumerate(night.rows):
        _row(f"rows.{place}", row)
    for key in ("changes", "suspected"):
        for place, change in enumerate(getattr(night, key)):
            _numbers(f"{key}.{place}", _of(change))


def _moment(key: str, text: str) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{key}: {text!r} is no time with a zone, such as 2026-11-20T02:00:00+00:00")


def _row(place: str, row: RowOutcome) -> None:
    for key, run in (("run", row.run), ("again", row.again)):
        if run is not None:
            wire.require_name(run, f"{place}.{key}")
    if row.outcome == "measured" and row.run is None:
        raise ValueError(f"{place}: measured, and without a run")
    times = {key: value for key, value in (("seconds", row.seconds), ("build_s", row.build_s)) if value is not None}
    _numbers(place, iter(times.items()))
    for key, value in times.items():
        if value < 0:
            raise ValueError(f"{place}.{key}: {value} is below 0")


def _of(change: SeriesChange) -> Iterator[tuple[str, float]]:
    known = {key: getattr(change, key) for key in ("before", "after", "ratio", "low", "high", "p")}
    yield from ((key, value) for key, value in known.items() if value is not None)


def _numbers(place: str, values: Iterator[tuple[str, float]]) -> None:
    for key, value in values:
        if not math.isfinite(value):
            raise ValueError(f"{place}.{key}: {value} is no number")
