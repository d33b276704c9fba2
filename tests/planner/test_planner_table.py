"""What is compared with what, within which budget, and by which protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import jobs, wire
from harness.planner import outlook, table
from harness.planner.folder import Asked, Row, Sheet
from harness.records import Artifact, Cost, Device, Profile
from harness.records.planned import Option

PROFILE = Profile("box", "", "any", ("onnxruntime",), cooldown_s=7.0)
ASKED = Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1)
COST = Cost(1, 1, 1, 2, 1, 4, 4)


def option(name: str, signature: str) -> Option:
    return Option(name, "plain", 0, 2, ("a", "b"), (), ("relu",), 100, 50, 10, 10, signature)


def artifact(letter: str) -> Artifact:
    return Artifact(letter * 64, "p", 1, "v", "onnxruntime", "fp32", 1, letter * 64, "s", 1, 1e-4, 1, {})


def rows(names: dict[str, str], kind: table.Kind) -> tuple[Sheet, dict[str, Artifact]]:
    """A sheet of options and the reference `f`, each of an artifact of its own letter."""
    cases = {letter: table._case(ASKED, artifact(letter)).case_id for letter in (*names.values(), "f")}
    made = [Row(table.whole((name,)), cases[letter], cases["f"], COST, 1e-7) for name, letter in names.items()]
    return Sheet(kind, tuple(made)), {cases[letter]: artifact(letter) for letter in cases}


def test_segments_are_measured_by_themselves_only_where_there_are_many_options_and_no_calibration_is_needed() -> None:
    few = [option(f"o{n}", f"{n}") for n in range(table.ALL_IN_PLACE)]
    assert not table.is_isolated(few, "fp32")
    assert table.is_isolated([*few, option("more", "more")], "fp16")
    assert not table.is_isolated([*few, option("more", "more")], "int8")


def test_options_of_one_signature_are_compared_once_and_those_without_a_life_of_their_own_not() -> None:
    pairs = table.isolated([option("a", "x"), option("b", "x"), option("c", "y"), option("d", "")])
    assert [pair.options for pair in pairs] == [("a",), ("c",)]
    assert {(pair.case.kind, pair.reference.kind) for pair in pairs} == {("alone", "kept")}


def test_a_segment_is_held_against_what_its_own_form_stands_for() -> None:
    plain, dense = option("a..b:plain", "p"), replace(option("a..b:dense", "d"), form="dense")
    bypass = replace(option("a..b:bypass=a", "y"), form="bypass")
    kept = {pair.options: pair.reference.options for pair in table.isolated([dense, plain, bypass])}
    assert kept[dense.name,] == (dense.name,)
    assert kept[plain.name,] == kept[bypass.name,] != (dense.name,)


def test_jobs_of_the_same_sheet_shuffle_differently_by_their_names() -> None:
    sheet, artifacts = rows({"a": "1"}, "front")
    seeds = [table.job(name, ASKED, sheet, artifacts, PROFILE, None).seed for name in ("plan-x", "plan-y", "plan-x")]
    assert seeds[0] == seeds[2] != seeds[1]


def test_how_jobs_are_measured_has_a_digest() -> None:
    assert table.rules(ASKED, PROFILE) == table.rules(ASKED, replace(PROFILE)) != ""
    assert table.rules(ASKED, PROFILE) != table.rules(ASKED, replace(PROFILE, cooldown_s=8.0))


@pytest.mark.parametrize(("budget_s", "pace_s", "many"), [(90.0, 1.0, 11), (90.0, 0.5, 25), (1.0, 10.0, 1)])
def test_as_many_options_are_measured_in_place_as_six_blocks_hold(budget_s: float, pace_s: float, many: int) -> None:
    assert table.room(budget_s, pace_s) == many
    if many > 1:
        assert table.BLOCKS * (many + jobs.replicates(many)) * pace_s <= budget_s


def test_a_job_of_whole_networks_has_a_reference_with_replicates_and_six_blocks() -> None:
    sheet, artifacts = rows({f"o{n}": f"{n}" for n in range(8)}, "in place")
    job = table.job("plan-x", ASKED, sheet, artifacts, PROFILE, 90.0)
    by_label = {case.label: case for case in job.cases}
    assert by_label["unfolded"].replicates == 3 and by_label["o0"].replicates == 1
    assert len(job.comparisons) == 8 and {reference for _, reference in job.comparisons} == {
        by_label["unfolded"].case_id
    }
    assert (job.protocol.looks, job.protocol.budget_s, job.protocol.cooldown_s) == ((6,), 90.0, 7.0)
    assert table.job("plan-x", ASKED, sheet, artifacts, PROFILE, None).protocol.budget_s == table.MOST_S


def test_the_front_is_measured_until_it_is_decided_as_a_run_is() -> None:
    own, usual = table.protocol("front", None), wire.Protocol()
    assert own.looks == usual.looks[:2] and own.half_width == usual.half_width and own.attempts == usual.attempts


def test_a_job_of_segments_does_three_blocks_of_one_process_each() -> None:
    sheet, artifacts = rows({"a": "1", "b": "2"}, "isolated")
    job = table.job("plan-x", ASKED, sheet, artifacts, PROFILE, 90.0)
    assert job.protocol.looks == (3,) and job.protocol.timed_s < wire.Protocol().timed_s
    assert job.protocol.attempts == 1
    assert {case.replicates for case in job.cases} == {1}


def test_rows_that_could_not_be_built_are_in_no_job_and_say_why() -> None:
    sheet, artifacts = rows({"a": "1", "b": "2"}, "in place")
    lost = Row(table.whole(("lost",)), None, sheet.rows[0].reference, COST, None, "cannot be built: no")
    with_lost = Sheet("in place", (*sheet.rows, lost))
    job = table.job("plan-x", ASKED, with_lost, artifacts, PROFILE, 90.0)
    assert len(job.cases) == 3
    told = table.compared(with_lost, table.measured(job, ()))
    assert told["lost",].failure == "cannot be built: no" and told["a",].speedup is None


WILD = """
from torch import nn

