"""TensorRT-RTX on desktop RTX GPUs (`--runtime tensorrt_rtx`): the engine is compiled here, without a GPU.

    --precision fp16           weights and operators in half precision, inputs and outputs float32
    --precision int8           explicit QDQ, symmetric, signed, calibrated on the task; what is not quantised stays fp32
    --option cuda_graph=on     an inference is recorded once and launched by one call
    --option transfers=on      copies to and from the GPU lie within what is timed
    --option optimization=5    the builder's level, 0 to 5 (3)

`compute_capability` of the profile's `target:` says for which GPUs: one ("8.6") or several ("8.6,8.9"). Not 8.7: Jetson Orin
takes `tensorrt`. Kernels are compiled on the device when a process first runs the engine: `jit_s`, which lies in `load_ns` and in
no latency. An artifact is a ZIP file of `plan` and `about.json`; a runtime of another version than the builder's is refused.
Timing ends when the GPU is done. TF32 is off.
"""

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import (
        _cuda,
        _tensorrt_build,
        _tensorrt_engines,
        _tensorrt_export,
        _tensorrt_session,
        _tensorrt_versions,
        _tensorrt_walk,
    )
else:
    import _cuda
    import _tensorrt_build
    import _tensorrt_engines
    import _tensorrt_export
    import _tensorrt_session
    import _tensorrt_versions
    import _tensorrt_walk

PRECISIONS = ("fp32", "fp16", "int8")
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {
    "cuda_graph": ("off", "on"),
    "transfers": ("off", "on"),
    "optimization": ("3", "0", "1", "2", "4", "5"),
}
CONVERTERS = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13-bindings")
# What `tensorrt-rtx` stands for, which itself is no wheel; the version is the builder's, for engines are of one version.
PACKAGES = ("tensorrt-rtx-cu13-bindings==1.7.1.116", "tensorrt-rtx-cu13-libs==1.7.1.116")
TARGET = ("compute_capability",)

_ORIN = "8.7"


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, Any]:
    """Compile the variant for the target's GPUs; its kernels are made on the device, so `ops_executed` is not known here.

    Raises ValueError for GPUs that it does not know, Failed with the parser's or the builder's own words.
    """
    tensorrt_rtx = _tensorrt_rtx()
    capabilities = wanted(target, tensorrt_rtx.ComputeCapability.__members__)
    model = _tensorrt_export.model(variant, {}, precision, options)
    level = options.get("optimization", OPTIONS["optimization"][0])
    settings = _tensorrt_versions.settings_of_rtx(precision, precision == "fp16")
    members = [tensorrt_rtx.ComputeCapability.__members__[name] for name in capabilities]
    log = _tensorrt_build.Log(tensorrt_rtx)
    built = _tensorrt_build.build(tensorrt_rtx, log, model, settings, level, capabilities=members)
    known = {"builder": tensorrt_rtx.__version__, "built_for": ",".join(capabilities), "written": precision}
    out.write_bytes(_tensorrt_engines.packed(_tensorrt_engines.Engine(built.plan, {**built.told, **known})))
    return {"ops_executed": None}


def wanted(target: Any, known: Sequence[str]) -> List[str]:
    """Return the builder's names of the target's compute capabilities. Raises ValueError with the next move."""
    said = str(target.get("compute_capability", ""))
    asked = [part.strip() for part in said.split(",") if part.strip()]
    if not asked:
        raise ValueError(
            "for which GPU? Copy the device's profile and add its compute capability to `target:`, such as"
            ' compute_capability: "8.9" (nvidia-smi --query-gpu=compute_cap --format=csv)'
        )
    if _ORIN in asked:
        raise ValueError(
            "TensorRT-RTX does not compile for Jetson Orin (compute capability 8.7): use --runtime tensorrt"
        )
    names = ["SM" + capability.replace(".", "") for capability in asked]
    missing = [capability for capability, name in zip(asked, names) if name not in known]
    if missing:
        served = ", ".join("%s.%s" % (name[2:-1], name[-1]) for name in known if name.startswith("SM"))
        raise ValueError(
            "TensorRT-RTX does not compile for compute capability %s, but for %s: use --runtime tensorrt"
            % (missing[0], served)
        )
    return names


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of TensorRT-RTX and of the CUDA that the driver serves. Raises ImportError when one is missing."""
    return {"tensorrt_rtx": str(_tensorrt_rtx().__version__), "cuda_driver": _cuda.Driver().version()}


def load(path: str, options: Dict[str, Any]) -> "_tensorrt_session.Session":
    """Return a session that has run once: its kernels are compiled.

    Raises Failed for an engine of another version, one that does not load, or other numbers than asked for; ImportError
    without a GPU.
    """
    trt = _tensorrt_rtx()
    engine_file = _tensorrt_engines.unpacked(Path(path).read_bytes())
    require_version(engine_file.about, str(trt.__version__))
    gpu, log = _cuda.Gpu(_cuda.Driver()), _tensorrt_build.Log(trt)
    runtime = trt.Runtime(log.sink)
    runtime.max_threads = int(options["threads"])
    engine = runtime.deserialize_cuda_engine(engine_file.plan)
    if engine is None:
        raise _tensorrt_build.Failed(
            "TensorRT-RTX cannot load this engine, built for %s, on this GPU (%s): %s"
            % (engine_file.about.get("built_for"), gpu.facts()["compute_capability"], log.last_words())
        )
    session = _ready(trt, engine, gpu, options, {**engine_file.about, "threads": int(runtime.max_threads)})
    _tensorrt_session.require_precision(session, str(options["precision"]))
    return session


def operators(
    path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float
) -> Tuple[List[Dict[str, Any]], int]:
    """Return the engine's layers as fields of `wire.Operator`, and over how many inferences their times are medians."""
    session = load(path, {**options, "cuda_graph": "off"})
    session.feed(inputs)
    times, count = _tensorrt_session.profiled(_tensorrt_rtx(), session, seconds) if seconds > 0 else ({}, 0)
    return _tensorrt_walk.operators(session.layers, times), count


def require_version(about: Dict[str, Any], version: str) -> None:
    """Raise Failed unless the builder's version is the runtime's."""
    builder = about.get("builder")
    if builder != version:
        raise _tensorrt_build.Failed(
            "the engine was built by TensorRT-RTX %s, here is %s: install tensorrt-rtx==%s"
            % (builder, version, builder)
        )


def _ready(
    trt: Any, engine: Any, gpu: "_cuda.Gpu", options: Dict[str, Any], told: Dict[str, Any]
) -> "_tensorrt_session.Session":
    """Return a session after its first inference, and say how long that took: context, compiling, running."""
    began = time.monotonic()
    session = _tensorrt_session.Session(trt, engine, gpu, options, told)
    session()
    session.told["jit_s"] = round(time.monotonic() - began, 3)
    return session


def _tensorrt_rtx() -> Any:
    try:
        return importlib.import_module("tensorrt_rtx_bindings")  # `tensorrt_rtx` is another name for it
    except ImportError as error:
        raise ImportError(
            "TensorRT-RTX is not installed for this Python (%s): pip install tensorrt-rtx" % error
        ) from None
