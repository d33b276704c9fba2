"""Findings about jobs: how far their numbers can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from harness import stats
from harness.findings.views import MANY, count, percent, plus_minus
from harness.records import Finding, JobRecord, Summary
from harness.wire import Protocol

# Builds are a level of replication: an effect below this share needs at least so many of them.
_BUILDS, _SMALL = 3, 0.05


def missed(job: JobRecord, cases: Sequence[Summary]) -> tuple[Mapping[str, float | None], float]:
    """The comparisons of these cases that are wider than asked for, with their half-widths, and what was asked for."""
    target, known = _protocol(job).half_width, {s.case_id for s in cases}
    widths = {case: width for case, width in job.half_widths.items() if case in known}
    return {case: width for case, width in widths.items() if width is None or width > target}, target


def noisy(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Comparisons whose half-width is wider than asked for, with what would narrow it."""
    wide, target = missed(job, cases)
    widths = job.half_widths.keys() & {s.case_id for s in cases}
    if not wide:
        return
    reached = sorted(width for width in wide.values() if width is not None)
    widest = reached[-1] if len(reached) == len(wide) else None
    more = [job.blocks_needed.get(case) for case in wide]
    needed = None if None in more else max(n for n in more if n is not None)
    yield Finding(
        "noisy",
        "warning",
        tuple(wide),
        {
            "runtime": job.runtime,
            "half_width": widest,
            "narrowest": reached[0] if reached else None,
            "target": target,
            "wide": len(wide),
            "comparisons": len(widths),
            "blocks": job.blocks,
            "blocks_needed": needed,
            "most_blocks": _protocol(job).looks[-1],
            "ended": job.reason,
        },
        f"On {job.runtime}, {len(wide)} of {count(len(widths), 'comparison')} missed {plus_minus(target)} "
        f"({_span(reached, len(wide))}) when the job ended after {count(job.blocks, 'block')} ({job.reason}).",
        _quieter(job, widest, needed),
    )


def _span(reached: Sequence[float], wide: int) -> str:
    """What wide comparisons reached, from the narrowest to the widest; some may have no interval."""
    ends = [plus_minus(width) for width in dict.fromkeys((*reached[:1], *reached[-1:]))]
    without = [f"{wide - len(reached)} without an interval"] if len(reached) < wide else []
    return ", ".join([*([f"reached {' to '.join(ends)}"] if ends else []), *without])


def _quieter(job: JobRecord, reached: float | None, needed: int | None) -> str:
    """What to do about wide intervals: it depends on why the job ended, and on how many blocks a job may have."""
    protocol = _protocol(job)
    if job.reason == "interrupted":
        return "The job was cut off: go on with harness run --resume."
    if reached is None:
        return f"No two blocks fitted the budget of {protocol.budget_s:g} s: allow a larger --budget, or measure less."
    if needed is None:
        return "The device's clock is too coarse for inferences as short as these: a larger --batch makes them longer."
    look = next((look for look in protocol.looks if look >= job.blocks + needed), None)
    if look is not None and job.blocks < look:
        times = look / max(job.blocks, 1)
        return f"About {count(needed, 'more block')}: quiet the machine, or allow {times:.1f} times the --budget."
    return f"At this noise the machine cannot resolve {plus_minus(protocol.half_width)} in {_most(job, reached)}"


def _most(job: JobRecord, reached: float) -> str:
    protocol = _protocol(job)
    most = protocol.looks[-1]
    advice = (
        f"{count(most, 'block')}, the most that a job has: quiet the machine, or read smaller differences as unclear."
    )
    if not 2 <= job.blocks < most:
        return advice
    least = stats.projected(reached, job.blocks, most, protocol)
    return f"{advice} A larger --budget would bring the widest to about {plus_minus(least)}."


def _protocol(job: JobRecord) -> Protocol:
    return Protocol(**{**job.protocol, "looks": tuple(job.protocol["looks"])})


def floors_beyond(job: JobRecord) -> Mapping[str, float]:
    """The references that differ from themselves by more than what is called the same, and by how much at most."""
    sizes = {case: size for case, ratio in job.floor.items() if (size := stats.floor_size(ratio)) is not None}
    return {case: math.expm1(size) for case, size in sizes.items() if size > stats.SAME}


def floor(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """References that differ from themselves by more than what is called the same."""
    wide = floors_beyond(job)
    if not wide:
        return
    worst = max(wide, key=lambda case: wide[case])
    size, ratio = wide[worst], job.floor[worst]
    yield Finding(
        "noisy",
        "warning",
        tuple(wide),
        {"runtime": job.runtime, "floor": size, "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high},
        f"On {job.runtime} the reference differs from itself by up to {percent(size)} (A/A).",
        f"No difference below {percent(size)} is called faster or slower, and nothing is called the same.",
    )


def contended(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes beside which the calibrated spin was slow: a neighbour, who changes ratios too."""
    what = "ran while a spin beside them was slower than the device's best: something else used the machine"
    advice = "Pairing does not cancel this, it changes ratios too: stop what else runs there and measure again."
    if job.facts.get("spin_stored_ns"):
        what = (
            "ran while a spin beside them was slower than the device's best of earlier jobs, never reached in this one"
        )
        advice = "A neighbour was there all along, or the device has become slower; three such jobs renew the best."
    yield from _disturbed("contended", job, [(s, s.contended) for s in cases], what, advice)


def not_steady(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes whose latency had not settled before it was timed, or shifted while it was."""
    what = "had not settled when their warm-up reached its cap, or shifted by more than 2 % while they were timed"
    advice = "Look at the clock governor, at heat and at neighbours; their medians are kept and may drift."
    yield from _disturbed("not-steady", job, [(s, s.not_steady) for s in cases], what, advice)


def _disturbed(
    kind: str, job: JobRecord, hits: Sequence[tuple[Summary, int]], what: str, advice: str
) -> Iterator[Finding]:
    touched = tuple(s.case_id for s, hit in hits if hit and s.case_id)
    if not touched:
        return
    hit = sum(hit for _, hit in hits)
    total = max(sum(s.latency_ns.processes for s, _ in hits if s.latency_ns), hit)
    yield Finding(
        kind,
        "warning" if hit >= MANY * total else "info",
        touched,
        {"runtime": job.runtime, "processes": hit, "of": total, "share": hit / total},
        f"On {job.runtime}, {hit} of {count(total, 'process', 'processes')} {what}.",
        advice,
    )


def few_builds(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Small differences between networks that a device compiled fewer than three times: it chooses kernels by timing them."""
    small = [
        case
        for case in cases
        if case.speedup is not None
        and case.speedup.verdict in ("faster", "slower")
        and abs(case.speedup.ratio - 1) < _SMALL
        and int(case.effective.get("builds") or _BUILDS) < _BUILDS
    ]
    if not small:
        return
    least = min(small, key=lambda case: abs(case.speedup.ratio - 1) if case.speedup else 1.0)
    builds, size = int(least.effective["builds"]), abs(least.speedup.ratio - 1) if least.speedup else 0.0
    yield Finding(
        "few-builds",
        "warning",
        tuple(case.case_id for case in small if case.case_id is not None),
        {"runtime": job.runtime, "builds": builds, "difference": size, "cases": len(small)},
        f"On {job.runtime}, a difference of {percent(size)} rests on {count(builds, 'build')} per network: kernels are chosen by "
        "timing them, and another build may differ by several percent.",
        f"Repeat with --option builds={_BUILDS} before a difference below {percent(_SMALL)} is believed.",
    )


LOOKS = (noisy, floor, contended, not_steady, few_builds)
