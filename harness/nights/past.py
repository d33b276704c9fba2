"""What earlier nights say of a row: when it was last measured, as what, how long that took, whether it failed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from harness.records.nights import Night, RowOutcome, SeriesChange

_RECENT = 9  # times a row took count for what it will take
_TRIED = ("measured", "failed", "missing")


@dataclass(frozen=True)
class Once:
    """A row on an earlier night."""

    night: Night
    came: RowOutcome


class Past:
    """The earlier nights, oldest first, by row."""

    def __init__(self, nights: Sequence[Night]) -> None:
        self.nights = tuple(nights)
        self._by_key: dict[str, list[Once]] = {}
        for night in nights:
            for came in night.rows:
                self._by_key.setdefault(came.row.key, []).append(Once(night, came))

    def of(self, key: str) -> Sequence[Once]:
        """Return the nights that have a row, oldest first, whatever came of it."""
        return self._by_key.get(key, ())

    def measured(self, key: str) -> Once | None:
        """Return the newest night that measured a row."""
        return next((once for once in reversed(self.of(key)) if once.came.outcome == "measured"), None)

    def suspected(self, key: str) -> tuple[SeriesChange, ...]:
        """Return what of a row seemed to have changed when it was last measured."""
        once = self.measured(key)
        return tuple(each for each in once.night.suspected if each.row.key == key) if once else ()

    def failed(self, key: str) -> bool:
        """Return whether a row failed when it was last tried."""
        tried = [once.came.outcome for once in self.of(key) if once.came.outcome in _TRIED]
        return bool(tried) and tried[-1] == "failed"

    def expected_s(self, key: str) -> float | None:
        """Return the median of how long a row took, s; None where nothing tells."""
        took = [once.came.seconds for once in self.of(key) if once.came.outcome == "measured" and once.came.seconds]
        return statistics.median(took[-_RECENT:]) if took else None


def day(night: Night) -> date:
    """Return the day (UTC) on which a night began."""
    return date.fromisoformat(night.began[:10])
