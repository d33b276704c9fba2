"""Compression: from a torch network to a ladder of variants.

The names below are loaded on first use: importing a light module of this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.compress.folding.choice import asked_for
    from harness.compress.folding.fold import Folded, fold
    from harness.compress.folding.layers import merge_conv_bn, merge_conv_conv, merge_linear_linear
    from harness.compress.folding.padding import pad_first
    from harness.compress.folding.removal import activations, mergeable, remove

__all__ = [
    "Folded",
    "activations",
    "asked_for",
    "fold",
    "merge_conv_bn",
    "merge_conv_conv",
    "merge_linear_linear",
    "mergeable",
    "pad_first",
    "remove",
]

_HOMES = {
    "Folded": "fold",
    "activations": "removal",
    "asked_for": "choice",
    "fold": "fold",
    "merge_conv_bn": "layers",
    "merge_conv_conv": "layers",
    "merge_linear_linear": "layers",
    "mergeable": "removal",
    "pad_first": "padding",
    "remove": "removal",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.compress.folding.{_HOMES[name]}"), name)
