"""Ladders: every rung is there, folds exactly, is cached, and an interrupted climb goes on where it ended."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from told import Told, kill_child

from harness import cache, content
from harness.compress import client, keys
from harness.errors import HarnessError, UsageError
from harness.records import Ladder, LadderRequest

EASIER = LadderRequest(method="easier", model="tiny", task="tiny", threads=1)
ORDER = replace(EASIER, method="order")
INNER = ("layer1.0.relu1", "layer1.1.relu1", "layer2.0.relu1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that only look: the ladder in it is made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def easier(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Ladder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    return client.climb(EASIER, Told())


def same(one: Ladder, two: Ladder) -> None:
    """Check that two ladders have the same rungs: networks to the last bit, accuracies, choices."""
    for a, b in zip(one.rungs, two.rungs, strict=True):
        one, other = (replace(rung, variant=replace(rung.variant, program=""), seconds=None) for rung in (a, b))
        assert asdict(one) == asdict(other)


def test_a_ladder_goes_from_full_depth_to_every_eligible_activation_removed(easier: Ladder) -> None:
    assert [rung.rung for rung in easier.rungs] == [rung.removed for rung in easier.rungs] == [0, 1, 2, 3]
    assert {(rung.activations, rung.eligible) for rung in easier.rungs} == {(7, 3)}
    assert set(easier.rungs[-1].removed_names) == set(INNER)
    for above, below in zip(easier.rungs, easier.rungs[1:], strict=False):
        assert below.removed_names[:-1] == above.removed_names
        assert below.cost.depth == above.cost.depth - 1
    assert len({rung.variant.name for rung in easier.rungs}) == 4


def test_every_rung_folds_exactly(easier: Ladder) -> None:
    for rung in easier.rungs:
        assert rung.fold_error_f64 <= 1e-12
        assert rung.fold_error <= 1e-5


def test_accuracy_is_stored_for_every_step_and_null_with_a_reason_where_there_is_none(easier: Ladder) -> None:
    full, *shorter = easier.rungs
    assert (full.accuracy_removed, full.accuracy_moved, full.padding) == (None, None, "kept")
    assert {"accuracy_removed", "accuracy_moved", "setting"} <= set(full.reasons)
    for rung in shorter:
        steps = (rung.accuracy_removed, rung.accuracy_moved, rung.accuracy)
        assert all(step is not None and 0 <= step <= 1 and (step * 40) % 1 == 0 for step in steps)
        assert (rung.padding, set(rung.reasons)) == ("moved", {"setting"})
    assert easier.test_examples == 40


def test_each_choice_says_how_sure_the_data_are(easier: Ladder) -> None:
    assert easier.rungs[0].choice is None
    for rung in easier.rungs[1:]:
        assert rung.choice is not None
        assert (
            rung.choice.chosen[0]
            == rung.removed_names[-1]
            == min(rung.choice.scores, key=rung.choice.scores.__getitem__)
        )
        assert len(rung.choice.scores) == 4 - rung.rung
        if rung.rung < 3:
            assert rung.choice.gap is not None and rung.choice.gap >= 0
            assert rung.choice.gap_error is not None and rung.choice.gap_error > 0
        else:
            assert rung.choice.gap is None


def test_a_program_takes_every_batch_size_and_classifies_as_the_rung_did(easier: Ladder) -> None:
    test = content.load("task", "tiny").load(None).test
    for rung in easier.rungs:
        run = torch.export.load(rung.variant.program).module()
        with torch.inference_mode():
            together = run(test.images)
            alone = torch.cat([run(image[None]) for image in test.images])
        assert (together.argmax(1) == test.labels).float().mean().item() == pytest.approx(rung.accuracy, abs=1e-6)
        assert torch.allclose(together, alone, atol=1e-4)


def test_a_second_climb_trains_nothing_and_starts_no_child(easier: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MODULE", "no.such.module")  # starting it would fail
    told = Told()
    again = client.climb(EASIER, told)
    same(easier, again)
    assert (again.cached, told.lines) == (True, [])


@pytest.mark.slow
def test_the_other_entropy_goes_on_from_the_same_trained_network(easier: Ladder) -> None:
    told = Told()
    position = client.climb(replace(EASIER, recipe={"entropy": "position"}), told)
    assert position.rungs[0] == easier.rungs[0]
    assert (easier.name, position.name) == ("easier", "easier-position")
    assert position.recipe == {"entropy": "position"}
    assert not told.heard("rung 0")


@pytest.mark.slow
def test_the_same_seed_makes_the_same_ladder_even_when_interrupted(
    easier: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is yet
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(EASIER, Told("rung 2 of 3, choosing", kill_child))
    assert len([entry for entry in cache.entries() if entry.kind == "rung"]) == 2
    told = Told()
    resumed = client.climb(EASIER, told)
    same(easier, resumed)
    assert not resumed.cached
    assert not told.heard("rung 0")
    assert not told.heard("rung 1")


@pytest.mark.slow
def test_a_ladder_trained_again_after_the_cache_was_cleaned_has_the_same_variants(easier: Ladder) -> None:
    cache.trim(cap=0)
    assert not cache.entries()
    again = client.climb(EASIER, Told())
    assert not again.cached
    assert [rung.variant.name for rung in again.rungs] == [rung.variant.name for rung in easier.rungs]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["rung.json", "program.pt2", "state.pt"])
def test_a_rung_with_an_unreadable_file_counts_as_absent_and_is_made_again(easier: Ladder, file: str) -> None:
    damaged = Path(easier.rungs[3].variant.program).with_name(file)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    told = Told()
    same(easier, client.climb(EASIER, told))
    assert told.heard("rung 3")
    assert not told.heard("rung 2 ")


@pytest.mark.slow
def test_a_ladder_whose_record_is_empty_is_put_together_again_from_its_rungs(easier: Ladder) -> None:
    (record,) = Path(easier.rungs[0].variant.program).parents[2].glob(f"ladder/{keys.ladder(EASIER)}/ladder.json")
    record.write_text("")
    told = Told()
    same(easier, client.climb(EASIER, told))
    assert not told.heard("rung")


@pytest.mark.slow
def test_ladders_over_other_activations_share_full_depth_and_each_says_what_was_eligible(easier: Ladder) -> None:
    told = Told("rung 1", kill_child)
    everything = replace(EASIER, eligible="all")
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(everything, told)
    assert not told.heard("rung 0")
    short = replace(ORDER, recipe={"order": [INNER[0]]})
    counts = [client.climb(replace(short, eligible=asked), Told()).rungs[0].eligible for asked in ("mergeable", "all")]
    assert counts == [3, 7]


@pytest.mark.slow
def test_a_rung_that_left_the_cache_is_made_again_and_the_rest_kept(easier: Ladder) -> None:
    shutil.rmtree(Path(easier.rungs[2].variant.program).parent)
    told = Told()
    same(easier, client.climb(EASIER, told))
    assert told.heard("rung 2")
    assert not told.heard("rung 3")
    assert not told.heard("rung 1 ")


@pytest.mark.slow
def test_order_removes_the_deepest_first_without_training_and_says_why_accuracy_is_null() -> None:
    told = Told()
    ladder = client.climb(ORDER, told)
    assert ladder.rungs[-1].removed_names == INNER[::-1]
    assert not told.heard("training")
    assert not told.heard("tuning")
    for rung in ladder.rungs:
        assert (rung.accuracy, rung.accuracy_removed, rung.accuracy_moved, rung.setting) == (None,) * 4
        assert {"accuracy", "accuracy_removed", "accuracy_moved", "setting"} == set(rung.reasons)
        assert rung.fold_error_f64 <= 1e-12
        assert rung.fold_error <= 1e-5
    assert ladder.test_examples is None


@pytest.mark.slow
def test_order_follows_what_it_is_told_over_all_activations() -> None:
    told = ["relu", "layer1.0.relu1"]
    ladder = client.climb(replace(ORDER, recipe={"order": told}, eligible="all"), Told())
    stem, inner = ladder.rungs[1:]
    assert (stem.removed_names, inner.removed_names) == (("relu",), ("relu", "layer1.0.relu1"))
    assert (stem.padding, inner.padding) == ("kept", "moved")
    assert (stem.eligible, stem.activations) == (7, 7)
    assert stem.cost.depth == ladder.rungs[0].cost.depth == inner.cost.depth + 1


@pytest.mark.slow
def test_unknown_names_are_refused_with_the_nearest_known_one() -> None:
    def refused(request: LadderRequest) -> str:
        with pytest.raises(UsageError) as caught:
            client.climb(request, Told())
        return caught.value.message

    assert 'did you mean "layer1.0.relu1"?' in refused(replace(ORDER, recipe={"order": ["layer1.0.relu_1"]}))
    assert not cache.entries()  # before anything is made
    assert 'did you mean "tiny"?' in refused(replace(ORDER, model="tinny"))
    assert 'did you mean "digits"?' in refused(replace(ORDER, task="digit"))
    assert 'did you mean "order"?' in refused(replace(ORDER, method="odrer"))


@pytest.mark.slow
def test_controls_are_a_ladder_of_their_own_untrained_and_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = client.controls("tiny", "tiny", 0, Told())
    assert (ladder.method, ladder.name) == ("control", "controls")
    assert [(rung.rung, rung.network) for rung in ladder.rungs] == [(0, "tiny-shallow"), (1, "tiny-w0.5")]
    for rung in ladder.rungs:
        assert (rung.removed, rung.removed_names, rung.accuracy, rung.choice) == (0, (), None, None)
        assert "accuracy" in rung.reasons
        assert Path(rung.variant.program).is_file()
    monkeypatch.setattr(client, "MODULE", "no.such.module")
    assert client.controls("tiny", "tiny", 0, Told()).cached


@pytest.mark.slow
def test_a_loss_that_diverges_ends_the_ladder_at_the_last_good_rung_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "root.py").write_text(ROOT_OF_NEGATIVE)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    ladder = client.climb(replace(EASIER, model="root", eligible="all"), Told())
    assert [rung.rung for rung in ladder.rungs] == [0]
    assert ladder.ended == "rung 1: training diverged: the loss became nan at step 1 of 2"


# A model that is sound at full depth and takes the root of negative numbers once its activation is gone.
ROOT_OF_NEGATIVE = """
import torch
from torch import nn

TASK = "tiny"


class Root(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.pool(torch.sqrt(self.relu(self.conv(5 * x)) + 1)).flatten(1))


def build(weights=None, classes=10, shape=(3, 16, 16)):
    return Root(shape[0], classes)
"""
