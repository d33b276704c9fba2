"""Findings about speed: only ever from a verdict `faster`, `slower` or `same` that holds for the whole ladder at once."""

from __future__ import annotations

from collections.abc import Iterator

from harness.findings import causes
from harness.findings.views import ROSE, Row, View, cases_of, grown, joint_verdict, listing, mega, over, ratio
from harness.records import Finding, Summary


def depth_without_speed(view: View) -> Iterator[Finding]:
    """Rungs with fewer layers than rung 0 that are slower than it, or the same: the LayerFold warning."""
    base = view.base.summary
    shallower = [
        row for row in view.rows if _is_shallower(row.summary, base) and joint_verdict(row) in ("slower", "same")
    ]
    if not shallower:
        return
    worst = min(shallower, key=lambda row: ratio(row.summary))
    speedup = worst.summary.speedup
    assert speedup is not None
    profiled = causes.find(_profile(view, view.base), _profile(view, worst), worst.rung.groups)
    yield Finding(
        kind="depth-without-speed",
        severity="warning",
        cases=cases_of(shallower),
        numbers={
            "ladder": view.ladder.name,
            "runtime": base.runtime,
            "precision": base.precision,
            "rungs": listing(row.rung.rung for row in shallower),
            "slower": sum(joint_verdict(row) == "slower" for row in shallower),
            "same": sum(joint_verdict(row) == "same" for row in shallower),
            "worst_rung": worst.rung.rung,
            "depth_before": base.depth,
            "depth_after": worst.summary.depth,
            "ratio": speedup.ratio,
            "low": speedup.low,
            "high": speedup.high,
            "macs_useful_ratio": over(worst.summary.macs_useful, base.macs_useful),
            "weight_bytes_ratio": over(worst.summary.weight_bytes, base.weight_bytes),
            "cause": profiled.kind,
            **profiled.numbers,
        },
        cause=_cause(worst, base, profiled),
        advice=_advice(view) if profiled.said else f"{_advice(view)} {causes.ADVICE}",
    )


def _profile(view: View, row: Row) -> causes.Profile:
    return causes.Profile(row.summary, view.operators.get(row.summary.case_id or "", ()))


def _is_shallower(summary: Summary, base: Summary) -> bool:
    """Whether a row has fewer layers than rung 0, as far as both are known."""
    return summary.depth is not None and base.depth is not None and summary.depth < base.depth


def _cause(row: Row, base: Summary, profiled: causes.Cause) -> str:
    """Say what the rung does more of: bytes of weights touched, useful multiplications; depth itself costs nothing.

    What its profile tells comes behind it.
    """
    now, more = row.summary, []
    if now.weight_bytes > ROSE * base.weight_bytes:
        more.append(f"{mega(now.weight_bytes)} MB of weights are read instead of {mega(base.weight_bytes)} MB")
    counted = now.macs_useful is not None and base.macs_useful is not None
    if now.macs_useful is not None and base.macs_useful is not None and now.macs_useful > ROSE * base.macs_useful:
        more.append(f"{mega(now.macs_useful)} M useful MACs are done instead of {mega(base.macs_useful)} M")
    what = f"Rung {row.rung.rung} has depth {now.depth} instead of {base.depth} and {ratio(now):.2f} times the speed"
    if not more and profiled.kind != "unknown":
        return f"{what}. {profiled.said}"
    if not more:
        rose = "neither the weights read nor the useful MACs rose"
        known = rose if counted else "the weights read did not rise, MACs are unknown"
        return f"{what}; the cause is unknown: {known}. {profiled.said}".rstrip()
    return f"{what}: per inference {' and '.join(more)}{grown(row.rung.groups, 'weights')}. {profiled.said}".rstrip()


def _advice(view: View) -> str:
    faster = [row.summary for row in view.rows if joint_verdict(row) == "faster"]
    best = max(faster, key=ratio, default=None)
    if best is None:
        advice = (
            "No rung of this ladder is clearly faster here: deploy rung 0, or fold only what a measurement favours."
        )
    else:
        advice = f"Rung {best.rung} (depth {best.depth}) is {ratio(best):.2f} times as fast as rung 0: stop there."
    least = 1.0 if best is None else _most(best)
    rivals = [s for s in view.controls if s.speedup and s.speedup.verdict == "faster" and _fewest(s) > least]
    if not rivals:
        return advice
    named = ", ".join(f"{s.model} ({ratio(s):.2f} times)" for s in rivals)
    return f"{advice} Untrained controls that are faster still: {named}."


def _most(summary: Summary) -> float:
    """The upper end of the interval of a speed-up that holds with all others of its ladder."""
    speedup = summary.speedup
    return ratio(summary) if speedup is None or speedup.joint_high is None else speedup.joint_high


def _fewest(summary: Summary) -> float:
    """The lower end of that interval."""
    speedup = summary.speedup
    return ratio(summary) if speedup is None or speedup.joint_low is None else speedup.joint_low
