"""ONNX Runtime's profile as two sessions write it, read into operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import content


class Profiling:
    """A session that ran these nodes, each in so many us: ONNX Runtime's side of a profile, with its words."""

    def __init__(self, folder: Path, nodes: dict[str, int]) -> None:
        self.folder, self.nodes, self.runs = folder, nodes, 0

    def get_inputs(self) -> list[Any]:
        return []

    def run(self, *_: Any) -> None:
        self.runs += 1

    def end_profiling(self) -> str:
        args = {"op_name": "Relu", "input_type_shape": [{"float": [1]}], "output_type_shape": [{"float": [1]}]}
        node = {"cat": "Node", "args": args}
        events = [{**node, "name": f"{name}_kernel_time", "dur": us} for name, us in self.nodes.items()] * self.runs
        file = self.folder / "profile.json"
        file.write_text(json.dumps(events))
        return str(file)


def told(folder: Path, *sides: dict[str, int]) -> list[tuple[str, int]]:
    runtime: Any = content.load("runtime", "onnxruntime")
    operators, _ = runtime._onnx_operators.executed(lambda packed: Profiling(folder, sides[packed]), [], 0.001)
    return [(each["name"], each["time_ns"]) for each in operators]


def test_times_find_their_operators_where_sessions_run_them_in_another_order(tmp_path: Path) -> None:
    assert told(tmp_path, {"a": 1, "b": 1}, {"b": 7, "a": 3}) == [("a", 3000), ("b", 7000)]


def test_sessions_that_ran_other_operators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other operators than the walk"):
        told(tmp_path, {"a": 1, "b": 1}, {"a": 1, "c": 1})
