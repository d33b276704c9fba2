"""Tonight's series: each quantity of each rung of each row, a number a night. What is made of them, `judging.py` says.

A series is of one row of the matrix, by ladder and rung. It begins a new segment where the device, a runtime, a package or the
protocol was another (`identity.breaks`), where a change was confirmed, where its device was blamed, and where its energy is of
another scope. Nights on which its row was fresh are none of its nights. Emulated devices have no times.

Rows of the store's index give the numbers; sizes of artifacts come from jobs, how long they took to build from the night.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import HarnessError
from harness.nights import identity
from harness.nights.past import Once, Past
from harness.records.nights import MatrixRow, Night, RowOutcome, SeriesChange
from harness.stats import changes
from harness.stats.changes import Rule

_DISTURBED = ("contended", "throttled", "fell-back")
_LISTED = 30  # runs that an expression can name
_NO_NIGHTS = ("fresh", "excluded")
Case = Mapping[str, Any]
_Key = tuple[Any, ...]


@dataclass(frozen=True)
class Quantity:
    """A number of a rung: its column of the index, its unit, whether more is worse, the rule that judges it (None: exact)."""

    name: str
    column: str
    unit: str
    rule: Rule | None
    more_is_worse: bool = True


LATENCY = Quantity("latency", "latency_ns", "ns", changes.TYPICAL)
SIZE = Quantity("artifact size", "", "bytes", None)
BUILD = Quantity("build time", "", "s", Rule(least=0.25, windows=changes.TAIL.windows))
QUANTITIES = (
    LATENCY,
    Quantity("p99", "latency_ns_p99", "ns", changes.TAIL),
    Quantity("energy", "energy_j", "J", changes.TYPICAL),
    Quantity("accuracy", "accuracy", "fraction", None, more_is_worse=False),
    Quantity("fold error", "fold_error", "", None),
    SIZE,
)


_USED = (  # columns of a case: a year has a hundred thousand cases
    *("folder", "case_id", "runtime", "run_state", "status", "blocks", "variant", "artifact_accuracy"),
    *("energy_scope", "energy_scenario", "accuracy_low", "accuracy_high", "energy_j_low", "energy_j_high"),
    *("latency_ns_low", "latency_ns_high", *(each.column for each in QUANTITIES if each.column)),
)


@dataclass(frozen=True)
class Series:
    """A number a night, tonight's last, as it was measured; NaN where there is none.

    `nights` are their names, `usable` where nothing disturbed the run, `breaks` the positions at which a segment begins. `cases`
    are what the index says, None where the rung was not measured; `again` is of tonight's second run. `around`: what is known of
    breaks, in words, by position.
    """

    row: MatrixRow
    rung: str
    quantity: Quantity
    nights: tuple[str, ...]
    values: tuple[float, ...]
    usable: tuple[bool, ...]
    breaks: tuple[int, ...]
    cases: tuple[Case | None, ...] = ()
    again: Case | None = None
    around: Mapping[int, str] = field(default_factory=dict)


class Cases:
    """What the index says of the cases of runs, each looked up once: a night is judged up to three times."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self._held: dict[str, dict[_Key, Case]] = {}
        self._sizes: dict[tuple[str, str], Mapping[str, float]] = {}

    def of(self, runs: set[str]) -> Mapping[str, Mapping[_Key, Case]]:
        """Return the cases of these runs, by run, then by ladder, rung, runtime and precision. Raises StoreError."""
        missing = runs - self._held.keys()
        if missing:
            listed = ", ".join(f"'{name}'" for name in sorted(missing))
            with store.search(self.results, f"run IN ({listed})" if len(missing) <= _LISTED else "true") as search:
                for case in search.all():
                    if case["run"] in missing:
                        key = (case["ladder"], case["rung"], case["runtime"], case["precision"])
                        self._held.setdefault(case["run"], {})[key] = {name: case[name] for name in _USED}
        self._held |= {name: {} for name in missing - self._held.keys()}
        return self._held

    def size(self, case: Case | None) -> float:
        """Return the bytes of the artifact that a case measured, as its job says; NaN where none can be read."""
        if case is None:
            return math.nan
        key = (case["folder"], case["runtime"])
        if key not in self._sizes:
            self._sizes[key] = _sizes(self.results / key[0], key[1])
        return self._sizes[key].get(case["case_id"], math.nan)


def tonight(night: Night, past: Past, found: Cases) -> tuple[Series, ...]:
    """Return the series of every row that has a run tonight. Raises StoreError."""
    tried = [came for came in night.rows if came.run and came.outcome not in _NO_NIGHTS]
    return _of(tried, night, past, found)


def all_rows(night: Night, past: Past, found: Cases) -> tuple[Series, ...]:
    """Return the series of every row of tonight's matrix, measured tonight or not. Raises StoreError."""
    return _of([came for came in night.rows if came.outcome != "excluded"], night, past, found, whole=True)


