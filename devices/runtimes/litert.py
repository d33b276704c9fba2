"""LiteRT, formerly TensorFlow Lite, on the CPU (`--runtime litert`): what most people run on a Raspberry Pi.

    --precision fp16           weights in half precision, arithmetic in fp32 (XNNPACK widens them at load)
    --precision int8           weights and activations, symmetric per channel, calibrated on the task's own inputs
    --option xnnpack=off       the built-in kernels alone; on (default): XNNPACK takes every operator that it knows

Converted here at a fixed batch by litert-torch, quantised in PyTorch (PT2E) before that; run by `ai-edge-litert`, or by
`tflite-runtime` (which needs numpy<2) on a board for which there is nothing newer. An int8 file's inputs and outputs are int8;
they are quantised and made numbers again outside of what is timed, tokens become int32.

Threads are set explicitly. LiteRT cannot be asked how many it uses: told are those that XNNPACK's pool started at load,
and the caller's. Without XNNPACK they begin at need, and are told as they were asked for. That XNNPACK is in force is seen in
the graph that was loaded: it is an error if no operator was handed to a delegate (or, switched off, if one was); operators that
were left to built-in kernels are named. Equal variants give equal bytes.
"""

import contextlib
import importlib
import logging
import os
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Set, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _litert_operators
else:
    import _litert_operators

PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS: Dict[str, Tuple[str, ...]] = {"xnnpack": ("on", "off")}
CONVERTERS = ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert", "torchao")
PACKAGES = (
    "ai-edge-litert; python_version >= '3.9'",
    "tflite-runtime; python_version < '3.9'",
    "numpy; python_version >= '3.9'",
    "numpy<2; python_version < '3.9'",
)

UNTIMED = _litert_operators.UNTIMED
DELEGATE = _litert_operators.DELEGATE
_WEIGHED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D")


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, int]:
    """Write the variant as a `.tflite` file; returns `ops_executed`, its operators that depend on the input.

    `options["calibration"]` is a NumPy file of the task's inputs, [N, *input_shape], which int8 needs. Raises whatever
    the converter raises, with the last that it printed.
    """
    with _quiet():
        network, example = _network(variant, int(options.get("batch", "1")))
        if precision == "int8":
            model = _quantised(network, example, options["calibration"])
        else:
            model = _converted(network, example)
        if precision == "fp16":
            model = _halved(model)
    out.write_bytes(model)
    return {"ops_executed": _executed(model)}


def _network(variant: Any, batch: int) -> Tuple[Any, Any]:
    """Return the program's module and an example of the batch; stack traces, which name this machine's files, go."""
    import torch

    network = torch.export.load(variant.program).module()
    for module in network.modules():
        module.training = False  # an exported module has no eval()
    for node in network.graph.nodes:
        node.meta.pop("stack_trace", None)
    return network, torch.zeros(batch, *variant.input_shape, dtype=getattr(torch, variant.input_dtype))


def _converted(network: Any, example: Any, **settings: Any) -> bytes:
    import litert_torch

    return bytes(litert_torch.convert(network, (example,), **settings).model_content())


def _quantised(network: Any, example: Any, calibration: str) -> bytes:
    """Quantise in PyTorch: of LiteRT's two ways the one whose transformers stay on XNNPACK, and the more accurate one."""
    import numpy
    import torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = torch.from_numpy(numpy.load(calibration)).to(example.dtype)
    batch = len(example)
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    quantizer = PT2EQuantizer().set_global(settings)
    observed = prepare_pt2e(torch.export.export(network, (example,)).module(), quantizer)
    with torch.inference_mode():
        for first in range(0, len(inputs), batch):  # the last set is filled up from the beginning
            observed(inputs[torch.arange(first, first + batch) % len(inputs)])
    quantised = convert_pt2e(observed, fold_quantize=False)
    return _converted(quantised, example, quant_config=QuantConfig(pt2e_quantizer=quantizer))


def _halved(model: bytes) -> bytes:
    """Write weights in half precision."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    casting = quantizer.Quantizer(bytearray(model))
    casting.add_weight_only_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(casting.quantize().quantized_model)


def _executed(model: bytes) -> int:
    """Count the operators that depend on the input: what weights alone decide is computed once, at load."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model).Subgraphs(0)
    reached = set(graph.InputsAsNumpy())
    count = 0
    for operator in map(graph.Operators, range(graph.OperatorsLength())):  # in the order of execution
        if reached.intersection(operator.InputsAsNumpy()):
            reached.update(operator.OutputsAsNumpy())
            count += 1
    return count


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress, warnings and logs of the converters, C++ and Python, to the message of an error."""
    disabled = logging.root.manager.disable
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
        try:
            with _redirected(said.fileno()), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                yield
        except Exception as error:
            said.seek(0)
            errors = [line.strip() for line in said if "error" in line.lower()]
            raise RuntimeError("%s: %s" % (type(error).__name__, "\n".join([str(error), *errors[-3:]]))) from error
        finally:
            logging.disable(disabled)


@contextlib.contextmanager
def _redirected(into: int) -> Iterator[None]:
    """Let what C++ writes to standard output and error go `into` a file."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in kept:
            os.dup2(into, number)
        yield
    finally:
        for number, was in kept:
            os.dup2(was, number)
            os.close(was)


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import numpy

    name, _ = _library()
    return {name: metadata.version(name), "numpy": numpy.__version__}


