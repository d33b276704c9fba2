"""The agent as it travels: the real bundle, run by a real Python, on small real jobs."""

from __future__ import annotations

import fcntl
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_jobs import CONTENT, Bench, all_gone, counts, expected, processes, quick, workers_of

from devices.agent import lock, main, spin
from harness import wire
from harness.errors import DamagedError

_PYTHONS_38 = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))  # found before a test moves HOME
PYTHONS = [
    pytest.param(sys.executable, id="python-here"),
    pytest.param(
        str(_PYTHONS_38[0]) if _PYTHONS_38 else "",
        id="python-3.8",
        marks=pytest.mark.skipif(not _PYTHONS_38, reason="no Python 3.8 under ~/.pyenv/versions"),
    ),
]


@pytest.fixture(params=PYTHONS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, python=request.param)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, runtime="faulty")


def failures(bench: Bench, job: wire.Job) -> list[wire.FailedEvent]:
    return [event for event in bench.journal(job) if isinstance(event, wire.FailedEvent)]


# --- a job ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_case_block_and_replicate_is_measured_once_in_a_process_of_its_own(bench: Bench) -> None:
    job = bench.job(protocol=quick(looks=(2, 3)))
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    events, reply = bench.journal(job), bench.device.reply(job)
    assert reply is not None and reply.reason in ("decided", "blocks") and reply.blocks in (2, 3)
    assert counts(events).keys() >= expected(job, 2) and set(counts(events).values()) == {1}
    assert [type(events[0]), type(events[-1]), reply.events] == [wire.StartEvent, wire.EndEvent, len(events)]


def test_what_is_in_force_and_how_long_everything_took_is_written_down(bench: Bench) -> None:
    job = bench.job()
    bench.run(job)
    for process in processes(bench.journal(job)):
        assert (process.effective["threads"], process.effective["batch"]) == (1, 1)
        assert 0 < process.import_ns + process.load_ns < process.wall_ns
        assert process.warmup_ns and len(process.latency_ns) >= job.protocol.min_samples
        assert process.artifact_error == 0.0
    reply = bench.device.reply(job)
    assert reply is not None and reply.versions["python"] == reply.facts["python"]


@pytest.mark.slow
def test_the_end_says_how_narrow_the_intervals_are_and_how_many_blocks_are_missing(bench: Bench) -> None:
    job = bench.job(protocol=quick(half_width=1e-9))
    bench.run(job)
    reply = bench.device.reply(job)
    assert reply is not None and reply.reason in ("blocks", "decided")
    assert set(reply.half_widths) == {case.case_id for case in job.cases[1:]}
    for case_id, half_width in reply.half_widths.items():
        assert half_width is not None and math.isfinite(half_width)
        assert (reply.blocks_needed[case_id] == 0) == (half_width <= 1e-9)


def test_a_job_ends_on_its_budget_with_what_it_has(bench: Bench) -> None:
    job = bench.job(protocol=quick(budget_s=0.4, looks=(50,)))
    bench.run(job)
    reply = bench.device.reply(job)
    assert reply is not None and reply.reason == "budget" and reply.blocks < 50
    assert processes(bench.journal(job))


def test_a_job_of_one_case_needs_nothing_to_compare_with(bench: Bench) -> None:
    job = bench.job(["a"])
    bench.run(job)
    reply = bench.device.reply(job)
    assert reply is not None and (reply.reason, reply.blocks, reply.half_widths) == ("decided", 2, {})


# --- resume --------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_not_measured_again(bench: Bench) -> None:
    job = bench.job()
    bench.run(job)
    before = bench.device.follow(job, 0)
    (bench.device.workdir / "jobs" / "job" / "reply.json").unlink()
    bench.run(job)
    assert bench.device.follow(job, 0) == before and bench.device.reply(job) is not None


@pytest.mark.slow
def test_a_resumed_job_measures_only_what_is_missing_with_the_same_spin(bench: Bench) -> None:
    job = bench.job()
    bench.run(job)
    path = bench.device.workdir / "jobs" / "job" / "events.jsonl"
    (path.parent / "reply.json").unlink()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # torn in mid-line, as by a kill
    bench.run(job)
    events = bench.journal(job)
    assert path.read_bytes().startswith(b"".join(lines[:5]))
    assert counts(events).keys() >= expected(job, 2) and set(counts(events).values()) == {1}
    first, second = [event for event in events if isinstance(event, wire.StartEvent)]
    assert (first.resumed, second.resumed) == (False, True)
    assert first.facts["spin_rounds"] == second.facts["spin_rounds"]


