"""Removing activations and moving padding give new networks that can be trained, saved and changed again."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import model, opened
from torch import nn

from harness.compress import activations, fold, mergeable, pad_first, remove
from harness.errors import UsageError

SHAPE = (3, 16, 16)
EXAMPLE = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
INNER = ("layer1.0.relu1", "layer1.1.relu1", "layer2.0.relu1")


@pytest.fixture
def tiny() -> nn.Module:
    return model("tiny", SHAPE)


def test_activations_are_listed_in_forward_order(tiny: nn.Module) -> None:
    blocks = [f"{block}.relu{index}" for block in ("layer1.0", "layer1.1", "layer2.0") for index in (1, 2)]
    assert activations(tiny) == ("relu", *blocks)


def test_only_activations_between_two_convolutions_unlock_a_merge(tiny: nn.Module) -> None:
    assert mergeable(tiny, EXAMPLE) == INNER
    assert mergeable(tiny, EXAMPLE, ["layer2.0.relu1", "relu", "layer1.0.relu2"]) == INNER[2:]
    assert mergeable(remove(tiny, INNER[:2]), EXAMPLE) == ("layer1.0.relu2", INNER[2])  # whole blocks can follow now


def test_mergeable_activations_of_resnet18_are_the_eight_inner_ones() -> None:
    names = mergeable(model("resnet18", (3, 32, 32)), torch.zeros(2, 3, 32, 32))
    assert names == tuple(f"layer{stage}.{block}.relu1" for stage in (1, 2, 3, 4) for block in (0, 1))


def test_removing_changes_a_copy_and_keeps_its_weights_and_mode(tiny: nn.Module) -> None:
    removed = remove(tiny, INNER[:1])
    assert isinstance(removed.get_submodule(INNER[0]), nn.Identity)
    assert isinstance(tiny.get_submodule(INNER[0]), nn.ReLU)
    assert removed.state_dict().keys() == tiny.state_dict().keys()
    assert not any(module.training for module in removed.modules())


def test_a_name_that_is_no_activation_is_refused_with_the_nearest() -> None:
    tiny = model("tiny", SHAPE)
    with pytest.raises(UsageError, match=r'did you mean "layer1\.0\.relu[12]"'):
        remove(tiny, ["layer1.0.rleu1"])
    with pytest.raises(UsageError, match="no activation"):
        mergeable(tiny, EXAMPLE, ["layer1.0.conv1"])
    with pytest.raises(UsageError, match="no removed activation"):
        pad_first(tiny, EXAMPLE, INNER[:1])


def test_padding_moves_to_the_first_convolution_and_its_norm_into_it(tiny: nn.Module) -> None:
    block = pad_first(remove(tiny, INNER), EXAMPLE).get_submodule("layer2.0")
    first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    assert (first.padding, second.padding) == ((3, 3), (0, 0))  # P = p1 + s1 * p2 = 1 + 2 * 1
    assert first.bias is not None and second.bias is None
    assert isinstance(block.get_submodule("bn1"), nn.Identity)
    assert isinstance(block.get_submodule("bn2"), nn.BatchNorm2d)


def test_moving_changes_values_near_the_border_alone(tiny: nn.Module) -> None:
    stage = remove(tiny, INNER[:1]).get_submodule("layer1.0")
    x = torch.randn(2, 8, 9, 9)
    moved = pad_first(stage, x, ["relu1"])
    assert moved(x).shape == stage(x).shape
    assert not torch.allclose(moved(x), stage(x), atol=1e-2)
    assert torch.allclose(moved(x)[..., 1:-1, 1:-1], stage(x)[..., 1:-1, 1:-1], atol=1e-5)


def test_only_the_named_groups_move(tiny: nn.Module) -> None:
    moved = pad_first(remove(tiny, INNER), EXAMPLE, INNER[1:2])
    paddings = {name: moved.get_submodule(name).padding for name in ("layer1.0.conv2", "layer1.1.conv2")}
    assert paddings == {"layer1.0.conv2": (1, 1), "layer1.1.conv2": (0, 0)}


def test_layers_that_were_never_kept_apart_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)).eval()
    assert torch.equal(pad_first(network, EXAMPLE)(EXAMPLE), network(EXAMPLE))


def test_an_activation_before_a_pooled_classifier_may_be_named_and_moves_nothing() -> None:
    """As the last one of MobileNetV2: its removal opens a group with pooling in it."""
    layers = (nn.Conv2d(32, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    network, small = nn.Sequential(*layers).eval(), torch.randn(2, 32, 4, 4)
    without = remove(network, mergeable(network, small))
    assert torch.equal(pad_first(without, small, ("1",))(small), without(small))


def test_in_a_longer_group_all_padding_travels_to_the_front() -> None:
    convs = [nn.Conv2d(3, 3, 3, stride=stride, padding=1) for stride in (2, 1, 1)]
    network = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.BatchNorm2d(3), nn.ReLU(), convs[2]).eval()
    moved = pad_first(remove(network, ["1", "4"]), EXAMPLE)
    assert [moved.get_submodule(name).padding for name in ("0", "2", "5")] == [(5, 5), (0, 0), (0, 0)]
    (group,) = fold(moved, EXAMPLE).groups
    assert (group.kind, group.reason) == ("conv+conv+conv", None)


def test_a_moved_network_trains_and_then_folds_exactly(tiny: nn.Module) -> None:
    moved = pad_first(opened(tiny, EXAMPLE), EXAMPLE).train()
    optimiser = torch.optim.SGD(moved.parameters(), lr=0.05)
    before = copy.deepcopy(moved.state_dict())
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(moved(EXAMPLE), torch.arange(4)).backward()
        optimiser.step()
    after = moved.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
    folded = fold(moved.eval(), EXAMPLE)
    assert folded.max_error <= 1e-12
    assert [group.reason for group in folded.groups] == [None, None, None]


def test_moving_goes_step_by_step_as_well_as_at_once(tiny: nn.Module) -> None:
    stepwise = tiny
    for name in reversed(INNER):
        stepwise = pad_first(remove(stepwise, [name]), EXAMPLE, [name])
    at_once = pad_first(remove(tiny, INNER), EXAMPLE)
    assert torch.equal(stepwise(EXAMPLE), at_once(EXAMPLE))
    assert torch.equal(pad_first(at_once, EXAMPLE)(EXAMPLE), at_once(EXAMPLE))
    assert stepwise.state_dict().keys() == at_once.state_dict().keys()


def test_statistics_and_mode_of_a_training_network_survive(tiny: nn.Module) -> None:
    removed = remove(tiny.train(), INNER)
    mean = removed.get_buffer("bn1.running_mean").clone()
    moved = pad_first(removed, EXAMPLE)
    assert all(module.training for module in moved.modules())
    assert torch.equal(moved.get_buffer("bn1.running_mean"), mean)
    assert torch.equal(removed.get_buffer("bn1.running_mean"), mean)
