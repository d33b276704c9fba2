"""Summaries to typed warnings: which cases, with which numbers, the likely cause, and what to do about it. Pure.

`kinds.KINDS` defines each kind, and what to do about it; docs/findings.md has them with an example each.

`judge` sums up in one word whether a run can be believed.

A finding about speed or energy rests on a verdict, never on `unclear`. The same finding on several
rungs of a ladder is one finding with several cases, its numbers those of the worst. A cause is named only when numbers
support it; else it is "unknown". Sentences are plain ASCII, so that they survive any terminal and log. Where a control beats a
ladder, that comes first among findings as severe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.findings import conditions, controls, energy, failures, order, quantisation, speed, structure, trust
from harness.findings.kinds import known
from harness.findings.order import across
from harness.findings.verdict import judge
from harness.findings.views import distinct, of_ladders
from harness.records import Finding, JobRecord, Ladder, Operation, Severity, Summary

ANALYSIS_VERSION = 11

__all__ = ["ANALYSIS_VERSION", "across", "find", "for_case", "judge"]

_ORDER: Mapping[Severity, int] = {"error": 0, "warning": 1, "info": 2}
_FIRST = "control-wins"


def find(
    summaries: Sequence[Summary],
    ladders: Sequence[Ladder],
    jobs: Sequence[JobRecord],
    operators: Mapping[str, Sequence[Operation]] | None = None,
) -> tuple[Finding, ...]:
    """Return all findings of a run, errors first, then warnings, then what is good to know. `operators` go by case."""
    views = tuple(of_ladders(summaries, ladders, operators, jobs))
    found = [*failures.failures(summaries, jobs), *controls.untrained(views), *order.order_differs(views)]
    for view in views:
        found += (*controls.trained(view, views), *speed.not_faster(view), *quantisation.worse_after_folding(view))
        found += (*energy.faster_not_cheaper(view), *energy.rose(view))
    for ladder in ladders:
        rows = tuple(row for view in views if view.ladder is ladder for row in view.rows)
        found += [finding for look in structure.LOOKS for finding in look(ladder, rows)]
    for job in jobs:
        cases = distinct(s for s in summaries if s.runtime == job.runtime and s.latency_ns is not None)
        found += [finding for look in (*trust.LOOKS, *conditions.LOOKS, *energy.LOOKS) for finding in look(job, cases)]
    return tuple(sorted(map(known, found), key=lambda each: (_ORDER[each.severity], each.kind != _FIRST)))


def for_case(findings: Iterable[Finding], case_id: str | None) -> tuple[Finding, ...]:
    """Return the findings that name this case; none for a row without a case."""
    return tuple(finding for finding in findings if case_id is not None and case_id in finding.cases)
