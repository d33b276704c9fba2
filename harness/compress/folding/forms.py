"""What can stand for a stretch, what it costs, and in which order that is offered.

    plain     one layer, the padding before it; `bias map` where padding within kept a bias out of some sums
    tail      one matrix from an image to its outputs, average pooling included
    dense     one matrix from an image to an image, padding and all
    ring      two layers as one across padding, less what the surroundings add (by name only)
    border    two layers as one across padding, a kernel for each class of positions (by name only)
    crop      policy `approximate`: the plain kernel with no more taps than the largest layer has, as LayerFold

`tail`, `dense` and whatever takes averages are offered where they take fewer MACs than the layers they replace and at
most twice their weights. `dense` is for where no plain layer is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import fx, nn

from harness import flops
from harness.compress.folding import trace
from harness.compress.folding.affine import Affine
from harness.compress.folding.borders import BorderClasses, RingCorrection
from harness.compress.folding.groups import Stretch, Stretches, positions
from harness.compress.folding.layers import to_module
from harness.compress.folding.taps import cropped, cut
from harness.compress.folding.trees import Layer, evaluate, layer_of, matrix
from harness.errors import FoldError

Form: TypeAlias = Literal["plain", "bias map", "tail", "dense", "ring", "border", "crop"]
ACROSS: dict[Form, type[nn.Module]] = {"ring": RingCorrection, "border": BorderClasses}
MOST_PLAIN = 2**26  # weights of one merged layer, 268 MB: what is larger is offered to no device
MOST_WEIGHTS = 2  # times the weights of the layers that a matrix replaces


@dataclass(frozen=True)
class Offer:
    """One way to merge a stretch, and what it costs. `between` are the two merged across padding, if that is the form."""

    stretch: Stretch
    form: Form
    macs: int
    weights: int
    between: tuple[Stretch, Stretch] | None = None

    @property
    def pays(self) -> bool:
        """Whether it takes fewer MACs, and not many more weights."""
        return self.saved > 0 and self.weights <= MOST_WEIGHTS * self.stretch.weights

    @property
    def saved(self) -> int:
        """MACs that it takes less than the layers."""
        return self.stretch.macs - self.macs

    @property
    def changes(self) -> bool:
        """Whether anything is gained: a layer, an add, dead taps, or a padding that the layer can do itself."""
        layers, tree = len(self.stretch.layers), self.stretch.tree
        if layers != 1 or isinstance(tree, Layer):
            return layers > 1 or (layers == 1 and loses_taps(self.stretch))
        even = all(before == after >= 0 for before, after in self.stretch.merged.padding)
        return even or loses_taps(self.stretch)

    @property
    def fixes_size(self) -> bool:
        """Whether it holds at the traced input size alone."""
        one_size = self.stretch.pooled or self.stretch.flat
        return self.form not in ("plain", "crop") or one_size or loses_taps(self.stretch)


class Offers:
    """What can be merged in a graph, by the node it ends at; `named` are forms beyond the default ones."""

    def __init__(self, stretches: Stretches, named: Sequence[Form] = ()) -> None:
        self._stretches = stretches
        self._across = tuple(form for form in ACROSS if form in named)
        self._form: Form = "crop" if "crop" in named else "plain"
        self._plain: dict[fx.Node, list[Offer]] = {}
        self._least: dict[fx.Node, tuple[int, int]] = {}  # layers and MACs that all up to a node come to at best
        for node, ways in stretches.ending_at.items():
            fitting = (way for way in ways if way.exact and not way.pooled and fits(way))
            plain = sorted((plain_offer(way, self._form) for way in fitting), key=self._total)
            if plain:
                self._plain[node], self._least[node] = plain, self._total(plain[0])

    def at(self, node: fx.Node) -> tuple[Offer, ...]:
        """Return what can be merged that ends at `node`, best first.

        A matrix that saves more MACs than the best plain merge comes first, then what was asked for by name, then plain
        merges, those first that leave the fewest layers, then the fewest MACs, down to a layer alone that loses taps;
        then the other matrices.
        """
        ways = self._stretches.ending_at.get(node, ())
        plain = self._plain.get(node, [])
        matrices = (matrix_offer(way) for way in ways if self._stretches.exact and (way.pooled or not way.exact))
        paying = sorted((offer for offer in matrices if offer.pays), key=lambda offer: offer.saved, reverse=True)
        least = plain[0].saved if plain else 0
        better = [offer for offer in paying if offer.saved > least]
        across = [offer for form in self._across for offer in _across(self._stretches, ways, form)]
        changing = [offer for offer in plain if offer.changes]
        return (*better, *across, *changing, *(offer for offer in paying if offer not in better))

    def _total(self, offer: Offer) -> tuple[int, int]:
        """Layers and MACs that are left of all that can merge up to here, if this is merged and the best before it."""
        layers, macs = self._least.get(offer.stretch.source, (0, 0))
        return layers + 1, macs + offer.macs


def fits(stretch: Stretch) -> bool:
    """Whether one layer for a stretch has at most `MOST_PLAIN` weights, or no more than its layers."""
    return stretch.merged.weights <= max(MOST_PLAIN, stretch.weights)


def pays(stretch: Stretch) -> bool:
    """Whether one matrix for a stretch takes fewer MACs than its layers, and not many more weights."""
    return matrix_offer(stretch).pays


def build(offer: Offer, exact: bool = True) -> nn.Module:
    """Return the module that stands for a stretch; unless `exact`, biases move with the padding."""
    stretch = offer.stretch
    if offer.form in ("tail", "dense"):
        return _matrix(stretch)
    if offer.between is not None:
        first, second = (evaluate(part.tree, part.size) for part in offer.between)
        return _flattened(stretch, ACROSS[offer.form](first, second, stretch.size))
    layer = evaluate(stretch.tree, stretch.size if exact else None)
    return _flattened(stretch, to_module(final_layer(stretch, layer, offer.form)))


def final_layer(stretch: Stretch, merged: Affine, form: Form = "plain") -> Affine:
    """Return the one layer that stands for a stretch at the size it was traced with: dead taps cut."""
    if form == "crop" and stretch.layers and not stretch.flat:
        merged = cropped(merged, _largest_kernel(stretch))
    return cut(merged, stretch.size) if merged.dims else merged


def loses_taps(stretch: Stretch) -> bool:
    """Whether some of its merged kernel's taps only meet padding at the size it was traced with."""
    return final_layer(stretch, stretch.merged).kernel != stretch.merged.kernel


