"""What trips folders up: sizes that decide, tensors changed in place, optional arguments, padding layers, shared names."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import Residual, relative, trained
from torch import Tensor, nn
from torch.nn import functional

from harness.compress import activations, fold, mergeable, pad_first, remove
from harness.errors import FoldError, UsageError

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def conv(into: int = 3, out: int = 3, taps: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(into, out, taps, **more)


class By(nn.Module):
    """Two convolutions, of which a rule picks one by what it sees of the input."""

    def __init__(self, rule: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.rule, self.one, self.two, self.last = rule, conv(), conv(), conv(taps=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.one(x) if self.rule(x) else self.two(x))


def test_a_graph_whose_control_flow_asked_for_sizes_takes_that_size_alone() -> None:
    folded = fold(By(lambda x: x.shape[2] > 16).eval(), X)
    assert folded.fixed_size
    assert folded.network(X[:3]).shape == (3, 3, 6, 6)
    with pytest.raises(FoldError, match="folded for inputs of 3x8x8"):
        folded.network(torch.zeros(2, 3, 32, 32))


def test_a_network_that_asks_for_the_batch_is_folded_part_by_part_and_stays_right() -> None:
    network = By(lambda x: x.shape[0] > 4).eval()
    folded = fold(network, X)
    larger = torch.randn(6, 3, 8, 8)
    assert torch.allclose(folded.network(larger), network(larger), atol=1e-5)


def test_an_example_of_one_is_enough_for_a_network_that_only_export_can_trace() -> None:
    (group,) = fold(By(lambda x: x.shape[2] > 16).eval(), X[:1]).groups
    assert group.layers == ("two", "last")


def test_a_layer_over_a_flattened_image_keeps_its_one_size() -> None:
    folded = fold(nn.Sequential(conv(taps=1), nn.Flatten(), nn.Linear(192, 5)).eval(), X)
    assert folded.fixed_size
    with pytest.raises(FoldError, match="not 3x10x10"):
        folded.network(torch.zeros(1, 3, 10, 10))


class InPlace(nn.Module):
    """Reads what an operator changes in place, before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.relu = conv(), conv(), conv(taps=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        before = self.three(self.one(x))
        y = self.relu(x)
        return before + self.two(x) * 2 + self.three(self.two(y)) if False else before + self.two(y) * 2


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.LeakyReLU(0.1, inplace=True)], ids=["relu", "leaky"])
def test_operators_in_place_leave_the_callers_example_and_the_proof_alone(first: nn.Module) -> None:
    example = X.clone()
    network = nn.Sequential(first, conv(), nn.Identity(), conv()).eval()
    folded = fold(network, example)
    assert torch.equal(example, X)
    pad_first(network, example)
    assert torch.equal(example, X)
    assert [group.kind for group in folded.groups] == ["conv+conv"]


def test_what_is_read_before_a_change_in_place_is_merged_before_it() -> None:
    folded = fold(InPlace().eval(), X)
    assert ("one", "three") in {group.layers for group in folded.groups if group.form}


PADDED: dict[str, Callable[[], nn.Module]] = {
    "pad then relu": lambda: nn.Sequential(conv(), nn.ZeroPad2d(1), nn.ReLU()),
    "pad then conv": lambda: nn.Sequential(conv(), nn.ZeroPad2d(1), conv()),
    "crop then conv": lambda: nn.Sequential(nn.ZeroPad2d((-1, 0, -1, 0)), conv(taps=1, stride=2, padding=(0, 1))),
    "uneven pads": lambda: nn.Sequential(nn.ZeroPad2d(1), conv(), nn.Identity(), nn.ZeroPad2d((1, 2, 0, 1)), conv()),
    "pad and norm": lambda: nn.Sequential(
        nn.ZeroPad2d(1), conv(), nn.BatchNorm2d(3), nn.Identity(), nn.ZeroPad2d(2), conv()
    ),
    "same": lambda: nn.Sequential(conv(taps=5, padding="same"), nn.Identity(), conv(padding="same", dilation=2)),
    "norms on vectors": lambda: nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(192), nn.BatchNorm1d(192), nn.Linear(192, 3)
    ),
    "le net": lambda: nn.Sequential(conv(), nn.Flatten(), nn.Linear(108, 8), nn.Identity(), nn.Linear(8, 3)),
    "pooled head": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Identity(), nn.Linear(8, 3)
    ),
    "flat and padded": lambda: nn.Sequential(
        conv(padding=(0, 1), dilation=2, bias=False), nn.ZeroPad2d((0, 2, 1, 1)), nn.Flatten(), nn.Linear(3 * 6 * 8, 9)
    ),
}


@pytest.mark.parametrize("make", PADDED.values(), ids=PADDED.keys())
def test_padding_layers_and_heads_fold_in_every_policy_and_after_moving(make: Callable[[], nn.Module]) -> None:
    network = trained(make())
    for forms in (None, ("ring",), ("border",)):
        assert fold(network, X, forms=forms).max_error <= 1e-12
    fold(network, X, policy="approximate", forms=("crop",))
    fold(network, X, choose=lambda group: False)
    moved = pad_first(network, X)
    assert moved(X).shape == network(X).shape
    assert fold(moved, X).max_error <= 1e-12
    assert torch.equal(pad_first(moved, X)(X), moved(X))


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(), conv()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.one(x)
        if mask is not None:
            y = y * mask
        return self.two(y)


