"""Activations as blends of the identity and themselves, with a learned slope each: the edit `slopes`."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

from torch import nn

from harness.compress.folding.blends import Blend
from harness.compress.folding.removal import activations
from harness.content import require_known

__all__ = ["Blend", "alphas", "blend"]


def blend(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a new network in which the activations at the paths `names` are Blends of slope 0: the same function still.

    A module that stands at several paths becomes one Blend at all of them. Raises UsageError for a path that is no
    activation of the network, or is a Blend already.
    """
    blended = copy.deepcopy(network)
    plain = [name for name in activations(blended) if not isinstance(blended.get_submodule(name), Blend)]
    made: dict[int, Blend] = {}
    for name in names:
        require_known("activation", name, plain)
        activation = blended.get_submodule(name)
        made[id(activation)] = Blend(activation)
    for path, module in list(blended.named_modules(remove_duplicate=False)):
        if id(module) in made:
            blended.set_submodule(path, made[id(module)])
    return blended


def alphas(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the slope of each Blend at the paths `names`."""
    found = {}
    for name in names:
        module = network.get_submodule(name)
        assert isinstance(module, Blend)
        found[name] = module.alpha
    return found
