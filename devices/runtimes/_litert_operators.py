"""The operators of a network that LiteRT has loaded: XNNPACK takes them over, the interpreter still lists them.

Multiply-adds follow from shapes, channels last as LiteRT has them. What depends on no input (weights that are widened)
is done once at load, and left out. Times it does not tell: see UNTIMED.
"""

from math import prod
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Set

if TYPE_CHECKING:
    from devices.runtimes import _operators
else:
    import _operators

UNTIMED = (
    "LiteRT's wheel has no profiler of its operators; its own benchmark tells their times: "
    "benchmark_model --graph=FILE --enable_op_profiling=true"
)
DELEGATE = "DELEGATE"
_LAST = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "MAX_POOL_2D", "AVERAGE_POOL_2D")
_UNKNOWN = ("LSTM", "RNN", "SVDF", "CUSTOM", "STABLEHLO", "CONV", "MATMUL", "DOT")

Shape = Sequence[int]


def walk(operators: List[Dict[str, Any]], tensors: Dict[int, Dict[str, Any]], inputs: Set[int]) -> List[Dict[str, Any]]:
    """Return what the interpreter tells of its operators, but for delegates, which stand behind what they replace."""
    reached, found = set(inputs), []
    for operator in operators:
        reads, writes = ([int(n) for n in operator[key] if int(n) in tensors] for key in ("inputs", "outputs"))
        if operator["op_name"] == DELEGATE or reached.isdisjoint(reads):
            continue
        reached.update(writes)
        found.append(_described(operator["op_name"], [tensors[n] for n in reads], [tensors[n] for n in writes]))
    return found


def left(operators: List[Dict[str, Any]], outputs: Sequence[Dict[str, Any]]) -> List[str]:
    """Names of operators that run outside of delegates: those whose outputs an inference needs and none writes."""
    # delegates come last, in place of what they replace
    makers = {int(tensor): operator for operator in operators for tensor in operator["outputs"]}
    wanted, seen = [int(place["index"]) for place in outputs], set()
    found = {}
    while wanted:
        operator = makers.get(wanted.pop(), {"index": None, "inputs": ()})
        if operator["index"] not in seen:
            seen.add(operator["index"])
            found[operator["index"]] = operator.get("op_name", DELEGATE)
            wanted += [int(tensor) for tensor in operator["inputs"]]
    return sorted(name for name in found.values() if name != DELEGATE)


def _described(kind: str, reads: List[Dict[str, Any]], writes: List[Dict[str, Any]]) -> Dict[str, Any]:
    read, written = ([list(map(int, tensor["shape"])) for tensor in side] for side in (reads, writes))
    sizes = (_operators.size_bytes(tensor["dtype"].__name__, tensor["shape"]) for tensor in (*reads, *writes))
    number = _operators.number_type(reads[-1 if kind == "TRANSPOSE_CONV" else 0]["dtype"].__name__)
    name = str(writes[0]["name"]) if writes else kind
    layout = "channels-last" if kind in _LAST else ""
    return _operators.described(name, kind, _macs(kind, read, written), _operators.total(sizes), number, layout)


_RULES: Dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    "CONV_2D": lambda reads, output: prod(output) * prod(reads[1][1:]),
    "DEPTHWISE_CONV_2D": lambda reads, output: prod(output) * prod(reads[1][1:3]),
    "CONV_3D": lambda reads, output: prod(output) * prod(reads[1][:-1]),
    "TRANSPOSE_CONV": lambda reads, output: prod(reads[2]) * prod(reads[1][:-1]),
    "FULLY_CONNECTED": lambda reads, output: prod(output) * reads[1][-1],
    "BATCH_MATMUL": lambda reads, output: prod(output) * _operators.inner(reads[0], output),
}


def _macs(kind: str, reads: Sequence[Shape], writes: Sequence[Shape]) -> Optional[int]:
    if kind in _RULES:
        return _RULES[kind](reads, writes[0])
    return None if any(word in kind for word in _UNKNOWN) else 0
