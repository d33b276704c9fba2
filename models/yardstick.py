"""A stack of equal small convolutions, about 100 microseconds on a desktop core: what `harness calibrate` measures with.

Every layer costs the same, so a network with 5 layers more in 100 does 5 % more work. `controls` gives the same network
with other weights (other bytes, equal work: A/A), and longer ones, named by what they add: `plus-5`, in percent. All are
measured against `reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

TASK = "tiny"
LAYERS = 100
CHANNELS = 8
SAME = 20  # networks of equal work
PLUS = (2, 3, 5, 5, 10)  # percent of the layers, rounded; repeated: more than one network of that effect


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 16, 16)) -> nn.Module:
    """Return the reference, with the weights of a state_dict file or freshly drawn ones."""
    network = stack(LAYERS, classes, shape)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return the reference, networks of equal work (`same-1` and on), and longer ones (`plus-2` and on; `plus-5-2`: the
    second that adds 5 %).
    """
    networks = {"reference": stack(LAYERS, classes, shape)}
    networks |= {f"same-{n}": stack(LAYERS, classes, shape) for n in range(1, SAME + 1)}
    for place, percent in enumerate(PLUS):
        again = PLUS[:place].count(percent)
        name = f"plus-{percent}" + (f"-{again + 1}" if again else "")
        networks[name] = stack(LAYERS + round(LAYERS * percent / 100), classes, shape)
    return networks


def stack(layers: int, classes: int, shape: Sequence[int]) -> nn.Module:
    """Return a stem to 4x4 maps, `layers` equal convolutions with their ReLU, and a classifier.

    Each convolution begins near the identity, so that activations neither vanish nor explode however many there are.
    """
    stem = [nn.Conv2d(shape[0], CHANNELS, 4, stride=shape[1] // 4), nn.ReLU()]
    body = [layer for _ in range(layers) for layer in (_near_identity(), nn.ReLU())]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, classes))


def _near_identity() -> nn.Conv2d:
    layer = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight)
        layer.weight += 0.01 * torch.randn_like(layer.weight)
    return layer
