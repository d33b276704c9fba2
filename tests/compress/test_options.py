"""What may be done to a network: every option does what it says, in the whole network and alone, and costs what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from taken import folded_by, macs
from torch import Tensor, nn

from harness import content
from harness.compress import activations, fold, options
from harness.compress.folding import trace
from harness.compress.options import EVERY
from harness.compress.scenes import Scene
from harness.errors import UsageError
from harness.records.planned import Listing, OptionsRequest

REQUEST = OptionsRequest("tiny", "tiny", forms=EVERY)


@pytest.fixture(scope="module")
def example() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = content.load("model", "tiny").build(None, classes=10, shape=(3, 16, 16))
    return built.eval()


@pytest.fixture(scope="module")
def scene(network: nn.Module, example: Tensor) -> Scene:
    return Scene.of(network, example)


@pytest.fixture(scope="module")
def listing(scene: Scene) -> Listing:
    return options.find(scene, REQUEST)


@pytest.mark.slow
def test_each_option_alone_in_the_whole_network_costs_what_it_says(
    network: nn.Module, example: Tensor, listing: Listing
) -> None:
    full = macs(folded_by(network, example, []), example)
    for option in listing.options:
        shorter = folded_by(network, example, [option])
        assert macs(shorter, example) == full - option.macs_before + option.macs_after, option.name
        assert not set(option.removed) & set(activations(shorter)), option.name
        assert len(activations(shorter)) == len(activations(network)) - len(option.removed), option.name


def test_each_segment_alone_costs_what_it_costs_in_the_network(example: Tensor, scene: Scene, listing: Listing) -> None:
    measured = [option for option in listing.options if option.signature]
    assert {option.form for option in measured} == {"plain", "tail", "bypass"}
    for option in measured:
        alone = options.alone(scene, option, REQUEST)
        assert alone is not None
        kept = fold(alone.network, alone.example).network
        assert macs(kept, alone.example) <= option.macs_before, option.name
        shorter = folded_by(alone.network, alone.example, [option])
        assert macs(shorter, alone.example) == option.macs_after, option.name


def test_a_segment_by_itself_computes_what_it_does_within_the_network(
    network: nn.Module, example: Tensor, scene: Scene, listing: Listing
) -> None:
    (option,) = (each for each in listing.options if each.name == "layer1.1.conv1..layer1.1.conv2:plain")
    alone = options.alone(scene, option, REQUEST)
    assert alone is not None
    with torch.no_grad():
        within = {}
        block = network.get_submodule("layer1.1")
        block.register_forward_hook(lambda _, given, out: within.update(given=given[0], out=out))
        network(example)
        assert torch.equal(alone.network(within["given"]), within["out"])


def test_options_of_one_signature_are_of_segments_of_the_same_shapes(listing: Listing) -> None:
    same: dict[str, set[tuple[int, int]]] = {}
    for option in listing.options:
        if option.signature:
            same.setdefault(option.signature, set()).add((option.macs_before, option.macs_after))
    assert all(len(costs) == 1 for costs in same.values())
    plain = {each.name: each.signature for each in listing.options if each.form == "plain"}
    assert plain["layer1.0.conv1..layer1.0.conv2:plain"] == plain["layer1.1.conv1..layer1.1.conv2:plain"]
    assert plain["layer1.0.conv1..layer1.0.conv2:plain"] != plain["layer2.0.conv1..layer2.0.conv2:plain"]


def test_what_may_be_asked_for_is_what_is_listed(scene: Scene, listing: Listing) -> None:
    for form in EVERY:
        one = options.find(scene, replace(REQUEST, forms=(form,)))
        assert one.options == tuple(each for each in listing.options if each.form == form)
    short = options.find(scene, replace(REQUEST, layers=2))
    assert all(len(each.layers) + len(each.dropped) <= 4 for each in short.options)
    assert "layer1.0.conv1..layer1.1.conv2:plain" not in {each.name for each in short.options}


def test_several_options_together_do_what_each_does(network: nn.Module, example: Tensor, listing: Listing) -> None:
    words = (
        "layer1.0:skip",
        "layer1.1.conv1..layer1.1.conv2:bypass=layer1.1.conv1",
        "layer2.0.conv1..layer2.0.conv2:plain",
    )
    taken = list(options.named(listing, words))
    full = macs(folded_by(network, example, []), example)
    saved = sum(each.macs_before - each.macs_after for each in taken)
    assert macs(folded_by(network, example, taken), example) == full - saved


def test_options_that_touch_one_layer_are_refused(listing: Listing) -> None:
    taken = options.named(listing, ("layer1.0:skip", "layer1.0.conv1..layer1.1.conv2:plain"))
    with pytest.raises(
        UsageError, match=r"layer1\.0:skip and layer1\.0\.conv1\.\.layer1\.1\.conv2:plain touch one layer"
    ):
        options.edits_of(taken)


def test_an_option_that_is_not_there_gets_the_nearest_name(listing: Listing) -> None:
    with pytest.raises(UsageError, match=r"layer1\.0:skip"):
        options.named(listing, ("layer1.0:skipp",))


def test_a_plain_option_folds_no_more_than_it_names(network: nn.Module, example: Tensor, listing: Listing) -> None:
    """Where the branch alone is asked for, the shortcut's convolution stays, though all three could be one."""
    (branch,) = options.named(listing, ("layer2.0.conv1..layer2.0.conv2:plain",))
    (whole,) = options.named(listing, ("layer2.0.conv1..layer2.0.downsample.0:plain",))
    kept, gone = (dict(folded_by(network, example, [each]).named_modules()) for each in (branch, whole))
    assert "layer2.0.downsample.0" in kept and "layer2.0.downsample.0" not in gone


class Chain(nn.Module):
    """Two convolutions without anything between them, then a ReLU; as one they take more work."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 4, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.relu(self.two(self.one(x))).mean((2, 3))
        return mixed


def test_neighbours_that_were_always_linear_are_an_option_that_removes_nothing(example: Tensor) -> None:
    scene = Scene.of(Chain().eval(), example)
    (option,) = options.find(scene, replace(REQUEST, forms=("plain",))).options
    assert option.removed == () and option.name == "one..two:plain"
    shorter = folded_by(scene.network, example, [option])
    assert [path for path, module in shorter.named_modules() if isinstance(module, nn.Conv2d)] == ["one"]
    assert trace.called(shorter)
