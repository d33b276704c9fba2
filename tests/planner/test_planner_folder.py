"""A table is found by everything it depends on and by nothing else; what is kept comes back, or says why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import StoreError
from harness.planner import folder, story, table
from harness.planner.folder import Asked, Begun, Row, Sheet
from harness.records import Cost
from harness.records.planned import Listing, Planned

ASKED = Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1)
PROBED: Mapping[str, Any] = {
    "facts": {"machine": "x86_64", "cpu": "a CPU", "board": None, "kernel": "6.1", "cpus_usable": 2, "boot_id": "x"},
    "versions": {"onnxruntime": "1.31.0"},
}
COST = Cost(1, 1, 1, 2, 1, 4, 4)
PLANNED = Planned(
    schema=folder.SCHEMA,
    device="local",
    created="2026-11-22T12:00:00+00:00",
    asked=folder.plain(ASKED),
    listing=Listing("tiny", "tiny", ("a",), ("b",), (), {"c": "no"}),
    reference_ns=None,
    slope=None,
    gains=(),
    prices=(),
    front=(),
    chosen=None,
    undecided=(),
    resolution=None,
    seconds={"options": 1.5},
)


def begun(
    asked: Asked = ASKED, facts: Mapping[str, Any] | None = None, versions: Mapping[str, str] | None = None
) -> Begun:
    probed = {"facts": {**PROBED["facts"], **(facts or {})}, "versions": {**PROBED["versions"], **(versions or {})}}
    return folder.begin(asked, probed)


@pytest.mark.parametrize(
    "other",
    [
        begun(replace(ASKED, batch=2)),
        begun(replace(ASKED, forms=("skip",))),
        begun(replace(ASKED, tune=("governor",))),
        begun(replace(ASKED, options={"optimization": "basic"})),
        begun(replace(ASKED, model="resnet18")),
        begun(facts={"kernel": "6.2"}),
        begun(facts={"power_mode": "15W"}),
        begun(versions={"onnxruntime": "1.32.0"}),
    ],
)
def test_whatever_a_table_depends_on_is_in_its_key(other: Begun) -> None:
    assert other.key != begun().key


def test_what_a_table_does_not_depend_on_finds_the_same_folder() -> None:
    assert begun(facts={"boot_id": "y"}).name == begun().name
    assert begun().name.startswith("tiny-onnxruntime-fp32-1t-")


def test_a_model_that_changed_is_another_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    before = begun()
    own = tmp_path / "models"
    own.mkdir()
    (own / "tiny.py").write_text((repository / "models" / "tiny.py").read_text() + "# changed\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    assert begun().key != before.key
    assert folder.changed(before, begun()) == ["the model, the task or the program changed"]


def test_what_changed_of_a_device_is_told_by_name() -> None:
    assert folder.changed(begun(), begun(facts={"kernel": "6.2"}, versions={"onnxruntime": "1.32.0"})) == [
        "kernel was 6.1, is 6.2",
        "onnxruntime was 1.31.0, is 1.32.0",
    ]


def test_the_same_words_make_one_folder_and_keep_when_it_was_begun(tmp_path: Path) -> None:
    first = begun()
    own = folder.make(tmp_path, first)
    assert folder.make(tmp_path, begun()) == own == tmp_path / "local" / "plans" / first.name
    assert folder.load_begun(own) == first
    assert folder.alike(tmp_path, ASKED) == (own,)
    assert folder.alike(tmp_path, replace(ASKED, batch=2)) == ()


def test_a_plan_that_is_set_aside_keeps_its_measurements_and_is_no_look_up_any_more(tmp_path: Path) -> None:
    own = folder.make(tmp_path, begun())
    folder.save(own, PLANNED)
    assert folder.is_finished(own)
    folder.set_aside(own)
    (aside,) = own.parent.iterdir()
    assert aside.name.startswith(f"{own.name}.before-") and folder.load(aside) == PLANNED
    assert folder.alike(tmp_path, ASKED) == () and not folder.is_finished(own)


def test_a_plan_and_a_sheet_come_back_as_they_went(tmp_path: Path) -> None:
    assert folder.load(tmp_path) is None
    folder.save(tmp_path, PLANNED)
    assert folder.load(tmp_path) == PLANNED
    own = folder.place(tmp_path, folder.VERIFY, 3)
    sheet = Sheet("front", (Row(table.whole(("a", "b")), "1" * 16, "2" * 16, COST, 1e-7),))
    assert not folder.is_begun(own)
    folder.save_sheet(own, sheet)
    assert folder.load_sheet(own) == sheet
    assert folder.places(tmp_path, folder.VERIFY) == (own,) and own.name == "003"


def test_a_new_job_lies_behind_all_that_were_begun_lost_and_set_aside_ones_too(tmp_path: Path) -> None:
    assert folder.vacant(tmp_path, folder.VERIFY).name == "000"
    folder.save_sheet(folder.place(tmp_path, folder.VERIFY, 1), Sheet("front", ()))
    assert [own.name for own in folder.places(tmp_path, folder.VERIFY)] == ["001"]
    assert folder.vacant(tmp_path, folder.VERIFY).name == "002"
    folder.set_aside(folder.place(tmp_path, folder.VERIFY, 1))
    assert folder.vacant(tmp_path, folder.VERIFY).name == "002"


def test_what_an_again_over_several_settings_has_measured_stays_until_all_are_done(tmp_path: Path) -> None:
    first = begun()
    own = folder.make(tmp_path, first)
    folder.save(own, PLANNED)
    assert story._own(tmp_path, first, again=True, alone=False) == own and not folder.is_finished(own)
    folder.save(own, PLANNED)
    story._own(tmp_path, first, again=True, alone=False)
    assert folder.is_finished(own)
    story.end_again([story.Found(PLANNED, own, False)])
    assert not folder.anew(own).exists()


def test_an_again_over_one_setting_measures_anew_what_an_unfinished_one_over_several_has_left(tmp_path: Path) -> None:
    first = begun()
    own = story._own(tmp_path, first, again=True, alone=False)
    folder.save(own, PLANNED)
    assert story._own(tmp_path, first, again=True, alone=True) == own and not folder.is_finished(own)
    assert not folder.anew(own).exists()


def test_a_job_is_whole_with_its_reply_or_without_anything_to_measure(tmp_path: Path) -> None:
    lost = Row(table.whole(("a",)), None, "2" * 16, COST, None, "cannot be built: no")
    folder.save_sheet(tmp_path / "0", Sheet("in place", (lost,)))
    folder.save_sheet(tmp_path / "1", Sheet("in place", (lost, replace(lost, case="1" * 16, failure=None))))
    assert folder.is_whole(tmp_path / "0", "onnxruntime")
    assert not folder.is_whole(tmp_path / "1", "onnxruntime") and not folder.is_whole(tmp_path / "2", "onnxruntime")


def test_a_job_whose_networks_came_out_different_does_not_go_on(tmp_path: Path) -> None:
    row = Row(table.whole(("a",)), "1" * 16, "2" * 16, COST, None)
    folder.require_unmixed([row], [row], tmp_path)
    folder.require_unmixed([row], [replace(row, case=None, failure="cannot be built")], tmp_path)
    with pytest.raises(StoreError, match="a came out different this time: other bytes") as caught:
        folder.require_unmixed([replace(row, case="3" * 16)], [row], tmp_path)
    assert f"Remove {tmp_path}" in caught.value.hint


def test_a_damaged_plan_and_one_of_a_newer_program_are_refused_with_the_next_move(tmp_path: Path) -> None:
    folder.save(tmp_path, PLANNED)
    tree = json.loads((tmp_path / "plan.json").read_text())
    for text in ("{", "[]", json.dumps({**tree, "chosen": "many"}), json.dumps({**tree, "schema": True})):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(StoreError, match=r"plan\.json"):
            folder.load(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({**tree, "schema": 2}))
    with pytest.raises(StoreError, match="schema 2, this program reads up to 1"):
        folder.load(tmp_path)


def test_a_folder_without_its_question_is_none_of_the_same_words(tmp_path: Path) -> None:
    own = folder.make(tmp_path, begun())
    (own / "asked.json").write_text("{}")
    assert folder.alike(tmp_path, ASKED) == ()


def test_one_planner_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    own = folder.make(tmp_path, begun())
    with store.held(own), pytest.raises(StoreError, match="another harness is at work"), store.held(own):
        pass
