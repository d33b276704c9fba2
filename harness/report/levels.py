"""Rungs of one method over its seeds: what they have in common, their mean accuracy, and how far seeds are apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness import stats
from harness.analysis import accuracy
from harness.records import Interval, Ladder, Limits, PairedAccuracy, Run, Rung, Summary
from harness.report import basis, rows

CONTROLS = (accuracy.CONTROL, "shallow", "narrow")  # they remove nothing by a method: what methods have to beat


@dataclass(frozen=True)
class Member:
    """One seed's part of a level: its ladder, its rung, its row, and the rung of `continue` that it is held against."""

    ladder: Ladder
    rung: Rung
    row: Summary
    control: tuple[Ladder, Rung] | None


@dataclass(frozen=True)
class Used:
    """The gross energy per inference that is compared, J; its scope, and its scenario with its rate (paced at 150 Hz)."""

    gross_j: Interval
    scope: str
    scenario: str

    @property
    def basis(self) -> tuple[str, str]:
        """What energies must share to be compared."""
        return self.scope, self.scenario


@dataclass(frozen=True)
class Level:
    """The rungs of one number of one method and recipe, one per seed, on one runtime at one precision, from run `run`."""

    run: str
    name: str
    members: tuple[Member, ...]

    @property
    def number(self) -> int:
        """The position on the ladder."""
        return self.members[0].rung.rung

    @property
    def ladder(self) -> Ladder:
        """That of the first seed."""
        return self.members[0].ladder

    @property
    def rows(self) -> tuple[Summary, ...]:
        """A row per seed."""
        return tuple(each.row for each in self.members)

    @property
    def is_control(self) -> bool:
        """Whether this is what methods have to beat."""
        return self.ladder.method in CONTROLS

    @cached_property
    def accuracies(self) -> tuple[float, ...]:
        """A fraction per seed: that of the artifact itself where its numbers are rounded, and so its accuracy is its own."""
        own = (row.accuracy if row.artifact_accuracy is None else row.artifact_accuracy for row in self.rows)
        return tuple(each for each in own if each is not None)

    @property
    def accuracy(self) -> float | None:
        """The mean over seeds."""
        return statistics.fmean(self.accuracies) if self.accuracies else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def limits(self) -> Limits | None:
        """What is drawn around the accuracy: Wilson's interval of one seed, one standard deviation over several."""
        mean, spread, examples = self.accuracy, self.spread, self.ladder.test_examples
        if mean is None or (spread is None and not examples):
            return None
        if spread is not None:
            return Limits(mean - spread, mean + spread)
        return stats.wilson(round(mean * (examples or 0)), examples or 0)

    @property
    def depth(self) -> float | None:
        """The mean over seeds: each takes what it finds best."""
        known = [row.depth for row in self.rows if row.depth is not None]
        return statistics.fmean(known) if known else None

    @property
    def latency_ns(self) -> Interval | None:
        """The median with its interval; over several seeds the mean, and the widest limits: they may differ in depth."""
        found = [row.latency_ns for row in self.rows if row.latency_ns]
        return _together([Interval(each.median, each.low, each.high) for each in found])

    @property
    def energy(self) -> Used | None:
        """What an inference takes; over several seeds as the latency. None where seeds were not measured alike."""
        found = [row.energy_j for row in self.rows if row.energy_j]
        bases = {(each.scope, basis.scenario(each)) for each in found}
        gross = _together([each.gross for each in found])
        return Used(gross, *bases.pop()) if gross and len(bases) == 1 else None

    @property
    def verdict(self) -> str | None:
        """That of the speed-up where all seeds agree, `mixed` where they do not; None where there is none."""
        found = {row.speedup.verdict for row in self.rows if row.speedup and row.speedup.verdict}
        return None if not found else found.pop() if len(found) == 1 else "mixed"

    @cached_property
    def against(self) -> PairedAccuracy | None:
        """Against `continue`, over all seeds; None where one of them has no comparison."""
        if any(each.row.accuracy_vs_continue is None for each in self.members):
            return None
        ours = [accuracy.answers(each.ladder, each.rung) for each in self.members]
        theirs = [accuracy.answers(*each.control) for each in self.members if each.control]
        return compare(ours, theirs)


def _together(found: Sequence[Interval]) -> Interval | None:
    """The mean with the widest limits; limits only where all have theirs."""
    if not found:
        return None
    low, high = [each.low for each in found], [each.high for each in found]
    return Interval(
        statistics.fmean(each.value for each in found),
        None if None in low else min(each for each in low if each is not None),
        None if None in high else max(each for each in high if each is not None),
    )


def compare(ours: Sequence[stats.Bits | None], theirs: Sequence[stats.Bits | None]) -> PairedAccuracy | None:
    """Compare two methods seed by seed; None where answers were not recorded, or seeds lack."""
    first, second = ([each for each in side if each is not None] for side in (ours, theirs))
    whole = len(ours) == len(first) == len(second) == len(theirs)
    return stats.paired_seeds(first, second) if first and whole else None


def levels(run: Run) -> Iterator[Level]:
    """Yield every rung of every method, panel by panel, in the order of the run."""
    known = {ladder.name: ladder for ladder in run.ladders}
    controls = {each.seed: each for each in run.ladders if each.method == accuracy.CONTROL}
    for panel in rows.panels(run):
        families: dict[tuple[str, int], list[Member]] = {}
        for name, found in panel.ladders.items():
            ladder = known[name]
            for row in found:
                rung = next(each for each in ladder.rungs if each.rung == row.rung)
                member = Member(ladder, rung, row, _control(rung, controls.get(ladder.seed)))
                families.setdefault((family(ladder), rung.rung), []).append(member)
        order = list(dict.fromkeys(name for name, _ in families))
        ranked = sorted(families.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
        yield from (Level(run.run, name, tuple(members)) for (name, _), members in ranked)


def distinct(runs: Sequence[Run]) -> list[Level]:
    """Every rung of several runs once: a ladder that stands in more than one of them is that of the first."""
    found: dict[tuple[str, str, str, int], Level] = {}
    for level in (level for run in runs for level in levels(run)):
        row = level.rows[0]
        found.setdefault((level.name, row.runtime, row.precision, level.number), level)
    return list(found.values())


def family(ladder: Ladder) -> str:
    """A ladder's name without its seed."""
    return ladder.name.removesuffix(f"-s{ladder.seed}") if ladder.seed else ladder.name


def _control(rung: Rung, control: Ladder | None) -> tuple[Ladder, Rung] | None:
    found = accuracy.partner(rung, control) if control else None
    return (control, found) if control and found else None
