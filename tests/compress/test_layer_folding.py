"""Layer Folding learns the slopes that its loss says, and removes by them what the paper removes, in that order."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from told import Told, kill_child
from torch import Tensor, nn

from harness import content
from harness.compress import activations, client, edits, fold, mergeable, models, recipes, train
from harness.compress.edits import Edit
from harness.compress.schedules import Budget, Schedule, split_evenly
from harness.compress.slopes import Blend, alphas, blend
from harness.compress.state import AfterStep, Penalty, State
from harness.errors import HarnessError, TrainError, UsageError
from harness.records import Choice, Ladder, LadderRequest

folding = content.load("method", "layer-folding")
MODELS = ("resnet18", "mobilenet_v2", "vgg16_bn", "swin_t")
REQUEST = LadderRequest(
    method="layer-folding", model="tiny", task="tiny", threads=1, budget_epochs=6, recipe={"threshold": 0.0}
)


class Part(NamedTuple):
    """A part of a task."""

    images: Tensor
    labels: Tensor


class Lesson:
    """A training on given data in the loop that all methods share."""

    def __init__(self, part: Part, schedule: Schedule) -> None:
        self.part, self.schedule, self.epochs = part, schedule, schedule.epochs
        self.lowest, self.highest = math.inf, -math.inf

    def fit(self, network: nn.Module, penalty: Penalty | None = None, after_step: AfterStep | None = None) -> None:
        def watched() -> None:
            if after_step is not None:
                after_step()
            slopes = [module.alpha.item() for module in network.modules() if isinstance(module, Blend)]
            self.lowest, self.highest = min(self.lowest, *slopes, 1), max(self.highest, *slopes, 0)

        extras = train.Extras(penalty, watched)
        train.fit(network, self.part, self.schedule, 0, lambda epoch, loss: None, extras)


class OneSlope(nn.Module):
    """Logits (s(-1), 0) whatever it is shown: of all there is, only the slope of `act` can be learned."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        z = self.act(-torch.ones_like(x[:, :1]))
        return torch.cat([z, torch.zeros_like(z)], dim=1)


def learned(share: float, weight: float) -> tuple[float, Lesson]:
    """The slope that is learned where `share` of 20 images are of class 0."""
    count = round(20 * share)
    part = Part(torch.zeros(20, 1), torch.tensor([0] * count + [1] * (20 - count)))
    lesson = Lesson(part, Schedule(300, 0.3, "sgd", "constant", (), 20, 0.9, weight_decay=0.0))
    network, made = folding.begin(State(OneSlope(), part.images[:2], ("act",), ()), lesson, folding.Recipe(weight))
    assert made == (Edit("slopes", ("act",)),)
    return alphas(network, ("act",))["act"].item(), lesson


def sloped(**slopes: float) -> nn.Module:
    """A network of activations with these slopes."""
    network = blend(nn.ModuleDict({name: nn.ReLU() for name in slopes}), tuple(slopes))
    for name, alpha in alphas(network, tuple(slopes)).items():
        alpha.data.fill_(slopes[name])
    return network


def state_of(network: nn.Module, step: int = 1, gone: tuple[str, ...] = ()) -> State:
    names = tuple(name for name in activations(network) if name not in gone)
    return State(network, torch.zeros(2), activations(network), names, step=step)


def chosen(network: nn.Module, step: int = 1, gone: tuple[str, ...] = (), **settings: float) -> Choice | None:
    choice: Choice | None = folding.choose(state_of(network, step, gone), folding.Recipe(**settings))
    return choice


# --- what is learned -------------------------------------------------------------------------------------------------


def test_the_slope_learned_is_the_optimum_of_the_loss() -> None:
    """With q of class 0 the loss falls where q - sigmoid(-alpha) - 2 weight alpha = 0 is crossed: once, for these."""
    from scipy.optimize import brentq

    share, weight = 0.45, 0.05
    optimum = brentq(lambda a: share - 1 / (1 + math.exp(a)) - 2 * weight * a, 0, 1)
    assert 0.1 < optimum < 0.9
    assert learned(share, weight)[0] == pytest.approx(optimum, abs=1e-3)


