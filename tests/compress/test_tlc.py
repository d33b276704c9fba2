"""TLC's errors are those of the normal distribution, its order that of the loss, and what it cuts changes nothing more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from told import Told, kill_child
from torch import Tensor, nn

from harness import content
from harness.compress import client, edits
from harness.compress.edits import Edit
from harness.compress.state import State
from harness.errors import HarnessError, TrainError, UsageError
from harness.records import Choice, Ladder, LadderRequest

tlc = content.load("method", "tlc")
REQUEST = LadderRequest(method="tlc", model="tiny", task="tiny", threads=1)
IMAGES = (3, 8, 8)


class Held(NamedTuple):
    """A part of a task."""

    images: Tensor
    labels: Tensor


def state(network: nn.Module, images: Tensor, names: tuple[str, ...], step: int = 1) -> State:
    held_out = Held(images, torch.arange(len(images)) % 2)
    return State(network.eval(), images[:2], names, names, held_out, step=step)


def planned(network: nn.Module, images: Tensor, name: str, **recipe: Any) -> Any:
    return tlc.plans(state(network, images, (name,)), (name,), tlc.Recipe(**recipe))[name]


def with_shifts(norm: nn.Module, shifts: list[float], scales: list[float] | None = None) -> None:
    with torch.no_grad():
        norm.bias.copy_(torch.tensor(shifts))
        norm.weight.copy_(torch.tensor(scales or [1.0] * len(shifts)))


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_scipy_with_the_sign_of_gamma_ignored() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    shifts, scales = [2.0, 0.5, -0.3, -1.0], [1.0, -2.0, 0.7, -3.0]
    with_shifts(network[1], shifts, scales)
    plan = planned(network, torch.randn(8, *IMAGES), "2")
    expected = [scipy.stats.norm.cdf(-abs(b) / abs(g)) for b, g in zip(shifts, scales, strict=True)]
    assert plan.off == (2, 3)
    assert plan.errors.tolist() == pytest.approx(expected, abs=1e-7)
    assert plan.error == pytest.approx(sum(expected) / 4, abs=1e-7)


@pytest.mark.parametrize("knee", [None, 6.0], ids=["relu", "relu6"])
def test_errors_are_the_shares_of_inputs_for_which_the_forced_channel_is_wrong(knee: float | None) -> None:
    """Drawn at random: an activation that is forced to be linear or 0 gives something else than it did."""
    mean, sd = torch.tensor([3.0, 7.0, 0.4, -0.5, -4.0]).double(), torch.tensor([2.0, 1.0, 5.0, 1.0, 3.0]).double()
    off = tlc.switched_off(mean)
    z = np.random.default_rng(0).normal(mean, sd, (200_000, 5))
    activated = np.clip(z, 0, knee)
    wrong = np.where(np.isin(np.arange(5), off), activated != 0, activated != z)
    assert tlc.channel_errors(mean, sd, off, knee).numpy() == pytest.approx(wrong.mean(axis=0), abs=0.005)


def test_a_relu6_is_wrong_above_its_upper_knee_too() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU6())
    with_shifts(network[1], [6.0, 1.0])
    errors = planned(network, torch.randn(8, *IMAGES), "2").errors.tolist()
    norm = scipy.stats.norm
    assert errors == pytest.approx([norm.sf(6) + 0.5, norm.sf(1) + norm.sf(5)], abs=1e-7)


def test_a_channel_that_is_always_the_same_is_never_wrong_unless_forced_the_other_way() -> None:
    mean, none = torch.tensor([0.0, 1.0, -1.0]), torch.zeros(3)
    assert tlc.channel_errors(mean, none, (0, 2)).tolist() == [0.0, 0.0, 0.0]
    assert tlc.channel_errors(mean, none, ()).tolist() == [0.0, 0.0, 1.0]


def test_of_channels_that_are_all_off_the_greatest_stays_and_its_error_is_that_of_being_linear() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    with_shifts(network[1], [-3.0, -1.0, -2.0])
    plan = planned(network, torch.randn(8, *IMAGES), "2")
    assert plan.off == (0, 2)
    assert plan.errors[1].item() == pytest.approx(scipy.stats.norm.cdf(1.0))  # wrong wherever it was off


def test_without_cutting_all_channels_are_linear_and_errors_are_those_of_that() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    with_shifts(network[1], [1.0, -1.0])
    plan = planned(network, torch.randn(8, *IMAGES), "2", off="linear")
    assert plan.off == ()
    assert plan.errors.tolist() == pytest.approx([scipy.stats.norm.cdf(-1), scipy.stats.norm.cdf(1)], abs=1e-7)


# --- what stands in front ----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A residual block: its last activation reads a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(inner)) + x).mean((2, 3))


def test_what_reads_a_sum_is_measured_and_none_of_its_channels_is_zeroed() -> None:
    torch.manual_seed(0)
    network, images = Block().eval(), torch.randn(100, *IMAGES) - 0.5
    with_shifts(network.bn2, [5.0, 5.0, 5.0])  # what the released code would go by
    with torch.no_grad():
        z = (network.bn2(network.conv2(network.relu1(network.bn1(network.conv1(images))))) + images).double().numpy()
    plan = planned(network, images, "relu2")
    expected = scipy.stats.norm.cdf(-z.mean((0, 2, 3)) / z.std((0, 2, 3)))
    assert plan.off == ()
    assert plan.errors.numpy() == pytest.approx(expected, abs=1e-5)
    assert planned(network, images, "relu1").front == tlc_front("bn1", "conv1")


def tlc_front(norm: str | None, layer: str | None) -> Any:
    from harness.compress.methods._silencing import Front

    return Front(norm, layer, silent=True)


class Shared(nn.Module):
    """A BatchNorm and a convolution that something else reads besides their activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn, self.relu1 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv1(x))
        x = self.conv2(x + self.relu1(x))
        return (x + self.relu2(x)).mean((2, 3))


