from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import example_run
import pytest

from harness import report, store, tables, wire
from harness.errors import StoreError, UsageError
from harness.records import Plan, Run

PLAN = Plan("local", (), ("empty",), ("fp32",), 1, 1, {}, 5.0, 0)
CREATED = "2026-01-01T00:00:00+00:00"
RUN = Run(store.SCHEMA, "20260101T000000Z-abcd", "s", "local", False, "preparing", CREATED, ("run",), PLAN, {})
VERSION_1 = Path(__file__).resolve().parent / "data" / "runs" / "version-1"
CASE = "0123456789abcdef"


def process(seq: int, attempt: int, block: int = 1) -> wire.ProcessEvent:
    return wire.ProcessEvent(
        1,
        seq,
        5,
        "process",
        CASE,
        block,
        0,
        attempt,
        9,
        1,
        1,
        1,
        1,
        attempt == 1,
        True,
        0.0,
        {},
        (3, 2),
        (10, 20),
        (2, 2),
    )


def test_a_run_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    assert store.load(folder) == RUN
    store.save(folder, replace(RUN, status="done"))
    assert store.load(folder).status == "done"
    assert [file.name for file in folder.iterdir()] == ["run.json"]


def test_runs_are_found_by_path_by_id_by_its_start_and_by_being_the_newest(tmp_path: Path) -> None:
    older = store.create(tmp_path, RUN)
    newer = store.create(tmp_path, replace(RUN, device="other", run="20260202T000000Z-abcd"))
    assert store.find(tmp_path, None) == newer
    assert store.find(tmp_path, "20260101") == older
    assert store.find(tmp_path, str(older)) == older
    with pytest.raises(UsageError, match='2 runs begin with "2026"'):
        store.find(tmp_path, "2026")
    with pytest.raises(UsageError, match='no run "20260101T000001Z-abcd"; did you mean "20260101T000000Z-abcd"'):
        store.find(tmp_path, "20260101T000001Z-abcd")
    with pytest.raises(UsageError, match='no run "1999"') as caught:
        store.find(tmp_path, "1999")
    assert newer.name in caught.value.hint


def test_a_run_of_version_1_is_read_as_one_of_now_and_shown(tmp_path: Path) -> None:
    written = json.loads((VERSION_1 / "run.json").read_text())
    run = store.load(VERSION_1)
    told = [rung["choice"] and rung["choice"]["chosen"] for rung in written["ladders"][0]["rungs"]]
    assert written["schema"] == 1 and told == [None, "layer4.0.relu1"]
    assert run.schema == store.SCHEMA
    assert [rung.choice and rung.choice.chosen for rung in run.ladders[0].rungs] == [None, ("layer4.0.relu1",)]
    assert [(ladder.schedule, ladder.step, ladder.train_on) for ladder in run.plan.ladders] == [("quick", 1, "cpu")]
    assert [case["rung"] for case in report.to_json(run)["cases"]] == [0, 1]
    assert store.load(store.create(tmp_path, run)) == run


@pytest.mark.parametrize("lost", ["ladders", "rungs"])
def test_a_run_of_version_1_that_lost_a_part_is_damaged_and_no_bug(tmp_path: Path, lost: str) -> None:
    text = (VERSION_1 / "run.json").read_text().replace(f'"{lost}": [', f'"{lost}-no-more": [')
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=f"damaged.*{lost}"):
        store.load(tmp_path)


def test_a_file_from_a_newer_program_is_refused(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    tree = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**tree, "schema": store.SCHEMA + 1}))
    with pytest.raises(StoreError, match="Upgrade edge-harness"):
        store.load(folder)


@pytest.mark.parametrize("cut", [1, 2, 10, 100, 400])
def test_a_truncated_record_is_said_to_be_damaged(tmp_path: Path, cut: int) -> None:
    file = store.create(tmp_path, RUN) / "run.json"
    file.write_bytes(file.read_bytes()[:-cut][:-1])
    with pytest.raises(StoreError, match=r"run\.json: damaged"):
        store.load(file.parent)


def test_an_edited_record_is_refused_naming_the_field(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"preparing"', '"thriving"'))
    with pytest.raises(StoreError, match="damaged: status"):
        store.load(folder)


def test_the_journal_is_appended_and_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    (folder / "jobs" / "empty").mkdir(parents=True)
    lines = [wire.encode(process(n, n + 1)).encode() + b"\n" for n in range(2)]
    for line in lines:
        store.append_journal(folder, "empty", line)
    with (folder / "jobs" / "empty" / "events.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert store.journal_bytes(folder, "empty") == b"".join(lines)
    assert [event.seq for event in store.events(folder, "empty")] == [0, 1]


def test_after_a_torn_line_the_next_append_begins_at_a_whole_line(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    (folder / "jobs" / "empty").mkdir(parents=True)
    (folder / "jobs" / "empty" / "events.jsonl").write_bytes(b'{"torn')
    store.append_journal(folder, "empty", wire.encode(process(0, 1)).encode() + b"\n")
    assert len(store.events(folder, "empty")) == 1


def test_only_the_last_attempt_of_a_process_is_valid(tmp_path: Path) -> None:
    frame = tables.samples([[process(0, 1), process(1, 2), process(2, 1, block=2)]])
    assert frame.groupby(["block", "attempt"]).valid.all().to_dict() == {(1, 1): False, (1, 2): True, (2, 1): True}
    assert set(frame.phase) == {"warmup", "timed"} and frame[frame.phase.eq("warmup")].start_ns.isna().all()


def test_frames_of_no_processes_are_empty_but_have_their_columns(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    store.save_frames(folder, {})
    frames = store.frames(folder)
    assert len(frames.samples) == 0 and "latency_ns" in frames.samples and "sensor" in frames.state


def test_what_cannot_be_written_is_said_with_the_way_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        store.create(tmp_path / "file", RUN)
    assert "--resume" in caught.value.hint


def test_a_run_is_held_by_one_harness_at_a_time(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    with store.held(folder), pytest.raises(StoreError, match="another harness is at work"), store.held(folder):
        pass
    with store.held(folder):
        pass


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seed": 0', '"seed": "0"', "plan.seed"),
        ('"budget_s": 5.0', '"budget_s": NaN', "NaN"),
        ('"empty"', '"../empty"', "plain name"),
    ],
)
def test_a_record_is_read_strictly(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = store.create(tmp_path, RUN)
    text = (folder / "run.json").read_text()
    assert old in text
    (folder / "run.json").write_text(text.replace(old, new))
    with pytest.raises(StoreError, match=f"damaged: .*{message}"):
        store.load(folder)


def test_a_case_of_a_ladder_that_is_not_there_is_a_damaged_run(tmp_path):
    run = example_run.run()
    folder = store.create(tmp_path, run)
    tree = json.loads((folder / "run.json").read_text())
    tree["cases"][3]["ladder"] = "foreign"
    (folder / "run.json").write_text(json.dumps(tree))
    with pytest.raises(StoreError, match="damaged: cases: no ladder 'foreign'"):
        store.load(folder)
