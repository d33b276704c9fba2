"""Networks as people write them: shapes asked for, keywords, branches on data; shortcuts of every kind."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import affine_map, relative, trained
from torch import Tensor, nn

from harness.compress import activations, fold, mergeable, pad_first, remove
from harness.errors import FoldError

X = torch.randn(4, 3, 10, 9, generator=torch.Generator().manual_seed(0))


class AsksForShapes(nn.Module):
    """Control flow on a shape: torch.fx cannot trace it, torch.export can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.last, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2 == 0:
            x = x[..., :-1]
        x = self.last(self.act(self.norm(self.stem(x))))
        x = torch.relu(x)
        return self.head(x.mean(dim=(2, 3)).view(x.size(0), -1))


class AsksForData(nn.Module):
    """Control flow on values: nothing can trace it, but its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block() for _ in range(2))
        self.twice = _block()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            if x.sum() > 1e9:
                x = -x
        return self.twice(self.twice(x))


def _block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 3, padding=1), nn.ReLU())


def test_control_flow_on_shapes_is_traced_by_export_and_folds_by_the_modules_names() -> None:
    network = trained(AsksForShapes())
    assert mergeable(network, X) == ("act",)
    shallow = pad_first(remove(network, ["act"]), X)
    folded = fold(shallow, X)
    assert [group.layers for group in folded.groups] == [("stem", "last")]
    assert folded.network(X[:1]).shape == (1, 2), "the batch is free"
    assert relative(folded.network(X), shallow(X)) < 1e-5


def test_control_flow_on_data_is_told_and_the_parts_are_folded() -> None:
    network = trained(AsksForData())
    folded = fold(network, X)
    reasons = {group.path: group.reason for group in folded.groups}
    assert "AsksForData cannot be traced" in (reasons["AsksForData"] or "")
    assert "folded part by part" in (reasons["AsksForData"] or "")
    assert [group.layers for group in folded.groups if group.form] == [
        (f"blocks.{block}.0", f"blocks.{block}.2") for block in (0, 1)
    ]
    assert "called more than once" in (reasons["twice"] or "")
    assert torch.allclose(folded.network(X), network(X), atol=1e-5)


def test_folding_parts_leaves_the_network_given_as_it_was() -> None:
    network = trained(AsksForData())
    before = {name: type(module) for name, module in network.named_modules()}
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold(network, X)
    assert {name: type(module) for name, module in network.named_modules()} == before
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())


def test_activations_of_what_cannot_be_traced_are_those_registered() -> None:
    assert activations(AsksForData()) == ("blocks.0.3", "blocks.1.3", "twice.3")


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(input=self.one(input=x))


def test_layers_called_by_keyword_merge_too() -> None:
    assert [group.kind for group in fold(Keywords().eval(), X).groups] == ["conv+conv"]


# --- shortcuts ---------------------------------------------------------------------------------------------------------


class Add(nn.Module):
    """Two branches over one input, added; an empty branch is a shortcut."""

    def __init__(self, left: nn.Module, right: nn.Module | None) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + (x if self.right is None else self.right(x))


def random_network(seed: int, padded: bool) -> nn.Module:
    """Blocks in a chain, each a convolution or a sum around more of them; every size stays unless it is a strided sum."""
    chance = random.Random(seed)
    torch.manual_seed(seed)
    return trained(nn.Sequential(*_blocks(chance, 3, depth=2, padded=padded))).double()


def _blocks(chance: random.Random, channels: int, depth: int, padded: bool) -> list[nn.Module]:
    made: list[nn.Module] = []
    for _ in range(chance.randint(1, 3)):
        if depth and chance.random() < 0.5:
            branch = nn.Sequential(*_blocks(chance, channels, depth - 1, padded))
            made.append(Add(branch, _shortcut(chance, channels)))
        else:
            made.append(_convolution(chance, channels, padded))
        made.append(nn.Identity())
        if chance.random() < 0.3:
            made.append(nn.BatchNorm2d(channels))
    return made


def _convolution(chance: random.Random, channels: int, padded: bool) -> nn.Module:
    taps = chance.choice((1, 1, 3)) if padded else 1
    groups = chance.choice((1, channels))
    return nn.Conv2d(channels, channels, taps, padding=taps // 2, groups=groups, bias=chance.random() < 0.6)


def _shortcut(chance: random.Random, channels: int) -> nn.Module | None:
    return chance.choice((None, nn.Conv2d(channels, channels, 1, bias=chance.random() < 0.5)))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([None, ("ring",), ("border",)]))
def test_random_graphs_with_shortcuts_fold_to_the_same_affine_map(seed: int, padded: bool, forms: Any) -> None:
    network = random_network(seed, padded)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    found, expected = (affine_map(each, (3, 5, 6)) for each in (fold(network, x, forms=forms).network, network))
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-11 * max(1.0, float(two.abs().max())))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_with_the_padding_moved_random_graphs_keep_sizes_and_insides_and_become_one_layer(seed: int) -> None:
    network = random_network(seed, padded=True)
    x = torch.randn(2, 3, 40, 41, dtype=torch.float64)
    moved = pad_first(network, x)
    assert moved(x).shape == network(x).shape
    reach = sum(module.kernel_size[0] // 2 for module in network.modules() if isinstance(module, nn.Conv2d))
    inside = (..., slice(reach, -reach or None), slice(reach, -reach or None))
    assert torch.allclose(moved(x)[inside], network(x)[inside], rtol=0, atol=1e-9)
    folded = fold(moved, x)
    assert not any(group.reason for group in folded.groups)
    assert sum(isinstance(module, nn.Conv2d) for module in folded.network.modules()) == 1


class Stage(nn.Module):
    """Two residual blocks, the first strided with a projection, every activation removed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.down, self.bn3 = nn.Conv2d(3, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6)
        self.conv3, self.bn4 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv4, self.bn5 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relus[0](self.bn1(self.conv1(x)))))
        y = self.relus[1](y + self.bn3(self.down(x)))
        return self.bn5(self.conv4(self.relus[2](self.bn4(self.conv3(y))))) + y


