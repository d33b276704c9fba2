"""A nightly over a virtual board and this machine, twice: the second night measures nothing but the canary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import made_nights
import pytest

from harness import store
from lab.device import Device
from lab.runs import Boards

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1800)]
NIGHTLY = """\
nightly:
  canary: {runtime: empty, words: {rungs: 1, budget: 2, controls: false, energy: none}}
  matrix:
    - {devices: [local, tag:lab], models: [tiny], methods: [order], runtimes: [onnxruntime], threads: [1],
       words: {rungs: 1, budget: 20, controls: false, energy: none}}
"""


@pytest.fixture
def boards(pi4: Device, tmp_path: Path) -> Iterator[Boards]:
    made = Boards(tmp_path / "home", tmp_path / "cache", pi4)
    with (made.folder / "inventory.yaml").open("a") as file:
        file.write(NIGHTLY)
    yield made


def test_the_second_night_measures_nothing_but_the_canary_and_a_virtual_board_has_none(boards: Boards) -> None:
    first = boards("nightly", "--json", patience_s=800)
    assert first.code == 0, first.err
    came = {(each["row"]["device"], each["row"]["canary"]): each["outcome"] for each in first.json["rows"]}
    assert came == dict.fromkeys((("local", True), ("local", False), (boards.names, False)), "measured")
    (board,), (_, here) = boards.runs_of(boards.names), boards.runs_of("local")
    variants = [[case.variant for case in store.load(run).cases] for run in (board, here)]
    assert variants[0] == variants[1] and store.load(board).virtual

    made_nights.calm(boards.folder / "results")
    second = boards("nightly", "--json", patience_s=400)
    assert second.code == 0, second.err
    came = {(each["row"]["device"], each["row"]["canary"]): each["outcome"] for each in second.json["rows"]}
    assert came == {("local", True): "measured", ("local", False): "fresh", (boards.names, False): "fresh"}
    assert len(boards.runs) == 4
