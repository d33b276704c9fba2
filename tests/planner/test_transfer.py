"""What is compared where plans are carried, what regrets that comes to, and what is kept of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness import analysis, inventory, wire
from harness.cli import settings
from harness.errors import StoreError, UsageError
from harness.plan import Words
from harness.planner import story, table, transfer, trials
from harness.planner.folder import Asked, Pair, Row, Sheet
from harness.planner.goals import Goal
from harness.planner.trials import UNFOLDED, Trial
from harness.records import Artifact, Cost, Device, Profile, Speedup
from harness.records.planned import FoldingPlan, Listing, Planned, Prediction, Verified
from harness.records.transferred import Regret, Setting, Transfer

COST = Cost(1, 1, 1, 1, 1, 1, 1)
OWN, OTHER, LOST = ("a:plain",), ("a:plain", "b:tail"), ("c:dense",)
ASKED = Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1)
PROFILE = Profile("box", "", "any", ("onnxruntime",))
US = {UNFOLDED: 1000, OWN: 800, OTHER: 1200}


def artifact(letter: str) -> Artifact:
    return Artifact(letter * 64, "p", 1, "v", "onnxruntime", "fp32", 1, letter * 64, "s", 1, 1e-4, 1, {})


ARTIFACTS = {table._case(ASKED, made).case_id: made for made in map(artifact, "fab")}
CASES = dict(zip(US, ARTIFACTS, strict=True))


def row(pair: Pair, cases: dict[tuple[str, ...], str]) -> Row:
    case, reference = cases.get(pair.options), cases.get(pair.reference.options)
    failure = "cannot be built: no" if case is None else "the same bytes" if case == reference else None
    return Row(pair, case, reference, COST, 1e-7, failure)


def a_trial(own: tuple[str, ...], *others: tuple[str, ...], cases: dict[tuple[str, ...], str] = CASES) -> Trial:
    """A job of these plans that was measured: two blocks in which every process takes what US says."""
    sheet = Sheet("front", tuple(row(pair, cases) for pair in transfer.pairs(own, others)))
    job = table.job("plan-x", ASKED, sheet, ARTIFACTS, PROFILE, 90.0)
    took = {case: 1000 * US[options] for options, case in CASES.items()}
    slots = [(block, case, n) for block in (1, 2, 3) for case in job.cases for n in range(case.replicates)]
    journal = [_process(case.case_id, block, n, seq, took[case.case_id]) for seq, (block, case, n) in enumerate(slots)]
    return Trial(Path("x"), sheet, analysis.Measured.of(job, journal, None))


def _process(case: str, block: int, replicate: int, seq: int, ns: int) -> wire.ProcessEvent:
    head = {"v": 1, "seq": seq, "t_ns": 10**9 * seq, "kind": "process", "wall_ns": 9}
    place = {"case_id": case, "block": block, "replicate": replicate, "attempt": 1}
    rest = {"import_ns": 1, "load_ns": 1, "contended": False, "steady": True, "artifact_error": 0.0}
    spins = {"spin_before_ns": 100, "spin_after_ns": 102, "effective": {}, "warmup_ns": ()}
    jitter = ns * (block % 2) // 1000
    return wire.ProcessEvent(**head, **place, **rest, **spins, start_ns=(1, 2), latency_ns=(ns + jitter, ns + jitter))


def told(pairs: tuple[Pair, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(pair.options, pair.reference.options) for pair in pairs]


def test_every_plan_is_held_against_the_unfolded_network_and_against_the_one_made_there() -> None:
    assert told(transfer.pairs(OWN, [OTHER])) == [(OWN, ()), (OTHER, ()), (OTHER, OWN)]
    assert told(transfer.pairs(OWN, [UNFOLDED])) == [(OWN, ())]
    assert told(transfer.pairs(UNFOLDED, [OWN, OTHER])) == [(OWN, ()), (OTHER, ())]


def test_a_regret_is_the_latency_of_a_foreign_plan_over_that_of_the_one_made_there() -> None:
    found = transfer.regret(1, 0, OTHER, OWN, a_trial(OWN, OTHER))
    assert found.ratio == pytest.approx(1.5, rel=1e-3) and found.verdict == "slower"
    assert found.low is not None and found.high is not None and found.low <= found.ratio <= found.high
    assert found.speedup is not None and found.speedup.ratio == pytest.approx(1 / 1.2, rel=1e-3)
    back = transfer.regret(0, 1, OWN, OTHER, a_trial(OTHER, OWN))
    assert back.ratio == pytest.approx(1 / 1.5, rel=1e-3) and back.verdict == "faster"


def test_where_nothing_is_folded_the_unfolded_network_is_the_plan() -> None:
    here = transfer.regret(0, 1, UNFOLDED, OWN, a_trial(OWN, UNFOLDED))
    assert here.ratio == pytest.approx(1.25, rel=1e-3) and here.speedup is None
    there = transfer.regret(1, 0, OWN, UNFOLDED, a_trial(UNFOLDED, OWN))
    assert there.ratio == pytest.approx(0.8, rel=1e-3) and there.speedup is not None


def test_a_plan_costs_nothing_at_home_and_where_the_same_one_was_made() -> None:
    assert transfer.regret(0, 0, OWN, OWN, a_trial(OWN)).ratio == 1.0
    both = transfer.regret(0, 1, UNFOLDED, UNFOLDED, None)
    assert (both.ratio, both.low, both.verdict, both.failure) == (1.0, None, "same", None)
    bytes_alike = a_trial(OWN, OTHER, cases={**CASES, OTHER: CASES[OWN]})
    assert transfer.regret(1, 0, OTHER, OWN, bytes_alike).verdict == "same"


def test_a_plan_that_could_not_be_built_has_no_regret_and_says_why() -> None:
    found = transfer.regret(2, 0, LOST, OWN, a_trial(OWN, OTHER, LOST))
    assert (found.ratio, found.failure) == (None, "cannot be built: no")
    assert transfer.regret(1, 0, OTHER, OWN, None).failure == "not measured"


def test_a_trial_compares_any_two_choices_and_knows_the_latency_of_each() -> None:
    found = a_trial(OWN, OTHER)
    assert found.latency_ns(UNFOLDED) == pytest.approx(1e6, rel=2e-3) and found.latency_ns(LOST) is None
    ratio = found.compared(OTHER, OWN).speedup
    assert ratio is not None and ratio.ratio == pytest.approx(1 / 1.5, rel=1e-3)
    assert found.compared(OWN).reference_ns == found.latency_ns(UNFOLDED)
    assert found.compared(LOST).failure == "not measured"


# --- which plan, which settings --------------------------------------------------------------------------------------


def planned(*ratios: float) -> Planned:
    prediction = Prediction(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    front = tuple(
        FoldingPlan(
            (f"o{ratio}",),
            (),
            ratio,
            prediction,
            (),
            Verified(Speedup(ratio, None, None, "faster" if ratio > 1 else "slower"), 1.0, 0.0, COST, None),
        )
        for ratio in ratios
    )
    listing = Listing("tiny", "tiny", (), (), ())
    return Planned(1, "local", "", {}, listing, 1e6, None, (), (), front, None, (), None, {})


def test_the_fastest_plan_is_carried_or_the_cheapest_that_reaches_the_target_or_none() -> None:
    assert transfer.meant(planned(1.1, 1.3), Goal()) == ("o1.3",)
    assert transfer.meant(planned(1.1, 1.3), Goal(speedup=1.05)) == ("o1.1",)
    assert transfer.meant(planned(1.1, 1.3), Goal(speedup=2.0)) == ("o1.3",)
    assert transfer.meant(planned(0.9), Goal()) == transfer.meant(planned(), Goal()) == UNFOLDED


def test_settings_are_all_of_devices_runtimes_precisions_and_threads(tmp_path: Path) -> None:
    words = Words("local", model="tiny", method="order", runtime="onnxruntime,torch", precision="fp32", energy="none")
    asked = settings.asked(words, (1, 2), ("plain",), inventory.locate(None))
    assert [(each.runtime, each.precision, each.threads) for _, each in asked] == [
        ("onnxruntime", "fp32", 1),
        ("onnxruntime", "fp32", 2),
        ("torch", "fp32", 1),
        ("torch", "fp32", 2),
    ]


def test_a_runtime_is_asked_for_no_option_that_it_does_not_have() -> None:
    words = Words("local", model="tiny", method="order", runtime="onnxruntime,torch", precision="fp32", energy="none")
    both = settings.asked(replace(words, option=("optimization=all",)), (1,), ("plain",), inventory.locate(None))
    assert [dict(each.options) for _, each in both] == [{"optimization": "all"}, {}]


def test_a_precision_goes_to_the_runtimes_that_have_it_and_one_that_none_has_is_a_mistake() -> None:
    words = Words(
        "local", model="tiny", method="order", runtime="onnxruntime,torch", precision="fp32,int8", energy="none"
    )
    asked = settings.asked(words, (None,), ("plain",), inventory.locate(None))
    assert [(each.runtime, each.precision) for _, each in asked] == [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("torch", "fp32"),
    ]
    assert settings.not_had(words) == (("torch", "int8"),)
    alone = replace(words, runtime="torch")
    assert settings.not_had(alone) == settings.not_had(replace(words, precision="int8")) == ()
    for mistaken in (alone, replace(words, precision="int8"), replace(words, precision="fp32,int7")):
        with pytest.raises(UsageError, match="precision of runtime"):
            settings.asked(mistaken, (None,), ("plain",), inventory.locate(None))


def test_one_setting_and_emulated_devices_are_refused() -> None:
    device = Device("local", PROFILE)
    with pytest.raises(UsageError, match="nowhere to carry its plan to"):
        transfer.require([(device, ASKED), (device, ASKED)])
    emulated = Device("pi", replace(PROFILE), virtual=True)
    with pytest.raises(UsageError, match="stand for no real one"):
        transfer.require([(device, ASKED), (emulated, replace(ASKED, device="pi"))])


# --- what is kept ----------------------------------------------------------------------------------------------------

MADE = Transfer(
    schema=1,
    created="2026-11-22T12:00:00+00:00",
    model="tiny",
    task="tiny",
    settings=(Setting("local", "onnxruntime", "fp32", 1), Setting("local", "onnxruntime", "fp32", 2)),
    plans=(OWN, UNFOLDED),
    regrets=(
        Regret(0, 0, 1.0, None, None, "same"),
        Regret(0, 1, 1.1, 1.0, 1.2, "slower", Speedup(0.9, 0.8, 1.0, None)),
    ),
    folders=("local/plans/a", "local/plans/b"),
)


def test_a_matrix_comes_back_as_it_went_and_stays_as_it_is_where_it_says_the_same(tmp_path: Path) -> None:
    own, kept = transfer.save(tmp_path, MADE)
    assert own.parent == tmp_path / "transfers" and transfer.load(own) == kept == MADE
    later = replace(MADE, created="2027-01-01T00:00:00+00:00")
    assert transfer.save(tmp_path, later) == (own, MADE)
    other = replace(later, plans=(OWN, OTHER))
    assert transfer.save(tmp_path, other) == (own, other) and transfer.load(own) == other
    assert transfer.save(tmp_path, replace(MADE, folders=("local/plans/a", "local/plans/c")))[0] != own


def test_another_goal_has_a_matrix_of_its_own_that_says_it(tmp_path: Path) -> None:
    own, _ = transfer.save(tmp_path, replace(MADE, goal=asdict(Goal())))
    other, kept = transfer.save(tmp_path, replace(MADE, goal=asdict(Goal(speedup=1.1)), plans=(OWN, OTHER)))
    assert own != other and kept.goal["speedup"] == 1.1 and transfer.load(own).plans == MADE.plans


def test_a_damaged_matrix_is_made_anew_and_one_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    own, _ = transfer.save(tmp_path, MADE)
    (own / "transfer.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        transfer.load(own)
    transfer.save(tmp_path, MADE)
    (own / "transfer.json").write_text(json.dumps({**json.loads((own / "transfer.json").read_text()), "schema": 2}))
    with pytest.raises(StoreError, match="schema 2, this program reads up to 1"):
        transfer.load(own)


def test_the_newest_whole_job_that_has_all_choices_is_looked_up(tmp_path: Path) -> None:
    from test_planner_folder import begun

    from harness.planner import folder

    own = folder.make(tmp_path, begun())
    for n, choices in enumerate(([OWN], [OWN, OTHER])):
        lost = tuple(
            Row(pair, None, None, COST, None, "cannot be built") for pair in transfer.pairs(choices[0], choices[1:])
        )
        folder.save_sheet(folder.place(own, folder.TRIALS, n), Sheet("front", lost))
    assert trials.newest(own, folder.TRIALS, [OWN]) is not None
    found = trials.newest(own, folder.TRIALS, [OWN, OTHER])
    assert found is not None and found.own.name == "001"
    assert trials.newest(own, folder.TRIALS, [LOST]) is None and trials.newest(own, folder.TRANSFER, [OWN]) is None


def test_what_is_said_of_some_plans_names_their_settings_and_what_is_of_all_is_said_once() -> None:
    def found(*said: str) -> story.Found:
        return story.Found(None, Path("x"), False, said)  # type: ignore[arg-type]

    said = transfer._said(
        [found("new kernel", "2 of 6 blocks"), found("new kernel"), found("new kernel")], ["a", "b", "c"]
    )
    assert said == ("new kernel", "a: 2 of 6 blocks")
    assert transfer._said([found("old"), found("old"), found()], ["a", "b", "c"]) == ("a, b: old",)
