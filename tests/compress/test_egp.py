"""EGP's entropies, budgets and rounds are what the formulas say; its empty layers go, and nothing else changes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import depthwise
from torch import Tensor, nn

from harness import content
from harness.compress import activations, client, edits, fold, mergeable, train
from harness.compress.methods import _budgets
from harness.compress.schedules import Schedule
from harness.compress.state import AfterStep, Penalty, State
from harness.errors import UsageError
from harness.records import Choice, LadderRequest

egp = content.load("method", "egp")
QUARTER = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))  # H(1/4) = 0.8113


class Held(NamedTuple):
    """The part of a task that entropies are taken on."""

    images: Tensor
    labels: Tensor


class Block(nn.Module):
    """A residual block with its stem and head: there is a way around its convolutions, none around stem and head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu2(self.conv2(self.relu1(self.bn1(self.conv1(x)))) + x)
        return self.head(x.mean((2, 3)))


def state_of(network: nn.Module, images: Tensor, names: tuple[str, ...] | None = None) -> State:
    names = activations(network) if names is None else names
    held_out = Held(images, torch.zeros(len(images), dtype=torch.int64))
    return State(_copy(network).eval(), images[:2], names, names, held_out)  # a copy, as a climb gives


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand() -> tuple[nn.Sequential, Tensor]:
    """Two layers, four images. Both channels of the first are ON three times of four; of the second see the tests."""
    network = nn.Sequential(nn.Linear(2, 2, False), nn.ReLU(), nn.Linear(2, 2, False), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        network[2].weight.copy_(torch.tensor([[3.0, 0.0], [1.0, -1.0]]))
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    return network.double(), images  # behind the first ReLU (1, 2), (1, 0), (1, 2), (0, 2)


def test_a_round_of_a_case_worked_by_hand() -> None:
    choice = egp.choose(state_of(*by_hand()), egp.Recipe())
    # the second layer reads 3, 3, 3, 0 (0 is OFF: p = 3/4) and -1, 1, -1, -2 (p = 1/4)
    assert choice.scores == pytest.approx({"1": QUARTER * (1 + 2) / 2, "3": QUARTER * (3 + 1 + 1) / 3}, rel=1e-12)
    assert list(choice.scores) == ["1", "3"]
    assert choice.chosen == ()
    assert choice.setting == pytest.approx(1 - 3 / 8)  # of 8 weights, 3 of which were 0 already, floor(5 / 2) more are


def test_the_smallest_weights_of_each_layer_go_as_many_as_its_budget_says() -> None:
    state = state_of(*by_hand())
    network, made = egp.shorten(state, Choice((), {}, None, None), egp.Recipe())
    assert made == ()
    assert network[0].weight.tolist() == [[0, 0], [0, 2]]
    assert network[2].weight.tolist() == [[3, 0], [0, -1]]  # of two equally small ones the first
    assert (network[4].weight != 0).all()  # no activation behind it: not listed


@pytest.mark.parametrize("images", [3, 64, 150])
def test_entropies_and_irrelevance_equal_an_independent_calculation(images: int) -> None:
    torch.manual_seed(0)
    network = (
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU()).double().eval()
    )
    network[0].weight.data[0, :, 0] = 0.0
    nn.init.constant_(network[1].bias[2:3], 9.0)  # a channel that is always ON
    x = normal(images, 3, 8, 8)
    scores = egp.choose(state_of(network, x, ("2", "4")), egp.Recipe()).scores
    with torch.no_grad():
        inputs = {"2": network[:2](x), "4": network[:4](x)}
    for name, layer in (("2", network[0]), ("4", network[3])):
        assert scores[name] == pytest.approx(plainly(inputs[name].numpy(), layer.weight.detach().numpy()), rel=1e-12)


def plainly(z: np.ndarray, weight: np.ndarray) -> float:
    """The definition, number by number."""
    entropies = []
    for channel in range(z.shape[1]):
        values = z[:, channel].ravel().tolist()
        p = sum(1 for value in values if value > 0) / len(values)
        if 0 < p < 1:
            entropies.append(-p * math.log2(p) - (1 - p) * math.log2(1 - p))
    live = [abs(value) for value in weight.ravel().tolist() if value != 0]
    return sum(entropies) / len(entropies) * sum(live) / len(live)


