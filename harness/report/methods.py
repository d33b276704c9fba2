"""Methods on one model side by side, from one or several runs: a table as Markdown and CSV, and what it may be read as."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import Run
from harness.report import ranking, trained
from harness.report.levels import Level, distinct
from harness.report.plotted import ms, to_csv
from harness.report.text import UNICODE, digits, with_interval


@dataclass(frozen=True)
class Line:
    """A rung of a method, all its seeds together: fractions, ms, bytes, operations of one inference; None: there is none.

    `accuracy_sd` is over seeds; `epochs` and `seconds` those of training and of making the rung, means over seeds.
    """

    run: str
    runtime: str
    precision: str
    ladder: str
    method: str
    rung: int
    seeds: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    accuracy_sd: float | None
    against_continue: float | None
    against_low: float | None
    against_high: float | None
    p: float | None
    depth: float | None
    macs: float | None
    weight_bytes: float
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None
    verdict: str | None
    fold_error: float | None
    epochs: float | None
    seconds: float | None


def csv_of(runs: Sequence[Run]) -> str:
    """Return every rung of every run as CSV."""
    return to_csv(Line, [_line(level) for level in distinct(runs)])


def table(runs: Sequence[Run], *, last: bool = False) -> str:
    """Return the table as Markdown, its rungs in the order of the runs, full depth once.

    `last`: of each ladder only the last rung.
    """
    found = _told_once(distinct(runs))
    if last:
        ends = {(level.name, level.rows[0].runtime, level.rows[0].precision): level for level in found}
        found = [level for level in found if not level.number or level in ends.values()]
    places = dict.fromkeys((level.rows[0].runtime, level.rows[0].precision) for level in found)
    head = ["method", "rung", "accuracy %", "against `continue`, points", "p", "depth", "MMACs", "weights MB"]
    head += ["latency ms [95 % interval]", "verdict", "epochs", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for level in found:
        place = (level.rows[0].runtime, level.rows[0].precision)
        where = f" ({' '.join(place)})" if len(places) > 1 else ""
        untrained = "" if level.accuracy is not None else ", untrained"
        name = level.name if level.number else f"full depth{untrained}"
        lines.append("| " + " | ".join([f"{name}{where}", *_cells(level)]) + " |")
    return "\n".join(lines)


def reading(runs: Sequence[Run]) -> str:
    """Return what the table may be read as: a ranking at equal depth, as Markdown, or why there is none."""
    if why := ranking.refusal(runs):
        return why
    places = ranking.ranking(runs)
    if not places:
        return "Nothing is ranked: no two methods have a rung of equal depth in every seed."
    lines = ["| depth | rank | method | accuracy %, mean ± sd | ahead of |", "|---:|---:|---|---:|---|"]
    for place in places:
        share = f"{100 * place.accuracy:.2f} ± {100 * place.spread:.2f}"
        beaten = ", ".join(place.ahead_of) or "none"
        lines.append(f"| {place.depth} | {place.rank} | {place.name} | {share} | {beaten} |")
    how = (
        "Ranked at equal depth, example by example and seed by seed (McNemar over examples, Holm over all comparisons, "
        "the same sign in every seed); methods that cannot be told apart share a rank."
    )
    return "\n".join([how, "", *lines])


def ended(runs: Sequence[Run]) -> Iterator[str]:
    """Yield why ladders ended before they had to."""
    yield from (f"{ladder.name}: {ladder.ended}" for run in runs for ladder in run.ladders if ladder.ended)


def _told_once(found: Sequence[Level]) -> list[Level]:
    """The levels without full depth where it stands above already: all ladders begin with the same network."""
    seen, kept = set(), []
    for level in found:
        row = level.rows[0]
        key = (row.variant, row.runtime, row.precision)
        if level.number or key not in seen:
            kept.append(level)
        seen.add(key)
    return kept


def _line(level: Level) -> Line:
    row, limits, against, latency = level.rows[0], level.limits, level.against, level.latency_ns
    return Line(
        run=level.run,
        runtime=row.runtime,
        precision=row.precision,
        ladder=level.name,
        method=level.ladder.method,
        rung=level.number,
        seeds=len(level.members),
        accuracy=level.accuracy,
        accuracy_low=limits.low if limits else None,
        accuracy_high=limits.high if limits else None,
        accuracy_sd=level.spread,
        against_continue=against.difference if against else None,
        against_low=against.low if against else None,
        against_high=against.high if against else None,
        p=against.p if against else None,
        depth=level.depth,
        macs=_mean([each.macs for each in level.rows]),
        weight_bytes=_mean([each.weight_bytes for each in level.rows]) or 0.0,
        latency_ms=ms(latency.value if latency else None),
        latency_low_ms=ms(latency.low if latency else None),
        latency_high_ms=ms(latency.high if latency else None),
        verdict=level.verdict,
        fold_error=max((each.fold_error for each in level.rows if each.fold_error is not None), default=None),
        epochs=_mean([each.rung.epochs for each in level.members]),
        seconds=_mean([each.rung.seconds for each in level.members]),
    )


def _cells(level: Level) -> Iterator[str]:
    line, null = _line(level), UNICODE.null
    yield str(line.rung)
    yield trained.accuracy(level, UNICODE)
    yield trained.against(level, UNICODE)
    yield trained.chance(level, UNICODE)
    yield null if line.depth is None else f"{line.depth:.3g}"
    yield null if line.macs is None else digits(line.macs / 1e6)
    yield digits(line.weight_bytes / 1e6)
    latency = (line.latency_ms, line.latency_low_ms, line.latency_high_ms)
    yield null if latency[0] is None else with_interval(latency[0], *latency[1:])
    yield line.verdict or null
    yield null if line.epochs is None else f"{line.epochs:g}"
    yield null if line.seconds is None else digits(line.seconds, 2)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return None if not known else known[0] if len(set(known)) == 1 else statistics.fmean(known)
