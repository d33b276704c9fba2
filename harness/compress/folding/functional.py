"""Layers that a network calls as functions of its own weights, as calls of modules: timm's BatchNormAct2d, Conv2dSame."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_ATEN = torch.ops.aten
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_LINEAR = ("input", "weight", "bias")
_CONVS: dict[Any, type[nn.Module]] = {
    functional.conv1d: nn.Conv1d,
    functional.conv2d: nn.Conv2d,
    functional.conv3d: nn.Conv3d,
    _ATEN.conv1d.default: nn.Conv1d,
    _ATEN.conv2d.default: nn.Conv2d,
    _ATEN.conv3d.default: nn.Conv3d,
}
_NAMES: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(_CONVS, _CONV),
    functional.linear: _LINEAR,
    _ATEN.linear.default: _LINEAR,
    functional.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    _ATEN.batch_norm.default: ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"),
}


def call_modules(graph: fx.GraphModule) -> None:
    """Put a module's call in place of every convolution, linear map and BatchNorm that is called as a function.

    Its place is where its weights lie; weights that are read twice, or made of others, stay functions.
    """
    reads = Counter(str(node.target) for node in graph.graph.nodes if node.op == "get_attr")
    for node in list(graph.graph.nodes):
        names = _NAMES.get(node.target) if node.op == "call_function" else None
        if names is None:
            continue
        given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        module = _module(graph, node, given, reads)
        if module is None:
            continue
        path = _place(graph, node, given)
        graph.add_submodule(path, module)
        with graph.graph.inserting_before(node):
            call = graph.graph.create_node("call_module", path, (given["input"],))
            call.meta = dict(node.meta)  # which modules it is inside of
        node.replace_all_uses_with(call)
        graph.graph.erase_node(node)
    for node in reversed(list(graph.graph.nodes)):
        if node.op == "get_attr" and not node.users:
            graph.graph.erase_node(node)


class _Norm(nn.BatchNorm2d):
    """A BatchNorm over whatever it is given, as the function is."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def _place(graph: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> str:
    """Where the weights lay, if nothing else lies there; else a place of its own."""
    path = str(given["weight"].target).rpartition(".")[0]
    used = {str(value.target).rpartition(".")[2] for value in given.values() if isinstance(value, fx.Node)}
    try:
        home = graph.get_submodule(path)
    except AttributeError:
        home = graph
    own = {name for name, _ in (*home.named_parameters(), *home.named_buffers())}
    if path and home is not graph and not list(home.children()) and own <= used:
        return path
    place = f"{node.name}_layer"
    while hasattr(graph, place):
        place += "_"
    return place


def _module(graph: fx.GraphModule, node: fx.Node, given: dict[str, Any], reads: Counter[str]) -> nn.Module | None:
    tensors: dict[str, Tensor | None] = {}
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = given.get(name)
        own = (
            isinstance(value, fx.Node)
            and value.op == "get_attr"
            and reads[str(value.target)] == 1
            and len(value.users) == 1
        )
        if value is not None and not own:
            return None
        tensors[name] = None if value is None else _tensor(graph, str(value.target))
    if tensors["weight"] is None or not all(
        _is_constant(given.get(name)) for name in given if name not in (*tensors, "input")
    ):
        return None
    return _norm(tensors, given) if "training" in given else _layer(node, tensors, given)


def _layer(node: fx.Node, tensors: dict[str, Tensor | None], given: dict[str, Any]) -> nn.Module:
    weight, bias = tensors["weight"], tensors["bias"]
    assert weight is not None
    groups, biased = given.get("groups", 1), bias is not None
    module: Any
    if node.target in _CONVS:
        words = {name: given[name] for name in ("stride", "padding", "dilation") if name in given}
        words = {name: value if isinstance(value, int | str) else tuple(value) for name, value in words.items()}
        module = _CONVS[node.target](
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            groups=groups,
            bias=biased,
            device="meta",
            **words,
        )
    else:
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=biased, device="meta")
    return _filled(module, tensors)


def _norm(tensors: dict[str, Tensor | None], given: dict[str, Any]) -> nn.Module | None:
    mean = tensors["running_mean"]
    if given["training"] or mean is None or tensors["running_var"] is None:
        return None
    norm = _Norm(mean.numel(), eps=given.get("eps", 1e-5), device="meta")
    norm.num_batches_tracked = None
    return _filled(norm, tensors)


def _filled(module: nn.Module, tensors: dict[str, Tensor | None]) -> nn.Module:
    for name, tensor in tensors.items():
        if name in module._parameters:
            module._parameters[name] = None if tensor is None else nn.Parameter(tensor.detach(), requires_grad=False)
        elif name in module._buffers:
            module._buffers[name] = tensor
    return module.eval()


def _is_constant(value: Any) -> bool:
    return not isinstance(value, fx.Node) and not (
        isinstance(value, list | tuple) and any(isinstance(one, fx.Node) for one in value)
    )


def _tensor(graph: fx.GraphModule, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    tensor: Tensor = getattr(graph.get_submodule(owner), name)
    return tensor
