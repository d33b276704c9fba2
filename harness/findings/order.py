"""Where the best rung of a ladder differs: between runtimes and precisions, between latency and energy, between devices.

Best is the rung with the largest ratio over rung 0 among those that are decided to be better than it, else rung 0 itself.
That the best differ is said only where it is clear on both sides: each is better than the other's best by intervals that do
not meet (speed-ups: those that hold for the whole ladder at once), and by more than the floor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.findings.kinds import known
from harness.findings.views import Row, View, cases_of, exceeds, joint_verdict, of_ladders, series, sure, times
from harness.records import Finding, Interval, Run

_FASTEST, _THRIFTIEST = "is the fastest", "takes the least energy"
_ADVICE = {
    "devices": "Choose the rung on each device: what was measured on one says nothing of the other.",
    "runtimes": "Choose runtime and rung together: compare latencies, not speed-ups, and name the runtime beside an order.",
    "precisions": "Choose precision and rung together: compare latencies, not speed-ups, and name the precision beside an order.",
    "metrics": "Decide first whether time or energy is short, and choose the rung by that.",
}


@dataclass(frozen=True)
class Standing:
    """How a ladder's rungs stand in one place by one measure: the decided ones' ratios over rung 0, more is better."""

    ladder: str
    place: str
    what: str
    rows: Mapping[int, Row]
    ratios: Mapping[int, Interval]
    floor: float | None

    @property
    def best(self) -> int:
        """The rung with the largest ratio of those that are better than rung 0 for sure; none is: rung 0."""
        better = [rung for rung, ratio in self.ratios.items() if ratio.low is not None and ratio.low > 1]
        return max(better, key=lambda rung: self.ratios[rung].value, default=0)

    def beats(self, one: int, other: int) -> bool:
        """Whether a rung is clearly better than another; never where one of them is not decided."""
        return exceeds(self.ratios.get(one), self.ratios.get(other), self.floor)

    def gap(self, other: int) -> float:
        """By which factor the best is better than another rung."""
        return self.ratios[self.best].value / self.ratios[other].value

    def words(self, other: int | None = None) -> str:
        """Its best rung as a sentence names it, and what another has there."""
        beside = "" if other is None else f"; rung {other} {times(self.ratios[other])}"
        return f"rung {self.best} {self.what} on {self.place} ({times(self.ratios[self.best])} over rung 0{beside})"


def order_differs(views: Sequence[View]) -> Iterator[Finding]:
    """Ladders whose best rung differs between the runtimes and precisions of a run, or between latency and energy."""
    for name in dict.fromkeys(view.ladder.name for view in views):
        mine = [view for view in views if view.ladder.name == name]
        where = {view.place: view for view in mine}
        found = _widest([_by_speed(view, view.place) for view in mine])
        if found is not None:
            first, second, _ = found
            runtimes = {where[each.place].base.summary.runtime for each in (first, second)}
            yield _finding("precisions" if len(runtimes) == 1 else "runtimes", *found)
        for view in mine:
            found = _widest([_by_speed(view, view.place), _by_energy(view, view.place)])
            if found is not None:
                yield _finding("metrics", *found)


def across(runs: Sequence[Run]) -> tuple[Finding, ...]:
    """Return the ladders whose best rung differs between the devices of several runs, at equal runtime, precision and batch.

    Rungs are compared where their variants are the same; of a pair of devices, all their runs. A run's own are in its findings.
    """
    groups: dict[tuple[str, str, str, int], list[Standing]] = {}
    for run in runs:
        for view in of_ladders(run.cases, run.ladders, jobs=run.jobs):
            base = view.base.summary
            key = (view.ladder.name, base.runtime, base.precision, base.batch)
            groups.setdefault(key, []).append(_by_speed(view, run.device))
    widest = (_widest(standings) for standings in groups.values())
    return tuple(known(_finding("devices", *found)) for found in widest if found is not None)


def _by_speed(view: View, place: str) -> Standing:
    rows = {row.rung.rung: row for row in view.rows if row is view.base or joint_verdict(row) not in (None, "unclear")}
    ratios = {rung: ratio for rung, row in rows.items() if (ratio := sure(row.summary)) is not None}
    return Standing(view.ladder.name, place, _FASTEST, rows, ratios, view.floor)


def _by_energy(view: View, place: str) -> Standing:
    """Energy has no floor of its own: rung 0's windows are too few to be set against each other."""
    rows, ratios = {}, {}
    for row in view.rows:
        saving = row.summary.energy_j.saving if row.summary.energy_j else None
        if saving is None or saving.verdict == "unclear" or (saving.verdict is None and row is not view.base):
            continue
        rows[row.rung.rung] = row
        ratios[row.rung.rung] = (
            Interval(1.0, 1.0, 1.0) if row is view.base else Interval(saving.ratio, saving.low, saving.high)
        )
    return Standing(view.ladder.name, place, _THRIFTIEST, rows, ratios, 0.0)


def _widest(standings: Sequence[Standing]) -> tuple[Standing, Standing, Sequence[Standing]] | None:
    """The pair whose best rungs differ most, and all; None where they clearly differ in none."""
    pairs = [
        pair for pair in itertools.combinations((each for each in standings if 0 in each.ratios), 2) if _differ(*pair)
    ]
    if not pairs:
        return None
    first, second = max(pairs, key=lambda pair: pair[0].gap(pair[1].best) * pair[1].gap(pair[0].best))
    return first, second, standings


def _differ(first: Standing, second: Standing) -> bool:
    """Whether each is clearly better with its own best rung than with the other's, as the same networks."""
    if (first.place, first.what) == (second.place, second.what) or first.best == second.best:
        return False
    if not all(_variant(first, rung) == _variant(second, rung) for rung in (first.best, second.best)):
        return False
    return first.beats(first.best, second.best) and second.beats(second.best, first.best)


def _variant(standing: Standing, rung: int) -> str | None:
    row = standing.rows.get(rung)
    return row.summary.variant if row else None


def _finding(between: str, first: Standing, second: Standing, standings: Iterable[Standing]) -> Finding:
    base = next(iter(first.rows.values())).summary
    others = [each for each in standings if 0 in each.ratios and each not in (first, second)]
    also = f" Elsewhere {series([each.words() for each in others])}." if others else ""
    return Finding(
        "order-differs",
        "info",
        cases_of((first.rows[first.best], second.rows[second.best])),
        {
            "ladder": first.ladder,
            "between": between,
            "runtime": base.runtime if between in ("devices", "metrics") else None,
            "precision": base.precision if between in ("devices", "metrics") else None,
            **_numbers("first", first, second.best),
            **_numbers("second", second, first.best),
        },
        f"Of the decided rungs of {first.ladder}, {first.words(second.best)}, but {second.words(first.best)}.{also}",
        _ADVICE[between],
    )


def _numbers(side: str, standing: Standing, other: int) -> dict[str, float | int | str | None]:
    best = standing.ratios[standing.best]
    return {
        side: standing.place if standing.what == _FASTEST else f"energy on {standing.place}",
        f"best_{side}": standing.best,
        f"ratio_{side}": best.value,
        f"low_{side}": best.low,
        f"high_{side}": best.high,
        f"gap_{side}": standing.gap(other),
    }
