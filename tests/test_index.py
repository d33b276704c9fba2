"""The index over runs and what is asked of it: always as the runs are, whatever became of the index itself."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_run
import pytest
from command import Cli
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness import report, store
from harness.errors import StoreError, UsageError
from harness.records import Run
from harness.store import index
from harness.store.columns import COLUMNS

NAMES = ("20260101T000000Z-aaaa", "20260201T000000Z-bbbb", "20260301T000000Z-cccc")


def made(name: str, device: str = "local", **changes: Any) -> Run:
    first = example_run.run()
    return replace(first, **{"run": name, "device": device, "cases": first.cases[:4], **changes})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        store.create(tmp_path / "results", made(name, "pi5" if number == 1 else "local"))
    return tmp_path / "results"


def picked(results: Path, where: str = "true") -> list[dict[str, Any]]:
    with store.search(results, where) as found:
        rows = list(found.all())
        assert found.count == len(rows)
        assert found.newest(10**6) == rows
    return rows


def names(results: Path, where: str = "true") -> list[str]:
    return list(dict.fromkeys(row["run"] for row in picked(results, where)))


def damaged(results: Path) -> dict[str, str]:
    with store.search(results, "true") as found:
        return found.damaged


def read_again(results: Path) -> list[int]:
    """How many runs have to be read: once for each look that reads any."""
    told: list[int] = []
    with store.search(results, "true", told.append):
        pass
    return told


# --- what is asked -----------------------------------------------------------------------------------------------------


def test_cases_of_all_runs_come_oldest_run_first_and_in_their_order_with_the_numbers_of_their_record(
    results: Path,
) -> None:
    rows = picked(results)
    assert [(row["run"], row["rung"]) for row in rows] == [(name, rung) for name in NAMES for rung in range(4)]
    summary, row = store.load(results / "local" / NAMES[0]).cases[1], rows[1]
    assert summary.latency_ns is not None and summary.speedup is not None
    assert (row["latency_ns"], row["latency_ns_high"]) == (summary.latency_ns.median, summary.latency_ns.high)
    assert (row["speedup"], row["speedup_low"]) == (summary.speedup.ratio, summary.speedup.low)
    assert (row["folder"], row["seed"], row["cpu"]) == (f"local/{NAMES[0]}", 0, "AMD EPYC")
    assert row["started"].isoformat() == "2026-11-20T10:15:00" and row["energy_j"] is None


def test_an_expression_picks_cases_by_any_column(results: Path) -> None:
    assert names(results, "device = 'pi5' and rung > 2") == [NAMES[1]]
    assert [row["rung"] for row in picked(results, "speedup = (select max(speedup) from cases)")] == [1, 1, 1]
    assert picked(results, "started > '2030-01-01'") == []
    assert len(picked(results, "verdict is null")) == 3  # rung 0 of each


COMPARED = {
    "device": st.sampled_from(["local", "pi5", "nowhere", "it's"]),
    "rung": st.integers(-1, 5),
    "speedup": st.sampled_from([0.9, 1.0, 1.05, 1.142]),
    "weight_bytes": st.integers(0, 60_000_000),
    "virtual": st.booleans(),
}
OPERATORS = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
}
TERM = st.sampled_from(sorted(COMPARED)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(sorted(OPERATORS)), COMPARED[name])
)


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("three")
    for number, name in enumerate(NAMES):
        store.create(folder, made(name, "pi5" if number == 1 else "local", virtual=number == 2))
    return folder, picked(folder)


@settings(max_examples=30)
@given(terms=st.lists(TERM, min_size=1, max_size=3), every=st.booleans())
def test_what_an_expression_picks_is_what_python_picks(
    three_runs: tuple[Path, list[dict[str, Any]]], terms: list[tuple[str, str, Any]], every: bool
) -> None:
    joined = (" and " if every else " or ").join(f"{name} {sign} {_literal(value)}" for name, sign, value in terms)

    def holds(row: dict[str, Any]) -> bool:
        answers = (row[name] is not None and OPERATORS[sign](row[name], value) for name, sign, value in terms)
        return all(answers) if every else any(answers)

    folder, rows = three_runs
    with store.search(folder, joined) as found:
        assert found.newest(len(rows)) == [row for row in rows if holds(row)]


def _literal(value: Any) -> str:
    return "'{}'".format(value.replace("'", "''")) if isinstance(value, str) else str(value)


def test_emulated_devices_have_no_times_in_the_index(tmp_path: Path) -> None:
    store.create(tmp_path, made(NAMES[0], virtual=True))
    row = picked(tmp_path)[1]
    assert row["virtual"] and row["status"] == "ok" and row["latency_ns"] is row["speedup"] is row["verdict"] is None


@pytest.mark.parametrize(
    "where",
    [
        "1=1; drop table cases",
        "true) union select * from (select 1",
        "rung = 1) or (true",
        "true, false",
        "true limit 1",
        "rung = $1",
        "rung >",
        "",
        "device",
        "sum(rung) > 1",
        "rung = error('no')",
        "exists(from read_csv('/etc/passwd'))",
        "exists(from read_text('/etc/hostname'))",
        "exists(from '/etc/passwd')",
        "exists(from glob('/etc/*'))",
        "exists(from results)",
        "exists(from query('copy (select 1) to ''stolen.csv'''))",
        "getenv('HOME') = '/root'",
        "(" * 2001,
        "rung = 1 \0",
    ],
)
def test_what_is_no_expression_over_the_columns_is_refused(results: Path, where: str) -> None:
    before = sorted(results.rglob("*"))
    with pytest.raises(UsageError), store.search(results, where):
        pass
    assert sorted(results.rglob("*")) == before and not Path("stolen.csv").exists()


def test_the_connection_is_closed_to_files_and_stays_so(results: Path) -> None:
    import duckdb

    from harness.store import picking

    with duckdb.connect(":memory:", config=picking._SETTINGS) as connection:
        picking._close_to_the_world(connection)
        for statement in ("SET enable_external_access = true", "COPY (SELECT 1) TO 'x.csv'", "LOAD httpfs"):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


def test_an_unknown_column_is_named_with_the_nearest(results: Path) -> None:
    with pytest.raises(UsageError, match='no column "runtme"; did you mean "runtime"') as caught:
        picked(results, "runtme = 'torch'")
    assert "single quotes" in caught.value.hint
    with pytest.raises(UsageError, match='no column "pi5"'):
        picked(results, "device = pi5")


def test_without_runs_there_is_nothing_to_search(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs there"), store.search(tmp_path / "nothing", "true"):
        pass


# --- the index follows the runs ----------------------------------------------------------------------------------------


def test_a_look_reads_only_runs_that_are_new_or_changed(results: Path) -> None:
    assert read_again(results) == [3] and read_again(results) == []
    store.create(results, made("20260401T000000Z-dddd"))
    assert read_again(results) == [1] and read_again(results) == []
    store.save(results / "local" / NAMES[0], made(NAMES[0], status="failed", cases=()))
    assert read_again(results) == [1] and read_again(results) == []
    assert names(results) == [*NAMES[1:], "20260401T000000Z-dddd"]


def test_a_change_within_the_same_size_and_time_of_change_is_seen(results: Path) -> None:
    file = results / "local" / NAMES[0] / "run.json"
    picked(results)
    before = file.stat()
    file.write_text(file.read_text().replace('"resnet18"', '"resnet81"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert {row["model"] for row in picked(results) if row["run"] == NAMES[0]} == {"resnet81"}


def test_a_run_that_is_gone_leaves(results: Path) -> None:
    picked(results)
    shutil.rmtree(results / "pi5")
    assert names(results) == [NAMES[0], NAMES[2]]


def spoil_by_cutting(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def spoil_by_emptying(file: Path) -> None:
    file.write_bytes(b"")


def spoil_with_text(file: Path) -> None:
    file.write_text("not an index")


def spoil_with_other_columns(file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"folder": ["local/x"], "mark": ["1"]}), file)


def spoil_in_the_middle(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for at in range(len(data) // 4, len(data) // 2, 50):
        data[at] ^= 0xFF
    file.write_bytes(data)


def spoil_one_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        spoil_one_byte,
        spoil_by_cutting,
        spoil_by_emptying,
        spoil_with_text,
        spoil_with_other_columns,
        spoil_in_the_middle,
    ],
)
def test_an_index_that_is_missing_or_damaged_is_made_anew(results: Path, spoil: Any) -> None:
    rows = picked(results)
    spoil(index.place(results))
    assert picked(results) == rows
    assert read_again(results) == []


def test_an_index_in_whose_place_another_comes_is_looked_at_to_the_end(results: Path) -> None:
    rows = picked(results)
    with store.search(results, "true") as found:
        store.create(results, made("20260401T000000Z-dddd"))
        assert read_again(results) == [1]
        index.place(results).unlink()
        assert found.newest(10**6) == rows == list(found.all())


def test_an_index_of_another_version_is_left_alone_and_made_anew(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, old = picked(results), index.place(results)
    monkeypatch.setattr(index, "VERSION", index.VERSION + 1)
    assert read_again(results) == [3]
    assert picked(results) == rows and old.is_file() and index.place(results) != old


def test_where_the_cache_cannot_be_written_the_index_is_made_for_this_once(results: Path) -> None:
    rows = picked(results)
    shutil.rmtree(index.place(results).parent)
    index.place(results).parent.write_text("no folder can be made here")
    assert picked(results) == rows and read_again(results) == [3]


def test_nothing_is_written_into_the_results(results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    picked(results)
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


# --- damaged runs ------------------------------------------------------------------------------------------------------


def cut(text: str) -> str:
    return text[: len(text) // 2]


def foreign(text: str) -> str:
    return '{"name": "somebody else\'s"}'


def newer(text: str) -> str:
    return text.replace('"schema": 2', '"schema": 99', 1)


def endless(text: str) -> str:
    return "[" * 100_000


def infinite(text: str) -> str:
    return text.replace('"median": ', '"median": 1e999, "was": ', 1)


def enormous(text: str) -> str:
    return text.replace('"parameters": ', '"parameters": ' + "9" * 30 + ', "were": ')


def timeless(text: str) -> str:
    return text.replace('"created": "2026', '"created": "once upon a time')


@pytest.mark.parametrize("spoil", [cut, foreign, newer, endless, infinite, enormous, timeless])
def test_a_run_that_cannot_be_read_is_named_and_the_rest_is_shown(results: Path, spoil: Any) -> None:
    file = results / "pi5" / NAMES[1] / "run.json"
    whole = file.read_text()
    file.write_text(spoil(whole))
    assert names(results) == [NAMES[0], NAMES[2]]
    assert list(damaged(results)) == [f"pi5/{NAMES[1]}"] and "run.json" in damaged(results)[f"pi5/{NAMES[1]}"]
    assert read_again(results) == []
    file.write_text(whole)
    assert names(results) == list(NAMES) and damaged(results) == {}


def test_a_folder_whose_name_is_no_text_is_indexed_too(results: Path) -> None:
    odd = os.fsdecode(os.fsencode(results / "pi5") + b"/\xff")
    shutil.copytree(results / "pi5" / NAMES[1], odd)
    assert {row["folder"] for row in picked(results, "device = 'pi5'")} == {f"pi5/{NAMES[1]}", "pi5/\\xff"}
    assert read_again(results) == []


# --- processes ---------------------------------------------------------------------------------------------------------

LOOK = """
import sys
from pathlib import Path
from harness import store
with store.search(Path(sys.argv[1]), "true") as found:
    print(found.count)
