"""Two nightlies over one folder of results: one is at work, whoever else was, wherever, and however that one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import Cli
from test_night import PATIENCE_S, rows, until, write
from test_nights_on_disk import HOLD

from harness import store
from harness.errors import StoreError
from harness.store import nights


def holder(results: Path, *before: str) -> subprocess.Popen[str]:
    """A process that holds the nights, or says why it cannot."""
    words = [*before, sys.executable, "-c", HOLD, str(results)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_of_many_that_begin_at_the_same_moment_one_is_at_work(tmp_path: Path) -> None:
    started = [holder(tmp_path) for _ in range(6)]
    said = [each.stdout.readline() for each in started if each.stdout]
    for each in started:
        each.kill()
        _, err = each.communicate()
        assert not err or "another harness nightly is at work there (process " in err
    assert sorted(said) == [""] * 5 + ["held\n"]


def test_a_lock_that_names_a_process_holds_nobody_off_unless_it_is_held(tmp_path: Path) -> None:
    with nights.held(tmp_path):
        pass
    lock = tmp_path / "nights" / ".lock"
    lock.write_text(f"process {os.getppid()} of here\n")  # that number belongs to somebody else by now, and lives
    with nights.held(tmp_path):
        assert lock.read_text().startswith(f"process {os.getpid()} of ")


def test_a_nightly_of_another_machine_is_named_with_its_machine(tmp_path: Path) -> None:
    there = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    if subprocess.run([*there, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no host of another name can be made here")
    with holder(tmp_path, *there) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"\(process {other.pid} of elsewhere\)"):
            nights.held(tmp_path).__enter__()
        other.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_nightly_that_was_killed_while_it_made_ladders_holds_the_next_one_off_no_more(tmp_path: Path) -> None:
    cli = Cli(tmp_path, tmp_path / "cache")  # one of its own: there are ladders to be made
    write(cli)
    process = cli.start("nightly")
    until(lambda: cli.runs and list((tmp_path / "cache").glob("edge-harness/*/.tmp-*")))
    assert store.load(cli.runs[0]).status == "preparing"
    os.kill(process.pid, signal.SIGKILL)
    done = cli("nightly", "--json")
    process.communicate(timeout=PATIENCE_S)
    assert done.code == 0 and set(rows(done).values()) == {"measured"}, done.err
    assert len(nights.nights(cli.folder / "results")) == 1 and len(cli.runs) == 2
