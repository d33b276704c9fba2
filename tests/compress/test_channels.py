"""Cutting channels that have no incoming weights changes no output, whatever reads them; what cannot be cut is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import Downsampling, Residual
from torch import Tensor, nn

from harness import content
from harness.compress import channels, edits, models, spans
from harness.compress.edits import Edit
from harness.errors import FoldError, UsageError

EXACT = 1e-12
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": lambda: nn.ReLU6(inplace=True),
    "gelu": nn.GELU,
    "prelu": lambda: nn.PReLU(6, 0.3),
    "softplus": nn.Softplus,  # not 0 at 0
}


def ready(network: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, with statistics and biases that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, low: float, high: float) -> None:
        tensor.data = low + (high - low) * torch.rand(tensor.shape, generator=generator)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            draw(module.weight, 0.5, 1.5)
            draw(module.bias, -1, 1)
            draw(module.running_mean, -1, 1)
            draw(module.running_var, 0.5, 2)
        elif getattr(module, "bias", None) is not None:
            draw(module.bias, -1, 1)
    return network.double().eval()


def empty(network: nn.Module, layer: str, rows: list[int]) -> None:
    with torch.no_grad():
        network.get_submodule(layer).weight[rows] = 0


def example(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        wanted, got = one(x), other(x)
    return float((wanted - got).abs().max() / wanted.abs().max())


def chain(act: str, norm: bool, reader: str, between: str, bias: bool) -> nn.Sequential:
    """A convolution to six channels, their activation "act", and one of several readers of 8x8 images."""
    parts: dict[str, nn.Module] = {"first": nn.Conv2d(3, 6, 3, padding=1, bias=bias)}
    if norm:
        parts["norm"] = nn.BatchNorm2d(6)
    parts["act"] = ACTIVATIONS[act]()
    if between == "pooled":
        parts["pool"] = nn.MaxPool2d(2, 2, padding=1)
    if between == "averaged":
        parts["pool"] = nn.AvgPool2d(3, 1, padding=1)  # zeros counted: a constant differs at the border behind it
    if between == "depthwise":
        parts |= {"depthwise": nn.Conv2d(6, 6, 3, groups=6), "norm2": nn.BatchNorm2d(6), "act2": nn.ReLU()}
    if between == "padded depthwise":
        parts |= {"depthwise": nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), "act2": nn.ReLU6()}
    parts |= READERS[reader]()
    return _named(parts)


def _named(parts: dict[str, nn.Module]) -> nn.Sequential:
    network = nn.Sequential()
    for name, part in parts.items():
        network.add_module(name, part)
    return network


READERS: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "valid": lambda: {"reader": nn.Conv2d(6, 4, 3, bias=False), "behind": nn.BatchNorm2d(4)},
    "padded": lambda: {"reader": nn.Conv2d(6, 4, 3, padding=1, stride=2)},
    "same": lambda: {"reader": nn.Conv2d(6, 4, 3, padding="same")},
    "flat": lambda: {"pooled": nn.AdaptiveAvgPool2d(2), "flat": nn.Flatten(), "reader": nn.Linear(6 * 4, 4)},
}


@settings(max_examples=60)
@given(
    act=st.sampled_from(sorted(ACTIVATIONS)),
    norm=st.booleans(),
    reader=st.sampled_from(sorted(READERS)),
    between=st.sampled_from(["", "pooled", "averaged", "depthwise", "padded depthwise"]),
    bias=st.booleans(),
    rows=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 5),
)
def test_cutting_what_can_be_removed_changes_no_output(
    act: str, norm: bool, reader: str, between: str, bias: bool, rows: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    network, x = ready(chain(act, norm, reader, between, bias), seed), example(2, 3, 8, 8)
    empty(network, "first", rows)
    gone = channels.removable(network, x, "act")
    assert set(gone) <= set(rows) and len(gone) < 6
    cut = channels.cut(network, x, "act", gone) if gone else network
    assert difference(network, cut, x) <= EXACT
    assert difference(network, cut, example(3, 3, 8, 8) * 5) <= EXACT
    assert cut.get_submodule("first").weight.shape[0] == 6 - len(gone)
    if reader in ("valid", "flat") and between in ("", "pooled", "depthwise"):
        assert len(gone) == min(len(rows), 5)  # what no zero padding stops goes wholly, but for the last channel
    if reader in ("padded", "same") and between in ("", "pooled"):
        assert len(gone) >= min(len(rows), 5) - 1  # one carries the others


@settings(max_examples=25)
@given(act=st.sampled_from(["relu", "gelu"]), rows=st.lists(st.integers(0, 7), min_size=1, max_size=7, unique=True))
def test_hidden_units_of_an_mlp_over_tokens_are_cut_exactly(act: str, rows: list[int]) -> None:
    mlp = nn.Sequential(nn.Linear(5, 8), ACTIVATIONS[act](), nn.Dropout(), nn.Linear(8, 3, bias=False))
    network, x = ready(mlp), example(2, 7, 5)
    empty(network, "0", rows)
    assert channels.removable(network, x, "1") == tuple(sorted(rows))
    cut = channels.cut(network, x, "1", rows)
    assert difference(network, cut, x) <= EXACT
    assert (cut[0].out_features, cut[3].in_features) == (8 - len(rows), 8 - len(rows))


def test_constants_of_a_case_worked_by_hand() -> None:
    """BN: (b - mean) / sqrt(var + eps) * gamma + beta, then the activation; NaN for what depends on the input."""
    network = (
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, eps=0.0), nn.ReLU(), nn.Conv2d(3, 1, 1)).double().eval()
    )
    empty(network, "0", [0, 1])
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([3.0, 3.0, 3.0]))
        network[1].running_mean.copy_(torch.tensor([1.0, 1.0, 1.0]))
        network[1].running_var.fill_(4.0)
        network[1].bias.copy_(torch.tensor([0.5, -2.0, 0.5]))
    constant = channels.constants(network, example(2, 1, 4, 4), "2")
    assert constant[:2].tolist() == [1.5, 0.0]  # (3 - 1) / 2 + 0.5; (3 - 1) / 2 - 2 < 0
    assert math.isnan(constant[2])


def test_the_constants_are_what_a_network_shows_on_any_input() -> None:
    network, x = ready(chain("gelu", True, "valid", "depthwise", True)), example(4, 3, 8, 8)
    empty(network, "first", [0, 2])
    empty(network, "depthwise", [1, 2])
    seen: list[Tensor] = []
    network.get_submodule("norm2").register_forward_hook(lambda _, __, out: seen.append(out))
    network(x)
    shown = seen[0].movedim(1, 0).flatten(1)
    told = channels.constants(network, x, "norm2")
    assert told.isnan().tolist() == [False, False, False, True, True, True]
    assert torch.allclose(shown[:3], told[:3, None].expand_as(shown[:3]), rtol=0, atol=1e-12)
    assert (shown[3:].std(dim=1) > 0).all()


def test_several_readers_all_take_over_what_the_channels_gave() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act = nn.Conv2d(3, 6, 3), nn.Softplus()
            self.padded, self.valid = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(6, 4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.first(x))
            return self.padded(x) + self.valid(x)

    network, x = ready(Forked()), example(2, 3, 8, 8)
    empty(network, "first", [0, 3, 4])
    gone = channels.removable(network, x, "act")
    assert len(gone) == 2
    assert difference(network, channels.cut(network, x, "act", gone), x) <= EXACT


def test_what_is_left_holds_at_other_sizes_of_image_too() -> None:
    network, x = ready(chain("relu", True, "padded", "", True)), example(2, 3, 8, 8)
    empty(network, "first", [0, 1, 2, 3])
    cut = channels.cut(network, x, "act", channels.removable(network, x, "act"))
    assert difference(network, cut, example(2, 3, 13, 9)) <= EXACT


def test_a_constant_that_padding_ends_and_nothing_can_carry_is_refused() -> None:
    network, x = ready(chain("softplus", False, "padded", "", True)), example(2, 3, 8, 8)
    empty(network, "first", [2])
    assert channels.removable(network, x, "act") == ()
    with pytest.raises(FoldError, match="act are constant, not 0"):
        channels.cut(network, x, "act", [2])


def test_the_structure_after_a_cut_depends_on_the_channels_alone() -> None:
    """Replayed on the untrained network, as a stored rung is."""
    fresh = chain("relu", True, "valid", "depthwise", False).double().eval()
    trained, x = ready(chain("relu", True, "valid", "depthwise", False)), example(2, 3, 8, 8)
    empty(trained, "first", [1, 4])
    edit = Edit("narrow", ("act",), channels.removable(trained, x, "act"))
    cut, replayed = (edits.apply(network, [edit], x) for network in (trained, fresh))
    shapes = [{key: tensor.shape for key, tensor in network.state_dict().items()} for network in (cut, replayed)]
    assert shapes[0] == shapes[1]
    replayed.load_state_dict(cut.state_dict())
    assert difference(trained, replayed, x) <= EXACT


def test_a_network_that_was_cut_can_be_trained_and_the_one_given_is_as_it_was() -> None:
    network, x = ready(chain("relu", True, "valid", "", False)), example(2, 3, 8, 8)
    empty(network, "first", [0])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    cut = channels.cut(network, x, "act", [0]).train()
    cut(x).sum().backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Viewed(nn.Module):
    """Flattens by the number of its channels, which a cut would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Linear(6 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)).view(-1, 216))


