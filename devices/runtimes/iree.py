"""IREE (`--runtime iree`), from ONNX opset 18 at a fixed batch, cross-compiled here for the device's processor or its NVIDIA GPU.

    --precision fp16           weights and every value between operators in half precision, inputs and outputs too
    --option device=cuda       on the GPU of the target's compute_capability; inputs and outputs lie there. One thread of the
                               host feeds it (`--threads 1`). What IREE has no code for (9.0) gets that of the GPU before (8.9),
                               which the driver makes its own; `cpu` says which. Another GPU than it was made for is refused

Set explicitly: processor and system (`cpu` and `triple` of the profile's `target:`; where it says
nothing, those of this machine), optimisation level O3, convolutions channels-last in networks without attention (2 to 4
times faster; attention loses by it), and threads: one computes in the caller (`local-sync`), several are workers (`local-task`).

An artifact is a ZIP file: `network.vmfb`, which IREE's own tools read, and `about.json`. A runtime of another version than
the compiler is refused. Equal networks give equal bytes.

There is no int8: of a quantised ONNX graph, per tensor or per channel, IREE 3.13 computes each convolution in float32, 2 to 8
times more slowly than unquantised. Half precision is arithmetic where the processor has it (cortex-a76, cortex-a78ae); elsewhere
each value is widened, computed and rounded: `effective()` says which as `arithmetic`.
"""

import io
import json
import platform
import subprocess
import tempfile
import time
import warnings
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Set, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _cuda, _iree_operators, _iree_target, _onnx_export, _packing
else:
    import _arrays
    import _cuda
    import _iree_operators
    import _iree_target
    import _onnx_export
    import _packing

PRECISIONS = ("fp32", "fp16")
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {"device": ("cpu", "cuda")}
CONVERTERS = ("torch", "onnx", "onnxscript", "onnxruntime", "iree-base-compiler")
PACKAGES = ("iree-base-runtime==3.13.0", "numpy")  # the compiler's version: pyproject.toml, extra `iree`
TARGET = ("cpu", "triple", "compute_capability", "host")  # host: which processor "this one" is, where no cpu is named

_OLDEST = 17  # of given files; what is older is brought up to the opset of ours
_ENTRY = "infer"
_NETWORK, _ABOUT = "network.vmfb", "about.json"
_DTYPES = {"float32": "fp32", "float16": "fp16"}
_PREPROCESS = "--iree-preprocessing-pass-pipeline="
_CHANNELS_LAST = _PREPROCESS + "builtin.module(util.func(iree-preprocessing-convert-conv-to-channels-last))"
_COUNTS = "--iree-scheduling-dump-statistics-"
_STRIP = "--iree-vm-bytecode-module-strip-"  # names of files and places: nothing that is computed
_STRIPPED = (_STRIP + "source-map", _STRIP + "debug-ops", "--iree-llvmcpu-debug-symbols=false")
_NAMING_S = 1.0  # that workers may take to be seen
_PROBE = b"func.func @f(%a: tensor<4xf32>) -> tensor<4xf32> { %b = arith.addf %a, %a : tensor<4xf32> return %b : tensor<4xf32> }"


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, Any]:
    """Compile the variant for the target; returns `ops_executed`, the kernels that one inference dispatches, and `made_for`.

    That is the processor as the compiler resolved it, empty for a GPU: no processor's code is in it.

    Raises RuntimeError with the compiler's first complaint: an operator that it does not know, a processor, a crash.
    """
    if precision not in PRECISIONS:
        raise ValueError("iree has no %s" % precision)
    device = str(options.get("device", OPTIONS["device"][0]))
    flags = _iree_target.flags(target, device)
    said = _run(
        [*flags, "--compile-to=stream"], _PROBE
    ).decode()  # a target that it does not know is an error of its own
    about = {"compiler": metadata.version("iree-base-compiler"), "precision": precision}
    about.update(_iree_target.about(said, target, device))
    batch = int(options.get("batch", "1"))
    model = _inferred(_model(variant, batch))
    if precision == "fp16":
        model = _halved(model)
    channels_last = _is_convolutional(model.graph)
    about["layout"] = "channels-last" if channels_last else "as written"
    network, dispatches = _compiled(_imported(model), [*flags, *([_CHANNELS_LAST] if channels_last else [])])
    out.write_bytes(_packing.packed({_ABOUT: json.dumps(about, sort_keys=True).encode(), _NETWORK: network}))
    return {"ops_executed": dispatches, "made_for": about["cpu"] if about["device"] == "cpu" else ""}