TASK = "tiny"

def build(weights=None, classes=10, shape=(3, 16, 16)):
    '''A network whose first two layers cannot become one: the product of their weights is beyond float32.'''
    wild = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
    for layer in wild:
        layer.weight.data *= 1e30
    layers = [wild[0], nn.ReLU6(), wild[1], nn.ReLU6(), nn.Conv2d(4, 4, 1)]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_option_that_cannot_be_folded_is_a_row_that_says_why_and_the_others_are_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wild.py").write_text(WILD)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    pairs = [table.whole((name,)) for name in ("0..2:plain", "2..4:plain")]
    (lost, made), artifacts = table.make_rows(
        replace(ASKED, model="wild"), Device("local", PROFILE), pairs, lambda _: None
    )
    assert lost.failure is not None and "the folded network differs" in lost.failure
    assert lost.case is None and lost.cost is None and lost.reference == made.reference
    assert made.failure is None and made.cost is not None and set(artifacts) == {made.case, made.reference}


def test_where_an_option_failed_the_unfolded_networks_latency_is_known_all_the_same() -> None:
    sheet, artifacts = rows({"a": "1"}, "in place")
    lost = Row(table.whole(("lost",)), None, sheet.rows[0].reference, COST, None, "cannot be built: no")
    with_lost = Sheet("in place", (*sheet.rows, lost))
    job = table.job("plan-x", ASKED, with_lost, artifacts, PROFILE, 90.0)
    journal = [_process(case.case_id, block, n) for n, case in enumerate(job.cases) for block in (1, 2)]
    told = table.compared(with_lost, table.measured(job, journal))
    assert told["lost",].reference_ns == told["a",].reference_ns == 1000.0
    assert told["a",].speedup is not None and told["lost",].speedup is None


