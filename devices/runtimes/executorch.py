"""ExecuTorch with XNNPACK on the CPU (`--runtime executorch`), from a torch.export program at a fixed batch.

    --precision fp32        weights and arithmetic in float32
    --precision fp16        arithmetic, inputs and outputs in float16; loading fails where the CPU cannot compute in it
                            (the file has convolutions' weights in float32, XNNPACK converts them as it loads)
    --precision int8        weights (symmetric, per channel) and activations, calibrated on the task's inputs

It has no options. Threads are set explicitly (`--threads`): one pool for the whole process, made before the program is
loaded. What XNNPACK does not take runs in ExecuTorch's own kernels, which may be slow: `effective()` counts the calls
of either and names those operators, read from the loaded file. A network of which XNNPACK takes nothing is an error.

The board's own Python is used (`pip install executorch torch`, there): ExecuTorch's Python half is linked against
PyTorch, which on every Linux asks the package index for gigabytes of CUDA, and what ExecuTorch asks for in its turn (a
configuration reader, of all things) is not all there as wheels. `executorch` is a package without `__init__.py`, which
any `executorch.py` on the path hides: it is imported inside functions, when this file's folder has left the path.
"""

import contextlib
import io
import logging
import mmap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _pte
else:
    import _pte

PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS: Dict[str, Tuple[str, ...]] = {}
CONVERTERS = ("torch", "executorch", "torchao")

_CALIBRATED = 16  # inputs at once


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, int]:
    """Write the variant as a .pte; returns `ops_executed`: XNNPACK's nodes and the calls of ExecuTorch's own kernels.

    Raises NotImplementedError for operators without a kernel, and for a network of which XNNPACK takes nothing;
    ValueError for int8 without calibration data.
    """
    import torch

    with _quiet():
        network = torch.export.load(variant.program).module()
        example = torch.zeros(int(options["batch"]), *variant.input_shape, dtype=getattr(torch, variant.input_dtype))
        if precision == "int8":
            network = _quantised(network, options)
        elif precision == "fp16":  # inputs too: XNNPACK would leave a cast to a slower kernel
            network, example = network.half(), example.half() if example.is_floating_point() else example
        artifact = _lowered(network, example)
    plan = _pte.read_plan(artifact)
    _require_kernels(plan)
    _require_delegated(plan)
    if plan.precision != precision:
        raise NotImplementedError("asked for %s, XNNPACK computes in %s" % (precision, plan.precision))
    out.write_bytes(artifact)
    return {"ops_executed": len(plan.portable) + plan.nodes}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The converters' chatter on every standard channel says nothing about this network."""
    disabled, said = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _lowered(network: Any, example: Any) -> bytes:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network, (example,))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return bytes(edge.to_executorch().buffer)


def _quantised(network: Any, options: Dict[str, str]) -> Any:
    """The network with XNNPACK's own quantisation, calibrated on the inputs in the file `options["calibration"]`."""
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if "calibration" not in options:
        raise ValueError("int8 needs inputs to calibrate on: no calibration data were given")
    recipe = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    prepared = prepare_pt2e(network, xnnpack.XNNPACKQuantizer().set_global(recipe))
    with torch.inference_mode():
        for inputs in _calibration(options["calibration"]):
            prepared(inputs)
    return convert_pt2e(prepared)


def _calibration(path: str) -> Iterator[Any]:
    """The inputs in sets, whatever the artifact's batch: it has no say in how numbers are rounded."""
    import numpy
    import torch

    inputs = numpy.load(path, allow_pickle=False)
    for first in range(0, len(inputs), _CALIBRATED):
        yield torch.from_numpy(inputs[first : first + _CALIBRATED])


def _require_kernels(plan: "_pte.Plan") -> None:
    missing = sorted(set(plan.portable) - set(_runtime()._get_operator_names()))
    if missing:  # loading would fail, without a name
        raise NotImplementedError("ExecuTorch has no kernel for %s" % ", ".join(missing))


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    from importlib import metadata

    import torch

    _runtime()
    return {"executorch": metadata.version("executorch"), "torch": torch.__version__}


def _runtime() -> Any:
    """ExecuTorch's runtime itself: `executorch.runtime` wraps it, but imports all converters, for seconds."""
    import torch  # noqa: F401 - loads the libraries that the runtime is linked against

    try:
        from executorch.extension.pybindings import _C
    except ImportError:  # its name before 1.2, which pairs with the newest torch that is for ARM's CPUs alone
        from executorch.extension.pybindings import _portable_lib as _C
    return _C


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the program loaded and handed to XNNPACK. Raises whatever ExecuTorch raises."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as artifact:
        plan = _pte.read_plan(artifact)  # first: of some damaged files ExecuTorch dies
    runtime = _runtime()
    threads = int(options["threads"])
    if runtime._threadpool_get_thread_count() != threads:
        runtime._unsafe_reset_threadpool(threads)  # unsafe under a loaded program: XNNPACK keeps the pool
    program = runtime._load_program(path)
    method = program.load_method("forward")
    _require_delegated(plan)
    return Session(runtime, program, method, plan)


def _require_delegated(plan: "_pte.Plan") -> None:
    if not plan.delegated:
        raise NotImplementedError("XNNPACK takes none of the operators: %s" % ", ".join(sorted(set(plan.portable))))


class Session:
    """One call of the program's method per inference, tensors in and out."""

    def __init__(self, runtime: Any, program: Any, method: Any, plan: "_pte.Plan") -> None:
        self.runtime = runtime
        self.program = program  # holds the memory that the method runs in
        self.method = method
        self.plan = plan
        self.fed: Tuple[Any, ...] = ()

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order; here they become float16 where the program wants that."""
        halved = self.plan.precision == "fp16"
        self.fed = tuple(
            tensor.half() if halved and tensor.is_floating_point() else tensor for tensor in map(_tensor, inputs)
        )

    def __call__(self) -> Any:
        """Do one inference; returns its outputs as tensors of their own."""
        return self.method(self.fed)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        arrays = [output.float().contiguous().numpy() for output in result]
        return tuple(wire.Tensor.of(array.shape, array.astype("<f4").tobytes()) for array in arrays)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the runtime and the loaded file."""
        meta = self.method.method_meta()
        return {
            "threads": self.runtime._threadpool_get_thread_count(),
            "provider": ",".join(sorted(set(self.plan.delegated))),
            "batch": meta.input_tensor_meta(0).sizes()[0],
            "precision": self.plan.precision,
            "number_types": ",".join(sorted(self.plan.types)),
            "delegated_calls": len(self.plan.delegated),
            "delegated_operators": self.plan.nodes,
            "portable_calls": len(self.plan.portable),
            "portable_operators": ",".join(sorted(set(self.plan.portable))),
        }


def _tensor(tensor: wire.Tensor) -> Any:
    import torch

    return torch.frombuffer(bytearray(tensor.raw()), dtype=getattr(torch, tensor.dtype)).reshape(tensor.shape)
