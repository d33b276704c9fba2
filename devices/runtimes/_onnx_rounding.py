"""Shared by runtimes of ONNX, on the controller: a float32 model in float16, or rounded to int8 on the task's inputs."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _onnx_graph
else:
    import _arrays
    import _onnx_graph

# What has int8 kernels in TensorRT; additions for shortcuts. All else keeps its numbers, or breaks fusions.
_OF_TENSORRT = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "AveragePool", "GlobalAveragePool", "MaxPool")


def halved(model: bytes) -> bytes:
    """Weights in float16, and operators too; the converter keeps those in float32 that lose too much by it."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load_model_from_string(model), keep_io_types=True)
    return bytes(half.SerializeToString(deterministic=True))


def quantised(model: bytes, calibration: str, batch: int, machine: str) -> bytes:
    """Rounded to int8 by ranges seen on the task's inputs, weights per channel and symmetric.

    Activations are uint8 on x86, whose instructions multiply unsigned by signed numbers, int8 elsewhere.
    """
    from onnxruntime.quantization import QuantType

    unsigned = machine.lower() in ("x86_64", "amd64", "i686", "i386")
    return _rounded(model, calibration, batch, activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8)


def symmetric(model: bytes, calibration: str, batch: int) -> bytes:
    """Likewise as TensorRT reads it: activations are int8 around 0 too, and biases stay (its parser takes no int32)."""
    from onnxruntime.quantization import QuantType

    how = {
        "activation_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        "op_types_to_quantize": list(_OF_TENSORRT),
        "nodes_to_exclude": _adding_constants(model),
    }
    return _rounded(model, calibration, batch, **how)


def _adding_constants(model: bytes) -> List[str]:
    """Names of additions of a constant, as biases are: TensorRT's builder refuses int8 constants that are no weights."""
    import onnx

    graph = onnx.load_model_from_string(model).graph
    fixed = {tensor.name for tensor in graph.initializer}
    fixed |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return [node.name for node in graph.node if node.op_type == "Add" and not fixed.isdisjoint(node.input)]


def _rounded(model: bytes, calibration: str, batch: int, **how: Any) -> bytes:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _silence():
        exact, ready, rounded = (Path(folder) / name for name in ("exact.onnx", "ready.onnx", "rounded.onnx"))
        exact.write_bytes(model)
        quant_pre_process(str(exact), str(ready))
        quantization.quantize_static(
            str(ready),
            str(rounded),
            _Reader(_onnx_graph.read(str(exact)).inputs, calibration, batch),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            **how,
        )
        return rounded.read_bytes()


class _Reader:
    """Hands the calibration inputs out in sets of `batch`, the last one filled up from the first."""

    def __init__(self, names: Sequence[str], calibration: str, batch: int) -> None:
        (name,) = names
        self.sets: Iterator[Dict[str, Any]] = iter({name: part} for part in _arrays.sets(calibration, batch))

    def get_next(self) -> Any:
        """Return the next set by the input's name, None when all are seen."""
        return next(self.sets, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantiser prints hints and logs what it skips; what comes of it is read back from the graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