def groups() -> tuple[Sheet, dict[str, Artifact]]:
    """A sheet of seven networks that each hold about half of five options."""
    ranked = [replace(option(f"o{n}", f"{n}"), first=2 * n, after=2 * n + 2) for n in range(5)]
    pairs = table.in_groups(ranked, 8)
    cases = {letter: table._case(ASKED, artifact(letter)).case_id for letter in "0123456789ab"[: len(pairs)] + "f"}
    made = [Row(pair, cases[letter], cases["f"], COST, 1e-7) for pair, letter in zip(pairs, cases, strict=False)]
    return Sheet("in place", tuple(made)), {cases[letter]: artifact(letter) for letter in cases}


def test_of_networks_with_half_of_the_options_each_is_told_what_each_option_gains_and_no_reference_has_replicates() -> (
    None
):
    sheet, artifacts = groups()
    job = table.job("plan-x", ASKED, sheet, artifacts, PROFILE, 90.0)
    assert {case.replicates for case in job.cases} == {1} and len(job.cases) == 8
    held = {row.case: len(row.pair.options) for row in sheet.rows}
    journal = [
        _process(case.case_id, block, n, 1000 - 20 * held.get(case.case_id, 0))
        for n, case in enumerate(job.cases)
        for block in (1, 2, 3)
    ]
    told = table.compared(sheet, table.measured(job, journal))
    assert set(told) == {(f"o{n}",) for n in range(5)}
    for each in told.values():
        assert each.reference_ns == pytest.approx(1000.0)
        assert each.speedup is not None and each.speedup.ratio == pytest.approx(1 / 0.98)


def test_one_or_two_options_are_measured_each_by_itself() -> None:
    two = [replace(option(f"o{n}", f"{n}"), first=2 * n, after=2 * n + 2) for n in range(2)]
    assert [pair.options for pair in table.in_groups(two, 99)] == [("o0",), ("o1",)]


def test_groups_of_which_the_unfolded_network_failed_tell_nothing_and_why() -> None:
    sheet, artifacts = groups()
    job = table.job("plan-x", ASKED, sheet, artifacts, PROFILE, 90.0)
    failed = wire.FailedEvent(
        v=1, seq=1, t_ns=1, kind="failed", case_id=sheet.rows[0].reference or "", block=1, replicate=0, attempt=1,
        cause="crash", detail="signal 9", final=True,
    )  # fmt: skip
    assert table.compared(sheet, table.measured(job, [failed])) == {(): table.Compared(failure="crash: signal 9")}


def _process(case: str, block: int, seq: int, latency_ns: int = 1000) -> wire.ProcessEvent:
    head = {"v": 1, "seq": 2 * seq + block, "t_ns": 10**9 * (2 * seq + block), "kind": "process", "wall_ns": 9}
    place = {"case_id": case, "block": block, "replicate": 0, "attempt": 1}
    rest = {"import_ns": 1, "load_ns": 1, "contended": False, "steady": True, "artifact_error": 0.0}
    spins = {"spin_before_ns": 100, "spin_after_ns": 102, "effective": {}, "warmup_ns": ()}
    return wire.ProcessEvent(**head, **place, **rest, **spins, start_ns=(1, 2), latency_ns=(latency_ns, latency_ns))


def test_the_pace_of_a_job_is_the_time_from_one_process_to_the_next() -> None:
    assert table.process_s([_process("0" * 16, block, n) for n in range(3) for block in (1, 2)]) == 1.0
    assert table.process_s([]) is None


def test_an_outlook_says_how_many_networks_and_about_how_long() -> None:
    few = outlook.expected([option(f"o{n}", f"{n}") for n in range(6)], "fp32", 90.0)
    assert [(part.what, part.networks) for part in few] == [("options in place", 7), ("the front", 6)]
    in_a_row = [replace(option(f"o{n}", f"{n}"), first=2 * n, after=2 * n + 2) for n in range(60)]
    many = outlook.expected(in_a_row, "fp32", 90.0)
    assert [part.what for part in many] == ["segments by themselves", "options in place, in groups", "the front"]
    assert (many[0].processes, many[1].networks, many[1].processes) == (360, 12, 72)
    calibrated = outlook.expected([option(f"o{n}", f"{n}") for n in range(60)], "int8", None)
    assert calibrated[0].networks == table.room(None, table.PROCESS_S) + 1
    assert outlook.expected([], "fp32", 90.0) == ()
