"""Findings about jobs: how far their numbers can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness import stats
from harness.findings.views import count, percent, plus_minus
from harness.records import Finding, JobRecord, Summary
from harness.wire import Protocol

MANY = 0.10  # share of disturbed processes from which numbers are in doubt


def noisy(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Comparisons whose half-width is wider than asked for, with the blocks that are still needed."""
    target, known = Protocol().half_width, {s.case_id for s in cases}
    wide = {
        case: width for case, width in job.half_widths.items() if case in known and (width is None or width > target)
    }
    if not wide:
        return
    reached = max((width for width in wide.values() if width is not None), default=None)
    more = [job.blocks_needed.get(case) for case in wide]
    needed = None if None in more else max((n for n in more if n is not None), default=None)
    advice = "Quiet the machine; the spread is too large to say how many more blocks would do."
    if needed:
        times = (job.blocks + needed) / max(job.blocks, 1)
        advice = f"About {count(needed, 'more block')}: quiet the machine, or allow {times:.1f} times the --budget."
    yield Finding(
        "noisy",
        "warning",
        tuple(wide),
        {
            "runtime": job.runtime,
            "half_width": reached,
            "target": target,
            "blocks": job.blocks,
            "blocks_needed": needed,
            "comparisons": len(wide),
            "ended": job.reason,
        },
        f"On {job.runtime}, {count(len(wide), 'comparison')} reached {plus_minus(reached)} instead of "
        f"{plus_minus(target)} when the job ended after {count(job.blocks, 'block')} ({job.reason}).",
        advice,
    )


def floor(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """References that differ from themselves by more than what is called the same."""
    sizes = {case: size for case, ratio in job.floor.items() if (size := stats.floor_size(ratio)) is not None}
    wide = tuple(case for case, size in sizes.items() if size > stats.SAME)
    if not wide:
        return
    worst = max(wide, key=lambda case: sizes[case])
    size, ratio = math.expm1(sizes[worst]), job.floor[worst]
    yield Finding(
        "noisy",
        "warning",
        wide,
        {"runtime": job.runtime, "floor": size, "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high},
        f"On {job.runtime} the reference differs from itself by up to {percent(size)} (A/A).",
        f"Differences below {percent(size)} stay unclear, and nothing can be called the same.",
    )


def contended(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes beside which the calibrated spin was slow: a neighbour, who changes ratios too."""
    what = "ran while a spin beside them was slower than the device's best: something else used the machine"
    advice = "Pairing does not cancel this, it changes ratios too: stop what else runs there and measure again."
    yield from _disturbed("contended", job, [(s, s.contended) for s in cases], what, advice)


def not_steady(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes that were timed although their latency had not settled."""
    what = "were timed before their latency had settled, because the warm-up reached its cap"
    advice = "Look at the clock governor and at heat; their medians are kept and may drift."
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


LOOKS = (noisy, floor, contended, not_steady)
