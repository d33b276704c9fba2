"""What findings look at, the rows of ladders by runtime and precision, and the words they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness import stats
from harness.records import Group, Interval, JobRecord, Ladder, Operation, Rung, Summary, Verdict

MANY = 0.10  # share of disturbed processes from which numbers are in doubt
ROSE = 1.01  # what counts as more: below, it is rounding or a bias that a merge added
TRAINED_CONTROLS = ("shallow", "narrow")  # methods whose networks every ladder has to beat


@dataclass(frozen=True)
class Row:
    """A ladder's rung with its summary on one runtime and precision."""

    rung: Rung
    summary: Summary


@dataclass(frozen=True)
class View:
    """A ladder on one runtime and precision: rung 0, all rungs, and the latency controls measured beside it.

    `operators` are those of each case, as far as the device told them. `floor`: how far rung 0 differs from itself, on the
    log scale; None where that is not known, and then no rung is clearly faster than another.
    """

    ladder: Ladder
    base: Row
    rows: tuple[Row, ...]
    controls: tuple[Summary, ...]
    operators: Mapping[str, Sequence[Operation]] = field(default_factory=dict)
    floor: float | None = None

    @property
    def place(self) -> str:
        """Runtime and precision in words."""
        return f"{self.base.summary.runtime} {self.base.summary.precision}"


def of_ladders(
    summaries: Sequence[Summary],
    ladders: Sequence[Ladder],
    operators: Mapping[str, Sequence[Operation]] | None = None,
    jobs: Sequence[JobRecord] = (),
) -> Iterator[View]:
    """Yield a view per ladder, runtime and precision; one whose rung 0 is missing has nothing to be compared with."""
    floors = {case: stats.floor_size(ratio) for job in jobs for case, ratio in job.floor.items()}
    for runtime, precision in dict.fromkeys((s.runtime, s.precision) for s in summaries):
        here = [s for s in summaries if (s.runtime, s.precision) == (runtime, precision)]
        controls = tuple(s for s in here if s.method == "control")
        for ladder in ladders:
            rungs = {rung.rung: rung for rung in ladder.rungs}
            mine = [s for s in here if s.ladder == ladder.name and s.method != "control"]
            rows = [Row(rungs[s.rung], s) for s in mine if s.rung is not None and s.rung in rungs]
            if rows and rows[0].summary.rung == 0:
                floor = floors.get(rows[0].summary.case_id or "")
                yield View(ladder, rows[0], tuple(rows), controls, operators or {}, floor)


def distinct(summaries: Iterable[Summary]) -> tuple[Summary, ...]:
    """One summary per case: ladders may share one, and its processes count once."""
    return tuple({s.case_id: s for s in summaries}.values())


def verdict(row: Row) -> Verdict | None:
    """The verdict on a row, None where there is none."""
    return row.summary.speedup.verdict if row.summary.speedup else None


def joint_verdict(row: Row) -> Verdict | None:
    """The verdict on a row if it also holds with all rungs of its ladder taken together, else `unclear`.

    What is said of a ladder picks among its rungs: only what all intervals say at once may be picked.
    """
    speedup, found = row.summary.speedup, verdict(row)
    if speedup is None or speedup.joint_low is None or speedup.joint_high is None:
        return found
    low, high = speedup.joint_low, speedup.joint_high
    holds = {"faster": low > 1, "slower": high < 1, "same": low >= 1 - stats.SAME and high <= 1 + stats.SAME}
    return found if found is None or holds.get(found, True) else "unclear"


def ratio(summary: Summary) -> float:
    """The speed-up over rung 0, 1 where there is none."""
    return summary.speedup.ratio if summary.speedup else 1.0


def sure(summary: Summary) -> Interval | None:
    """A row's speed-up with the interval that holds with all others of its ladder; the reference is exactly 1."""
    speedup = summary.speedup
    if speedup is None:
        return None
    if speedup.verdict is None:
        return Interval(1.0, 1.0, 1.0) if summary.case_id == summary.reference else None
    if speedup.joint_low is None or speedup.joint_high is None:
        return Interval(speedup.ratio, speedup.low, speedup.high)
    return Interval(speedup.ratio, speedup.joint_low, speedup.joint_high)


def exceeds(one: Interval | None, other: Interval | None, floor: float | None = 0.0) -> bool:
    """Whether all of one interval lies above all of another, by more than the floor (log scale); never where one is unknown."""
    if one is None or other is None or one.low is None or other.high is None or floor is None:
        return False
    return one.low > other.high and one.value > math.exp(floor) * other.value


def times(interval: Interval) -> str:
    """A ratio with its interval: "1.14 times [1.12, 1.16]"; one that is exact has none."""
    if interval.low is None or interval.high is None or interval.low == interval.high:
        return f"{interval.value:.2f} times"
    return f"{interval.value:.2f} times [{interval.low:.2f}, {interval.high:.2f}]"


def series(words: Sequence[str]) -> str:
    """Words as a sentence lists them: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def over(after: int | None, before: int | None) -> float | None:
    """`after` over `before`; None over nothing, or where one of them is not known."""
    return None if after is None or not before else after / before


def cases_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The cases of `rows`, each once, in order."""
    return tuple(dict.fromkeys(row.summary.case_id for row in rows if row.summary.case_id))


def listing(numbers: Iterable[int]) -> str:
    """Rungs in words: "2", "2 and 3", "2 to 5", "1, 3 and 5"."""
    distinct = sorted(set(numbers))
    if len(distinct) > 2 and distinct[-1] - distinct[0] == len(distinct) - 1:
        return f"{distinct[0]} to {distinct[-1]}"
    head, last = distinct[:-1], distinct[-1]
    return f"{', '.join(map(str, head))} and {last}" if head else str(last)


def named(rows: Sequence[Summary]) -> str:
    """Rows of a ladder in words: "rung 3", "rungs 3 and 5", or the networks of controls."""
    rungs = [row.rung for row in rows if row.rung is not None]
    if not rungs:
        return ", ".join(row.model for row in rows)
    return f"rung{'s' * (len(set(rungs)) > 1)} {listing(rungs)}"


def grown(groups: Sequence[Group], what: Literal["MACs", "weights"]) -> str:
    """Which merged layers have more of something than those they replaced, as the rest of a sentence; maybe none."""
    pairs = [
        (group.macs_before, group.macs_after) if what == "MACs" else (group.weights_before, group.weights_after)
        for group in groups
        if group.reason is None
    ]
    ratios = [after / before for before, after in pairs if after > ROSE * before > 0]
    if not ratios:
        return ""
    low, high = (f"{ratio:.2f}" for ratio in (min(ratios), max(ratios)))
    span = low if low == high else f"{low} to {high}"
    return f"; {count(len(ratios), 'merged layer')} of {span} times the {what} of those replaced"


def count(n: int, one: str, several: str | None = None) -> str:
    """`n` things in words: "1 block", "3 blocks"."""
    return f"{n} {one if n == 1 else several or one + 's'}"


def mega(value: float) -> str:
    """Millions, to one decimal, or to three digits below ten: what is more by `ROSE` never looks the same."""
    return f"{value / 1e6:.1f}" if value >= 1e7 else f"{value / 1e6:#.3g}"


def percent(fraction: float) -> str:
    """A fraction in percent, to three digits."""
    return f"{100 * fraction:.3g} %"


def plus_minus(fraction: float) -> str:
    """A half-width in percent."""
    return f"+-{percent(fraction)}"