class Tied(nn.Module):
    """The same convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.relu(self.conv(x)))


class Added(nn.Module):
    """The activation's channels are added to the input's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)) + x)


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=2))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 2))


def last() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU())


@pytest.mark.parametrize(
    ("build", "name"), [(Viewed, "relu"), (Tied, "relu"), (Added, "relu"), (grouped, "1"), (normed, "1"), (last, "1")]
)
def test_channels_that_are_tied_cannot_be_cut(build: Callable[[], nn.Module], name: str) -> None:
    network, x = build().double().eval(), example(2, 3, 8, 8)
    assert not channels.cuttable(network, x, name)
    assert channels.removable(network, x, name) == ()
    assert len(channels.constants(network, x, name)) == 0
    with pytest.raises(UsageError, match=rf"channels of {name} cannot be cut"):
        channels.cut(network, x, name, [0])


@pytest.mark.parametrize(("asked", "said"), [([7], "no channel 7"), ([-1], "no channel -1"), (range(6), "all 6")])
def test_channels_that_are_not_there_and_all_of_them_are_refused(asked: list[int], said: str) -> None:
    network = chain("relu", False, "valid", "", True).double().eval()
    with pytest.raises(UsageError, match=said):
        channels.cut(network, example(2, 3, 8, 8), "act", asked)