@pytest.mark.parametrize("name", ["relu1", "relu2"])
def test_what_others_read_too_is_not_zeroed(name: str) -> None:
    torch.manual_seed(0)
    network = Shared()
    with_shifts(network.bn, [1.0, -1.0, -1.0])
    network.conv2.bias.data.copy_(torch.tensor([-1.0, -1.0, 1.0]))
    plan = planned(network, torch.randn(50, *IMAGES), name)
    assert (plan.off, plan.front.silent) == ((), False)
    assert sorted(error > 0.5 for error in plan.errors.tolist()) == [False, True, True]


class Mlp(nn.Module):
    """A transformer's MLP over [N, H, W, channels], LayerNorm in front, as Swin has it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wider, self.gelu = nn.LayerNorm(3), nn.Linear(3, 8), nn.GELU()
        self.drop, self.back = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return (x + self.back(self.drop(self.gelu(self.wider(self.norm(x)))))).mean((1, 2))


def test_behind_a_layer_norm_mean_and_deviation_are_measured_over_images_and_tokens() -> None:
    torch.manual_seed(0)
    network, images = Mlp().eval(), torch.randn(100, *IMAGES)
    with torch.no_grad():
        z = network.wider(network.norm(images.permute(0, 2, 3, 1))).double().numpy().reshape(-1, 8)
    plan = planned(network, images, "gelu")
    assert plan.off == tuple(np.flatnonzero(z.mean(0) <= 0))
    assert plan.errors.numpy() == pytest.approx(scipy.stats.norm.cdf(-abs(z.mean(0)) / z.std(0)), abs=1e-5)
    assert plan.front == tlc_front(None, "wider")


# --- the order -------------------------------------------------------------------------------------------------------


def chain() -> nn.Module:
    """Three activations behind BatchNorms, shifts as one likes."""
    torch.manual_seed(0)
    layers = [
        part for channels in (3, 4, 4) for part in (nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_by_the_error_that_goes_which_is_most_of_one_mind() -> None:
    network = chain()
    with_shifts(network[1], [1.0, -1.0, 1.0, -1.0])  # E = Phi(-1) = 0.159
    with_shifts(network[4], [3.0, -3.0, 3.0, -3.0])  # Phi(-3) = 0.001
    with_shifts(network[7], [2.0, -2.0, 0.1, -0.1])  # (Phi(-2) + Phi(-0.1)) / 2 = 0.241
    choice = tlc.choose(state(network, torch.randn(8, *IMAGES), ("2", "5", "8")), tlc.Recipe(rank="error"))
    assert choice.chosen == ("5",)
    assert list(choice.scores) == ["5", "2", "8"]
    assert list(choice.scores.values()) == pytest.approx([0.00135, 0.15866, 0.24146], abs=1e-5)
    assert (choice.gap, choice.gap_error) == (pytest.approx(0.15731, abs=1e-5), None)


def test_by_the_loss_scores_are_gaps_on_every_image_of_the_held_out_part() -> None:
    network, names = chain(), ("2", "5", "8")
    images = torch.randn(150, *IMAGES)
    with_shifts(network[4], [0.5, -0.5, 0.3, 2.0])
    given = state(network, images, names)
    choice = tlc.choose(given, tlc.Recipe())
    plainly: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for name, norm in zip(("", *names), (None, network[1], network[4], network[7]), strict=True):
            keep = torch.ones(4) if norm is None else (norm.bias > 0).float()
            if norm is not None and not keep.any():
                keep[norm.bias.argmax()] = 1
            x = images
            for at, layer in enumerate(network):
                x = x * keep[:, None, None] if str(at) == name else layer(x)
            log_p = torch.log_softmax(x.double(), 1).numpy()
            plainly[name] = -log_p[np.arange(150), given.held_out.labels.numpy()]
    expected = {name: (plainly[name] - plainly[""]).mean() for name in names}
    assert choice.scores == pytest.approx(expected, abs=1e-6)
    assert list(choice.scores) == sorted(expected, key=expected.__getitem__)
    first, second = list(choice.scores)[:2]
    assert choice.gap_error == pytest.approx((plainly[second] - plainly[first]).std(ddof=1) / 150**0.5, rel=1e-4)


def test_only_those_of_least_error_have_their_loss_taken_and_always_one_more_than_go() -> None:
    network, images = chain(), torch.randn(8, *IMAGES)
    for at, shift in ((1, 0.1), (4, 3.0), (7, 1.0)):
        with_shifts(network[at], [shift] * 4)

    def tried(count: int, step: int) -> set[str]:
        return set(tlc.choose(state(network, images, ("2", "5", "8"), step), tlc.Recipe(tried=count)).scores)

    assert (tried(2, 1), tried(1, 1), tried(1, 2)) == ({"5", "8"}, {"5", "8"}, {"2", "5", "8"})


class Votes(nn.Module):
    """The first of two logits is the sum of what three activations make of -1, with a weight for each."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.acts, self.weights = nn.ModuleList(nn.ReLU() for _ in weights), weights

    def forward(self, x: Tensor) -> Tensor:
        logit = self.acts[0](x) * self.weights[0]
        for act, weight in zip(self.acts[1:], self.weights[1:], strict=True):
            logit = logit + act(x) * weight
        return torch.cat([logit, torch.zeros_like(logit)], dim=1)


