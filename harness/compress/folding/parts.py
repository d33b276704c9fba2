"""A whole network or, where nothing can trace it, its parts one by one: each on the inputs that it gets within the whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from harness.compress.folding import trace
from harness.compress.folding.kinds import is_activation
from harness.compress.folding.trace import Example
from harness.errors import FoldError
from harness.records import Group

Merge: TypeAlias = Callable[[fx.GraphModule, Example], tuple[tuple[Group, ...], bool]]


@dataclass(frozen=True)
class Merged:
    """A network with everything merged, what was done, and whether it takes one input size alone."""

    network: nn.Module
    groups: tuple[Group, ...]
    fixed_size: bool


def merge(network: nn.Module, example: Example, merge_graph: Merge) -> Merged:
    """Return the network with its graph merged, or its parts' graphs; modules that stay are shared with the one given.

    A network that is folded part by part is told as a group of its own, with the reason.
    """
    try:
        graph = trace.trace(network, example)
    except FoldError as error:
        return _by_parts(network, example, merge_graph, str(error))
    groups, fixed_size = merge_graph(graph, example)
    return Merged(graph, groups, fixed_size)


def _by_parts(network: nn.Module, example: Example, merge_graph: Merge, reason: str) -> Merged:
    whole = copy.copy(network)
    whole._modules = dict(network._modules)
    told = [_untraced(type(network).__name__, f"{reason}; folded part by part")]
    fixed_size = False
    for path, given in _inputs(network, example).items():
        part = network.get_submodule(path)
        if given is None:
            told.append(
                _untraced(path, "it is called more than once, or with more than tensors, in what cannot be traced")
            )
            continue
        merged = merge(part, given, merge_graph)
        _put(whole, path, merged.network)
        if not _runs(whole, example):  # it is used for more than its output
            _put(whole, path, part)
            told.append(_untraced(path, "what cannot be traced uses more of it than its output"))
            continue
        told += [_within(path, group) for group in merged.groups]
        fixed_size |= merged.fixed_size
    return Merged(whole, tuple(told), fixed_size)


def _runs(network: nn.Module, example: Example) -> bool:
    try:
        trace.run(network, example)
    except FoldError:
        return False
    return True


def _inputs(network: nn.Module, example: Example) -> dict[str, tuple[Tensor, ...] | None]:
    """What each part is given when the network runs on the example; None for one that cannot be folded by itself."""
    seen: dict[str, tuple[Tensor, ...] | None] = {}

    def note(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, given: tuple[Any, ...], words: dict[str, Any]) -> None:
            alone = path not in seen and not words and all(isinstance(value, Tensor) for value in given)
            seen[path] = given if alone else None

        return hook

    hooks = [part.register_forward_pre_hook(note(path), with_kwargs=True) for path, part in _parts(network, "")]
    try:
        trace.run(network, example)
    finally:
        for each in hooks:
            each.remove()
    return seen


def _parts(network: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The submodules that are made of more than one; lists and dictionaries, which nothing calls, are looked through."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _parts(child, f"{prefix}{name}.")
        elif any(True for _ in child.children()) and not is_activation(child):
            yield f"{prefix}{name}", child


def _put(network: nn.Module, path: str, part: nn.Module) -> None:
    """Put a part at its path, in copies of the lists that it lies in: the network given keeps its own."""
    *lists, last = path.split(".")
    for name in lists:
        inner = copy.copy(network._modules[name])
        assert inner is not None
        inner._modules = dict(inner._modules)
        network._modules[name] = inner
        network = inner
    network._modules[last] = part


def _within(path: str, group: Group) -> Group:
    return replace(group, path=f"{path}.{group.path}", layers=tuple(f"{path}.{layer}" for layer in group.layers))


def _untraced(path: str, reason: str) -> Group:
    return Group(path, (), "part", reason, 0, 0, 0, 0)
