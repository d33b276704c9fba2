"""Each form is taken where it is right, computes what the layers compute, and says what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from networks import Residual, model, opened, ran_in_onnxruntime, relative, trained
from torch import Tensor, nn
from torch.nn import functional

from harness import flops
from harness.compress import Folded, activations, asked_for, fold, pad_first, remove
from harness.compress.folding.layers import BiasMap

IMAGE = torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))


def forms(folded: Folded) -> list[str | None]:
    return [group.form for group in folded.groups]


def kinds(network: nn.Module) -> set[str]:
    return {type(module).__name__ for module in network.modules() if not list(module.children())}


def test_a_biased_1x1_before_a_padded_convolution_becomes_one_with_a_map_of_biases() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 3, stride=2, padding=1)).eval()
    folded = fold(network, IMAGE)
    assert forms(folded) == ["bias map"]
    assert kinds(folded.network) == {"FixedShape", "Conv2d", "BiasMap"}
    (bias,) = (module.bias for module in folded.network.modules() if isinstance(module, BiasMap))
    assert bias.shape == (5, 5, 4)
    assert not torch.allclose(bias[:, 0, 0], bias[:, 2, 2]), "at the corner the padding keeps most of the bias out"


def test_without_bias_the_same_pair_needs_no_map_and_takes_any_size() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 1, bias=False), nn.Conv2d(6, 5, 3, padding=1)).eval()
    folded = fold(network, IMAGE)
    assert (forms(folded), folded.fixed_size) == (["plain"], False)


@pytest.mark.parametrize(("padding", "form"), [(0, "plain"), (1, "bias map")])
def test_a_batchnorm_before_a_convolution_goes_into_it(padding: int, form: str) -> None:
    network = trained(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3, padding=padding)))
    folded = fold(network, IMAGE)
    assert forms(folded) == [form]
    assert "BatchNorm2d" not in kinds(folded.network)


def test_a_whole_inverted_residual_merges_with_its_padding_where_it_is() -> None:
    expand = (nn.Conv2d(4, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
    depthwise = (nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
    network = trained(Residual(nn.Sequential(*expand, *depthwise, nn.Conv2d(24, 4, 1, bias=False), nn.BatchNorm2d(4))))
    folded = fold(opened(network, IMAGE), IMAGE)
    (group,) = folded.groups
    assert (group.kind, group.form, group.opened_by) == (
        "conv+conv+conv|identity",
        "bias map",
        ("branch.2", "branch.5"),
    )
    assert group.before is not None and group.after is not None
    assert (group.before.depth, group.after.depth) == (3, 1)
    assert group.after.activation_bytes < group.before.activation_bytes


@pytest.mark.parametrize("moved", [False, True], ids=["padding as built", "padding moved"])
@pytest.mark.parametrize("emptied", ["branch.0", "branch.2"])
def test_a_layer_that_pruning_emptied_does_not_widen_what_it_merges_into(emptied: str, moved: bool) -> None:
    layers = (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    network = opened(Residual(nn.Sequential(*layers)).eval(), IMAGE)
    with torch.no_grad():
        network.get_submodule(emptied).weight.zero_()
    network = pad_first(network, IMAGE) if moved else network
    assert network(IMAGE).shape == IMAGE.shape
    before = flops.count(network, IMAGE).macs
    folded = fold(network, IMAGE)
    (layer,) = (module for module in folded.network.modules() if isinstance(module, nn.Conv2d))
    after = flops.count(folded.network, IMAGE).macs
    assert layer.kernel_size == (3, 3)
    assert before is not None and after is not None and after <= before / 2


@pytest.mark.slow
def test_on_2x2_maps_a_resnets_last_blocks_are_dense_operators_and_others_are_left() -> None:
    shape = (3, 32, 32)
    network, example = model("resnet18", shape), torch.randn(2, *shape)
    folded = fold(opened(network, example), example)
    dense = {group.path: (group.macs_after, group.weights_after) for group in folded.groups if group.form == "dense"}
    assert dense == {"layer4.1.conv1": (4_194_304, 4_196_352)}  # layer4.0 would take 2.3 times the weights
    left = [group for group in folded.groups if group.reason]
    assert {group.path.rpartition(".")[0] for group in left} == {
        *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)),
        "layer4.0",
    }
    assert folded.fixed_size


class Tail(nn.Module):
    """Two padded convolutions, a pool and a linear layer, put together in the ways that people write it."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        )
        self.pool, self.head = pool, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(x)))


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "module, flatten": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "function, view": lambda x: functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1),
    "mean": lambda x: x.mean([2, 3]),
    "mean kept, torch.flatten": lambda x: torch.flatten(x.mean((-2, -1), keepdim=True), 1),
    "reshape": lambda x: functional.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1),
    "fixed pool": nn.Sequential(nn.AvgPool2d((5, 4)), nn.Flatten()),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_a_linear_tail_is_one_matrix_however_it_is_written(pool: Callable[[Tensor], Tensor]) -> None:
    folded = fold(trained(Tail(pool)), IMAGE)
    (group,) = folded.groups
    assert (group.kind, group.form) == ("conv+conv+pool+linear", "tail")
    assert (group.macs_after, group.weights_after) == (4 * 9 * 8 * 3, 4 * 9 * 8 * 3 + 3)
    assert kinds(folded.network) == {"FixedShape", "Flatten", "Linear"}


