"""Given files as a ladder in the cache: made once, by content, and never of a file that has changed."""

from __future__ import annotations

from pathlib import Path

import onnx_files
import pytest
from onnx import TensorProto, helper

from harness import given
from harness.errors import UsageError
from harness.given import reference


def silent(progress: object) -> None:
    pass


def test_a_ladder_is_made_once_and_found_again_wherever_its_files_lie(tmp_path: Path) -> None:
    here, there = (onnx_files.convolution(tmp_path / place / "net.onnx") for place in ("here", "there"))
    first = given.climb(given.look([here], 1), 1, silent)
    second = given.climb(given.look([there], 1), 1, silent)
    assert (first.cached, second.cached) == (False, True)
    assert first.rungs == second.rungs
    assert Path(first.rungs[0].variant.program).read_bytes() == here.read_bytes()


def test_a_file_in_the_cache_that_was_cut_short_is_copied_again(tmp_path: Path) -> None:
    networks = given.look([onnx_files.convolution(tmp_path / "net.onnx")], 1)
    program = Path(given.climb(networks, 1, silent).rungs[0].variant.program)
    whole = program.read_bytes()
    program.write_bytes(whole[:9])
    again = given.climb(networks, 1, silent)
    assert not again.cached and program.read_bytes() == whole


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    networks = given.look([onnx_files.convolution(tmp_path / "net.onnx")], 1)
    onnx_files.convolution(tmp_path / "net.onnx", scale=2.0)
    with pytest.raises(UsageError, match=r"net\.onnx: it has changed since the run was planned"):
        given.climb(networks, 1, silent)


def test_outputs_of_other_shapes_are_not_compared_and_the_reason_says_so(tmp_path: Path) -> None:
    wide = onnx_files.convolution(tmp_path / "wide.onnx")
    nodes = [helper.make_node("Relu", ["x"], ["z"])]
    narrow = onnx_files.write(tmp_path / "narrow.onnx", nodes, [("x", TensorProto.FLOAT, onnx_files.SHAPE)], ["z"], {})
    _, rung = given.climb(given.look([wide, narrow], 1), 1, silent).rungs
    assert rung.difference is None and "other shapes than those of wide" in rung.reasons["difference"]


def test_a_sample_is_the_same_every_time_and_has_the_batch_asked_for(tmp_path: Path) -> None:
    path = onnx_files.convolution(tmp_path / "net.onnx")
    assert reference.sample(path, 2) == reference.sample(path, 2)
    assert [tensor.shape for tensor in reference.sample(path, 2).outputs] == [(2, 4, 8, 8)]
