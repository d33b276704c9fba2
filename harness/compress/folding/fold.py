"""Fold a network: merge every stretch without a non-linearity into one layer, and prove that nothing changed."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from harness.compress.folding import report, trace
from harness.compress.folding.choice import choose as choice_of
from harness.compress.folding.forms import ACROSS, Form, Offer, build
from harness.compress.folding.groups import Stretches
from harness.compress.folding.layers import CONVS, NORMS, affine, require_finite, scale_and_shift, to_module
from harness.compress.folding.merge import scaled
from harness.compress.folding.proof import difference
from harness.compress.folding.trace import Example
from harness.content import require_known
from harness.errors import FoldError
from harness.records import Group

LIMIT_F64 = 1e-12
LIMIT_F32 = 1e-5
_NO_LIMIT = sys.float_info.max  # but the outputs must be finite


@dataclass(frozen=True)
class Folded:
    """A folded network and the proof that it is equal to the one given.

    Errors are relative max-abs differences of outputs, in float64 and float32. With `fixed_size` the network takes
    inputs of the example's size alone (the batch stays free) and raises FoldError on another.
    """

    network: fx.GraphModule
    groups: tuple[Group, ...]
    max_error: float
    max_error_f32: float
    fixed_size: bool


def _everything(group: Group) -> bool:
    return True


def fold(
    network: nn.Module,
    example: Example,
    policy: str = "exact",
    forms: Sequence[str] | None = None,
    choose: Callable[[Group], bool] | None = None,
) -> Folded:
    """Return the network with everything merged that is provably equal; the one given stays as it is.

    BatchNorms go into the layer before them; layers with nothing non-linear between them become one, shortcuts
    included; at the example's size, outer kernel taps that only meet padding are cut. `choose` sees each group that
    can be merged and says whether it is.

    Beyond plain layers, matrices stand for linear tails and small images where they take fewer MACs and at most twice the
    weights; `forms=("ring",)` or `("border",)` merges convolutions across the padding between them.

    `policy="approximate"` merges across padding too, which is wrong near the border; with `forms=("crop",)` merged kernels
    are no larger than those of their layers, as LayerFold makes them. Its errors are told, and bound by nothing.

    Raises FoldError for a network in training mode, with weights that are not finite, that cannot be traced or run on
    `example` (a batch), or, under the policy `exact`, whose folded outputs differ by more than 1e-12 in float64 or 1e-5 in
    float32; UsageError for a policy or form that does not exist.
    """
    named, exact = _named(policy, forms), policy == "exact"
    _require_ready(network)
    original = copy.deepcopy(network).double()
    wide = _as(torch.float64, example)
    trace.run(original, wide)
    graph = trace.trace(original)
    told, fixed_size = merge(graph, wide, choose or _everything, named, exact)
    error = _prove(original, graph, wide, LIMIT_F64 if exact else _NO_LIMIT)
    dtype = _dtype(network)
    narrow_graph = graph.to(dtype) if dtype == torch.float32 else copy.deepcopy(graph).float()
    narrow = network if dtype == torch.float32 else copy.deepcopy(network).float()
    error_f32 = _prove(narrow, narrow_graph, _as(torch.float32, example), LIMIT_F32 if exact else _NO_LIMIT)
    return Folded(graph.to(dtype), told, error, error_f32, fixed_size)


def merge(
    graph: fx.GraphModule,
    example: Example,
    choose: Callable[[Group], bool] = _everything,
    named: Sequence[Form] = (),
    exact: bool = True,
) -> tuple[tuple[Group, ...], bool]:
    """Merge in place what can be merged, without proof; return the groups and whether the input size is fixed now."""
    trace.record_shapes(graph, example)
    trace.drop_transparent(graph)
    trace.simplify_flattening(graph)
    fold_norms(graph)
    order = {str(node.target): index for index, node in enumerate(graph.graph.nodes)}
    stretches = Stretches(graph, exact)
    choice = choice_of(graph, stretches, lambda offer: choose(report.of_offer(offer)), named)
    told = report.describe(graph, choice)
    fixes_size = any(offer.fixes_size for offer in choice.merged)
    for offer in choice.merged:  # from the end, because one may begin where another ends
        _replace(graph, offer, exact)
    if fixes_size:
        _fix_input_size(graph)
    trace.tidy(graph)
    fixed_size = any(isinstance(module, trace.FixedShape) for module in graph.modules())
    return tuple(sorted(told, key=lambda group: order[group.path])), fixed_size


def fold_norms(graph: fx.GraphModule) -> None:
    """Fold every BatchNorm in eval mode into the convolution or linear layer before it that nothing else reads."""
    calls = trace.calls(graph)
    for node in list(graph.graph.nodes):
        norm = trace.module_of(node)
        if not isinstance(norm, NORMS) or norm.training or norm.running_mean is None:
            continue
        before = trace.source(node)
        if len(before.users) > 1 or calls[str(before.target)] > 1 or not _scales_channels(before):
            continue
        layer = affine(graph.get_submodule(str(before.target)))
        graph.set_submodule(str(before.target), to_module(scaled(layer, *scale_and_shift(norm))))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)


def _scales_channels(node: fx.Node) -> bool:
    """Whether a BatchNorm behind this node would scale the very channels that its layer makes."""
    layer = trace.module_of(node)
    if isinstance(layer, nn.Linear):
        return len(trace.shape(node) or ()) == 2  # with more dimensions BatchNorm counts channels along another
    return isinstance(layer, CONVS) and layer.padding_mode == "zeros"


def _replace(graph: fx.GraphModule, offer: Offer, exact: bool) -> None:
    """Put one merged module, at the path of the stretch's first layer, in place of its nodes."""
    stretch = offer.stretch
    module = build(offer, exact)
    path, *others = (str(node.target) for node in stretch.layers)
    graph.set_submodule(path, module)
    for other in others:  # now, and not when all is tidied: the next group needs the memory
        graph.delete_submodule(other)
    with graph.graph.inserting_after(stretch.output):
        merged = graph.graph.call_module(path, (stretch.source,))
    merged.meta["shape"] = trace.shape(stretch.output)
    stretch.output.replace_all_uses_with(merged)
    for node in reversed(list(graph.graph.nodes)):
        if node in stretch.nodes:
            graph.graph.erase_node(node)


