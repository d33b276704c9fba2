"""A network as options see it: as it is, with all activations thought away, and what folding merges in it anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, fx, nn

from harness.compress import segments
from harness.compress.folding import choice, report, trace
from harness.compress.folding.forms import Offer
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import WEIGHTED
from harness.compress.folding.removal import activations, remove


@dataclass(frozen=True)
class Scene:
    """A network as it is (`graph`) and with all activations thought away (`opened`), its layers in forward order.

    `merged` is what folding merges in the network as it is, which is so in the unfolded one, too, with the names of nodes.
    """

    network: nn.Module
    example: Tensor
    graph: fx.GraphModule
    opened: fx.GraphModule
    layers: tuple[str, ...]
    merged: tuple[tuple[Offer, frozenset[str]], ...]

    @classmethod
    def of(cls, network: nn.Module, example: Tensor) -> Scene:
        """Look at a network. Raises FoldError where it cannot be traced."""
        graph = trace.evaluated(network, example)
        calls = trace.calls(graph)
        once = [path for path in activations(network) if calls[path] <= 1 and path not in _of_several_names(network)]
        opened = segments.readied(remove(network, once), example)
        weighted = (str(n.target) for n in graph.graph.nodes if isinstance(trace.module_of(n), WEIGHTED))
        merged = _merged(segments.readied(network, example))
        return cls(network, example, graph, opened, tuple(dict.fromkeys(weighted)), merged)

    @cached_property
    def moved(self) -> Stretches:
        """What could be one layer, if padding moved wherever it is."""
        return Stretches(self.opened, exact=False)

    @cached_property
    def kept(self) -> Stretches:
        """What could be one layer or matrix with padding where it is."""
        return Stretches(self.opened, exact=True)

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """All activations in forward order; asking costs a trace, so it is done once."""
        return activations(self.network)

    @cached_property
    def shared(self) -> frozenset[str]:
        """Layers that hang in the network under several names: an edit of one would leave the others."""
        return _of_several_names(self.network)

    def span(self, layers: Iterable[str]) -> tuple[int, int]:
        """The places from the first of these layers up to, and without, what follows the last."""
        places = [self.layers.index(layer) for layer in layers]
        return min(places), max(places) + 1

    def parts(self, way: Stretch) -> list[Offer] | None:
        """What is merged anyway of a segment; None where that reaches outside."""
        if not self.merged:
            return []
        names = {node.name for node in way.nodes}
        meeting = [(offer, own) for offer, own in self.merged if own & names]
        return [offer for offer, _ in meeting] if all(own <= names for _, own in meeting) else None

    def parts_of(self, layers: Iterable[str]) -> list[Offer] | None:
        """What is merged anyway of these layers; None where that reaches outside."""
        known = set(self.layers)
        every = [(offer, {str(node.target) for node in offer.stretch.layers} & known) for offer, _ in self.merged]
        meeting = [(offer, own) for offer, own in every if own & {*layers}]
        return [offer for offer, _ in meeting] if all(own <= {*layers} for _, own in meeting) else None

    def is_merged(self, way: Stretch) -> bool:
        """Whether a segment is one layer without anybody's doing."""
        layers = {node.name for node in way.layers}
        return any(layers <= {node.name for node in offer.stretch.layers} for offer in self.parts(way) or ())


def _merged(graph: fx.GraphModule) -> tuple[tuple[Offer, frozenset[str]], ...]:
    """What folding merges where nothing was removed: layers that were always linear, dead taps."""
    chosen = choice.choose(graph, Stretches(graph), lambda offer: choice.asked_for(report.of_offer(offer)), ())
    return tuple((offer, frozenset(node.name for node in offer.stretch.nodes)) for offer in chosen.merged)


def _of_several_names(network: nn.Module) -> frozenset[str]:
    """Paths of modules that hang in a network at several places."""
    every = [(path, id(module)) for path, module in network.named_modules(remove_duplicate=False)]
    places = Counter(module for _, module in every)
    return frozenset(path for path, module in every if places[module] > 1)
