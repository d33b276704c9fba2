"""OpenVINO on the CPU (`--runtime openvino`), through ONNX opset 18 at a fixed batch, or from an ONNX file as it was given.

    --option pinning=on      OpenVINO binds its threads to cores itself (default off: they stay where the agent put them)

Set explicitly: INFERENCE_PRECISION_HINT (left alone, OpenVINO takes bfloat16 where the CPU has it, and its own answer to
f16 is bfloat16 too), threads (`--threads`), one stream, no dynamic quantisation. `fp16` is weights in float16; arithmetic
is float16 where the CPU has it (ARM), else float32: `arithmetic` says which. `int8` is NNCF's, calibrated.

The artifact is an uncompressed zip of `model.xml` and `model.bin` without dates, file names and running numbers: equal
networks give equal bytes. Neither half lets OpenVINO report home, which its import would do.
"""

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Sequence, Set, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _onnx_export, _openvino_operators, _packing
else:
    import _arrays
    import _onnx_export
    import _openvino_operators
    import _packing

PRECISIONS = ("fp32", "fp16", "int8")
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {"pinning": ("off", "on")}
CONVERTERS = ("torch", "onnx", "onnxscript", "openvino", "nncf")
PACKAGES = ("openvino", "numpy")

_FILES = ("model.xml", "model.bin")
_NO_WORK = {"Input", "Output", "Const"}  # in the graph that runs
_HEAVY = {
    "Convolution",
    "Deconvolution",
    "FullyConnected",
    "MatMul",
    "MHA",
    "ScaledDotProductAttention",
    "RNNSeq",
    "RNNCell",
}


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, Any], out: Path) -> Dict[str, int]:
    """Write the variant as OpenVINO's IR; returns `ops_executed`, the operators of the graph as it is compiled here.

    Int8 is calibrated with `options["calibration"]`, a NumPy file of inputs [N, *input_shape]. Raises ValueError without
    it, and where nothing of the network came to compute in int8; else whatever the converters raise.
    """
    batch = int(options.get("batch", "1"))
    model = _import().Core().read_model(_onnx_export.serialised(variant, batch))
    if precision == "int8":
        model = _quantised(model, options.get("calibration"))
    out.write_bytes(_packed(model, precision))
    session = load(str(out), {"threads": 1})
    if session.precision() != precision:
        raise ValueError("%s was asked for, the graph as compiled here is %s" % (precision, session.precision()))
    return {"ops_executed": sum(1 for layer in session.layers if layer["layerType"] not in _NO_WORK)}


def _quantised(model: Any, calibration: Any) -> Any:
    """Return the model with int8 weights and activations (NNCF: per channel, biases corrected, symmetric unless attention)."""
    if not calibration:
        raise ValueError("int8 needs inputs to calibrate with")
    nncf = _import_nncf()
    kinds = {operator.get_type_name() for operator in model.get_ops()}
    attention = nncf.ModelType.TRANSFORMER if kinds & {"Softmax", "ScaledDotProductAttention"} else None
    sets = _arrays.sets(calibration, int(model.inputs[0].shape[0]))
    with contextlib.redirect_stdout(io.StringIO()):  # progress
        return nncf.quantize(
            model,
            nncf.Dataset(sets),
            model_type=attention,
            subset_size=len(sets),
            target_device=nncf.TargetDevice.CPU,
        )