def test_tokens_have_their_channels_last_images_theirs_first() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.GELU(), nn.Linear(2, 3)).double()
    x = normal(6, 4, 5, 3)  # as Swin's maps: [N, H, W, C]
    scores = egp.choose(state_of(network, x, ("1",)), egp.Recipe()).scores
    with torch.no_grad():
        z = network[0](x).movedim(-1, 1).numpy()
    assert scores["1"] == pytest.approx(plainly(z, network[0].weight.detach().numpy()), rel=1e-12)


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_budgets_of_a_case_worked_by_hand() -> None:
    layers = {"a": 1.0, "b": 2.0}  # R = 3 and 1.5: shares 1 and exp(-1.5) = 0.223, that is 8.18 and 1.82 of ten
    assert _budgets.budgets(layers, {"a": 100, "b": 100}, 10) == {"a": 8, "b": 2}
    assert _budgets.budgets(layers, {"a": 5, "b": 100}, 10) == {"a": 5, "b": 5}
    assert _budgets.budgets(layers, {"a": 5, "b": 3}, 10) == {"a": 5, "b": 3}
    assert _budgets.budgets({}, {}, 10) == {}


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e3), st.integers(0, 10_000)), min_size=1, max_size=12),
    st.integers(0, 50_000),
)
def test_budgets_spend_all_that_caps_allow_and_favour_what_matters_least(
    layers: list[tuple[float, int]], total: int
) -> None:
    irrelevances = {str(at): value for at, (value, _) in enumerate(layers)}
    caps = {str(at): cap for at, (_, cap) in enumerate(layers)}
    shared = _budgets.budgets(irrelevances, caps, total)
    assert sum(shared.values()) == min(total, sum(caps.values()))
    assert all(0 <= shared[name] <= caps[name] for name in caps)
    for one in caps:
        for other in caps:
            both_open = (
                shared[one] < caps[one] and shared[other] < caps[other]
            )  # what was filled left an earlier sharing
            if irrelevances[one] <= irrelevances[other] and both_open:
                assert shared[one] >= shared[other] - 1  # rounding aside


@pytest.mark.parametrize("seed", range(5))
def test_budgets_equal_an_independent_calculation(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, caps, total = random.uniform(0.5, 1.5, 6), random.integers(20, 400, 6), 600
    given_, open_ = np.zeros(6), np.ones(6, bool)
    while True:  # without a function in common, and in whole numbers only at the end
        ratios = np.where(open_, values[open_].sum() / values, -np.inf)
        shares = np.exp(ratios - ratios.max())
        want = (total - given_[~open_].sum()) * shares / shares.sum()
        over = open_ & (want >= caps)
        if not over.any():
            break
        given_[over], open_ = caps[over], open_ & ~over
    given_[open_] = want[open_]
    shared = _budgets.budgets(dict(zip("abcdef", values, strict=True)), dict(zip("abcdef", caps, strict=True)), total)
    assert np.abs(np.array(list(map(shared.get, "abcdef")), float) - given_).max() < 1


# --- what becomes linear ---------------------------------------------------------------------------------------------


def test_an_activation_whose_channels_never_change_becomes_linear_without_a_change_on_the_data() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    network, images = network.double().eval(), normal(8, 3, 6, 6)
    with torch.no_grad():
        network[0].weight[3] = 0  # a constant: act(beta)
        network[1].bias.copy_(torch.tensor([40.0, -40.0, 50.0, -0.5]))  # ON, OFF, ON, OFF
    state = state_of(network, images)
    with torch.no_grad():
        before = network(images)
    choice = egp.choose(state_of(network, images), egp.Recipe())
    assert (choice.chosen, choice.scores) == (("2",), {"2": 0.0})
    shortened, made = egp.shorten(state, choice, egp.Recipe())
    linear = edits.apply(shortened, made, images)
    assert isinstance(linear[2], nn.Identity)
    with torch.no_grad():
        assert torch.allclose(linear(images), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.ReLU6()], ids=["relu", "gelu", "relu6"])
