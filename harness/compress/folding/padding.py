"""Move padding to where merging is exact, and remove activations: new networks that can still be trained.

Zero padding between two convolutions is what keeps their merge from being exact: the merged kernel sees the first
one's values outside the image, where the pair sees zeros. `pad_first` pads once, before the first, and leaves the
rest valid (Kim et al. 2023). That is another function near the border, so it comes before fine-tuning.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import fx, nn

from harness.compress.folding import trace
from harness.compress.folding.affine import Affine
from harness.compress.folding.layers import NORMS, affine, scale_and_shift, to_module
from harness.compress.folding.merge import chain, moved_padding, scaled
from harness.compress.folding.trace import Example
from harness.content import require_known
from harness.errors import FoldError

# Element-wise non-linearities; gates (sigmoid, hard sigmoid) and softmax steer other values and are not among them.
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Softplus,
    nn.Tanh,
)


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but `between` (forward order) from one to the other, and no other reader on the way."""

    first: str
    between: tuple[fx.Node, ...]
    second: str

    @property
    def opened_by(self) -> set[str]:
        """Paths of the identities between the two: what removed activations have left."""
        return {str(node.target) for node in self.between if isinstance(trace.module_of(node), nn.Identity)}


def activations(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of all activation modules, each once: in forward order, or as registered if untraceable."""
    registered = tuple(name for name, module in network.named_modules() if isinstance(module, ACTIVATIONS))
    called = dict.fromkeys(trace.called(network))
    return tuple(name for name in called if name in registered) if called else registered


def mergeable(network: nn.Module, example: Example, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the activations, in forward order, whose removal alone brings two mergeable layers together.

    `names` restricts the answer. An activation that is called twice is left out. Raises FoldError if the network
    cannot be traced or run on `example`; UsageError for a name that is no activation of it.
    """
    graph = _traced(network, example)
    calls = trace.calls(graph)
    known = activations(network) if names else ()
    for name in names or ():
        require_known("activation", name, known)
    return tuple(
        str(node.target)
        for node in graph.graph.nodes
        if isinstance(trace.module_of(node), ACTIVATIONS)
        and calls[str(node.target)] == 1
        and (names is None or node.target in names)
        and any(node in pair.between for pair in _pairs(graph, through=node))
    )


def remove(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a new network with the activations at the paths `names` replaced by identities.

    Raises UsageError, with the nearest known name, for a path that is no activation of the network.
    """
    known = [name for name, module in network.named_modules() if isinstance(module, ACTIVATIONS)]
    for name in names:
        require_known("activation", name, known)
    removed = copy.deepcopy(network)
    for name in names:
        _silence(removed, name)
    return removed


def pad_first(network: nn.Module, example: Example, names: Collection[str] | None = None) -> nn.Module:
    """Return a new network in which each group of layers that can merge pads once, before its first convolution.

    With P = p1 + s1 * p2 all sizes stay. A BatchNorm inside a group is folded (with its running statistics) into the
    convolution before it, which so gets a bias; paths, shortcuts and everything outside stay, and the network can be
    trained, saved and changed again. `names` restricts this to groups opened by these removed activations. Raises
    FoldError if the network cannot be traced or run on `example`; UsageError for a name that opened no group.
    """
    moved = copy.deepcopy(network)
    pairs = [pair for pair in _pairs(_traced(network, example)) if pair.opened_by]
    for name in names or ():
        require_known("removed activation between two layers", name, {by for pair in pairs for by in pair.opened_by})
    for pair in reversed(pairs):  # the last pair first, so that in a longer group padding travels all the way
        if names is None or pair.opened_by & set(names):
            _move(moved, pair)
    return moved


def _move(network: nn.Module, pair: Pair) -> None:
    """Move the second layer's padding before the first, in place, unless there is none."""
    first, second = network.get_submodule(pair.first), network.get_submodule(pair.second)
    one, two = affine(first), affine(second)
    if not two.padded:
        return
    for node in pair.between:
        norm = network.get_submodule(str(node.target))
        if isinstance(norm, NORMS):
            one = scaled(one, *scale_and_shift(norm))
            _silence(network, str(node.target))
    none = ((0, 0),) * two.dims
    network.set_submodule(pair.first, _like(first, replace(one, padding=moved_padding(one, two))))
    network.set_submodule(pair.second, _like(second, replace(two, padding=none)))


def _silence(network: nn.Module, path: str) -> None:
    """Put an identity, in the same mode, at `path`."""
    network.set_submodule(path, nn.Identity().train(network.get_submodule(path).training))


def _like(module: nn.Module, layer: Affine) -> nn.Module:
    """Return the layer's module, with tensors of its own and in the mode of `module`."""
    return copy.deepcopy(to_module(layer)).train(module.training)


def _traced(network: nn.Module, example: Example) -> fx.GraphModule:
    """Trace a copy of the network in eval mode, with shapes; running it leaves no trace in any statistics."""
    evaluated = copy.deepcopy(network).eval()
    trace.run(evaluated, example)
    graph = trace.trace(evaluated, example)
    trace.record_shapes(graph, example)
    return graph


def _pairs(graph: fx.GraphModule, through: fx.Node | None = None) -> Iterator[Pair]:
    """Yield, in forward order, the layers that can merge; `through` is an activation to be thought away."""
    calls = trace.calls(graph)
    for node in graph.graph.nodes:
        if not _is_layer(node, calls):
            continue
        between: list[fx.Node] = []
        for before in trace.upstream(node):
            if _is_layer(before, calls):
                if _fit(before, node, between):
                    yield Pair(str(before.target), tuple(reversed(between)), str(node.target))
                break
            if before is not through and not trace.is_transparent(before) and not _is_norm(before):
                break
            between.append(before)


def _fit(first: fx.Node, second: fx.Node, between: list[fx.Node]) -> bool:
    """Whether the two layers can merge once the padding is moved: nothing but their shapes decides."""
    one, two = trace.module_of(first), trace.module_of(second)
    assert one is not None and two is not None
    try:
        chain(affine(one).on_meta(), affine(two).on_meta())
    except FoldError:
        return False
    norms = (trace.module_of(node) for node in between)
    return all(norm.running_mean is not None for norm in norms if isinstance(norm, NORMS))


def _is_layer(node: fx.Node, calls: dict[str, int]) -> bool:
    module = trace.module_of(node)
    if module is None or isinstance(module, NORMS) or calls[str(node.target)] > 1:
        return False
    try:
        affine(module)
    except FoldError:
        return False
    return True


def _is_norm(node: fx.Node) -> bool:
    return isinstance(trace.module_of(node), NORMS)
