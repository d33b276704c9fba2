"""Residual blocks are found by their graph, whatever they are called, and leave no trace when they are skipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import Downsampling, Residual
from torch import Tensor, nn
from torch.nn import functional

from harness import content, flops
from harness.compress import blocks as module
from harness.compress import edits, fold
from harness.compress.blocks import blocks, skip, units
from harness.compress.edits import Edit
from harness.compress.state import State
from harness.errors import UsageError

RESNET18 = ("layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1")
IMAGE = (2, 3, 32, 32)


class Pre(nn.Module):
    """x + g(x), with or without the x, of any g."""

    def __init__(self, inner: nn.Module, adds: bool = True) -> None:
        super().__init__()
        self.inner, self.adds = inner, adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return x + y if self.adds else y


class Post(nn.Module):
    """A transformer's layer as BERT's: two adds, a norm behind each, in modules of their own, and a mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.mlp = Pre(nn.Linear(width, width)), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm1(self.attention(x))
        y = self.mlp(x) if mask is None else self.mlp(x) * mask
        return self.norm2(x + y)


class Masked(nn.Module):
    """Two such layers that are handed a mask, by position and by name."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Post(4), Post(4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones_like(x[..., :1])
        return self.two(self.one(x, mask), mask=mask)


class Twice(nn.Module):
    """One block called two times."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.once = Pre(nn.Linear(4, 4)), Pre(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.block(self.block(x)))


class Merge(nn.Module):
    """Adds something else to what it is given first: no block, though all shapes are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.norm(x + other)


class Merging(nn.Module):
    """A network with a merge of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.merge = nn.Linear(4, 4), Merge()

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(self.inner(x), x)


class Functional(nn.Module):
    """A block of functions, in place and reshaped on the way, as timm's Swin is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        y = functional.relu(y).reshape(x.shape[0], 3, -1)
        return (y + torch.tanh(y)).reshape(x.shape)


class Transposing(nn.Module):
    """Its sum is of transposed numbers: an identity in its place would be something else."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        turned = x.transpose(1, 2)
        return turned + self.inner(turned)


def built(name: str) -> tuple[nn.Module, Tensor]:
    """A model of ours, in eval mode, with an example; readers in their test size."""
    file = content.load("model", name)
    if not hasattr(file, "TINY"):
        return file.build().eval(), torch.randn(IMAGE)
    torch.manual_seed(0)
    return file.build(size=file.TINY, shape=(12,)).eval(), torch.randint(2, 99, (2, 12))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", ("layer1.0", "layer1.1")),
        ("resnet18", RESNET18),
        ("resnet50", tuple(f"layer{s}.{b}" for s, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for b in range(1, n))),
        ("mobilenet_v2", tuple(f"features.{index}" for index in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16))),
        ("swin_t", tuple(f"features.{s}.{b}" for s, n in ((1, 2), (3, 2), (5, 6), (7, 2)) for b in range(n))),
        pytest.param("bert", ("bert.encoder.layer.0", "bert.encoder.layer.1"), marks=pytest.mark.slow),
        ("roberta", ("roberta.encoder.layer.0", "roberta.encoder.layer.1")),
        ("vgg16_bn", ()),
    ],
)
def test_the_blocks_of_our_models_are_those_whose_shortcut_is_the_identity(
    name: str, expected: tuple[str, ...]
) -> None:
    network, example = built(name)
    assert blocks(network, example) == expected
    shorter = skip(network, expected)
    assert blocks(shorter, example) == ()
    assert shorter(example).shape == network(example).shape


@pytest.mark.parametrize("network", [Residual(), Downsampling(), Downsampling(pooled=True)])
def test_a_shortcut_that_belongs_to_the_network_itself_is_no_block(network: nn.Module) -> None:
    assert blocks(network, torch.randn(2, 3, 16, 16)) == ()


