"""What stores survive: writers at once, processes killed at any moment, files that are damaged, foreign or from the future."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import example_run
import pytest
from command import Cli

from harness import files, store
from harness.errors import StoreError
from harness.report import citation
from harness.store import archives, incoming, parts, remote

EXAMPLE = Path(__file__).resolve().parent.parent / "results" / "examples" / "local" / "20261121T063146Z-b45a"
NAMES = ("20260101T000000Z-aaaa", "20260201T000000Z-bbbb")
RUN = example_run.run()


def started(program: str, *words: object) -> subprocess.Popen[str]:
    """A process that says when it begins."""
    command = [sys.executable, "-c", program, *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def killed_after(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def in_children(*acts: Callable[[], object]) -> list[int]:
    """Do each of `acts` in a process of its own, all at once, and return their exit codes."""
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                act()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def files_of(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in NAMES:
        store.create(tmp_path / "results", replace(RUN, run=name, device="local"))
    return tmp_path / "results"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "results" / "local" / EXAMPLE.name))


# --- writers at once ---------------------------------------------------------------------------------------------------

SAVE_FOREVER = """
import sys
from dataclasses import replace
from pathlib import Path
from harness import store
folder = Path(sys.argv[1])
run = store.load(folder)
print("begun", flush=True)
while True:
    store.save(folder, replace(run, session=sys.argv[2] * 1000))
"""


def test_of_two_that_save_a_run_at_once_every_reader_sees_the_one_s_or_the_other_s(results: Path) -> None:
    folder = results / "local" / NAMES[0]
    store.save(folder, replace(store.load(folder), session="a" * 1000))
    writers = [started(SAVE_FOREVER, folder, letter) for letter in "ab"]
    seen = {store.load(folder).session for _ in range(60)}
    for writer in writers:
        killed_after(writer, 0)
    assert seen <= {"a" * 1000, "b" * 1000} and store.load(folder).run == NAMES[0]


def test_of_imports_and_archives_of_a_run_at_once_all_end_well_or_say_that_it_is_at_work(
    example: Path, tmp_path: Path
) -> None:
    packed = archives.pack(example, tmp_path / "first.zip", citation.about(store.load(example)))
    before = files_of(example)

    def pack(name: str) -> None:
        try:
            archives.pack(example, tmp_path / name, citation.about(store.load(example)))
        except StoreError as error:
            assert "another harness is at work" in error.message

    def bring() -> None:
        assert not incoming.bring(packed, tmp_path / "results").new

    codes = in_children(lambda: pack("second.zip"), lambda: pack("third.zip"), bring, bring)
    assert codes == [0, 0, 0, 0] and files_of(example) == before
    written = [file for file in (tmp_path / "second.zip", tmp_path / "third.zip") if file.exists()]
    assert written and all(file.read_bytes() == packed.read_bytes() for file in written)


def test_an_import_whose_stage_was_swept_away_before_it_was_held_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    real = os.open

    def late(path: Path, *how: int, **where: int) -> int:
        made.append(path)
        if len(made) == 1:
            incoming._sweep(tmp_path)
        return real(path, *how, **where)

    with monkeypatch.context() as patched:
        patched.setattr("harness.store.incoming.os.open", late)
        stage = incoming._stage(tmp_path)
        folder = stage.__enter__()
    assert folder.is_dir() and folder != made[0]
    stage.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


DELETE_AND_MAKE = """
import shutil, sys
from pathlib import Path
folder = Path(sys.argv[1])
print("begun", flush=True)
while True:
    shutil.copytree(folder, folder.parent.parent / "gone" / folder.name)
    shutil.rmtree(folder.parent.parent / "gone")
"""


def test_runs_that_are_removed_while_they_are_listed_harm_no_list(results: Path) -> None:
    other = started(DELETE_AND_MAKE, results / "local" / NAMES[0])
    for _ in range(300):
        kept = [folder for folder in store.folders(results) if folder.parent.name == "local"]
        assert [folder.name for folder in kept] == list(NAMES)
        store.find(results, None)
    for _ in range(10):
        with store.search(results, "device = 'local'") as found:
            assert found.count == 2 * len(RUN.cases) or found.count == 3 * len(RUN.cases)
    killed_after(other, 0)


# --- killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_whose_writer_is_killed_is_as_it_was_saved_last(results: Path) -> None:
    folder = results / "local" / NAMES[0]
    for moment in range(20):
        killed_after(started(SAVE_FOREVER, folder, "c"), 0.002 * moment)
        assert store.load(folder).session in (RUN.session, "c" * 1000)
    assert set(parts.names(folder)) == {"run.json"} and len(list(store.folders(results))) == 2


CREATE_FOREVER = """
import itertools, sys
from dataclasses import replace
from pathlib import Path
from harness import store
run = store.load(Path(sys.argv[1]))
print("begun", flush=True)
for n in itertools.count():
    store.create(Path(sys.argv[1]).parent.parent, replace(run, run=f"20270101T000000Z-{sys.argv[2]}-{n:06}"))
"""

LOOK = """
import sys
from pathlib import Path
print("begun", flush=True)
from harness import store
with store.search(Path(sys.argv[1]), "true") as found:
    found.newest(10)
