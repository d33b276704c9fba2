"""A folded network leaves for a device like any other: torch.export and ONNX, with a free batch."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import pytest
import torch
from networks import model, opened
from torch import Tensor

from harness.compress import Folded, fold, pad_first

BATCH = {"x": {0: torch.export.Dim("batch")}}


def folded_tiny(size: int) -> Folded:
    shape = (3, size, size)
    network, example = model("tiny", shape), torch.zeros(2, *shape)
    return fold(pad_first(opened(network, example), example), example)


@pytest.mark.parametrize(("size", "fixed"), [(16, False), (8, True)])
def test_a_folded_network_exports_with_a_free_batch(size: int, fixed: bool) -> None:
    folded = folded_tiny(size)
    assert folded.fixed_size is fixed
    program = torch.export.export(folded.network, (torch.zeros(2, 3, size, size),), dynamic_shapes=BATCH)
    x = torch.randn(5, 3, size, size)
    assert torch.equal(program.module()(x), folded.network(x))


def test_a_folded_network_with_uneven_padding_runs_in_onnxruntime(tmp_path: Path) -> None:
    folded = folded_tiny(8)
    kernels = [module for module in folded.network.modules() if isinstance(module, torch.nn.ZeroPad2d)]
    assert kernels, "the smallest maps are meant to need padding that differs between sides"
    file = tmp_path / "folded.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own insides
        program = torch.onnx.export(
            folded.network, (torch.zeros(2, 3, 8, 8),), dynamo=True, opset_version=18, dynamic_shapes=BATCH
        )
    assert program is not None
    program.save(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = torch.randn(5, 3, 8, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected: Tensor = folded.network(x).detach()
    assert float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max()) < 1e-5
