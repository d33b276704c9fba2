"""PyTorch (`--runtime torch`): the baseline of the papers, from a torch.export program.

    --option mode=compile            eager (default): the program's operators one by one; compile: torch.compile, inductor
    --option device=cuda             cpu (default) or cuda: weights and inputs lie there, an inference ends when it is done
    --option cuda_graph=on           the inference recorded once and replayed (device=cuda; off by default)
    --option layout=channels_last    weights and inputs of convolutions channels-last (contiguous by default)

    --precision fp16                 weights and arithmetic in float16, inputs and outputs float32 converted outside of what
                                     is timed; on a CPU without float16 arithmetic each operator widens and rounds: slow

Intra-op threads are set explicitly (`--threads`), inter-op is 1; inference mode; no TF32; the program's batch size is free.
`compile` needs a C++ compiler where it runs (on a GPU: Triton too). It compiles before the first block, in a process of its own,
into the device's workdir, by all it depends on: later processes find it there (one agent at a time: nobody races).

The board's own PyTorch is used: its wheels are several hundred MB, and a Jetson's are not in the package index.
Nothing here has been run on a GPU yet.
"""

import hashlib
import io
import os
import shutil
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _torch_operators
else:
    import _arrays
    import _torch_operators

PRECISIONS = ("fp32", "fp16")
OPTIONS: Dict[str, Tuple[str, ...]] = {
    "mode": ("eager", "compile"),
    "device": ("cpu", "cuda"),
    "cuda_graph": ("off", "on"),
    "layout": ("contiguous", "channels_last"),
}
CONVERTERS = ("torch",)
INSTALL = "pip install torch; on a Jetson: NVIDIA's wheel for its JetPack"

_COMPILERS = ("g++", "clang++", "c++")
_NOT_COMPILED = ("sample", "block")  # where inputs lie, and when: nothing that is compiled depends on it
_WARM = 3  # inferences before a graph is recorded, as CUDA wants them
_DTYPES = {"torch.float32": "fp32", "torch.float16": "fp16"}


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, int]:
    """Write the variant's own program; returns `ops_executed`, its operators that compute (`getitem` and the like do not).

    It is the same at every precision: weights are rounded when it is loaded.
    """
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


