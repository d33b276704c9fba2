"""A run's numbers from its journal: written here event by event, as an agent would."""

import math
from dataclasses import asdict, replace

import example_run
import numpy as np
import pytest

from devices.agent import schedule
from harness import analysis, content, stats, wire

RUNTIME = "onnxruntime"
PROTOCOL = wire.Protocol(budget_s=30.0, looks=(4, 8))
SPIN_NS = 20_000_000


@pytest.fixture(scope="module")
def run():
    """A run whose ladders are made and whose rows are cases, with nothing measured."""
    return replace(example_run.run(), cases=(), jobs=(), findings=(), analysis_version=0)


@pytest.fixture(scope="module")
def job(run):
    return job_of(run)


def job_of(run, protocol=PROTOCOL):
    pairs = tuple((e.case.case_id, e.reference) for e in run.entries if e.case.case_id != e.reference)
    references = {reference for _, reference in pairs}
    file = wire.FileRef("0" * 64, 1)
    cases = tuple(
        wire.JobCase(case, case, file, file, 1e-4, "fp32", 1, 1, {}, 2 if case in references else 1)
        for case in dict.fromkeys(e.case.case_id for e in run.entries)
    )
    return wire.Job(run.run, f"{run.run}-{RUNTIME}", RUNTIME, 0, cases, pairs, protocol)


class Journal:
    """Events with the numbering that an agent gives them; facts are those of the device."""

    def __init__(self, job, **facts):
        self.job, self.events, self.rng = job, [], np.random.default_rng(0)
        spins = {"run": job.run, "job": job.job, "agent": "a", "pid": 1, "resumed": False, "spin_ns": {"1": SPIN_NS}}
        self.note(wire.StartEvent, "start", facts={"versions": {"onnxruntime": "1"}, **facts}, **spins)

    def note(self, kind, name, **fields):
        seq = len(self.events)
        self.events.append(kind(v=1, seq=seq, t_ns=seq, kind=name, **fields))

    def process(self, case, block, replicate=0, attempt=1, ns=1_000_000, spins=(SPIN_NS, SPIN_NS), **effective):
        latency = tuple(int(ns * math.exp(noise)) for noise in self.rng.normal(0, 0.01, 5))
        self.note(
            wire.ProcessEvent,
            "process",
            case_id=case,
            block=block,
            replicate=replicate,
            attempt=attempt,
            wall_ns=1,
            import_ns=1,
            load_ns=1,
            spin_before_ns=spins[0],
            spin_after_ns=spins[1],
            contended=False,
            steady=True,
            artifact_error=1e-7,
            effective=effective,
            warmup_ns=(),
            start_ns=tuple(range(5)),
            latency_ns=latency,
        )

    def failed(self, case, block, cause="crash", detail="exit status 1", final=True):
        where = {"case_id": case, "block": block, "replicate": 0, "attempt": 1}
        self.note(wire.FailedEvent, "failed", **where, cause=cause, detail=detail, final=final)

    def blocks(self, first, last, without=(), **effective):
        for block in range(first, last + 1):
            for case in self.job.cases:
                for replicate in range(case.replicates):
                    if case.case_id not in without:
                        self.process(case.case_id, block, replicate, threads=1, **effective)
            self.note(wire.StateEvent, "state", block=block, when="after", readings=())
        return self


def analysed(run, job, journal, reply=None):
    return analysis.analyse(run, {RUNTIME: job}, {RUNTIME: journal.events if journal else ()}, {RUNTIME: reply})


def row(made, rung):
    return next(s for s in made.cases if s.rung == rung)


# --- what failed ---------------------------------------------------------------------------------------------------


def test_nothing_is_faster_than_a_reference_that_failed(run, job):
    reference = run.entries[0].reference
    journal = Journal(job).blocks(1, 4)
    journal.failed(reference, 5)
    made = analysed(run, job, journal.blocks(5, 8, without={reference}))
    assert row(made, 0).status == "failed" and row(made, 3).status == "ok"
    assert {s.speedup for s in made.cases} == {None}
    assert row(made, 3).reasons["speedup"] == "the reference, rung 0, failed: crash: exit status 1"
    assert made.jobs[0].floor == {} and made.jobs[0].half_widths == {}


