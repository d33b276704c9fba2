"""What a given file must be, and what is said of one that is not: the thing, the rule, the value, the next move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
from onnx import TensorProto, helper

from harness import given
from harness.errors import UsageError
from harness.given import inputs, ladder, reference
from harness.given.read import read


def look(*paths: Path, batch: int = 1) -> None:
    ladder.look([{"name": path.stem, "path": str(path)} for path in paths], batch)


def text(path: Path) -> Path:
    path.write_text("no network\n" * 20)
    return path


def orphan(path: Path) -> Path:
    made = onnx_files.convolution(path, beside=True)
    (path.parent / f"{path.name}.data").unlink()
    return made


def cut(path: Path) -> Path:
    made = onnx_files.convolution(path, beside=True)
    (path.parent / f"{path.name}.data").write_bytes(b"0123")
    return made


def quantised(path: Path) -> Path:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["z"]),
    ]
    return onnx_files.write(path, nodes, [("x", TensorProto.FLOAT, ("N", 3))], ["z"], {"s": np.float32(0.1)})


def reshaped(path: Path) -> Path:
    """Exported for one example, with a batch that only seems to be free."""
    nodes = [helper.make_node("Reshape", ["x", "one"], ["z"])]
    return onnx_files.write(path, nodes, [("x", TensorProto.FLOAT, ("N", 6))], ["z"], {"one": np.array([1, 2, 3])})


def batchless(path: Path) -> Path:
    nodes = [helper.make_node("ReduceMax", ["x"], ["z"], keepdims=0)]
    return onnx_files.write(path, nodes, [("x", TensorProto.FLOAT, ("N", 6))], ["z"], {})


def infinite(path: Path) -> Path:
    nodes = [helper.make_node("Log", ["x"], ["z"])]
    return onnx_files.write(path, nodes, [("x", TensorProto.FLOAT, ("N", 6))], ["z"], {})


def huge(path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["z"])]
    return onnx_files.write(path, nodes, [("x", TensorProto.FLOAT, ("N", 2_000_000))], ["z"], {})


def with_(**changes: object) -> Callable[[Path], Path]:
    return lambda path: onnx_files.convolution(path, **changes)


@pytest.mark.parametrize(
    ("make", "batch", "message", "move"),
    [
        (text, 1, "not an ONNX network", "harness fold --out"),
        (orphan, 1, "1 of its tensors lie in net.onnx.data, which is not beside it", "external_data=False"),
        (cut, 1, "its weights cannot be read", "Export it again"),
        (with_(opset=99), 1, r"opset 99 of ai.onnx, onnxruntime [\d.]+ runs up to opset \d+", "or older, or upgrade"),
        (with_(ir_version=99), 1, r"\(IR version\) 99, onnxruntime [\d.]+ reads up to \d+", "upgrade onnxruntime"),
        (with_(shape=("N", 3, "height", 8)), 1, r'dimension 2 \("height"\) of its input x is free', "--dim_param height"),
        (with_(shape=("N", 3, 8, None)), 1, "dimension 3 of its input x is free", "--input_name x"),
        (with_(shape=(4, 3, 8, 8)), 1, "input x is fixed at 4, --batch says 1", "Say --batch 4"),
        (with_(shape=()), 1, "its input x has no batch dimension", "batch first"),
        (with_(kind=TensorProto.INT32), 1, "its input x is int32; float32 and int64 can be fed", "Export it"),
        (with_(weights=np.float16), 1, "its tensor w is float16; this version measures float32 alone", "Give the float32"),
        (quantised, 1, r"it is quantised \(QuantizeLinear\)", "Give the float32"),
        (reshaped, 2, "cannot be run|cannot run it with x 2x6", "try another --batch"),
        (batchless, 3, r"an output has shape \(\), whose first extent is not the batch, 3", "begin with the batch"),
        (infinite, 1, "its outputs are not finite", "numbers for such inputs"),
        (huge, 1, "as a sample, at most 16 MiB travel", "smaller --batch"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_measured_is_refused_with_the_rule_and_the_next_move(
    make: Callable[[Path], Path], batch: int, message: str, move: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=message) as caught:
        look(path, batch=batch)
    assert str(path) in caught.value.message and move in caught.value.hint
    assert "\n" not in caught.value.message and "/onnxruntime_src/" not in caught.value.message


def test_networks_that_read_different_shapes_are_not_one_ladder(tmp_path: Path) -> None:
    small = onnx_files.convolution(tmp_path / "small.onnx")
    large = onnx_files.convolution(tmp_path / "large.onnx", shape=("N", 3, 16, 16))
    with pytest.raises(UsageError, match=r"large\.onnx: reads 1x3x16x16 float32, .*small\.onnx reads 1x3x8x8 float32"):
        look(small, large)


def test_a_file_that_is_not_there_or_given_twice_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        given.look([tmp_path / "gone.onnx"], 1)
    path = onnx_files.convolution(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="given twice"):
        given.look([path, tmp_path / "." / "net.onnx"], 1)


def test_a_fixed_batch_leaves_the_file_as_it_is_and_a_free_one_is_fixed_by_its_name(tmp_path: Path) -> None:
    fixed = read("fixed", onnx_files.convolution(tmp_path / "fixed.onnx", shape=(2, 3, 8, 8)))
    assert inputs.at_batch(fixed.model, 2) is None and fixed.data == fixed.path.read_bytes()
    free = onnx.shape_inference.infer_shapes(read("free", onnx_files.convolution(tmp_path / "free.onnx")).model)
    made = inputs.at_batch(free, 5)
    assert made is not None
    for value in (*made.graph.input, *made.graph.value_info, *made.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_value == 5, value.name


def test_weights_beside_a_file_are_taken_in(tmp_path: Path) -> None:
    whole, split = (onnx_files.convolution(tmp_path / name, beside="s" in name) for name in ("one.onnx", "split.onnx"))
    taken = read("split", split)
    (alone := tmp_path / "elsewhere" / "alone.onnx").parent.mkdir()
    alone.write_bytes(taken.data)
    shapes = inputs.of(whole, read("one", whole).model, 2)
    assert reference.run(alone, shapes) == reference.run(whole, shapes) == reference.run(split, shapes)


def test_tokens_stay_below_the_tables_they_index_and_masks_hide_nothing(tmp_path: Path) -> None:
    path = onnx_files.reader(tmp_path / "reader.onnx")
    network = read("reader", path)
    tokens, mask = found = inputs.of(path, network.model, 30)
    assert [(each.dtype, each.below) for each in found] == [("int64", 7), ("int64", None)]
    fed_tokens, fed_mask = (np.frombuffer(tensor.raw(), "<i8") for tensor in inputs.make(found))
    assert set(fed_tokens) == set(range(7)) and set(fed_mask) == {1}
    assert tokens.shape == mask.shape == (30, 5)
    (output,) = reference.run(path, found)
    assert output.shape == (30, 5, 2)


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    from harness.given.client import names

    assert names([Path("/a/net.onnx"), Path("/b/net.onnx"), Path("/b/other.onnx")]) == ("a/net", "b/net", "other")
    assert names([Path("/x/a/net.onnx"), Path("/y/a/net.onnx")]) == ("a/net (1)", "a/net (2)")
