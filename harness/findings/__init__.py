"""Summaries to typed warnings: which cases, with which numbers, the likely cause, and what to do about it. Pure.

    failed, skipped        rows that failed, and rows that were never measured
    depth-without-speed    fewer layers than rung 0, and slower or the same (the LayerFold warning)
    macs-rose              more useful multiplications than rung 0
    order-not-determined   the data do not settle which activation goes first
    not-exact              a merge beyond its error bound, or refused because it would be
    agreement              how far given networks compute the same: told, never bound
    ladder-cut-short       a ladder that ended early: by `--delta`, or for a training diverged
    delta-not-resolvable   a ladder whose end by `--delta` was judged on too few images
    accuracy-lost          accuracy below rung 0 by more than the test split's noise
    quantisation-worse-after-folding
                           an artifact loses more of its network's accuracy than rung 0's does
    noisy                  intervals wider than asked for, or a reference that differs from itself
    few-builds             a small difference between networks that the device compiled once or twice
    contended, not-steady  processes that met a neighbour, or never settled
    throttled              processes beside which the device was throttled: invalid
    foreign-load, stolen   others used cores that the processes wanted; a hypervisor gave them away
    swapped, warm-start    memory was short; blocks that began before the device had cooled
    heat-sensitive,        latency that goes along, from process to process, with temperature,
    load-sensitive           or with what others did
    energy-lost            windows of energy passes without a figure: a sensor stopped, stalled, may not be read
    sampler-disturbs       inferences beside the sampler take another time, by more than 2 %
    idle-drifts            idle power differs between blocks that follow each other
    late-paces             paced passes that could not keep their rate
    faster-not-cheaper     faster than rung 0, and more energy
    energy-rose            fewer layers than rung 0, and more energy

`judge` sums up in one word whether a run can be believed.

A finding about speed or energy rests on a verdict, never on `unclear`. The same finding on several
rungs of a ladder is one finding with several cases, its numbers those of the worst. A cause is named only when numbers
support it; else it is "unknown". Sentences are plain ASCII, so that they survive any terminal and log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.findings import conditions, energy, failures, quantisation, speed, structure, trust
from harness.findings.verdict import judge
from harness.findings.views import distinct, of_ladders
from harness.records import Finding, JobRecord, Ladder, Operation, Severity, Summary

ANALYSIS_VERSION = 10

__all__ = ["ANALYSIS_VERSION", "find", "for_case", "judge"]

_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "info": 2}


def find(
    summaries: Sequence[Summary],
    ladders: Sequence[Ladder],
    jobs: Sequence[JobRecord],
    operators: Mapping[str, Sequence[Operation]] | None = None,
) -> tuple[Finding, ...]:
    """Return all findings of a run, errors first, then warnings, then what is good to know. `operators` go by case."""
    views = tuple(of_ladders(summaries, ladders, operators))
    found = list(failures.failures(summaries, jobs))
    for view in views:
        found += (*speed.depth_without_speed(view), *quantisation.worse_after_folding(view))
        found += (*energy.faster_not_cheaper(view), *energy.rose(view))
    for ladder in ladders:
        rows = tuple(row for view in views if view.ladder is ladder for row in view.rows)
        found += [finding for look in structure.LOOKS for finding in look(ladder, rows)]
    for job in jobs:
        cases = distinct(s for s in summaries if s.runtime == job.runtime and s.latency_ns is not None)
        found += [finding for look in (*trust.LOOKS, *conditions.LOOKS, *energy.LOOKS) for finding in look(job, cases)]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.severity]))


def for_case(findings: Iterable[Finding], case_id: str | None) -> tuple[Finding, ...]:
    """Return the findings that name this case; none for a row without a case."""
    return tuple(finding for finding in findings if case_id is not None and case_id in finding.cases)
