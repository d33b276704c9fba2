"""Structured pruning of widths, by torch-pruning: channels go together with all that depends on them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import torch_pruning
from torch import Tensor, nn

from harness.compress import activations
from harness.compress.fronts import fronts
from harness.errors import UsageError


def prune(network: nn.Module, example: Tensor, width: float, multiple: int = 8) -> nn.Module:
    """Return a copy that keeps `width` of the channels of each group of layers, those of largest norm.

    Numbers of channels are rounded to multiples of `multiple`. The classifier, the last layer of all, keeps its outputs;
    in a transformer (it has LayerNorms) only layers in front of an activation lose any: the hidden units of its MLPs.
    Raises UsageError where nothing is left to cut, for `multiple` is too large.
    """
    pruned = copy.deepcopy(network).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that no layer holds: they stay as they are
        torch_pruning.pruner.BasePruner(
            pruned,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=1 - width,
            ignored_layers=list(_kept(pruned, example)),
            round_to=multiple,
        ).step()
    if sizes(pruned) == sizes(network):
        raise UsageError(
            f"method narrow: at width {width:g} no layer loses a channel, their numbers being multiples of {multiple}",
            "Round less: --recipe multiple=4.",
        )
    return pruned


def sizes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by its path."""
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def _kept(network: nn.Module, example: Tensor) -> Iterator[nn.Module]:
    """Layers that keep their outputs: the classifier, and in a transformer all but those in front of an activation."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    yield layers[-1]
    if any(isinstance(module, nn.LayerNorm) for module in network.modules()):
        hidden = {network.get_submodule(path) for path in fronts(network, example, activations(network)).values()}
        yield from (layer for layer in layers[:-1] if layer not in hidden)
