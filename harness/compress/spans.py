"""Spans: the stretch of a network on which an activation's channels stay apart, from the layer that makes them to its readers.

    producer (convolution, linear) -> BatchNorm, activations, depthwise convolutions, pooling, flattening -> readers

A channel that is cut has to go from all of it at once. There is no span where channels are added to others, mixed, or
reshaped by something unknown: such channels are tied, and cannot be cut.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from harness.compress.folding import nodes, trace
from harness.compress.folding.kinds import ADAPTIVE_POOLS, CONVS, NORMS, PADS, POOLS, TRANSPARENT, is_activation
from harness.compress.folding.trace import Example
from harness.content import require_known

_MAX_POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_OVER_IMAGES = (*NORMS, *POOLS, *ADAPTIVE_POOLS, *_MAX_POOLS, *PADS)  # these take axis 1 for the channels


@dataclass(frozen=True)
class Span:
    """Where the channels of one activation are: nodes in forward order.

    `blocks` says of each node how many values of its channel axis belong to one channel: 1, and behind a flattening as
    many as the image had positions. `at` is the activation's node.
    """

    producer: fx.Node
    inner: tuple[fx.Node, ...]
    readers: tuple[fx.Node, ...]
    blocks: dict[fx.Node, int]
    at: fx.Node

    @property
    def channels(self) -> int:
        """How many channels there are."""
        layer: Any = trace.module_of(self.producer)
        return len(layer.weight)


def find(network: nn.Module, example: Example, name: str) -> Span | None:
    """Return the span of the activation (or whatever is called) at path `name`; None where its channels are tied.

    Raises UsageError for a path that the network does not call, FoldError if it cannot be traced.
    """
    graph = trace.evaluated(network, example)
    calls = trace.calls(graph)
    require_known("activation", name, tuple(calls))
    at = next(node for node in graph.graph.nodes if node.op == "call_module" and node.target == name)
    search = _Search(at)
    try:
        search.up(at)
    except _TiedError:
        return None
    named = {path for path, _ in network.named_modules()}
    modules = [node for node in (search.producer, *search.inner, *search.readers) if node and node.op == "call_module"]
    if any(calls[str(node.target)] > 1 or str(node.target) not in named for node in modules):
        return None  # called twice it has other channels elsewhere; called as a function its weights lie elsewhere
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    inner, readers = (tuple(sorted(part, key=order.__getitem__)) for part in (search.inner, search.readers))
    assert search.producer is not None
    return Span(search.producer, inner, readers, search.blocks, at)


def is_depthwise(module: nn.Module | None) -> bool:
    """Whether a module is a convolution of one filter for each channel."""
    return isinstance(module, CONVS) and module.groups == module.in_channels == module.out_channels > 1


class _TiedError(Exception):
    """The channels of this span meet others."""


class _Search:
    """Follows an activation's channels both ways until it has met layers everywhere."""

    def __init__(self, at: fx.Node) -> None:
        self.producer: fx.Node | None = None
        self.inner: set[fx.Node] = set()
        self.readers: set[fx.Node] = set()
        self.blocks: dict[fx.Node, int] = {}
        self.axes: dict[fx.Node, int] = {}
        self.at = at

    def up(self, node: fx.Node) -> None:
        """Go back to the layer that makes the channels of a node, then forward from there."""
        while not _mixes(node):
            if not _is_apart(node):
                raise _TiedError
            node = trace.source(node)
        module, shape = trace.module_of(node), trace.shape(node)
        if (isinstance(module, CONVS) and module.groups > 1) or shape is None:
            raise _TiedError
        self.producer, self.blocks[node] = node, 1
        self.axes[node] = 1 if isinstance(module, CONVS) else len(shape) - 1
        self.down(node)
        if self.at is not node and self.at not in self.inner:
            raise _TiedError

    def down(self, node: fx.Node) -> None:
        """Follow what reads a node."""
        for user in node.users:
            if _asks_batch(user) or user in self.inner or user in self.readers:
                continue
            if _mixes(user):
                self._read(user, node)
            elif _is_apart(user) and trace.source(user) is node and self._passes(user, node):
                self.inner.add(user)
                self.down(user)
            else:
                raise _TiedError

    def _read(self, reader: fx.Node, node: fx.Node) -> None:
        module, shape = trace.module_of(reader), trace.shape(node)
        assert shape is not None
        axis = 1 if isinstance(module, CONVS) else len(shape) - 1
        if (isinstance(module, CONVS) and module.groups > 1) or self.axes[node] != axis:
            raise _TiedError
        self.readers.add(reader)
        self.blocks[reader] = self.blocks[node]

    def _passes(self, user: fx.Node, node: fx.Node) -> bool:
        """Note where a node has the channels that it passes on; False if it takes another axis for them."""
        before, axis = trace.shape(node), self.axes[node]
        assert before is not None
        self.blocks[user], self.axes[user] = self.blocks[node], axis
        if trace.flattened(user) is node:
            self.blocks[user] = self.blocks[node] * _product(before[2:])
            return axis == 1
        by_axis_one = isinstance(trace.module_of(user), (*_OVER_IMAGES, *CONVS)) or nodes.is_pool(user)
        holds_some = isinstance(trace.module_of(user), (*NORMS, nn.PReLU))
        if holds_some and self.blocks[node] > 1:  # it has a number for each value of a flattened image
            return False
        return axis == 1 if by_axis_one or nodes.is_pad(user) else True


