"""The data of the experiments that the docs quote: they agree with each other and with what is claimed of them.

And what reads the words of other tools, which were recorded here (`tests/data/tools/`), and what makes tables.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import grid_rows, matrix_rows, noise, rules, tools
from benchmarks.tools import own
from harness.calibration import SAME

CONDITIONS = {name: (frame, raw) for name, frame, raw in noise.conditions()}
SAID = Path(__file__).resolve().parent / "data" / "tools"
experiments = pytest.mark.skipif(not CONDITIONS, reason="no experiment was run")


@pytest.mark.parametrize("name", CONDITIONS)
def test_our_rule_on_the_kept_data_says_what_the_calibration_said(name: str) -> None:
    frame, raw = CONDITIONS[name]
    found = json.loads((noise.DATA / f"noise-{name}.json").read_text())
    said: dict[int, list[int]] = {}
    for added, case, reference in rules._pairs(frame):
        said.setdefault(added, []).extend(rules._tried(*rules.RULES["ours"], case, reference, raw))
    assert [sum(map(abs, said[0])), len(said[0])] == [found["false"]["hits"], found["false"]["tries"]]
    for effect in found["effects"]:
        answers = said[round(100 * effect["added"])]
        assert [answers.count(1), answers.count(-1)] == [effect["found"]["hits"], effect["wrong"]]


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_experiment_is_whole(name: str) -> None:
    """At least 300 comparisons of equal networks, ten blocks each, and the raw latencies of every process."""
    frame, raw = CONDITIONS[name]
    per_pair = frame[frame.case.str.startswith(SAME)].groupby(["job", "case"]).block.nunique()
    assert len(per_pair) >= noise.ENOUGH and (per_pair == 10).all()
    assert len(raw) == len(frame)
    medians = np.median(raw, axis=1)
    assert np.quantile(np.abs(np.log(medians / frame.median_ns)), 0.5) < 0.05


@experiments
def test_the_bars_of_the_experiments_hold() -> None:
    """At most 1 % of equal networks called different; none that is slower called faster."""
    for name in CONDITIONS:
        found = json.loads((noise.DATA / f"noise-{name}.json").read_text())
        assert found["false"]["hits"] <= 0.01 * found["false"]["tries"], name
        assert all(effect["wrong"] == 0 for effect in found["effects"]), name


@experiments
def test_every_process_has_a_row_of_its_own() -> None:
    for frame, _ in CONDITIONS.values():
        assert isinstance(frame, pd.DataFrame)
        assert not frame.duplicated(["job", "case", "block", "replicate"]).any()


@pytest.mark.parametrize(
    ("read", "file", "milliseconds"),
    [
        (own.read_litert, "litert-benchmark.txt", 13.89),
        (own.read_openvino, "benchmark_app.txt", 24.54),
        (own.read_openvino, "benchmark_app-short.txt", 0.75612),
        (own.read_iree, "iree-benchmark-module.json", 31.308149),
        (own.read_bare, "bare.txt", 28.376),
    ],
)
def test_each_tools_median_is_read_from_what_it_says(read: Any, file: str, milliseconds: float) -> None:
    assert read((SAID / file).read_text()) == pytest.approx(1e6 * milliseconds)


@pytest.mark.parametrize("read", [own.read_litert, own.read_openvino])
def test_a_tool_that_tells_no_median_is_an_error_with_its_words(read: Any) -> None:
    with pytest.raises(ValueError, match="told no median: out of memory"):
        read("out of memory")


def test_every_tool_of_a_runtime_is_asked_for_one_thread(tmp_path: Path) -> None:
    given = own.Given(tmp_path / "artifact", tmp_path / "input.npy", tmp_path, expected_ns=1e7)
    assert "--num_threads=1" in own.of("litert").command(given)
    assert given.runs == 100  # of 10 ms: a second
    assert own.of("ncnn").name == "a bare loop"


def test_the_ratio_to_a_tool_is_that_of_the_pairs_and_one_slow_process_decides_nothing() -> None:
    tool = [1.0, 2.0, 1.5, 1.2, 1.1, 1.0, 1.4, 1.3, 1.0, 1.7]
    harness = [1.01 * each * noise for each, noise in zip(tool, [1.0, 1.001, 0.999] * 3 + [1.5], strict=True)]
    ratio, low, high = tools.interval({"harness": harness, "a tool": tool})
    assert low < 1.01 < high and ratio == pytest.approx(1.01, abs=0.001)


def test_a_ratio_beyond_the_bar_breaks_it_only_with_its_whole_interval() -> None:
    assert tools.holds(1.0, 0.95, 1.05) is True
    assert tools.holds(1.04, 1.03, 1.05) is False
    assert tools.holds(0.97, 0.90, 1.05) is None


def _row(**changed: Any) -> dict[str, Any]:
    latency = {"median": 4e6, "low": 3.9e6, "high": 4.1e6, "processes": 6}
    end = {
        "depth": 18,
        "macs": 10**8,
        "build_s": 3.0,
        "size_bytes": 44e6,
        "error": 1e-6,
        "latency_ns": latency,
        "failure": None,
    }
    row = {
        "model": "resnet18",
        "runtime": "litert",
        "precision": "fp32",
        "measured": "2026-11-21",
        "contended": 0,
        "versions": {},
    }
    speedup = {"ratio": 1.25, "low": 1.2, "high": 1.3, "verdict": "faster"}
    return {**row, "ends": [end, end], "speedup": speedup, "failure": None, **changed}


def test_a_row_of_the_matrix_says_all_that_was_measured() -> None:
    text = matrix_rows.tables({"a": _row(), "b": _row(contended=12)})
    line = "| litert | fp32 | 3.0 / 3.0 | 44.0 / 44.0 | 1e-06 / 1e-06 | 4 [3.9, 4.1] | 4 [3.9, 4.1] | 1.250 [1.200, 1.300] faster"
    assert f"{line} |" in text and f"{line}, contended |" in text
    assert "2 of 2 rows" in text and "2 faster" in text


def test_a_failure_stands_in_its_row_with_a_reason_that_breaks_no_table() -> None:
    failed = {
        **_row()["ends"][0],
        "latency_ns": None,
        "build_s": None,
        "size_bytes": None,
        "error": None,
        "failure": "no",
    }
    reason = "RuntimeError: no kernel\nfor | this [agent.py:1 > worker.py:20]"
    text = matrix_rows.tables({"a": _row(ends=[_row()["ends"][0], failed], speedup=None, failure=reason)})
    (line,) = (line for line in text.splitlines() if "litert" in line)
    assert line.endswith("| 4 [3.9, 4.1] | - | **folded failed**: RuntimeError: no kernel |")
    assert matrix_rows.short("wrong-output: error 0.5, tolerated 0.1 [worker.py:20 > measure.py:39]") == (
        "wrong-output: error 0.5, tolerated 0.1"
    )
    assert "|" not in matrix_rows.short("a | b") and len(matrix_rows.short("long " * 100)) < 170


def _judged(precision: str, rung: int, right: str, ratio: float) -> dict[str, Any]:
    latency = {"median": 4e6 / ratio, "low": 3.9e6 / ratio, "high": 4.1e6 / ratio, "processes": 6}
    speedup = {"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}
    return {
        "precision": precision,
        "rung": rung,
        "depth": 18 - rung,
        "right": right,
        "latency_ns": latency,
        "speedup": speedup,
    }


def test_what_folding_adds_to_quantisation_is_counted_example_by_example() -> None:
    rows = [_judged("fp32", 0, "1" * 100, 1.0), _judged("fp32", 1, "1" * 98 + "00", 1.1)]
    rows += [_judged("int8", 0, "0" + "1" * 99, 2.0), _judged("int8", 1, "0" * 5 + "1" * 93 + "00", 2.2)]
    assert grid_rows.change(rows, "int8", 0)[0] == pytest.approx(-0.01)
    assert grid_rows.added(rows, "int8", 1)[0] == pytest.approx(-0.04)
    assert grid_rows.added(rows, "int8", 1)[2] < 0.01
    assert grid_rows.fastest(rows, "int8") == 1
    assert "2.20 [1.98, 2.42] | -7.0" in grid_rows.tables({"litert": {"rows": rows}})


def test_nothing_changed_in_n_examples_still_leaves_room_for_three_in_n() -> None:
    assert grid_rows.mean(np.zeros(300)) == (0.0, -0.01, 0.01)


def test_an_accuracy_of_all_has_an_interval_too() -> None:
    share, low, high = grid_rows.share(np.ones(100))
    assert (share, round(low, 3), round(high, 3)) == (1.0, 0.963, 1.0)
