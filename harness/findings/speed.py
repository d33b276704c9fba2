"""Rungs that should be faster and are not, and what their profiles show of it.

Only ever from a verdict `slower` or `same` that holds for the whole ladder at once. A rung is said once, by the more
precise of two kinds: where MACs fell and it is slower, flops-fell-latency-rose; else, where layers fell, depth-without-speed.
Bytes and counts are told there. What the profile shows is a finding of its own where the cause has a name that is a kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.findings import causes
from harness.findings.views import ROSE, Row, View, cases_of, grown, joint_verdict, listing, mega, over, ratio
from harness.records import Finding, Summary

Causes = Mapping[int, causes.Cause]
Numbers = dict[str, float | int | str | None]


def not_faster(view: View) -> Iterator[Finding]:
    """Rungs of fewer MACs that are slower than rung 0; rungs of fewer layers that are no faster; why, by their profiles."""
    fell = [row for row in view.rows if joint_verdict(row) == "slower" and _fallen(row.summary, view.base.summary)]
    said = {row.rung.rung for row in fell}
    shallower = [row for row in view.rows if row.rung.rung not in said and _is_no_faster(row, view.base.summary)]
    found = {row.rung.rung: _explained(view, row) for row in (*fell, *shallower)}
    if shallower:
        yield _depth_without_speed(view, shallower, found)
    if fell:
        yield _flops_fell(view, fell, found, advise=not shallower)
    for kind in causes.KINDS:
        rows = [row for row in (*fell, *shallower) if found[row.rung.rung].kind == kind]
        if rows:
            yield _shown(view, rows, found)


def _depth_without_speed(view: View, rows: Sequence[Row], found: Causes) -> Finding:
    """Rungs with fewer layers than rung 0 that are slower than it, or the same: the LayerFold warning."""
    worst, base = _worst(rows), view.base.summary
    cause, now = found[worst.rung.rung], worst.summary
    verdicts = [joint_verdict(row) for row in rows]
    what = f"Rung {worst.rung.rung} has depth {now.depth} instead of {base.depth} and {ratio(now):.2f} times the speed"
    return Finding(
        kind="depth-without-speed",
        severity="warning",
        cases=cases_of(rows),
        numbers={
            **_where(view),
            "rungs": listing(row.rung.rung for row in rows),
            "slower": verdicts.count("slower"),
            "same": verdicts.count("same"),
            "worst_rung": worst.rung.rung,
            **_costs(worst, base),
            **_speed(worst),
            **_told(cause),
        },
        cause=f"{what}{_because(worst, base, cause)}",
        advice=_with_profile(_advice(view), cause),
    )


def _flops_fell(view: View, rows: Sequence[Row], found: Causes, *, advise: bool) -> Finding:
    """Rungs with fewer MACs than rung 0 (FLOPs are twice as many) that are slower than it."""
    worst, base = _worst(rows), view.base.summary
    cause, pair = found[worst.rung.rung], _fallen(worst.summary, base)
    assert pair is not None
    counted, before, after = pair
    fell = f"does {mega(after)} M {counted} instead of {mega(before)} M"
    what = f"Rung {worst.rung.rung} {fell} at {ratio(worst.summary):.2f} times the speed"
    advice = "Choose rungs by measured latency here, not by FLOPs."
    return Finding(
        kind="flops-fell-latency-rose",
        severity="warning",
        cases=cases_of(rows),
        numbers={
            **_where(view),
            "rungs": listing(row.rung.rung for row in rows),
            "worst_rung": worst.rung.rung,
            "counted": counted,
            "macs_before": before,
            "macs_after": after,
            "macs_ratio": over(after, before),
            **_costs(worst, base),
            **_speed(worst),
            **_told(cause),
        },
        cause=f"{what}{_because(worst, base, cause)}",
        advice=_with_profile(f"{advice} {_advice(view)}" if advise else advice, cause),
    )


def _shown(view: View, rows: Sequence[Row], found: Causes) -> Finding:
    """What the profiles of rungs show that have one cause: the worst one's words and numbers."""
    worst = _worst(rows)
    cause, now = found[worst.rung.rung], worst.summary
    others = [row.rung.rung for row in rows if row is not worst]
    whole = len(rows) > 1 and {row.rung.rung for row in rows} == {row.rung.rung for row in view.rows if row.rung.rung}
    more = f" Rung{'s' * (len(others) > 1)} {listing(others)} likewise." if others else ""
    first = (
        f"Rung {worst.rung.rung} of {view.ladder.name} on {view.place} is {ratio(now):.2f} times as fast as rung 0: "
    )
    return Finding(
        kind=cause.kind,
        severity="warning",
        cases=cases_of(rows),
        numbers={
            **_where(view),
            "rungs": listing(row.rung.rung for row in rows),
            "worst_rung": worst.rung.rung,
            **_speed(worst),
            **cause.numbers,
        },
        cause=f"{first}{cause.said[0].lower()}{cause.said[1:]}{' Every rung of the ladder is so.' if whole else more}",
        advice=causes.advice(cause, now),
    )