def test_arguments_that_the_example_leaves_out_keep_their_defaults() -> None:
    folded = fold(Optional().eval(), X)
    assert [group.kind for group in folded.groups] == ["conv+conv"]
    assert folded.network(X).shape == (4, 3, 4, 4)
    assert mergeable(nn.Sequential(Optional(), nn.ReLU(), conv()).eval(), X) == ("1",)


class Functional(nn.Module):
    """Two matrices and a norm of one module, called as functions, beside a child whose name they might take."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.randn(4, 4)) for _ in range(2))
        self.linear, self.norm = nn.Linear(4, 4), _Norm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(functional.linear(functional.linear(x, self.first), self.second)))


class _Norm(nn.BatchNorm1d):
    pass


def test_functions_of_own_weights_take_no_other_modules_place() -> None:
    folded = fold(trained(Functional()), torch.randn(5, 4))
    assert [len(group.layers) for group in folded.groups] == [3]
    assert folded.max_error <= 1e-12


def test_a_shared_activation_goes_from_every_place() -> None:
    relu = nn.ReLU()
    network = nn.Sequential(conv(), relu, conv(), relu).eval()
    removed = remove(network, activations(network))
    assert not any(isinstance(module, nn.ReLU) for module in removed.modules())


def test_a_shortcut_without_more_layers_and_a_padding_go_into_their_convolution() -> None:
    (shortcut,) = fold(Residual(conv(padding=1)).eval(), X).groups
    (padding,) = fold(nn.Sequential(nn.ZeroPad2d(1), conv()).eval(), X).groups
    assert (shortcut.kind, padding.kind) == ("conv|identity", "pad+conv")
    assert shortcut.macs_before == shortcut.macs_after


def test_a_causal_mask_and_inputs_that_noise_is_none_of_are_no_obstacle() -> None:
    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.register_buffer("mask", torch.full((4,), -torch.inf))

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.two(self.one(torch.log(x))) * scale + torch.exp(self.mask)

    (group,) = fold(Logarithm().eval(), (torch.rand(5, 4) + 0.1, torch.ones(4))).groups
    assert group.kind == "linear+linear"


@pytest.mark.parametrize("spoil", ["half", "empty"])
def test_what_nothing_could_be_proved_about_is_refused(spoil: str) -> None:
    network, example = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    if spoil == "half":
        network[0].half()
    else:
        example = example[:0]
    says = {"half": "weights are of torch.float16 and torch.float32", "empty": "no entries"}[spoil]
    with pytest.raises(FoldError, match=says):
        fold(network, example)


def test_a_single_form_may_be_said_as_a_word() -> None:
    network = nn.Sequential(conv(padding=1), conv(padding=1)).eval()
    assert [group.form for group in fold(network, X, forms="ring").groups] == ["ring"]
    with pytest.raises(UsageError, match="rnig"):
        fold(network, X, forms="rnig")


class Stochastic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(1) if self.training else x


def two_blocks(*more: nn.Module) -> nn.Module:
    def block() -> nn.Module:
        return Residual(nn.Sequential(conv(padding=1), nn.Identity(), conv(padding=1)))

    return nn.Sequential(block(), nn.Identity(), block(), *more)


def test_a_graph_with_moved_shortcuts_is_never_frozen_in_one_mode() -> None:
    with pytest.raises(FoldError, match="does something else in training"):
        pad_first(two_blocks(Stochastic()).eval(), X)
    moved = pad_first(two_blocks(nn.Dropout()).train(), X)
    assert moved.training and not torch.equal(moved(X), moved(X))
    assert torch.equal(moved.eval()(X), moved(X))


def test_frozen_layers_stay_frozen_when_their_padding_moves() -> None:
    network = two_blocks().eval()
    network.requires_grad_(False)
    assert not any(weight.requires_grad for weight in pad_first(network, X).parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, of how it packs an exported graph
@pytest.mark.parametrize("network", [two_blocks(), By(lambda x: x.shape[2] > 16)], ids=["fx", "export"])
def test_a_folded_network_can_be_copied_and_pickled(network: nn.Module) -> None:
    folded = fold(network.eval(), X).network
    for again in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert relative(again(X), folded(X)) == 0


def test_few_inputs_and_many_outputs_make_a_matrix_without_a_large_basis() -> None:
    network = nn.Sequential(conv(4, 64, padding=1), conv(64, 256, padding=1)).eval()
    (group,) = fold(network, torch.randn(2, 4, 2, 2)).groups
    assert (group.form, group.macs_after) == ("dense", 16 * 1024)


class Reaches(nn.Module):
    """Control flow on data, and a look into a part."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(conv(), conv())
        self.block.width = 2.0  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1e9:
            return x
        return self.block(x) * self.block.width


def test_a_part_that_is_looked_into_is_left_and_told() -> None:
    network = Reaches().eval()
    folded = fold(network, X)
    assert {group.path: group.reason for group in folded.groups}["block"] == (
        "what cannot be traced uses more of it than its output"
    )
    assert torch.equal(folded.network(X), network(X))
