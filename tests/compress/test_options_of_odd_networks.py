"""Options do what they say in networks that are put together otherwise than the built-in ones."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
import torch
from taken import folded_by, macs
from torch import Tensor, nn
from torch.nn import functional

from harness.compress import activations, blocks, edits, fold, options
from harness.compress.options import EVERY
from harness.compress.scenes import Scene
from harness.records.planned import Listing, Option, OptionsRequest

REQUEST = OptionsRequest("odd", "odd", forms=EVERY)


def conv(inputs: int, outputs: int, kernel: int = 3, **how: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **how)


def head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)


class Aliased(nn.Module):
    """A ReLU and a convolution that hang in the network under two names each."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.second = nn.ReLU(), conv(4, 4)
        self.body = nn.Sequential(conv(3, 4), self.relu, self.second, nn.ReLU(), conv(4, 4), nn.ReLU(), conv(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.body(x).mean((2, 3))
        return pooled


class Touching(nn.Module):
    """A branch whose first convolution reads what the layer before gives, without an activation between."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = conv(3, 4), conv(4, 4), conv(4, 4), conv(4, 4), conv(4, 4, 1)
        self.r1, self.r2, self.r3 = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.r1(self.a(x)))
        pooled: Tensor = self.e(self.r3(self.d(self.r2(self.c(y))) + y)).mean((2, 3))
        return pooled


class Attention(nn.Module):
    """Tokens that are weighed by products of themselves: MACs that no layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.norm, self.relu = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1)
        summed: Tensor = self.relu(self.norm(x + weights @ x))
        return summed


def linear_neighbours() -> nn.Module:
    """Neighbours that were always linear at both ends, and take less work as one: so they are one without options, too."""
    ends = conv(3, 16, 1), conv(16, 4, 1)
    body = nn.ReLU(), conv(4, 4), nn.ReLU(), conv(4, 4), nn.ReLU()
    return nn.Sequential(*ends, *body, conv(4, 16, 1), conv(16, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def pooled_convolutions() -> nn.Module:
    """Averages right behind convolutions, which fold into them anyway."""
    body = conv(3, 8), nn.ReLU(), conv(8, 8), nn.AvgPool2d(2), nn.ReLU(), conv(8, 8), nn.ReLU(), conv(8, 8)
    return nn.Sequential(*body, nn.ReLU(), conv(8, 8, 1), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))


def pooled_at_both_ends() -> nn.Module:
    """Two convolutions with averages before and behind: one matrix for both takes less than one for all."""
    body = conv(3, 8), nn.ReLU(), nn.AvgPool2d(2), conv(8, 8), nn.ReLU(), conv(8, 8), nn.ReLU()
    return nn.Sequential(*body, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(8, 5))


def dead_taps() -> nn.Module:
    """Images of one position, where most of a kernel meets padding, and goes without options, too."""
    body = conv(3, 8, stride=4), nn.ReLU(), conv(8, 8, stride=2), nn.ReLU(), conv(8, 8), nn.ReLU(), conv(8, 8, groups=8)
    return nn.Sequential(*body, nn.ReLU(), conv(8, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5))


def dropouts() -> nn.Module:
    """A dropout between a convolution and its norm."""
    body = conv(3, 4), nn.ReLU(), conv(4, 4), nn.Dropout(), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 4), nn.ReLU()
    return nn.Sequential(*body, *head(4))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "aliased": Aliased,
    "touching": Touching,
    "linear neighbours": linear_neighbours,
    "pooled convolutions": pooled_convolutions,
    "pooled at both ends": pooled_at_both_ends,
    "dead taps": dead_taps,
    "dropouts": dropouts,
    "attention": lambda: nn.Sequential(nn.Linear(8, 8), Attention(), Attention(), nn.Flatten(), nn.Linear(64, 2)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def example(name: str) -> Tensor:
    shape = (2, 8, 8) if name == "attention" else (2, 3, 8, 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


@pytest.fixture(scope="module")
def scene(network: nn.Module, example: Tensor) -> Scene:
    return Scene.of(network, example)


@pytest.fixture(scope="module")
def listing(scene: Scene) -> Listing:
    found = options.find(scene, REQUEST)
    assert found.options
    return found


def require_as_said(network: nn.Module, example: Tensor, taken: list[Option]) -> None:
    full, shorter = folded_by(network, example, []), folded_by(network, example, taken)
    saved = sum(each.macs_before - each.macs_after for each in taken)
    assert macs(shorter, example) == macs(full, example) - saved, [each.name for each in taken]
    gone = [path for each in taken for path in each.removed]
    assert len(gone) == len(set(gone))
    assert set(activations(shorter)) == set(activations(network)) - set(gone)


@pytest.mark.slow
def test_each_option_costs_what_it_says(network: nn.Module, example: Tensor, listing: Listing) -> None:
    for option in listing.options:
        require_as_said(network, example, [option])


def test_two_that_do_not_touch_add_up(name: str, network: nn.Module, example: Tensor, listing: Listing) -> None:
    pairs = [pair for pair in itertools.combinations(listing.options, 2) if pair[1].first >= pair[0].after]
    assert bool(pairs) == (name in ("touching", "linear neighbours", "dead taps", "attention"))
    for one, other in pairs[:12]:
        require_as_said(network, example, [one, other])


def test_each_segment_alone_costs_what_it_costs_in_the_network(scene: Scene, listing: Listing) -> None:
    for option in listing.options:
        alone = options.alone(scene, option, REQUEST)
        assert (alone is None) == (option.signature == ""), option.name
        if alone is not None:
            kept = fold(alone.network, alone.example, choose=edits.merging(())).network
            assert macs(kept, alone.example) == option.macs_before, option.name
            assert macs(folded_by(alone.network, alone.example, [option]), alone.example) == option.macs_after


def test_what_is_merged_in_the_unfolded_network_is_no_option() -> None:
    network = NETWORKS["linear neighbours"]().eval()
    found = options.find(Scene.of(network, torch.randn(2, 3, 8, 8)), REQUEST)
    assert "0..1:plain" not in {option.name for option in found.options}
    assert "1..3:plain" not in {option.name for option in found.options}  # it would part them
    assert "3..5:plain" in {option.name for option in found.options}


def test_a_block_that_is_skipped_has_no_life_of_its_own() -> None:
    torch.manual_seed(0)
    scene = Scene.of(NETWORKS["attention"]().eval(), torch.randn(2, 8, 8))
    skips = [option for option in options.find(scene, REQUEST).options if option.form == "skip"]
    assert [option.name for option in skips] == [f"{path}:skip" for path in blocks.blocks(scene.network, scene.example)]
    assert all(options.alone(scene, option, REQUEST) is None for option in skips)


class Padded(nn.Module):
    """Two pairs of convolutions that differ in nothing but on which sides a call pads the first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 2, padding=at % 2) for at in range(4)])
        self.relus = nn.ModuleList([nn.ReLU() for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        for at, sides in ((0, (0, 1, 0, 1)), (2, (1, 0, 1, 0))):
            x = self.relus[at](self.layers[at](functional.pad(x, sides)))
            x = self.relus[at + 1](self.layers[at + 1](x))[:, :, 1:, 1:]
        return x


def signatures(network: nn.Module, example: Tensor) -> dict[str, str]:
    found = options.find(Scene.of(network.eval(), example), REQUEST)
    return {option.name: option.signature for option in found.options if option.form in ("plain", "tail")}


def test_segments_of_which_functions_get_other_numbers_have_other_signatures() -> None:
    found = signatures(Padded(), torch.randn(2, 4, 8, 8))
    assert found["layers.0..layers.1:plain"] != found["layers.2..layers.3:plain"]


@pytest.mark.slow
def test_a_signature_is_the_same_in_every_process() -> None:
    code = (
        "import torch; from torch import nn; from harness.compress import options as o, scenes; "
        "from harness.records.planned import OptionsRequest as R; torch.manual_seed(0); "
        "n = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)).eval(); "
        "f = o.find(scenes.Scene.of(n, torch.randn(2, 3, 8, 8)), R('', '', forms=('tail',))); "
        "print(*(each.signature for each in f.options))"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert said[0].stdout.split() == said[1].stdout.split() != []