def _import_nncf() -> Any:
    """Return the package, imported without warnings about what it imports, and without telemetry."""
    os.environ["NNCF_CI"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf
    nncf.set_log_level(logging.ERROR)
    return nncf


def _packed(model: Any, precision: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / _FILES[0]
        _import().save_model(model, str(xml), compress_to_fp16=precision == "fp16")
        contents = (_anonymous(xml.read_text(encoding="utf-8")).encode(), xml.with_suffix(".bin").read_bytes())
    return _packing.packed(dict(zip(_FILES, contents)))


def _anonymous(xml: str) -> str:
    """Number operators without a name of their own anew, as OpenVINO counts over all that a process has converted.

    How and with what the model was made is dropped from its end: versions stand beside the artifact.
    """
    numbers: Dict[str, str] = {}
    xml = re.sub(r"\n\t<rt_info>.*?\n\t</rt_info>", "", xml, flags=re.DOTALL)
    numbered = r'(?<= name=")([A-Z][A-Za-z0-9]*_\d+)(?![A-Za-z0-9])'
    return re.sub(numbered, lambda found: numbers.setdefault(found[1], "unnamed_%d" % len(numbers)), xml)


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import numpy

    return {"openvino": _import().get_version().split("-")[0], "numpy": numpy.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network compiled. Raises whatever OpenVINO raises, BadZipFile for a damaged artifact."""
    return _loaded(path, options, {})


def operators(path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float) -> Any:
    """Return the operators that are executed, and how many inferences their times are medians of (`_operators`)."""
    session = _loaded(path, options, {"PERF_COUNT": True} if seconds else {})
    session.feed(inputs)
    found = _openvino_operators.walk(session.compiled)
    return _openvino_operators.timed(session.request, found, seconds) if seconds else (found, 0)


def _loaded(path: str, options: Dict[str, Any], more: Dict[str, Any]) -> "Session":
    core = _import().Core()
    with zipfile.ZipFile(path) as packed:
        xml, weights = (packed.read(name) for name in _FILES)
    model = core.read_model(xml, weights)
    stored = _stored(model)
    settings = {**_settings(core, stored, options), **more}
    compiled = core.compile_model(model, "CPU", settings)
    in_force = compiled.get_property("INFERENCE_PRECISION_HINT")
    if in_force != settings["INFERENCE_PRECISION_HINT"]:
        raise RuntimeError("asked for %s, in force is %s" % (settings["INFERENCE_PRECISION_HINT"], in_force))
    return Session(compiled, stored)


def _import() -> Any:
    """Return the package, imported without its telemetry: else the import alone writes ~/intel and reports home."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it fails
    import openvino

    return openvino


def _stored(model: Any) -> Set[str]:
    """Return the types of the numbers that the artifact holds as weights (floating point, more than one)."""
    constants = (node.output(0) for node in model.get_ops() if node.get_type_name() == "Constant")
    return {held.element_type.get_type_name() for held in constants if held.element_type.is_real() and held.shape != []}


def _settings(core: Any, stored: Set[str], options: Dict[str, Any]) -> Dict[str, Any]:
    half = "f16" in stored and "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    kinds = _import().Type
    return {
        "INFERENCE_PRECISION_HINT": kinds.f16 if half else kinds.f32,
        "INFERENCE_NUM_THREADS": int(options["threads"]),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": str(options.get("pinning", OPTIONS["pinning"][0])) == "on",
        "ENABLE_HYPER_THREADING": True,  # or fewer threads than asked for where cores are halves
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # or float networks may compute in int8
    }


class Session:
    """One `infer` per inference, inputs handed over once, outputs read in place."""

    def __init__(self, compiled: Any, stored: Set[str]) -> None:
        self.compiled, self.stored = compiled, stored
        self.request = compiled.create_infer_request()
        self.layers = list(_layers(compiled))

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order. Raises RuntimeError for other shapes than the artifact's."""
        for n, tensor in enumerate(inputs):
            self.request.set_input_tensor(n, _import().Tensor(_arrays.array(tensor)))  # a copy, which the tensor keeps

    def __call__(self) -> Any:
        """Do one inference; returns its outputs, which the next one overwrites."""
        return self.request.infer(share_outputs=True)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        return _arrays.tensors(result[n] for n in range(len(self.compiled.outputs)))

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the compiled network and the graph that it runs."""
        ask = self.compiled.get_property
        return {
            "threads": ask("INFERENCE_NUM_THREADS"),
            "streams": ask("NUM_STREAMS"),
            "provider": ",".join(ask("EXECUTION_DEVICES")).lower(),
            "batch": int(self.compiled.inputs[0].shape[0]),
            "precision": self.precision(),
            "arithmetic": ",".join(sorted(self._arithmetic())),
            "precision_hint": ask("INFERENCE_PRECISION_HINT").get_type_name(),
            "pinning": "on" if ask("ENABLE_CPU_PINNING") else "off",
        }

    def precision(self) -> str:
        """Return `int8` where heavy operators compute in it, else how the weights are held; a mixture is named as such."""
        arithmetic = self._arithmetic()
        if arithmetic & {"i8", "u8"}:
            return "int8"
        if "f16" in self.stored and arithmetic <= {"f16", "f32"}:
            return "fp16"
        return "fp32" if self.stored | arithmetic <= {"f32"} else ",".join(sorted(self.stored | arithmetic))

    def _arithmetic(self) -> Set[str]:
        """Return what heavy operators compute in, by the kernels taken: `brgconv_avx512_f32`, `brgconv_avx512_I8`.

        Their `runtimePrecision` would say f16 where weights alone are held so (2026.4.1).
        """
        kernels = (layer["primitiveType"] for layer in self.layers if layer["layerType"] in _HEAVY)
        return {kernel.lower().rsplit("_", 1)[-1] for kernel in kernels}


def _layers(compiled: Any) -> Iterator[Dict[str, str]]:
    """Give what OpenVINO tells of each operator of the graph that runs: `layerType`, `primitiveType` and more."""
    for node in compiled.get_runtime_model().get_ordered_ops():
        yield {key: str(told.value) for key, told in node.get_rt_info().items()}
