"""The sample that lies beside an artifact: seeded inputs, and what the network itself computes of them.

Of a program torch computes it, of a given file ONNX Runtime with optimisations off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness import wire
from harness.records import Calibration, Variant

if TYPE_CHECKING:
    import torch


def make(variant: Variant, batch: int, calibration: Calibration | None) -> wire.Sample:
    """Return one set of `batch` inputs and the outputs of it. Torch and the like are imported here."""
    if variant.form == "onnx":
        from harness.given import reference

        return reference.sample(Path(variant.program), batch)
    return _of_program(variant, batch, calibration)


def _of_program(variant: Variant, batch: int, calibration: Calibration | None) -> wire.Sample:
    """Return seeded inputs (standard normal, or tokens) and the torch network's float32 outputs for them.

    What was calibrated is proved on the task's inputs: noise lies outside the ranges that it was calibrated to.
    """
    import numpy as np
    import torch

    from harness.compress import program

    network = torch.export.load(variant.program).module()
    inputs = program.make_example(variant.input_shape, 0, variant.vocabulary, batch)
    if calibration:
        inputs = torch.from_numpy(np.resize(np.load(calibration.path), inputs.shape))
    with torch.inference_mode():
        outputs = network(inputs)
    return wire.Sample((_tensor(inputs, variant.input_dtype),), (_tensor(outputs),))


def _tensor(value: torch.Tensor, dtype: str = "float32") -> wire.Tensor:
    code = {"float32": "<f4", "int64": "<i8"}[dtype]
    return wire.Tensor.of(value.shape, value.detach().contiguous().numpy().astype(code).tobytes(), dtype)
