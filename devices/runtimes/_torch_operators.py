"""The operators that PyTorch dispatches in one inference: walked by a dispatch mode, timed by torch.profiler.

Both see the same calls: the profiler's are those of the walk's names that lie in no other of them. Views compute nothing
and are left out. An operator is named by the parameter that it reads, which names the layer, else by its own name.
"""

from math import prod
from statistics import median
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from devices.runtimes import _operators
else:
    import _operators

_MOST = 30  # inferences that are profiled: the profiler keeps many events of each
_UNKNOWN = ("conv", "mm", "matmul", "linear", "attention", "lstm", "gru", "rnn", "einsum", "bilinear")
_CONVOLUTIONS = tuple(name % n for n in (1, 2, 3) for name in ("conv%dd", "conv_transpose%dd"))

Shape = Sequence[int]


def executed(torch: Any, infer: Callable[[], object], network: Any, seconds: float) -> Tuple[List[Dict[str, Any]], int]:
    """Return the operators and, with `seconds`, their times. Raises ValueError where the profiler saw other operators."""
    operators = _walked(torch, infer, network)
    if not seconds:
        return operators, 0
    for _ in range(_operators.WARM):
        infer()
    kinds = [each["kind"] for each in operators]
    with torch.profiler.profile() as profiler:  # CPU, and CUDA where that is
        count = _operators.repeat(infer, seconds, _MOST)
    events = _outermost(profiler.events(), set(kinds))
    if [event.name for event in events] != kinds * count:
        raise ValueError("the profiler saw %d operators in %d inferences of %d" % (len(events), count, len(kinds)))
    rows = [[1000 * _time_us(event) for event in events[n :: len(kinds)]] for n in range(len(kinds))]
    return _operators.timed(operators, map(median, rows)), count


def _outermost(events: Any, kinds: Any) -> List[Any]:
    """Those of these names that lie within no other of them, in their order."""
    found: List[Any] = []
    for event in sorted(events, key=lambda event: (event.time_range.start, -event.time_range.end)):
        if event.name in kinds and (not found or event.time_range.start >= found[-1].time_range.end):
            found.append(event)
    return found


def _time_us(event: Any) -> float:
    """Time on the GPU, where there is any; older PyTorch calls it by CUDA's name."""
    on_gpu = event.device_time_total if hasattr(event, "device_time_total") else event.cuda_time_total
    return float(on_gpu or event.cpu_time_total)


def _walked(torch: Any, infer: Callable[[], object], network: Any) -> List[Dict[str, Any]]:
    from torch.utils._python_dispatch import TorchDispatchMode

    names = {_storage(tensor): name.rpartition(".")[0] for name, tensor in network.state_dict().items()}
    found: List[Dict[str, Any]] = []

    class Walk(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if not func.is_view:
                found.append(_described(torch, func, args, result, names, len(found)))
            return result

    with Walk():  # type: ignore[no-untyped-call, unused-ignore]
        infer()
    return found


def _described(torch: Any, func: Any, args: Any, result: Any, names: Dict[int, str], place: int) -> Dict[str, Any]:
    kind = str(func._schema.name)
    reads, writes = _tensors(torch, args), _tensors(torch, result)
    layer = next((names[key] for key in map(_storage, reads) if key in names), "%s %d" % (kind, place))
    types = [str(tensor.dtype).rpartition(".")[2] for tensor in (*reads, *writes)]
    sizes = (_operators.size_bytes(name, tensor.shape) for name, tensor in zip(types, (*reads, *writes)))
    number = _operators.number_type(types[0]) if types else ""
    layout = _layout(torch, reads[0]) if "conv" in kind and reads else ""
    macs = _macs(kind.partition("::")[2], args, tuple(writes[0].shape) if writes else ())
    return _operators.described(layer, kind, macs, _operators.total(sizes), number, layout)


def _tensors(torch: Any, values: Any) -> List[Any]:
    values = values if isinstance(values, (tuple, list)) else [values]
    flat = (each for value in values for each in (value if isinstance(value, (tuple, list)) else [value]))
    return [each for each in flat if isinstance(each, torch.Tensor)]


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


def _layout(torch: Any, tensor: Any) -> str:
    """Blocked layouts are within oneDNN's kernels: it takes and gives what is asked here."""
    if tensor.layout != torch.strided:
        return "blocked"
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return "" if last and tensor.is_contiguous() else "channels-last" if last else "channels-first"


def _macs(name: str, args: Any, output: Shape) -> Optional[int]:
    shapes = [tuple(map(int, each.shape)) for each in args if hasattr(each, "shape")]
    if "convolution" in name or name in _CONVOLUTIONS:
        transposed = "transpose" in name or (name in ("convolution", "_convolution") and args[6])
        return prod(shapes[0] if transposed else output) * prod(shapes[1][1:])
    if name in ("linear", "matmul", "mm", "bmm", "mv", "dot"):
        return prod(output) * shapes[0][-1]
    if name in ("addmm", "baddbmm", "addmv"):
        return prod(output) * shapes[1][-1]
    if "scaled_dot_product" in name:
        return _operators.attention(shapes[0], shapes[1][-2], shapes[2][-1])
    return None if any(word in name for word in _UNKNOWN) else 0
