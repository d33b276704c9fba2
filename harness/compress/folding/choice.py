"""Which of the possible merges are made, from the end of a graph to its beginning, and why the rest stays apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from harness.compress.folding.affine import Affine
from harness.compress.folding.forms import MOST_PLAIN, Form, Offer, Offers
from harness.compress.folding.groups import Stretch, Stretches, lifted, readers_between
from harness.compress.folding.merge import chain, padding_is_exact
from harness.compress.folding.trees import Layer, Sum
from harness.errors import FoldError
from harness.records import Group


@dataclass(frozen=True)
class Refusal:
    """A place where two stretches meet and stay apart."""

    before: Stretch
    after: Stretch
    reason: str


@dataclass(frozen=True)
class Choice:
    """What is merged, from the end of the graph; what was offered and not chosen; and where stretches stay apart."""

    merged: tuple[Offer, ...]
    declined: tuple[Offer, ...]
    apart: tuple[Refusal, ...]


def asked_for(group: Group) -> bool:
    """Choose what removed activations have opened everywhere, and of the rest what takes fewer MACs.

    Neighbours that were always linear (MobileNetV2's projection and the expansion after it) stay apart if together they
    take more work: nobody asked for that, and in a reference it would make every comparison flattering.
    """
    return group.wholly_opened or group.macs_after < group.macs_before


def choose(
    graph: fx.GraphModule, stretches: Stretches, accept: Callable[[Offer], bool], named: Sequence[Form]
) -> Choice:
    """Go through a graph from its end; at each node that nothing taken holds, take the first offer that is accepted."""
    offers = Offers(stretches, named)
    merged: list[Offer] = []
    declined: list[Offer] = []
    inside: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        for offer in offers.at(node) if node not in inside else ():
            if accept(offer):
                merged.append(offer)
                inside |= offer.stretch.nodes
                break
            if not any(offer.stretch.nodes <= other.stretch.nodes for other in declined):
                declined.append(offer)
    lone = _lone_layers(graph, stretches, inside)
    apart = _apart([offer.stretch for offer in merged] + lone, stretches.exact)
    return Choice(tuple(merged), tuple(declined), tuple(apart))


def _lone_layers(graph: fx.GraphModule, stretches: Stretches, inside: set[fx.Node]) -> list[Stretch]:
    ways = (stretches.ending_at.get(node, ()) for node in graph.graph.nodes if node not in inside)
    return [way[0] for way in ways if way and isinstance(way[0].tree, Layer) and way[0].layers]


def _apart(pieces: list[Stretch], exact: bool) -> Iterator[Refusal]:
    ends = {piece.output: piece for piece in pieces}
    for after in pieces:
        before = ends.get(after.source)
        if before is None or before.pooled or after.pooled or not (before.layers and after.layers):
            continue
        reason = _obstacle(before, after, exact)
        if reason is not None:
            yield Refusal(before, after, reason)


def _obstacle(before: Stretch, after: Stretch, exact: bool) -> str | None:
    """Say what keeps two stretches that follow each other from being merged."""
    outside = readers_between(before, after)
    if outside:
        return f"{_result(before)} is also read by {', '.join(outside)}"
    try:
        merged = chain(before.merged, lifted(before, after))
    except FoldError as error:
        return str(error)
    if not exact or padding_is_exact(before.merged, after.merged):
        return (
            None
            if merged.weights <= MOST_PLAIN
            else f"one layer for both would have {merged.weights / 1e6:.0f} M weights"
        )
    reason = (
        f"{after.layers[0].target} pads {_result(before)} with zeros ({_per_side(after.merged)}), "
        "where one merged layer would see values"
    )
    plain = isinstance(after.tree, Layer) and not isinstance(before.tree, Sum)
    return f"{reason}; pad_first moves the padding to the front" if plain else reason


def _result(stretch: Stretch) -> str:
    last = stretch.layers[-1].target
    return f"the output of {last}" if stretch.output.op == "call_module" else f"the sum behind {last}"


def _per_side(layer: Affine) -> str:
    return "x".join(str(before) if before == after else f"{before}/{after}" for before, after in layer.padding)
