"""What a runtime makes on the device before it is measured: once per case, apart from blocks, and never in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agent_jobs import CONTENT, Bench, processes, quick

from devices.agent import keep
from harness import wire


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, runtime="preparing")


def made(bench: Bench) -> list[str]:
    return (bench.device.workdir / "made").read_text().splitlines()


@pytest.mark.slow
def test_every_case_is_prepared_once_before_the_first_block_and_a_session_is_told_its_block(bench: Bench) -> None:
    job = bench.job(artifacts=("a", "b"), protocol=quick(looks=(3,)))
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(bench) == ["a 1", "b 1"]
    measured = processes(bench.journal(job))
    assert {event.block for event in measured} == {1, 2, 3}
    assert all(event.effective["block"] == event.block for event in measured)


@pytest.mark.slow
def test_a_case_that_cannot_be_prepared_fails_alone_and_says_so(bench: Bench) -> None:
    job = bench.job(artifacts=("a", "unbuildable"), protocol=quick())
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(bench) == ["a 1", "unbuildable 1", "unbuildable 1"]  # tried twice
    (failed,) = [event for event in bench.journal(job) if isinstance(event, wire.FailedEvent)]
    assert failed.final and failed.detail.startswith("could not be prepared: RuntimeError: no such operator")
    reply = bench.device.reply(job)
    assert reply is not None and list(reply.failed) == [job.cases[1].case_id]
    assert {event.case_id for event in processes(bench.journal(job))} == {job.cases[0].case_id}


def test_preparing_counts_neither_against_the_budget_nor_into_the_journal(bench: Bench) -> None:
    job = bench.job(artifacts=("a", "b"), protocol=quick())
    bench.run(job)
    assert bench.journal(job)[0].kind == "start"


def test_built_engines_are_among_what_a_full_workdir_gives_up(tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "old").write_bytes(b"x" * 100)
    os.utime(tmp_path / "engines" / "old", (1, 1))
    (tmp_path / "engines" / "new").write_bytes(b"x" * 100)
    assert keep.trim(tmp_path, set(), 100) == 100
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["new"]
