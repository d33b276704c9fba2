"""Runs that travel: archives, imports. Real zips, a real run, processes killed at every step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from harness import files, store
from harness.errors import HarnessError, StoreError, UsageError
from harness.report import citation
from harness.store import archives, incoming, parts

EXAMPLES = Path(__file__).resolve().parent.parent / "results" / "examples"
NAME = "20261121T063146Z-b45a"


@pytest.fixture
def run(packed: Path, tmp_path: Path) -> Path:
    """A finished run of an older version, to be written into."""
    return Path(shutil.copytree(packed.parent / "run", tmp_path / "made" / "local" / NAME))


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    shutil.copytree(EXAMPLES / "local" / NAME, folder / "run")  # the example itself may be in use
    return pack(folder / "run", folder / "run.zip")


def pack(folder: Path, out: Path) -> Path:
    return archives.pack(folder, out, citation.about(store.load(folder)))


def contents(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(out: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out


def files_of(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("version", range(1, store.SCHEMA + 1))
def test_a_record_of_every_version_is_kept_and_read_as_one_of_now(version: int, tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parent / "data" / "runs" / f"version-{version}"
    assert json.loads((folder / "run.json").read_text())["schema"] == version
    run = store.load(folder)
    assert run.schema == store.SCHEMA
    assert store.load(store.create(tmp_path, run)) == run


# --- archive ------------------------------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes_wherever_and_whenever(run: Path, packed: Path, tmp_path: Path) -> None:
    for file in run.rglob("*"):
        os.utime(file, (0, 1e9))
        file.chmod(0o700)
    (run / ".note").write_text("not the run's")
    again = pack(run, tmp_path / "deep" / "again.zip")
    assert again.read_bytes() == packed.read_bytes()
    names = list(contents(again))
    assert names == sorted(names)
    assert [file.name for file in again.parent.iterdir()] == ["again.zip"]


def test_an_archive_holds_the_raw_samples_and_its_manifest_the_sum_of_every_file(packed: Path) -> None:
    found = contents(packed)
    samples = packed.parent / "run" / "samples.parquet"
    assert found[f"{NAME}/samples.parquet"] == samples.read_bytes()
    sums = archives.read_manifest(found[f"{NAME}/MANIFEST"], "MANIFEST")
    assert {f"{NAME}/{name}" for name in sums} | {f"{NAME}/MANIFEST"} == set(found)
    assert sums["samples.parquet"] == archives.digest(samples)


def test_the_readme_says_what_it_is_how_to_cite_it_and_what_runs_it_again(packed: Path) -> None:
    text = contents(packed)[f"{NAME}/README.txt"].decode()
    for said in (
        "resnet18 on digits",
        "Verdict: noisy",
        "depth-without-speed",
        "edge-harness 0.1.0",
        "2026-11-21",
        NAME,
    ):
        assert said in text
    assert f"harness reproduce {NAME}" in text and "harness run --device local" in text
    environment = contents(packed)[f"{NAME}/environment.txt"].decode()
    assert "2.13.0+cpu" in environment and "AMD EPYC" in environment


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("run.json", lambda data: data[:-40]),
        ("samples.parquet", lambda data: data[: len(data) // 2]),
        ("state.parquet", lambda data: b"foreign"),
        ("jobs/onnxruntime/events.jsonl", lambda data: data[: data.rfind(b"\n", 0, -2) + 1]),
        ("jobs/onnxruntime/events.jsonl", lambda data: data.replace(b'"seq":9', b'"seq":8', 1)),
        ("jobs/onnxruntime/reply.json", lambda data: b"{}"),
        ("jobs/onnxruntime/reply.json", None),
        ("jobs/onnxruntime/job.json", None),
        ("samples.parquet", None),
    ],
)
def test_a_damaged_run_is_neither_archived_nor_imported_and_the_part_is_named(run, tmp_path, part, damage) -> None:
    file = run / part
    if damage is None:
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(damage(data))
        assert file.read_bytes() != data
    with pytest.raises(HarnessError, match=Path(part).name):
        archives.pack(run, tmp_path / "run.zip", {})
    with pytest.raises(HarnessError, match=Path(part).name):
        incoming.bring(run, tmp_path / "results")
    assert not (tmp_path / "run.zip").exists()
    assert files_of(tmp_path / "results") == {}


def test_an_unfinished_run_is_not_archived_and_the_way_to_finish_it_is_said(run: Path, tmp_path: Path) -> None:
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"status": "done"', '"status": "interrupted"', 1))
    with pytest.raises(StoreError, match="is not finished: its status is interrupted") as caught:
        archives.pack(run, tmp_path / "run.zip", {})
    assert f"--resume {NAME}" in caught.value.hint


def test_a_run_that_another_harness_works_on_is_not_archived(run: Path, tmp_path: Path) -> None:
    with store.held(run), pytest.raises(StoreError, match="another harness is at work"):
        archives.pack(run, tmp_path / "run.zip", {})


def test_a_link_in_a_run_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "plots" / "secret.png").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match=r"secret\.png: is a link"):
        archives.pack(run, tmp_path / "run.zip", {})
    with pytest.raises(StoreError, match=r"secret\.png: is a link"):
        incoming.bring(run, tmp_path / "results")


# --- import -------------------------------------------------------------------------------------------------------


def test_what_was_archived_comes_back_as_it_was_and_gives_the_same_archive(packed: Path, tmp_path: Path) -> None:
    brought = incoming.bring(packed, tmp_path / "results")
    assert brought.new and brought.folder == tmp_path / "results" / "local" / NAME
    assert files_of(brought.folder) == files_of(packed.parent / "run")
    assert store.find(tmp_path / "results", NAME) == brought.folder
    assert pack(brought.folder, tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    assert [each.name for each in (tmp_path / "results").iterdir()] == ["local"]


def test_a_folder_and_an_unpacked_archive_are_imported_too(run: Path, packed: Path, tmp_path: Path) -> None:
    assert incoming.bring(run, tmp_path / "one").new
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert incoming.bring(tmp_path / "unpacked" / NAME, tmp_path / "two").new
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    (tmp_path / "unpacked" / NAME / "samples.parquet").write_bytes((run / "state.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"samples\.parquet"):
        incoming.bring(tmp_path / "unpacked" / NAME, tmp_path / "three")


def test_a_run_that_is_there_is_left_as_it_is_and_another_of_its_name_is_refused(packed: Path, tmp_path: Path) -> None:
    folder = incoming.bring(packed, tmp_path).folder
    (folder / "plots" / "depth.png").write_bytes(b"drawn again")
    assert not incoming.bring(packed, tmp_path).new
    assert (folder / "plots" / "depth.png").read_bytes() == b"drawn again"
    record = store.load(folder)
    store.save(folder, record)  # upgraded: another file, though it says the same
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match=r"a run of this name is there, and its run\.json is another"):
        incoming.bring(packed, tmp_path)
    assert files_of(tmp_path) == before


ELSEWHERE = (
    "../../evil",
    f"{NAME}/../evil",
    "/etc/evil",
    f"{NAME}/jobs/../../evil",
    f"{NAME}/jobs\\evil",
    "other/run.json",
)
NOT_PARTS = (f"{NAME}/.bashrc", f"{NAME}/x.py", f"{NAME}/jobs/a/b/c", f"{NAME}/jobs/onnxruntime/a\nb")


@pytest.mark.parametrize("name", [*ELSEWHERE, *NOT_PARTS])
def test_a_name_that_leads_out_or_is_no_part_of_a_run_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    hostile = zipped(tmp_path / "hostile.zip", {**contents(packed), name: b"evil"})
    with pytest.raises(StoreError, match=r"not a file of a run|of a second run"):
        incoming.bring(hostile, tmp_path / "a" / "results")
    assert [path.name for path in tmp_path.rglob("*evil*")] == []
    assert files_of(tmp_path / "a") == {}


def test_a_link_in_an_archive_is_refused(packed: Path, tmp_path: Path) -> None:
    hostile = zipped(tmp_path / "hostile.zip", contents(packed))
    with zipfile.ZipFile(hostile, "a") as archive:
        entry = zipfile.ZipInfo(f"{NAME}/plots/link.png")
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(StoreError, match=r"link\.png' is not a file of a run"):
        incoming.bring(hostile, tmp_path / "results")


def test_a_bomb_is_refused_before_it_is_unpacked(packed: Path, tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {**contents(packed), f"{NAME}/plots/zeros.csv": bytes(64 * 2**20)})
    with pytest.raises(StoreError, match=r"zeros\.csv is 64 MiB packed into 0\.06"):
        incoming.bring(bomb, tmp_path / "results")
    many = zipped(tmp_path / "many.zip", {f"{NAME}/plots/{n}": b"" for n in range(10_001)})
    with pytest.raises(StoreError, match="10001 files"):
        incoming.bring(many, tmp_path / "results")


def test_an_edited_a_missing_and_an_added_file_are_named(packed: Path, tmp_path: Path) -> None:
    whole, part = contents(packed), f"{NAME}/plots/depth.csv"
    cases = [
        ({**whole, part: b"edited"}, r"plots/depth\.csv was edited"),
        ({name: data for name, data in whole.items() if name != part}, r"plots/depth\.csv is missing"),
        ({**whole, f"{NAME}/plots/more.csv": b"1"}, r"plots/more\.csv is not in its MANIFEST"),
        ({**whole, f"{NAME}/README.txt": b"cite me instead"}, r"README\.txt was edited"),
        ({name: data for name, data in whole.items() if "MANIFEST" not in name}, "it has no MANIFEST"),
        ({**whole, f"{NAME}/MANIFEST": b""}, "MANIFEST: damaged"),
        ({**whole, f"{NAME}/MANIFEST": b"# edge-harness archive 2\n"}, "version 2, this program reads up to 1"),
        ({**whole, f"{NAME}/MANIFEST": whole[f"{NAME}/MANIFEST"] + b"abc  ../x\n"}, "MANIFEST line 14: damaged"),
    ]
    for entries, said in cases:
        with pytest.raises(StoreError, match=said):
            incoming.bring(zipped(tmp_path / "edited.zip", entries), tmp_path / "results")
        assert files_of(tmp_path / "results") == {}


def test_a_run_from_a_newer_program_is_refused(run: Path, tmp_path: Path) -> None:
    tree = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**tree, "schema": store.SCHEMA + 1}))
    with pytest.raises(StoreError, match="Upgrade edge-harness"):
        incoming.bring(run, tmp_path / "results")


def test_a_truncated_and_a_foreign_file_are_no_archives(packed: Path, run: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for n, cut in enumerate((0, 1, 100, len(data) // 2, len(data) - 1)):
        torn = tmp_path / f"{n}.zip"
        torn.write_bytes(data[:cut])
        with pytest.raises(StoreError, match=rf"{n}\.zip.*no archive"):
            incoming.bring(torn, tmp_path / "results")
    with pytest.raises(StoreError, match="no archive"):
        incoming.bring(run / "samples.parquet", tmp_path / "results")
    with pytest.raises(StoreError, match=r"it has no run\.json"):
        incoming.bring(run / "jobs", tmp_path / "results")
    with pytest.raises(UsageError, match="no such file or folder"):
        incoming.bring(tmp_path / "nothing.zip", tmp_path / "results")


@pytest.mark.slow
def test_a_byte_turned_anywhere_is_refused_or_changes_nothing(packed: Path, tmp_path: Path) -> None:
    data, whole = packed.read_bytes(), files_of(packed.parent / "run")
    for n in range(40):
        at = n * (len(data) - 1) // 39
        (tmp_path / "turned.zip").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        results = tmp_path / str(n)
        try:
            folder = incoming.bring(tmp_path / "turned.zip", results).folder
        except StoreError:
            assert files_of(results) == {}
        else:
            assert files_of(folder) == whole


# --- crashes and others at work -----------------------------------------------------------------------------------


def dies_at(step: int, folder: Path, act) -> bool:  # type: ignore[no-untyped-def]
    """Do `act` in a process that is killed at the n-th thing that it does in `folder`; whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal count
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree") and str(
                folder
            ) in str(args[0]):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
