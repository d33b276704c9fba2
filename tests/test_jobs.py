from __future__ import annotations

from pathlib import Path

import pytest
from agent_jobs import Bench
from test_store import RUN

from harness import following, jobs, store, wire
from harness.errors import DeviceError
from harness.transport import Local


def piecewise(bench: Bench, journal: bytes) -> Local:
    """The bench's device over a line that carries little more than the journal's longest line at a time."""
    longest = max(map(len, journal.splitlines(keepends=True)))
    return Local("bench", bench.device.workdir, piece_bytes=longest)


def run_folder(tmp_path: Path, job: wire.Job, copy: bytes) -> Path:
    folder = store.create(tmp_path / "results", RUN)
    store.save_job(folder, job)
    if copy:
        store.append_journal(folder, job.runtime, copy)
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def job(bench: Bench) -> wire.Job:
    job = bench.job(["a", "b"])
    bench.run(job)
    return job


def test_a_journal_longer_than_a_piece_is_copied_whole(bench: Bench, job: wire.Job, tmp_path: Path) -> None:
    journal = bench.device.follow(job, 0)
    folder = run_folder(tmp_path, job, b"")
    following.follow(piecewise(bench, journal), folder, job, lambda progress: None)
    assert store.journal_bytes(folder, job.runtime) == journal
    assert store.load_reply(folder, job.runtime) is not None


def test_the_device_s_longer_journal_is_never_shortened(bench: Bench, job: wire.Job, tmp_path: Path) -> None:
    journal = bench.device.follow(job, 0)
    lines = journal.splitlines(keepends=True)
    folder = run_folder(tmp_path, job, b"".join(lines[:-2]))
    jobs.give_back(piecewise(bench, journal), folder, job)
    bench.device.restore_journal(job, b"".join(lines[:-2]))
    assert bench.device.follow(job, 0) == journal


def test_a_device_that_lost_its_journal_gets_the_copy_back(bench: Bench, job: wire.Job, tmp_path: Path) -> None:
    journal = bench.device.follow(job, 0)
    folder = run_folder(tmp_path, job, journal)
    file = bench.device.workdir / "jobs" / job.job / "events.jsonl"
    file.write_bytes(journal.splitlines(keepends=True)[0])
    jobs.give_back(piecewise(bench, journal), folder, job)
    assert bench.device.follow(job, 0) == journal


def test_a_reply_that_promises_more_than_the_journal_holds_is_refused(
    bench: Bench, job: wire.Job, tmp_path: Path
) -> None:
    file = bench.device.workdir / "jobs" / job.job / "events.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    folder = run_folder(tmp_path, job, b"")
    with pytest.raises(DeviceError, match="promises"):
        following.follow(bench.device, folder, job, lambda progress: None)
    assert store.load_reply(folder, job.runtime) is None


def test_a_journal_without_end_is_refused_before_it_fills_the_memory(
    bench: Bench, job: wire.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_MOST_BYTES", 1000)
    journal = bench.device.workdir / "jobs" / job.job / "events.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes(b"\n" * 2000)
    with pytest.raises(DeviceError, match=f"the journal of {job.job} exceeds"):
        jobs.give_back(bench.device, tmp_path, job)