def test_four_removed_activations_turn_a_resnets_last_stage_into_41_thousand_macs() -> None:
    shape = (3, 32, 32)
    network, example = model("resnet18", shape), torch.randn(2, *shape)
    names = [name for name in activations(network) if name.startswith("layer4")]
    (tail,) = (group for group in fold(remove(network, names), example).groups if group.form == "tail")
    assert (tail.macs_after, len(tail.layers)) == (4096 * 10, 6)
    assert tail.before is not None and tail.before.depth == 5


def test_a_linear_layer_over_an_image_takes_the_convolution_before_it() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 16, 1), nn.Flatten(), nn.Linear(16 * 72, 5), nn.Dropout(), nn.Linear(5, 5)
    ).eval()
    folded = fold(network, IMAGE)
    (group,) = folded.groups
    assert (group.kind, group.macs_after) == ("conv+linear+linear", 4 * 72 * 5)


def test_a_pool_goes_into_the_convolution_before_it_where_that_is_cheaper() -> None:
    wide = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.AvgPool2d(2)).eval()
    (group,) = fold(wide, torch.randn(2, 4, 10, 10)).groups
    assert (group.kind, group.macs_before, group.macs_after) == ("conv+pool", 4 * 6 * 9 * 64, 4 * 6 * 16 * 16)
    narrow = nn.Sequential(nn.Conv2d(4, 6, 1), nn.AvgPool2d(2)).eval()  # four times the weights for the same MACs
    assert fold(narrow, torch.randn(2, 4, 10, 10)).groups == ()


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2)]
)
def test_a_pool_that_is_no_plain_average_is_a_barrier(pool: nn.Module) -> None:
    folded = fold(nn.Sequential(nn.Conv2d(4, 4, 3), pool, nn.Conv2d(4, 2, 1)).eval(), IMAGE)
    assert forms(folded) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ring", "border"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2)])
def test_forms_across_padding_are_exact_and_run_in_onnxruntime(form: str, stride: tuple[int, int]) -> None:
    first = nn.Conv2d(4, 6, 3, stride[0], padding=1)
    network = nn.Sequential(first, nn.BatchNorm2d(6), nn.Conv2d(6, 5, (3, 5), stride[1], padding=(1, 2))).eval()
    folded = fold(trained(network), torch.randn(3, 4, 19, 18), forms=(form,))
    assert (forms(folded), folded.fixed_size) == ([form], True)
    x = torch.randn(5, 4, 19, 18)
    assert relative(folded.network(x), network(x)) < 1e-5
    assert relative(ran_in_onnxruntime(folded.network, x), network(x)) < 1e-5