def plain_offer(stretch: Stretch, form: Form = "plain") -> Offer:
    """One layer in place of a stretch, dead taps cut, and what it costs."""
    layer = final_layer(stretch, stretch.merged, form)
    macs = layer.weight.numel() * positions(stretch.output, layer)
    return Offer(stretch, "bias map" if layer.mapped else form, macs, layer.weights)


def matrix_offer(stretch: Stretch) -> Offer:
    """The matrix of a stretch; where pooling leaves more than one position, and a plain layer is exact, that layer."""
    shape = trace.shape(stretch.output)
    assert shape is not None
    single = math.prod(shape[2:]) == 1
    if stretch.exact and not single:
        return plain_offer(stretch)
    inputs = stretch.merged.channels[0] * math.prod(stretch.size)
    outputs = math.prod(shape[1:])
    return Offer(stretch, "tail" if single else "dense", inputs * outputs, (inputs + 1) * outputs)


def _across(stretches: Stretches, ways: Sequence[Stretch], form: Form) -> Iterator[Offer]:
    """Two stretches that only padding keeps apart, merged in a form that stands it; the longest first."""
    for after in reversed(ways):
        for before in reversed(stretches.ending_at.get(after.source, ())):
            whole = stretches.follow(before, after) if before.exact and after.exact else None
            if whole is None or whole.exact or whole.pooled or len(whole.merged.kernel) == 0:
                continue
            try:
                module = ACROSS[form](before.merged, after.merged, whole.size)
            except FoldError:
                continue
            x = before.merged.weight.new_zeros(1, whole.merged.channels[0], *whole.size)
            macs, weights = flops.count(module, x).macs, sum(weight.numel() for weight in module.parameters())
            yield Offer(whole, form, macs or 0, weights, (before, after))


def _largest_kernel(stretch: Stretch) -> tuple[int, ...]:
    """The most taps that any of its layers has, per spatial dimension."""
    return tuple(max(taps) for taps in zip(*(layer_of(node).kernel for node in stretch.layers), strict=True))


def _flattened(stretch: Stretch, module: nn.Module) -> nn.Module:
    """A module that stands for a stretch; [N, out] comes of it where the stretch gives that."""
    return nn.Sequential(module, nn.Flatten(1)) if stretch.flat else module


def _matrix(stretch: Stretch) -> nn.Module:
    shape = trace.shape(stretch.output)
    assert shape is not None
    rows, offset = matrix(stretch.tree, stretch.merged.channels[0], stretch.size)
    dtype = layer_of(stretch.layers[0]).weight.dtype
    linear = to_module(Affine(rows.to(dtype), offset.to(dtype)))
    back = () if len(shape) == 2 else (nn.Unflatten(1, shape[1:]),)
    return nn.Sequential(nn.Flatten(1), linear, *back)