"""


@pytest.mark.slow
def test_several_processes_at_once_all_see_everything_and_leave_a_whole_index(results: Path) -> None:
    command = [sys.executable, "-c", LOOK, str(results)]
    for _ in range(2):
        shutil.rmtree(index.place(results).parent, ignore_errors=True)
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        assert [process.communicate(timeout=120)[0] for process in both] == ["12\n"] * 3
    assert read_again(results) == [] and len(picked(results)) == 12
    assert [file.name for file in index.place(results).parent.iterdir()] == [index.place(results).name]


WRITE_FOREVER = """
import sys
from pathlib import Path
from harness.store import index
file = Path(sys.argv[1])
data = file.read_bytes()
print("writing", flush=True)
while True:
    index._write(file, data)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_the_old_index_or_the_new_one(results: Path) -> None:
    rows, file = picked(results), index.place(results)
    for moment in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(file)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
        time.sleep(0.003 * moment)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert read_again(results) == [] and picked(results) == rows


def test_what_a_killed_writer_left_goes_after_a_day(results: Path) -> None:
    picked(results)
    left, young = (index.place(results).parent / f".tmp-{name}" for name in ("old", "young"))
    left.touch()
    young.touch()
    os.utime(left, (time.time() - 100_000,) * 2)
    store.create(results, made("20260401T000000Z-dddd"))
    picked(results)
    assert young.exists() and not left.exists()


