"""Methods ranked by paired accuracy at equal depth, where test part and seeds are enough for that; else why they are not.

At each depth every two methods that have a rung there in the same seeds are compared example by example, seed by seed
(`stats.paired_seeds`); p-values are adjusted for all comparisons of a model together (Holm). A method is ahead of another
where p < 0.05 and the difference has the same sign in every seed: the examples speak of these networks, the seeds of the
method. Its rank is one more than the number of methods that are ahead of it, so methods that cannot be told apart share it.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness import stats
from harness.analysis import accuracy
from harness.findings.views import count
from harness.records import Run
from harness.report.levels import Level, Member, compare, family, levels

EXAMPLES, SEEDS, LEVEL = 2000, 3, 0.05


@dataclass(frozen=True)
class Place:
    """A method at one depth: its rank among those that have a rung there, its mean accuracy over seeds, their sd."""

    depth: int
    rank: int
    name: str
    accuracy: float
    spread: float
    ahead_of: tuple[str, ...]


Seeds = Mapping[int, Member]  # of one method at one depth: the member of each seed


def refusal(runs: Sequence[Run]) -> str:
    """Why methods of these runs are not ranked, in a sentence; nothing where they are."""
    found = _levels(runs)
    examples = min((level.ladder.test_examples or 0 for level in found), default=0)
    seeds = min((len(level.members) for level in found), default=0)
    if examples < EXAMPLES:
        worth = f": one image is {100 / examples:.2f} %" if examples else ""
        prove = f"{count(examples, 'test image')} prove{'s' * (examples == 1)} the machinery, not methods"
        return f"Nothing is ranked: {prove}{worth}; a ranking needs {EXAMPLES}."
    if seeds < SEEDS:
        return f"Nothing is ranked: a ranking needs {SEEDS} seeds, and here {'is' if seeds == 1 else 'are'} {seeds}."
    return ""


def ranking(runs: Sequence[Run]) -> tuple[Place, ...]:
    """Return the places of all methods at each depth, the deepest first; none where `refusal` says why."""
    if refusal(runs):
        return ()
    known = _by_depth(runs)
    ahead = set(_ahead(known))
    places = []
    for depth, methods in known.items():
        for name, members in methods.items():
            shares = [each.rung.accuracy or 0.0 for each in members.values()]
            rank = 1 + sum((depth, other, name) in ahead for other in methods)
            beaten = tuple(other for other in methods if (depth, name, other) in ahead)
            place = Place(depth, rank, name, statistics.fmean(shares), statistics.stdev(shares), beaten)
            places.append(place)
    return tuple(sorted(places, key=lambda place: (-place.depth, place.rank, -place.accuracy)))


def _levels(runs: Sequence[Run]) -> list[Level]:
    """What is ranked: rungs below full depth of all that is trained and gets shallower, on one runtime."""
    found = [level for run in runs for level in levels(run)]
    first = {(level.rows[0].runtime, level.rows[0].precision) for level in found[:1]}
    return [
        level
        for level in found
        if level.number and level.ladder.method != accuracy.CONTROL and level.accuracy is not None
        if (level.rows[0].runtime, level.rows[0].precision) in first
    ]


def _by_depth(runs: Sequence[Run]) -> dict[int, dict[str, Seeds]]:
    """Methods by depth with a member per seed: of several rungs of one depth, the one that is best on the validation part."""
    found: dict[int, dict[str, dict[int, Member]]] = defaultdict(lambda: defaultdict(dict))
    for member in (member for level in _levels(runs) for member in level.members):
        if member.row.depth is None or not member.rung.correct:
            continue
        seeds = found[member.row.depth][family(member.ladder)]
        before = seeds.get(member.ladder.seed)
        if before is None or _validated(member) > _validated(before):
            seeds[member.ladder.seed] = member
    whole: dict[int, dict[str, Seeds]] = {
        depth: {name: dict(sorted(seeds.items())) for name, seeds in methods.items() if len(seeds) >= SEEDS}
        for depth, methods in found.items()
    }
    return {depth: whole[depth] for depth in sorted(whole, reverse=True) if len(whole[depth]) > 1}


def _validated(member: Member) -> float:
    return member.rung.accuracy_validation or 0.0


def _ahead(known: Mapping[int, Mapping[str, Seeds]]) -> Iterator[tuple[int, str, str]]:
    """Yield (depth, one, other) for every method that is ahead of another."""
    pairs = [
        (depth, one, other)
        for depth, methods in known.items()
        for one, other in itertools.combinations(methods, 2)
        if set(methods[one]) == set(methods[other])
    ]
    found = [_compared(known[depth][one], known[depth][other]) for depth, one, other in pairs]
    adjusted = stats.holm([p for p, _ in found])
    for (depth, one, other), p, (_, sign) in zip(pairs, adjusted, found, strict=True):
        if p < LEVEL and sign:
            yield (depth, one, other) if sign > 0 else (depth, other, one)


def _compared(ours: Seeds, theirs: Seeds) -> tuple[float, int]:
    """The p-value over all seeds, and the sign of the difference where it is that of every seed, else 0."""
    found = compare(*([accuracy.answers(each.ladder, each.rung) for each in side.values()] for side in (ours, theirs)))
    shares = zip(ours.values(), theirs.values(), strict=True)
    differences = [(one.rung.accuracy or 0.0) - (other.rung.accuracy or 0.0) for one, other in shares]
    signs = {(each > 0) - (each < 0) for each in differences}
    return (found.p if found else 1.0), (signs.pop() if len(signs) == 1 else 0)