def _model(variant: Any, batch: int) -> Any:
    """Return the variant in ONNX that the importer knows: given files may be too old for it."""
    import onnx

    model = _onnx_export.model(variant, batch)
    version = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    return model if version >= _OLDEST else onnx.version_converter.convert_version(model, _onnx_export.OPSET)


def _inferred(model: Any) -> Any:
    """Return the model with the shapes of all its values, which the importer wants, and its function's name."""
    import onnx

    model.graph.name = _ENTRY
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _halved(model: Any) -> Any:
    """Return the model in half precision; raises RuntimeError where a value would stay in float32.

    IREE's own flag for this, `--iree-input-demote-f32-to-f16`, forgets inputs and outputs: what it makes cannot run.
    """
    import onnx
    from onnxruntime.transformers import float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for half precision become its smallest number
        half = float16.convert_float_to_float16(model, keep_io_types=False, op_block_list=[], disable_shape_infer=True)
    del half.graph.value_info[:]
    half = onnx.shape_inference.infer_shapes(half, data_prop=True)
    values = (*half.graph.input, *half.graph.value_info, *half.graph.output)
    kinds = [(value.name, value.type.tensor_type.elem_type) for value in values]
    kinds += [(tensor.name, tensor.data_type) for tensor in half.graph.initializer]
    left = [name for name, kind in kinds if kind == onnx.TensorProto.FLOAT]
    if left:
        raise RuntimeError("in half precision %d values stay float32, the first is %s" % (len(left), left[0]))
    return half


def _is_convolutional(graph: Any) -> bool:
    """Whether there are convolutions and no attention, which multiplies two matrices that were both computed."""
    fixed = {tensor.name for tensor in graph.initializer}
    fixed |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    products = (node for node in graph.node if node.op_type in ("MatMul", "Einsum", "Attention"))
    attention = any(fixed.isdisjoint(node.input) for node in products)
    return not attention and any(node.op_type == "Conv" for node in graph.node)


def _imported(model: Any) -> bytes:
    """Return the model in MLIR's bytecode. Raises what the importer raises."""
    from iree.compiler.extras import onnx_importer
    from iree.compiler.ir import Context

    info = onnx_importer.ModelInfo(model)
    module = info.create_module(context=Context()).operation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an operator whose results it cannot type: the compiler names it
        onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
    written = io.BytesIO()
    module.write_bytecode(written)
    return written.getvalue()


def _compiled(network: bytes, flags: List[str]) -> Tuple[bytes, int]:
    """Return the compiled network, and how many kernels an inference dispatches."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        compiled = _run([*flags, *_STRIPPED, _COUNTS + "format=json", _COUNTS + "file=" + file.name], network)
        statistics = json.loads(Path(file.name).read_text())
    return compiled, statistics["stream-aggregate"]["execution"]["dispatch-count"]


def _run(flags: List[str], source: bytes) -> bytes:
    """Run the compiler in a process of its own. Raises RuntimeError with what it complains of."""
    from iree.compiler.tools.binaries import find_tool

    command = [find_tool("iree-compile"), "-", *flags]
    done = subprocess.run(command, input=source, capture_output=True)
    said = done.stderr.decode(errors="replace").splitlines()
    ignored = [line for line in said if "Unknown CPU" in line or "ignoring processor" in line]
    if done.returncode or ignored:
        errors = ignored or [line for line in said if "error:" in line] or said[-3:]
        raise RuntimeError("iree-compile (exit status %d): %s" % (done.returncode, " ".join(errors[:1])[:1000]))
    return done.stdout


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import iree.runtime  # noqa: F401  (the package may be there, and its library not for this machine)
    import numpy

    return {"iree-base-runtime": metadata.version("iree-base-runtime"), "numpy": numpy.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network loaded. Raises RuntimeError for another compiler's, else what IREE raises."""
    from iree import runtime

    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read(_ABOUT).decode())
        network = archive.read(_NETWORK)
    _require_equal(about["compiler"], metadata.version("iree-base-runtime"))
    threads = int(options["threads"])
    device = _gpu(runtime, about) if about["device"] == "cuda" else _processor(runtime, about, threads)
    instance = runtime.VmInstance()
    module = runtime.VmModule.copy_buffer(instance, network)
    context = runtime.VmContext(instance, modules=[runtime.create_hal_module(instance, device), module])
    function = runtime.FunctionInvoker(context, device, module.lookup_function(_ENTRY))
    return Session(function, device, about, threads)


