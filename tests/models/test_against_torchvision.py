"""The papers' models are torchvision's: the same names, and with the same weights the same outputs and costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from with_torchvision import torchvision

from harness import content, flops

GMACS = {  # attention included
    "swin_t": 4.491,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "vgg16_bn": 15.47,
    "mobilenet_v2": 0.3008,
}


def theirs(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision().models.get_model(name, weights=None, num_classes=10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: no statistic is the identity's
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("resnet18", 64), ("resnet34", 64), ("resnet50", 72), ("vgg16_bn", 64), ("mobilenet_v2", 80)),
        *(("swin_t", 64), ("swin_t", 60)),  # whole windows after padding; odd maps
        *(("swin_t", 32),),  # a single window everywhere: nothing is shifted
    ],
)
def test_with_torchvisions_weights_outputs_are_torchvisions(name: str, size: int, tmp_path: Path) -> None:
    expected = theirs(name)
    torch.save(expected.state_dict(), tmp_path / "weights.pt")
    ours = content.load("model", name).build(str(tmp_path / "weights.pt"), 10, (3, size, size)).eval()
    assert list(ours.state_dict()) == list(expected.state_dict())
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected(x), rtol=1e-4, atol=1e-5)


def test_costs_without_numbers_are_those_with_them() -> None:
    build, x = content.load("model", "swin_t").build, torch.zeros(1, 3, 32, 32)
    with torch.device("meta"):
        empty = build().eval()
    assert flops.count(empty, x.to("meta")) == flops.count(build().eval(), x)


@pytest.mark.parametrize("name", GMACS)
def test_an_imagenet_inference_costs_what_is_known(name: str) -> None:
    with torch.device("meta"):
        network = content.load("model", name).build(None, 1000, (3, 224, 224)).eval()
    cost = flops.count(network, torch.zeros(1, 3, 224, 224, device="meta"))
    assert cost.macs / 1e9 == pytest.approx(GMACS[name], abs=6e-4 if GMACS[name] < 10 else 0.01)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "vgg16_bn", "mobilenet_v2", "swin_t"])
def test_the_untrained_controls_are_cheaper_and_take_the_same_images(name: str) -> None:
    model = content.load("model", name)
    x = torch.zeros(1, 3, 32, 32)
    whole = flops.count(model.build().eval(), x).macs
    for control, network in model.controls(10, (3, 32, 32)).items():
        assert flops.count(network.eval(), x).macs < whole, control


@pytest.mark.parametrize(
    ("name", "activation", "number"),
    [("resnet18", nn.ReLU, 17), ("swin_t", nn.GELU, 12), ("mobilenet_v2", nn.ReLU6, 35), ("vgg16_bn", nn.ReLU, 13)],
)
def test_activations_are_counted_as_the_papers_do(name: str, activation: type[nn.Module], number: int) -> None:
    network = content.load("model", name).build()
    assert sum(isinstance(module, activation) for module in network.modules()) == number


def test_vggs_papers_head_is_an_option_for_small_images() -> None:
    network = content.load("model", "vgg16_bn").build(hidden=32).eval()
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == 15
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
