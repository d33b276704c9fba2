"""A segment of a network by itself: a small network of the same layers, activations inside and behind included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness.compress.folding import nodes, trace
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import NORMS, is_activation
from harness.compress.folding.norms import fold_norms, move_layer_norms
from harness.compress.folding.removal import activations, remove, silence
from harness.records import digest


@dataclass(frozen=True)
class Segment:
    """A segment as a network of its own, with inputs like those that it reads within the whole; its modules are the whole's."""

    network: fx.GraphModule
    example: Tensor


def isolate(graph: fx.GraphModule, way: Stretch, seed: int = 0) -> Segment | None:
    """Cut a stretch (of the graph without activations) out of the graph with them; None where others reach into it.

    It begins behind the activation before it and ends with its own last one, as runtimes run them: fused into layers.
    """
    named = {node.name: node for node in graph.graph.nodes}
    if way.source.name not in named or way.output.name not in named:
        return None
    source, output = _settled(named[way.source.name]), _settled(named[way.output.name])
    inside = _between(source, output)
    read = {each for node in inside for each in node.all_input_nodes} - inside - {source}
    shape = trace.shape(source)
    if output not in inside or shape is None or any(node.op != "get_attr" for node in read):
        return None
    small, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copies[source] = small.placeholder("x")
    copies[source].meta["shape"] = shape
    for node in graph.graph.nodes:
        if node in inside or node in read:
            copies[node] = small.node_copy(node, copies.__getitem__)
    small.output(copies[output])
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(shape, generator=generator)
    return Segment(fx.GraphModule(graph, small, "Segment").eval(), example)


def signature(graph: fx.GraphModule, way: Stretch, *what: Iterable[str]) -> str:
    """What a segment and that which is done to it look like, shapes and all, whatever its place; empty if it has no own life."""
    alone = isolate(graph, way)
    if alone is None:
        return ""
    order = {node: at for at, node in enumerate(alone.network.graph.nodes)}
    place = {str(node.target): at for node, at in order.items() if node.op == "call_module"}

    def told(node: fx.Node) -> list[Any]:
        module = trace.module_of(node)
        does = repr(module) if module is not None else _called(node)
        given = repr(fx.map_arg((node.args, node.kwargs), lambda each: order[each]))
        return [node.op, does, given, list(trace.shape(node) or ())]

    done = [[place.get(word, word) for word in words] for words in what]
    return digest({"nodes": [told(node) for node in order], "done": done})[:16]


def readied(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """The network's graph as folding looks at it: norms in their layers, nothing between these that changes nothing."""
    graph = trace.evaluated(network, example)
    trace.drop_transparent(graph)
    trace.simplify_flattening(graph)
    fold_norms(graph)
    move_layer_norms(graph)
    return graph


def merged_without(segment: Segment, dropped: Collection[str]) -> Stretch | None:
    """What is left of a segment without some of its layers, as one; None where that is not one layer."""
    shorter = copy.deepcopy(segment.network)
    for path in dropped:
        silence(shorter, path)
    graph = readied(remove(shorter, activations(shorter)), segment.example)
    whole = [way for way in Stretches(graph, exact=False).largest() if way.layers]
    output = next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes[0]
    return whole[0] if len(whole) == 1 and whole[0].output is output and not whole[0].pooled else None


def norms_behind(graph: fx.GraphModule, layer: str) -> tuple[str, ...]:
    """The norm that folding puts into a layer: what reads its output, or that of a dropout behind it, and nothing else."""
    (node,) = (each for each in graph.graph.nodes if each.op == "call_module" and each.target == layer)
    while len(node.users) == 1:
        (node,) = node.users
        if isinstance(trace.module_of(node), NORMS):
            return (str(node.target),)
        if not trace.is_transparent(node):
            break
    return ()


def weights(graph: fx.GraphModule, layers: Collection[str]) -> int:
    """How many weights layers have as they are."""
    called = (node for node in graph.graph.nodes if node.op == "call_module" and str(node.target) in layers)
    return sum(reading.layer.weights for node in called if (reading := nodes.read(node)) is not None)


def _called(node: fx.Node) -> str:
    """What a node calls, by a name that holds in any process; nothing of where a tensor lies, or what is read or given."""
    return {"call_function": torch.typename(node.target), "call_method": str(node.target)}.get(node.op, "")


def _settled(node: fx.Node) -> fx.Node:
    """What comes of a node after the norms, dropouts and activations that alone read it."""
    while len(node.users) == 1:
        (user,) = node.users
        module = trace.module_of(user)
        if not (isinstance(module, NORMS) or is_activation(module) or trace.is_transparent(user)):
            return node
        node = user
    return node


def _between(source: fx.Node, output: fx.Node) -> set[fx.Node]:
    """The nodes on all ways from `source` to `output`, without the first."""
    return _reached(source, lambda node: node.users) & (_reached(output, lambda node: node.all_input_nodes) | {output})


def _reached(start: fx.Node, ways: Callable[[fx.Node], Iterable[fx.Node]]) -> set[fx.Node]:
    found, left = set[fx.Node](), list(ways(start))
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left.extend(ways(node))
    return found
