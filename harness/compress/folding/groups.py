"""What lies between two nodes of a graph without a non-linearity: stretches, each affine throughout.

A stretch grows along the graph: a layer joins the stretches that make its input, if nothing outside reads that input;
an add joins two stretches, or a stretch and its own source (a shortcut), when both start at the same node. Every stretch
that ends at a node is kept, with what it would be as one layer (on `meta`, at no cost): which to merge is chosen later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import fx

from harness.compress.folding import nodes, trace
from harness.compress.folding.affine import Affine, identity
from harness.compress.folding.merge import chain, padding_is_exact, parallel
from harness.compress.folding.taps import trimmed
from harness.compress.folding.trees import Layer, Shortcut, Sum, Tree, joined
from harness.errors import FoldError


@dataclass(frozen=True)
class Stretch:
    """`output` as one affine layer of `source`: how it is made, the nodes it replaces, the merged layer's shape.

    `layers` are its nodes with weights, in forward order, `macs` and `weights` what they cost; `pooled` says whether it
    takes averages too, `exact` whether one layer with all padding before it stands for it, its bias aside, and
    `wholly_opened` whether an activation was removed wherever two of its layers follow each other.
    """

    source: fx.Node
    output: fx.Node
    tree: Tree
    nodes: frozenset[fx.Node]
    merged: Affine
    layers: tuple[fx.Node, ...]
    macs: int
    weights: int
    pooled: bool = False
    exact: bool = True
    wholly_opened: bool = True

    @property
    def opened_by(self) -> set[str]:
        """Paths of the removed activations inside it."""
        return {name for node in self.nodes - {self.output} for name in trace.opened_by(node)}

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of what it reads."""
        shape = trace.shape(self.source)
        assert shape is not None
        return shape[2:] if self.merged.dims else ()

    @property
    def flat(self) -> bool:
        """Whether it reads an image and gives [N, out]."""
        shape = trace.shape(self.output)
        return bool(self.merged.dims) and shape is not None and len(shape) == 2


Joint: TypeAlias = Callable[[Stretch, Stretch], bool]


class Stretches:
    """All stretches of a graph with shapes, by the node they end at, shortest first.

    Unless `exact`, the padding between layers is to be moved wherever it is, and biases with it. `joint` says which two
    stretches may follow each other, where not all may.
    """

    def __init__(self, graph: fx.GraphModule, exact: bool = True, joint: Joint | None = None) -> None:
        self.exact, self._joint = exact, joint
        self._calls = trace.calls(graph)
        self.ending_at: dict[fx.Node, tuple[Stretch, ...]] = {}
        for node in graph.graph.nodes:
            ways = tuple(way for base in self._bases(node) for way in (base, *self._extended(base)))
            if ways:
                self.ending_at[node] = tuple(sorted(ways, key=lambda way: len(way.nodes)))

    def largest(self) -> list[Stretch]:
        """Return stretches that hold all others, from the end of the graph."""
        found: list[Stretch] = []
        inside: set[fx.Node] = set()
        for node, ways in reversed(self.ending_at.items()):
            if node not in inside:
                found.append(ways[-1])
                inside |= ways[-1].nodes
        return found

    def follow(self, before: Stretch, after: Stretch, across: fx.Node | None = None) -> Stretch | None:
        """Return two stretches that follow each other as one, or None if their shapes do not fit or others read between.

        `across` is a node between them to be thought away.
        """
        outside = set(before.output.users) - after.nodes - {across}
        if outside or not (self._joint is None or self._joint(before, after)):
            return None
        try:
            merged = chain(before.merged, lifted(before, after), before.size if self.exact else None)
        except FoldError:
            return None
        exact = before.exact and after.exact and padding_is_exact(before.merged, after.merged)
        tree, inside = joined(before.tree, after.tree), before.nodes | after.nodes
        both = _both(before, after)
        opened = before.wholly_opened and after.wholly_opened and _is_opened(before, after)
        return Stretch(
            before.source,
            after.output,
            tree,
            inside,
            merged,
            **both,
            exact=exact or not self.exact,
            wholly_opened=opened,
        )

    def _bases(self, node: fx.Node) -> Iterator[Stretch]:
        """What ends at a node and begins where no chain can be parted: one layer, or a sum."""
        reading = nodes.read(node) if self._calls[str(node.target)] <= 1 else None
        if reading is not None:
            yield _single(node, reading)
        pair = trace.added(node)
        if pair is None or pair[0] is pair[1]:
            return
        left, right = (self._branches(term, node) for term in pair)
        sums = [(one, two) for one in left for two in right if one.source is two.source]
        sums += [(one, _shortcut(one, node)) for one in left if one.source is pair[1]]
        sums += [(one, _shortcut(one, node)) for one in right if one.source is pair[0]]
        yield from (found for one, two in sums if (found := _sum(one, two, node)) is not None)

    def _branches(self, node: fx.Node, reader: fx.Node) -> tuple[Stretch, ...]:
        return self.ending_at.get(node, ()) if set(node.users) == {reader} else ()

    def _extended(self, base: Stretch) -> Iterator[Stretch]:
        for before in self.ending_at.get(base.source, ()):
            found = self.follow(before, base)
            if found is not None:
                yield found