def prepare(path: str, options: Dict[str, Any]) -> None:
    """Compile what blocks will need and is not kept yet: a minute or more, which no measured process should take."""
    if options.get("mode", OPTIONS["mode"][0]) != "compile":
        return
    sample = wire.decode(wire.Sample, Path(options["sample"]).read_text(encoding="utf-8"), str(options["sample"]))
    load(path, options).feed([tensor.rows(0, int(options["batch"])) for tensor in sample.inputs])


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the program loaded. Raises RuntimeError for what is not there, else whatever PyTorch raises."""
    import torch

    chosen = {name: str(options.get(name, values[0])) for name, values in OPTIONS.items()}
    _require(torch, chosen)
    torch.set_num_threads(int(options["threads"]))
    if torch.get_num_interop_threads() != 1:  # may be set once per process only
        torch.set_num_interop_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: Any = torch.export.load(path).module()
        network = network.half() if options.get("precision") == "fp16" else network
        network = network.to(chosen["device"])
        network = network.to(memory_format=_layouts(torch)[chosen["layout"]])
    return Session(network, torch, chosen, _kept(path, torch, options))


def operators(path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float) -> Any:
    """Return the operators that are executed, and how many inferences their times are medians of (`_operators`).

    Raises RuntimeError for a compiled network.
    """
    if options.get("mode", OPTIONS["mode"][0]) == "compile":
        raise RuntimeError(
            "torch.compile makes kernels of its own, which PyTorch does not dispatch: to see operators, measure with "
            "--option mode=eager too"
        )
    session = load(path, options)
    session.feed(inputs)
    return _torch_operators.executed(session.torch, session.__call__, session.network, seconds)


def _require(torch: Any, chosen: Dict[str, str]) -> None:
    """Raise RuntimeError, with the next move, where this machine lacks what was chosen."""
    if chosen["device"] == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            "torch %s sees no CUDA GPU here (built for CUDA: %s): install a torch built for this GPU's driver, or say "
            "--option device=cpu" % (torch.__version__, torch.version.cuda or "no")
        )
    if chosen["cuda_graph"] == "on" and chosen["device"] != "cuda":
        raise RuntimeError("cuda_graph=on is recorded on a GPU: say --option device=cuda with it, or cuda_graph=off")
    wanted = (os.environ.get("CXX", ""), *_COMPILERS)
    if chosen["mode"] == "compile" and not any(shutil.which(name) for name in wanted if name):
        raise RuntimeError("mode=compile needs a C++ compiler here: apt-get install g++, or say --option mode=eager")


def _kept(path: str, torch: Any, options: Dict[str, Any]) -> Optional[Path]:
    """Return the folder in the workdir of what is compiled of an artifact, for all blocks; None for one that lies elsewhere."""
    holder = Path(path).absolute().parent
    said = [
        Path(path).name,
        torch.__version__,
        *sorted("%s=%s" % item for item in options.items() if item[0] not in _NOT_COMPILED),
    ]
    key = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
    return holder.parent / "engines" / ("torch-" + key) if holder.name == "artifacts" else None


def _layouts(torch: Any) -> Dict[str, Any]:
    return {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Session:
    """One call of the program's module per inference; on a GPU until it is done."""

    def __init__(self, network: Any, torch: Any, chosen: Dict[str, str], kept: Optional[Path]) -> None:
        self.network, self.torch, self.chosen, self.kept = network, torch, chosen, kept
        self.fed: Tuple[Any, ...] = ()
        self.graph: Any = None
        self.recorded: Any = None
        self.infer: Callable[..., Any] = network
        self.compiled = 0

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order; what was chosen is compiled and recorded with the first ones."""
        fed = tuple(self._tensor(tensor) for tensor in inputs)
        if self.graph is not None:
            for place, tensor in zip(self.fed, fed):
                place.copy_(tensor)
            return
        self.fed = fed
        if self.chosen["mode"] == "compile" and not self.compiled:
            self._compile()
        if self.chosen["cuda_graph"] == "on":
            self._record()

    def _compile(self) -> None:
        """Compile into the workdir's folder, or into one of this process's own, which goes with it."""
        folder = self.kept or Path(self._own_folder())
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(str(folder))  # used just now: the last to go when the workdir is full
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no workers that stay beside what is timed
        self.torch._dynamo.config.suppress_errors = False
        from torch._inductor import config

        config.compile_threads = 1
        counters = self.torch._dynamo.utils.counters
        self.infer = self.torch.compile(self.network, backend="inductor", fullgraph=True, dynamic=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self()
        self.compiled = int(counters["stats"]["unique_graphs"])

    def _own_folder(self) -> str:
        folder = tempfile.mkdtemp(prefix="edge-harness-inductor-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _record(self) -> None:
        stream = self.torch.cuda.Stream()
        stream.wait_stream(self.torch.cuda.current_stream())
        with self.torch.inference_mode(), self.torch.cuda.stream(stream):
            for _ in range(_WARM):
                self.infer(*self.fed)
        self.torch.cuda.current_stream().wait_stream(stream)
        self.graph = self.torch.cuda.CUDAGraph()
        with self.torch.inference_mode(), self.torch.cuda.graph(self.graph):
            self.recorded = self.infer(*self.fed)

    def __call__(self) -> Any:
        """Do one inference; returns its output tensor, or a tuple of them, when they are there."""
        if self.graph is not None:
            self.graph.replay()
            self.torch.cuda.synchronize()
            return self.recorded
        with self.torch.inference_mode():
            result = self.infer(*self.fed)
        if self.chosen["device"] == "cuda":
            self.torch.cuda.synchronize()
        return result

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        return _arrays.tensors(output.detach().float().cpu().contiguous().numpy() for output in outputs)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from PyTorch, the weights and what was fed."""
        weights = [parameter for parameter in self.network.parameters() if parameter.is_floating_point()]
        kinds = {_DTYPES.get(str(each.dtype), str(each.dtype)) for each in weights} or {"fp32"}
        places = {each.device.type for each in (*weights, *self.fed)} or {"cpu"}
        gpu = {"transfers": "none", "tf32": "off"} if places == {"cuda"} else {}
        return {
            "threads": self.torch.get_num_threads(),
            "inter_op_threads": self.torch.get_num_interop_threads(),
            "provider": ",".join(sorted(places)),
            "batch": next((len(tensor) for tensor in self.fed), None),
            "precision": ",".join(sorted(kinds)),
            "mode": "compile" if self.compiled else "eager",
            "device": ",".join(sorted(places)),
            "cuda_graph": "off" if self.graph is None else "on",
            "layout": self._layout(weights),
            **gpu,
            **self._arithmetic(kinds, places),
        }

    def _layout(self, weights: Sequence[Any]) -> str:
        """What lies channels-last of weights and inputs that have four dimensions; as asked for where none has."""
        last = self.torch.channels_last
        found = {
            "channels_last" if each.is_contiguous(memory_format=last) else "contiguous"
            for each in (*weights, *self.fed)
            if each.dim() == 4 and not (each.is_contiguous() and each.is_contiguous(memory_format=last))
        }
        return ",".join(sorted(found)) or self.chosen["layout"]

    def _arithmetic(self, kinds: Any, places: Any) -> Dict[str, str]:
        """For float16 on a CPU, whether oneDNN has instructions for it; else every operator widens its numbers and rounds."""
        if "fp16" not in kinds or places != {"cpu"}:
            return {}
        known = getattr(self.torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
        if known is None:
            return {"arithmetic": "unknown"}
        return {"arithmetic": "fp16" if known() else "fp32, rounded to fp16"}

    def _tensor(self, tensor: wire.Tensor) -> Any:
        kind = getattr(self.torch, tensor.dtype)
        made = self.torch.frombuffer(bytearray(tensor.raw()), dtype=kind).reshape(tensor.shape)
        if made.is_floating_point():
            halved = any(parameter.dtype == self.torch.float16 for parameter in self.network.parameters())
            made = made.half() if halved else made
        layout = _layouts(self.torch)[self.chosen["layout"]] if made.dim() == 4 else self.torch.contiguous_format
        return made.to(self.chosen["device"]).contiguous(memory_format=layout)
