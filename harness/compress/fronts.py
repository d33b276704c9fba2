"""Which layer stands in front of an activation: the convolution or linear layer whose outputs reach it, by the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx, nn

from harness.compress.folding import trace
from harness.compress.folding.kinds import WEIGHTED
from harness.compress.folding.trace import Example
from harness.content import require_known
from harness.errors import UsageError


def fronts(network: nn.Module, example: Example, names: Sequence[str]) -> dict[str, str]:
    """Return, for each activation at the paths `names`, the path of the convolution or linear layer in front of it.

    Whatever has no such weights is read through: BatchNorm, dropout, pooling, identities. Where branches meet, as in front
    of the activation behind a shortcut, the way goes on into the branch with the most layers on its longest path: the last
    layer of the main branch, not that of the shortcut. Of two equally long ones the first is taken, and of an activation
    that is called several times the first call.

    Raises UsageError for an activation that is not called or that no layer stands in front of, FoldError if the network
    cannot be traced.
    """
    graph = trace.evaluated(network, example)
    depths = _depths(graph)
    found: dict[str, str] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in names and node.target not in found:
            found[str(node.target)] = _front(node, depths)
    for name in names:
        require_known("activation that is called", name, tuple(found))
    return {name: found[name] for name in names}


def _depths(graph: fx.GraphModule) -> dict[fx.Node, int]:
    """The layers on the longest path to each node, itself included."""
    depths: dict[fx.Node, int] = {}
    for node in graph.graph.nodes:  # in the order in which they run
        above = max((depths[read] for read in node.all_input_nodes), default=0)
        depths[node] = above + _is_layer(node)
    return depths


def _front(activation: fx.Node, depths: Mapping[fx.Node, int]) -> str:
    node = activation
    while node.all_input_nodes:
        node = max(node.all_input_nodes, key=lambda read: depths[read])  # the first of the deepest
        if _is_layer(node):
            return str(node.target)
    raise UsageError(
        f"activation {activation.target} has no convolution or linear layer in front of it, whose weights could be asked",
        "Leave it out (--eligible mergeable takes only those between two layers), or name another --method.",
    )


def _is_layer(node: fx.Node) -> bool:
    return isinstance(trace.module_of(node), WEIGHTED)
