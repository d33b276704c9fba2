"""torchvision, where its operators do not load beside a CPU build of torch: they are declared, and never called."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch

_KEPT: list[Any] = []  # a library that is collected takes its operators along


def torchvision() -> ModuleType:
    """Import torchvision and return it."""
    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision
    return torchvision
