"""Jobs, journals and replies -> summaries, job records and findings: what `run` stores and `show` recomputes. Pure.

    entries (ladder rows) + rungs (static facts) + processes (journal) -> one Summary per row

Numbers come from the journal by the protocol of its job, whether or not there is a reply: a job that was cut off says
of what it measured what a whole one says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness import findings, wire
from harness.analysis import accuracy, executed, losses, virtual
from harness.analysis.jobs import Measured, processes
from harness.analysis.rows import summaries
from harness.records import Remote, Run

Jobs = Mapping[str, wire.Job | None]
Journals = Mapping[str, Sequence[wire.Event]]
Replies = Mapping[str, wire.Reply | None]
Meters = Mapping[str, Sequence[Remote]]

__all__ = ["Jobs", "Journals", "Measured", "Meters", "Replies", "analyse", "processes", "summaries"]


def analyse(run: Run, jobs: Jobs, journals: Journals, replies: Replies, meters: Meters | None = None) -> Run:
    """Return the run with cases, job records and findings computed from what there is of each runtime.

    `meters`: what the controller's meters gave during each job, times on the device's clock.
    """
    read = meters or {}
    runtimes = dict.fromkeys(entry.case.runtime for entry in run.entries)
    measured = {
        name: Measured.of(jobs.get(name), journals.get(name, ()), replies.get(name), read.get(name, ()))
        for name in runtimes
    }
    records = tuple(record for each in measured.values() for record in each.records())
    ceilings = () if run.virtual else executed.ceilings(journals.get(name, ()) for name in runtimes)
    found = accuracy.attach(losses.attach(summaries(run, measured)), run.ladders)
    if run.virtual:
        records, found = tuple(map(virtual.record, records)), tuple(map(virtual.summary, found))
    found, operators = executed.attach(run, found, journals, ceilings)
    if run.virtual:
        found, operators = tuple(map(virtual.executed, found)), virtual.operators(operators)
    return replace(
        run,
        cases=found,
        jobs=records,
        findings=findings.find(found, run.ladders, records, operators),
        verdict=findings.judge(found, records),
        analysis_version=findings.ANALYSIS_VERSION,
        operators=operators,
        ceilings=ceilings,
    )
