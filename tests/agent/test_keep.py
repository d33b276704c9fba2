"""What a workdir keeps: a job's own files and what may still be asked for; the rest goes, least recently used first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from agent_jobs import Bench, quick

from devices.agent import keep
from harness import wire
from harness.errors import DeviceError

SLEEPY = quick(process_limit_s=60.0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def kept(bench: Bench) -> set[str]:
    """The names of the artifacts and jobs that a workdir holds."""
    return {path.name for kind in ("artifacts", "jobs") for path in (bench.device.workdir / kind).iterdir()}


def age(folder: Path, days: float = 15000) -> None:
    """Make everything as old as can be, or so many days."""
    then = time.time() - days * 24 * 3600
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def files_of(job: wire.Job) -> set[str]:
    return {job.job, *(file.sha256 for file in job.files())}


def trim(bench: Bench, job: wire.Job, keep_bytes: int = 0) -> int:
    return keep.trim(bench.device.workdir, files_of(job), keep_bytes)


def test_beyond_its_cap_a_workdir_keeps_the_job_s_own_files_and_jobs_without_an_end(bench: Bench) -> None:
    ended, begun = bench.job(["a", "b"], name="ended"), bench.job(["c"], name="begun")
    bench.run(ended)
    job = bench.job(["b", "d"], name="next")
    age(bench.device.workdir)
    age(bench.device.workdir / "jobs" / begun.job, days=29)
    assert trim(bench, job) > 0
    assert kept(bench) == files_of(job) | {begun.job}


def test_a_job_without_an_end_goes_once_nobody_has_touched_any_of_its_files_for_thirty_days(bench: Bench) -> None:
    begun, going, ahead = (bench.job(["c"], name=name) for name in ("begun", "going", "ahead"))
    job = bench.job(["b", "d"], name="next")
    folder = bench.device.workdir / "jobs"
    for each in (going, ahead):
        (folder / each.job / "events.jsonl").write_text("")
    age(bench.device.workdir)
    age(folder / begun.job, days=31)
    age(folder / ahead.job, days=-400)  # written with the right time, read before the clock has been set
    os.utime(folder / going.job / "events.jsonl")
    trim(bench, job, 2**40)
    assert begun.job in kept(bench), "there is room"
    assert trim(bench, job) > 0
    assert kept(bench) == files_of(job) | {going.job, ahead.job}


def test_cleaning_spares_a_job_without_an_end_for_thirty_days(bench: Bench) -> None:
    cut_off, abandoned = bench.job(["c"], name="cut-off"), bench.job(["c"], name="abandoned")
    age(bench.device.workdir / "jobs" / cut_off.job, days=29)
    age(bench.device.workdir / "jobs" / abandoned.job, days=31)
    bench.device.clean(bench.bundle)
    assert {path.name for path in (bench.device.workdir / "jobs").iterdir()} == {cut_off.job}


def test_what_somebody_may_be_about_to_use_or_to_fetch_is_spared(bench: Bench) -> None:
    ended, begun = bench.job(["a", "b"], name="ended"), bench.job(["c"], name="begun")
    bench.run(ended)
    job = bench.job(["b", "d"], name="next")
    assert trim(bench, job) == 0
    assert kept(bench) == files_of(job) | files_of(ended) | files_of(begun)


def test_what_a_killed_transfer_left_half_written_goes_in_time(bench: Bench) -> None:
    job = bench.job(["a"], name="one")
    leftovers = [bench.device.workdir / "artifacts" / name for name in (".tmp-0123", ".part-4567")]
    for leftover in leftovers:
        leftover.write_text("half")
    trim(bench, job)
    assert all(leftover.exists() for leftover in leftovers)
    for leftover in leftovers:
        os.utime(leftover, (0, 0))
    trim(bench, job, 2**40)
    assert not any(leftover.exists() for leftover in leftovers)


def test_what_was_used_least_recently_goes_first_and_no_more_than_must(bench: Bench) -> None:
    jobs = [bench.job([text * 1000], name=text) for text in "abc"]
    folder = bench.device.workdir / "artifacts"
    artifacts = [folder / job.cases[0].artifact.sha256 for job in jobs]
    for second, artifact in enumerate(artifacts):
        os.utime(artifact, (1000 + second, 1000 + second))
    bench.device.put({artifacts[0].name: bench.folder / artifacts[0].name})  # used again
    trim(bench, jobs[2], sum(path.stat().st_size for path in folder.iterdir()) - 1)
    assert [artifact.exists() for artifact in artifacts] == [True, False, True]


def test_environments_wheels_and_agents_go_too_and_a_description_with_its_environment(bench: Bench) -> None:
    job, root = bench.job(["a"]), bench.device.workdir
    for name in ("envs/0123", "envs/4567/lib"):
        (root / name).mkdir(parents=True)
    for name in ("envs/0123.json", "envs/4567.json", "wheels/89ab", "agents/agent-old.pyz"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    age(root)
    keep.trim(root, files_of(job) | {"4567"}, 0)
    left = {path.name for kind in ("envs", "wheels", "agents") for path in (root / kind).iterdir()}
    assert left == {"4567", "4567.json"}


def test_a_folder_that_goes_loses_its_name_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, root = bench.job(["a"]), bench.device.workdir
    (root / "envs" / "0123" / "lib").mkdir(parents=True)
    age(root)
    monkeypatch.setattr(keep.shutil, "rmtree", lambda path, **_: None)  # the power goes before the first file has
    keep.trim(root, files_of(job), 0)
    assert [path.name for path in (root / "envs").iterdir()] == [".gone-0123"]
    monkeypatch.undo()
    age(root)
    keep.trim(root, files_of(job), 0)
    assert list((root / "envs").iterdir()) == []


@pytest.mark.slow
def test_an_agent_s_start_trims_what_its_job_does_not_need(bench: Bench) -> None:
    old = bench.job(["old"], name="old")
    bench.run(old)
    age(bench.device.workdir)
    bench.device.keep_bytes = 0
    job = bench.job(["new"], name="new")
    bench.device.start(bench.bundle, job)
    bench.wait(job)
    assert kept(bench) == files_of(job)


@pytest.mark.slow
def test_cleaning_removes_what_a_day_has_not_seen_and_says_how_much(bench: Bench) -> None:
    old, new = bench.job(["o" * 1000], name="old"), bench.job(["n"], name="new")
    bench.run(old)
    bench.run(new)
    for name in files_of(old) - files_of(new):
        for path in bench.device.workdir.glob(f"*/{name}"):
            os.utime(path, (1000, 1000))
    assert bench.device.clean(bench.bundle) > 1000
    assert kept(bench) == files_of(new)


def test_nothing_is_cleaned_while_an_agent_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_jobs import CONTENT

    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    bench = Bench(tmp_path, runtime="faulty")
    job = bench.job(["sleep"], SLEEPY)
    bench.device.start(bench.bundle, job)
    try:
        before = kept(bench)
        with pytest.raises(DeviceError, match="is held by run run"):
            bench.device.clean(bench.bundle)
        assert kept(bench) == before
    finally:
        bench.device.stop(job.job)
