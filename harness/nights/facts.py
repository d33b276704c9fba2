"""A night sorted into the facts that it is made of, in the order in which they are told. Pure.

Of a device that is blamed (its canary moved) no change is a fact about a row: none of them is told, counted, or an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.records.nights import Night, RowOutcome, SeriesChange

REGRESSED, FAILED = 3, 1
_NOT_ARRIVED = ("missing", "unreachable", "out-of-time")


@dataclass(frozen=True)
class Facts:
    """The facts of a night. `new` and `unchanged` were measured; `late` did not fit into it, `absent` are all others missing.

    `suspected` were seen once and not confirmed, `waiting` could not be, for the canary of their device does not vouch for it;
    `doubted` says why, by device. `blamed`: why a device's rows are not reported, `silent` how many those are.
    """

    regressions: tuple[SeriesChange, ...]
    failing: tuple[RowOutcome, ...]
    still_failing: tuple[RowOutcome, ...]
    absent: tuple[RowOutcome, ...]
    late: tuple[RowOutcome, ...]
    new: tuple[RowOutcome, ...]
    improved: tuple[SeriesChange, ...]
    waiting: tuple[SeriesChange, ...]
    suspected: tuple[SeriesChange, ...]
    unchanged: tuple[RowOutcome, ...]
    fresh: tuple[RowOutcome, ...]
    excluded: tuple[RowOutcome, ...]
    blamed: Mapping[str, str]
    doubted: Mapping[str, str]
    silent: int

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each, in the order of the summary."""
        return {
            "regressions": len(self.regressions),
            "newly_failing": len(self.failing),
            "still_failing": len(self.still_failing),
            "missing": len(self.absent),
            "out_of_time": len(self.late),
            "new": len(self.new),
            "improved": len(self.improved),
            "waiting": len(self.waiting),
            "unconfirmed": len(self.suspected),
            "unchanged": len(self.unchanged),
            "fresh": len(self.fresh),
            "excluded": len(self.excluded),
            "blamed_devices": len(self.blamed),
        }


def facts(night: Night) -> Facts:
    """Sort a night into its facts; rows keep their order within each, changes stand largest first."""
    changes = [change for change in night.changes if change.row.device not in night.blamed]
    failed = [row for row in night.rows if row.outcome == "failed"]
    gone = [row for row in night.rows if row.outcome in _NOT_ARRIVED]
    measured = [row for row in night.rows if row.outcome == "measured"]
    told = [row for row in measured if row.row.device not in night.blamed]
    moved = {change.row.key for change in changes}
    seen = [change for change in night.suspected if change.row.device not in night.blamed]
    held = [change for change in seen if change.row.device in night.waiting and not change.row.canary]
    return Facts(
        regressions=_largest(change for change in changes if change.direction == "worse"),
        failing=tuple(row for row in failed if not row.failed_before),
        still_failing=tuple(row for row in failed if row.failed_before),
        absent=tuple(row for row in gone if row.outcome != "out-of-time"),
        late=tuple(row for row in gone if row.outcome == "out-of-time"),
        new=tuple(row for row in told if row.new),
        improved=_largest(change for change in changes if change.direction == "better"),
        waiting=tuple(held),
        suspected=tuple(change for change in seen if change not in held),
        unchanged=tuple(row for row in told if not row.new and row.row.key not in moved),
        fresh=tuple(row for row in night.rows if row.outcome == "fresh"),
        excluded=tuple(row for row in night.rows if row.outcome == "excluded"),
        blamed=night.blamed,
        doubted=night.waiting,
        silent=len(measured) - len(told),
    )


def exit_code(night: Night) -> int:
    """3: a confirmed regression; else 1: a row failed or did not arrive, or a device is blamed; else 0.

    Rows for which the night was too short, fresh and excluded ones, and changes that no second run confirmed are no failures.
    """
    found = facts(night)
    if found.regressions:
        return REGRESSED
    return FAILED if found.failing or found.still_failing or found.absent or found.blamed else 0


def _largest(changes: Iterable[SeriesChange]) -> tuple[SeriesChange, ...]:
    return tuple(sorted(changes, key=lambda change: -abs(share(change))))


def share(change: SeriesChange) -> float:
    """How much of the level before a change is: 0.1 for 10 % more."""
    return change.ratio - 1
