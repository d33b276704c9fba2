"""Residual blocks: which of a network's can become identities, networks without some of them, and a view of their ends.

A block is a module that adds its own input to what it computes: y = f(x + g(x)), with nothing in f but activations and
norms, so that y = x is a network of the same shape. What a block is called does not matter; its graph is looked at.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from harness.compress.folding import trace
from harness.compress.folding.kinds import CONVS, NORMS, is_activation
from harness.compress.folding.trace import Example
from harness.content import require_known
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.compress.state import State

_NORMS = (*NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm2d)
# What a network may do to the sum without weighing it anew, where it calls a function instead of a module. Reshaping keeps
# the order of numbers, and shapes at both ends are equal; a transposition is no way through.
_PASSING = frozenset(
    """
    relu relu6 gelu silu leaky_relu elu hardtanh hardswish mish tanh layer_norm group_norm batch_norm dropout
    reshape view flatten unflatten contiguous clone
    """.split()  # noqa: SIM905 (quotes around each would only hide them)
)


class Skip(nn.Module):
    """What is left of a block: passes its first input on, and takes whatever else the block was given (a mask)."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return `x`."""
        return x


def blocks(network: nn.Module, example: Example) -> tuple[str, ...]:
    """Return the paths, in forward order, of the residual blocks that can become identities.

    A block is called once, with one tensor of its output's shape, first and by position. Of modules within each other the
    whole block is taken: a transformer's layer, not its attention, if the shortcut goes through both; and the blocks inside,
    not what adds their common input to all of them. Layers of torch's own (nn.TransformerEncoderLayer) are left out: their
    graph is hidden. Raises FoldError if the network cannot be traced or run on `example`.
    """
    graph = trace.evaluated(network, example)
    fitting = _fitting(network, example)
    inside = {path: nodes for path, nodes in _inside(graph).items() if path in fitting}
    found = {path: way for path, nodes in inside.items() if (way := _shortcut(nodes)) is not None}
    whole = [path for path in found if _is_whole(path, found)]
    outermost = [path for path in whole if not any(path.startswith(other + ".") for other in whole)]
    order = {node: at for at, node in enumerate(graph.graph.nodes)}
    return tuple(sorted(outermost, key=lambda path: order[found[path].output]))


