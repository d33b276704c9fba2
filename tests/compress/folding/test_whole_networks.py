"""Networks that nobody prepared fold to something sensible: equal, shallower where activations went, and told."""

from __future__ import annotations

import pytest
import torch
from networks import trained
from torch import nn
from with_torchvision import torchvision

from harness import flops
from harness.compress import activations, asked_for, fold, mergeable, remove
from harness.compress.folding.proof import rounding

FROM_TORCHVISION = (
    *("convnext_tiny", "efficientnet_b0", "regnet_y_400mf", "densenet121", "shufflenet_v2_x1_0"),
    *("mobilenet_v3_small", "mnasnet0_5"),
)
FROM_TIMM = ("convnext_atto", "tf_efficientnet_b0", "regnetx_002", "fastvit_t8")  # layers called as functions


def network(name: str) -> nn.Module:
    """A network of torchvision's whose every weight matters, as after training."""
    torch.manual_seed(0)
    vision = torchvision()
    if name in FROM_TIMM:
        import timm

        return _weighty(trained(timm.create_model(name)))
    return _weighty(trained(vision.models.get_model(name, weights=None)))


def _weighty(made: nn.Module) -> nn.Module:
    for path, weight in made.named_parameters():  # scales of 1e-6 and heads of zeros would leave nothing to compare
        if float(weight.detach().abs().max()) < 1e-3 or "layer_scale" in path:
            nn.init.normal_(weight.data, std=0.1)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", FROM_TORCHVISION + FROM_TIMM)
def test_a_network_that_nobody_prepared_folds_exactly(name: str) -> None:
    given, images = network(name), torch.randn(4, 3, 64, 64)
    shallow = remove(given, mergeable(given, images))
    folded = fold(shallow, images, choose=asked_for)
    before, after = flops.count(given, images[:1]), flops.count(folded.network, images[:1])
    assert folded.max_error <= 1e-12
    assert folded.max_error_f32 <= max(1e-5, 10 * rounding(shallow, images))  # deep ones round as much by themselves
    assert float(shallow(images).detach().std()) > 1e-3, "the proof would be of nothing"
    assert after.depth < before.depth
    assert all(flip.margin < 2 * flip.error for flip in folded.flips)


@pytest.mark.slow
@pytest.mark.parametrize("name", FROM_TORCHVISION)
def test_with_nothing_removed_no_network_takes_more_macs_than_it_did(name: str) -> None:
    given, images = network(name), torch.randn(2, 3, 64, 64)
    folded = fold(given, images, choose=asked_for)
    assert flops.count(folded.network, images[:1]).macs <= flops.count(given, images[:1]).macs
    assert not any(type(module).__name__.startswith("BatchNorm") for module in _after_layers(folded.network))


def _after_layers(folded: nn.Module) -> list[nn.Module]:
    """The BatchNorms that a folded graph applies to the output of a layer that nothing else reads."""
    graph = folded.graph
    found = []
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(folded.get_submodule(node.target), nn.BatchNorm2d):
            before = node.args[0]
            layer = before.op == "call_module" and isinstance(folded.get_submodule(before.target), nn.Conv2d)
            if layer and len(before.users) == 1:
                found.append(folded.get_submodule(node.target))
    return found


@pytest.mark.slow
def test_a_vision_transformer_loses_a_matrix_in_every_mlp() -> None:
    given, images = network("vit_b_16"), torch.randn(2, 3, 224, 224)
    folded = fold(remove(given, activations(given)), images)
    assert sum(group.kind == "linear+linear" for group in folded.groups) == 12
    assert folded.max_error <= 1e-12
