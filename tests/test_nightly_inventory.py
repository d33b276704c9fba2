"""`nightly:` of inventory.yaml: what it says reaches the matrix, and what it must not say is refused with its line."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from harness import inventory
from harness.errors import InventoryError
from harness.inventory.shape_nightly import WordsFile
from harness.plan import Words
from harness.records.nights import Block, Exclusion, Matrix, Override, Pick

DEVICES = """\
devices:
  one: {profile: host, tags: [lab]}
  two: {profile: jetson-orin-nano, host: two, tags: [lab]}
  three: {profile: host}
"""
FULL = """\
nightly:
  budget_s: 600
  max_age_days: 3
  keep_samples_days: 90
  canary: {model: tiny, method: order, runtime: empty, threads: 2, words: {rungs: 2}}
  matrix:
    - devices: [tag:lab, one]
      models: [tiny, resnet18]
      methods: [order]
      runtimes: [empty, onnxruntime]
      precisions: [fp32]
      threads: [1, 2]
      power_modes: [15W]
      priority: 5
      words: {budget: 60, data: ~/sets, recipe: [a=b], controls: false}
      why: what the paper shows
  exclude:
    - {devices: [one], power_modes: [15W], reason: it has none}
  include:
    - {device: three, model: tiny, method: order, runtime: torch, priority: -1, reason: to see}
  overrides:
    - {models: [resnet18], priority: 9}
    - {runtimes: [empty], threads: [2], words: {budget: 30}}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "inventory.yaml"
    file.write_text(text)
    return file


def matrix(folder: Path, text: str = FULL) -> Matrix:
    return inventory.nightly(written(folder, DEVICES + text))[1]


def test_every_key_reaches_the_matrix_with_its_line(tmp_path: Path) -> None:
    found, place = matrix(tmp_path), f"{tmp_path / 'inventory.yaml'}:%d: nightly.%s"
    assert (found.budget_s, found.max_age_days, found.keep_samples_days, found.place) == (
        600.0,
        3,
        90,
        place.removesuffix(".%s") % 5,
    )
    words = {"budget": 60.0, "data": str(Path("~/sets").expanduser()), "recipe": ["a=b"], "controls": False}
    (block,) = found.blocks
    assert block == Block(
        place=place % (11, "matrix.0"),
        devices=("one", "two"),
        models=("tiny", "resnet18"),
        methods=("order",),
        runtimes=("empty", "onnxruntime"),
        precisions=("fp32",),
        threads=(1, 2),
        power_modes=("15W",),
        priority=5,
        words=words,
        why="what the paper shows",
    )
    assert found.canary == Block(
        place % (9, "canary"), (), ("tiny",), ("order",), ("empty",), threads=(2,), words={"rungs": 2}
    )
    pick = Pick(place % (22, "exclude.0"), devices=("one",), power_modes=("15W",))
    assert found.excludes == (Exclusion(pick, "it has none"),)
    (single,) = found.includes
    assert (single.devices, single.runtimes, single.priority, single.why) == (("three",), ("torch",), -1, "to see")
    assert found.overrides == (
        Override(Pick(place % (26, "overrides.0"), models=("resnet18",)), 9),
        Override(Pick(place % (27, "overrides.1"), runtimes=("empty",), threads=(2,)), None, {"budget": 30.0}),
    )


def test_only_devices_that_rows_name_are_used(tmp_path: Path) -> None:
    text = "nightly: {matrix: [{devices: [three], models: [tiny], methods: [order]}]}"
    used, found = inventory.nightly(written(tmp_path, DEVICES + text))
    assert [device.name for device in used] == ["three"]
    assert found.max_age_days is None and found.canary.words["controls"] is False


def test_the_shipped_matrix_holds_only_this_machine(repository: Path) -> None:
    used, found = inventory.nightly(repository / "inventory.yaml")
    assert [device.name for device in used] == ["local"] and len(found.blocks) == 1