def _library() -> Tuple[str, Any]:
    """Return the package that is here, and its interpreter's module: the old one only where the new one is not."""
    for package, module in (("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime")):
        with contextlib.suppress(ModuleNotFoundError):
            return package, importlib.import_module(module + ".interpreter")
    raise ImportError("neither ai-edge-litert nor tflite-runtime is installed")


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network loaded. Raises whatever LiteRT raises; RuntimeError without the delegate."""
    _, library = _library()
    asked, kinds = str(options.get("xnnpack", OPTIONS["xnnpack"][0])), library.OpResolverType
    resolver = kinds.BUILTIN if asked == "on" else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    before = _threads()
    interpreter = library.Interpreter(
        model_path=path, num_threads=int(options["threads"]), experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    started = len(_threads() - before)
    session = Session(interpreter, 1 + started if asked == "on" else int(options["threads"]))
    if session.xnnpack() != asked:
        raise RuntimeError("xnnpack: asked for %s, in force is %s" % (asked, session.xnnpack()))
    return session


def operators(path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float) -> Any:
    """Return the operators of the loaded graph; never their times, which LiteRT does not tell (`UNTIMED`)."""
    session = load(path, options)
    tensors = {int(tensor["index"]): tensor for tensor in session.interpreter.get_tensor_details()}
    return _litert_operators.walk(session.operators, tensors, {int(place["index"]) for place in session.inputs}), 0


def _threads() -> Set[Path]:
    return set(Path("/proc/self/task").iterdir())


class Session:
    """One `invoke` per inference; inputs stay in the interpreter's memory, outputs are left there."""

    def __init__(self, interpreter: Any, threads: int) -> None:
        self.interpreter = interpreter
        self.threads = threads
        self.inputs: List[Dict[str, Any]] = interpreter.get_input_details()
        self.outputs: List[Dict[str, Any]] = interpreter.get_output_details()
        self.operators: List[Dict[str, Any]] = interpreter._get_ops_details()  # there is no public way to see delegates

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order."""
        for place, tensor in zip(self.inputs, inputs):
            self.interpreter.set_tensor(place["index"], _quantise(tensor, place))

    def __call__(self) -> None:
        """Do one inference; returns nothing, its outputs stay where they are."""
        self.interpreter.invoke()

    def fetch(self, result: None) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of the last inference into tensors."""
        arrays = [_dequantise(self.interpreter.get_tensor(place["index"]), place) for place in self.outputs]
        return tuple(wire.Tensor.of(array.shape, array.astype("<f4").tobytes()) for array in arrays)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, as the loaded graph shows them."""
        return {
            "threads": self.threads,
            "provider": "cpu",
            "batch": int(self.inputs[0]["shape"][0]),
            "precision": self._precision(),
            "arithmetic": self._arithmetic(),
            "xnnpack": self.xnnpack(),
            "outside_xnnpack": ",".join(_litert_operators.left(self.operators, self.outputs)),
        }

    def xnnpack(self) -> str:
        """Return `on` if operators were handed to a delegate: XNNPACK is the only one of these interpreters."""
        return "on" if any(operator["op_name"] == DELEGATE for operator in self.operators) else "off"

    def _precision(self) -> str:
        """What the layers' weights are kept in: fp32, fp16 or int8, or several of them."""
        kinds = {int(tensor["index"]): tensor["dtype"].__name__ for tensor in self.interpreter.get_tensor_details()}
        widened = {
            int(op["outputs"][0]): int(op["inputs"][0]) for op in self.operators if op["op_name"] == "DEQUANTIZE"
        }
        weights = [int(op["inputs"][1]) for op in self.operators if op["op_name"] in _WEIGHED]
        names = {"float32": "fp32", "float16": "fp16"}
        found = {kinds[widened.get(weight, weight)] for weight in weights} or {"float32"}
        return ",".join(sorted(names.get(kind, kind) for kind in found))

    def _arithmetic(self) -> str:
        """What is computed in: half precision is widened at load, and int8 may leave operators between layers in fp32."""
        kept = self._precision()
        mixed = kept == "int8" and any(operator["op_name"] == "DEQUANTIZE" for operator in self.operators)
        return "fp32,int8" if mixed else {"fp16": "fp32"}.get(kept, kept)


def _quantise(tensor: wire.Tensor, place: Dict[str, Any]) -> Any:
    """Return the array that an input takes: float32 or int32 as it is, int8 by the input's scale."""
    import numpy

    little_endian = numpy.dtype(tensor.dtype).newbyteorder("<")
    array = numpy.frombuffer(tensor.raw(), little_endian).reshape(tensor.shape)
    if place["dtype"] == numpy.int8 and tensor.dtype == "float32":
        scale, zero = place["quantization"]
        array = numpy.clip(numpy.round(array / scale) + zero, -128, 127)
    return array.astype(place["dtype"])


def _dequantise(array: Any, place: Dict[str, Any]) -> Any:
    import numpy

    if place["dtype"] != numpy.int8:
        return array
    scale, zero = place["quantization"]
    return (array.astype(numpy.float32) - zero) * numpy.float32(scale)
