"""Tensors on the wire: the inputs and outputs by which an artifact is proved on the device."""

import base64
from dataclasses import dataclass
from typing import Sequence, Tuple

from harness.decode import require

_SIZES = {"float32": 4, "int64": 8}  # bytes of a number


@dataclass(frozen=True)
class Tensor:
    """A dense tensor in C order, `dtype` float32 or int64 (tokens); `data` is base64 of its little-endian bytes."""

    shape: Tuple[int, ...]
    data: str
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require(self.dtype in _SIZES, "a tensor's dtype must be one of " + ", ".join(_SIZES), self.dtype)
        size = _SIZES[self.dtype]
        for extent in self.shape:
            require(extent >= 1, "a tensor's extents must be positive", self.shape)
            size *= extent
        require(size <= 2**30, "a tensor must be at most 1 GiB", size)
        require(len(self.data) == 4 * ((size + 2) // 3), "a tensor's data must match its shape", len(self.data))

    @classmethod
    def of(cls, shape: Sequence[int], raw: bytes, dtype: str = "float32") -> "Tensor":
        """Wrap the little-endian bytes `raw` of a C-ordered array with this `shape` and `dtype`."""
        return cls(tuple(int(n) for n in shape), base64.b64encode(raw).decode("ascii"), dtype)

    def raw(self) -> bytes:
        """Return the little-endian bytes."""
        return base64.b64decode(self.data)

    def rows(self, first: int, count: int) -> "Tensor":
        """Return the rows (first axis) `first` to `first + count - 1` as a tensor of their own."""
        raw = self.raw()
        size = len(raw) // self.shape[0]
        return Tensor.of((count, *self.shape[1:]), raw[first * size : (first + count) * size], self.dtype)


@dataclass(frozen=True)
class Sample:
    """Inputs of a network (batch first) and the outputs that torch gave for them in float32."""

    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