def linear() -> nn.Module:
    return Pre(nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        pytest.param(
            nn.Sequential(linear(), nn.Sequential(linear(), linear())), (2, 4), ("0", "1.0", "1.1"), id="chain"
        ),
        pytest.param(
            nn.Sequential(Pre(nn.Sequential(linear(), linear()))), (2, 4), ("0.inner.0", "0.inner.1"), id="long"
        ),
        pytest.param(nn.Sequential(Pre(nn.Linear(4, 4), adds=False)), (2, 4), (), id="no add"),
        pytest.param(nn.Sequential(nn.Linear(4, 4), Post(4)), (2, 3, 4), ("1",), id="layer of two adds"),
        pytest.param(Masked(), (2, 3, 4), ("one", "two"), id="mask"),
        pytest.param(Twice(), (2, 4), ("once",), id="called twice"),
        pytest.param(Merging(), (2, 4), (), id="merge"),
        pytest.param(nn.Sequential(Functional()), (2, 3, 4, 5), ("0",), id="functions"),
        pytest.param(nn.Sequential(Transposing()), (2, 4, 4), (), id="transposing"),
    ],
)
def test_a_block_is_the_whole_of_what_its_input_goes_around(
    network: nn.Module, shape: tuple[int, ...], expected: tuple[str, ...]
) -> None:
    assert blocks(network, torch.randn(shape)) == expected


def test_a_skipped_block_passes_on_the_first_of_what_it_is_given_and_the_rest_stays_as_it_was() -> None:
    network, x = Masked().eval(), torch.randn(2, 3, 4)
    assert torch.equal(skip(network, ["one", "two"])(x), x)
    assert torch.equal(skip(network, ["one"])(x), network.two(x, torch.ones(2, 3, 1)))
    assert isinstance(network.one, Post)  # a new network was returned


@pytest.mark.parametrize("training", [True, False])
def test_what_is_skipped_has_the_mode_of_what_it_replaces(training: bool) -> None:
    assert skip(nn.Sequential(linear()).train(training), ["0"])[0].training == training


def test_a_block_under_two_names_goes_from_both() -> None:
    network = nn.Sequential(linear(), nn.Linear(4, 4))
    network.add_module("again", network[0])
    shorter = skip(network, ["0"])
    assert isinstance(shorter.get_submodule("again"), module.Skip)


def test_an_unknown_block_is_refused_with_the_nearest_name() -> None:
    network, _ = built("tiny")
    with pytest.raises(UsageError, match=r'did you mean "layer1.1"\?'):
        skip(network, ["layer1.11"])
    shorter = skip(network, ["layer1.1"])
    with pytest.raises(UsageError, match=r"layer1\.1\.conv1"):
        skip(shorter, ["layer1.1.conv1"])


def test_one_skipped_block_of_resnet18_is_the_paper_s_cost_less() -> None:
    network, example = built("resnet18")
    macs = [flops.count(skip(network, RESNET18[5 - gone :]), example[:1]).macs for gone in range(5)]
    assert [round(count / 1e6, 2) for count in macs] == [140.19, 121.31, 102.44, 83.56, 64.69]  # LaCoOT's, [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v2", "swin_t"])
def test_a_network_without_a_block_folds_exactly_and_says_which_activations_went(name: str) -> None:
    network, example = built(name)
    gone = blocks(network, example)[1]
    edit = Edit("skip", (gone,))
    folded = fold(edits.apply(network, [edit], example), example)
    assert folded.max_error <= 1e-12
    lost = edits.activations_lost(network, [edit])
    assert len(lost) == {"tiny": 2, "mobilenet_v2": 2, "swin_t": 1}[name]
    assert all(path.startswith(gone + ".") for path in lost)


def test_a_model_without_blocks_and_a_name_that_is_none_are_refused() -> None:
    def state(name: str) -> State:
        return State(*built(name), (), ())

    with pytest.raises(UsageError, match="method lacoot removes residual blocks, and this model has none") as caught:
        units(state("vgg16_bn"), (), "lacoot")
    assert "--method" in caught.value.hint
    with pytest.raises(UsageError, match=r'did you mean "layer1.1"\?'):
        units(state("tiny"), ("layer1.11",), "lacoot")
    assert units(state("tiny"), ("layer1.1", "layer1.0"), "lacoot") == ("layer1.0", "layer1.1")


def test_what_is_watched_is_both_ends_of_a_block_and_no_hook_stays() -> None:
    network, x = nn.Sequential(linear(), linear()), torch.randn(2, 4)
    seen: list[Any] = []
    with module.watched(network, ["1"], lambda *end: seen.append(end), lambda *end: seen.append(end)):
        y = network(x)
    network(x)
    assert [name for name, _ in seen] == ["1", "1"]
    assert torch.equal(seen[0][1], network[0](x))
    assert seen[1][1] is y