def test_an_import_killed_at_any_step_leaves_nothing_half_and_the_next_one_cleans_up(
    packed: Path, tmp_path: Path
) -> None:
    whole, step, results = files_of(packed.parent / "run"), 1, tmp_path / "results"
    while dies_at(step, results, lambda: incoming.bring(packed, results)):
        for folder in store.folders(results):
            assert files_of(folder) == whole
        step += 3
        assert step < 200
    assert step > 20
    assert not incoming.bring(packed, results).new
    assert [each.name for each in results.iterdir()] == ["local"]


@pytest.mark.slow
def test_an_archive_killed_at_any_step_leaves_the_old_file_or_the_new(run: Path, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "run.zip"
    out.parent.mkdir()
    for step in range(1, 6):
        out.write_bytes(b"old")
        dies_at(step, out.parent, lambda: pack(run, out))
        assert out.read_bytes() in (b"old", packed.read_bytes())
    pack(run, out)
    assert out.read_bytes() == packed.read_bytes()


def test_of_two_imports_at_once_both_end_well_and_a_stage_in_use_is_left_alone(packed: Path, tmp_path: Path) -> None:
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                incoming.bring(packed, tmp_path)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert files_of(tmp_path / "local" / NAME) == files_of(packed.parent / "run")
    assert not list(tmp_path.glob(f"{files.PREFIX}*"))


def test_every_file_of_a_run_is_a_part_and_no_other_name_is(packed: Path) -> None:
    folder = packed.parent / "run"
    assert set(parts.names(folder)) == set(files_of(folder))
    for name in (
        "",
        ".",
        "..",
        "run.json/",
        "jobs/../run.json",
        "plots/.x",
        "/run.json",
        "jobs/a",
        "x/run.json",
        "run.json\n",
    ):
        assert not parts.is_part(name)
