"""What can be merged in a graph, and why the rest cannot: stretches between two nodes that are affine throughout.

A stretch grows along the graph: a layer joins the stretch that makes its input, if nothing outside reads that input
and the padding between them is exact; an add joins two stretches, or a stretch and its own source (a shortcut), when
both start at the same node. Planning works on tensors without numbers (`meta`), so its costs are the merge's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from torch import fx

from harness.compress.folding import trace
from harness.compress.folding.layers import NORMS, affine
from harness.compress.folding.merge import Affine, chain, cropped, cut, identity, padding_is_exact, parallel
from harness.errors import FoldError


@dataclass(frozen=True)
class Layer:
    """One layer of a stretch: the node that calls it."""

    node: fx.Node


@dataclass(frozen=True)
class Shortcut:
    """A branch without layers, over `channels` channels and `dims` spatial dimensions."""

    channels: int
    dims: int


@dataclass(frozen=True)
class Chain:
    """`second` applied to the output of `first`."""

    first: Tree
    second: Tree


@dataclass(frozen=True)
class Sum:
    """Two branches over the same input, added."""

    left: Tree
    right: Tree


Form: TypeAlias = Literal[
    "plain", "crop"
]  # the merged kernel whole, or as large as the largest of its layers (LayerFold)
Tree: TypeAlias = Layer | Shortcut | Chain | Sum


@dataclass(frozen=True)
class Stretch:
    """`output` as one affine layer of `source`: how it is made, the nodes it replaces, the merged layer's shape.

    `form` is what stands for it.
    """

    source: fx.Node
    output: fx.Node
    tree: Tree
    nodes: frozenset[fx.Node]
    merged: Affine
    form: Form = "plain"

    @property
    def layers(self) -> tuple[fx.Node, ...]:
        """The nodes of its layers, in forward order."""
        return tuple(layers(self.tree))


@dataclass(frozen=True)
class Refusal:
    """A place where two stretches meet and stay apart."""

    before: Stretch
    after: Stretch
    reason: str


def layers(tree: Tree) -> list[fx.Node]:
    """Return the nodes of a tree's layers, in forward order."""
    match tree:
        case Layer(node):
            return [node]
        case Chain(one, two) | Sum(one, two):
            return layers(one) + layers(two)
        case Shortcut():
            return []


def kind(tree: Tree) -> str:
    """Describe a tree: `conv+conv` is a chain, `conv+conv|identity` one with a shortcut around it."""
    match tree:
        case Layer(node):
            name = type(trace.module_of(node)).__name__.lower()
            return "norm" if name.startswith("batch") else name.rstrip("123d")
        case Chain(first, second):
            return f"{_enclosed(first)}+{_enclosed(second)}"
        case Sum(left, right):
            return f"{kind(left)}|{kind(right)}"
        case Shortcut():
            return "identity"


def evaluate(tree: Tree, known: Mapping[fx.Node, Affine]) -> Affine:
    """Merge a tree into one layer; `known` holds the affine layer of each of its nodes."""
    match tree:
        case Layer(node):
            return known[node]
        case Chain(first, second):
            return chain(evaluate(first, known), evaluate(second, known))
        case Sum(left, right):
            return parallel(evaluate(left, known), evaluate(right, known))
        case Shortcut(channels, dims):
            return identity(channels, dims)


def find(
    graph: fx.GraphModule, form: Form = "plain", exact: bool = True
) -> tuple[tuple[Stretch, ...], tuple[Refusal, ...]]:
    """Return the largest stretches of a graph with shapes, in forward order, and where stretches were kept apart.

    Unless `exact`, padding between two layers keeps nothing apart: the merged layer is then wrong near the border.
    """
    search = _Search(graph, exact)
    for node in graph.graph.nodes:
        search.visit(node)
    largest: list[Stretch] = []
    inside: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        stretch = search.stretches.get(node)
        if stretch is not None and node not in inside:
            largest.append(replace(stretch, form=form))
            inside |= stretch.nodes
    still_apart = (refusal for node, refusal in search.refusals.items() if not search.joined(node, largest))
    return tuple(reversed(largest)), tuple(still_apart)