def operators(path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float) -> Any:
    """Return the operators that are executed, and how many inferences their times are medians of (`_operators`)."""
    with zipfile.ZipFile(path) as archive:
        about, network = json.loads(archive.read(_ABOUT).decode()), archive.read(_NETWORK)
    arrays = _fitting(inputs, about["precision"])
    return _iree_operators.executed(network, _ENTRY, arrays, about["device"], int(options["threads"]), seconds)


def _require_equal(compiler: str, runtime: str) -> None:
    if compiler != runtime:
        raise RuntimeError("compiled by IREE %s, the runtime here is IREE %s: make them equal" % (compiler, runtime))


def _gpu(runtime: Any, about: Dict[str, str]) -> Any:
    """Return the first GPU. Raises NoDriverError where there is none, WrongTargetError for another than it was made for."""
    _iree_target.require_gpu(about["compute_capability"], _cuda.Gpu(_cuda.Driver()).facts()["compute_capability"])
    return runtime.get_device("cuda", cache=False)


def _processor(runtime: Any, about: Dict[str, str], threads: int) -> Any:
    """Return the device that computes in the caller, or in `threads` workers: the first of a process sets their number.

    A core that lacks what the artifact uses is not looked for: the process dies of it, and its agent says why.
    """
    _iree_target.require_architecture(about["triple"], platform.machine())
    runtime.flags.parse_flags("--task_topology_group_count=%d" % threads)
    return runtime.get_device("local-sync" if threads == 1 else "local-task", cache=False)


class Session:
    """One call of the network's function per inference; inputs lie where it reads them, outputs stay where it writes."""

    def __init__(self, function: Any, device: Any, about: Dict[str, str], asked: int) -> None:
        self.function = function
        self.device = device
        self.about = about
        self.asked = asked
        self.fed: List[Any] = []
        self.kinds: Set[str] = set()  # of the outputs, as they came

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order, in its precision."""
        from iree import runtime

        arrays = _fitting(inputs, self.about["precision"])
        self.fed = [runtime.asdevicearray(self.device, array) for array in arrays]

    def __call__(self) -> Any:
        """Do one inference; returns its output, or a tuple of them, when they are there."""
        return self.function(*self.fed)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        arrays = [output.to_host() for output in outputs]
        self.kinds = {str(array.dtype) for array in arrays}
        return _arrays.tensors(arrays)

    def effective(self) -> Dict[str, Any]:
        """Return what is in force: threads counted, precision as the outputs came; what cannot be read, as compiled."""
        kinds = sorted(_DTYPES.get(kind, kind) for kind in self.kinds)
        precision = ",".join(kinds) or "unknown before the first outputs"
        driver = str(self.device)
        return {
            "threads": _workers(self.asked) if driver == "local-task" else 1,
            "provider": driver,
            "device": "cpu" if driver.startswith("local") else driver,
            "batch": next((array.shape[0] for array in self.fed), None),
            "precision": precision,
            "arithmetic": self.about["half_arithmetic"] if precision == "fp16" else precision,
            "layout": self.about["layout"],
            "cpu": self.about["cpu"],
            "triple": self.about.get("triple"),
        }


def _fitting(inputs: Sequence[wire.Tensor], precision: str) -> List[Any]:
    """Return the inputs as arrays, floats in the network's precision."""
    floats = {kind: dtype for dtype, kind in _DTYPES.items()}[precision]
    return [_arrays.array(tensor, floats if tensor.dtype == "float32" else "") for tensor in inputs]


def _workers(asked: int) -> int:
    """Count IREE's workers among this process's threads, by names that they give themselves when they first run: soon."""
    patience = time.monotonic() + _NAMING_S
    while _named() < asked and time.monotonic() < patience:
        time.sleep(0.01)
    return _named()


def _named() -> int:
    names = (file.read_text() for file in Path("/proc/self/task").glob("*/comm"))
    return sum(1 for name in names if name.startswith("iree-worker"))
