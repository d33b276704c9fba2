"""What the published LayerFold library (Pilo et al., SoftwareX 2025) makes of a network, re-enacted from its behaviour.

It merges two convolutions into one whose kernel is the central 3x3 of the full 5x5, with the first one's stride and
padding. The second one's stride, dilation and groups are not asked for. The bias is the sum, over all positions, of the
second layer on a 3x3 map of the first one's bias, its own padding and bias included, plus its bias once more. It knows two
families by the names of their modules: ResNets whose blocks have a `relu1`, and Swin's MLPs, which it merges exactly.
"""

from __future__ import annotations

import copy
from typing import Any


def describe(name: str, network: Any, example: Any) -> str:
    """Say in a few words what becomes of the network, whose `relu1` are identities."""
    import torch

    from harness import flops
    from harness.compress.folding.proof import difference

    if name == "swin_t":
        return "exact: MLPs alone"
    if name == "resnet50":
        return "breaks: 2x2 weights in a 3x3 layer"
    if not name.startswith("resnet"):
        return "not known to it"
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
        for block in (module for module in folded.modules() if hasattr(module, "relu1")):
            _fold_block(block)
        error = difference(network, folded, example)
    return f"{flops.count(folded, example[:1]).macs / 1e6:.0f} MMACs, off by {100 * error:.0f} %"


def _fold_block(block: Any) -> None:
    """Put one 3x3 in place of a block's two convolutions and their norms."""
    from torch import nn
    from torch.nn.functional import conv2d, pad

    from harness.compress import merge_conv_bn

    one, two = merge_conv_bn(block.conv1, block.bn1), merge_conv_bn(block.conv2, block.bn2)
    reach = two.kernel_size[0] - 1
    kernel = conv2d(pad(one.weight.transpose(0, 1), (reach,) * 4), two.weight.flip(2, 3)).transpose(0, 1)
    merged = nn.Conv2d(one.in_channels, two.out_channels, 3, stride=one.stride, padding=one.padding)
    merged.weight.data = kernel[:, :, 1:4, 1:4].contiguous()
    constant = one.bias[None, :, None, None].expand(1, -1, *two.kernel_size)
    merged.bias.data = two(constant).sum((0, 2, 3)) + two.bias
    block.conv1, block.bn1, block.bn2, block.conv2 = nn.Identity(), nn.Identity(), nn.Identity(), merged