def test_a_case_given_up_keeps_the_latency_of_the_blocks_before(run, job):
    case = run.entries[3].case.case_id
    journal = Journal(job).blocks(1, 4)
    journal.failed(case, 5, "signal", "SIGSEGV")
    given_up = row(analysed(run, job, journal.blocks(5, 8, without={case})), 3)
    assert (given_up.status, given_up.blocks, given_up.latency_ns.processes) == ("failed", 4, 4)
    assert given_up.reasons["status"] == "signal: SIGSEGV" and given_up.speedup is None
    assert "that of the 4 blocks before: signal: SIGSEGV" in given_up.reasons["speedup"]


def test_a_failure_that_was_not_the_last_word_is_none(run, job):
    journal = Journal(job).blocks(1, 4)
    journal.failed(run.entries[3].case.case_id, 5, final=False)
    assert row(analysed(run, job, journal), 3).status == "ok"


def test_a_row_without_an_artifact_says_so_of_all_that_it_lacks(run, job):
    entries = (*run.entries[:3], replace(run.entries[3], failure="ValueError: no", ops_executed=None), *run.entries[4:])
    failed = row(analysed(replace(run, entries=entries), job, Journal(job).blocks(1, 4)), 3)
    assert failed.status == "failed" and failed.case_id is None and failed.effective == {}
    assert failed.reasons["ops_executed"] == failed.reasons["case_id"] == "no artifact: ValueError: no"
    assert failed.reasons["latency_ns"] == "ValueError: no"


def test_without_a_job_everything_is_skipped_and_nothing_breaks(run):
    made = analysed(run, None, None)
    assert {s.status for s in made.cases} == {"skipped"} and made.jobs == ()
    assert [f.kind for f in made.findings if f.kind == "skipped"] == ["skipped", "skipped"]  # easier, control


# --- by the job's own protocol -------------------------------------------------------------------------------------


def test_intervals_and_findings_follow_the_protocol_of_the_job_not_todays(run):
    journal = Journal(job_of(run)).blocks(1, 4)
    usual, strict = (
        analysed(run, job_of(run, replace(PROTOCOL, alpha=alpha, half_width=1e-4)), journal) for alpha in (0.05, 1e-4)
    )
    assert row(strict, 3).speedup.low < row(usual, 3).speedup.low
    assert strict.jobs[0].protocol["alpha"] == 1e-4
    assert next(f for f in strict.findings if f.kind == "noisy").numbers["target"] == 1e-4


def test_a_job_that_was_cut_off_has_half_widths_too_and_they_are_the_agents(run, job):
    journal = Journal(job).blocks(1, 4)
    case, reference = job.comparisons[0]
    journal.process(case, 5)
    journal.process(reference, 5)
    (record,) = analysed(run, job, journal).jobs
    agents = dict(schedule.reaches(job, schedule.History(journal.events), PROTOCOL.looks[-1]))
    assert (record.reason, record.blocks) == ("interrupted", 4)
    assert record.half_widths == {name: pytest.approx(reach.half_width) for name, reach in agents.items()}
    assert record.blocks_needed == {name: reach.blocks_needed for name, reach in agents.items()}
    assert record.versions == {"onnxruntime": "1"}


def test_a_reply_has_the_last_word_on_how_the_job_ended(run, job):
    reply = wire.Reply(run.run, job.job, "budget", 3, 9, {}, {}, {}, {"cpus": 2}, {"onnxruntime": "2"})
    (record,) = analysed(run, job, Journal(job).blocks(1, 4), reply).jobs
    assert (record.reason, record.blocks, record.versions) == ("budget", 3, {"onnxruntime": "2"})


def test_the_clock_of_the_device_bounds_every_interval(run, job):
    coarse = analysed(run, job, Journal(job, clock_resolution_ns=100_000).blocks(1, 4))
    assert row(coarse, 3).latency_ns.high > 1.09 * row(coarse, 3).latency_ns.median
    assert all(width == pytest.approx(0.2, abs=0.01) for width in coarse.jobs[0].half_widths.values())
    assert set(coarse.jobs[0].blocks_needed.values()) == {None}
    fine = analysed(run, job, Journal(job, clock_resolution_ns=1).blocks(1, 4))
    assert stats.floor_size(fine.jobs[0].floor[job.comparisons[0][1]]) < 0.1


# --- what a row tells of its processes -----------------------------------------------------------------------------


