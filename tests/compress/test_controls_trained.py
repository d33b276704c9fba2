"""The controls that the papers lack: the full network trained on, a network shallow from the start, a narrower one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import TINY, Told, climb
from torch import nn

from harness import content, flops
from harness.compress import fold, models, widths
from harness.compress.climber import Means
from harness.compress.state import State
from harness.errors import UsageError
from harness.records import LadderRequest

CONTINUE, SHALLOW = (replace(TINY, method=method) for method in ("continue", "shallow"))
NARROW = replace(TINY, method="narrow", recipe={"multiple": 4})


def test_continue_is_the_full_network_with_another_training_at_each_rung() -> None:
    outline, made = climb(replace(CONTINUE, budget_epochs=6))
    assert [rung.epochs for rung in made] == [5, 7, 9, 11]
    assert [rung.setting for rung in made] == [None, 2.0, 4.0, 6.0]
    assert {(rung.removed, rung.removed_names, rung.padding, rung.network) for rung in made} == {
        (0, (), "kept", "tiny")
    }
    assert {rung.cost.depth for rung in made} == {8}
    assert len({rung.variant.name for rung in made}) == 4  # other weights each time
    assert all(rung.choice.chosen == () for rung in made[1:])
    assert outline.ended == ""


def test_continue_begins_with_as_many_epochs_as_the_method_that_it_is_held_against() -> None:
    _, made = climb(replace(CONTINUE, recipe={"begin": 2}, budget_epochs=5, rungs=2))
    assert [rung.epochs for rung in made] == [5, 8, 9]  # 2 to begin, then 1 each
    assert [rung.setting for rung in made[1:]] == [3.0, 4.0]


@pytest.mark.parametrize("begin", [-1, 7])
def test_continue_cannot_begin_with_more_than_the_budget(begin: int) -> None:
    with pytest.raises(UsageError, match=f"begin = {begin}: must be 0 to 6"):
        climb(replace(CONTINUE, recipe={"begin": begin}, budget_epochs=6))


def test_what_continue_begins_with_counts_in_how_many_epochs_are_enough() -> None:
    with pytest.raises(UsageError, match="budget-epochs 4: begin = 2 leaves not one epoch for each of 3") as caught:
        climb(replace(CONTINUE, recipe={"begin": 2}, budget_epochs=4))
    assert caught.value.hint.startswith("Give 5 or more")


def test_shallow_trains_the_models_own_shallower_network_for_full_depth_and_the_whole_ladder() -> None:
    _, (full, shallow) = climb(SHALLOW)
    assert (full.network, shallow.network) == ("tiny", "tiny-shallow")
    assert (full.epochs, shallow.epochs) == (5, 5 + 3)  # 3 rungs of 1 epoch is what `easier` takes
    assert (shallow.removed, shallow.padding, shallow.activations) == (0, "kept", 5)
    assert shallow.cost.depth == 6 < full.cost.depth
    assert shallow.accuracy is not None and shallow.accuracy_removed is None
    assert set(shallow.reasons) == {"setting", "accuracy_removed", "accuracy_moved"}


@pytest.mark.slow
def test_narrow_prunes_the_trained_network_and_spends_the_whole_budget_on_each_width() -> None:
    _, made = climb(replace(NARROW, budget_epochs=2))
    assert [rung.network for rung in made] == ["tiny", "tiny-pruned0.75", "tiny-pruned0.5"]
    assert [rung.epochs for rung in made] == [5, 7, 7]
    assert [rung.setting for rung in made] == [None, 0.75, 0.5]
    assert made[0].cost.macs > made[1].cost.macs > made[2].cost.macs
    assert {rung.cost.depth for rung in made} == {8}
    assert all(rung.fold_error_f64 <= 1e-12 for rung in made)


@pytest.mark.parametrize("asked", [SHALLOW, NARROW], ids=["shallow", "narrow"])
def test_controls_that_no_rung_is_made_from_keep_no_weights(asked: LadderRequest) -> None:
    _, made = climb(asked)
    states = [Path(rung.variant.program).with_name("state.pt").exists() for rung in made]
    assert states == [True, *[False] * (len(made) - 1)]
    told = Told()
    assert climb(asked, told)[1] == made
    assert not told.heard("training") and not told.heard("tuning")


def test_a_model_without_a_shallower_network_is_refused_before_anything_is_made() -> None:
    state = State(models.build("tiny", content.load("task", "tiny"), 0), torch.randn(2, 3, 16, 16), (), ())
    method = content.load("method", "shallow")
    with pytest.raises(UsageError, match=r"none of the model's own networks \(it has none\) has less depth than .* 8"):
        method.units(state, method.Recipe())
    wider = replace(state, controls=lambda: {"same": state.network})
    with pytest.raises(UsageError, match=r"\(same\)"):
        method.units(wider, method.Recipe())


def test_shallower_networks_come_deepest_first() -> None:
    def chain(depth: int) -> nn.Module:
        return nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth)))

    method = content.load("method", "shallow")
    own = {"two": chain(2), "six": chain(6), "three": chain(3)}
    state = State(chain(5), torch.randn(2, 4), (), (), controls=lambda: own)
    assert method.units(state, method.Recipe()) == ("three", "two")


@pytest.mark.parametrize(
    ("recipe", "rule"),
    [
        ({"widths": [1.5]}, "widths = 1.5: each must be above 0 and below 1"),
        ({"widths": [0.5, 0.5]}, "said once"),
        ({"multiple": 0}, "multiple = 0: must be 1 or more"),
        ({"widths": []}, "finds nothing to remove"),
    ],
    ids=["too wide", "twice", "multiple", "none"],
)
def test_widths_that_are_none_are_refused_before_anything_is_made(recipe: dict[str, object], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        climb(replace(NARROW, recipe=recipe))


def test_a_width_at_which_nothing_can_go_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with pytest.raises(
        UsageError, match=r"at width 0\.75 no layer loses a channel, their numbers being multiples of 8"
    ):
        widths.prune(network, torch.randn(2, 3, 8, 8), 0.75)


def test_a_width_that_rounding_makes_the_network_of_an_earlier_one_ends_the_ladder_and_says_so() -> None:
    outline, made = climb(replace(NARROW, recipe={"widths": [0.75, 0.7, 0.5], "multiple": 8}, budget_epochs=1))
    assert [rung.setting for rung in made] == [None, 0.75]
    assert outline.ended == "width 0.7 leaves the same channels as 0.75, their numbers being multiples of 8"


def test_the_channels_of_least_norm_go_and_the_rest_computes_what_it_did() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(5 * 16, 10))
    for channel, size in ((0, 2.0), (1, 0.0), (2, 1.0), (3, 0.0)):
        for layer, axis in ((network[0], 0), (network[2], 1)):
            weight = layer.weight.data.select(axis, channel)
            weight.mul_(size / weight.norm())
    network[0].bias.data[[1, 3]] = 0.0
    x = torch.randn(2, 3, 8, 8)
    pruned = widths.prune(network, x, 0.5, multiple=2)
    assert torch.equal(pruned[0].weight, network[0].weight[[0, 2]])
    assert (pruned[2].in_channels, pruned[4].out_features) == (2, 10)


@pytest.mark.parametrize("width", [0.75, 0.5])
@pytest.mark.parametrize(
    ("model", "least", "most"), [("resnet18", 0.98, 1.02), ("mobilenet_v2", 0.95, 1.1), ("vgg16_bn", 0.98, 1.02)]
)
def test_a_pruned_network_has_the_square_of_the_width_in_macs_runs_and_folds(
    model: str, least: float, most: float, width: float
) -> None:
    task = content.load("task", "digits")
    network = models.build(model, task, 0).eval()
    example = models.example(task, 0)
    pruned = widths.prune(network, example, width)
    before, after = (flops.measure(one, example[:1])[0] for one in (network, pruned))
    assert least <= after.macs / before.macs / width**2 <= most
    assert after.depth == before.depth
    assert fold(pruned, example).max_error <= 1e-12
    channels = [m.out_channels for m in pruned.modules() if isinstance(m, nn.Conv2d)]
    assert all(number % 8 == 0 for number in channels)


def test_of_a_transformer_only_hidden_units_go_and_its_tokens_keep_their_width() -> None:
    task = content.load("task", "digits")
    network = models.build("swin_t", task, 0).eval()
    pruned = widths.prune(network, models.example(task, 0), 0.5)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            cut = pruned.get_submodule(name)
            hidden = name.endswith("mlp.0")
            assert cut.out_features == (module.out_features // 2 if hidden else module.out_features)


def trained(request: LadderRequest) -> int:
    """How many epochs a ladder has beyond full depth, down to its last rung."""
    means = Means(request, Told())
    return means.budget.begin + (means.rungs if getattr(means.method, "CHAINS", True) else 1) * means.budget.rung


@pytest.mark.parametrize(("schedule", "rungs", "epochs"), [("quick", None, 3), ("quick", 1, 1), ("cifar", 2, 320)])
def test_every_method_of_a_job_is_given_the_same_epochs_unless_it_has_more_rungs(
    schedule: str, rungs: int | None, epochs: int
) -> None:
    lacoot = replace(TINY, method="lacoot")
    for request in (TINY, CONTINUE, SHALLOW, NARROW, *([lacoot] if rungs != 1 else [])):
        assert trained(replace(request, schedule=schedule, rungs=rungs)) == epochs


def test_layer_folding_has_an_epoch_more_only_where_none_would_be_left_for_its_slopes() -> None:
    folding = replace(TINY, method="layer-folding")
    assert (trained(folding), trained(replace(folding, schedule="cifar"))) == (3 + 1, 3 * 160)


@pytest.mark.parametrize("method", ["easier", "lacoot", "narrow"])
def test_no_method_spends_a_rest_that_others_cannot(method: str) -> None:
    assert trained(replace(TINY, method=method, budget_epochs=7)) == 6  # three rungs of two epochs


def test_smaller_networks_stand_each_for_itself_however_many_activations_a_rung_takes() -> None:
    means = Means(replace(NARROW, step=3), lambda _: None)
    assert (means.rungs, means.step) == (2, 1)