def skip(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a new network with the modules at the paths `names` replaced by identities, in the same mode.

    Raises UsageError, with the nearest known name, for a path that is not there.
    """
    known = [path for path, _ in network.named_modules() if path]
    for name in names:
        require_known("block", name, known)
    shorter = copy.deepcopy(network)
    gone = {id(shorter.get_submodule(name)) for name in names}
    for path, module in list(shorter.named_modules(remove_duplicate=False)):
        if id(module) in gone:  # one module under several names goes from all of them
            shorter.set_submodule(path, Skip().train(module.training))
    return shorter


def units(state: State, names: Sequence[str], method: str) -> tuple[str, ...]:
    """Return the blocks that a method may take: all, or those of its recipe, in forward order. Raises UsageError."""
    found = blocks(state.network, state.example)
    if not found:
        raise UsageError(
            f"method {method} removes residual blocks, and this model has none whose input and output have one shape",
            "Name another --model, or a --method that removes activations: easier, tlc.",
        )
    for name in names:
        require_known("residual block", name, found)
    return tuple(name for name in found if name in names) if names else found


def channel_axis(block: nn.Module) -> int:
    """Return the axis of the channels of what a block reads: 1 where it convolves, else the last, that of tokens."""
    return 1 if any(isinstance(module, (*CONVS, *NORMS)) for module in block.modules()) else -1


@contextmanager
def watched(
    network: nn.Module,
    names: Collection[str],
    before: Callable[[str, Tensor], None],
    after: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """Show each named block's input, as it comes, to `before`, and its output to `after`, in every forward pass."""

    def watch(name: str) -> list[torch.utils.hooks.RemovableHandle]:
        block = network.get_submodule(name)
        return [
            block.register_forward_pre_hook(lambda _, arguments: before(name, arguments[0])),
            block.register_forward_hook(lambda _, __, output: after(name, output)),
        ]

    handles = [handle for name in names for handle in watch(name)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- which modules are blocks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shortcut:
    """A module's nodes, its output, and the nodes by way of which its input reaches that unweighed."""

    nodes: frozenset[fx.Node]
    output: fx.Node
    way: frozenset[fx.Node]


def _fitting(network: nn.Module, example: Example) -> set[str]:
    """The paths of modules, not the network's own, called once with one tensor of their output's shape, given first."""
    copied = copy.deepcopy(network).eval()
    calls: Counter[str] = Counter()
    fits: dict[str, bool] = {}

    def see(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            calls[path] += 1
            first = arguments[0] if arguments else None
            given = [each for each in (*arguments, *named.values()) if isinstance(each, Tensor)]
            same = isinstance(output, Tensor) and isinstance(first, Tensor) and first.shape == output.shape
            fits[path] = same and sum(each.shape == output.shape for each in given) == 1

        return hook

    for path, module in copied.named_modules():
        if path:
            module.register_forward_hook(see(path), with_kwargs=True)
    trace.run(copied, example)
    return {path for path, fit in fits.items() if fit and calls[path] == 1}


def _inside(graph: fx.GraphModule) -> dict[str, frozenset[fx.Node]]:
    """The nodes of each module by its path, those of its submodules among them."""
    found: dict[str, set[fx.Node]] = {}
    for node in graph.graph.nodes:
        for path, *_ in (node.meta.get("nn_module_stack") or {}).values():
            found.setdefault(str(path), set()).add(node)
    return {path: frozenset(nodes) for path, nodes in found.items()}


def _shortcut(nodes: frozenset[fx.Node]) -> _Shortcut | None:
    """A module's shortcut from its input to its output, or None if it has none, or no add on it."""
    outputs = [node for node in nodes if trace.shape(node) is not None and not nodes.issuperset(node.users)]
    if len(outputs) != 1:
        return None
    way = _way(outputs[0], nodes)
    adds = any(trace.added(node) for node in way)
    return _Shortcut(nodes, outputs[0], way) if adds else None


def _way(output: fx.Node, nodes: frozenset[fx.Node], closed: frozenset[fx.Node] = frozenset()) -> frozenset[fx.Node]:
    """The nodes of all ways from what a module reads to its output through what passes on; none if there is no way.

    No way leads through what is `closed`.
    """
    reached: dict[fx.Node, bool] = {}

    def reach(node: fx.Node) -> bool:
        if node in closed:
            return False
        if node not in nodes:
            return node.op != "get_attr" and trace.shape(node) == trace.shape(output)
        if node not in reached:
            found = [reach(read) for read in _passes_on(node)]  # every way, not just the first
            reached[node] = any(found)
        return reached[node]

    reach(output)
    return frozenset(node for node, way in reached.items() if way)


def _passes_on(node: fx.Node) -> tuple[fx.Node, ...]:
    """What of a node's inputs it passes on without weighing: both of an add, that of an activation or a norm."""
    both = trace.added(node)
    if both is not None:
        return both
    module = trace.module_of(node)
    if module is not None:
        passes = isinstance(module, _NORMS) or is_activation(module) or trace.is_transparent(node)
    else:
        passes = node.op in ("call_function", "call_method") and _word(node.target) in _PASSING
    return (trace.source(node),) if passes else ()


def _word(target: Any) -> str:
    """The bare name of a function or method: `relu` of torch.relu, `relu_` and aten.relu.default."""
    return str(getattr(target, "__name__", target)).partition(".")[0].rstrip("_")


def _is_whole(path: str, found: dict[str, _Shortcut]) -> bool:
    """Whether a module with a shortcut is one block: an add on it is its own, and no way leads around a part that has one.

    A sequence of blocks has no add of its own; around what adds its input to a sequence of blocks there is a way.
    """
    mine = found[path]
    parts = [part.nodes for other, part in found.items() if other.startswith(path + ".")]
    own = any(trace.added(node) and not any(node in part for part in parts) for node in mine.way)
    return own and not any(_way(mine.output, mine.nodes, part) for part in parts)
