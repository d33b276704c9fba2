"""What the planner's benchmark says of jobs: pairs within them, medians over them, and that nothing which failed passes a bar."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_planner_folder import PLANNED
from test_transfer import COST, LOST, OTHER, OWN, a_trial

import benchmarks.__main__ as bench
from benchmarks import planner
from benchmarks.figures import Figure
from benchmarks.planner_world import Over, told, world
from harness.planner.trials import UNFOLDED
from harness.records import Speedup
from harness.records.planned import FoldingPlan, Gain, Prediction, Verified

BARS = planner.Bars(1.1, 60.0, 2, everything=0.85)
PREDICTED = Prediction(1.0, 1.0, 1.0, 1.1, 1.0, 1.2)


def plan(ratio: float | None, error: float = 0.0) -> FoldingPlan:
    found = None if ratio is None else Verified(Speedup(ratio, 0.9, 1.3, "faster"), 1.0, error, COST, None)
    return FoldingPlan(OWN, (), 1.0, PREDICTED, (), found)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.what.partition(": ")[2]: figure for figure in figures}


def test_one_choice_over_another_is_paired_within_the_job_that_holds_both() -> None:
    over = Over.of([a_trial(OWN, OTHER)], OWN, OTHER)
    assert over.middle == pytest.approx(1.5, rel=1e-3) and over.found[0].low is not None
    assert "95 % intervals within 1.50 to 1.50" in over.range() and over.holds(lambda ratio: ratio > 1.4)


def test_the_median_of_an_even_number_of_jobs_lies_between_the_middle_two() -> None:
    speeds = tuple(Speedup(ratio, None, None, None) for ratio in (1.0, 1.1, 1.3, 2.0))
    assert Over(speeds, ()).middle == pytest.approx(1.2)
    assert Over(speeds, ()).range() == "median of 4 jobs, 1.00 to 2.00, no interval"


def test_a_choice_that_failed_has_no_ratio_and_a_job_that_failed_holds_no_bar() -> None:
    assert told(a_trial(OWN, OTHER, LOST), LOST) == "cannot be built: no"
    assert told("the device | is\nbusy", OWN) == "the device / is busy"
    lost = Over.of([a_trial(OWN, OTHER), "the device is busy"], OWN)
    assert lost.middle and not lost.holds(lambda _: True) and "1 failed: the device is busy" in lost.range()
    assert Over.of(["no"], OWN).words() == "not measured" and not Over.of(["no"], OWN).holds(lambda _: True)


def test_the_unfolded_network_is_as_fast_as_itself() -> None:
    same = told(a_trial(OWN, OTHER), UNFOLDED)
    assert isinstance(same, Speedup) and (same.ratio, same.verdict) == (1.0, "same")


def test_what_failed_and_a_plan_of_nothing_pass_no_bar() -> None:
    good = by_name(planner._against("net", [a_trial(OWN, OTHER)], OWN, OTHER, BARS))
    assert [good[name].ok for name in ("the plan's speed-up", "jobs that call the plan slower")] == [True, True]
    assert good["folding every block"].measured == "0.83x" and good["folding every block"].ok
    assert good["jobs that call the plan slower"].remark.startswith("1 plan, 1 job ")
    for jobs, best in ((["busy"], OWN), ([a_trial(OWN, OTHER)], UNFOLDED), ([a_trial(OWN, OTHER)], LOST)):
        bad = by_name(planner._against("net", jobs, best, OTHER, BARS))
        assert not bad["the plan's speed-up"].ok and not bad["jobs that call the plan slower"].ok


def test_a_front_that_was_not_measured_is_not_predicted_to_perfection() -> None:
    assert planner._predictions("net", PLANNED).ok is False
    assert planner._predictions("net", replace(PLANNED, front=(plan(1.1),))).ok is True
    half = planner._predictions("net", replace(PLANNED, front=(plan(1.1), plan(None))))
    assert half.ok is False and "1 plan failed" in half.remark


def test_the_plan_that_is_meant_is_the_one_that_the_harness_chose() -> None:
    assert planner.meant(replace(PLANNED, front=(plan(1.1),), chosen=0)) == OWN
    assert planner.meant(replace(PLANNED, front=(plan(None),), chosen=None)) == UNFOLDED


def test_a_choice_that_was_not_measured_is_told_and_fails_the_rank_correlation() -> None:
    gains = tuple(Gain(name, 1.0, 0.5, 1.5, "in place", None) for name in ("a:plain", "b:tail"))
    found = planner._ranks(replace(PLANNED, gains=gains), a_trial(OWN, OTHER), [OWN, OTHER, LOST])
    assert (found.ok, found.measured) == (False, "not known") and "2 choices have both" in found.remark


def test_a_sign_is_told_again_where_the_interval_excludes_1_and_leans_where_it_does_not() -> None:
    gains, costs = Gain("a", 1.0, 0.5, 1.5, "in place", None), Gain("a", -1.0, -1.5, -0.5, "in place", None)
    slower, unsure = Speedup(0.9, 0.8, 0.95, "slower"), Speedup(0.99, 0.9, 1.1, "unclear")
    assert planner._is_told(slower) and not planner._agrees(gains, slower) and planner._agrees(costs, slower)
    assert not planner._is_told(unsure) and not planner._agrees(gains, unsure)
    assert not planner._is_told(replace(slower, low=None))


def test_a_job_that_breaks_off_is_a_reason_that_is_kept(tmp_path: Path) -> None:
    before = os.environ.get("XDG_CACHE_HOME")
    with world("x", "tiny", "tiny", data=tmp_path) as own:
        assert own.trial("job 1", [UNFOLDED]) == "there is nothing to measure"
        why = own.trial("job 1", [OWN])  # no plan was ever made there
    kept = json.loads((tmp_path / "planner-x.json").read_text())
    assert isinstance(why, str) and kept == {"job 1": {"failure": why}} and os.environ.get("XDG_CACHE_HOME") == before


def test_a_suite_that_breaks_off_leaves_the_others_and_the_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[Figure]:
        raise ValueError("late")

    monkeypatch.setattr(bench, "QUICK", {"bad": broken, "good": lambda: [Figure("it", "", "1", None)]})
    monkeypatch.setattr(bench, "LONG", {})
    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    (tmp_path / "sections").mkdir()
    monkeypatch.setattr("sys.argv", ["bench"])
    assert bench.main() == 1 and "ValueError: late" in capsys.readouterr().err
    assert "| it |  | 1 |" in (tmp_path / "page.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_suite_comes_to_its_end_on_the_tiny_network_and_keeps_what_each_job_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CHANCES", 3)
    with world("tiny", "tiny", "tiny", budget_s=45.0, data=tmp_path) as own:
        figures = by_name(planner.measured(own, replace(BARS, jobs=1)))
        drawn = planner.drawn(own)
    assert len(figures) == 8 and figures["the same words again"].ok and figures["table"].measured.endswith(" s")
    for figure in (figures["folding every block"], drawn[0], drawn[-1]):
        assert figure.measured != "not measured", figure
    kept = json.loads((tmp_path / "planner-tiny.json").read_text())
    assert {"plan", "job 1", "choices", "best again"} <= kept.keys() and kept["plan"]["gains"]
    assert all(choice["ratio"] > 0 and choice["options"] for choice in kept["choices"]["choices"])