def test_a_layer_with_a_way_around_it_is_emptied_and_linear_exactly(act: nn.Module) -> None:
    torch.manual_seed(0)
    network, images = Block(), normal(8, 3, 6, 6)
    network.relu1 = act
    network.double().eval()
    with torch.no_grad():
        network.bn1.bias.uniform_(-1, 1)
        network.conv1.weight.mul_(1e-6)  # the least of all: it goes first, though its channels are ON and OFF as before
        network.bn1.running_var.fill_(1e-12)
        network.bn1.eps = 0.0
    state = state_of(network, images, ("relu1", "relu2"))
    choice = egp.choose(state_of(network, images, ("relu1", "relu2")), egp.Recipe())
    assert choice.chosen == ("relu1",) and choice.scores["relu1"] > 0
    with torch.no_grad():
        pruned = _copy(network)
        pruned.conv1.weight.zero_()
        shortened, made = egp.shorten(state, choice, egp.Recipe())
        pruned.conv2.load_state_dict(shortened.conv2.state_dict())
        assert torch.allclose(edits.without_activations(shortened, made[0])(images), pruned(images), rtol=0, atol=1e-12)


def _copy(network: nn.Module) -> Any:
    import copy

    return copy.deepcopy(network)


def test_an_activation_behind_an_add_stays_when_its_layer_is_empty() -> None:
    network, images = Block().double().eval(), normal(8, 3, 6, 6)
    with torch.no_grad():
        network.conv2.weight.mul_(1e-6)
    choice = egp.choose(state_of(network, images, ("relu1", "relu2")), egp.Recipe())
    assert next(iter(choice.scores)) == "relu2"
    assert choice.chosen == ()


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5])
def test_a_layer_that_is_the_only_path_is_never_emptied(floor: float) -> None:
    torch.manual_seed(0)
    network, images = Block().double().eval(), normal(8, 3, 6, 6)
    with torch.no_grad():
        network.stem.weight.mul_(1e-6)
        network.stem.bias.mul_(1e-6)
    weights = network.stem.weight.numel()
    state = state_of(network, images, ("relu",))
    shortened, _ = egp.shorten(state, egp.choose(state_of(network, images), egp.Recipe()), egp.Recipe(0.9, floor))
    left = int((shortened.stem.weight != 0).sum())
    assert left >= max(1, math.ceil(floor * weights))
    if floor == 0.5:
        assert left == math.ceil(floor * weights)  # what it lost is what it could


def test_where_nothing_can_be_pruned_any_more_the_ladder_ends() -> None:
    network, images = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1)), normal(8, 3, 4, 4)
    network.double()
    with torch.no_grad():
        network[0].weight[0, :2] = 0  # one weight is left, and there is no way around it
    assert egp.choose(state_of(network, images), egp.Recipe()) is None
    assert egp.choose(state_of(network, images, ()), egp.Recipe()) is None


def test_choosing_leaves_no_hook_and_is_the_same_every_time() -> None:
    network, images = Block().double().eval(), normal(8, 3, 6, 6)
    one, two = (egp.choose(state_of(network, images), egp.Recipe()) for _ in range(2))
    assert one == two
    state = state_of(network, images)
    egp.choose(state, egp.Recipe())
    assert not any(module._forward_pre_hooks for module in state.network.modules())


# --- around the choice -----------------------------------------------------------------------------------------------


class Lesson:
    """A training on random labels: two epochs, as the ladder's, of the same loop."""

    epochs = 2

    def __init__(self, images: Tensor) -> None:
        self.part = Held(images, torch.arange(len(images)) % 2)

    def fit(self, network: nn.Module, penalty: Penalty | None = None, after_step: AfterStep | None = None) -> None:
        train.fit(
            network,
            self.part,
            Schedule(2, 0.1),
            0,
            lambda *_: None,
            train.Extras(penalty=penalty, after_step=after_step),
        )


