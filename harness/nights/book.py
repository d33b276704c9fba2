"""The night's file as it grows: what came of a row is on the disk before the next one begins, whoever dies then."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.nights.past import Past
from harness.records.nights import MatrixRow, Night, RowOutcome
from harness.store import nights

_GOES_ON = timedelta(hours=18)  # a night that was cut off longer ago is over: the next one begins


class Book:
    """A night that goes on; for several threads at once."""

    def __init__(self, results: Path, night: Night) -> None:
        self.results, self.night = results, night
        self._lock = threading.Lock()

    def add(self, came: RowOutcome) -> None:
        """Write down what came of a row, in place of what was said of it before. Raises StoreError."""
        with self._lock:
            rows = {each.row.key: each for each in self.night.rows}  # a row keeps its place
            self._save(rows=tuple({**rows, came.row.key: came}.values()))

    def annotate(self, device: str, words: Iterable[str]) -> None:
        """Write down what happened to a device, each once. Raises StoreError."""
        with self._lock:
            told = self.night.annotations
            merged = tuple(dict.fromkeys((*told.get(device, ()), *words)))
            if merged != told.get(device, ()):
                self._save(annotations={**told, device: merged})

    def write(self, **changes: Any) -> None:
        """Write down anything else. Raises StoreError."""
        with self._lock:
            self._save(**changes)

    def of(self, key: str) -> RowOutcome | None:
        """Return what came of a row; None while nothing has."""
        return next((each for each in self.night.rows if each.row.key == key), None)

    def spent_s(self, device: str) -> float:
        """Return the seconds that a device's rows took so far, those of a night that was cut off among them."""
        return sum(each.seconds or 0.0 for each in self.night.rows if each.row.device == device)

    def _save(self, **changes: Any) -> None:
        night = replace(self.night, **changes)
        nights.save(self.results, night)
        self.night = night


def opened(
    results: Path, earlier: Sequence[Night], rows: Sequence[MatrixRow], session: str, now: datetime
) -> tuple[Book, Past]:
    """Return the night to be written, and those before it: the newest if it was cut off and is not over, else a new one.

    Nights that were cut off and are over are closed: `rows` without an outcome are missing then. Raises StoreError.
    """
    open_nights = [night for night in earlier if night.ended is None]
    goes_on = next((night for night in reversed(open_nights) if _goes_on(night, now)), None)
    for night in open_nights:
        if night is not goes_on:
            nights.save(results, _closed(night, rows, now))
    past = Past([night for night in nights.nights(results) if goes_on is None or night.night != goes_on.night])
    if goes_on is not None:
        return Book(results, goes_on), past
    return Book(results, nights.new(results, earlier, session, now)), past


def _goes_on(night: Night, now: datetime) -> bool:
    """A clock may have been put back meanwhile: then it is no reason to begin anew."""
    return now - datetime.fromisoformat(night.began) < _GOES_ON


def _closed(night: Night, rows: Sequence[MatrixRow], now: datetime) -> Night:
    known = {each.row.key for each in night.rows}
    missing = [RowOutcome(row, "missing", "the night was cut off") for row in rows if row.key not in known]
    return replace(night, ended=now.astimezone(UTC).isoformat(timespec="seconds"), rows=(*night.rows, *missing))