def test_a_path_that_is_not_called_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="act"):
        channels.cuttable(chain("relu", False, "valid", "", True).double().eval(), example(2, 3, 8, 8), "acts")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny", "layer2.0.relu1"),
        ("resnet18", "layer1.0.relu1"),
        ("mobilenet_v2", "features.3.conv.1.2"),
        ("vgg16_bn", "features.42"),
        ("swin_t", "features.1.0.mlp.1"),
    ],
)
def test_channels_of_whole_networks_are_cut_exactly(model: str, name: str) -> None:
    task = content.load("task", "tiny" if model == "tiny" else "digits")
    network, x = ready(models.build(model, task, 0)), models.example(task, 0).double()
    span = spans.find(network, x, name)
    assert span is not None
    (layer, _) = spans.direct(network, x, [name])[name]
    empty(network, layer, list(range(0, span.channels, 2)))
    gone = channels.removable(network, x, name)
    assert len(gone) >= span.channels // 2 - 1
    assert difference(network, channels.cut(network, x, name, gone), x) <= EXACT


@pytest.mark.parametrize(
    ("build", "wanted"),
    [(Residual, {"stem", "head"}), (Downsampling, {"stem", "head"}), (Viewed, {"conv", "head"})],
)
def test_layers_without_a_way_around_them_are_told_from_the_others(
    build: Callable[[], nn.Module], wanted: set[str]
) -> None:
    network, x = build().double().eval(), example(2, 3, 8, 8)
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert spans.bottlenecks(network, x, layers) == wanted


def test_a_layer_is_right_in_front_only_where_nothing_else_reads_it() -> None:
    network, x = chain("relu", True, "valid", "depthwise", True).double().eval(), example(2, 3, 8, 8)
    assert spans.direct(network, x, ["act", "act2"]) == {"act": ("first", "norm"), "act2": ("depthwise", "norm2")}
    residual = content.load("model", "tiny").build().double().eval()
    found = spans.direct(residual, example(2, 3, 16, 16), ["layer1.0.relu1", "layer1.0.relu2"])
    assert found == {"layer1.0.relu1": ("layer1.0.conv1", "layer1.0.bn1")}  # the other stands behind an add
