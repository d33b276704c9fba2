"""Models are the papers': names, sizes and costs that can be checked against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import content, flops


@pytest.fixture
def resnet18() -> nn.Module:
    return content.load("model", "resnet18").build()


def _norm(path: str) -> Iterator[str]:
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{path}.{name}"


def _torchvision_names(stages: int, blocks: int) -> Iterator[str]:
    """The names of torchvision's ResNets of basic blocks, in its order."""
    yield "conv1.weight"
    yield from _norm("bn1")
    for stage in range(1, stages + 1):
        for block in range(blocks):
            for index in (1, 2):
                yield f"layer{stage}.{block}.conv{index}.weight"
                yield from _norm(f"layer{stage}.{block}.bn{index}")
            if stage > 1 and block == 0:
                yield f"layer{stage}.0.downsample.0.weight"
                yield from _norm(f"layer{stage}.0.downsample.1")
    yield "fc.weight"
    yield "fc.bias"


def test_resnet18_has_torchvisions_names_in_its_order(resnet18: nn.Module) -> None:
    assert list(resnet18.state_dict()) == list(_torchvision_names(stages=4, blocks=2))


def test_resnet18_costs_what_the_papers_print(resnet18: nn.Module) -> None:
    cost = flops.count(resnet18, torch.zeros(1, 3, 32, 32))
    assert (cost.macs, cost.depth, cost.parameters) == (140_186_624, 18, 11_173_962)


def test_the_untrained_controls_are_shallower_or_narrower() -> None:
    controls = content.load("model", "resnet18").controls(10, (3, 32, 32))
    costs = {name: flops.count(network, torch.zeros(1, 3, 32, 32)) for name, network in controls.items()}
    assert {name: cost.depth for name, cost in costs.items()} == {
        "resnet10": 10,
        "resnet18-w0.75": 18,
        "resnet18-w0.5": 18,
    }
    assert costs["resnet10"].macs == 64_689_152
    widths = [module.out_channels for module in controls["resnet18-w0.75"].modules() if isinstance(module, nn.Conv2d)]
    assert sorted(set(widths)) == [48, 96, 192, 384]


@pytest.mark.parametrize("name", ["resnet18", "tiny"])
def test_weights_come_back_from_a_file_and_classes_and_shape_are_free(name: str, tmp_path: Path) -> None:
    build = content.load("model", name).build
    torch.manual_seed(0)
    network = build(classes=4, shape=(1, 24, 16))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = build(weights=str(tmp_path / "weights.pt"), classes=4, shape=(1, 24, 16))
    x = torch.randn(2, 1, 24, 16)
    assert torch.equal(network.eval()(x), again.eval()(x))
    assert network(x).shape == (2, 4)


def test_the_same_seed_gives_the_same_network() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(7)
        networks.append(content.load("model", "tiny").build())
    assert all(torch.equal(*pair) for pair in zip(*(net.state_dict().values() for net in networks), strict=True))


def test_tiny_has_three_blocks_one_of_them_with_a_projection() -> None:
    tiny = content.load("model", "tiny").build()
    assert [name for name, _ in tiny.named_modules() if name.endswith("relu1")] == [
        "layer1.0.relu1",
        "layer1.1.relu1",
        "layer2.0.relu1",
    ]
    assert [name for name, _ in tiny.named_children()][-2:] == ["avgpool", "fc"]