class Pact(Votes):
    """Two votes that lower the first logit, either alone, and raise it together."""

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.acts[0](x), self.acts[1](x)
        logit = 2 * one * other + self.weights[0] * one + self.weights[1] * other
        return torch.cat([logit, torch.zeros_like(logit)], dim=1)


def chosen_of_votes(weights: tuple[float, ...], joint: bool, kind: type[Votes] = Votes) -> tuple[str, ...]:
    names = tuple(f"acts.{at}" for at in range(len(weights)))
    network, x = kind(*weights).eval(), torch.full((4, 1), -1.0)
    given = State(network, x, names, names, Held(x, torch.zeros(4, dtype=torch.int64)))
    choice: Choice = tlc.choose(given, tlc.Recipe(joint=joint))
    return choice.chosen


def test_together_go_as_many_as_leave_the_loss_no_higher_not_those_that_first_raise_it() -> None:
    """Loss log(1 + exp(-logit)), logit 0 before. Linear, each adds -weight: 1, then 0.4, then -0.4 in all."""
    assert chosen_of_votes((0.6, -1.0, 0.8), joint=True) == ("acts.1", "acts.0")
    assert chosen_of_votes((0.6, -1.0, 0.8), joint=False) == ("acts.1",)


def test_where_the_first_already_raises_the_loss_it_goes_alone() -> None:
    assert chosen_of_votes((0.6, 0.5, 0.8), joint=True) == ("acts.1",)
    assert chosen_of_votes((0.6, 0.5), joint=True, kind=Pact) == ("acts.1",)


