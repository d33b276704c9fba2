"""Trials: any choices of options, measured against the unfolded network of a plan's folder in one job, and against each other.

    results/<device>/plans/<folder>/trials/<n>/, transfer/<n>/     a job each, as of a table

What a whole job there holds is not measured again; one that was begun is brought to its end before another begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness import analysis, store, transport
from harness.child import OnProgress
from harness.planner import bench, folder, story, table
from harness.planner.bench import Bench
from harness.planner.folder import TRIALS, Pair, Sheet
from harness.planner.gains import Compared
from harness.records import Device
from harness.records.planned import Wanted

Options = tuple[str, ...]
UNFOLDED: Options = ()
_SAME = "it is built to the same bytes"


@dataclass(frozen=True)
class Trial:
    """A job with whole networks that came to its end; the unfolded one is among them, as the choice of no options."""

    own: Path
    sheet: Sheet
    measured: analysis.Measured

    @classmethod
    def load(cls, own: Path, runtime: str) -> Trial:
        """Read one. Raises StoreError."""
        job, journal = bench.read(own, runtime)
        return cls(own, folder.load_sheet(own), analysis.Measured.of(job, journal, None))

    @cached_property
    def cases(self) -> Mapping[Options, str | None]:
        """The case of each choice; None where it could not be built."""
        found: dict[Options, str | None] = {}
        for row in self.sheet.rows:
            found.setdefault(row.pair.reference.options, row.reference)
            found.setdefault(row.pair.options, row.case)
        return found

    def compared(self, options: Options, against: Options = UNFOLDED) -> Compared:
        """How many times as fast one choice is as another, paired within blocks; or why that is not known."""
        case, reference = self.cases.get(options), self.cases.get(against)
        why = self._failure(options) or self._failure(against)
        if why or case is None or reference is None:
            return Compared(failure=why or "not measured")
        if case == reference:
            return Compared(self.latency_ns(against), None, _SAME)
        return Compared(self.latency_ns(against), self.measured.speedup(case, reference))

    def latency_ns(self, options: Options) -> float | None:
        """The latency of a choice; None where it was not measured."""
        case = self.cases.get(options)
        found = self.measured.estimate(case) if case and case not in self.measured.failed else None
        return found.median if found else None

    def is_same(self, options: Options, other: Options) -> bool:
        """Whether two choices come to the same network."""
        return options == other or (self.cases.get(options) == self.cases.get(other) is not None)

    def _failure(self, options: Options) -> str | None:
        case = self.cases.get(options)
        if case is not None:
            return self.measured.failed.get(case)
        return next((row.failure for row in self.sheet.rows if options in _both(row.pair) and row.case is None), None)


def _both(pair: Pair) -> tuple[Options, Options]:
    return pair.options, pair.reference.options


# --- measuring -----------------------------------------------------------------------------------------------------


def trial(
    own: Path,
    device: Device,
    choices: Sequence[Options],
    tell: OnProgress,
    budget_s: float | None = None,
    again: bool = False,
) -> Trial:
    """Measure choices of options against the unfolded network in one job, in the folder of a plan (`Found.folder`).

    A look-up where a job has them all, unless `again`. Raises HarnessError, UsageError for options that there are not.
    """
    pairs = tuple(table.whole(options) for options in dict.fromkeys(choices) if options)
    found = None if again else newest(own, TRIALS, choices)
    return found or measure(own, device, TRIALS, pairs, tell, budget_s)


def newest(own: Path, part: str, choices: Sequence[Options]) -> Trial | None:
    """The newest whole job of a part that holds all these choices."""
    runtime = folder.load_begun(own).asked.runtime
    for place in reversed(folder.places(own, part)):
        if folder.is_whole(place, runtime):
            held = {options for row in folder.load_sheet(place).rows for options in _both(row.pair)}
            if held.issuperset(choices):
                return Trial.load(place, runtime)
    return None


def measure(
    own: Path, device: Device, part: str, pairs: Sequence[Pair], tell: OnProgress, budget_s: float | None = None
) -> Trial:
    """Bring a job of these comparisons to its end: the one of them that was begun, if there is one, else a new one."""
    with _at_work(own, device, tell, budget_s) as worker:
        worker.catch_up()
        runtime = worker.asked.runtime
        unfinished = [each for each in folder.places(own, part) if not folder.is_whole(each, runtime)]
        begun = [each for each in unfinished if bench.pairs(each) == tuple(pairs)]
        place = begun[0] if begun else folder.vacant(own, part)
        worker.bring(place, "front", pairs)
        return Trial.load(place, runtime)


@contextmanager
def _at_work(own: Path, device: Device, tell: OnProgress, budget_s: float | None) -> Iterator[Bench]:
    """What measures in a plan's folder, which nobody else has meanwhile."""
    story.refuse_virtual(device)
    with closing(transport.connect(device)) as line, store.held(own), story.resumable():
        yield Bench(own, device, line, budget_s, tell)


def against(options: Options, other: Options) -> Pair:
    """One choice against another, both as whole networks."""
    return Pair(options, Wanted("whole", options), Wanted("whole", other))