def test_pruned_weights_stay_zero_while_the_others_are_trained() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        network[0].weight[:, 1] = 0
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    egp.tune(network, Lesson(normal(32, 3, 6, 6).float()), egp.Recipe())
    assert (network[0].weight[:, 1] == 0).all()
    assert (network[0].weight[:, 0] != before["0.weight"][:, 0]).all()
    assert (network[4].weight != before["4.weight"]).any()


def test_channels_without_weights_are_cut_at_the_end_and_no_prediction_changes() -> None:
    torch.manual_seed(0)
    network, images = Block().double().eval(), normal(8, 3, 6, 6)
    with torch.no_grad():
        network.conv1.weight[:4] = 0
        network.bn1.bias.uniform_(-1, 1)
    state = state_of(network, images, ("relu1",))
    finished, made = egp.finish(state, egp.Recipe())
    (edit,) = made
    assert (edit.kind, edit.names) == ("narrow", ("relu1",))
    cut = edits.apply(finished, made, images)
    assert cut.conv1.out_channels == 6 - len(edit.channels) <= 3
    with torch.no_grad():
        assert torch.allclose(cut(images), network(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"zeta": 0.0}, "zeta = 0 is to be above 0"),
        ({"zeta": 1.0}, "zeta = 1 is to be above 0"),
        ({"floor": 1.0}, "floor = 1 is to be at least 0"),
        ({"floor": -0.1}, "floor = -0.1 is to be at least 0"),
        ({"zeta": math.nan}, "zeta = nan"),
    ],
)
def test_settings_that_are_no_shares_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        egp.check(("relu",), egp.Recipe(**settings))


def test_an_activation_without_a_layer_in_front_is_refused_before_anything_is_trained() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 1))
    with pytest.raises(UsageError, match="activation 0 has no convolution or linear layer in front"):
        egp.units(state_of(network.double(), normal(2, 3, 4, 4)), egp.Recipe())


@pytest.mark.parametrize("build", [depthwise, Block], ids=["depthwise", "residual"])
def test_rounds_of_other_networks_fold_exactly(build: Any) -> None:
    """Depthwise convolutions and ReLU6, as MobileNetV2 has them, and a residual block."""
    torch.manual_seed(0)
    network, images = build().eval(), normal(16, 3, 8, 8).float()
    recipe, names = egp.Recipe(zeta=0.7), mergeable(network, images[:2])
    for _ in range(3):
        left = tuple(name for name in names if name in activations(network))
        choice = egp.choose(state_of(network, images, left), recipe)
        if choice is None:
            break
        network, made = egp.shorten(state_of(network, images, left), choice, recipe)
        network = edits.apply(network, made, images[:2])
        before = network.eval()(images).detach()
        network, made = egp.finish(state_of(network, images, names), recipe)
        network = edits.apply(network, made, images[:2]).eval()
        assert torch.allclose(network(images), before, rtol=1e-4, atol=1e-5)
        assert fold(network, images[:2]).max_error <= 1e-12


@pytest.mark.slow
def test_a_ladder_prunes_round_by_round_and_folds_exactly() -> None:
    request = LadderRequest(
        method="egp", model="tiny", task="tiny", threads=1, recipe={"zeta": 0.7}, eligible="all", rungs=4
    )
    ladder = client.climb(request, lambda _: None)
    _, *rounds = ladder.rungs
    settings = [rung.setting for rung in rounds]
    assert settings == sorted(settings) and settings[0] == pytest.approx(0.7, abs=0.01)
    assert all(rung.fold_error_f64 <= 1e-12 and rung.fold_error <= 1e-5 for rung in ladder.rungs)
    assert rounds[-1].removed > 0
    for above, below in zip(ladder.rungs, rounds, strict=False):
        assert below.choice is not None
        assert below.removed_names == (*above.removed_names, *below.choice.chosen)
        assert below.epochs == above.epochs + 1