def test_all_go_together_where_none_raises_the_loss() -> None:
    assert chosen_of_votes((-0.6, -0.5, -0.8), joint=True) == ("acts.2", "acts.0", "acts.1")


def test_no_candidate_ends_the_ladder() -> None:
    assert tlc.choose(state(chain(), torch.randn(8, *IMAGES), ()), tlc.Recipe()) is None


def test_losses_that_are_no_numbers_end_the_ladder_with_a_reason() -> None:
    network = chain()
    nn.init.constant_(network[-1].bias, math.nan)
    with pytest.raises(TrainError, match="not a finite number") as caught:
        tlc.choose(state(network, torch.randn(8, *IMAGES), ("2", "5")), tlc.Recipe())
    assert "rungs are kept" in caught.value.hint


def test_recipes_and_networks_it_cannot_do_with_are_refused() -> None:
    with pytest.raises(UsageError, match="tried=0"):
        tlc.check((), tlc.Recipe(tried=0))
    with pytest.raises(UsageError, match="needs the loss"):
        tlc.check((), tlc.Recipe(joint=True, rank="error"))
    network = nn.Sequential(nn.Tanh(), nn.ReLU6(), nn.ELU(), nn.GELU(), nn.Hardtanh())
    every = tuple("01234")
    assert tlc.units(state(network, torch.randn(2, 3), every), tlc.Recipe()) == ("1", "3")
    with pytest.raises(UsageError, match="tlc needs activations") as caught:
        tlc.units(state(network, torch.randn(2, 3), ("0", "2")), tlc.Recipe())
    assert "--method" in caught.value.hint


# --- what is done ----------------------------------------------------------------------------------------------------


def inverted() -> nn.Module:
    """MobileNetV2's: wide, depthwise between two ReLU6, narrow."""
    layers = [nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()]
    layers += [nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()]
    return nn.Sequential(*layers, nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def vgg() -> nn.Module:
    """VGG's: padded convolutions, a pooling, a classifier on the flattened image."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 16, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))


class Tied(nn.Module):
    """An activation whose channels are added to others behind it, so that none can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc((x + self.relu(self.bn(self.conv(x)))).mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "mobilenet": (inverted, ("2", "5")),
    "vgg": (vgg, ("2", "6", "9")),
    "swin": (Mlp, ("gelu",)),
    "resnet": (Block, ("relu1", "relu2")),
    "tied": (Tied, ("relu",)),
}
CUTS = {"mobilenet": {"2"}, "vgg": {"2", "6", "9"}, "swin": {"gelu"}, "resnet": {"relu1"}, "tied": set[str]()}


def drawn(build: Callable[[], nn.Module]) -> nn.Module:
    """The network with BatchNorms that are not the identity, in float64."""
    torch.manual_seed(1)
    network = build().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_cutting_changes_nothing_beyond_forcing_and_comes_before_linearity(kind: str) -> None:
    build, names = NETWORKS[kind]
    network, images = drawn(build), torch.randn(60, *IMAGES).double()
    given = state(network, images, names)
    wanted = tlc.forced(network, tlc.plans(given, names, tlc.Recipe()))
    shortened, made = tlc.shorten(given, Choice(names, {}, None, None), tlc.Recipe())
    *narrow, linear = made
    assert linear == Edit("linear", names)
    assert {edit.names[0] for edit in narrow} == CUTS[kind]
    done = edits.apply(shortened, narrow, images[:2])
    with torch.inference_mode():
        expected = wanted(images)
        found = tlc.forced(done, dict.fromkeys(names, tlc.Plan(tlc_front(None, None), (), torch.ones(1))))(images)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    parameters = [sum(parameter.numel() for parameter in each.parameters()) for each in (done, network)]
    assert parameters[0] < parameters[1] if CUTS[kind] else parameters[0] == parameters[1]


def test_edits_give_the_untrained_network_the_same_structure() -> None:
    build, names = NETWORKS["mobilenet"]
    given = state(drawn(build), torch.randn(60, *IMAGES).double(), names)
    shortened, made = tlc.shorten(given, Choice(names, {}, None, None), tlc.Recipe())
    done, again = (edits.apply(each, made, given.example) for each in (shortened, build().double().eval()))
    again.load_state_dict(done.state_dict())
    with torch.inference_mode():
        assert torch.equal(done(given.held_out.images), again(given.held_out.images))


def test_without_cutting_only_the_activation_goes_and_no_weight_changes() -> None:
    given = state(chain(), torch.randn(20, *IMAGES), ("2", "5"))
    before = {name: tensor.clone() for name, tensor in given.network.state_dict().items()}
    network, made = tlc.shorten(given, Choice(("5",), {}, None, None), tlc.Recipe(off="linear"))
    assert made == (Edit("linear", ("5",)),)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Steps:
    """A training of a few steps of gradient descent, each weight pushed."""

    epochs = 1

    def fit(self, network: nn.Module, penalty: Any = None, after_step: Callable[[], None] | None = None) -> None:
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.randn(8, *IMAGES).double()).square().sum().backward()
            optimizer.step()
            if after_step is not None:
                with torch.no_grad():
                    after_step()


