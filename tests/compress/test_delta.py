"""A ladder ends at the last rung within `delta` of the full network trained for as many epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from in_process import TINY, Told, climb

from harness import content
from harness.compress import delta, keys
from harness.compress.climber import Means
from harness.records import LadderRequest

# A method that trains before its first choice, and whose rungs all start from there: epochs that are no multiple of a rung's.
BEGINS = """
from dataclasses import dataclass
from harness.compress.ranking import lowest
from harness.compress.schedules import Budget, split_evenly

TRAINS = True
CHAINS = {chains}

@dataclass(frozen=True)
class Recipe:
    share: float = 0.4

def budget(total, rungs, recipe):
    return split_evenly(total, rungs, recipe.share)

def begin(state, training, recipe):
    training.fit(state.network)
    return state.network, ()

def choose(state, recipe):
    return lowest({{name: float(place) for place, name in enumerate(state.candidates)}}, state.rung if not CHAINS else 1)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def _one_cache(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all of these: rungs are made once, whatever delta says of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))


@pytest.fixture(params=[True, False], ids=["chained", "each from the first"])
def begins(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LadderRequest:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "begins.py").write_text(BEGINS.format(chains=request.param))
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return replace(TINY, method="begins", budget_epochs=8)


def lost(method: LadderRequest) -> list[float]:
    """By how much each rung's validation accuracy is below that of the control of equal epochs, made on its own."""
    _, rungs = climb(method)
    _, control = climb(delta.equal(Means(method, Told())))
    by_epochs = {rung.epochs: rung.accuracy_validation for rung in control}
    return [by_epochs[rung.epochs] - rung.accuracy_validation for rung in rungs[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_ladder_ends_at_the_last_rung_within_delta_of_continue(place: int) -> None:
    losses = lost(TINY)
    allowed = losses[place]  # exactly allowed is not too much
    made = next((n for n, loss in enumerate(losses) if loss > allowed), len(losses))
    outline, rungs = climb(replace(TINY, delta=allowed))
    assert len(rungs) == 1 + made
    if made == len(losses):
        assert outline.ended == ""
    else:
        assert outline.ended == (
            f"rung {made + 1} is {100 * losses[made]:.2f} points below continue on the 40 validation images, "
            f"more than --delta {allowed:g}"
        )


def test_a_rung_exactly_delta_below_stays_whatever_its_fractions_are_in_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    class Control:
        def __init__(self, _: object) -> None: ...

        def accuracy(self, _: int) -> float:
            return 32 / 40

    monkeypatch.setattr(delta, "_Control", Control)
    judge = delta.bound(SimpleNamespace(means=Means(replace(TINY, delta=0.1), Told())))  # type: ignore[arg-type]
    stays, goes = (SimpleNamespace(rung=1, epochs=6, accuracy_validation=right / 40) for right in (28, 27))
    assert 32 / 40 - 28 / 40 > 0.1 and judge(stays) is None  # type: ignore[arg-type]
    assert judge(goes) is not None  # type: ignore[arg-type]


def test_a_changed_control_makes_another_ladder_where_it_decides_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, free = replace(TINY, delta=0.1), TINY
    before = keys.ladder(cut), keys.ladder(free)
    (tmp_path / "methods").mkdir()
    text = content.find("method", "continue").read_text()
    (tmp_path / "methods" / "continue.py").write_text(text + "# another\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    assert keys.ladder(cut) != before[0]
    assert keys.ladder(free) == before[1]


def test_what_loses_more_than_nothing_at_all_ends_at_full_depth_and_the_cut_rung_is_kept_for_another_delta() -> None:
    outline, rungs = climb(replace(TINY, delta=-1.0))
    assert [rung.rung for rung in rungs] == [0]
    assert outline.ended.startswith("rung 1 is ")
    told = Told()
    assert len(climb(replace(TINY, delta=1.0), told)[1]) == 4
    assert not told.heard("rung 1 of 3, fine-tuning")


def test_the_control_is_made_once_for_all_that_train_as_long() -> None:
    climb(replace(TINY, delta=1.0))
    told = Told()
    climb(replace(TINY, delta=1.0, recipe={"entropy": "position"}), told)
    assert told.heard("easier-position: rung 1 of 3, fine-tuning")
    assert not told.heard("continue: rung 1")
    climb(replace(TINY, method="continue"), told)
    assert not told.heard("continue: rung 1")


@pytest.mark.slow
def test_epochs_before_the_first_choice_count_for_the_control_too(begins: LadderRequest) -> None:
    outline, rungs = climb(replace(begins, delta=1.0))
    _, control = climb(delta.equal(Means(begins, Told())), again := Told())
    epochs = [rung.epochs for rung in control]
    begun = 5 + Means(begins, Told()).budget.begin
    assert begun > 5 and epochs == [5, begun + 1, begun + 2, begun + 3]
    assert {rung.epochs for rung in rungs} <= set(epochs)
    assert not again.heard("rung 1 of 3, fine-tuning")  # it was made for the delta
    assert outline.delta == 1.0


@pytest.mark.parametrize("rungs", [1, 2, 3, None], ids=str)
@pytest.mark.parametrize("total", [None, 5, 8, 17], ids=str)
@pytest.mark.parametrize("step", [1, 2])
def test_the_control_trains_exactly_as_long_as_the_ladder(
    begins: LadderRequest, rungs: int | None, total: int | None, step: int
) -> None:
    for request in (begins, TINY):
        means = Means(replace(request, budget_epochs=total or 6, rungs=rungs, step=step), Told())
        control = Means(delta.equal(means), Told())
        assert control.budget == means.budget
        assert control.rung_schedule == means.rung_schedule


def test_it_is_said_that_forty_images_do_not_resolve_a_delta() -> None:
    told = Told()
    outline, _ = climb(replace(TINY, delta=1.0, rungs=1), told)
    assert told.heard("--delta 1 is not resolvable: it is judged on 40 images, fewer than 2000")
    assert (outline.delta, outline.validation_examples) == (1.0, 40)


@pytest.mark.parametrize("method", ["continue", "shallow", "order"])
def test_controls_and_what_does_not_train_are_cut_by_nothing(method: str) -> None:
    told = Told()
    outline, rungs = climb(replace(TINY, method=method, rungs=1, delta=-1.0), told)
    assert (len(rungs), outline.ended, outline.delta) == (2, "", None)
    assert not told.heard("resolvable")
