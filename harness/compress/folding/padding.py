"""Move padding to where merging is exact: a new network that can still be trained.

Zero padding between two convolutions is what keeps their merge from being exact: the merged kernel sees the first
one's values outside the image, where the pair sees zeros. `pad_first` pads once, where a group of layers begins, and
leaves the rest valid (Kim et al. 2023). Inside the group images are larger than they were, by what the layers behind
still take off; a shortcut gets the zeros, or loses the border, that make it fit. That is another function near the
border, so it comes before fine-tuning.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch import fx, nn

from harness.compress.folding import nodes, trace
from harness.compress.folding.affine import Pairs
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import CONVS, PADS
from harness.compress.folding.layers import affine, norm_at, padding_module, scale_and_shift, to_module
from harness.compress.folding.merge import moved_padding, scaled
from harness.compress.folding.removal import silence
from harness.compress.folding.trace import Example
from harness.compress.folding.trees import Chain, Layer, Shortcut, Sum, Tree, layer_of, output_of
from harness.content import require_known
from harness.errors import FoldError

Edge: TypeAlias = tuple[str, str]  # names of the node that is read and of the one that reads it


@dataclass
class _Moves:
    """What is to change: padding of layers and norms that go into them, by path; calls of a padding; zeros or less on edges."""

    padding: dict[str, Pairs] = field(default_factory=dict)
    calls: dict[str, Pairs] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    edges: dict[Edge, Pairs] = field(default_factory=dict)


def pad_first(network: nn.Module, example: Example, names: Collection[str] | None = None) -> nn.Module:
    """Return a new network in which each group of layers that can merge pads once, where it begins.

    With P = p1 + s1 * p2 all sizes stay. A BatchNorm inside a group is folded (with its running statistics) into the
    convolution before it, which so gets a bias; paths and everything outside stay, and the network can be trained, saved
    and changed again. Where a group holds shortcuts that have to be padded or cropped, the new network is the old one's
    traced graph. `names` restricts this to groups opened by these removed activations. Raises FoldError if the network
    cannot be traced or run on `example`; UsageError for a name that opened no group.
    """
    graph = trace.evaluated(network, example)
    trace.drop_transparent(graph)
    stretches = Stretches(graph, exact=False, joint=lambda before, after: _is_open(before, after, names))
    every = [group for group in stretches.largest() if not group.pooled]
    opened = {name for group in every for name in group.opened_by}
    groups = [group for group in every if group.merged.dims]  # linear layers pad nothing
    for name in sorted(set(names or ()) - opened):  # before a pooled linear tail there is nothing to move, either
        require_known("removed activation between two layers", name, {*opened, *_before_pooling(network, example)})
    moves = _Moves()
    for group in groups:
        if group.opened_by:
            none = ((0, 0),) * group.merged.dims
            _widen(group.tree, none, none, group.source, moves)
    paths = {*moves.padding, *moves.norms, *moves.norms.values()}
    moved = copy.deepcopy(network)
    if moves.edges or moves.calls or not all(_is_same(graph, moved, path) for path in paths):
        moved = _graph_of(moved, example)
        _insert(moved, moves)
    _apply(moved, moves)
    return moved


def opened(network: nn.Module, example: Example, names: Collection[str]) -> tuple[str, ...]:
    """Return those of the removed activations `names` that together, and nothing else, bring layers together, in order.

    Before pooling there is no padding to move; activations there are not among them. Raises FoldError.
    """
    graph = trace.evaluated(network, example)
    trace.drop_transparent(graph)
    stretches = Stretches(graph, exact=False, joint=lambda before, after: _is_open(before, after, names))
    found = {name for group in stretches.largest() if not group.pooled for name in group.opened_by}
    return tuple(name for name in names if name in found)


def _before_pooling(network: nn.Module, example: Example) -> set[str]:
    """The removed activations that open groups with pooling in them."""
    graph = trace.evaluated(network, example)
    trace.drop_transparent(graph)
    trace.simplify_flattening(graph)
    return {name for group in Stretches(graph, exact=False).largest() if group.pooled for name in group.opened_by}


def _is_same(graph: nn.Module, network: nn.Module, path: str) -> bool:
    """Whether a layer of the graph is one of the network's own, and not one that it calls as a function."""
    try:
        return type(graph.get_submodule(path)) is type(network.get_submodule(path))
    except AttributeError:
        return False


def _graph_of(network: nn.Module, example: Example) -> fx.GraphModule:
    """The network's graph, in its mode. Raises FoldError if training and evaluation are not one graph."""
    codes = []
    modes = {name: module.training for name, module in network.named_modules()}
    for training in (True, False):
        graph = trace.trace(copy.deepcopy(network).train(training), example)
        codes.append(graph.code)
    if codes[0] != codes[1]:
        raise FoldError(
            f"{type(network).__name__} does something else in training: a graph with moved padding would hold one of the two",
            "Use modules (nn.Dropout) for what only training does, or fold groups without shortcuts (names=...).",
        )
    for name, module in graph.named_modules():
        module.training = modes.get(name, network.training)
    return graph


