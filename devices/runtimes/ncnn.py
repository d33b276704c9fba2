"""ncnn on the CPU (`--runtime ncnn`), converted by pnnx from a traced program.

It has no options. Set explicitly: threads (`--threads`), no Vulkan, no bfloat16, and no float16 but for `fp16`: that is
weights in float16, and arithmetic in float16 where the CPU has it (ARM's asimdhp), else float32; `arithmetic` says which.
ncnn would take float16 by itself where it can. Its wheel brings no quantiser, so there is no int8.

The artifact is an uncompressed zip of `net.param` and `net.bin`, and `precision`, how the weights are held; without dates,
so equal networks give equal bytes. pnnx, and ncnn while a network is tried, run in child processes: they may write
operators that ncnn has not, and may crash on them. The batch is not in the artifact; it is that of what is fed.
"""

import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _arrays, _packing
else:
    import _arrays
    import _packing

PRECISIONS = ("fp32", "fp16")
OPTIONS: Dict[str, Tuple[str, ...]] = {}
CONVERTERS = ("torch", "pnnx", "ncnn")
PACKAGES = ("ncnn", "numpy")

_FILES = ("net.param", "net.bin", "precision")
_HALF = b"\x47\x6b\x30\x01"  # stands before weights in float16 (ncnn's modelbin.cpp)
_NO_WORK = {"Input", "Split", "MemoryData", "Noop"}
_FLOAT16 = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
_OTHERS = ("use_bf16_packed", "use_bf16_storage", "use_vulkan_compute")
_TRY = "import sys, ncnn; net = ncnn.Net(); sys.exit(bool(net.load_param(sys.argv[1]) or net.load_model(sys.argv[2])))"


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, Any], out: Path) -> Dict[str, int]:
    """Write the variant as ncnn's files; returns `ops_executed`, its layers that compute.

    Raises RuntimeError with the converter's words where it fails, and where ncnn cannot load what it has written.
    """
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "net.pt"
        _trace(variant, int(options.get("batch", "1")), traced)
        shape = ",".join(str(extent) for extent in (int(options.get("batch", "1")), *variant.input_shape))
        kind = {"float32": "f32", "int64": "i64"}[variant.input_dtype]
        _run(
            [_pnnx(), traced.name, "inputshape=[%s]%s" % (shape, kind), "fp16=%d" % (precision == "fp16")],
            folder,
            "pnnx",
        )
        written = [Path(folder) / "net.ncnn.param", Path(folder) / "net.ncnn.bin"]
        _run([sys.executable, "-c", _TRY, *map(str, written)], folder, "ncnn cannot load what pnnx has written; it")
        contents = [path.read_bytes() for path in written]
    if precision == "fp16" and _HALF not in contents[1]:
        raise RuntimeError("fp16 was asked for, pnnx has written no weights in float16")
    out.write_bytes(_packing.packed(dict(zip(_FILES, (*contents, precision.encode())))))
    kinds = [line.split()[0] for line in contents[0].decode().splitlines()[2:]]
    return {"ops_executed": sum(1 for kind in kinds if kind not in _NO_WORK)}


def _trace(variant: Any, batch: int, out: Path) -> None:
    """Write the program as TorchScript, which is what pnnx reads."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.export.load(variant.program).module(check_guards=False)
        example = torch.zeros(batch, *variant.input_shape, dtype=getattr(torch, variant.input_dtype))
        fixed = torch.export.export(network, (example,)).module(check_guards=False)
        trace: Any = torch.jit.trace  # untyped
        trace(fixed, example, check_trace=False).save(str(out))


def _pnnx() -> str:
    import pnnx

    return str(Path(pnnx.__file__).with_name("pnnx"))


def _run(command: List[str], folder: str, who: str) -> None:
    """Run a command. Raises RuntimeError with its last words unless it ends with 0 (negative: the signal that killed it)."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
        raise RuntimeError("%s ended with %d: %s" % (who, done.returncode, said[-1500:]))


# --- on the device -------------------------------------------------------------------------------------------------


def versions() -> Dict[str, str]:
    """Return the versions of what runs a network. Raises ImportError when it is not there."""
    import ncnn
    import numpy

    return {"ncnn": ncnn.__version__, "numpy": numpy.__version__}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session with the network loaded. Raises RuntimeError where ncnn refuses it, BadZipFile for a damaged file."""
    import ncnn

    with zipfile.ZipFile(path) as packed, tempfile.TemporaryDirectory() as folder:
        contents = [packed.read(name) for name in _FILES]
        precision = contents[2].decode()
        network = ncnn.Net()
        _settle(network.opt, int(options["threads"]), precision == "fp16" and bool(ncnn.cpu_support_arm_asimdhp()))
        for name, content, read in zip(_FILES, contents, (network.load_param, network.load_model)):
            file = Path(folder) / name  # its reader of memory takes text alone
            file.write_bytes(content)
            code = read(str(file))
            if code != 0:  # going on would crash the process
                raise RuntimeError("ncnn cannot load %s: code %d" % (name, code))
    return Session(ncnn, network, precision)


def _settle(option: Any, threads: int, half: bool) -> None:
    option.num_threads = threads
    for name in _FLOAT16:
        setattr(option, name, half)
    for name in _OTHERS:
        setattr(option, name, False)


class Session:
    """One extractor per inference, as ncnn wants it: it keeps what it has computed."""

    def __init__(self, ncnn: Any, network: Any, precision: str) -> None:
        self.ncnn, self.network, self.held = ncnn, network, precision
        self.inputs: List[str] = list(network.input_names())
        self.outputs: List[str] = list(network.output_names())
        self.fed: Dict[str, Any] = {}
        self.batch = 0

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order; copied, for ncnn does not keep what it reads from alive."""
        kinds = {"int64": "int32"}  # ncnn's indices have 32 bits
        arrays = (_arrays.array(tensor, kinds.get(tensor.dtype, "")) for tensor in inputs)
        mats = (self.ncnn.Mat(array, batch_index=0).clone() for array in arrays)
        self.fed = dict(zip(self.inputs, mats))
        self.batch = inputs[0].shape[0]

    def __call__(self) -> Any:
        """Do one inference; returns its outputs. Raises RuntimeError where ncnn refuses an input or a layer fails."""
        extractor = self.network.create_extractor()
        for name, mat in self.fed.items():
            if extractor.input(name, mat) != 0:
                raise RuntimeError("ncnn refused the input " + name)
        results = []
        for name in self.outputs:
            code, mat = extractor.extract(name)
            if code != 0:
                raise RuntimeError("ncnn could not compute %s: code %d" % (name, code))
            results.append(mat)
        return results

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Turn the outputs of one inference into tensors."""
        return _arrays.tensors(mat.numpy(batch_index=0) for mat in result)

    def effective(self) -> Dict[str, Any]:
        """Return the settings that are in force, read back from the network's options."""
        option = self.network.opt
        others = [name for name in _OTHERS if getattr(option, name)]
        return {
            "threads": option.num_threads,
            "provider": "vulkan" if option.use_vulkan_compute else "cpu",
            "batch": self.batch,
            "precision": ",".join([self.held, *others]),
            "arithmetic": "f16" if option.use_fp16_arithmetic else "f32",
        }
