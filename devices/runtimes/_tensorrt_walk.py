"""Shared by TensorRT and TensorRT-RTX: the layers of an engine, from its inspector's JSON, as operators of the wire.

A layer says its tensors' dimensions and formats; a convolution its weights too. TensorRT's own compiler for subgraphs (layers of
kind Myelin, ForeignNode, kgen) tells no more than its tensors: its multiply-adds are not told, and stay null.

TensorRT to 10 says numbers and layout in one field, `Format/Datatype`, from 11 on in two, `DataType` and `Format`.
"""

import json
import math
import re
from typing import Any, Dict, List, Optional, Sequence

_NUMBERS = (("int8", r"\bint8"), ("fp16", r"\b(half|fp16|float16)\b"), ("fp32", r"\b(float|fp32|float32)\b"))
_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
_LAYERS = re.compile(r"conv|gemm|matmul|matrixmultiply|fullyconnected|fully_connected", re.IGNORECASE)
_FUSED = re.compile(r"^fusion", re.IGNORECASE)
_OPAQUE = re.compile(r"myelin|foreignnode|kgen|attention|fmha|plugin", re.IGNORECASE)
_LAYOUTS = (
    ("channels-last", r"\bHWC|channel major|NHWC"),
    ("vectorised", r"vectorized|CHW\d+|HWC\d+"),
    ("linear", r"row major|linear"),
)


def layers(text: str) -> List[Dict[str, Any]]:
    """Return the layers of what the inspector said. Raises ValueError where it told names alone, or nothing."""
    found = json.loads(text)
    listed = found.get("Layers") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the engine's inspector lists no layers")
    if any(not isinstance(layer, dict) for layer in listed):
        raise ValueError("the engine's inspector tells names alone: it was built without detailed profiling verbosity")
    return listed


def counted(found: Sequence[Dict[str, Any]]) -> Dict[str, int]:
    """How many layers (convolutions, matrix products) compute in which numbers; "unknown" where that is not told."""
    sums = {"fp32": 0, "fp16": 0, "int8": 0, "unknown": 0}
    for layer in found:
        if _computes(layer):
            sums[numbers(layer) or "unknown"] += 1
    return sums


def precision(counts: Dict[str, int]) -> str:
    """Return the lowest numbers that a layer computes in; "" where no layer tells."""
    return next((name for name in ("int8", "fp16", "fp32") if counts[name]), "")


def numbers(layer: Dict[str, Any]) -> str:
    """Return the numbers that a layer reads: int8, fp16, fp32 or ""; weights tell where its inputs do not."""
    told = [_described(tensor) for tensor in layer.get("Inputs", [])[:1]] + [
        str(layer.get("Weights", {}).get("Type", ""))
    ]
    return next(filter(None, map(_numbers, told)), "")


def operators(found: Sequence[Dict[str, Any]], times: Dict[str, int]) -> List[Dict[str, Any]]:
    """Return the fields of `wire.Operator` of every layer. `times`: nanoseconds of one inference by the layer's name."""
    return [
        {
            "name": _name(layer),
            "kind": _kind(layer),
            "macs": macs(layer),
            "bytes": _moved(layer),
            "time_ns": times.get(str(layer.get("Name", ""))),
            "dtype": numbers(layer),
            "layout": _layout(layer),
        }
        for layer in found
    ]


def macs(layer: Dict[str, Any]) -> Optional[int]:
    """Return the multiply-adds of one inference, from shapes: 0 where the kind does none, None where they are not told."""
    kind = _kind(layer)
    if not _computes(layer):
        return None if _OPAQUE.search(kind) else 0
    read, written = _dimensions(layer, "Inputs"), _dimensions(layer, "Outputs")
    weights = layer.get("Weights", {}).get("Count")
    if not read or not written or _FUSED.search(kind):
        return None
    if "conv" in kind.lower() and isinstance(weights, int):
        places = read[0] if "deconv" in kind.lower() else written[0]  # each weight meets each place once
        return places[0] * math.prod(places[2:]) * weights
    if isinstance(weights, int) and weights:
        return _rows(written[0], weights)
    return _product(read, written[0])


def _rows(written: List[int], weights: int) -> Optional[int]:
    """A matrix of `weights` numbers, once for each row of what is written; its last dimension that is not 1 is the width."""
    wide = [size for size in written if size != 1]
    width = wide[-1] if wide else 1
    return math.prod(written) // width * weights if weights % width == 0 else None


def _product(read: List[List[int]], written: List[int]) -> Optional[int]:
    """Two computed matrices: what is written, times the dimension that both lose."""
    if len(read) < 2 or len(read[0]) < 2 or len(written) < 2:
        return None
    rows = written[-2]
    shared = [b for a, b in (read[0][-2:], read[0][:-3:-1]) if a == rows]
    return math.prod(written) * shared[0] if shared and shared[0] in read[1][-2:] else None


def _name(layer: Dict[str, Any]) -> str:
    """Its own name, and where that says nothing of the network (`__myl_...`) the names of the operators that it is made of."""
    name = str(layer.get("Name", ""))
    made_of = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(layer.get("Metadata", "")))
    return "%s (%s)" % (name, " + ".join(made_of)) if made_of and not any(each in name for each in made_of) else name


def _kind(layer: Dict[str, Any]) -> str:
    """Its own word, and what kind of operator it is where that word is a family of kernels."""
    kind, of = str(layer.get("LayerType", "")), str(layer.get("ParameterType", ""))
    return kind if not of or of.lower() in kind.lower() else "%s %s" % (kind, of)


def _computes(layer: Dict[str, Any]) -> bool:
    """Whether it is a convolution or a matrix product; what its compiler fused tells by the name of its kernel."""
    kind = _kind(layer)
    if _FUSED.search(kind):
        kind = str(layer.get("TacticName", ""))
    return bool(_LAYERS.search(kind)) and not _OPAQUE.search(str(layer.get("LayerType", "")))


def _described(tensor: Any) -> str:
    """What a tensor says of its numbers and layout, in whichever fields."""
    fields = [str(value) for name, value in tensor.items() if re.search("format|datatype", name, re.IGNORECASE)]
    return " ".join(sorted(fields, key=len))  # the short one is the number's type


def _numbers(text: str) -> str:
    return next((name for name, words in _NUMBERS if re.search(words, text, re.IGNORECASE)), "")


def _layout(layer: Dict[str, Any]) -> str:
    text = " ".join(_described(tensor) for tensor in layer.get("Inputs", [])[:1])
    return next((name for name, words in _LAYOUTS if re.search(words, text, re.IGNORECASE)), "")


def _dimensions(layer: Dict[str, Any], side: str) -> List[List[int]]:
    """Of the tensors that say whole, positive dimensions; free ones are not counted with."""
    shapes = [tensor.get("Dimensions", []) for tensor in layer.get(side, [])]
    return [shape for shape in shapes if shape and all(isinstance(n, int) and n > 0 for n in shape)]


def _moved(layer: Dict[str, Any]) -> Optional[int]:
    """Bytes of inputs, outputs and weights; None as soon as one of them is not told."""
    total = 0
    for tensor in (*layer.get("Inputs", []), *layer.get("Outputs", [])):
        shape, size = tensor.get("Dimensions", []), _BYTES.get(_numbers(_described(tensor)))
        if size is None or not all(isinstance(n, int) and n > 0 for n in shape):
            return None
        total += math.prod(shape) * size
    for word in ("Weights", "Bias"):
        held = layer.get(word, {})
        count, size = held.get("Count", 0), _BYTES.get(_numbers(str(held.get("Type", ""))))
        if count and size is None:
            return None
        total += count * (size or 0)
    return total
