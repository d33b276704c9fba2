"""What one inference costs: MACs nominal and useful, depth, weights and activations read and written.

Counted on the operators that torch really dispatches when the network runs once, not on modules: functional calls
and folded layers count alike, and what no rule covers is reported instead of taken for free.

    convolution, linear     MACs, depth + 1
    product of activations  MACs only (attention); torch's fused attention counts as its two products
    pooling, normalisation, element-wise, moving data   nothing, as everywhere in this field
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from harness.records import Cost, Layer

BYTES = 4  # of a float32, whatever the network's own type

Frame: TypeAlias = tuple[tuple[int, int], ...]


def count(network: nn.Module, example: Tensor | tuple[Tensor, ...]) -> Cost:
    """Return the cost per example of the network in eval mode, by running it once on `example` (a batch).

    `depth` is the most convolution and linear operators on a path to an output. `macs_useful` leaves out each pair of
    output position and kernel tap that lies in zero padding (the layer's own, or a padding just before it).
    """
    return measure(network, example)[0]


def measure(network: nn.Module, example: Tensor | tuple[Tensor, ...]) -> tuple[Cost, tuple[Layer, ...]]:
    """Return what `count` does, and the network's convolution and linear layers in the order in which they run."""
    inputs = example if isinstance(example, tuple) else (example,)
    counted = copy.deepcopy(network).eval() if network.training else network
    counter = _Counter(counted, inputs)
    with torch.no_grad(), _plain_attention(), counter:
        output = counted(*inputs)
    batch = inputs[0].shape[0]
    macs = counter.macs // batch
    cost = Cost(
        depth=max((counter.trails[tensor].depth for tensor in _tensors(output)), default=0),
        macs=macs,
        macs_useful=counter.macs_useful // batch,
        flops=2 * macs,
        parameters=sum(parameter.numel() for parameter in counted.parameters()),
        weight_bytes=BYTES * counter.weights_read,
        activation_bytes=BYTES * counter.written // batch,
        uncounted=tuple(sorted(counter.uncounted)),
    )
    return cost, tuple(Layer(name, kind, macs // batch) for name, kind, macs in counter.layers)


@dataclass(frozen=True)
class _Trail:
    """What is known of a tensor that depends on the input: layers behind it, and zeros around it (last dimensions)."""

    depth: int
    frame: Frame = ()


@dataclass(frozen=True)
class _Work:
    """MACs of one operator, and whether it is a layer (a convolution or linear map) or a product of activations."""

    macs: int
    useful: int
    layer: bool


class _Trails:
    """The trail of every tensor that depends on the input, for as long as the tensor lives."""

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._known

    def __getitem__(self, tensor: Tensor) -> _Trail:
        trail: _Trail = self._known[tensor] if tensor in self._known else _Trail(0)
        return trail

    def __setitem__(self, tensor: Tensor, trail: _Trail) -> None:
        self._known[tensor] = trail


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of one run, with the tensors it reads and writes."""

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trails = _Trails()
        self.macs = self.macs_useful = self.written = 0
        self.uncounted: set[str] = set()
        for tensor in inputs:
            self.trails[tensor] = _Trail(0)
        state = (*network.parameters(), *network.buffers())
        self._weights = {_storage(tensor): tensor.numel() for tensor in state if tensor.is_floating_point()}
        self._names = {_storage(tensor): name.rpartition(".")[0] for name, tensor in network.named_parameters()}
        self._read: set[int] = set()
        self.layers: list[tuple[str, str, int]] = []

    @property
    def weights_read(self) -> int:
        """Numbers in all parameters and buffers that some operator read."""
        return sum(self._weights[storage] for storage in self._read)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        read = _tensors((args, kwargs))
        self._read |= {_storage(tensor) for tensor in read} & self._weights.keys()
        if any(tensor in self.trails for tensor in read):
            self._note(func, args, read, result)
        return result

    def _note(self, func: Any, args: tuple[Any, ...], read: list[Tensor], result: Any) -> None:
        name = func.overloadpacket.__name__
        depth = max(self.trails[tensor].depth for tensor in read)
        rule = _RULES.get(name)
        if rule is not None:
            work = rule(self.trails, args, result)
            self.macs += work.macs
            self.macs_useful += work.useful
            depth += work.layer
            if work.layer:
                kind = "convolution" if name.endswith("convolution") else "linear"
                self.layers.append((self._owner(read), kind, work.macs))
        elif not _is_free(func, name):
            self.uncounted.add(name)
        frame = _padded_frame(self.trails, args) if name == "constant_pad_nd" else ()
        known = {_storage(tensor) for tensor in read}
        for tensor in _tensors(result):
            self.trails[tensor] = _Trail(depth, frame)
            if tensor.is_floating_point() and (func._schema.is_mutable or _storage(tensor) not in known):
                self.written += tensor.numel()

    def _owner(self, read: list[Tensor]) -> str:
        """The path of the layer whose weights were read; "" where they are nobody's parameters."""
        found = (self._names[_storage(tensor)] for tensor in read if _storage(tensor) in self._names)
        return next(found, "")


def _convolution(trails: _Trails, args: tuple[Any, ...], result: Tensor) -> _Work:
    read, weight, _, stride, padding, dilation, transposed = args[:7]
    kernel = weight.shape[2:]
    steps = [_per_dim(values, len(kernel)) for values in (stride, padding, dilation)]
    if transposed:  # every input position writes a kernel's footprint into the output
        where, bounds = read.shape[2:], [(0, size) for size in result.shape[2:]]
    else:
        frame = trails[read].frame or ((0, 0),) * len(kernel)
        where = result.shape[2:]
        bounds = [(a, size - b) for (a, b), size in zip(frame[-len(kernel) :], read.shape[2:], strict=True)]
    rows = zip(where, kernel, *steps, bounds, strict=True)
    per_position = read.shape[0] * weight.numel() // math.prod(kernel)
    pairs = math.prod(_pairs_inside(*row) for row in rows)
    return _Work(per_position * math.prod(kernel) * math.prod(where), per_position * pairs, layer=True)


def _pairs_inside(count: int, taps: int, stride: int, padding: int, dilation: int, bounds: tuple[int, int]) -> int:
    """Pairs of position and tap along one dimension whose other end, s * j + d * u - p, lies within the bounds."""
    low, high = bounds
    starts = (dilation * tap - padding for tap in range(taps))
    return sum(low <= start + stride * position < high for start in starts for position in range(count))


def _product(first: int) -> Callable[[_Trails, tuple[Any, ...], Tensor], _Work]:
    """Rule for matrix products whose factors are the arguments `first` and `first` + 1."""

    def rule(trails: _Trails, args: tuple[Any, ...], result: Tensor) -> _Work:
        left, right = args[first : first + 2]
        macs = result.numel() * left.shape[-1]
        return _Work(macs, macs, layer=not (left in trails and right in trails))

    return rule


def _attention(trails: _Trails, args: tuple[Any, ...], result: Any) -> _Work:
    query, key, value = args[:3]
    macs = math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    return _Work(macs, macs, layer=False)


_RULES: dict[str, Callable[[_Trails, tuple[Any, ...], Any], _Work]] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "linear": _product(0),
    "mm": _product(0),
    "bmm": _product(0),
    "mv": _product(0),
    "dot": _product(0),
    "addmm": _product(1),
    "baddbmm": _product(1),
    "addmv": _product(1),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
}

# By the beginning of their names; element-wise operators and views carry their own mark in torch.
_FREE = tuple(
    """
    _log_softmax _safe_softmax _softmax amax amin argmax argmin cummax max mean min norm prod std sum topk var
    adaptive_ avg_pool max_pool
    _native_batch_norm cudnn_batch_norm native_batch_norm native_group_norm native_layer_norm
    _to_copy _unsafe_view alias as_strided cat channel_shuffle clone constant_pad copy detach expand fill flip gather
    index lift_fresh masked_fill native_channel_shuffle pixel_ reflection_pad repeat replication_pad roll scatter
    select slice sort split stack tril triu unbind unfold upsample_ _upsample where
    arange bernoulli embedding empty full native_dropout new_ ones zeros
    """.split()  # noqa: SIM905 (quotes around each would only hide them)
)


def _is_free(func: Any, name: str) -> bool:
    """Whether an operator costs no MACs by the field's convention: element-wise, reductions, pooling, moving data."""
    return torch.Tag.pointwise in func.tags or func.is_view or name.startswith(_FREE)


def _padded_frame(trails: _Trails, args: tuple[Any, ...]) -> Frame:
    """Zeros around the result of a padding with zeros; () where it pads with something else or crops."""
    read, pads = args[0], args[1]
    if (args[2] if len(args) > 2 else 0) != 0 or min(pads) < 0:
        return ()
    before = trails[read].frame or ((0, 0),) * read.ndim
    sides = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    sides = [(0, 0)] * (read.ndim - len(sides)) + sides
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(before, sides, strict=True))


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch from running a whole encoder layer as one operator that cannot be looked into."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _per_dim(values: Sequence[int], dims: int) -> list[int]:
    return list(values) * dims if len(values) == 1 else list(values)


def _storage(tensor: Tensor) -> int:
    """Name a tensor's storage; its address would not do: on the `meta` device all are at 0."""
    name: int = tensor.untyped_storage()._cdata
    return name


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
