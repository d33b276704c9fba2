"""ONNX Runtime (`--runtime onnxruntime`), from ONNX opset 18 at a fixed batch, or from a file as it was given.

    --option provider=cuda             what computes: cpu (default), cuda, tensorrt; it alone, no node on the CPU beside it
    --option optimization=extended     graph optimisation level: all (default), extended, basic, disabled
    --option spinning=off              threads wait by blocking instead of spinning; matters for energy and neighbours
    --option io_binding=on             inputs and outputs bound once, on a GPU in its memory, instead of handed over at every call

    --precision fp16                   weights in float16; arithmetic too where the provider has kernels for it
    --precision int8                   static, per channel, calibrated on the task: activations uint8 on x86, int8 on ARM;
                                       for TensorRT symmetric; CUDA's provider has no int8

Intra-op threads are set explicitly (`--threads`), inter-op is 1, execution is sequential. It is an error if another provider
than the one asked for is in force. Inputs and outputs are float32 at every precision, which is read back from the graph:
`layers_int8` and its like count convolutions and matrix products by the numbers they compute in.

Boards are sent the CPU's wheels. The GPU's are large, bound to a CUDA, and a Jetson's are not in the package index: `cuda` and
`tensorrt` need a Python that has them, which is said with how to get them. Neither has been run on a GPU yet.
"""

import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Set, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _onnx_export, _onnx_graph, _onnx_operators, _onnx_providers, _onnx_rounding
else:
    import _arrays
    import _onnx_export
    import _onnx_graph
    import _onnx_operators
    import _onnx_providers
    import _onnx_rounding

PRECISIONS = ("fp32", "fp16", "int8")
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {
    "provider": ("cpu", "cuda", "tensorrt"),
    "optimization": ("all", "extended", "basic", "disabled"),
    "spinning": ("on", "off"),
    "io_binding": ("off", "on"),
}
CONVERTERS = ("torch", "onnx", "onnxscript", "onnxruntime")
PACKAGES = ("onnxruntime", "numpy")
TARGET: Dict[str, Tuple[str, ...]] = {"int8": ("arch",)}  # of the others, one artifact serves every device

_SPINNING = "session.intra_op.allow_spinning"
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, int]:
    """Write the variant as ONNX; returns `ops_executed`, the nodes of the graph as ONNX Runtime optimises it here.

    A given file is written as it is; only a free batch is fixed in it. `options["calibration"]` is int8's.
    """
    batch = int(options.get("batch", "1"))
    model = _onnx_export.serialised(variant, batch)
    if precision == "fp16":
        model = _onnx_rounding.halved(model)
    elif precision == "int8":
        model = _quantised(model, batch, target.get("arch", platform.machine()), options)
    out.write_bytes(model)
    return {"ops_executed": len(_optimised(str(out), options).nodes)}


def _quantised(model: bytes, batch: int, machine: str, options: Dict[str, str]) -> bytes:
    """Round to int8 as the provider computes in it. Raises ValueError for CUDA's, which has no kernels for it."""
    provider = _chosen(options, "provider")
    if provider == "cuda":
        raise ValueError(
            "ONNX Runtime's CUDA provider does not compute in int8: say --option provider=tensorrt or cpu, or --precision fp16"
        )
    if provider == "tensorrt":
        return _onnx_rounding.symmetric(model, options["calibration"], batch)
    return _onnx_rounding.quantised(model, options["calibration"], batch, machine)


def _optimised(path: str, options: Dict[str, Any]) -> Any:
    """Return the graph that is left when ONNX Runtime has fused and replaced what it can for this machine's CPU."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = str(Path(folder) / "optimised.onnx")
        settings = _settings({**options, "threads": 1})
        settings.optimized_model_filepath = optimised
        _onnx_providers.session(path, settings, "cpu")
        return _onnx_graph.read(optimised)


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import numpy
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network loaded and optimised. Raises whatever ONNX Runtime raises."""
    settings = _settings(options)
    session = _onnx_providers.session(
        path, settings, _chosen(options, "provider"), str(options.get("precision", "fp32"))
    )
    return (BoundSession if _chosen(options, "io_binding") == "on" else Session)(session, path, options)


