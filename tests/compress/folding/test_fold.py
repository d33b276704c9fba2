"""Whole networks fold to equal ones, and what would not be equal is refused with its reason."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Residual, affine_map, model, opened, relative, trained
from torch import Tensor, nn

from harness import flops
from harness.compress import Folded, activations, fold, merge_conv_conv, pad_first, remove
from harness.compress.folding.rewrite import merge
from harness.compress.folding.trace import trace
from harness.errors import FoldError, UsageError

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def example() -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return model("resnet18", SHAPE)


@pytest.fixture(scope="module")
def moved(resnet18: nn.Module, example: Tensor) -> nn.Module:
    return pad_first(opened(resnet18, example), example)


@pytest.fixture(scope="module")
def folded(moved: nn.Module, example: Tensor) -> Folded:
    return fold(moved, example)


def test_all_eight_blocks_of_a_padded_first_resnet18_fold_exactly(
    folded: Folded, moved: nn.Module, example: Tensor
) -> None:
    assert folded.max_error <= 1e-12
    assert folded.max_error_f32 <= 1e-5
    assert relative(folded.network(example), moved(example)) <= 1e-5
    assert [group.path for group in folded.groups] == [f"layer{s}.{b}.conv1" for s in (1, 2, 3, 4) for b in (0, 1)]
    assert not any(group.reason for group in folded.groups)
    assert {group.kind for group in folded.groups} == {"conv+conv|identity", "conv+conv|conv"}


def test_a_folded_network_holds_no_norm_identity_or_shortcut(folded: Folded) -> None:
    left = {type(module).__name__ for module in folded.network.modules() if not list(module.children())}
    assert left == {"Conv2d", "ReLU", "MaxPool2d", "AdaptiveAvgPool2d", "Linear", "ZeroPad2d", "FixedShape"}
    assert flops.count(folded.network, torch.zeros(1, *SHAPE)).depth == 10


def test_kernels_are_those_of_the_formula_and_dead_taps_are_cut(folded: Folded) -> None:
    kernels = [tuple(m.kernel_size) for m in folded.network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(3, 3), (5, 5), (5, 5), (7, 7), (5, 5), (7, 7), (5, 5), (6, 6), (3, 3)]
    last = folded.groups[-1]
    assert (last.macs_before, last.macs_after) == (47_185_920, 9_437_184)  # 26,214,400 with its dead taps


def test_a_network_whose_taps_were_cut_takes_its_own_size_and_any_batch(folded: Folded) -> None:
    assert folded.fixed_size
    assert folded.network(torch.zeros(5, *SHAPE)).shape == (5, 10)
    with pytest.raises(FoldError, match="folded for inputs of 3x32x32, not 3x64x64"):
        folded.network(torch.zeros(1, 3, 64, 64))


def test_full_depth_folds_its_batchnorms_and_nothing_else(resnet18: nn.Module, example: Tensor) -> None:
    folded = fold(resnet18, example)
    assert folded.groups == ()
    assert not folded.fixed_size
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules())
    assert flops.count(folded.network, example).macs == flops.count(resnet18, example).macs


def test_a_zero_padded_intermediate_is_refused_with_the_reason(resnet18: nn.Module, example: Tensor) -> None:
    folded = fold(opened(resnet18, example), example, choose=lambda group: group.form != "dense")
    left = [group for group in folded.groups if group.reason != "not chosen"]
    assert len(left) == 8
    for group in left:
        assert group.reason is not None
        assert "conv2 pads the output of" in group.reason
        assert group.macs_after == group.macs_before
    assert folded.max_error <= 1e-12


def test_the_plain_5x5_that_is_refused_would_indeed_be_wrong_at_the_border() -> None:
    first, second = nn.Conv2d(4, 4, 3, padding=1).double(), nn.Conv2d(4, 4, 3, padding=1).double()
    x = torch.randn(1, 4, 9, 9, dtype=torch.float64)
    wrong, right = merge_conv_conv(first, second)(x), second(first(x))
    assert relative(wrong, right) > 0.01
    assert relative(wrong[..., 1:-1, 1:-1], right[..., 1:-1, 1:-1]) < 1e-12


@pytest.mark.parametrize("stride", [1, 2])
def test_the_jacobian_agrees_on_a_whole_linear_block(stride: int) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 3, 3, stride=stride, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    network = trained(nn.Sequential(*layers, nn.Conv2d(3, 2, (3, 2), padding=(1, 0), dilation=(2, 1))))
    example = torch.randn(2, 2, 9, 8)
    moved = pad_first(remove(network, ["2"]), example)
    folded = fold(moved, example)
    assert [group.kind for group in folded.groups] == ["conv+conv"]
    for found, expected in zip(affine_map(folded.network, (2, 9, 8)), affine_map(moved, (2, 9, 8)), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)  # folded weights were rounded to float32


def test_the_network_given_never_changes(moved: nn.Module, example: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in moved.state_dict().items()}
    modules = [type(module) for module in moved.modules()]
    fold(moved, example)
    assert all(torch.equal(before[name], tensor) for name, tensor in moved.state_dict().items())
    assert [type(module) for module in moved.modules()] == modules


def test_choose_decides_per_group(moved: nn.Module, example: Tensor) -> None:
    folded = fold(moved, example, choose=lambda group: group.path.startswith("layer4.1"))
    assert [group.path for group in folded.groups if group.reason is None] == ["layer4.1.conv1"]
    assert {group.reason for group in folded.groups} == {None, "not chosen"}
    assert flops.count(folded.network, example).depth == 17


def test_folding_a_folded_network_changes_nothing(folded: Folded, example: Tensor) -> None:
    again = fold(folded.network, example)
    assert again.groups == ()
    assert again.fixed_size
    assert torch.equal(again.network(example), folded.network(example))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


class Fan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return torch.cat([y, self.two(y)], 1)


class Diamond(nn.Module):
    """The first layer's output is read twice, but only inside the stretch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.outer, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.outer(self.inner(x))
        y += x
        return torch.relu(self.norm(y))


