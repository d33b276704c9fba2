"""Shared by runtimes that are fed with NumPy arrays: tensors of the wire as arrays and back, calibration inputs in sets."""

from typing import Any, Iterable, List, Tuple

from harness import wire


def array(tensor: wire.Tensor, dtype: str = "") -> Any:
    """Return a tensor as an array of its own, in its dtype or another one."""
    import numpy

    little_endian = numpy.dtype(tensor.dtype).newbyteorder("<")
    return numpy.frombuffer(tensor.raw(), little_endian).reshape(tensor.shape).astype(dtype or tensor.dtype)


def tensors(arrays: Iterable[Any]) -> Tuple[wire.Tensor, ...]:
    """Return arrays, of outputs, as float32 tensors."""
    return tuple(wire.Tensor.of(each.shape, each.astype("<f4").tobytes()) for each in arrays)


def sets(path: str, batch: int) -> List[Any]:
    """Cut a NumPy file of inputs [N, *input_shape] into sets of a fixed batch; the last is filled up from the first."""
    import numpy

    rows = numpy.load(path, allow_pickle=False)
    count = -(-len(rows) // batch)
    return list(numpy.resize(rows, (count, batch, *rows.shape[1:])))