# --- which rungs ---------------------------------------------------------------------------------------------------


def _explained(view: View, row: Row) -> causes.Cause:
    return causes.find(_profile(view, view.base), _profile(view, row), row.rung.groups)


def _profile(view: View, row: Row) -> causes.Profile:
    return causes.Profile(row.summary, view.operators.get(row.summary.case_id or "", ()))


def _worst(rows: Iterable[Row]) -> Row:
    return min(rows, key=lambda row: ratio(row.summary))


def _is_no_faster(row: Row, base: Summary) -> bool:
    """Whether a row has fewer layers than rung 0, as far as both are known, and is slower or the same."""
    depth = row.summary.depth
    return (
        depth is not None and base.depth is not None and depth < base.depth and joint_verdict(row) in ("slower", "same")
    )


def _fallen(summary: Summary, base: Summary) -> tuple[str, int, int] | None:
    """Which MACs are fewer than rung 0's, before and after: those that papers count, else the useful ones."""
    pairs = (("MACs", base.macs, summary.macs), ("useful MACs", base.macs_useful, summary.macs_useful))
    for counted, before, after in pairs:
        if before is not None and after is not None and after * ROSE < before:
            return counted, before, after
    return None


# --- numbers -------------------------------------------------------------------------------------------------------


def _where(view: View) -> Numbers:
    base = view.base.summary
    return {"ladder": view.ladder.name, "runtime": base.runtime, "precision": base.precision}


def _costs(row: Row, base: Summary) -> Numbers:
    now = row.summary
    return {
        "depth_before": base.depth,
        "depth_after": now.depth,
        "macs_useful_ratio": over(now.macs_useful, base.macs_useful),
        "weight_bytes_ratio": over(now.weight_bytes, base.weight_bytes),
    }


def _speed(row: Row) -> Numbers:
    speedup = row.summary.speedup
    assert speedup is not None
    return {"ratio": speedup.ratio, "low": speedup.low, "high": speedup.high}


def _told(cause: causes.Cause) -> Numbers:
    """The cause's name; its numbers too, where no finding of that name holds them."""
    return {"cause": cause.kind, **({} if cause.kind in causes.KINDS else cause.numbers)}


# --- words ---------------------------------------------------------------------------------------------------------


def _because(row: Row, base: Summary, cause: causes.Cause) -> str:
    """What the rung does more of, as the rest of a sentence: bytes of weights touched, useful multiplications.

    Depth itself costs nothing. What its profile tells comes behind it, or the name of the finding that tells it.
    """
    now, more = row.summary, []
    shown = f"By its profile the cause is {cause.kind}: see that finding." if cause.kind in causes.KINDS else cause.said
    if now.weight_bytes > ROSE * base.weight_bytes:
        more.append(f"{mega(now.weight_bytes)} MB of weights are read instead of {mega(base.weight_bytes)} MB")
    counted = now.macs_useful is not None and base.macs_useful is not None
    if now.macs_useful is not None and base.macs_useful is not None and now.macs_useful > ROSE * base.macs_useful:
        more.append(f"{mega(now.macs_useful)} M useful MACs are done instead of {mega(base.macs_useful)} M")
    if more:
        return f": per inference {' and '.join(more)}{grown(row.rung.groups, 'weights')}. {shown}".rstrip()
    if cause.kind != "unknown":
        return f". {shown}"
    rose = "neither the weights read nor the useful MACs rose"
    known = rose if counted else "the weights read did not rise, useful MACs are unknown"
    return f"; the cause is unknown: {known}. {shown}".rstrip()


def _with_profile(advice: str, cause: causes.Cause) -> str:
    return advice if cause.said else f"{advice} {causes.ADVICE}"


def _advice(view: View) -> str:
    faster = [row.summary for row in view.rows if joint_verdict(row) == "faster"]
    best = max(faster, key=ratio, default=None)
    if best is None:
        return "No rung of this ladder is clearly faster here: deploy rung 0, or fold only what a measurement favours."
    return f"Rung {best.rung} (depth {best.depth}) is {ratio(best):.2f} times as fast as rung 0: stop there."
