"""ONNX Runtime on the CPU (`--runtime onnxruntime`), from ONNX opset 18 at a fixed batch, or from a file as it was given.

    --option optimization=extended     graph optimisation level: all (default), extended, basic, disabled
    --option spinning=off              threads wait by blocking instead of spinning; matters for energy and neighbours
    --option io_binding=on             inputs and outputs bound once instead of handed over at every call

Intra-op threads are set explicitly (`--threads`), inter-op is 1, execution is sequential. Only the CPU provider is
asked for, and it is an error if another one, or none, is in force.
"""

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

from harness import wire

PRECISIONS = ("fp32",)
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {
    "optimization": ("all", "extended", "basic", "disabled"),
    "spinning": ("on", "off"),
    "io_binding": ("off", "on"),
}
CONVERTERS = ("torch", "onnx", "onnxscript", "onnxruntime")
PACKAGES = ("onnxruntime", "numpy")

OPSET = 18
PROVIDER = "CPUExecutionProvider"
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

    A given file is written as it is; only a free batch is fixed in it.
    """
    batch = int(options.get("batch", "1"))
    out.write_bytes((_given if variant.form == "onnx" else _exported)(variant, batch))
    return {"ops_executed": _executed(out, options)}


def _given(variant: Any, batch: int) -> bytes:
    import onnx

    from harness.given import inputs

    fixed = inputs.at_batch(onnx.load(variant.program), batch)
    return Path(variant.program).read_bytes() if fixed is None else bytes(fixed.SerializeToString(deterministic=True))


def _exported(variant: Any, batch: int) -> bytes:
    import torch

    from harness.compress.program import quiet_exporter

    with quiet_exporter():
        network = torch.export.load(variant.program).module()
        example = torch.zeros(batch, *variant.input_shape, dtype=getattr(torch, variant.input_dtype))
        program = torch.export.export(network, (example,))
        exported = torch.onnx.export(
            program, (), dynamo=True, opset_version=OPSET, external_data=False, optimize=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    _anonymise(model)
    return bytes(model.SerializeToString(deterministic=True))


def _anonymise(model: Any) -> None:
    """Drop stack traces and names of this machine's files: equal networks give equal bytes."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        holder.doc_string = ""
        del holder.metadata_props[:]


def _executed(path: Path, options: Dict[str, str]) -> int:
    """Count the nodes that are left when ONNX Runtime has fused and replaced what it can."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        settings = _settings({**options, "threads": 1})
        settings.optimized_model_filepath = str(optimised)
        _session(str(path), settings)
        return len(onnx.load(str(optimised)).graph.node)


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import numpy
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network loaded and optimised. Raises whatever ONNX Runtime raises."""
    settings = _settings(options)
    session = _session(path, settings)
    return (BoundSession if _chosen(options, "io_binding") == "on" else Session)(session)


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


def _session(path: str, settings: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, settings, providers=[PROVIDER])
    if session.get_providers() != [PROVIDER]:
        raise RuntimeError("asked for %s, in force is %s" % (PROVIDER, session.get_providers()))
    session.disable_fallback()
    return session


class Session:
    """One `run` per inference, numpy arrays in and out, as most programs do it."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.input_names: List[str] = [item.name for item in session.get_inputs()]
        self.output_names: List[str] = [item.name for item in session.get_outputs()]
        self.fed: Dict[str, Any] = {}

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order."""
        self.fed = dict(zip(self.input_names, map(_array, inputs)))

    def __call__(self) -> Any:
        """Do one inference; returns its outputs as numpy arrays."""
        return self.session.run(self.output_names, self.fed)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        return tuple(wire.Tensor.of(array.shape, array.astype("<f4").tobytes()) for array in result)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the session."""
        settings = self.session.get_session_options()
        level = {name: key for key, name in _LEVELS.items()}[settings.graph_optimization_level.name]
        return {
            "threads": settings.intra_op_num_threads,
            "inter_op_threads": settings.inter_op_num_threads,
            "execution": settings.execution_mode.name,
            "provider": ",".join(self.session.get_providers()),
            "batch": next((len(array) for array in self.fed.values()), None),
            "precision": "fp32" if self._types() <= {"tensor(float)", "tensor(int64)"} else "mixed",
            "optimization": level,
            "spinning": "on" if settings.get_session_config_entry(_SPINNING) == "1" else "off",
            "io_binding": "off",
        }

    def _types(self) -> Set[str]:
        """Types of inputs and outputs; tokens stay int64 at every precision."""
        return {item.type for item in (*self.session.get_inputs(), *self.session.get_outputs())}


class BoundSession(Session):
    """Inputs and outputs bound once: an inference hands nothing over."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.binding = session.io_binding()

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order, and let the runtime keep room for the outputs."""
        super().feed(inputs)
        for name, array in self.fed.items():
            self.binding.bind_cpu_input(name, array)
        for name in self.output_names:
            self.binding.bind_output(name, "cpu")

    def __call__(self) -> Any:
        """Do one inference; returns nothing, its outputs stay bound."""
        self.session.run_with_iobinding(self.binding)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the bound outputs into tensors."""
        return super().fetch(self.binding.copy_outputs_to_cpu())

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the session."""
        return {**super().effective(), "io_binding": "on"}


def _array(tensor: wire.Tensor) -> Any:
    import numpy

    little_endian = numpy.dtype(tensor.dtype).newbyteorder("<")
    return numpy.frombuffer(tensor.raw(), little_endian).reshape(tensor.shape).astype(tensor.dtype)
