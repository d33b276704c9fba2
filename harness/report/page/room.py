"""What of many series has room on one page: the first in rank, and of these the newest nights.

A page has an end (`document.MOST_BYTES`) and a browser has one; a year of a small matrix is a hundred thousand values. Levels
rest on all nights, drawn or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.report.page.chronicles import Chronicle

SERIES = 800
VALUES = 80_000  # some 30 bytes each


@dataclass(frozen=True)
class Room:
    """Positions of the series that are on the page, and the first night that is drawn; `note` says what is not, in sentences."""

    series: tuple[int, ...]
    begin: str
    note: str


def of(found: Sequence[Chronicle], order: Sequence[int], series: int = SERIES, values: int = VALUES) -> Room:
    """Return what has room of some series, in `order`: so many series, and of their nights the newest, whole nights each."""
    kept = tuple(order[:series])
    counted = Counter(night for n in kept for night in found[n].nights)
    newest = sorted(counted, reverse=True)
    fitting = sum(total <= values for total in accumulate(counted[night] for night in newest))
    drawn = newest[: max(fitting, 1)]
    notes = []
    if len(kept) < len(found):
        notes.append(f"{len(kept)} of {len(found)} series are on this page: those that changed last.")
    if len(drawn) < len(newest):
        notes.append(f"Figures have the newest {len(drawn)} of {len(newest)} nights; levels rest on all.")
    return Room(kept, drawn[-1] if drawn else "", " ".join(notes))
