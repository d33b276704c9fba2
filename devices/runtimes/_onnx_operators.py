"""Shared by runtimes of ONNX: the operators that ONNX Runtime executes, from the profile that it writes.

Shapes are those of a session without prepacking, in which weights stay what the graph says; times are those of a session
like the measured one. In both the graph is the same. Multiply-adds are those that the kernel does: a blocked convolution
fills its channels up to whole blocks (24 to 32 with blocks of 16) and multiplies the filling too, so MobileNetV2 does 5 %
more of them than it has. What does none counts 0; what no rule covers is None.
"""

import json
from math import prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from devices.runtimes import _operators
else:
    import _operators

_SUFFIX = "_kernel_time"
_BLOCKED = "_nchwc"
_MOST_EVENTS = 40_000  # of a profile: each is about 900 bytes of JSON
_WORKS = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN", "Einsum", "MoE", "Integer", "TRT")

Shape = Sequence[int]


def executed(session: Callable[[bool], Any], arrays: Sequence[Any], seconds: float) -> Tuple[List[Dict[str, Any]], int]:
    """Return the operators and, with `seconds`, their times; `session(prepacking)` opens one that profiles.

    Raises ValueError where the two sessions did not run the same operators.
    """
    walked, _ = _profiled(session(False), arrays, _once)
    operators = [_described(events[0]) for events in walked.values()]
    if not seconds:
        return operators, 0
    most = max(_operators.LEAST, _MOST_EVENTS // max(1, len(operators)))
    timed, count = _profiled(session(True), arrays, lambda infer: _warmed(infer, seconds, most))
    if set(timed) != set(walked):  # sessions of one network may run what does not depend on each other in another order
        raise ValueError("the profile has other operators than the walk: %d, %d" % (len(timed), len(walked)))
    times = [median(1000 * event["dur"] for event in timed[key][-count:]) for key in walked]
    return _operators.timed(operators, times), count


def _once(infer: Callable[[], object]) -> int:
    infer()
    return 1


def _warmed(infer: Callable[[], object], seconds: float, most: int) -> int:
    for _ in range(_operators.WARM):
        infer()
    return _operators.repeat(infer, seconds, most)


def _profiled(session: Any, arrays: Sequence[Any], run: Callable[[Callable[[], object]], int]) -> Any:
    """Let `run` infer; return the events of each operator, in the order of their first execution, and what it returned."""
    fed = dict(zip((item.name for item in session.get_inputs()), arrays))
    try:
        count = run(lambda: session.run(None, fed))
    finally:
        file = Path(session.end_profiling())
    events = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    found: Dict[Tuple[str, str], List[Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            found.setdefault((event["name"], event["args"].get("node_index", "")), []).append(event)
    return found, count


def _described(event: Any) -> Dict[str, Any]:
    said, name = event["args"], event["name"][: -len(_SUFFIX)]
    kind = said["op_name"]
    inputs, outputs = (_tensors(said.get(key, ())) for key in ("input_type_shape", "output_type_shape"))
    place = _weight(kind)
    typed = next((tensor[0] for tensor in (*inputs[place : place + 1], *inputs, *outputs)), "")
    sizes = _operators.total(_operators.size_bytes(*tensor) for tensor in (*inputs, *outputs))
    macs = _macs(kind, [shape for _, shape in inputs], [shape for _, shape in outputs])
    return _operators.described(
        name, kind, macs, sizes, _operators.number_type(typed), _layout(name, kind, inputs, outputs)
    )


def _tensors(told: Any) -> List[Tuple[str, List[int]]]:
    """Each is an object of one key, the type: {"float": [1, 64, 8, 8]}."""
    return [next(iter(tensor.items()), ("", [])) for tensor in told]


def _weight(kind: str) -> int:
    """The place of an operator's weight among its inputs: behind scale and zero point of the first where it is quantised."""
    if kind in ("QLinearConv", "QLinearMatMul", "QGemm"):
        return 3
    return 1 if any(word in kind for word in _WORKS) else 0


def _macs(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Optional[int]:
    place = _weight(kind)
    if place == 0:
        return 0
    if len(inputs) <= place or not outputs:
        return None
    first, weight, output = inputs[0], inputs[place], outputs[0]
    if "ConvTranspose" in kind:
        return prod(first) * prod(weight[1:])
    if "Conv" in kind:
        return _operators.convolution(output, weight)
    if "MatMul" in kind or "Gemm" in kind:
        return prod(output) * _operators.inner(first, output)
    if kind in ("Attention", "QAttention"):  # input [N, S, H], weights [H, 3 D]
        each = prod(output[:-1])
        return each * weight[0] * weight[1] + _operators.attention(output, output[-2], output[-1])
    return _operators.attention(output, weight[-2], output[-1]) if kind == "MultiHeadAttention" else None


def _layout(name: str, kind: str, inputs: List[Tuple[str, Any]], outputs: List[Tuple[str, Any]]) -> str:
    """How a convolution's tensors lie: in blocks of channels, channels last, channels first; "" where that is not told."""
    if name.endswith(_BLOCKED) or kind.startswith("Reorder"):
        return "blocked"
    if kind.startswith("Nhwc"):
        return "channels-last"
    if "Conv" not in kind or len(inputs) <= _weight(kind):
        return ""
    filters, output = inputs[_weight(kind)][1][0], outputs[0][1]
    if kind != "QLinearConv":  # the one that may have them last, by an attribute
        return "channels-first"
    first, last = output[1] == filters, output[-1] == filters
    return "" if first == last else "channels-first" if first else "channels-last"
