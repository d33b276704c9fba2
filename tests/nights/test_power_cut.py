"""A power cut at any moment of a night: what was told is on the disk, all of it can be read, and the next nightly goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import power_cut
import pytest
from command import Cli
from power_cut import Call, Disk

from harness import store
from harness.store import nights

CHEAP = "{rungs: 1, budget: 2, controls: false, energy: none}"
WHOLE = ("run.json", "job.json", "reply.json", ".parquet")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(power_cut.why_not() is not None, reason=str(power_cut.why_not())),
]


@dataclass(frozen=True)
class Traced:
    """A night that was traced: the calls of its processes; what it said went to `said`."""

    cli: Cli
    calls: tuple[Call, ...]
    said: Path

    def disks(self) -> Iterator[tuple[Disk, Call]]:
        """Yield the disk after each call that changed it or said something."""
        disk = Disk(self.cli.folder)
        for call in self.calls:
            if disk.apply(call) or self.speaks(call):
                yield disk, call

    def speaks(self, call: Call) -> bool:
        return call.name == "write" and call.of == str(self.said)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Traced:
    cli = Cli(tmp_path_factory.mktemp("night"), shared_cache)
    (cli.folder / "inventory.yaml").write_text(
        f"devices:\n  local: {{profile: host, runtimes: [empty], workdir: {cli.folder / 'workdir'}}}\n"
        f"nightly:\n  canary: {{words: {CHEAP}}}\n"
        f"  matrix: [{{devices: [local], models: [tiny], methods: [order], words: {CHEAP}}}]\n"
    )
    log, said = cli.folder / "trace.log", cli.folder / "said.txt"
    words = (*power_cut.traced(log), sys.executable, "-m", "harness", "nightly")
    with said.open("wb") as out:
        done = subprocess.run(words, cwd=cli.folder, env=cli.env, stdout=out, stderr=out, timeout=300, check=False)
    if done.returncode != 0 and "ptrace" in said.read_text():
        pytest.skip("tracing is not allowed here: " + said.read_text())
    assert done.returncode == 0, said.read_text()
    return Traced(cli, tuple(power_cut.calls(log)), said)


def in_results(paths: list[str], root: Path) -> list[str]:
    """Paths of a run or a night: not the lock, which keeps nothing."""
    return [path for path in paths if path.startswith(f"{root}/results/") and not path.endswith("/.lock")]


def test_the_played_disk_is_the_one_that_the_night_left(night: Traced) -> None:
    disk = Disk(night.cli.folder)
    for call in night.calls:
        disk.apply(call)
    there = {str(file) for name in power_cut.KEPT for file in (night.cli.folder / name).rglob("*")}
    assert there == set(disk.names) - {str(night.cli.folder / name) for name in power_cut.KEPT}
    for path, file in disk.names.items():
        assert file.data is None or bytes(file.data) == Path(path).read_bytes(), path


def test_whatever_it_says_all_that_it_wrote_until_then_is_on_the_disk(night: Traced) -> None:
    spoken = 0
    for disk, call in night.disks():
        if night.speaks(call):
            spoken += 1
            assert not in_results(disk.unsynced(), night.cli.folder), call.texts
    assert spoken >= 5
    assert not in_results(disk.unsynced(), night.cli.folder)


def test_at_every_moment_files_are_whole_or_absent_and_rows_that_were_told_have_their_runs(
    night: Traced,
) -> None:
    told: set[str] = set()
    looked = 0
    for disk, call in night.disks():
        if night.speaks(call):
            told = {row["run"] for book in books(disk) for row in book["rows"]}
        if call.name == "write":
            continue
        for tree in (disk.kept(), disk.hasty()):
            looked += 1
            require_readable(tree)
            found = [json.loads(data) for path, data in tree.items() if is_book(path) and data]
            runs = {row["run"] for book in found for row in book["rows"]}
            assert told <= runs
            for run in runs:
                assert status(tree, run) == "done"
    assert looked > 100 and len(told) == 2


def books(disk: Disk) -> list[dict[str, list[dict[str, str]]]]:
    return [json.loads(bytes(file.data)) for path, file in disk.names.items() if is_book(path) and file.data]


def is_book(path: str) -> bool:
    return "/results/nights/" in path and path.endswith(".json")


def require_readable(tree: dict[str, bytes | None]) -> None:
    for path, data in tree.items():
        if data is not None and "/.tmp-" not in path:
            if path.endswith(WHOLE) or is_book(path):
                assert data, f"{path} is empty"
            if path.endswith(".json"):
                json.loads(data)
            if path.endswith(".parquet"):
                assert data[:4] == data[-4:] == b"PAR1", path


def status(tree: dict[str, bytes | None], run: str) -> str:
    (record,) = [data for path, data in tree.items() if path.endswith(f"/{run}/run.json")]
    assert record is not None
    return str(json.loads(record)["status"])


@pytest.mark.parametrize("disk, part", [("kept", 0.2), ("hasty", 0.45), ("kept", 0.7), ("hasty", 0.97)])
def test_the_next_nightly_and_show_start_on_what_is_left_and_the_night_goes_on(
    night: Traced, part: float, disk: str
) -> None:
    states = [getattr(each, disk)() for each, call in night.disks() if call.name in ("fsync", "rename")]
    tree = states[int(part * len(states))]
    cli = night.cli
    power_cut.lay(tree, cli.folder, cli.folder)
    before = nights.nights(cli.folder / "results")
    shown = cli("show", "--where", "true")
    assert "Traceback" not in shown.err and shown.code in (0, 1), shown.err
    done = cli("nightly", "--json")
    assert done.code == 0 and "Traceback" not in done.err, done.err
    if before and before[0].ended is None:
        assert done.json["night"] == before[0].night
        assert {row["outcome"] for row in done.json["rows"]} == {"measured"}
        kept = {row.run for row in before[0].rows}
        assert kept <= {row["run"] for row in done.json["rows"]}
    for row in done.json["rows"]:
        if row["run"]:
            assert store.require_whole(cli.folder / "results" / "local" / row["run"]).status == "done"