def test_contention_is_judged_by_the_best_spin_of_the_whole_journal(run, job):
    case = job.cases[3].case_id
    journal = Journal(job)
    journal.process(case, 1, spins=(SPIN_NS, int(1.05 * SPIN_NS)))  # near the best when it was measured
    journal.process(case, 2, spins=(int(0.9 * SPIN_NS), SPIN_NS))  # 11 % slower than a best that came later
    journal.process(case, 3, spins=(int(0.9 * SPIN_NS), int(0.95 * SPIN_NS)))
    journal.process(case, 3, attempt=2, spins=(int(0.9 * SPIN_NS), int(0.9 * SPIN_NS)))
    assert row(analysed(run, job, journal), 3).contended == 2


def test_settings_are_those_read_back_in_the_last_process(run, job):
    case = job.cases[3].case_id
    journal = Journal(job)
    journal.process(case, 1, threads=1, spinning="on")
    journal.process(case, 2, threads=1, spinning="off")
    made = analysed(run, job, journal)
    assert row(made, 3).effective == {"threads": 1, "spinning": "off"} and row(made, 4).effective == {}


def test_a_row_knows_its_blocks_and_has_all_that_its_rung_knows(run, job):
    decided = job.cases[3].case_id
    made = analysed(run, job, Journal(job).blocks(1, 4).blocks(5, 6, without={decided}))
    assert (row(made, 3).blocks, row(made, 4).blocks) == (4, 6)
    rung, found = run.ladders[0].rungs[3], row(made, 3)
    assert (found.depth, found.macs, found.accuracy) == (rung.cost.depth, rung.cost.macs, rung.accuracy)
    assert (found.model, found.task, found.variant) == ("resnet18", "digits", rung.variant.name)
    control = next(s for s in made.cases if s.method == "control")
    assert (control.rung, control.removed, control.eligible, control.model) == (None, None, None, "resnet10")


def test_every_null_of_a_row_has_its_reason(run, job):
    journal = Journal(job).blocks(1, 1)
    journal.failed(job.cases[2].case_id, 2)
    for summary in analysed(run, job, journal).cases:
        nulls = {key for key, value in asdict(summary).items() if value is None}
        assert nulls - {"setting", "accuracy_removed", "accuracy_moved"} <= set(summary.reasons)


# --- and in words --------------------------------------------------------------------------------------------------


def test_every_number_of_the_protocol_is_documented_with_its_value():
    text = (content.ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| `")]
    told = {}
    for names, values in rows:
        names = [name.strip("` ") for name in names.split(",")]
        told |= dict(zip(names, [values] if len(names) == 1 else values.split(", "), strict=True))
    protocol = asdict(wire.Protocol())
    assert told.keys() == protocol.keys()
    assert [float(n) for n in told.pop("looks").split(",")] == list(protocol.pop("looks"))
    assert told.pop("regime") == protocol.pop("regime")
    assert {name: float(value) for name, value in told.items()} == protocol


# --- virtual devices -----------------------------------------------------------------------------------------------


def test_emulated_times_reach_no_row_no_record_and_no_finding(run, job):
    journal = Journal(job).blocks(1, 8)
    real, made = analysed(run, job, journal), analysed(replace(run, virtual=True), job, journal)
    assert {case.status for case in made.cases} == {"ok"}
    assert all(case.latency_ns and not other.latency_ns for case, other in zip(real.cases, made.cases, strict=True))
    assert {case.speedup for case in made.cases} == {None}
    assert {case.reasons["latency_ns"] for case in made.cases} == {"a virtual device: its times stand for no real one"}
    assert all(case.artifact_error == 1e-7 for case in made.cases), "what is equal stays"
    (record,) = made.jobs
    assert (record.half_widths, record.floor, record.components, record.follows) == ({}, {}, {}, {})
    assert made.verdict is None and real.verdict is not None
    assert not {finding.kind for finding in made.findings} & {"noisy", "contended", "depth-without-speed", "not-steady"}


def test_a_virtual_device_s_failures_are_told_as_any_other_s(run, job):
    journal = Journal(job).blocks(1, 2)
    journal.failed(run.entries[1].case.case_id, 3)
    made = analysed(replace(run, virtual=True), job, journal)
    assert row(made, 1).status == "failed" and row(made, 1).reasons["status"] == "crash: exit status 1"
    assert "failed" in {finding.kind for finding in made.findings}