def test_a_slope_stays_at_0_where_the_loss_asks_for_less_and_at_1_where_the_penalty_wins() -> None:
    least, below = learned(0.6, 0.0)
    assert (least, below.lowest) == (0, 0)
    most, above = learned(0.45, 0.25)
    assert (most, above.highest) == (1, 1)


@given(
    values=st.lists(st.floats(0, 1).map(lambda a: round(a, 3)).filter(lambda a: a < 1), min_size=1, max_size=5),
    weight=st.floats(0, 10),
)
def test_the_penalty_and_its_gradient_are_those_of_the_paper(values: list[float], weight: float) -> None:
    slopes = tuple(torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values)
    penalty = folding.penalty(slopes, weight)
    penalty.backward()
    assert penalty.item() == pytest.approx(weight * sum(abs(1 - value**2) for value in values), abs=1e-12)
    for slope, value in zip(slopes, values, strict=True):
        assert slope.grad is not None
        assert slope.grad.item() == pytest.approx(-2 * weight * value, abs=1e-12)


def test_slopes_are_at_rest_while_a_rung_is_fine_tuned_and_weights_are_not() -> None:
    torch.manual_seed(0)
    network = blend(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), ("1",))
    alphas(network, ("1",))["1"].data.fill_(0.4)
    before = network[0].weight.detach().clone()  # type: ignore[index, union-attr, operator]
    lesson = Lesson(Part(torch.randn(20, 3), torch.randint(2, (20,))), Schedule(2, 0.1, weight_decay=0.1))
    folding.tune(network, lesson, folding.Recipe())
    assert alphas(network, ("1",))["1"].item() == torch.tensor(0.4).item()
    assert not torch.equal(network[0].weight, before)  # type: ignore[index, union-attr, operator]


# --- what goes -------------------------------------------------------------------------------------------------------


def test_activations_go_by_descending_slope_down_to_the_threshold() -> None:
    network = sloped(a=0.95, b=0.2, c=0.97, d=0.92)
    order: list[str] = []
    settings: list[float | None] = []
    while choice := chosen(network, gone=tuple(order)):
        order += choice.chosen
        settings.append(choice.setting)
    assert order == ["c", "a", "d"]
    assert settings == pytest.approx([0.97, 0.95, 0.92])


def test_scores_are_what_slopes_lack_to_1_and_the_gap_lies_behind_what_goes() -> None:
    choice = chosen(sloped(a=0.95, b=0.25, c=1.0))
    assert choice is not None
    assert list(choice.scores) == ["c", "a", "b"]
    assert list(choice.scores.values()) == pytest.approx([0, 0.05, 0.75])
    assert (choice.gap, choice.gap_error) == (pytest.approx(0.05), None)


def test_a_step_takes_only_what_reaches_the_threshold() -> None:
    choice = chosen(sloped(a=0.95, b=0.2, c=0.97), step=3)
    assert choice is not None
    assert (choice.chosen, choice.setting) == (("c", "a"), pytest.approx(0.95))


def test_without_a_threshold_all_go_the_most_linear_first() -> None:
    network = sloped(a=0.1, b=0.0, c=0.3)
    choice = chosen(network, step=3, threshold=0.0)
    assert choice is not None
    assert choice.chosen == ("c", "a", "b")
    assert chosen(network, gone=("a", "b", "c"), threshold=0.0) is None
    assert chosen(network) is None


def test_where_no_slope_reaches_the_threshold_the_largest_is_told_and_nothing_where_none_is_left() -> None:
    state = state_of(sloped(a=0.125, b=0.25, c=0.0))
    assert (
        folding.exhausted(state, folding.Recipe()) == "no slope has reached the threshold of 0.9: the largest is 0.25"
    )
    assert folding.exhausted(replace(state, candidates=()), folding.Recipe()) == ""


def test_a_slope_of_exactly_the_threshold_goes() -> None:
    assert chosen(sloped(a=0.75), threshold=0.75) is not None


def test_a_slope_that_is_no_number_is_refused() -> None:
    with pytest.raises(TrainError, match="the score of b is nan"):
        chosen(sloped(a=0.1, b=math.nan))