@pytest.mark.slow
def test_the_next_job_spins_as_the_last_and_knows_its_best(bench: Bench) -> None:
    starts = []
    for name in ("first", "second"):
        job = bench.job(["a"], name=name)
        bench.run(job)
        starts.append(bench.journal(job)[0])
    first, second = starts
    assert isinstance(first, wire.StartEvent) and isinstance(second, wire.StartEvent)
    assert first.facts["spin_rounds"] == second.facts["spin_rounds"] and second.spin_ns["1"] <= first.spin_ns["1"]
    assert second.facts["spin_stored_ns"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", '{"cpu": 3}', "null"])
def test_a_damaged_memory_of_spins_is_no_memory(bench: Bench, text: str) -> None:
    (bench.device.workdir / "spin.json").parent.mkdir(parents=True, exist_ok=True)
    (bench.device.workdir / "spin.json").write_text(text)
    job = bench.job(["a"])
    assert bench.run(job).returncode == 0 and bench.device.reply(job) is not None


@pytest.mark.slow
def test_a_neighbour_who_is_there_for_a_whole_job_is_noticed(bench: Bench) -> None:
    protocol = quick(spin_tolerance=0.5, attempts=2)
    first = bench.job(["a"], protocol, "first", replicates=1)
    bench.run(first)
    file = bench.device.workdir / "spin.json"
    memory = json.loads(file.read_text())
    (known,) = memory.values()
    known["best_ns"]["1"] //= 4  # as if the device had been four times as fast before
    file.write_text(json.dumps(memory))
    second = bench.job(["a"], protocol, "second", replicates=1)
    bench.run(second)
    start = bench.journal(second)[0]
    assert isinstance(start, wire.StartEvent)
    assert start.facts["spin_stored_ns"] == {"1": known["best_ns"]["1"]} == start.spin_ns
    assert [(p.contended, p.attempt) for p in processes(bench.journal(second))] == [(True, 1), (True, 2)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killing_the_agent_at_many_moments_loses_nothing_and_repeats_nothing(bench: Bench, seed: int) -> None:
    job = bench.job(protocol=quick(looks=(2, 3), half_width=1e-9))
    moments = random.Random(seed)
    known = b""
    for _ in range(12):
        with bench.begin(job) as agent:
            time.sleep(moments.uniform(0, 1.2))
            agent.kill()
            agent.communicate()
        data = bench.device.follow(job, 0)
        assert data.startswith(known)
        known = data
    bench.run(job)
    events = bench.journal(job)
    assert counts(events).keys() >= expected(job, 2) and set(counts(events).values()) == {1}
    assert bench.device.reply(job) is not None


@pytest.mark.slow
def test_a_worker_dies_with_its_killed_agent(faulty: Bench) -> None:
    job = faulty.job(["sleep"])
    with faulty.begin(job) as agent:
        faulty.until(job, 2)
        while len(workers_of(faulty)) < 2:
            time.sleep(0.01)
        agent.kill()
        agent.communicate()
    assert all_gone(faulty)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_and_its_worker_with_the_journal_whole_and_no_reply(
    faulty: Bench, number: signal.Signals
) -> None:
    job = faulty.job(["fine", "sleep"])
    with faulty.begin(job) as agent:
        faulty.until(job, 3)
        agent.send_signal(number)
        agent.communicate(timeout=10)
    assert agent.returncode == 143
    assert all_gone(faulty)
    assert faulty.device.follow(job, 0).endswith(b"\n") and faulty.journal(job)
    assert faulty.device.reply(job) is None


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "cause", "detail", "processes_started"),
    [
        ("segfault", "signal", "SIGSEGV", 2),
        ("illegal", "illegal-instruction", "SIGILL: the artifact was made for cortex-a76, this processor (", 1),
        ("exit", "crash", "exit code 3", 2),
        ("raise", "error", "KeyError: 'no such operator'", 2),
        ("wrong", "wrong-output", "tolerated 0.0001", 1),
        ("nan", "wrong-output", "error inf", 1),
        ("ignore", "setting-ignored", "threads: asked for 1, in force is 4", 1),
        ("allocate", "out-of-memory", "MemoryError", 2),
        ("bad-alloc", "out-of-memory", "std::bad_alloc", 2),
    ],
)
def test_a_case_that_fails_is_given_up_with_its_cause_and_the_others_go_on(
    faulty: Bench, way: str, cause: str, detail: str, processes_started: int
) -> None:
    job = faulty.job(["fine", way, "chatter"])
    assert faulty.run(job).returncode == 0
    failed = failures(faulty, job)
    assert [event.final for event in failed] == [False, True][-processes_started:]
    assert {event.cause for event in failed} == {cause} and all(detail in event.detail for event in failed)
    reply = faulty.device.reply(job)
    assert reply is not None and list(reply.failed) == [job.cases[1].case_id] and reply.failed[job.cases[1].case_id]
    good = {key for key in expected(job, 2) if key[0] != job.cases[1].case_id}
    assert set(counts(faulty.journal(job))) == good