def test_channels_that_cannot_be_cut_stay_at_zero_while_the_others_are_trained() -> None:
    network = drawn(Tied)
    with_shifts(network.bn, [1.0, -1.0, 2.0, -2.0])
    given = state(network, torch.randn(60, *IMAGES).double(), ("relu",))
    shortened, made = tlc.shorten(given, Choice(("relu",), {}, None, None), tlc.Recipe())
    done = edits.apply(shortened, made, given.example).train()
    before = {name: tensor.detach().clone() for name, tensor in done.named_parameters()}
    tlc.tune(done, Steps(), tlc.Recipe())
    for name, tensor in done.named_parameters():
        off = [1, 3] if name.startswith(("bn", "conv")) else []
        assert not tensor[off].any()
        moved = [channel for channel in range(len(tensor)) if channel not in off]
        assert (tensor[moved] != before[name][moved]).any()


# --- whole ladders ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that only look: the ladder in it is made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def ladder(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Ladder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    return client.climb(REQUEST, Told())


def lasting(ladder: Ladder) -> list[dict[str, Any]]:
    """What of each rung does not depend on when and where it was made."""
    return [asdict(replace(rung, variant=replace(rung.variant, program=""), seconds=None)) for rung in ladder.rungs]


def test_every_rung_is_narrower_where_channels_were_off_and_folds_exactly(ladder: Ladder) -> None:
    assert [rung.removed for rung in ladder.rungs] == [0, 1, 2, 3]
    for rung in ladder.rungs:
        assert rung.fold_error_f64 <= 1e-12
        assert rung.fold_error <= 1e-5
    for above, rung in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        assert rung.cost.depth == above.cost.depth - 1
        assert rung.choice.chosen[0] == next(iter(rung.choice.scores))
    made = edits.read(Path(ladder.rungs[-1].variant.program).parent)
    assert [edit.kind for edit in made] == ["narrow", "linear"] * 3


def test_a_second_climb_is_cached(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MODULE", "no.such.module")  # starting it would fail
    again = client.climb(REQUEST, Told())
    assert again.cached
    assert lasting(again) == lasting(ladder)


@pytest.mark.slow
def test_a_climb_that_was_killed_goes_on_to_the_same_rungs(
    ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is yet
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(REQUEST, Told("rung 2 of 3, choosing", kill_child))
    told = Told()
    assert lasting(client.climb(REQUEST, told)) == lasting(ladder)
    assert not any("rung 1 " in line for line in told.lines)


@pytest.mark.slow
def test_all_activations_go_several_at_once_where_the_loss_allows_it() -> None:
    found = client.climb(replace(REQUEST, eligible="all", recipe={"joint": True}), Told())
    assert found.rungs[-1].removed == 7
    assert all(rung.fold_error_f64 <= 1e-12 for rung in found.rungs)
