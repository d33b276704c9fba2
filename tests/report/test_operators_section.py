"""`harness show --profile`: what was executed, operator by operator, at any width, for people and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import example_run
import made_graphs
import pytest
import test_executed
from rich.console import Console

from harness import report
from harness.errors import UsageError


@pytest.fixture(scope="module")
def run():
    made = replace(example_run.run(), cases=(), jobs=(), findings=(), analysis_version=0)
    made = made_graphs.with_layers(made)
    return test_executed.measured(made, test_executed.journal_of(made, slower=2.0, layout="NCHW"))


def shown(run, rung=None, **console):
    stream = io.StringIO()
    report.show_operators(run, Console(file=stream, **{"width": 120, "highlight": False, **console}), rung)
    return stream.getvalue()


def test_a_line_says_all_there_is_to_an_operator(run):
    line = next(line for line in shown(run, 3).splitlines() if line.startswith("node_conv2d_1 "))
    assert line.split() == [
        *("node_conv2d_1", "Conv", "layer1.0.conv1", "237", "6.1", "9.40", "79%", "4%", "compute", "fp32", "NCHWc")
    ]


def test_the_reference_and_the_rung_that_is_asked_for_stand_there_and_no_other(run):
    headings = [line.partition(",")[0] for line in shown(run, 3).splitlines() if line.startswith("rung ")]
    assert headings == ["rung 0", "rung 3"]


def test_by_default_the_fastest_and_the_slowest_stand_beside_the_reference(run):
    ends = [1.2, 0.7]
    cases = list(run.cases)
    for n, ratio in zip((2, 5), ends, strict=True):
        cases[n] = replace(cases[n], speedup=replace(cases[n].speedup, ratio=ratio))
    text = shown(replace(run, cases=tuple(cases)))
    assert [line.partition(",")[0] for line in text.splitlines() if line.startswith("rung ")] == [
        *("rung 0", "rung 2", "rung 5")
    ]


def test_what_became_of_rung_0_names_merged_layers_their_times_and_what_moved(run):
    line = next(line for line in shown(run, 3).splitlines() if line.startswith("layer4.1.conv1 "))
    assert line.split() == [
        *("layer4.1.conv1", "2", "grew", "474", ">", "1302", "+828", "18.8", ">", "26.0", "79%", ">", "40%"),
        *("NCHWc", ">", "NCHW"),
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_it_fits_and_the_columns_that_matter_most_stay(run, width, terminal):
    long = {
        case: tuple(replace(each, name=f"{each.name}/{'a_very_long_name_' * 6}") for each in told)
        for case, told in run.operators.items()
    }
    for made in (run, replace(run, operators=long)):
        text = shown(made, 3, width=width, force_terminal=terminal, color_system=None)
        assert max(map(len, text.splitlines())) <= width
        assert "bound by" in text and "layer1.0.conv1" in text and "+828" in text and "1302" in text
        assert "NCHWc > NCHW" in text
        assert terminal or (text.isascii() and "\x1b" not in text)


def test_without_times_the_layers_and_macs_stand_there_with_the_way_to_times(run):
    made = replace(example_run.run(), cases=(), jobs=(), findings=(), analysis_version=0)
    made = made_graphs.with_layers(made)
    made = test_executed.measured(made, test_executed.journal_of(made, timed=False))
    text = shown(made, 3)
    assert "No times: operators were not timed: run with --profile." in text
    assert "node_conv2d_1" in text and "layer1.0.conv1" in text


def test_ceilings_and_profiles_made_beside_somebody_else_say_so(run):
    best = tuple(replace(each, cpus="2,3", contended=True) for each in run.ceilings)
    cases = tuple(replace(s, executed=replace(s.executed, contended=True)) for s in run.cases)
    text = shown(replace(run, ceilings=best, cases=cases), 3, width=300)
    assert "Ceilings with 1 thread on CPUs 2,3: " in text and "nothing is judged by them." in text
    assert "while the operators were timed: nothing is judged by their times." in text


def test_a_run_whose_device_told_nothing_says_so():
    assert "No operators: " in shown(example_run.run())


def test_what_a_device_calls_its_operators_cannot_steer_a_terminal(run):
    odd = {case: tuple(replace(each, kind="\x1b[31mX") for each in told) for case, told in run.operators.items()}
    assert "\x1b" not in shown(replace(run, operators=odd), 3)


def test_a_rung_that_is_not_there_is_refused_with_those_that_are(run):
    for look in (lambda: shown(run, 99), lambda: report.operators_json(run, 99)):
        with pytest.raises(UsageError, match="no such rung") as raised:
            look()
        assert "0 to 8" in raised.value.hint


def test_json_has_every_case_with_its_operators_and_what_became_of_rung_0(run):
    told = json.loads(json.dumps(report.operators_json(run), allow_nan=False))
    assert {each["case_id"] for each in told} == {s.case_id for s in run.cases}
    third = next(each for each in told if each["rung"] == 3)
    assert third["operators"][1]["layer"] == "layer1.0.conv1" and third["operators"][1]["bound"] == "compute"
    merged = next(each for each in third["changes"] if each["layer"] == "layer4.1.conv1")
    assert merged["replaced"] == ["layer4.1.conv1", "layer4.1.conv2"] and merged["moved"] == ["layout"]
    assert (merged["before"]["time_ns"], merged["what"]) == (474_000, "grew")
    assert [each["changes"] for each in told if each["rung"] == 0] == [[]]
    assert {each["rung"] for each in report.operators_json(run, 3)} == {3}


def test_the_machines_contract_has_what_was_executed_and_the_ceilings(run):
    told = json.loads(json.dumps(report.to_json(run), allow_nan=False))
    unmarked = {"reason": "", "cpus": "", "contended": False}
    assert told["ceilings"] == [
        {"threads": 1, "macs_per_s": 50e9, "bytes_per_s": 10e9, "made_with": "numpy 2.4.6", **unmarked}
    ]
    assert told["cases"][0]["executed"]["operators"] == 21 and "artifact_loss_added" in told["cases"][0]


def test_the_loss_of_artifacts_stands_in_the_table_of_rounded_precisions():
    run = example_run.run()
    cases = tuple(
        replace(s, precision="int8", artifact_accuracy=s.accuracy, artifact_loss=0.004, artifact_loss_added=0.001)
        for s in run.cases
    )
    stream = io.StringIO()
    report.show(replace(run, cases=cases), Console(file=stream, width=140, highlight=False))
    assert "0.4 (+0.1)" in stream.getvalue()