def test_a_stretch_may_begin_before_its_branches_part() -> None:
    folded = fold(trained(Diamond()), torch.randn(2, 3, 8, 8))
    assert [group.kind for group in folded.groups] == ["conv+(conv+conv|identity)+norm"]


def test_a_module_called_twice_and_an_output_read_twice_are_refused_with_the_reason() -> None:
    example = torch.randn(2, 3, 8, 8)
    (twice,) = fold(Twice().eval(), example).groups
    assert twice.reason == "its module is called 2 times"
    (fan,) = fold(Fan().eval(), example).groups
    assert fan.reason == "the output of one is also read by cat"


def test_transposed_and_circular_convolutions_are_left_with_the_reason() -> None:
    circular = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
    network = nn.Sequential(circular, nn.ConvTranspose2d(3, 3, 2), nn.Conv2d(3, 3, 1)).eval()
    reasons = [group.reason for group in fold(network, torch.randn(2, 3, 8, 8)).groups]
    assert reasons == [
        "padding mode circular does not move through a convolution",
        "transposed convolutions are not merged",
    ]


def test_linear_layers_merge_through_dropout_and_with_their_batchnorm() -> None:
    layers = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 4), nn.Identity(), nn.Linear(4, 4))
    folded = fold(trained(nn.Sequential(*layers)), torch.randn(3, 6))
    assert [group.kind for group in folded.groups] == ["linear+linear+linear"]
    assert folded.max_error <= 1e-12


def test_depthwise_and_pointwise_merge_into_a_dense_kernel() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1))
    (group,) = fold(network.eval(), torch.randn(2, 4, 6, 6)).groups
    assert (group.kind, group.macs_after) == ("conv+conv+conv", 4 * 4 * 9 * 36)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_folded_network_has_the_type_of_the_one_given(dtype: torch.dtype) -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))).to(dtype)
    folded = fold(network, torch.randn(2, 3, 8, 8, dtype=dtype))
    assert {parameter.dtype for parameter in folded.network.parameters()} == {dtype}


def _training(network: nn.Module) -> nn.Module:
    return network.train()


def _not_finite(network: nn.Module) -> nn.Module:
    network.get_parameter("layer1.0.conv1.weight").data[0, 0, 0, 0] = torch.nan
    return network


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_training, "training mode"),
        (_not_finite, r"layer1\.0\.conv1\.weight holds values that are NaN"),
    ],
)
def test_a_network_that_cannot_be_folded_is_named_with_the_reason(
    spoil: Callable[[nn.Module], nn.Module], says: str
) -> None:
    with pytest.raises(FoldError, match=says):
        fold(spoil(model("tiny", (3, 16, 16))), torch.zeros(2, 3, 16, 16))


def test_an_example_of_another_shape_is_refused() -> None:
    with pytest.raises(FoldError, match="does not run on an example of 2x4x16x16"):
        fold(model("tiny", (3, 16, 16)), torch.zeros(2, 4, 16, 16))


@pytest.mark.parametrize("words", [{"policy": "aproximate"}, {"forms": ["crop"]}])
def test_policies_and_forms_that_do_not_exist_are_refused(words: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        fold(model("tiny", (3, 16, 16)), torch.zeros(2, 3, 16, 16), **words)  # type: ignore[arg-type]


def test_merging_without_the_proof_is_what_fold_proves(moved: nn.Module, example: Tensor, folded: Folded) -> None:
    graph = trace(copy.deepcopy(moved).double(), example.double())
    told, fixed_size = merge(graph, example.double(), lambda group: True)
    assert (told, fixed_size) == (folded.groups, folded.fixed_size)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(activations(model("tiny", (3, 8, 8))))))
def test_any_removed_activations_leave_a_network_that_folds_exactly(names: set[str]) -> None:
    example = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    removed = remove(model("tiny", (3, 8, 8)), names)
    inner = {name for name in names if name.endswith("relu1")}
    for network, merged in ((removed, set()), (pad_first(removed, example), inner)):
        folded = fold(network, example, choose=lambda group: "pool" not in group.kind)
        assert folded.max_error <= 1e-12
        assert {name for group in folded.groups if group.form for name in group.opened_by} >= merged


def test_a_whole_inverted_residual_becomes_one_dense_convolution() -> None:
    example = torch.randn(2, 8, 6, 6)
    expand = (nn.Conv2d(8, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
    depthwise = (nn.Conv2d(48, 48, 3, padding=1, groups=48, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
    project = (nn.Conv2d(48, 8, 1, bias=False), nn.BatchNorm2d(8))
    network = trained(Residual(nn.Sequential(*expand, *depthwise, *project)))
    (group,) = fold(pad_first(opened(network, example), example), example).groups
    assert (group.kind, group.reason) == ("conv+conv+conv|identity", None)
    assert (group.macs_before, group.macs_after) == (8 * 48 * 64 + 48 * 9 * 36 + 48 * 8 * 36, 8 * 8 * 9 * 36)
