"""PyTorch, eager, on the CPU (`--runtime torch`): the baseline of the papers, from a torch.export program.

    --option mode=eager        the program's operators one by one, as PyTorch runs them (the only mode)

Intra-op threads are set explicitly (`--threads`), inter-op is 1; inference mode; the program's batch size is free.
The board's own PyTorch is used: its wheels are several hundred MB, and a Jetson's are not in the package index.
"""

import io
import warnings
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from harness import wire

PRECISIONS = ("fp32",)
OPTIONS: Dict[str, Tuple[str, ...]] = {"mode": ("eager",)}
CONVERTERS = ("torch",)


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, int]:
    """Write the variant's own program; returns `ops_executed`, its operators that compute (`getitem` and the like do not)."""
    import torch

    program = torch.export.load(variant.program)
    _anonymise(program)
    archive = io.BytesIO()  # written to a file, the archive's entries would carry the file's name
    torch.export.save(program, archive)
    out.write_bytes(archive.getvalue())
    nodes = program.graph.nodes
    return {"ops_executed": sum(1 for node in nodes if isinstance(node.target, torch._ops.OpOverload))}


def _anonymise(program: Any) -> None:
    """Keep of each node what it computes (`val`), not where it was written: equal programs give equal bytes.

    Stack traces name this machine's files; the archive's `serialization_id` is a checksum that follows its entries.
    """
    graphs = (module.graph for module in program.graph_module.modules() if hasattr(module, "graph"))
    for node in (node for graph in graphs for node in graph.nodes):
        node.meta = {key: value for key, value in node.meta.items() if key == "val"}


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import torch

    return {"torch": torch.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the program loaded. Raises whatever PyTorch raises."""
    import torch

    torch.set_num_threads(int(options["threads"]))
    if torch.get_num_interop_threads() != 1:  # may be set once per process only
        torch.set_num_interop_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path)
    return Session(program.module(), torch)


class Session:
    """One call of the program's module per inference."""

    def __init__(self, network: Any, torch: Any) -> None:
        self.network = network
        self.torch = torch
        self.fed: Tuple[Any, ...] = ()

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order."""
        self.fed = tuple(self._tensor(tensor) for tensor in inputs)

    def __call__(self) -> Any:
        """Do one inference; returns its output tensor, or a tuple of them."""
        with self.torch.inference_mode():
            return self.network(*self.fed)

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        arrays = [output.detach().cpu().contiguous().numpy() for output in outputs]
        return tuple(wire.Tensor.of(array.shape, array.astype("<f4").tobytes()) for array in arrays)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from PyTorch."""
        kinds = {str(parameter.dtype) for parameter in self.network.parameters()}
        return {
            "threads": self.torch.get_num_threads(),
            "inter_op_threads": self.torch.get_num_interop_threads(),
            "provider": "cpu",
            "batch": next((len(tensor) for tensor in self.fed), None),
            "precision": "fp32" if kinds <= {"torch.float32"} else ",".join(sorted(kinds)),
            "mode": "eager",
        }

    def _tensor(self, tensor: wire.Tensor) -> Any:
        kind = getattr(self.torch, tensor.dtype)
        return self.torch.frombuffer(bytearray(tensor.raw()), dtype=kind).reshape(tensor.shape)
