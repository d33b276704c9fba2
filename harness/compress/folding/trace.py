"""Networks as graphs (torch.fx): nodes with shapes, their modules, and the questions that folding asks of them."""

from __future__ import annotations

import copy
import inspect
import math
import operator
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import _assert_is_none

from harness.compress.folding import exported, functional
from harness.compress.folding.kinds import NORMS, TRANSPARENT, is_activation
from harness.errors import FoldError

Example: TypeAlias = Tensor | tuple[Tensor, ...]

_ATEN = torch.ops.aten
_ADDS = (operator.add, operator.iadd, torch.add, _ATEN.add.Tensor, _ATEN.add_.Tensor)
_RESHAPES = (
    *(torch.flatten, torch.reshape, torch.squeeze),
    *(_ATEN.flatten.using_ints, _ATEN.reshape.default, _ATEN.view.default, _ATEN.squeeze.dims),
)
_RESHAPE_METHODS = ("flatten", "reshape", "view", "squeeze")


class FixedShape(nn.Module):
    """Passes on an input whose shape, batch aside, is the one the network was folded for; raises FoldError otherwise."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [N, *shape]. The comparison is of integers alone, so that export sees nothing of it."""
        if tuple(x.shape[1:]) != self.shape:
            raise FoldError(
                f"this network was folded for inputs of {_times(self.shape)}, not {_times(x.shape[1:])}",
                "Fold it again with an example of that size.",
            )
        return x

    def extra_repr(self) -> str:
        """Show the shape when the network is printed."""
        return _times(self.shape)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FixedShape) or is_activation(m) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs a graph and leaves every tensor's shape in its node's meta."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


def inputs_of(example: Example) -> tuple[Tensor, ...]:
    """Return the example as positional arguments."""
    return example if isinstance(example, tuple) else (example,)


def trace(network: nn.Module, example: Example) -> fx.GraphModule:
    """Return the network's graph, whose modules are the network's own, by torch.fx, else by torch.export on `example`.

    Raises FoldError if neither copes, with the reason. torch.export sees the network in eval mode, and so is its graph.
    """
    try:
        traced = _Tracer().trace(network, _defaults(network, len(inputs_of(example))))
        graph = fx.GraphModule(network, traced, type(network).__name__).train(network.training)
    except Exception as error:  # whatever a forward does with what is no tensor
        try:
            graph = exported.trace(network, inputs_of(example))
        except Exception:  # torch.export has no common base for what it raises
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise FoldError(
                f"{type(network).__name__} cannot be traced: {said}",
                "Folding a whole network needs a forward without control flow that depends on the data.",
            ) from error
    functional.call_modules(graph)
    _drop_checks(graph)
    _read_after(graph)
    return graph


def _defaults(network: nn.Module, given: int) -> dict[str, Any]:
    """The values of the parameters of `forward` that an example of so many inputs leaves out."""
    parameters = list(inspect.signature(network.forward).parameters.values())[given:]
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def evaluated(network: nn.Module, example: Example) -> fx.GraphModule:
    """Trace a copy of the network in eval mode, with shapes; running it leaves no trace in any statistics."""
    copied = copy.deepcopy(network).eval()
    run(copied, example)
    graph = trace(copied, example)
    record_shapes(graph, example)
    return graph


