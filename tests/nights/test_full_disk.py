"""A disk that becomes full in mid-night, at any step: what was measured stays, it is said what to do, and then it goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Cli
from test_night import PATIENCE_S, rows, until, write

from harness import store
from harness.store import nights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 260 MB to fill; only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left_bytes: int) -> Path:
    """Fill a disk but for so many bytes; return what can be removed again."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        for _ in range(1000):
            found = os.statvfs(disk)
            with contextlib.suppress(OSError):  # the night has written meanwhile
                os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - left_bytes))
                return ballast
    raise AssertionError("the disk could not be filled")


def require_whole(results: Path) -> set[str]:
    """Nights can be read, and each row that was measured has its run, done and whole; return these runs."""
    runs = {str(row.run) for night in nights.nights(results) for row in night.rows if row.outcome == "measured"}
    for run in runs:
        assert store.require_whole(results / "local" / run).status == "done"
    assert all(store.load(folder) for folder in store.folders(results))
    return runs


def test_a_disk_that_is_full_before_the_night_keeps_it_from_beginning(cli: Cli, small_disk: Path) -> None:
    write(cli)
    fill(small_disk, 2**20)
    done = cli("nightly", "--results", str(small_disk / "results"))
    assert done.code == 1 and "Traceback" not in done.err, done.err
    assert f"{small_disk / 'results'}: " in done.err and "Free some space" in done.err
    assert not list(small_disk.glob("results/nights/*.json")) and not list(small_disk.glob("results/local"))


@pytest.mark.parametrize(
    "begun, left_bytes",
    [
        ("nights/*.json", 0),  # the first run's folder
        ("local/*/run.json", 2**12),  # ladders are made, and cannot be written down
        ("local/*/jobs/empty/job.json", 2**17),  # its journal
        ("local/*/jobs/empty/events.jsonl", 2**21),  # its tables, or its record
        ("local/*/samples.parquet", 2**15),  # its record, or what came of its row
        ("local/*/samples.parquet", 2**18),  # the next row
    ],
)
def test_a_disk_that_becomes_full_ends_the_night_with_a_word_and_nothing_is_lost(
    cli: Cli, small_disk: Path, begun: str, left_bytes: int
) -> None:
    write(cli)
    results = small_disk / "results"
    process = cli.start("nightly", "--results", str(results))
    until(lambda: list(results.glob(begun)))
    ballast = fill(small_disk, left_bytes)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Traceback" not in err, err
    assert (
        f"error: {results}" in err and "Free some space; nothing measured is lost: harness nightly goes on." in err
    ), err
    before, (night,) = require_whole(results), nights.nights(results)
    assert night.ended is None
    ballast.unlink()
    done = cli("nightly", "--results", str(results), "--json")
    assert done.code == 0 and set(rows(done).values()) == {"measured"}, done.err
    assert done.json["night"] == night.night and len(nights.nights(results)) == 1
    assert before <= require_whole(results)