def _of(came: Sequence[RowOutcome], night: Night, past: Past, found: Cases, whole: bool = False) -> tuple[Series, ...]:
    """The series of some rows; where not `whole` only those that have a value tonight."""
    every = [[*past.of(each.row.key), Once(night, each)] for each in came]
    rows = [[once for once in nights if once.came.outcome not in _NO_NIGHTS] for nights in every]
    runs = {name for nights in rows for each in nights for name in (each.came.run, each.came.again) if name}
    found.of(runs)  # all of them at once
    confirmed = _confirmed((*past.nights, night))
    return tuple(series for nights in rows if nights for series in _of_row(nights, found, confirmed, whole))


def _confirmed(nights: Sequence[Night]) -> dict[tuple[str, str, str], set[str]]:
    """The nights since which confirmed changes hold, by row, rung and quantity."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for night in nights[:-1]:
        for change in night.changes:
            found.setdefault(_named(change), set()).add(change.since)
    return found


def _named(change: SeriesChange) -> tuple[str, str, str]:
    return change.row.key, change.rung, change.quantity


def _of_row(nights: Sequence[Once], found: Cases, confirmed: Mapping[Any, set[str]], whole: bool) -> Iterator[Series]:
    now, cases = nights[-1].came, found.of(set())
    runs = [cases.get(each.came.run or "", {}) for each in nights]
    again = {key: case for key, case in cases.get(now.again or "", {}).items() if case["run_state"] not in _DISTURBED}
    segments = _segments(nights)
    names = tuple(each.night.night for each in nights)
    for key in dict.fromkeys(key for run in runs for key in run) if whole else runs[-1]:
        mine = tuple(run.get(key) for run in runs)
        rung = key[0] if key[1] is None else f"{key[0]} {key[1]}"
        usable = tuple(case is not None and case["run_state"] not in _DISTURBED for case in mine)
        for quantity in QUANTITIES:
            known = confirmed.get((now.row.key, rung, quantity.name), set())
            breaks = {*segments, *_scopes(mine, quantity), *(n for n, name in enumerate(names) if name in known)} - {0}
            edges = tuple(sorted(breaks))
            values = _values(mine, quantity, edges, found, whole)
            if _is_told(values, whole):
                yield Series(now.row, rung, quantity, names, values, usable, edges, mine, again.get(key), segments)
    built = tuple(each.came.build_s or math.nan for each in nights)
    if _is_told(built, whole):
        edges = tuple(sorted(segments))
        yield Series(now.row, "all rungs", BUILD, names, built, (True,) * len(names), edges, around=segments)


def _is_told(values: Sequence[float], whole: bool) -> bool:
    return any(not math.isnan(value) for value in (values if whole else values[-1:]))


def _segments(nights: Sequence[Once]) -> dict[int, str]:
    """Positions at which all of a row begins anew, with the words: another device, runtime or protocol; a device blamed."""
    found: dict[int, str] = {}
    last: RowOutcome | None = None
    for place, each in enumerate(nights):
        if place and each.came.row.device in each.night.blamed and not each.came.row.canary:
            found[place] = "the device changed: it was blamed"
        if each.came.outcome != "measured":
            continue
        if last and _is_another(last, each.came):
            changed = (identity.changes(last.here, each.came.here), identity.changes(last.there, each.came.there))
            found[place] = "; ".join(word for words in changed for word in words)
        last = each.came
    return found


def _is_another(was: RowOutcome, now: RowOutcome) -> bool:
    """Whether a row is not comparable with what it was; of a canary, which never changes, another network is another, too."""
    if now.row.canary and identity.changes(was.here, now.here):
        return True
    return identity.breaks(was.here, now.here) or identity.breaks(was.there, now.there)


def _scopes(cases: Sequence[Case | None], quantity: Quantity) -> set[int]:
    """Positions at which energy is of another scope or scenario than before."""
    if quantity.name != "energy":
        return set()
    told = [
        (n, case["energy_scope"], case["energy_scenario"]) for n, case in enumerate(cases) if case and case["energy_j"]
    ]
    return {now[0] for before, now in pairwise(told) if before[1:] != now[1:]}


def _values(
    cases: Sequence[Case | None], quantity: Quantity, breaks: Sequence[int], found: Cases, whole: bool
) -> tuple[float, ...]:
    if quantity is not SIZE:
        return tuple(_number(case, quantity.column) for case in cases)
    if whole:
        return tuple(found.size(case) for case in cases)
    # Jobs are files each: of a size only the level's first and tonight's count.
    last, values = len(cases) - 1, [math.nan] * len(cases)
    values[last] = found.size(cases[last])
    for place in range(max(breaks, default=0), last):
        values[place] = found.size(cases[place])
        if not math.isnan(values[place]):
            break
    return tuple(values)


def _number(case: Case | None, column: str) -> float:
    if case is None or case["status"] != "ok":
        return math.nan
    if column == "accuracy" and case["artifact_accuracy"] is not None:
        return float(case["artifact_accuracy"])
    value = case[column]
    return math.nan if value is None else float(value)


def _sizes(folder: Path, runtime: str) -> Mapping[str, float]:
    """Bytes of the artifacts of a run's job, by case; none where it has no job, or one that cannot be read."""
    with suppress(HarnessError, ValueError):  # a night does not fall over an old file
        return {case: float(size) for case, size in store.artifact_sizes(folder, runtime).items()}
    return {}