def test_the_words_are_the_flags_of_run_but_for_those_that_are_keys_of_their_own() -> None:
    keys = {"device", "model", "method", "runtime", "precision", "threads", "power_mode"}
    of_given_networks = {"onnx"}  # a row is of a model
    assert set(WordsFile.model_fields) == {field.name for field in fields(Words)} - keys - of_given_networks


BROKEN = [
    ("models: [tiny", "models: [tny", 12, 'nightly.matrix.0.models.0: no model "tny"', 'Did you mean "tiny"?'),
    ("methods: [order", "methods: [ordr", 13, 'nightly.matrix.0.methods.0: no method "ordr"', '"order"'),
    ("[empty, onnx", "[empty, onx", 14, 'nightly.matrix.0.runtimes.1: no runtime "onxruntime"', '"onnxruntime"'),
    ("[tag:lab, one]", "[tag:labb]", 11, 'nightly.matrix.0.devices.0: no tag "labb"', '"lab"'),
    ("[tag:lab, one]", "[ones]", 11, 'nightly.matrix.0.devices.0: no device "ones"', '"one"'),
    ("device: three", "device: tree", 24, 'nightly.include.0.device: no device "tree"', '"three"'),
    ("model: tiny, method: order, runtime: empty", "model: tinny", 9, 'nightly.canary.model: no model "tinny"', "tiny"),
    ("words: {budget: 60", "words: {bugdet: 60", 19, 'nightly.matrix.0.words.bugdet: no key "bugdet"', '"budget"'),
    ("budget_s: 600", "budget: 600", 6, 'nightly.budget: no key "budget"', '"budget_s"'),
    ("precisions:", "precision:", 15, 'nightly.matrix.0.precision: no key "precision"', '"precisions"'),
    (", reason: it has none", "", 22, "nightly.exclude.0.reason: field required", ""),
    ("devices: [one], power_modes: [15W], reason", "reason", 22, "nightly.exclude.0: excludes every row", "Say which"),
    ("budget_s: 600", "budget_s: 8h", 6, "budget_s: input should be a valid number; it is '8h'", "Seconds of a night"),
    ("threads: [1, 2]", "threads: [x]", 16, "threads.0: input should be a valid integer; it is 'x'", "Of an inference"),
    (", reason: to see", "", 24, "nightly.include.0.reason: field required", ""),
    (", priority: 9", "", 26, "nightly.overrides.0: overrides nothing", ""),
    ("data: ~/sets", "data: sets", 19, "nightly.matrix.0.words.data: must be a file's path, absolute", ""),
    ("threads: [1, 2]", "threads: [0]", 16, "nightly.matrix.0.threads.0: input should be greater than", ""),
    ("threads: [1, 2]", "threads: []", 16, "nightly.matrix.0.threads: list should have at least 1", ""),
    ("max_age_days: 3", "max_age_days: soon", 7, "nightly.max_age_days: input should be a valid integer", ""),
    ("budget_s: 600", "budget_s: 0", 6, "nightly.budget_s: input should be greater than 0", ""),
]


@pytest.mark.parametrize("old, new, line, said, hint", BROKEN)
def test_what_breaks_a_rule_is_refused_with_file_line_key_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, line: int, said: str, hint: str
) -> None:
    assert FULL.count(old) >= 1
    with pytest.raises(InventoryError, match=re.escape(said)) as refused:
        matrix(tmp_path, FULL.replace(old, new, 1))
    assert refused.value.message.startswith(f"{tmp_path / 'inventory.yaml'}:{line}: ")
    assert hint in refused.value.hint


def test_an_inventory_without_a_matrix_says_so(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="has no `nightly:`"):
        matrix(tmp_path, "")


def test_the_key_file_of_a_device_in_the_matrix_must_be_there_and_no_other(tmp_path: Path) -> None:
    text = DEVICES.replace("host: two", "host: two, key: /no/key")
    rows = "nightly: {matrix: [{devices: [%s], models: [tiny], methods: [order]}]}"
    assert inventory.nightly(written(tmp_path, text + rows % "three"))
    with pytest.raises(InventoryError, match=r"devices\.two\.key: must be a file that is there"):
        inventory.nightly(written(tmp_path, text + rows % "two"))
