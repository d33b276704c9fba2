"""Channels that are cut out of a network for good: from the layer that makes them to every layer that reads them.

A channel whose incoming weights are all zero is the same everywhere, whatever the input: act(shift of its BatchNorm). It
can go without a change of the outputs, if the layers that read it take over what it has given them:

    into their bias                 b' = b + sum_i c_i sum_taps W_i, where they are not padded
    onto a channel that stays       W'_j = W_j + sum_i (c_i / c_j) W_i, where they are padded and c_i is not 0

Zero padding ends such a constant at the border, which no bias says; another constant channel j that stays, its carrier,
ends there as they do. So this holds at every input size, and a convolution stays a convolution. `removable` leaves the
carrier out. What remains of the network depends on the channels that are named alone, never on weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness.compress import spans
from harness.compress.folding import nodes, trace
from harness.compress.folding.kinds import CONVS, NORMS, PADS, is_activation
from harness.compress.folding.layers import scale_and_shift
from harness.compress.folding.trace import Example
from harness.compress.spans import Span
from harness.errors import FoldError, UsageError

_VARIES = math.nan  # stands for a channel that is not the same everywhere


def cuttable(network: nn.Module, example: Example, name: str) -> bool:
    """Whether channels of the activation at path `name` can be cut: no shortcut, reshape or unknown operator ties them."""
    return spans.find(network, example, name) is not None


def constants(network: nn.Module, example: Example, name: str) -> Tensor:
    """Return what each channel of the activation at `name` is, whatever the input: float64 [C], NaN where it varies.

    A channel is known to be constant where the weights in front of it are all zero. [0] where channels are tied.
    """
    span = spans.find(network, example, name)
    return torch.empty(0, dtype=torch.float64) if span is None else _values(span)[span.at]


def removable(network: nn.Module, example: Example, name: str) -> tuple[int, ...]:
    """Return the constant channels that `cut` takes out of the activation at `name` exactly, in order.

    One that others need as carrier is left out, and one is left where otherwise no channel would stay: the layer's output
    is a constant then, which one channel gives as well as all.
    """
    span = spans.find(network, example, name)
    if span is None:
        return ()
    values = _values(span)
    free = torch.ones(span.channels, dtype=torch.bool)
    for reader in span.readers:
        free &= ~values[trace.source(reader)].isnan()
    for reader in filter(_is_padded, span.readers):
        sizes = values[trace.source(reader)].abs().nan_to_num(0.0)
        if (free & (sizes > 0)).any() and not (~free & (sizes > 0)).any():
            free[int((sizes * free).argmax())] = False
    found = free.nonzero().flatten().tolist()
    return tuple(found if len(found) < span.channels else found[1:])


def cut(network: nn.Module, example: Example, name: str, channels: Collection[int]) -> nn.Module:
    """Return a new network without these channels of the activation at `name`; `example` is any input it takes.

    Exact for channels whose incoming weights are all zero; others go with whatever they gave. A reader that is not padded
    has a bias afterwards. Raises UsageError for channels that are not there, for all of them, or where channels are tied;
    FoldError where a constant cannot be moved exactly: `removable` names those that can go.
    """
    span = spans.find(network, example, name)
    if span is None:
        raise UsageError(
            f"the channels of {name} cannot be cut: they are added to others, mixed or reshaped on their way",
            "Ask `cuttable` first.",
        )
    kept = _kept(span, channels, name)
    values = _values(span)
    changed = copy.deepcopy(network)
    for reader in span.readers:
        layer = changed.get_submodule(str(reader.target))
        seen = values[trace.source(reader)]
        (_carry if _is_padded(reader) else _absorb)(layer, seen, kept, name)
        _narrow_reader(layer, kept, span.blocks[reader])
    for node in (span.producer, *span.inner):
        if node.op == "call_module":
            _narrow(changed.get_submodule(str(node.target)), kept)
    return changed


def _kept(span: Span, channels: Collection[int], name: str) -> Tensor:
    """Return the channels that stay, in order."""
    count = span.channels
    strange = sorted(channel for channel in channels if not 0 <= channel < count)
    if strange:
        raise UsageError(f"{name} has channels 0 to {count - 1}, and no channel {strange[0]}")
    kept = [channel for channel in range(count) if channel not in set(channels)]
    if not kept:
        raise UsageError(
            f"cutting all {count} channels of {name} would leave no layer there", "Keep one: its output is a constant."
        )
    return torch.tensor(kept)


# --- what constant channels are, node by node ------------------------------------------------------------------------


def _values(span: Span) -> dict[fx.Node, Tensor]:
    """What each channel is at each node of a span, float64 [C], NaN where it varies with input or position."""
    values = {span.producer: _of_layer(trace.module_of(span.producer))}
    with torch.no_grad():
        for node in span.inner:
            values[node] = _passed(node, values[trace.source(node)])
    return values


def _of_layer(layer: Any) -> Tensor:
    """The biases of those outputs that have no weights."""
    bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
    empty = (layer.weight.detach() == 0).flatten(1).all(dim=1)
    return torch.where(empty, bias.double(), _VARIES)


def _passed(node: fx.Node, seen: Tensor) -> Tensor:
    """What a node makes of constant channels."""
    module = trace.module_of(node)
    if isinstance(module, NORMS):
        scale, shift = scale_and_shift(module)
        return torch.where(scale == 0, shift, seen * scale + shift)
    if isinstance(module, CONVS):
        return _through_depthwise(node, module, seen)
    if is_activation(module):
        assert module is not None
        made: Tensor = copy.deepcopy(module).double()(seen.clone()[None])[0]  # it may work in place
        return torch.where(seen.isnan(), _VARIES, made)
    if isinstance(module, PADS) or nodes.is_pad(node):
        value = getattr(module, "value", 0.0)
        return torch.where(seen == value, seen, _VARIES)
    return torch.where(seen == 0, seen, _VARIES) if _averages_zeros(node) else seen


def _through_depthwise(node: fx.Node, conv: Any, seen: Tensor) -> Tensor:
    weight = conv.weight.detach().double().flatten(1)
    bias = torch.zeros_like(seen) if conv.bias is None else conv.bias.detach().double()
    passed = seen * weight.sum(dim=1) + bias
    if _is_padded(node):  # at the border some taps see zeros
        passed = torch.where(seen == 0, bias, _VARIES)
    return torch.where((weight == 0).all(dim=1), bias, passed)


def _averages_zeros(node: fx.Node) -> bool:
    """Whether a node takes averages over zeros that it puts around the image, or divides by something else."""
    module: Any = trace.module_of(node)
    around = getattr(module, "count_include_pad", False) and any(_numbers(module.padding))
    return nodes.is_pool(node) and bool(around or getattr(module, "divisor_override", None))


def _is_padded(node: fx.Node) -> bool:
    """Whether a layer puts zeros around what it reads, or something else that a constant may differ from."""
    module: Any = trace.module_of(node)
    if not isinstance(module, CONVS):
        return False
    if isinstance(module.padding, str):
        return module.padding == "same" and any(size > 1 for size in module.kernel_size)
    return any(module.padding)


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


# --- what modules become ---------------------------------------------------------------------------------------------


def _absorb(reader: Any, seen: Tensor, kept: Tensor, _: str) -> None:
    """Put what the channels that go have given into the bias of a reader that is not padded."""
    gone = torch.where(seen.isnan(), 0.0, seen)
    gone[kept] = 0.0
    weight = reader.weight.detach().double()
    given = weight.reshape(len(weight), len(seen), -1).sum(dim=2) @ gone
    before = torch.zeros_like(given) if reader.bias is None else reader.bias.detach().double()
    _set(reader, "bias", (before + given).to(reader.weight.dtype))


def _carry(reader: Any, seen: Tensor, kept: Tensor, name: str) -> None:
    """Put what the channels that go have given onto the weights of a constant channel that stays."""
    gone = torch.where(seen.isnan(), 0.0, seen)
    gone[kept] = 0.0
    if not gone.any():
        return
    carriers = torch.where(seen[kept].isnan(), 0.0, seen[kept])
    carrier = kept[int(carriers.abs().argmax())]
    if not carriers.any():
        raise FoldError(
            f"channels of {name} are constant, not 0, and read through zero padding: nothing that stays can stand for them",
            "Cut only those that `removable` names.",
        )
    weight = reader.weight.detach().double().clone()
    weight[:, carrier] += torch.einsum("oi...,i->o...", weight, gone / seen[carrier])
    _set(reader, "weight", weight.to(reader.weight.dtype))


def _narrow_reader(reader: Any, kept: Tensor, block: int) -> None:
    """Take the inputs out of a layer that belong to channels that go; a flattened image has `block` for each."""
    index = (kept[:, None] * block + torch.arange(block)).flatten() if block > 1 else kept
    _set(reader, "weight", reader.weight.detach()[:, index])
    if isinstance(reader, nn.Linear):
        reader.in_features = len(index)
    else:
        reader.in_channels = len(index)


def _narrow(module: Any, kept: Tensor) -> None:
    """Take the channels that go out of whatever a module holds for each."""
    if isinstance(module, nn.Linear):
        module.out_features = len(kept)
    elif isinstance(module, CONVS):
        if spans.is_depthwise(module):
            module.in_channels = module.groups = len(kept)
        module.out_channels = len(kept)
    elif isinstance(module, NORMS):
        module.num_features = len(kept)
    elif isinstance(module, nn.PReLU) and module.num_parameters > 1:
        module.num_parameters = len(kept)
    else:
        return
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(module, name, None)
        if tensor is not None:
            _set(module, name, tensor.detach()[kept])


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Give a module another tensor, a parameter that is trained if its weight is, or a buffer."""
    if name in module._buffers:
        module._buffers[name] = tensor.clone()
        return
    trained = next(module.parameters()).requires_grad
    module.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=trained))
