"""Options of a network: what may be done to which of its segments, and the edits that do it.

All activations are thought away; what then lies between two nodes without a non-linearity is a segment (Kim et al. 2023,
two-stage dynamic programming). An option takes one in one form:

    plain    its layers become one, padding first and dead taps cut
    dense    one matrix from image to image, where that takes fewer MACs; padding stays where it is
    tail     one matrix up to the classifier, average pooling included
    bypass   some convolutions that keep channels and size become identities (LayerMerge), the rest becomes one layer
    skip     a residual block becomes an identity
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from torch import Tensor, fx, nn

from harness.compress import blocks, segments
from harness.compress.edits import Edit
from harness.compress.folding import choice, forms, nodes, report, trace
from harness.compress.folding.forms import Offer
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import CONVS, WEIGHTED
from harness.compress.folding.norms import fold_norms, move_layer_norms
from harness.compress.folding.removal import activations, remove
from harness.compress.segments import Segment
from harness.content import require_known
from harness.errors import UsageError
from harness.records.planned import Listing, Option, OptionForm, OptionsRequest

MOST_BYPASSED = 2  # convolutions of one segment that become identities
EVERY: tuple[OptionForm, ...] = get_args(OptionForm)


@dataclass(frozen=True)
class Scene:
    """A network as it is (`graph`) and with all activations thought away (`opened`), its layers in forward order."""

    network: nn.Module
    example: Tensor
    graph: fx.GraphModule
    opened: fx.GraphModule
    layers: tuple[str, ...]

    @classmethod
    def of(cls, network: nn.Module, example: Tensor) -> Scene:
        """Look at a network. Raises FoldError where it cannot be traced."""
        graph = trace.evaluated(network, example)
        calls = trace.calls(graph)
        opened = trace.evaluated(remove(network, [path for path in activations(network) if calls[path] <= 1]), example)
        trace.drop_transparent(opened)
        trace.simplify_flattening(opened)
        fold_norms(opened)
        move_layer_norms(opened)
        weighted = (str(n.target) for n in graph.graph.nodes if isinstance(trace.module_of(n), WEIGHTED))
        return cls(network, example, graph, opened, tuple(dict.fromkeys(weighted)))

    def span(self, layers: Iterable[str]) -> tuple[int, int]:
        """The places from the first of these layers up to, and without, what follows the last."""
        places = [self.layers.index(layer) for layer in layers]
        return min(places), max(places) + 1


def find(scene: Scene, request: OptionsRequest) -> Listing:
    """Return what may be done to a network."""
    found = {option.name: option for option in _options(scene, request)}
    return Listing(
        model=request.model,
        task=request.task,
        layers=scene.layers,
        activations=activations(scene.network),
        options=tuple(sorted(found.values(), key=lambda option: (option.first, option.after, option.name))),
        left=_left(scene),
    )


def edits_of(options: Sequence[Option]) -> tuple[Edit, ...]:
    """Return the edits that take options which do not overlap. Raises UsageError where two do."""
    require_apart(options)
    bypassed = [name for option in options if option.form == "bypass" for name in option.dropped]
    kept = [name for option in options if option.form in ("dense", "tail") for name in option.removed]
    moved = [name for option in options if option.form in ("plain", "bypass") for name in option.removed]
    made = [Edit("skip", tuple(_block(option) for option in options if option.form == "skip"))]
    made += [Edit("bypass", tuple(bypassed)), Edit("remove", tuple(kept)), Edit("open", tuple(moved))]
    merges = [Edit("merge", option.layers, form=_folded(option.form)) for option in options if option.form != "skip"]
    return tuple(edit for edit in (*made, *merges) if edit.names)


def require_apart(options: Sequence[Option]) -> None:
    """Raise UsageError where two options touch one layer."""
    in_order = sorted(options, key=lambda option: option.first)
    for one, other in itertools.pairwise(in_order):
        if other.first < one.after:
            raise UsageError(
                f"options {one.name} and {other.name} touch one layer", "Take one of them: a layer is folded once."
            )


def named(listing: Listing, names: Iterable[str]) -> tuple[Option, ...]:
    """Return the options of these names. Raises UsageError for one that is not there."""
    known = {option.name: option for option in listing.options}
    for name in names:
        require_known(f"option of {listing.model}", name, known, "`harness plan --dry-run` lists them.")
    return tuple(known[name] for name in names)


def alone(scene: Scene, option: Option, request: OptionsRequest) -> Segment | None:
    """The segment of an option as it is, by itself; None where it has no life of its own."""
    layers = {layer for layer in scene.layers[option.first : option.after] if layer in option.layers + option.dropped}
    for way in _segments(Stretches(scene.opened, exact=False), request, pooled=True):
        if {str(node.target) for node in way.layers} == layers:
            return segments.isolate(scene.graph, way)
    return None


# --- what there is -------------------------------------------------------------------------------------------------


def _options(scene: Scene, request: OptionsRequest) -> Iterator[Option]:
    moved, kept = Stretches(scene.opened, exact=False), Stretches(scene.opened, exact=True)
    segments_found = list(_segments(moved, request))
    if "plain" in request.forms:
        yield from _distinct(_plain(scene, way) for way in segments_found if _can_move(way, kept))
    for way in _segments(kept, request, pooled=True):
        offer = forms.matrix_offer(way) if way.pooled or not way.exact else None
        if offer is not None and offer.pays and offer.form in request.forms and offer.form in ("dense", "tail"):
            yield _option(scene, way, offer, "tail" if offer.form == "tail" else "dense")
    if "bypass" in request.forms:
        yield from _bypasses(scene, segments_found, kept)
    if "skip" in request.forms:
        yield from _skips(scene)


def _segments(stretches: Stretches, request: OptionsRequest, pooled: bool = False) -> Iterator[Stretch]:
    """Stretches of several layers that may become one; of those with the same layers the one that holds the most."""
    found: dict[tuple[fx.Node, ...], Stretch] = {}
    for ways in stretches.ending_at.values():
        for way in ways:
            convs = [node for node in way.layers if not nodes.is_norm(node)]
            wide = max(way.merged.kernel, default=1) > request.kernel
            if 2 <= len(convs) <= request.layers and len(convs) == len(way.layers) and way.pooled <= pooled:
                known = found.get(way.layers)
                if (not wide or pooled) and (known is None or len(known.nodes) < len(way.nodes)):
                    found[way.layers] = way
    yield from found.values()


def _can_move(way: Stretch, kept: Stretches) -> bool:
    """Whether one layer can stand for a segment: padding moves where activations were, or need not move."""
    return forms.fits(way) and (way.wholly_opened or _is_exact(way, kept))


def _is_exact(way: Stretch, kept: Stretches) -> bool:
    same = (other for other in kept.ending_at.get(way.output, ()) if other.layers == way.layers)
    return any(other.exact and other.nodes == way.nodes for other in same)


def _plain(scene: Scene, way: Stretch) -> Option:
    return _option(scene, way, forms.plain_offer(way), "plain")


def _option(
    scene: Scene, way: Stretch, offer: Offer, form: OptionForm, dropped: Sequence[str] = (), word: str = ""
) -> Option:
    layers = tuple(str(node.target) for node in way.layers)
    first, after = scene.span(layers)
    merged = tuple(layer for layer in layers if layer not in dropped)
    removed = tuple(path for path in activations(scene.network) if path in way.opened_by)
    return Option(
        name=f"{layers[0]}..{layers[-1]}:{form}{word}",
        form=form,
        first=first,
        after=after,
        layers=merged,
        dropped=tuple(dropped),
        removed=removed,
        macs_before=way.macs,
        macs_after=offer.macs,
        weights_before=way.weights,
        weights_after=offer.weights,
        signature=segments.signature(scene.graph, way, (form,), merged, removed),
    )


def _distinct(options: Iterable[Option]) -> Iterator[Option]:
    """Options of different names: of two that merge the same layers the first is enough."""
    seen = set()
    for option in options:
        if option.name not in seen:
            seen.add(option.name)
            yield option


# --- identities in place of convolutions and blocks ------------------------------------------------------------------


def _bypasses(scene: Scene, ways: Sequence[Stretch], kept: Stretches) -> Iterator[Option]:
    for way in ways:
        if not _can_move(way, kept):
            continue
        able = [str(node.target) for node in way.layers if _is_reducible(node)]
        for many in range(1, min(MOST_BYPASSED, len(way.layers) - 1) + 1):
            for gone in itertools.combinations(able, many):
                found = _bypass(scene, way, gone)
                if found is not None:
                    yield found


def _bypass(scene: Scene, way: Stretch, gone: tuple[str, ...]) -> Option | None:
    """The option of a segment without some of its convolutions; None where what is left does not become one layer."""
    alone = segments.isolate(scene.graph, way)
    dropped = tuple(path for name in gone for path in (name, *segments.norms_behind(scene.graph, name)))
    left = segments.merged_without(alone, dropped) if alone else None
    if left is None:
        return None
    return _option(scene, way, forms.plain_offer(left), "bypass", dropped, "=" + "/".join(gone))


def _is_reducible(node: fx.Node) -> bool:
    """Whether an identity could stand for a convolution: its input and output have one shape, and nobody else calls it."""
    return isinstance(trace.module_of(node), CONVS) and trace.shape(node) == trace.shape(trace.source(node))


def _skips(scene: Scene) -> Iterator[Option]:
    for path in blocks.blocks(scene.network, scene.example):
        gone = [layer for layer in scene.layers if layer.startswith(path + ".")]
        if not gone:
            continue
        first, after = scene.span(gone)
        removed = tuple(name for name in activations(scene.network) if name.startswith(path + "."))
        macs, weights = segments.cost(scene.graph, gone)
        yield Option(f"{path}:skip", "skip", first, after, (), tuple(gone), removed, macs, 0, weights, 0, signature="")


def _block(option: Option) -> str:
    return option.name.removesuffix(":skip")


def _folded(form: OptionForm) -> str:
    return "plain" if form == "bypass" else form


def _left(scene: Scene) -> dict[str, str]:
    """Why layers stay apart though no activation lies between them any more, by the first layer's path."""
    stretches = Stretches(scene.opened, exact=False)
    chosen = choice.choose(scene.opened, stretches, lambda offer: True, ())
    told = report.of_what_is_left(scene.opened, chosen)
    return {group.path: group.reason for group in told if group.reason}
