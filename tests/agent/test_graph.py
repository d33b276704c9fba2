"""What the agent tells of the networks that ran, once all is measured: never at a case's cost, never twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from agent_jobs import CONTENT, Bench, processes, quick

from devices.agent import graph
from harness import wire

LOOKED = (wire.GraphEvent, wire.CeilingsEvent)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, runtime="telling")


def finish(bench: Bench, job: wire.Job) -> list[wire.Event]:
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    return bench.journal(job)


def graphs(events: list[wire.Event]) -> dict[str, wire.GraphEvent]:
    return {event.case_id[-1]: event for event in events if isinstance(event, wire.GraphEvent)}


def walked(bench: Bench) -> list[str]:
    return (bench.device.workdir / "walked").read_text().splitlines()


def test_each_network_s_operators_and_the_ceilings_stand_before_the_end(bench: Bench) -> None:
    events = finish(bench, bench.job(artifacts=("fine", "raising")))
    kinds = [event.kind for event in events]
    assert kinds[-4:] == ["graph", "graph", "ceilings", "end"]
    fine, raising = graphs(events).values()
    (operator,) = fine.operators
    assert (operator.kind, operator.macs, operator.bytes, operator.time_ns) == ("Conv", 3, 24, None)
    assert (fine.inferences, fine.counters, fine.reasons, fine.reason) == (0, {}, {}, "")
    assert {len(text) for text in (operator.name, operator.dtype, operator.layout)} == {
        200
    }  # whatever is written into them
    assert not fine.contended
    assert (raising.operators, raising.reason) == ((), "NotImplementedError: its format is a secret")
    assert walked(bench) == ["fine 0", "raising 0"]


@pytest.mark.parametrize(("artifact", "why"), [("crashing", "SIGSEGV"), ("nonsense", "macs: must be from 0")])
def test_a_process_that_crashes_or_tells_nonsense_leaves_its_case_measured(
    bench: Bench, artifact: str, why: str
) -> None:
    job = bench.job(artifacts=("fine", artifact))
    events = finish(bench, job)
    assert why in graphs(events)["1"].reason
    assert not graphs(events)["1"].operators
    assert {event.case_id for event in processes(events)} == {case.case_id for case in job.cases}
    assert not any(isinstance(event, wire.FailedEvent) for event in events)
    reply = bench.device.reply(job)
    assert reply is not None
    assert reply.failed == {}


def test_a_runtime_that_cannot_tell_says_so_without_a_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    found = graphs(finish(bench, bench.job(artifacts=("a",))))
    assert found["0"].reason == "runtime empty does not tell the operators of what it has loaded"


@pytest.mark.slow
def test_a_profiled_job_has_times_counters_or_their_causes(bench: Bench) -> None:
    job = replace(bench.job(artifacts=("fine", "untimed")), profile=True)
    bench.device.put_job(job)
    fine, untimed = graphs(finish(bench, job)).values()
    assert (fine.operators[0].time_ns, fine.inferences) == (7, 12)
    assert (untimed.operators[0].time_ns, untimed.inferences) == (None, 0)
    assert untimed.reasons["time_ns"] == "its clock is broken"
    for event in (fine, untimed):
        assert {"instructions", "cycles", "cache-misses"} <= set(event.counters)
        unknown = {name for name, value in event.counters.items() if value is None}
        assert unknown == set(event.reasons) - {"time_ns"}
    assert walked(bench) == ["fine 1", "untimed 1"]


@pytest.mark.slow
def test_a_job_that_goes_on_does_not_look_again_at_what_its_journal_has(bench: Bench) -> None:
    job = bench.job(artifacts=("fine", "untimed"))
    before = finish(bench, job)
    folder = bench.device.workdir / "jobs" / job.job
    journal, keep = folder / "events.jsonl", next(n for n, event in enumerate(before) if event.kind == "graph") + 1
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:keep]))
    (folder / "reply.json").unlink()
    after = finish(bench, job)
    assert walked(bench) == ["fine 0", "untimed 0", "untimed 0"]
    assert [event.kind for event in after if isinstance(event, LOOKED)] == ["graph", "graph", "ceilings"]
    assert len(processes(after)) == len(processes(before))


def test_looking_does_not_count_against_the_budget() -> None:
    from devices.agent.schedule import History

    event = wire.GraphEvent(1, 1, 10**12, "graph", "0" * 16, (), "none")
    start = wire.StartEvent(1, 0, 0, "start", "run", "job", "a", 1, False, {}, {})
    assert History([start, event]).spent_ns == 0


@pytest.mark.slow
def test_a_walk_beside_a_neighbour_says_so(bench: Bench) -> None:
    job = bench.job(artifacts=("fine",), protocol=quick(spin_tolerance=0.5, attempts=1, looks=(2,)), replicates=1)
    bench.run(job)
    file = bench.device.workdir / "spin.json"
    memory = json.loads(file.read_text())
    (known,) = memory.values()
    known["best_ns"]["1"] //= 4  # as if the device had been four times as fast before
    file.write_text(json.dumps(memory))
    busy = bench.job(artifacts=("fine",), protocol=job.protocol, name="busy", replicates=1)
    assert graphs(finish(bench, busy))["0"].contended


def test_a_network_that_the_budget_never_reached_is_not_looked_at(bench: Bench) -> None:
    job = bench.job(artifacts=("fine", "untimed"), protocol=quick(budget_s=1e-6))
    assert graphs(finish(bench, job)) == {}
    assert not (bench.device.workdir / "walked").exists()
    measured = {job.cases[1].case_id}
    assert [case.label for case in graph.wanted([], job, measured)] == ["untimed"]


def test_a_job_that_does_not_want_it_looks_at_nothing_once_all_is_measured(bench: Bench) -> None:
    job = replace(bench.job(artifacts=("fine", "raising")), look=False)
    bench.device.put_job(job)
    events = finish(bench, job)
    assert not any(isinstance(event, LOOKED) for event in events) and events[-1].kind == "end"