def _is_open(before: Stretch, after: Stretch, names: Collection[str] | None) -> bool:
    """Whether an activation that was removed (one of `names`) was all that kept two stretches apart."""
    opened = trace.opened_by(before.output)
    if before.pooled or after.pooled:
        return False
    weightless = isinstance(after.tree, Layer) and (nodes.is_norm(after.output) or nodes.is_pad(after.output))
    return weightless or bool(opened if names is None else opened & set(names))


def _need(tree: Tree, extra: Pairs) -> Pairs:
    """How much larger the input must be, without any padding inside, for an output larger by `extra` on each side."""
    match tree:
        case Layer(node):
            layer = layer_of(node)
            if layer.dims != len(extra):  # a linear layer behind a flattened image: nothing is larger there
                return extra
            return moved_padding(layer, replace(layer, padding=extra))
        case Chain(inner):
            for part in reversed(inner):
                extra = _need(part, extra)
            return extra
        case Sum(left, right):
            pairs = zip(_need(left, extra), _need(right, extra), strict=True)
            return tuple((max(a, c), max(b, d)) for (a, b), (c, d) in pairs)
        case Shortcut():
            return extra


def _widen(tree: Tree, extra: Pairs, given: Pairs, source: fx.Node, moves: _Moves) -> None:
    """Note what makes a tree's output larger by `extra`, of an input that is larger by `given` already."""
    match tree:
        case Layer(node):
            _widen_layer(node, _less(_need(tree, extra), given), source, moves)
        case Chain(inner):
            extras = [extra]
            for part in reversed(inner[1:]):
                extras.insert(0, _need(part, extras[0]))
            for at, (part, own) in enumerate(zip(inner, extras, strict=True)):
                _note_norm(inner[at - 1] if at else None, part, own, moves)
                _widen(part, own, extras[at - 1] if at else given, source, moves)
                source = output_of(part)
        case Sum(left, right, node):
            for branch in (left, right):
                if isinstance(branch, Shortcut):
                    _note_edge(source, node, _less(extra, given), moves)
                else:
                    _widen(branch, extra, given, source, moves)


def _widen_layer(node: fx.Node, padding: Pairs, source: fx.Node, moves: _Moves) -> None:
    """Let a layer pad by so much; what it cannot do itself happens before it."""
    own = layer_of(node).padding
    if len(own) != len(padding):
        return
    if isinstance(trace.module_of(node), CONVS):
        inside = tuple((max(0, before), max(0, after)) for before, after in padding)
        if inside != own:
            moves.padding[str(node.target)] = inside
        own = inside
    elif nodes.is_pad(node):
        if padding != own and node.op == "call_module":
            moves.padding[str(node.target)] = padding
        elif padding != own:
            moves.calls[node.name] = padding
        return
    _note_edge(source, node, _less(padding, own), moves)


def _note_edge(source: fx.Node, reader: fx.Node, change: Pairs, moves: _Moves) -> None:
    if any(before or after for before, after in change):
        moves.edges[source.name, reader.name] = change


def _note_norm(before: Tree | None, part: Tree, extra: Pairs, moves: _Moves) -> None:
    """A norm over an image that is larger now would take statistics of the padding: it goes into the layer before it."""
    if not (isinstance(part, Layer) and nodes.is_norm(part.node) and any(map(any, extra))):
        return
    if isinstance(before, Layer) and isinstance(trace.module_of(before.node), CONVS):
        moves.norms[str(part.node.target)] = str(before.node.target)


def _less(one: Pairs, other: Pairs) -> Pairs:
    return tuple((a - c, b - d) for (a, b), (c, d) in zip(one, other, strict=True))


def _apply(network: nn.Module, moves: _Moves) -> None:
    """Fold norms and set paddings, in place; every layer that changes gets tensors of its own, in its mode."""
    for path in {*moves.norms.values(), *moves.padding}:
        module = network.get_submodule(path)
        if isinstance(module, PADS):
            network.set_submodule(path, padding_module(moves.padding[path]).train(module.training))
            continue
        layer = affine(module)
        for norm in (norm for norm, conv in moves.norms.items() if conv == path):
            layer = scaled(layer, *scale_and_shift(norm_at(network, norm)))
            silence(network, norm)
        layer = replace(layer, padding=moves.padding.get(path, layer.padding))
        changed = copy.deepcopy(to_module(layer)).train(module.training)
        network.set_submodule(path, changed.requires_grad_(next(module.parameters()).requires_grad))


def _insert(graph: fx.GraphModule, moves: _Moves) -> None:
    """Put zeros around, or take the border off, what is read along edges; change what calls of a padding add; in place."""
    named = {node.name: node for node in graph.graph.nodes}
    for name, sides in moves.calls.items():
        flat = [length for pair in reversed(sides) for length in pair]
        call = named[name]
        if "pad" in call.kwargs:
            call.kwargs = {**call.kwargs, "pad": flat}
        else:
            call.args = (call.args[0], flat, *call.args[2:])
    for number, ((source, reader), change) in enumerate(moves.edges.items()):
        path = f"pad_first_{number}"
        graph.add_submodule(path, padding_module(change).train(graph.training))
        behind = trace.behind_transparent(named[source])
        read = next(node for node in named[reader].all_input_nodes if trace.behind_transparent(node) is behind)
        with graph.graph.inserting_before(named[reader]):
            padded = graph.graph.call_module(path, (read,))
        named[reader].replace_input_with(read, padded)
    graph.recompile()
