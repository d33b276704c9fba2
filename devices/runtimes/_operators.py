"""Shared by runtimes that tell the operators of what they have loaded: how those are described, counted and repeated.

A runtime's `operators(path, options, inputs, seconds)` returns the operators in their order, as fields of `wire.Operator`, and
how many inferences their times are medians of. With 0 seconds it only looks, as cheaply as it can; else it profiles for
about so long.
"""

import time
from math import prod
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

LEAST = 10  # inferences that are profiled, however long they take
WARM = 3  # inferences before them
DTYPES = {"float": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "double": "fp64"}
_BYTES = {
    "fp64": 8,
    "int64": 8,
    "fp32": 4,
    "int32": 4,
    "uint32": 4,
    "fp16": 2,
    "bf16": 2,
    "int16": 2,
    "int8": 1,
    "bool": 1,
}


def described(
    name: str, kind: str, macs: Optional[int], size: Optional[int], dtype: str = "", layout: str = ""
) -> Dict[str, Any]:
    """Return an operator as fields of `wire.Operator`, plain numbers all of them."""
    counts = {"macs": None if macs is None else int(macs), "bytes": None if size is None else int(size)}
    return {"name": name, "kind": kind, **counts, "time_ns": None, "dtype": dtype, "layout": layout}


def number_type(name: str) -> str:
    """Return our word for a type of numbers: `fp32`, `fp16`, `int8` (signed or not), else its own name."""
    return DTYPES.get(name, name)


def size_bytes(kind: str, shape: Iterable[int]) -> Optional[int]:
    """Return the bytes of a tensor, None where its type's width is not known; an input that is left out has none, of any type."""
    width, count = _BYTES.get(number_type(kind)), prod(map(int, shape))
    return width * count if width is not None else None if count else 0


def total(sizes: Iterable[Optional[int]]) -> Optional[int]:
    """Return a sum, None where a part is not known."""
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


def convolution(output: Sequence[int], weight: Sequence[int]) -> int:
    """Multiply-adds of a convolution: its output's numbers, times the taps of a filter [O, I / groups, height, width]."""
    return prod(output) * prod(weight[1:])


def attention(query: Sequence[int], keys: int, value: int) -> int:
    """Multiply-adds of fused attention's two products: query [..., S, D], so many keys, so many numbers of a value."""
    return prod(query[:-1]) * keys * (query[-1] + value)


def repeat(infer: Callable[[], object], seconds: float, most: int = 1000) -> int:
    """Run for about so long, at least 10 and at most `most` times; return how often."""
    count, end = 0, time.monotonic() + seconds
    while count < LEAST or (time.monotonic() < end and count < most):
        infer()
        count += 1
    return count


def timed(operators: List[Dict[str, Any]], times_ns: Iterable[Optional[float]]) -> List[Dict[str, Any]]:
    """Return the operators with their times, None where there is none."""
    return [
        {**each, "time_ns": None if time_ns is None else round(time_ns)} for each, time_ns in zip(operators, times_ns)
    ]


def inner(left: Sequence[int], output: Sequence[int]) -> int:
    """The extent that a product sums over; its left factor may be transposed, which its shape tells unless it is square."""
    transposed = len(left) > 1 and len(output) > 1 and left[-2] != output[-2] and left[-1] == output[-2]
    return left[-2] if transposed else left[-1]