def readers_between(before: Stretch, after: Stretch) -> list[str]:
    """Name what reads the first stretch's output outside the second."""
    return [user.name for user in before.output.users if user not in after.nodes]


def lifted(before: Stretch, after: Stretch) -> Affine:
    """The second layer over as many dimensions as the first, if it reads the first's output as [N, channels]."""
    return after.merged.lifted(before.merged.dims) if before.flat and not after.merged.dims else after.merged


def _single(node: fx.Node, reading: nodes.Reading) -> Stretch:
    layer, merged = reading.layer.on_meta(), trimmed(reading.layer).on_meta()
    if nodes.is_pool(node) or nodes.is_pad(node):
        return Stretch(reading.source, node, Layer(node), reading.nodes, merged, (), 0, 0, nodes.is_pool(node))
    macs = 0 if nodes.is_norm(node) else layer.weight.numel() * positions(node, layer)
    return Stretch(reading.source, node, Layer(node), reading.nodes, merged, (node,), macs, layer.weights)


def positions(node: fx.Node, layer: Affine) -> int:
    """How often a layer whose output is that of `node` is applied to one example."""
    shape = trace.shape(node)
    assert shape is not None
    return math.prod(shape[2:] if layer.dims else shape[1:-1])


def _sum(left: Stretch, right: Stretch, node: fx.Node) -> Stretch | None:
    try:
        merged = parallel(left.merged, right.merged)
    except FoldError:
        return None  # an add of branches that do not fit is a barrier, as any other operator
    tree, inside = Sum(left.tree, right.tree, node), left.nodes | right.nodes | {node}
    exact, opened = left.exact and right.exact, left.wholly_opened and right.wholly_opened
    return Stretch(left.source, node, tree, inside, merged, **_both(left, right), exact=exact, wholly_opened=opened)


def _both(one: Stretch, other: Stretch) -> dict[str, Any]:
    """What two stretches have together, as one."""
    return {
        "layers": one.layers + other.layers,
        "macs": one.macs + other.macs,
        "weights": one.weights + other.weights,
        "pooled": one.pooled or other.pooled,
    }


def _is_opened(before: Stretch, after: Stretch) -> bool:
    """Whether an activation was removed between two stretches; one without weights opens nothing by itself."""
    return bool(trace.opened_by(before.output)) or not before.layers or not after.layers or nodes.is_norm(after.output)


def _shortcut(branch: Stretch, node: fx.Node) -> Stretch:
    channels, dims = branch.merged.channels[0], branch.merged.dims
    same = identity(channels, dims).on_meta()
    return Stretch(branch.source, node, Shortcut(channels, dims), frozenset(), same, (), 0, 0)