def _fix_input_size(graph: fx.GraphModule) -> None:
    """Let every input pass a check of its shape."""
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for index, node in enumerate(inputs):
        shape = trace.shape(node)
        if shape is None:
            continue
        name = f"fixed_shape{index or ''}"
        graph.add_submodule(name, trace.FixedShape(shape[1:]))
        with graph.graph.inserting_after(inputs[-1]):
            checked = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(checked, delete_user_cb=lambda user, checked=checked: user is not checked)


def _prove(original: nn.Module, folded: nn.Module, example: Example, limit: float) -> float:
    error = difference(original, folded, example)
    if not error <= limit:
        raise FoldError(
            f"the folded network differs from the one given by {error:.2g} (relative, {_dtype(original)}); "
            f"the limit is {limit:g}",
            "Please report this network: what is merged should be exact.",
        )
    return error


def _named(policy: str, forms: Sequence[str] | None) -> tuple[Form, ...]:
    """The forms asked for beyond the default ones. Raises UsageError for words not known, or not under this policy."""
    known: dict[str, tuple[Form, ...]] = {"exact": tuple(ACROSS), "approximate": ("crop",)}
    require_known("folding policy", policy, known)
    for form in forms or ():
        require_known(f"form under the folding policy {policy}", form, known[policy], "The default forms need no word.")
    return tuple(form for form in known[policy] if form in (forms or ()))


def _require_ready(network: nn.Module) -> None:
    if any(module.training for module in network.modules()):
        raise FoldError("the network is in training mode", "Call network.eval() first: BatchNorm folds at inference.")
    require_finite(network)


def _dtype(network: nn.Module) -> torch.dtype:
    floating = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def _as(dtype: torch.dtype, example: Example) -> tuple[torch.Tensor, ...]:
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in trace.inputs_of(example))