def called(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of the modules that a network calls, in forward order; none if only an example could tell."""
    try:
        graph = _Tracer().trace(network, _defaults(network, 1))
    except Exception:  # whatever a forward does with what is no tensor
        return ()
    return tuple(str(node.target) for node in graph.nodes if node.op == "call_module")


def record_shapes(graph: fx.GraphModule, example: Example) -> None:
    """Run the graph on `example`, in eval mode without gradients, and note each node's shape."""
    with torch.no_grad():
        _Shapes(graph).run(*_copies(example))


def run(network: nn.Module, example: Example) -> Any:
    """Return the network's output, without gradients. Raises FoldError if it does not run on the example."""
    try:
        with torch.no_grad():
            return network(*_copies(example))
    except FoldError:
        raise
    except Exception as error:
        shapes = " and ".join(_times(tensor.shape) for tensor in inputs_of(example))
        raise FoldError(f"{type(network).__name__} does not run on an example of {shapes}: {error}") from error


def _copies(example: Example) -> tuple[Tensor, ...]:
    """The inputs again, for a network whose first operator changes them in place."""
    return tuple(tensor.clone() for tensor in inputs_of(example))


def shape(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's tensor, batch included; None if it is no tensor."""
    noted: tuple[int, ...] | None = node.meta.get("shape")
    return noted


def module_of(node: fx.Node) -> nn.Module | None:
    """Return the module that a node calls, or None if it calls none."""
    root = node.graph.owning_module
    return root.get_submodule(str(node.target)) if node.op == "call_module" and root is not None else None


def calls(graph: fx.GraphModule) -> Counter[str]:
    """Count how often each module is called."""
    return Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")


def is_transparent(node: fx.Node) -> bool:
    """Whether a node passes its input through unchanged (in eval mode)."""
    return isinstance(module_of(node), TRANSPARENT)


def added(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Return the two equally shaped tensors that a node adds, or None if it does anything else."""
    is_add = (node.op == "call_function" and node.target in _ADDS) or (
        node.op == "call_method" and node.target in ("add", "add_")
    )
    if not is_add or node.kwargs or len(node.args) != 2:
        return None
    left, right = node.args
    if not isinstance(left, fx.Node) or not isinstance(right, fx.Node):
        return None
    return (left, right) if shape(left) == shape(right) == shape(node) is not None else None


def source(node: fx.Node) -> fx.Node:
    """Return the node whose tensor a module call reads first."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(first, fx.Node):
        first = node.all_input_nodes[0]
    return first


def last_input(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Return a node, or, if it is one of the network's inputs, the last of these: where a call that reads it may stand."""
    inputs = [each for each in graph.graph.nodes if each.op == "placeholder"]
    return inputs[-1] if node in inputs else node


def flattened(node: fx.Node) -> fx.Node | None:
    """Return the image [N, C, *size] that a node makes [N, C * size] of, or None if it does anything else."""
    called = (node.op == "call_function" and node.target in _RESHAPES) or isinstance(module_of(node), nn.Flatten)
    if not called and not (node.op == "call_method" and node.target in _RESHAPE_METHODS):
        return None
    image, after = source(node), shape(node)
    before = shape(image)
    if before is None or after is None or len(before) < 3 or after != (before[0], math.prod(before[1:])):
        return None
    return image


def simplify_flattening(graph: fx.GraphModule) -> None:
    """Write every flattening of an image as one operator that asks for no size: `x.view(x.size(0), -1)` among them."""
    for node in list(graph.graph.nodes):
        image = flattened(node)
        if image is None:
            continue
        asked = [argument for argument in node.all_input_nodes if argument is not image]
        with graph.graph.inserting_before(node):
            flat = graph.graph.call_function(torch.flatten, (image, 1))
        flat.meta["shape"] = shape(node)
        node.replace_all_uses_with(flat)
        graph.graph.erase_node(node)
        _drop_unread(graph, asked)


def _drop_checks(graph: fx.GraphModule) -> None:
    """Take out assertions on shapes: they hold on the example, and to folding they would be readers of what they ask."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target in (torch._assert, _assert_is_none):
            asked = node.all_input_nodes
            graph.graph.erase_node(node)
            _drop_unread(graph, asked)
    questions = [node for node in graph.graph.nodes if node.target in (getattr, "size", "dim")]
    _drop_unread(graph, questions)  # asked for the message alone
    graph.recompile()


def _read_after(graph: fx.GraphModule) -> None:
    """Let what reads a tensor after an operator has changed it in place read that operator's result, which is the same."""
    order: dict[fx.Node, int] = {node: at for at, node in enumerate(graph.graph.nodes)}

    def is_later(user: fx.Node, than: int) -> bool:
        return order.get(user, 0) > than

    for node, at in order.items():
        method = node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__")
        if method or node.target is operator.iadd or getattr(module_of(node), "inplace", False) is True:
            changed = source(node)
            changed.replace_all_uses_with(node, delete_user_cb=partial(is_later, than=at))
    graph.recompile()


def _drop_unread(graph: fx.GraphModule, nodes: list[fx.Node]) -> None:
    """Erase nodes that nothing reads any more, and what only they read; never an input."""
    for node in nodes:
        if not node.users and node.op in ("call_function", "call_method"):
            read = node.all_input_nodes
            graph.graph.erase_node(node)
            _drop_unread(graph, read)


def drop_transparent(graph: fx.GraphModule) -> None:
    """Take identities and dropout out of the graph; what removed activations have left is noted at what they read."""
    for node in list(graph.graph.nodes):
        if isinstance(module_of(node), NORMS):  # an identity before a norm opens what is behind it
            note_opened(node, opened_by(source(node)))
        if is_transparent(node):
            if isinstance(module_of(node), nn.Identity):
                note_opened(source(node), {str(node.target)})
            node.replace_all_uses_with(source(node))
            graph.graph.erase_node(node)


def opened_by(node: fx.Node) -> set[str]:
    """Return the paths of the identities, what removed activations have left, through which a node was read."""
    noted: set[str] = node.meta.get("opened_by", set())
    return noted


def note_opened(node: fx.Node, paths: set[str]) -> None:
    """Note that a node was read through the identities at `paths`."""
    node.meta["opened_by"] = opened_by(node) | paths


def behind_transparent(node: fx.Node) -> fx.Node:
    """Return the node whose values a node passes on, itself if it is not transparent."""
    while is_transparent(node):
        node = source(node)
    return node


def tidy(graph: fx.GraphModule) -> None:
    """Drop modules that nothing calls any more, make the forward function anew, and set all to eval mode."""
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    graph.eval()


def _times(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)