"""


@pytest.mark.slow
def test_runs_whose_maker_is_killed_are_there_whole_or_not_at_all(results: Path) -> None:
    for moment in range(10):
        killed_after(started(CREATE_FOREVER, results / "local" / NAMES[0], moment), 0.007 * moment)
    with store.search(results, "true") as found:
        assert found.damaged == {}
        made = list(store.folders(results))
        assert found.count == len(made) * len(RUN.cases) and len(made) > 10
    for folder in made:
        assert store.load(folder).run == folder.name


@pytest.mark.slow
def test_a_look_that_is_killed_while_it_makes_the_index_leaves_the_next_one_everything(results: Path) -> None:
    moments = random.Random(9)
    for _ in range(12):
        store.create(results, replace(RUN, run=f"20270101T000000Z-{moments.getrandbits(32):08x}", device="local"))
        killed_after(started(LOOK, results), moments.uniform(0.3, 1.2))
        with store.search(results, "true") as found:
            assert found.damaged == {} and found.count == len(list(store.folders(results))) * len(RUN.cases)


@pytest.mark.slow
def test_a_copy_that_is_killed_shows_nothing_half_and_the_next_one_completes_it(example: Path, tmp_path: Path) -> None:
    there, steps = tmp_path / "there", 0
    url = f"file://{there}"

    def dying(step: int) -> None:
        count = 0

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal count
            if event in ("open", "os.rename", "os.mkdir") and str(there) in str(args[0]):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        remote.copy(example, url)

    for step in range(1, 200, 6):
        shutil.rmtree(there, ignore_errors=True)
        (code,) = in_children(lambda step=step: dying(step))  # type: ignore[misc]
        if list(store.folders(there)):
            assert files_of(remote.fetch(url)) == files_of(example)
        remote.copy(example, url)
        assert files_of(remote.fetch(url)) == files_of(example)
        if code == 0:
            break
        steps += 1
    assert 4 < steps < 33


# --- damaged, foreign, from the future ---------------------------------------------------------------------------------


def an_image(record: Path) -> None:
    record.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0" * 100)


def a_folder(record: Path) -> None:
    record.unlink()
    record.mkdir()


def from_the_future(record: Path) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema": store.SCHEMA + 1}))


def endless(record: Path) -> None:
    record.write_text("[" * 100_000)


def one_byte_less(record: Path) -> None:
    record.write_bytes(record.read_bytes()[:-3])


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [an_image, a_folder, from_the_future, endless, one_byte_less])
def test_a_record_that_is_none_is_named_and_all_other_runs_are_shown(
    cli: Cli, spoil: Callable[[Path], None], results: Path
) -> None:
    bad = results / "local" / NAMES[1]
    spoil(bad / "run.json")
    for word in (bad.name, str(bad)):
        done = cli("show", word)
        assert done.code == 1 and not done.out and "Traceback" not in done.err, done.err
        assert f"{NAMES[1]}/run.json" in done.err
    listed = cli("show", "--where", "true", "--json")
    assert listed.code == 0 and {case["run"] for case in listed.json["cases"]} == {NAMES[0]}
    assert [each["folder"] for each in listed.json["damaged"]] == [f"local/{NAMES[1]}"]
    assert cli("show", NAMES[0]).code == 0


@pytest.mark.parametrize("word", ["x" * 5000, "no\nrun", "\x1b[2J"])
def test_a_word_that_no_run_can_have_is_no_bug(cli: Cli, results: Path, word: str) -> None:
    done = cli("show", word)
    assert done.code == 2 and done.err.startswith("error: no run ") and "\x1b" not in done.err


def rewritten(folder: Path) -> Path:
    """Write the tables of a run anew, as this program does."""
    run = store.load(folder)
    _, journals, _ = store.measured(folder, run.plan.runtimes)
    store.save_frames(folder, journals)
    return folder / "samples.parquet"


def test_one_byte_changed_anywhere_in_the_samples_is_found(example: Path) -> None:
    file = rewritten(example)
    data, whole = file.read_bytes(), store.frames(example).samples
    for n in range(40):
        at = 4 + n * (len(data) - 9) // 39
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            read = store.frames(example).samples
        except StoreError as error:
            assert "samples.parquet" in error.message
        else:
            assert read.equals(whole)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def another_table(file: Path) -> None:
    shutil.copy(file.with_name("state.parquet"), file)


def a_text(file: Path) -> None:
    file.write_text("latency\n1\n")


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [cut, another_table, a_text, an_image, a_folder, Path.unlink])
def test_samples_that_are_none_are_named_and_the_table_is_shown(
    cli: Cli, spoil: Callable[[Path], None], example: Path
) -> None:
    spoil(example / "samples.parquet")
    done = cli("plot", example.name, "--kind", "distribution")
    assert done.code == 1 and "samples.parquet" in done.err and "Traceback" not in done.err, done.err
    assert cli("show", example.name).code == 0


def test_a_table_that_says_more_rows_than_any_measurement_has_is_not_unpacked(example: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    many = pa.table({"value": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x"])})
    parquet.write_table(many, example / "state.parquet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts, "_MOST_ROWS", 99_999)
        with pytest.raises(StoreError, match=r"state\.parquet: cannot be read: 100000 rows"):
            parts.require_whole(example)


def test_what_a_killed_writer_left_beside_a_run_is_no_part_of_it(example: Path, tmp_path: Path) -> None:
    whole = files_of(example)
    (example / f"{files.PREFIX}0123456789abcdef").write_bytes(b"half")
    assert set(parts.names(example)) == set(whole)
    file = archives.pack(example, tmp_path / "run.zip", citation.about(store.load(example)))
    assert files_of(incoming.bring(file, tmp_path / "elsewhere").folder) == whole