@pytest.mark.slow
def test_a_process_that_hangs_is_killed_after_its_limit(faulty: Bench) -> None:
    job = faulty.job(["fine", "sleep"], protocol=quick(process_limit_s=1.0))
    faulty.run(job)
    assert {event.cause for event in failures(faulty, job)} == {"timeout"}


@pytest.mark.slow
def test_a_job_whose_reference_has_failed_ends_after_the_first_look_and_says_so(faulty: Bench) -> None:
    job = faulty.job(["wrong", "fine", "chatter"])
    faulty.run(job)
    reply = faulty.device.reply(job)
    assert reply is not None and (reply.reason, reply.blocks, reply.half_widths) == (
        "reference-failed",
        2,
        {case.case_id: None for case in job.cases[1:]},
    )
    faulty.journal(job)


def test_a_job_whose_cases_have_all_failed_ends_as_failed(faulty: Bench) -> None:
    job = faulty.job(["raise", "wrong"])
    faulty.run(job)
    reply = faulty.device.reply(job)
    assert reply is not None and reply.reason == "failed" and len(reply.failed) == 2


def test_an_artifact_that_is_gone_fails_its_case_alone(faulty: Bench) -> None:
    job = faulty.job(["fine", "other"])
    (faulty.device.workdir / "artifacts" / job.cases[1].artifact.sha256).unlink()
    faulty.run(job)
    assert {event.cause for event in failures(faulty, job)} == {"error"}
    assert "FileNotFoundError" in failures(faulty, job)[0].detail


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_agent_with_whole_lines_and_the_job_goes_on_when_there_is_room(
    bench: Bench,
) -> None:
    job = bench.job()
    words = bench.command("run", str(bench.device.workdir), job.job)
    cramped = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *words]  # no file beyond 8 blocks of 512 bytes or 1 KiB
    done = subprocess.run(cramped, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "File too large" in json.loads(done.stdout)["error"]["message"]
    first = bench.journal(job)
    assert (
        bench.device.reply(job) is None and (bench.device.workdir / "jobs/job/events.jsonl").read_bytes()[-1:] == b"\n"
    )
    bench.run(job)
    assert bench.journal(job)[: len(first)] == first
    assert counts(bench.journal(job)).keys() >= expected(job, 2) and set(counts(bench.journal(job)).values()) == {1}


@pytest.fixture
def busy_machine() -> Iterator[None]:
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    yield
    for load in loads:
        load.kill()
        load.wait()


@pytest.mark.slow
def test_a_busy_machine_makes_processes_contended_and_measured_again_up_to_the_limit(
    faulty: Bench, busy_machine: None
) -> None:
    quiet = spin.calibrate(0.005) // 3  # under this load a spin takes three times as long as it would alone
    job = faulty.job(["fine"], protocol=quick(spin_tolerance=0.1, attempts=2, spin_s=0.005), replicates=1)
    start = {
        "v": 1, "seq": 0, "t_ns": 0, "kind": "start", "run": "run", "job": "job", "agent": "a", "pid": 1, "resumed": False,
        "facts": {"spin_rounds": max(1, quiet)}, "spin_ns": {"1": 100_000},
    }  # fmt: skip
    faulty.device.restore_journal(job, (json.dumps(start) + "\n").encode())
    faulty.run(job)
    found = processes(faulty.journal(job))
    assert all(process.contended for process in found)
    assert [process.attempt for process in found] == [1, 2] * 2


# --- one at a time -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_agent_is_refused_with_the_name_of_the_first(faulty: Bench) -> None:
    job = faulty.job(["sleep"])
    other = faulty.job(["fine"], name="other")
    pid = faulty.device.start(faulty.bundle, job)
    faulty.until(job, 1)
    refused = json.loads(faulty.run(other).stdout)["error"]
    assert refused["type"] == "BusyError" and f"job job, pid {pid}" in refused["message"]
    assert faulty.device.stop(job.job) and not faulty.device.alive(job)
    assert faulty.run(other).returncode == 0


@pytest.mark.slow
def test_the_lock_frees_itself_when_its_holder_is_killed(faulty: Bench) -> None:
    job = faulty.job(["sleep"])
    pid = faulty.device.start(faulty.bundle, job)
    os.kill(pid, signal.SIGKILL)
    other = faulty.job(["fine"], name="other")
    assert faulty.run(other).returncode == 0


def test_it_says_who_holds_the_lock(faulty: Bench) -> None:
    def holder() -> dict[str, object] | None:
        done = subprocess.run(faulty.command("holder", str(faulty.device.workdir)), capture_output=True, text=True)
        return json.loads(done.stdout)["holder"]  # type: ignore[no-any-return]

    assert holder() is None
    job = faulty.job(["sleep"], quick(process_limit_s=60.0))
    pid = faulty.device.start(faulty.bundle, job)
    try:
        assert (holder() or {})["pid"] == pid
        assert faulty.device.start(faulty.bundle, job) == pid, "asked again, the agent at work is the one"
    finally:
        faulty.device.stop()
    assert holder() is None


SIGNED = {"run": "r", "job": "j", "pid": 2**22, "agent": "agent-0.pyz", "owner": "ann@desk"}


@pytest.mark.parametrize(
    "text",
    [
        *(json.dumps({**SIGNED, "pid": pid}) for pid in ("7", 0, -1, True, 7.0, None, [7], 2**31, 10**40)),
        *(json.dumps({**SIGNED, key: word}) for key in ("run", "job", "agent", "owner") for word in (7, None, "a\nb")),
        json.dumps({**SIGNED, "run": "\x1b[2J"}),
        json.dumps({**SIGNED, "owner": "x" * 1000}),
        json.dumps(list(SIGNED)),
        json.dumps("run job pid agent"),
        "[" * 4096,
    ],
)
def test_a_lock_that_is_signed_with_something_else_names_nobody_and_nothing_is_killed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(main.os, "kill", lambda *call: killed.append(call))
    monkeypatch.setattr(main, "_STOP_PATIENCE_S", 0.0)
    (tmp_path / "lock").write_text(text)
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock.holder(tmp_path / "lock") == {}
        assert main.stop(str(tmp_path)) == {"stopped": None}
    assert killed == []


def test_an_agent_signs_for_whatever_an_owner_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_beat", lambda *_: None)  # it would write on into whatever gets this descriptor next
    fd = lock.acquire(tmp_path / "lock")
    try:
        lock.sign(fd, "r", "j", 7, "agent-0.pyz", "ann\n\udcff@" + "desk" * 100)
        held = lock.holder(tmp_path / "lock")
        assert held and held["pid"] == 7 and held["owner"].startswith("ann??@desk")
    finally:
        os.close(fd)


@pytest.mark.slow
def test_a_holder_s_heart_beats_in_the_lock(faulty: Bench) -> None:
    job = faulty.job(["sleep"], quick(process_limit_s=60.0))
    faulty.device.start(faulty.bundle, job)
    try:
        first, end = faulty.device.holder(), time.monotonic() + 20
        while faulty.device.holder() == first:
            assert time.monotonic() < end
            time.sleep(0.1)
        now = faulty.device.holder()
        assert first and now and {**first, "beat": None} == {**now, "beat": None}
    finally:
        faulty.device.stop()


def test_a_damaged_artifact_is_refused_at_the_start_and_removed(bench: Bench) -> None:
    job = bench.job(["a", "b"])
    file = bench.device.workdir / "artifacts" / job.cases[1].artifact.sha256
    file.write_bytes(b"X")
    with pytest.raises(DamagedError, match=r"1 of 3 files in .* are damaged or missing"):
        bench.device.start(bench.bundle, job)
    assert not file.exists() and bench.device.holder() is None


@pytest.mark.parametrize("name", ["../job", "a/b", ".."])
def test_a_job_s_name_cannot_leave_the_jobs_folder(bench: Bench, name: str) -> None:
    bench.job()
    done = subprocess.run(bench.command("run", str(bench.device.workdir), name), capture_output=True, text=True)
    assert done.returncode == 1 and "plain name" in done.stdout