class _Search:
    """One pass over a graph in forward order; `stretches` holds the largest one that ends at each node so far."""

    def __init__(self, graph: fx.GraphModule, exact: bool) -> None:
        self.exact = exact
        self.calls = trace.calls(graph)
        self.stretches: dict[fx.Node, Stretch] = {}
        self.refusals: dict[fx.Node, Refusal] = {}

    def visit(self, node: fx.Node) -> None:
        stretch = self._layer(node) or self._sum(node)
        while stretch is not None:
            self.stretches[node] = stretch
            stretch = self._extended(stretch)

    def joined(self, node: fx.Node, stretches: list[Stretch]) -> bool:
        """Whether a node lies inside one of the stretches (not at its end)."""
        return any(node in stretch.nodes and node is not stretch.output for stretch in stretches)

    def _layer(self, node: fx.Node) -> Stretch | None:
        shape = trace.shape(node)
        module = trace.module_of(node)
        if module is None or shape is None or self.calls[str(node.target)] > 1:
            return None
        if isinstance(module, NORMS) and module.training:
            return None
        try:
            layer = affine(module, dims=len(shape) - 2).on_meta()
        except FoldError:
            return None
        return Stretch(trace.source(node), node, Layer(node), frozenset({node}), layer)

    def _sum(self, node: fx.Node) -> Stretch | None:
        """Join the two branches of an add, if they start at one node and only the add reads them."""
        pair = trace.added(node)
        if pair is None or pair[0] is pair[1]:
            return None
        left, right = (self._branch(term, node) for term in pair)
        if left and right and left.source is right.source:
            return _joined(left, right, node)
        if left and left.source is pair[1]:
            return _joined(left, _shortcut(left, node), node)
        if right and right.source is pair[0]:
            return _joined(right, _shortcut(right, node), node)
        return None

    def _branch(self, node: fx.Node, reader: fx.Node) -> Stretch | None:
        return self.stretches.get(node) if set(node.users) == {reader} else None

    def _extended(self, stretch: Stretch) -> Stretch | None:
        """Put the stretch that makes this one's input before it, or note why that is not exact."""
        before = self.stretches.get(stretch.source)
        if before is None:
            return None
        reason = _obstacle(before, stretch, self.exact)
        if reason is None:
            try:
                merged = chain(before.merged, stretch.merged)
            except FoldError as error:
                reason = str(error)
            else:
                tree = Chain(before.tree, stretch.tree)
                return Stretch(before.source, stretch.output, tree, before.nodes | stretch.nodes, merged)
        self.refusals[stretch.source] = Refusal(before, stretch, reason)
        return None


def _obstacle(before: Stretch, after: Stretch, exact: bool) -> str | None:
    """Say what keeps two stretches that follow each other from being merged."""
    outside = [user.name for user in before.output.users if user not in after.nodes]
    if outside:
        return f"{_result(before)} is also read by {', '.join(outside)}"
    if not exact or padding_is_exact(before.merged, after.merged):
        return None
    reason = (
        f"{after.layers[0].target} pads {_result(before)} with zeros ({_per_side(after.merged)}), "
        "where one merged layer would see values"
    )
    plain = isinstance(after.tree, Layer) and not isinstance(before.tree, Sum)
    return f"{reason}; pad_first moves the padding to the front" if plain else reason


def _result(stretch: Stretch) -> str:
    last = stretch.layers[-1].target
    return f"the output of {last}" if stretch.output.op == "call_module" else f"the sum behind {last}"


def _joined(left: Stretch, right: Stretch, node: fx.Node) -> Stretch | None:
    try:
        merged = parallel(left.merged, right.merged)
    except FoldError:
        return None  # an add of branches that do not fit is a barrier, as any other operator
    return Stretch(left.source, node, Sum(left.tree, right.tree), left.nodes | right.nodes | {node}, merged)


def _shortcut(branch: Stretch, node: fx.Node) -> Stretch:
    channels, dims = branch.merged.channels[0], branch.merged.dims
    return Stretch(branch.source, node, Shortcut(channels, dims), frozenset(), identity(channels, dims).on_meta())


def layers_of(stretch: Stretch) -> dict[fx.Node, Affine]:
    """Return the affine layer of each of a stretch's nodes, with the modules' own tensors."""
    known = {}
    for node in stretch.layers:
        module, shape = trace.module_of(node), trace.shape(node)
        assert module is not None and shape is not None
        known[node] = affine(module, dims=len(shape) - 2)
    return known


def alone(node: fx.Node) -> Stretch:
    """Return the stretch of one mergeable layer by itself."""
    stretch = Stretch(trace.source(node), node, Layer(node), frozenset({node}), identity(1, 0))
    return replace(stretch, merged=layers_of(stretch)[node].on_meta())


def final_layer(stretch: Stretch, merged: Affine) -> Affine:
    """Return the layer that stands for the stretch at the size it was traced with: in its form, dead taps cut."""
    before = trace.shape(stretch.source)
    assert before is not None
    if stretch.form == "crop":
        merged = cropped(merged, _largest_kernel(stretch))
    return cut(merged, before[2:]) if merged.dims else merged


def _largest_kernel(stretch: Stretch) -> tuple[int, ...]:
    """The most taps that any of its layers has, per spatial dimension."""
    return tuple(max(taps) for taps in zip(*(layer.kernel for layer in layers_of(stretch).values()), strict=True))


def loses_taps(stretch: Stretch) -> bool:
    """Whether some of its merged kernel's taps only meet padding at the size it was traced with."""
    return final_layer(stretch, stretch.merged).kernel != stretch.merged.kernel


def _per_side(layer: Affine) -> str:
    return "x".join(str(before) if before == after else f"{before}/{after}" for before, after in layer.padding)


def _enclosed(tree: Tree) -> str:
    return f"({kind(tree)})" if isinstance(tree, Sum) else kind(tree)
