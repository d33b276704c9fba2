"""The operators of the graph that OpenVINO runs, from its own description of it; times with PERF_COUNT.

Shapes are logical, whatever the layout: [N, C, H, W], weights [O, I, H, W] or, grouped, [G, O / G, I / G, H, W].
"""

from math import prod
from statistics import median
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from devices.runtimes import _operators
else:
    import _operators

NO_WORK = ("Input", "Output", "Const")
_PRODUCTS = ("FullyConnected", "MatMul")
_ATTENTION = ("MHA", "ScaledDotProductAttention")
_UNKNOWN = ("Deconvolution", "RNN", "LLM", "QKV", "MoE")
_DTYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_MOST = 1000

Shape = Sequence[int]


def walk(compiled: Any) -> List[Dict[str, Any]]:
    """Return the operators of a compiled network, in the order in which they are executed."""
    nodes = [(node, {key: str(told.value) for key, told in node.get_rt_info().items()}) for node in _nodes(compiled)]
    return [_described(node, told) for node, told in nodes if told["layerType"] not in NO_WORK]


def _nodes(compiled: Any) -> Any:
    return compiled.get_runtime_model().get_ordered_ops()


def timed(request: Any, operators: List[Dict[str, Any]], seconds: float) -> Tuple[List[Dict[str, Any]], int]:
    """Return the operators with their times, which `request` tells of its last inference (PERF_COUNT)."""
    times: Dict[str, List[float]] = {}

    def infer() -> None:
        request.infer(share_outputs=True)
        for told in request.get_profiling_info():
            times.setdefault(told.node_name, []).append(told.real_time.total_seconds() * 1e9)

    for _ in range(_operators.WARM):
        request.infer(share_outputs=True)
    count = _operators.repeat(infer, seconds, _MOST)
    told = (times.get(each["name"]) for each in operators)  # what has been fused away since is not told of
    return _operators.timed(operators, [median(each) if each else None for each in told]), count


def _described(node: Any, told: Dict[str, str]) -> Dict[str, Any]:
    kind = told["layerType"]
    inputs, outputs = ([_shape(port) for port in ports] for ports in (node.inputs(), node.outputs()))
    types = [port.get_element_type().get_type_name() for port in (*node.inputs(), *node.outputs())]
    sizes = (_operators.size_bytes(_DTYPES.get(name, name), shape) for name, shape in zip(types, (*inputs, *outputs)))
    macs = _macs(kind, inputs, outputs)
    # what weights alone are held in stands in `runtimePrecision`; a kernel's name ends with what it computes in
    computes = told["primitiveType"].lower().rpartition("_")[2] if macs else told["runtimePrecision"]
    number = _DTYPES.get(computes, computes)
    return _operators.described(node.get_friendly_name(), kind, macs, _operators.total(sizes), number, _layout(told))


def _shape(port: Any) -> List[int]:
    return [int(extent) for extent in port.get_shape()]


def _macs(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Optional[int]:
    if any(word in kind for word in _UNKNOWN):
        return None
    if kind == "Convolution":
        return prod(outputs[0]) * prod(inputs[1]) // outputs[0][1]
    if kind in _PRODUCTS:
        return prod(outputs[0]) * _operators.inner(inputs[0], outputs[0])
    if kind in _ATTENTION:
        return _operators.attention(inputs[0], inputs[1][-2], inputs[2][-1])
    return 0


def _layout(told: Dict[str, str]) -> str:
    """`abcd` is channels first, `acdb` last; capitals (`aBcd16b`) are cut into blocks."""
    letters = told.get("outputLayouts", "").partition(",")[0]
    if len(letters) < 4:
        return ""
    return (
        "blocked"
        if letters != letters.lower()
        else {"abcd": "channels-first", "acdb": "channels-last"}.get(letters, "")
    )
