"""Whatever is killed, and whenever: nothing measured is lost, and `--resume` finishes the rest, each (case, block) once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_jobs import CONTENT, Bench, quick
from command import Cli, Done

from harness import store, wire

MAIN = ("run", "--device", "local", "--model", "tiny", "--method", "order", "--runtime", "empty", "--budget", "8")
PATIENCE_S = 120


@pytest.fixture
def warm(cli: Cli) -> Cli:
    """A folder in which ladder and artifacts are already cached, so that kills hit measuring too."""
    assert cli(*MAIN, "--budget", "1").code == 0
    shutil.rmtree(cli.folder / "results")
    return cli


def agent_pid(cli: Cli) -> int | None:
    """The agent that holds the workdir's lock; it signs with its process id."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads((cli.folder / "workdir" / "lock").read_text())["pid"])
    return None


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def until_some_are_measured(cli: Cli) -> None:
    """Wait until the run's copy of the journal holds a few processes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if cli.runs and store.journal_bytes(cli.runs[0], "empty").count(b"process") > 5:
            return
        time.sleep(0.1)
    raise AssertionError("nothing was measured")


def finish(cli: Cli) -> Done:
    """Resume until the run is done, however often that takes (an agent of the run may still be at work)."""
    (folder,) = cli.runs
    for _ in range(5):
        done = cli("run", "--resume", folder.name, "--json")
        if done.code == 0:
            return done
    raise AssertionError(done.err)


def require_each_once(folder: Path) -> None:
    """Every complete block holds every (case, replicate) exactly once as a last attempt; seq has no gap; copies agree."""
    events = store.events(folder, "empty")  # reading checks that seq runs 0, 1, 2, ...
    job = store.load_job(folder, "empty")
    assert job is not None
    counted: dict[tuple[str, int, int], list[int]] = {}
    for event in events:
        if isinstance(event, wire.ProcessEvent):
            counted.setdefault((event.case_id, event.block, event.replicate), []).append(event.attempt)
    assert all(attempts == sorted(set(attempts)) for attempts in counted.values()), "an attempt stands twice"
    (end,) = [event for event in events if isinstance(event, wire.EndEvent)]
    first_look = min(end.blocks, job.protocol.looks[0])
    wanted = {(c.case_id, b, r) for c in job.cases for b in range(1, first_look + 1) for r in range(c.replicates)}
    assert wanted <= set(counted)
    samples = store.frames(folder).samples
    valid = (
        samples[samples.valid & samples.phase.eq("timed")].groupby(["case_id", "block", "replicate"]).attempt.nunique()
    )
    assert (valid == 1).all() and len(valid) == len(counted)


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["controller", "agent", "both"])
def test_killing_at_many_moments_loses_nothing_and_resume_finishes_the_rest(warm: Cli, victims: str) -> None:
    moments = random.Random(victims)
    process = warm.start(*MAIN, "--json")
    for _ in range(6):
        time.sleep(moments.uniform(0.05, 2.5))
        if victims in ("controller", "both"):
            kill(process.pid)
        if victims in ("agent", "both"):
            kill(agent_pid(warm))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.1 if victims == "agent" else PATIENCE_S)
        if process.poll() is None:
            continue
        before = [store.journal_bytes(folder, "empty") for folder in warm.runs]
        process = (
            warm.start("run", "--resume", warm.runs[0].name, "--json") if warm.runs else warm.start(*MAIN, "--json")
        )
        for folder, lines in zip(warm.runs, before, strict=False):
            assert store.journal_bytes(folder, "empty").startswith(lines)
    process.communicate(timeout=PATIENCE_S)
    shown = finish(warm).json
    assert {case["status"] for case in shown["cases"]} == {"ok"}
    require_each_once(warm.runs[0])


@pytest.mark.slow
def test_killing_while_the_ladder_is_trained_loses_no_finished_rung(cli: Cli) -> None:
    words = ("run", "--device", "local", "--model", "tiny", "--runtime", "empty", "--budget", "3", "--json")
    moments = random.Random(1)
    process = cli.start(*words)
    for _ in range(4):
        time.sleep(moments.uniform(1.5, 4.0))
        os.killpg(process.pid, signal.SIGKILL)  # the controller and its children, as a closed terminal would
        process.communicate(timeout=PATIENCE_S)
        if cli.runs:
            process = cli.start("run", "--resume", cli.runs[0].name, "--json")
        else:
            process = cli.start(*words)
    process.communicate(timeout=PATIENCE_S)
    assert {case["status"] for case in finish(cli).json["cases"]} == {"ok"}
    require_each_once(cli.runs[0])


@pytest.mark.slow
def test_a_child_that_dies_keeps_its_last_words_and_going_on_is_not_all_that_is_said(cli: Cli) -> None:
    own = cli.folder / "own" / "models" / "tasks"
    own.mkdir(parents=True)
    die = "    import os\n    os.write(2, b'a fault of its own\\n')\n    os.abort()\n"
    (own / "mine.py").write_text(f"CLASSES, SHAPE = 10, (3, 16, 16)\n\n\ndef load(data_dir):\n{die}")
    content = ("--content", str(cli.folder / "own"))
    words = ("run", "--device", "local", "--model", "tiny", "--task", "mine", "--runtime", "empty", "--no-controls")
    first = cli(*content, *words)
    (folder,) = cli.runs
    for done in (first, cli(*content, "run", "--resume", folder.name)):
        assert done.code == 1 and "ended without a result (signal 6)" in done.err, done.err
        assert "a fault of its own" in done.err and f"go on with: harness run --resume {folder.name}" in done.err
        assert "If it dies there again, going on repeats it" in done.err


@pytest.mark.slow
def test_ctrl_c_stops_the_agent_keeps_what_is_measured_and_exits_130(warm: Cli) -> None:
    process = warm.start(*MAIN)
    until_some_are_measured(warm)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "--resume" in err and "Traceback" not in err
    (folder,) = warm.runs
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    kept = store.journal_bytes(folder, "empty")
    time.sleep(1.0)
    journal = next((warm.folder / "workdir" / "jobs").glob("*/events.jsonl"))
    size = journal.stat().st_size
    time.sleep(1.5)
    assert journal.stat().st_size == size, "the agent goes on after Ctrl-C"
    assert warm("show").code == 0
    finish(warm)
    assert store.journal_bytes(folder, "empty").startswith(kept)
    require_each_once(folder)


@pytest.mark.slow
def test_a_device_that_lost_its_disk_gets_its_journal_back(warm: Cli) -> None:
    process = warm.start(*MAIN)
    time.sleep(4)
    kill(process.pid)
    kill(agent_pid(warm))
    process.communicate(timeout=PATIENCE_S)
    (folder,) = warm.runs
    kept = store.journal_bytes(folder, "empty")
    shutil.rmtree(warm.folder / "workdir")
    finish(warm)
    assert store.journal_bytes(folder, "empty").startswith(kept)
    require_each_once(folder)


@pytest.mark.slow
def test_a_damaged_copy_of_the_journal_is_set_aside_and_made_anew_from_the_device_s(warm: Cli) -> None:
    process = warm.start(*MAIN)
    until_some_are_measured(warm)
    kill(process.pid)
    process.communicate(timeout=PATIENCE_S)
    (folder,) = warm.runs
    copy = folder / "jobs" / "empty" / "events.jsonl"
    copy.write_bytes(copy.read_bytes()[:1000] + b"\0\n")
    finish(warm)
    require_each_once(folder)
    assert copy.with_suffix(".damaged").is_file()


@pytest.mark.slow
def test_a_second_harness_on_the_same_run_is_refused_and_harms_nothing(warm: Cli) -> None:
    process = warm.start(*MAIN)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not warm.runs:
        time.sleep(0.05)
    refused = warm("run", "--resume", warm.runs[0].name)
    assert refused.code == 1 and "another harness is at work on this run" in refused.err
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    require_each_once(warm.runs[0])


@pytest.mark.slow
def test_a_resume_with_a_wrong_word_leaves_the_run_as_it_was(warm: Cli) -> None:
    own = warm.folder / "own" / "models"
    own.mkdir(parents=True)
    (own / "mine.py").write_text((Path(__file__).parents[1] / "models" / "tiny.py").read_text())
    shutil.copy(Path(__file__).parents[1] / "models" / "_resnet.py", own)
    process = warm.start("--content", str(own.parent), *MAIN, "--model", "mine")
    until_some_are_measured(warm)
    kill(process.pid)
    kill(agent_pid(warm))
    process.communicate(timeout=PATIENCE_S)
    kept = store.journal_bytes(warm.runs[0], "empty")
    done = warm("run", "--resume", warm.runs[0].name)
    assert done.code == 2 and 'no model "mine"' in done.err
    assert store.journal_bytes(warm.runs[0], "empty") == kept
    again = warm("--content", str(own.parent), "run", "--resume", warm.runs[0].name)
    assert again.code == 0, again.err
    require_each_once(warm.runs[0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 260 MB to fill; only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_found_before_the_long_work(warm: Cli, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"\0" * (100 * 2**20))
    done = warm(*MAIN, "--results", str(small_disk / "results"))
    assert done.code == 1
    assert "MiB free, a run needs" in done.err and "--results" in done.err
    assert not (small_disk / "results").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_while_measuring_loses_nothing(warm: Cli, small_disk: Path) -> None:
    results = small_disk / "results"
    process = warm.start(*MAIN, "--results", str(results))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not list(results.glob("local/*/jobs/empty/events.jsonl")):
        time.sleep(0.1)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 2**16)
            file.flush()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    assert "No space left" in err and "--resume" in err
    ballast.unlink()
    (folder,) = results.glob("local/*")
    for _ in range(5):
        done = warm("run", "--resume", folder.name, "--results", str(results), "--json")
        if done.code == 0:
            break
    assert done.code == 0, done.err
    require_each_once(folder)


@pytest.mark.slow
def test_a_device_taken_while_the_ladder_is_made_is_waited_for_where_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    cli = Cli(tmp_path, tmp_path / "a cache of its own")
    process = cli.start(*MAIN, "--wait", "--json")
    deadline = time.monotonic() + PATIENCE_S
    while not cli.runs:  # looked at, and free
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    other = Bench(tmp_path, runtime="faulty")  # the same workdir
    job = other.job(["sleep"], quick(process_limit_s=60.0))
    other.device.start(other.bundle, job)
    lines = iter(process.stderr or ())
    assert any("waiting for local: it is held by run run" in line for line in lines)
    assert other.device.stop(job.job)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and {case["status"] for case in json.loads(out)["cases"]} == {"ok"}
