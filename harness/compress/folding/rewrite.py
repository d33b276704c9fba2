"""Carry out in a graph what was chosen: merged modules in place of stretches, and a check of the size where it is fixed now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx, nn

from harness.compress.folding import exported, report, trace
from harness.compress.folding.choice import choose as choice_of
from harness.compress.folding.forms import Form, build
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.norms import fold_norms, move_layer_norms
from harness.compress.folding.trace import Example
from harness.records import Group


def everything(group: Group) -> bool:
    """Choose every group."""
    return True


def merge(
    graph: fx.GraphModule,
    example: Example,
    choose: Callable[[Group], bool] = everything,
    named: Sequence[Form] = (),
    exact: bool = True,
) -> tuple[tuple[Group, ...], bool]:
    """Merge in place what can be merged, without proof; return the groups and whether the input size is fixed now."""
    trace.record_shapes(graph, example)
    trace.drop_transparent(graph)
    trace.simplify_flattening(graph)
    fold_norms(graph)
    move_layer_norms(graph)
    order = {str(node.target): index for index, node in enumerate(graph.graph.nodes)}
    stretches = Stretches(graph, exact)
    choice = choice_of(graph, stretches, lambda offer: choose(report.of_offer(offer)), named)
    told = report.of_what_is_left(graph, choice)
    fixes_size = any(offer.fixes_size for offer in choice.merged)
    for offer in choice.merged:  # from the end, because one may begin where another ends
        module = build(offer, exact)
        told.append(report.of_merged(offer, module))
        _replace(graph, offer.stretch, module)
    if fixes_size or graph.meta.get(exported.FIXED):
        _fix_input_size(graph)
    trace.tidy(graph)
    fixed_size = any(isinstance(module, trace.FixedShape) for module in graph.modules())
    return tuple(sorted(told, key=lambda group: order[group.path])), fixed_size


def _replace(graph: fx.GraphModule, stretch: Stretch, module: nn.Module) -> None:
    """Put one merged module, at the path of the stretch's first layer, in place of its nodes."""
    path, *others = (str(node.target) for node in stretch.layers)
    graph.set_submodule(path, module)
    for other in others:  # now, and not when all is tidied: the next group needs the memory
        graph.delete_submodule(other)
    with graph.graph.inserting_after(trace.last_input(graph, stretch.source)):  # before anything may change it in place
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