def test_a_stage_with_shortcuts_pads_once_trains_and_becomes_one_strided_convolution() -> None:
    x = torch.randn(4, 3, 33, 32)
    network = remove(trained(Stage()), ["relus.0", "relus.1", "relus.2"])
    moved = pad_first(network, x).train()
    assert moved(x).shape == network(x).shape
    assert isinstance(moved.get_submodule("bn5"), nn.BatchNorm2d), "the last norm sees no padding and stays"
    moved(x).square().mean().backward()
    assert all(weight.grad is not None for weight in moved.parameters())
    folded = fold(moved.eval(), x)
    (conv,) = (module for module in folded.network.modules() if isinstance(module, nn.Conv2d))
    assert (conv.kernel_size, conv.stride, conv.padding) == ((15, 15), (2, 2), (7, 7))


def test_moving_the_padding_of_a_stage_twice_changes_nothing_more() -> None:
    x = torch.randn(2, 3, 17, 16)
    once = pad_first(remove(trained(Stage()), ["relus.0", "relus.1", "relus.2"]), x)
    again = pad_first(once, x)
    assert torch.equal(once(x), again(x))
    assert {name for name, _ in again.named_modules()} == {name for name, _ in once.named_modules()}


def test_an_add_whose_other_branch_is_not_linear_is_a_barrier() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), Add(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())))
    folded = fold(network.eval(), X)
    assert [group.form for group in folded.groups if group.form] == []
    assert all("is also read by" in (group.reason or "") for group in folded.groups)


# --- bad input -----------------------------------------------------------------------------------------------------------


def test_lazy_layers_are_refused_with_the_next_move() -> None:
    with pytest.raises(FoldError, match=r"0\.weight is lazy: it has no numbers yet") as caught:
        fold(nn.Sequential(nn.LazyConv2d(4, 3)).eval(), X)
    assert "Run the network once" in (caught.value.hint)


@pytest.mark.parametrize("example", [[X], torch.tensor(1.0), "image"])
def test_an_example_that_is_no_batch_is_refused(example: Any) -> None:
    with pytest.raises(FoldError, match="must be a tensor with a batch dimension"):
        fold(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), example)


def test_mixed_padding_modes_are_refused_layer_by_layer() -> None:
    convs = [nn.Conv2d(3, 3, 3, padding=1, padding_mode=mode) for mode in ("zeros", "reflect", "replicate")]
    groups = fold(nn.Sequential(*convs).eval(), X).groups
    assert [(group.path, group.reason) for group in groups] == [
        ("1", "padding mode reflect does not move through a convolution"),
        ("2", "padding mode replicate does not move through a convolution"),
    ]