@pytest.mark.parametrize(
    "settings", [{"threshold": 1.1}, {"threshold": -0.1}, {"threshold": math.nan}, {"weight": -1}, {"weight": math.inf}]
)
def test_settings_out_of_range_are_refused_before_anything_is_made(settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(UsageError, match=f"{name} = {value:g}"):
        folding.check((), recipes.resolve("layer-folding", settings))


# --- how epochs are shared -------------------------------------------------------------------------------------------


def test_half_of_the_epochs_learn_slopes_and_none_is_lost() -> None:
    assert folding.budget(160, 8, folding.Recipe()) == Budget(80, 10)
    assert folding.budget(20, 3, folding.Recipe()) == Budget(11, 3)
    assert folding.budget(4, 3, folding.Recipe()) == Budget(1, 1)
    with pytest.raises(UsageError, match="--budget-epochs 3") as caught:
        folding.budget(3, 3, folding.Recipe())
    assert "Give 4 or more" in caught.value.hint


@given(total=st.integers(0, 500), rungs=st.integers(1, 40), share=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_budget_is_never_overspent_and_no_part_goes_without(total: int, rungs: int, share: float) -> None:
    try:
        budget = split_evenly(total, rungs, share)
    except UsageError as error:
        assert total < rungs * (share < 1) + (share > 0), error
        return
    spent = budget.begin + rungs * budget.rung
    assert spent == total or (not share and total - rungs < spent <= total)
    assert (budget.begin >= 1) == (share > 0)
    assert (budget.rung >= 1) == (share < 1)


# --- ladders ---------------------------------------------------------------------------------------------------------


def plainly(ladder: Ladder) -> list[dict[str, object]]:
    """What must be the same of two ladders: networks to the last bit, accuracies, choices."""
    return [asdict(replace(rung, variant=replace(rung.variant, program=""), seconds=None)) for rung in ladder.rungs]


@pytest.mark.slow
def test_a_ladder_folds_exactly_and_one_that_was_interrupted_goes_on_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = client.climb(REQUEST, Told())
    assert [rung.removed for rung in ladder.rungs] == [0, 1, 2, 3]
    assert [rung.epochs for rung in ladder.rungs] == [5, 5 + 3 + 1, 5 + 3 + 2, 5 + 3 + 3]
    for above, rung in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        assert (rung.fold_error_f64 <= 1e-12, rung.fold_error <= 1e-5) == (True, True)
        assert (rung.padding, rung.cost.depth) == ("moved", above.cost.depth - 1)
        assert rung.choice is not None
        assert rung.setting == pytest.approx(1 - rung.choice.scores[rung.removed_names[-1]])
        test = content.load("task", "tiny").load(None).test
        with torch.inference_mode():
            said = torch.export.load(rung.variant.program).module()(test.images).argmax(1)
        assert (said == test.labels).float().mean().item() == pytest.approx(rung.accuracy, abs=1e-6)
    scores = [rung.choice.scores for rung in ladder.rungs[1:] if rung.choice]
    assert scores[0].items() >= scores[1].items() >= scores[2].items()  # one order, decided once
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is yet
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(REQUEST, Told("rung 2 of 3, choosing", kill_child))
    told = Told()
    resumed = client.climb(REQUEST, told)
    assert plainly(resumed) == plainly(ladder)
    assert not any("rung 0" in line or "rung 1 " in line for line in told.lines)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_networks_of_the_papers_can_be_blended_shortened_and_folded_exactly(model: str) -> None:
    task = content.load("task", "digits")
    network, example = models.build(model, task, 0).eval(), models.example(task, 0)
    eligible = mergeable(network, example)
    made = edits.apply(network, [Edit("slopes", eligible)], example).eval()
    with torch.no_grad():
        assert torch.allclose(made(example), network(example), atol=1e-5)
    for place, alpha in enumerate(alphas(made, eligible).values()):
        alpha.data.fill_(1 - place / len(eligible))
    choice = folding.choose(State(made, example, eligible, eligible, step=2), folding.Recipe(0.25, 0.0))
    assert choice.chosen == eligible[:2]
    shorter = edits.apply(made, [Edit("linear", choice.chosen)], example).eval()
    assert activations(shorter) == tuple(name for name in activations(network) if name not in choice.chosen)
    folded = fold(shorter, example)
    assert folded.max_error <= 1e-12
    assert not [module for module in folded.network.modules() if isinstance(module, Blend)]
