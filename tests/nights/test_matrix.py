"""The matrix laid out: every combination, exclusions with their reason, single rows, overrides, canaries; and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import inventory
from harness.errors import InventoryError
from harness.nights import matrix
from harness.nights.matrix import Laid

DEVICES = """\
devices:
  one: {profile: host, runtimes: [empty, onnxruntime, torch]}
  jetson: {profile: jetson-orin-nano, host: jetson}
  emulated: {profile: raspberry-pi-5, host: emulated, virtual: true}
nightly:
"""
ROWS = "  matrix: [{devices: [one], models: [tiny, resnet18], methods: [order], runtimes: [empty, torch]}]\n"


def laid(folder: Path, text: str) -> tuple[Laid, ...]:
    file = folder / "inventory.yaml"
    file.write_text(DEVICES + text)
    devices, found = inventory.nightly(file)
    return matrix.lay(found, devices)


def titles(rows: tuple[Laid, ...]) -> list[str]:
    return [f"{each.row.device} {each.row.title}" for each in rows if not each.row.canary]


def test_every_combination_of_a_block_is_a_row_with_a_plan_behind_a_canary(tmp_path: Path) -> None:
    rows = laid(tmp_path, ROWS)
    assert rows[0].row.canary and rows[0].row.words["controls"] is False
    assert titles(rows) == [
        "one tiny order empty fp32",
        "one tiny order torch fp32",
        "one resnet18 order empty fp32",
        "one resnet18 order torch fp32",
    ]
    assert all(each.plan for each in rows) and len({each.row.key for each in rows}) == len(rows)


def test_each_device_has_a_canary_but_those_whose_times_count_for_nothing(tmp_path: Path) -> None:
    rows = laid(tmp_path, "  matrix: [{devices: [one, jetson, emulated], models: [tiny], methods: [order]}]")
    assert [each.row.device for each in rows if each.row.canary] == ["one", "jetson"]
    assert [each.row.runtime for each in rows] == ["empty", "empty", "onnxruntime", "onnxruntime", "onnxruntime"]


def test_words_threads_and_power_modes_reach_the_plan(tmp_path: Path) -> None:
    text = (
        "  matrix: [{devices: [jetson], models: [tiny], methods: [order], threads: [1, 2], power_modes: [15W],"
        " words: {rungs: 2, budget: 7, recipe: [order=a], controls: false}}]"
    )
    *_, row = laid(tmp_path, text)
    assert row.plan is not None and row.row.title == "tiny order onnxruntime fp32 2 threads 15W"
    assert (row.plan.threads, row.plan.power_mode, row.plan.budget_s, row.plan.controls) == (2, "15W", 7.0, False)
    assert row.plan.ladders[0].rungs == 2 and row.plan.ladders[0].recipe["order"]


def test_what_is_excluded_stays_in_the_matrix_with_its_reason_and_single_rows_come_nevertheless(
    tmp_path: Path,
) -> None:
    text = ROWS + (
        "  exclude: [{runtimes: [torch], reason: too slow}, {models: [resnet18], reason: too large}]\n"
        "  include: [{device: one, model: resnet18, method: order, runtime: torch, priority: 3, reason: to see}]\n"
    )
    rows = laid(tmp_path, text)
    assert [(each.row.title, each.excluded) for each in rows if not each.row.canary] == [
        ("resnet18 order torch fp32", ""),
        ("tiny order empty fp32", ""),
        ("tiny order torch fp32", "too slow"),
        ("resnet18 order empty fp32", "too large"),
    ]
    assert all((each.plan is None) == bool(each.excluded) for each in rows)


def test_a_row_that_two_blocks_have_is_measured_once_at_the_higher_priority(tmp_path: Path) -> None:
    block = "{devices: [one], models: [tiny], methods: [order], priority: %d}"
    rows = laid(tmp_path, f"  matrix: [{block % 1}, {block % 7}, {block % 2}]")
    assert [each.row.priority for each in rows if not each.row.canary] == [7]


def test_overrides_change_priorities_and_words_in_their_order(tmp_path: Path) -> None:
    text = ROWS + (
        "  overrides:\n    - {models: [resnet18], priority: 9, words: {budget: 30}}\n"
        "    - {runtimes: [torch], words: {budget: 60}}\n"
    )
    rows = [each for each in laid(tmp_path, text) if not each.row.canary]
    assert [(each.row.model, each.row.runtime, each.row.priority, dict(each.row.words)) for each in rows] == [
        ("resnet18", "empty", 9, {"budget": 30.0}),
        ("resnet18", "torch", 9, {"budget": 60.0}),
        ("tiny", "empty", 0, {}),
        ("tiny", "torch", 0, {"budget": 60.0}),
    ]


REFUSED = [
    (
        "  matrix: [{devices: [jetson], models: [tiny], methods: [order], runtimes: [openvino]}]",
        'inventory.yaml:6: nightly.matrix.0: tiny order openvino fp32 on jetson: no runtime on device "jetson" "openvino"',
        "exclude the row and say why",
    ),
    (
        "  matrix: [{devices: [one], models: [tiny], methods: [order], runtimes: [torch], precisions: [fp23]}]",
        'inventory.yaml:6: nightly.matrix.0: tiny order torch fp23 on one: no precision of runtime torch "fp23"; did you',
        "exclude",
    ),
    (
        "  matrix: [{devices: [jetson], models: [tiny], methods: [order], power_modes: [15w]}]",
        'did you mean "15W"?',
        "lists them under `power_modes:`",
    ),
    (
        "  matrix: [{devices: [one], models: [tiny], methods: [order], words: {task: digit}}]",
        'no task "digit"; did you mean "digits"?',
        "exclude",
    ),
    (
        "  matrix: [{devices: [one], models: [tiny], methods: [order], words: {schedule: quick}}]",
        "--schedule: method order does not train",
        "Drop it",
    ),
    (ROWS + "  canary: {precision: int8, runtime: torch}", "nightly.canary: tiny order torch int8", "another canary"),
    (ROWS + "  exclude: [{models: [bert], reason: x}]", "nightly.exclude.0: no row of the matrix is like", "drop it"),
    (ROWS + "  overrides: [{threads: [3], priority: 1}]", "nightly.overrides.0: no row of the matrix", "drop it"),
    ("  budget_s: 60", "nightly: has no rows", "matrix:"),
    (
        f"  matrix: [{{devices: [one], models: [tiny], methods: [order, random], threads: {list(range(1, 1025))}, "
        "runtimes: [empty, onnxruntime, torch]}]",
        "inventory.yaml:6: nightly.matrix.0: 6144 rows, 6144 with those above; a matrix has 5000 at most",
        "Shorten a list",
    ),
]


@pytest.mark.parametrize("text, said, hint", REFUSED)
def test_what_cannot_be_is_refused_with_its_line_before_anything_starts(
    tmp_path: Path, text: str, said: str, hint: str
) -> None:
    with pytest.raises(InventoryError, match=re.escape(said)) as refused:
        laid(tmp_path, text)
    assert hint in refused.value.hint and refused.value.exit_code == 2


PLANNED = "  matrix: [{devices: [one], models: [tiny], methods: [planned], runtimes: [torch]}]\n"


def test_a_row_of_plans_takes_those_of_its_device_and_is_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"inventory\.yaml:6.*there is no plan of tiny on one") as caught:
        laid(tmp_path, PLANNED)
    assert "harness plan --device one --model tiny" in caught.value.hint
    words = 'words: {recipe: ["plans=layer1.0:skip"]}'
    *_, row = laid(tmp_path, PLANNED.replace("runtimes:", f"{words}, runtimes:"))
    assert row.plan is not None and row.plan.ladders[0].recipe == {"plans": ["layer1.0:skip"]}