# --- the command -------------------------------------------------------------------------------------------------------


def test_a_look_at_an_index_that_is_there_waits_for_no_library_of_numbers(results: Path) -> None:
    picked(results)
    names = "('torch', 'numpy', 'pandas', 'pyarrow', 'pydantic')"
    heavy = f"[name for name in {names} if name in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"{LOOK}\nprint({heavy})", str(results)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "12\n[]\n"


def test_show_where_prints_a_table_the_newest_last_and_names_what_it_left_out(results: Path) -> None:
    (results / "pi5" / NAMES[1] / "run.json").write_text("{")
    written = io.StringIO()
    with store.search(results, "rung = 1") as found:
        report.show_cases(found.newest(100), found.count, found.damaged, Console(file=written, width=1000))
    lines = written.getvalue().splitlines()
    assert [line.split()[0] for line in lines if line.startswith("2026")] == [NAMES[0], NAMES[2]]
    assert "2 cases." in lines
    (left_out,) = (line for line in lines if line.startswith("Left out: "))
    assert f"pi5/{NAMES[1]}/run.json:" in left_out and "damaged" in left_out


def test_the_table_holds_the_newest_and_says_how_many_there_are(results: Path) -> None:
    written = io.StringIO()
    with store.search(results, "true") as found:
        newest = found.newest(3)
        report.show_cases(newest, found.count, found.damaged, Console(file=written, width=120))
    assert [(row["run"], row["rung"]) for row in newest] == [(NAMES[2], rung) for rung in (1, 2, 3)]
    assert "The newest 3 of 12 cases; --json has them all." in written.getvalue()


def test_the_command_gives_all_columns_as_json_and_refuses_what_does_not_go_together(cli: Cli, results: Path) -> None:
    done = cli("show", "--where", "device = 'pi5' and rung > 2", "--json")
    assert done.code == 0, done.err
    assert set(done.json) == {"schema", "count", "damaged", "cases"} and done.json["count"] == 1
    (case,) = done.json["cases"]
    assert list(case) == list(COLUMNS) and case["started"] == "2026-11-20T10:15:00+00:00"
    assert json.loads(cli("show", "--where", "rung = 77", "--json").out)["cases"] == []
    for words in ((NAMES[0],), ("--profile",), ("--profile", "--rung", "1")):
        done = cli("show", *words, "--where", "true")
        assert done.code == 2 and "--where: it looks through all runs" in done.err and not done.out
    done = cli("show", "--where", "1=1; drop table cases")
    assert done.code == 2 and done.err.startswith("error: --where: ") and "Traceback" not in done.err
