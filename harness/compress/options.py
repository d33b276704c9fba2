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
from typing import get_args

from torch import fx, nn

from harness import flops
from harness.compress import blocks, segments
from harness.compress.edits import Edit
from harness.compress.folding import choice, forms, nodes, report, trace
from harness.compress.folding.forms import Offer
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import CONVS
from harness.compress.scenes import Scene
from harness.compress.segments import Segment
from harness.content import require_known
from harness.errors import UsageError
from harness.records.planned import Listing, Option, OptionForm, OptionsRequest

MOST_BYPASSED = 2  # convolutions of one segment that become identities
EVERY: tuple[OptionForm, ...] = get_args(OptionForm)


def find(scene: Scene, request: OptionsRequest) -> Listing:
    """Return what may be done to a network."""
    found = {option.name: option for option in _options(scene, request)}
    return Listing(
        model=request.model,
        task=request.task,
        layers=scene.layers,
        activations=scene.activations,
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
    if option.form == "skip":
        return None
    layers = {layer for layer in scene.layers[option.first : option.after] if layer in option.layers + option.dropped}
    if option.form in ("dense", "tail"):
        ways = [offer.stretch for offer in _matrices(scene, request) if offer.form == option.form]
    else:
        ways = list(_segments(scene, request))
    found = (way for way in ways if {str(node.target) for node in way.layers} == layers)
    return next((segments.isolate(scene.graph, way) for way in found), None)


# --- what there is -------------------------------------------------------------------------------------------------


def _options(scene: Scene, request: OptionsRequest) -> Iterator[Option]:
    ways = [way for way in _segments(scene, request) if _can_move(scene, way)]
    if "plain" in request.forms:
        yield from _distinct(_plain(scene, way) for way in ways if not scene.is_merged(way))
    for offer in _matrices(scene, request):
        option = _option(scene, offer.stretch, offer, "tail" if offer.form == "tail" else "dense")
        if offer.form in request.forms and option.macs_after < option.macs_before:
            yield option
    if "bypass" in request.forms:
        yield from _bypasses(scene, ways)
    if "skip" in request.forms:
        yield from _skips(scene)


def _segments(scene: Scene, request: OptionsRequest) -> Iterator[Stretch]:
    """Stretches of several layers that may become one; of those with the same layers the one that holds the most."""
    found: dict[tuple[fx.Node, ...], Stretch] = {}
    for way in _joined(scene, scene.moved, request):
        known = found.get(way.layers)
        wide = max(way.merged.kernel, default=1) > request.kernel
        if not way.pooled and not wide and (known is None or len(known.nodes) < len(way.nodes)):
            found[way.layers] = way
    yield from found.values()


def _matrices(scene: Scene, request: OptionsRequest) -> Iterator[Offer]:
    """Matrices that pay; of those for the same layers the one with the fewest MACs, which is what folding takes."""
    found: dict[tuple[tuple[fx.Node, ...], str], Offer] = {}
    for way in _joined(scene, scene.kept, request):
        offer = forms.matrix_offer(way) if way.pooled or not way.exact else None
        if offer is not None and offer.pays and offer.form in ("dense", "tail"):
            known = found.get((way.layers, offer.form))
            if known is None or offer.macs < known.macs:
                found[way.layers, offer.form] = offer
    yield from found.values()


def _joined(scene: Scene, stretches: Stretches, request: OptionsRequest) -> Iterator[Stretch]:
    """Stretches of several layers, none a norm or of two names, that leave alone or hold whole what is merged anyway."""
    for way in itertools.chain.from_iterable(stretches.ending_at.values()):
        few = 2 <= len(way.layers) <= request.layers
        able = few and not any(nodes.is_norm(node) or node.target in scene.shared for node in way.layers)
        if able and scene.parts(way) is not None:
            yield way


def _can_move(scene: Scene, way: Stretch) -> bool:
    """Whether one layer can stand for a segment: padding moves where activations were, or need not move."""
    return forms.fits(way) and (way.wholly_opened or _is_exact(way, scene.kept))


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
    already = scene.parts(way) or []
    removed = tuple(path for path in scene.activations if path in way.opened_by)
    return Option(
        name=f"{layers[0]}..{layers[-1]}:{form}{word}",
        form=form,
        first=first,
        after=after,
        layers=merged,
        dropped=tuple(dropped),
        removed=removed,
        macs_before=way.macs - sum(each.saved for each in already),
        macs_after=offer.macs,
        weights_before=way.weights - sum(each.stretch.weights - each.weights for each in already),
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


def _bypasses(scene: Scene, ways: Sequence[Stretch]) -> Iterator[Option]:
    for way in ways:
        able = [str(node.target) for node in way.layers if _is_reducible(node) and not _is_edge(scene, way, node)]
        alone = segments.isolate(scene.graph, way) if able else None
        if alone is None:
            continue
        for many in range(1, min(MOST_BYPASSED, len(way.layers) - 1) + 1):
            for gone in itertools.combinations(able, many):
                found = _bypass(scene, way, alone, gone)
                if found is not None:
                    yield found


def _bypass(scene: Scene, way: Stretch, alone: Segment, gone: tuple[str, ...]) -> Option | None:
    """The option of a segment without some of its convolutions; None where what is left does not become one layer."""
    dropped = tuple(path for name in gone for path in (name, *segments.norms_behind(scene.graph, name)))
    left = segments.merged_without(alone, dropped)
    if left is None or any(nodes.is_norm(node) for node in left.layers):
        return None
    return _option(scene, way, forms.plain_offer(left), "bypass", dropped, "=" + "/".join(gone))


def _is_edge(scene: Scene, way: Stretch, node: fx.Node) -> bool:
    """Whether a layer without an activation before or behind it is all that keeps a segment from another layer there.

    With an identity in its place, padding would move beyond the segment.
    """
    first = trace.source(node) is way.source and way.source in scene.moved.ending_at
    last = node is way.output and any(
        other.source is node for others in scene.moved.ending_at.values() for other in others
    )
    return (first and not trace.opened_by(way.source)) or (last and not trace.opened_by(node))


def _is_reducible(node: fx.Node) -> bool:
    """Whether an identity could stand for a convolution: its input and output have one shape, and nobody else calls it."""
    return isinstance(trace.module_of(node), CONVS) and trace.shape(node) == trace.shape(trace.source(node))


def _skips(scene: Scene) -> Iterator[Option]:
    full = _macs(scene.network, scene)
    for path in blocks.blocks(scene.network, scene.example):
        gone = tuple(layer for layer in scene.layers if layer.startswith(path + "."))
        inside = scene.parts_of(gone)
        if not gone or inside is None:
            continue
        first, after = scene.span(gone)
        removed = tuple(name for name in scene.activations if name.startswith(path + "."))
        macs = full - _macs(blocks.skip(scene.network, [path]), scene) - sum(offer.saved for offer in inside)
        weights = segments.weights(scene.graph, gone)
        yield Option(f"{path}:skip", "skip", first, after, (), gone, removed, macs, 0, weights, 0, signature="")


def _macs(network: nn.Module, scene: Scene) -> int:
    """MACs of one inference, attention's products included."""
    return flops.count(network, scene.example[:1]).macs or 0


def _block(option: Option) -> str:
    return option.name.removesuffix(":skip")


def _folded(form: OptionForm) -> str:
    return "plain" if form == "bypass" else form


def _left(scene: Scene) -> dict[str, str]:
    """Why layers stay apart though no activation lies between them any more, by the first layer's path."""
    chosen = choice.choose(scene.opened, scene.moved, lambda offer: True, ())
    told = report.of_what_is_left(scene.opened, chosen)
    return {group.path: group.reason for group in told if group.reason}