def test_forms_across_padding_say_what_they_cost() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)).eval()
    x = torch.randn(2, 4, 20, 20)
    (ring,), (border,) = (fold(network, x, forms=(form,)).groups for form in ("ring", "border"))
    assert ring.macs_before == border.macs_before == 2 * 4 * 4 * 9 * 400
    assert ring.weights_after == 4 * 4 * (25 + 9 + 9)
    assert border.weights_after == 4 * 4 * (3 + 5 + 3) ** 2  # in each direction: at one end, inside, at the other end
    assert ring.macs_after > 4 * 4 * 25 * 400 > border.macs_after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 3, padding=1)), (4, 9, 8)),
        ((nn.Conv2d(4, 64, 3, padding=1), nn.Conv2d(64, 5, 3, padding=1)), (4, 3, 3)),
        ((nn.Conv2d(4, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)), (4, 9, 8)),
        ((nn.Conv1d(4, 6, 1), nn.Conv1d(6, 5, 3, padding=1)), (4, 30)),
        ((nn.LayerNorm(8), nn.Linear(8, 5)), (4, 8)),
    ],
    ids=["bias map", "dense", "tail", "one dimension", "layer norm"],
)
def test_every_default_form_runs_in_onnxruntime(layers: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
    network = nn.Sequential(*layers).eval()
    folded = fold(network, torch.randn(2, *shape))
    x = torch.randn(5, *shape)
    assert relative(ran_in_onnxruntime(folded.network, x), network(x)) < 1e-5


def test_declining_the_best_form_brings_the_next() -> None:
    network = nn.Sequential(nn.Conv2d(4, 64, 3, padding=1), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 5, 3, padding=1)).eval()
    x, offered = torch.randn(2, 4, 3, 3), []

    def no_matrix(group: object) -> bool:
        offered.append((group.form, len(group.layers)))  # type: ignore[attr-defined]
        return group.form != "dense"  # type: ignore[attr-defined]

    folded = fold(network, x, choose=no_matrix)
    assert offered[0] == ("dense", 3)
    assert [(group.form, group.layers) for group in folded.groups if not group.reason] == [("bias map", ("1", "2"))]
    assert [group.layers for group in folded.groups if group.reason == "not chosen"] == [("0", "1", "2")]


def test_the_fewest_layers_win_and_among_those_the_fewest_macs() -> None:
    shape = (3, 32, 32)
    network, example = model("mobilenet_v2", shape), torch.randn(2, *shape)
    blocks = activations(network)[1:-1]
    merged = [group for group in fold(remove(network, blocks), example).groups if group.form == "bias map"]
    assert [group.path for group in merged[1:]] == [f"features.{block}.conv.0.0" for block in range(3, 18)]


class Normed(nn.Module):
    """Query and value read one LayerNorm; a second one is read by an add as well."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(8), nn.LayerNorm(8)
        self.query, self.value, self.last = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        y = torch.tanh(self.query(y)) * self.value(y)
        z = self.two(y)
        return self.last(z) + z


def test_layernorms_scale_and_shift_move_into_the_linear_layers_that_alone_read_them() -> None:
    torch.manual_seed(0)
    network = Normed().eval()
    for norm in (network.one, network.two):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    folded = fold(network, torch.randn(3, 5, 8))
    moved, kept = (folded.network.get_submodule(name) for name in ("one", "two"))
    assert isinstance(moved, nn.LayerNorm) and not moved.elementwise_affine
    assert isinstance(kept, nn.LayerNorm) and kept.elementwise_affine
    assert folded.network.get_submodule("value").bias is not None
    assert folded.max_error <= 1e-12


def test_a_transformers_mlp_becomes_one_matrix_an_eighth_of_its_macs() -> None:
    shape = (3, 32, 32)
    network, example = model("swin_t", shape), torch.randn(2, *shape)
    groups = fold(opened(network, example), example).groups
    assert [group.kind for group in groups] == ["linear+linear"] * 12
    assert all(group.macs_after * 8 == group.macs_before for group in groups)


def test_an_opened_block_does_not_draw_in_its_neighbours_at_a_price() -> None:
    shape = (3, 32, 32)
    network, example = model("mobilenet_v2", shape), torch.randn(2, *shape)
    opened_ = remove(network, ["features.3.conv.0.2", "features.3.conv.1.2"])
    (chosen,) = (group for group in fold(opened_, example, choose=asked_for).groups if group.form)
    assert (chosen.path, len(chosen.layers), chosen.wholly_opened) == ("features.3.conv.0.0", 3, True)
    drawn = next(group for group in fold(opened_, example).groups if group.opened_by)
    assert len(drawn.layers) > 3 and not drawn.wholly_opened
    assert drawn.macs_after > drawn.macs_before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "swin_t"])
def test_what_nobody_opened_is_merged_on_request_alone_if_it_takes_more_macs(name: str) -> None:
    shape = (3, 32, 32)
    network, example = model(name, shape), torch.randn(2, *shape)
    before, after = (flops.count(one, example) for one in (network, fold(network, example, choose=asked_for).network))
    assert after.macs <= before.macs
    shallow = pad_first(opened(network, example), example)
    assert flops.count(fold(shallow, example, choose=asked_for).network, example).depth < before.depth
