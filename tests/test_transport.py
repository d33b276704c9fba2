"""The local transport: files by hash, atomically; a detached agent; errors that name the device and the next move."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from agent_jobs import CONTENT, Bench, quick

from harness import bundle, transport
from harness.errors import DeviceError, WireError
from harness.records import Device, Profile
from harness.transport import Local
from harness.transport.device import owner

SLEEPY = quick(process_limit_s=60.0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def sleepy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, runtime="faulty")


def test_a_device_of_the_inventory_is_reached_in_its_own_workdir(tmp_path: Path) -> None:
    profile = Profile("host", "this machine", "x86_64", ("empty",))
    line = transport.connect(Device("desk", profile, workdir=str(tmp_path / "there")))
    transport.require_room(line.name, line.look(bundle.build("empty")), 1)
    assert (line.name, (tmp_path / "there" / "jobs").is_dir()) == ("desk", True)


def test_a_job_goes_there_and_its_reply_comes_back(bench: Bench) -> None:
    job = bench.job()
    pid = bench.device.start(bench.bundle, job)
    reply = bench.wait(job)
    assert reply.job == "job" and pid != os.getpid()
    assert len(bench.journal(job)) == reply.events
    while bench.device.alive(job):
        time.sleep(0.01)


def test_files_are_sent_once_and_an_unchanged_bundle_too(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.write_bytes(b"weights" * 1000)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert bench.device.put({sha256: source}) == 7000
    assert bench.device.put({sha256: source}) == 0
    assert (bench.device.workdir / "artifacts" / sha256).read_bytes() == source.read_bytes()


def test_a_file_that_is_not_what_its_name_says_is_refused_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.write_bytes(b"damaged")
    with pytest.raises(DeviceError, match=r"artifact: its bytes have SHA-256"):
        bench.device.put({"0" * 64: source})
    assert list((bench.device.workdir / "artifacts").iterdir()) == []


def test_a_half_sent_file_is_sent_again(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    bench.device.put({sha256: source})
    (bench.device.workdir / "artifacts" / sha256).write_bytes(b"wei")
    assert bench.device.put({sha256: source}) == 7


def test_following_gives_whole_lines_from_where_it_was(bench: Bench) -> None:
    job = bench.job()
    assert bench.device.follow(job, 0) == b""
    (bench.device.workdir / "jobs" / "job" / "events.jsonl").write_bytes(b"one\ntwo\nthr")
    assert bench.device.follow(job, 0) == b"one\ntwo\n"
    assert bench.device.follow(job, 4) == b"two\n"
    assert bench.device.follow(job, 8) == b""


def test_a_journal_that_the_device_lost_is_given_back_and_a_longer_one_is_kept(bench: Bench) -> None:
    job = bench.job()
    bench.device.restore_journal(job, b"one\ntwo\n")
    assert bench.device.follow(job, 0) == b"one\ntwo\n"
    bench.device.restore_journal(job, b"one\n")
    assert bench.device.follow(job, 0) == b"one\ntwo\n"


def test_a_runtime_that_is_not_there_is_named(sleepy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "content" / "runtimes"
    folder.mkdir(parents=True)
    (folder / "gone.py").write_text("def versions():\n    import no_such_package\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(folder.parent))
    with pytest.raises(DeviceError, match="device bench: runtime gone does not work there: ModuleNotFoundError"):
        sleepy.device.probe(bundle.build("gone"), "gone")


def test_a_runtime_that_kills_the_interpreter_is_a_finding_not_the_end(
    sleepy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "content" / "runtimes"
    folder.mkdir(parents=True)
    (folder / "cruel.py").write_text("def versions():\n    import os\n    os.kill(os.getpid(), 4)\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(folder.parent))
    with pytest.raises(DeviceError, match="does not work there: SIGILL"):
        sleepy.device.probe(bundle.build("cruel"), "cruel")


def test_a_busy_device_is_refused_with_its_holder_s_name(sleepy: Bench) -> None:
    first, second = sleepy.job(["sleep"], SLEEPY, "first"), sleepy.job(["fine"], SLEEPY, "second")
    pid = sleepy.device.start(sleepy.bundle, first)
    try:
        assert sleepy.device.alive(first) and not sleepy.device.alive(second)
        signed = {"run": "run", "job": "first", "pid": pid, "agent": sleepy.bundle.name, "owner": owner()}
        assert signed.items() <= (sleepy.device.holder() or {}).items()
        held = rf"device bench: .*is held by run run of {owner()} \(job first, pid {pid}\)"
        with pytest.raises(DeviceError, match=held):
            sleepy.device.start(sleepy.bundle, second)
        assert not sleepy.device.stop("second")
    finally:
        assert sleepy.device.stop("first")
    assert sleepy.device.holder() is None and sleepy.device.reply(first) is None
    assert not sleepy.device.stop()


def test_an_agent_is_stopped_by_its_own_bundle_whatever_others_are_there(sleepy: Bench) -> None:
    job = sleepy.job(["sleep"], SLEEPY)
    sleepy.device.start(sleepy.bundle, job)
    (sleepy.device.workdir / "agents" / "agent-ffffffffffffffff.pyz").write_text("raise SystemExit('of another time')")
    assert sleepy.device.stop(job.job) and sleepy.device.holder() is None


def test_an_agent_that_is_gone_already_counts_as_stopped(sleepy: Bench) -> None:
    job = sleepy.job(["sleep"], SLEEPY)
    sleepy.device.start(sleepy.bundle, job)
    gone = subprocess.Popen(["true"])
    gone.wait()
    lock = sleepy.device.workdir / "lock"
    holder = json.loads(lock.read_text())
    lock.write_text(json.dumps({**holder, "pid": gone.pid}))  # as when it ends between a look and the signal
    try:
        assert sleepy.device.stop(job.job)
    finally:
        lock.write_text(json.dumps(holder))
        assert sleepy.device.stop(job.job) and not sleepy.device.alive(job)


def test_an_agent_that_is_killed_says_nothing_and_is_not_alive(sleepy: Bench) -> None:
    job = sleepy.job(["sleep"], SLEEPY)
    os.kill(sleepy.device.start(sleepy.bundle, job), signal.SIGKILL)
    end = time.monotonic() + 10
    while sleepy.device.alive(job):
        assert time.monotonic() < end
    assert sleepy.device.reply(job) is None


def test_an_agent_that_cannot_write_its_journal_says_why_in_its_log(sleepy: Bench) -> None:
    job = sleepy.job(["fine"], SLEEPY)
    (sleepy.device.workdir / "jobs" / "job" / "reply.json.tmp").mkdir()
    sleepy.device.start(sleepy.bundle, job)
    end = time.monotonic() + 30
    while sleepy.device.alive(job):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert "IsADirectoryError" in sleepy.device.log_tail(job)


def test_too_little_room_is_found_before_the_work(bench: Bench) -> None:
    with pytest.raises(DeviceError, match=r"device bench: \d+ MiB free in .*, 1099511627776 MiB are needed"):
        transport.require_room("bench", bench.device.look(bench.bundle), 2**60)


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="no /proc here")
def test_a_workdir_that_cannot_be_written_is_found_before_the_work(bench: Bench) -> None:
    with pytest.raises(DeviceError, match=r"device local: /proc/sys/edge-harness.*: "):
        Local("local", Path("/proc/sys/edge-harness")).look(bench.bundle)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"v": 2}', "garbage"])
def test_a_reply_that_breaks_the_format_is_refused(bench: Bench, text: str) -> None:
    job = bench.job()
    (bench.device.workdir / "jobs" / "job" / "reply.json").write_text(text)
    with pytest.raises(WireError):
        bench.device.reply(job)


def test_an_answer_that_is_not_an_answer_is_an_error_of_the_device(bench: Bench, tmp_path: Path) -> None:
    impostor = tmp_path / "python"
    impostor.write_text("#!/bin/sh\necho hello; echo no idea >&2; exit 7\n")
    impostor.chmod(0o755)
    with pytest.raises(DeviceError, match="device odd: probe exited with 7: no idea"):
        Local("odd", tmp_path / "odd", str(impostor)).probe(bench.bundle, "empty")
    with pytest.raises(DeviceError, match="device odd: probe failed"):
        Local("odd", tmp_path / "odd", str(tmp_path / "nowhere")).probe(bench.bundle, "empty")


@pytest.mark.parametrize(
    "answer",
    ['{"error": "text"}', '{"error": {"type": "__doc__"}}', '{"error": {"type": "UsageError"}}', "{}", '{"pid": "x"}'],
)
def test_whatever_a_device_answers_is_its_error_and_never_the_user_s(bench: Bench, tmp_path: Path, answer: str) -> None:
    impostor = tmp_path / "python"
    impostor.write_text(f"#!/bin/sh\necho '{answer}'\n")
    impostor.chmod(0o755)
    odd = Local("odd", tmp_path / "odd", str(impostor))
    for ask in (lambda: odd.probe(bench.bundle, "empty"), lambda: odd.start(bench.bundle, bench.job())):
        with pytest.raises(DeviceError, match="device odd: "):
            ask()