def operators(path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float) -> Any:
    """Return the operators that are executed, and how many inferences their times are medians of (`_operators`)."""
    with tempfile.TemporaryDirectory() as folder:

        def profiling(prepacking: bool) -> Any:
            settings = _settings(options)
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(folder) / "profile")
            settings.add_session_config_entry("session.disable_prepacking", "0" if prepacking else "1")
            precision = str(options.get("precision", "fp32"))
            return _onnx_providers.session(path, settings, _chosen(options, "provider"), precision)

        return _onnx_operators.executed(profiling, [_arrays.array(tensor) for tensor in inputs], seconds)


def _chosen(options: Dict[str, Any], name: str) -> str:
    return str(options.get(name, OPTIONS[name][0]))


def _settings(options: Dict[str, Any]) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(options["threads"])
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS[_chosen(options, "optimization")]
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    settings.add_session_config_entry(_SPINNING, "1" if _chosen(options, "spinning") == "on" else "0")
    settings.log_severity_level = 3  # errors: warnings at load say that an optimised model is for this machine only
    return settings


class Session:
    """One `run` per inference, numpy arrays in and out, as most programs do it."""

    def __init__(self, session: Any, path: str, options: Dict[str, Any]) -> None:
        self.session, self.path, self.options = session, path, options
        self.input_names: List[str] = [item.name for item in session.get_inputs()]
        self.output_names: List[str] = [item.name for item in session.get_outputs()]
        self.fed: Dict[str, Any] = {}

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order."""
        self.fed = dict(zip(self.input_names, map(_arrays.array, inputs)))

    def __call__(self) -> Any:
        """Do one inference; returns its outputs as numpy arrays."""
        return self.session.run(self.output_names, self.fed)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        return _arrays.tensors(result)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the session."""
        settings = self.session.get_session_options()
        level = {name: key for key, name in _LEVELS.items()}[settings.graph_optimization_level.name]
        return {
            "threads": settings.intra_op_num_threads,
            "inter_op_threads": settings.inter_op_num_threads,
            "execution": settings.execution_mode.name,
            **_onnx_providers.in_force(self.session),
            "batch": next((len(array) for array in self.fed.values()), None),
            **self._numbers(),
            "optimization": level,
            "spinning": "on" if settings.get_session_config_entry(_SPINNING) == "1" else "off",
            "io_binding": "off",
            **({} if _chosen(self.options, "provider") == "cpu" else {"transfers": "inputs,outputs"}),
        }

    def _numbers(self) -> Dict[str, Any]:
        """The precision, from the graph: int8 if layers compute in it once it is optimised, fp16 if weights are."""
        if not self._types() <= {"tensor(float)", "tensor(int64)"}:
            return {"precision": "mixed"}
        loaded = _onnx_graph.read(self.path)
        if not loaded.quantises() and not loaded.holds_float16():
            return {"precision": "fp32"}
        if (
            _chosen(self.options, "provider") != "cpu"
        ):  # what it fuses it does not tell: the file's numbers, as it took them
            return {"precision": "int8" if loaded.quantises() else "fp16"}
        layers = _optimised(self.path, self.options).layers()
        precision = "int8" if layers["int8"] else "fp16" if loaded.holds_float16() else "fp32"
        return {"precision": precision, **{"layers_" + name: count for name, count in layers.items()}}

    def _types(self) -> Set[str]:
        """Types of inputs and outputs; tokens stay int64 at every precision."""
        return {item.type for item in (*self.session.get_inputs(), *self.session.get_outputs())}


class BoundSession(Session):
    """Inputs and outputs bound once: an inference hands nothing over; on a GPU both stay in its memory."""

    def __init__(self, session: Any, path: str, options: Dict[str, Any]) -> None:
        super().__init__(session, path, options)
        self.binding = session.io_binding()
        self.memory = "cpu" if _chosen(options, "provider") == "cpu" else "cuda"

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order, and let the runtime keep room for the outputs."""
        import onnxruntime

        super().feed(inputs)
        for name, array in self.fed.items():
            if self.memory == "cpu":
                self.binding.bind_cpu_input(name, array)
            else:
                self.binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, self.memory, 0))
        for name in self.output_names:
            self.binding.bind_output(name, self.memory)

    def __call__(self) -> Any:
        """Do one inference; returns nothing, its outputs stay bound. On a GPU it ends when they are there."""
        self.session.run_with_iobinding(self.binding)
        if self.memory != "cpu":
            self.binding.synchronize_outputs()

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the bound outputs into tensors."""
        return super().fetch(self.binding.copy_outputs_to_cpu())

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the session."""
        bound = {"transfers": "none"} if self.memory != "cpu" else {}
        return {**super().effective(), **bound, "io_binding": "on"}