def _mixes(node: fx.Node) -> bool:
    """Whether a node makes channels of other channels."""
    module = trace.module_of(node)
    return isinstance(module, (nn.Linear, *CONVS)) and not is_depthwise(module)


def _is_apart(node: fx.Node) -> bool:
    """Whether a node keeps channels apart: each one of its output is made of the one of its input."""
    module = trace.module_of(node)
    if is_activation(module) or is_depthwise(module) or isinstance(module, (*TRANSPARENT, *_OVER_IMAGES)):
        return True
    if nodes.is_pool(node):
        return nodes.read(node) is not None
    return nodes.is_pad(node) or (trace.flattened(node) is not None and _keeps_open(node))


def _keeps_open(node: fx.Node) -> bool:
    """Whether a flattening takes any number of channels: `view(N, 512)` would not."""
    is_view = node.op == "call_method" and node.target in ("view", "reshape")
    return (not is_view and node.target is not torch.reshape) or _last(node) == -1


def _last(node: fx.Node) -> Any:
    size = node.args[-1]
    return size[-1] if isinstance(size, list | tuple) else size


def _asks_batch(node: fx.Node) -> bool:
    """Whether a node only asks how many examples there are."""
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,)
    shape = node.target is getattr and node.args[1:] == ("shape",)
    return shape and all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def direct(network: nn.Module, example: Example, names: Collection[str]) -> dict[str, tuple[str, str | None]]:
    """Return the layer right in front of each activation at `names` and the BatchNorm between, by path.

    Right in front: nothing but this BatchNorm and what changes nothing lies between, and nothing else reads it. Activations
    of which that cannot be said (behind an add, say) are left out.
    """
    graph = trace.evaluated(network, example)
    calls, found = trace.calls(graph), dict[str, tuple[str, str | None]]()
    for at in graph.graph.nodes:
        if at.op != "call_module" or at.target not in names or calls[str(at.target)] > 1:
            continue
        node, norm = trace.source(at), None
        while len(node.users) == 1 and (trace.is_transparent(node) or (norm is None and nodes.is_norm(node))):
            norm = node if nodes.is_norm(node) else norm
            node = trace.source(node)
        single = len(node.users) == 1 and calls[str(node.target)] == 1
        if single and isinstance(trace.module_of(node), (nn.Linear, *CONVS)) and not _is_crossed(node, norm):
            found[str(at.target)] = (str(node.target), None if norm is None else str(norm.target))
    return found


def _is_crossed(layer: fx.Node, norm: fx.Node | None) -> bool:
    """Whether a BatchNorm takes the tokens of a linear layer's output for channels."""
    shape = trace.shape(layer)
    return norm is not None and isinstance(trace.module_of(layer), nn.Linear) and shape is not None and len(shape) > 2


def bottlenecks(network: nn.Module, example: Example, names: Collection[str]) -> frozenset[str]:
    """Return those of the modules at `names` that every path from the input to the output goes through."""
    graph = trace.evaluated(network, example)
    found = set[str]()
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in names and not _is_bypassed(graph, node):
            found.add(str(node.target))
    return frozenset(found)


def _is_bypassed(graph: fx.GraphModule, without: fx.Node) -> bool:
    """Whether something of the input still reaches the output without a node."""
    reached = set[fx.Node]()
    for node in graph.graph.nodes:  # in the order in which they run
        if node is not without and (node.op == "placeholder" or any(read in reached for read in node.all_input_nodes)):
            reached.add(node)
    return any(node.op == "output" and node in reached for node in graph.graph.nodes)
