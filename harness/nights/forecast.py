"""What a night would do, before it does anything: `harness nightly --dry-run`, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.records.nights import PlannedRow

_MARKS = {"due": "due", "fresh": "fresh", "excluded": "excl."}


@dataclass(frozen=True)
class Sum:
    """A device's night: how many rows are due, the seconds that those take whose time is known, and how many are not known."""

    device: str
    due: int
    fresh: int
    excluded: int
    expected_s: float
    unknown: int
    budget_s: float

    @property
    def fits(self) -> bool | None:
        """Whether all that is due fits into the budget; None where what is known does, and not all is."""
        if self.expected_s > self.budget_s:
            return False
        return None if self.unknown else True


def sums(rows: Sequence[PlannedRow], budget_s: float) -> tuple[Sum, ...]:
    """Sum up each device's night, in the order of the rows."""
    return tuple(_sum(name, [each for each in rows if each.row.device == name], budget_s) for name in _devices(rows))


def _sum(device: str, rows: Sequence[PlannedRow], budget_s: float) -> Sum:
    counts = {due: sum(each.due == due for each in rows) for due in _MARKS}
    known = [each.expected_s for each in rows if each.due == "due"]
    return Sum(
        device=device,
        due=counts["due"],
        fresh=counts["fresh"],
        excluded=counts["excluded"],
        expected_s=round(sum(each for each in known if each is not None), 1),
        unknown=sum(each is None for each in known),
        budget_s=budget_s,
    )


def lines(rows: Sequence[PlannedRow], budget_s: float) -> Iterator[str]:
    """Yield the matrix as lines of text, device by device, each with its sum."""
    width = max((len(each.row.title) for each in rows), default=0)
    for each in sums(rows, budget_s):
        yield f"{each.device}: {_said(each)}"
        for row in rows:
            if row.row.device == each.device:
                took = _time(row.expected_s) if row.due == "due" else ""
                yield f"  {_MARKS[row.due]:5}  {row.row.title:{width}}  {took:>7}  {row.reason}"


def to_json(rows: Sequence[PlannedRow], budget_s: float, place: str) -> dict[str, Any]:
    """Return the matrix as plain JSON: each row with what is to be done about it, each device with its sum."""
    devices = [{**asdict(each), "fits": each.fits} for each in sums(rows, budget_s)]
    told = [{**_plain(each), "key": each.row.key, "title": each.row.title} for each in rows]
    return {"schema": 1, "inventory": place, "budget_s": budget_s, "devices": devices, "rows": told}


def _plain(row: PlannedRow) -> dict[str, Any]:
    return {**asdict(row.row), "due": row.due, "reason": row.reason, "expected_s": row.expected_s, "run": row.run}


def _said(of: Sum) -> str:
    """One line: what is due, how long that takes, and whether it fits."""
    takes = _time(of.expected_s) if of.due > of.unknown else ""
    unknown = f"{of.unknown} never timed" if of.unknown else ""
    known = ", ".join(filter(None, (takes, unknown)))
    fits = {True: "fits into", False: "does not fit into", None: "of"}[of.fits]
    due = f"{of.due} due ({known}), {fits} {_time(of.budget_s)}" if of.due else "nothing due"
    return ", ".join([due, *(f"{n} {word}" for n, word in ((of.fresh, "fresh"), (of.excluded, "excluded")) if n)])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _devices(rows: Sequence[PlannedRow]) -> list[str]:
    return list(dict.fromkeys(each.row.device for each in rows))
