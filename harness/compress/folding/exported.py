"""Networks that torch.fx cannot trace, as torch.export sees them: control flow on shapes, keyword calls, transformers.

torch.export takes modules apart into operators, but notes where each came from. An operator that is all there is of one
layer becomes a call of that layer again, so that folding and its reports speak of the network's own modules.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness.compress.folding.blends import Blend
from harness.compress.folding.kinds import is_activation

FIXED = "fixed"  # in the meta of a graph that holds at one input size alone: its control flow was decided there
_FEWEST, _MOST = 2, 2**31  # entries of a batch that a graph must take to count as free


def trace(network: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """Return the graph of a network in eval mode, for the inputs' size and any batch; raises what torch.export raises."""
    batch = tuple({0: torch.export.Dim.DYNAMIC} if tensor.ndim else None for tensor in inputs)
    program = torch.export.export(_marked(network), _twice(inputs), dynamic_shapes=batch)
    if any(interval.lower > _FEWEST or interval.upper < _MOST for interval in program.range_constraints.values()):
        raise ValueError("it does something else for other batch sizes")
    exported = program.module()
    assert isinstance(exported, fx.GraphModule)
    graph = exported.graph
    _call_layers(graph, network)
    for node in reversed(list(graph.nodes)):
        if not node.users and (node.op == "get_attr" or node.target == "_guards_fn"):
            graph.erase_node(node)
    root: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            root[str(node.target)] = _attribute(exported, str(node.target))
        elif node.op == "call_module":
            root[str(node.target)] = network.get_submodule(str(node.target))
    graph._tracer_cls = None  # torch.export's own, which cannot be pickled
    made = fx.GraphModule(root, graph, type(network).__name__)
    made.meta[FIXED] = True
    return made.eval()


def _twice(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs with at least two entries: of one alone torch.export takes the batch for a constant."""
    alone = inputs[0].shape[0] == 1
    return tuple(torch.cat([x, x]) if alone and x.ndim and x.shape[0] == 1 else x for x in inputs)


def _marked(network: nn.Module) -> nn.Module:
    """A copy in which a dropout, which leaves one operator, stands for what would leave none or several of one place.

    That is, for identities and blends; `trace` puts the network's own modules there again.
    """
    marked = copy.deepcopy(network)
    for path, module in network.named_modules():
        if isinstance(module, nn.Identity | Blend):
            marked.set_submodule(path, nn.Dropout(0.0).eval())
    return marked


def _call_layers(graph: fx.Graph, network: nn.Module) -> None:
    """Put a call of its module in place of every operator that is the whole of one."""
    paths = {node: _path(node) for node in graph.nodes if node.op == "call_function"}
    count = Counter(path for path in paths.values() if path is not None)
    for node, path in paths.items():
        read = [given for given in node.all_input_nodes if given.op != "get_attr"]
        alone = len(read) == 1 and node.args and node.args[0] is read[0]
        if path is None or count[path] > 1 or not alone or not _is_layer(network.get_submodule(path)):
            continue
        with graph.inserting_before(node):
            call = graph.create_node("call_module", path, (node.args[0],))
            call.meta = dict(node.meta)  # which modules it is inside of
        node.replace_all_uses_with(call)
        graph.erase_node(node)


def _path(node: fx.Node) -> str | None:
    """The path of the innermost module whose forward an operator belongs to; None outside of all."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) or None if stack and not str(stack[-1][0]).startswith("_") else None


def _is_layer(module: nn.Module) -> bool:
    return is_activation(module) or (type(module).__module__.startswith("torch.nn") and not list(module.children()))


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
