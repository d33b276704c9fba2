"""Findings that compare: controls with ladders, runtimes, metrics and devices with each other, FLOPs with time; causes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import example_energy_run
import example_findings as example
import example_run
import pytest
from example_findings import find, op, profiled, ratios, with_control

from harness import content, findings
from harness.findings import causes, kinds
from harness.findings.views import TRAINED_CONTROLS, exceeds
from harness.records import Interval, Saving
from harness.report import points

ROOT = Path(__file__).resolve().parent.parent
RUN = example.RUN


def of_kind(found, kind):
    return [finding for finding in found if finding.kind == kind]


def trained(run):
    return [each for each in of_kind(find(run), "control-wins") if each.severity == "warning"]


def untrained(run):
    return [each for each in of_kind(find(run), "control-wins") if each.severity == "info"]


# --- flops-fell-latency-rose ---------------------------------------------------------------------------------------


def test_fewer_macs_and_slower_is_said_once_and_not_as_depth_without_speed():
    found = find(example.fewer(macs=98_000_000))
    (fell,), (depth,) = of_kind(found, "flops-fell-latency-rose"), of_kind(found, "depth-without-speed")
    assert fell.numbers["rungs"] == "5 to 8" and depth.numbers["rungs"] == "3"
    assert not set(fell.cases) & set(depth.cases)
    assert (fell.numbers["counted"], fell.numbers["macs_before"], fell.numbers["macs_after"]) == (
        "MACs",
        140_200_000,
        98_000_000,
    )
    assert fell.numbers["low"] < fell.numbers["ratio"] == 0.753 < fell.numbers["high"]
    assert "stop there" in depth.advice and "stop there" not in fell.advice


def test_useful_macs_that_fell_count_where_those_that_papers_count_did_not():
    (fell,) = of_kind(find(example.fewer(macs_useful=80_000_000)), "flops-fell-latency-rose")
    assert fell.numbers["counted"] == "useful MACs" and "80.0 M useful MACs instead of 117.6 M" in fell.cause


def test_taps_that_only_met_padding_before_are_the_cause_where_useful_macs_rose_while_macs_fell():
    (fell,) = of_kind(find(example.fewer(macs=98_000_000, macs_useful=150_000_000)), "flops-fell-latency-rose")
    assert "150.0 M useful MACs are done instead of 117.6 M" in fell.cause and "unknown" not in fell.cause


def test_macs_that_fell_within_one_percent_or_are_unknown_are_no_finding():
    assert not of_kind(find(example.fewer(macs=139_500_000)), "flops-fell-latency-rose")
    assert not of_kind(find(example.fewer(macs=None, macs_useful=None)), "flops-fell-latency-rose")


def test_fewer_macs_and_the_same_latency_stay_with_the_layers_that_fell():
    base = RUN.cases[0]
    cases = tuple(replace(s, macs=base.macs // 2) if s.rung == 3 else s for s in RUN.cases)
    found = find(RUN, cases=cases)
    assert not of_kind(found, "flops-fell-latency-rose")
    assert "3" in of_kind(found, "depth-without-speed")[0].numbers["rungs"]


def test_no_finding_about_flops_rests_on_an_unclear_verdict():
    run = example.fewer(macs=98_000_000)
    unclear = example.rows(
        lambda s: {"speedup": s.speedup and replace(s.speedup, verdict="unclear")} if s.rung else {}, run
    )
    kinds_found = {each.kind for each in find(run, cases=unclear)}
    assert not kinds_found & {"flops-fell-latency-rose", "depth-without-speed", *causes.KINDS}


def test_figures_box_rungs_of_fewer_macs_that_are_slower_as_they_do_those_of_fewer_layers():
    run = example.fewer(macs=98_000_000)
    run = replace(run, findings=find(run))
    boxed = {int(each.label) for each in points.points(run) if each.warning}
    assert boxed == {3, 5, 6, 7, 8}


# --- causes as findings --------------------------------------------------------------------------------------------

MADE = {
    "overhead-bound": (op("layer4.1.conv1", 100_000, 2_000_000), 900_000),
    "memory-bound": (op("layer4.1.conv1", 280_000, 2_400_000, bound="memory"), 600_000),
    "kernel-cliff": (op("layer4.1.conv1", 480_000, 2_800_000), 600_000),
    "layout-change": (op("layer4.1.conv1", 480_000, 2_800_000, layout="NCHW"), 600_000),
}


@pytest.mark.parametrize("kind", causes.KINDS)
def test_a_cause_is_a_finding_of_its_own_that_the_one_about_depth_names_and_does_not_repeat(kind):
    merged, latency = MADE[kind]
    found = profiled(merged, latency_ns=latency)
    (shown,), (depth,) = of_kind(found, kind), of_kind(found, "depth-without-speed")
    assert shown.numbers["worst_rung"] == 8 and shown.numbers["ratio"] == 0.753
    assert set(shown.cases) <= set(depth.cases)
    assert depth.numbers["cause"] == kind and f"the cause is {kind}: see that finding" in depth.cause
    assert "operator" not in depth.numbers and "node_layer4.1.conv1" not in depth.cause
    assert "46.2 MB of weights" in depth.cause and "46.2 MB" not in shown.cause
    assert kind == "overhead-bound" or shown.numbers["layer"] == "layer4.1.conv1"


def test_rungs_of_one_cause_are_one_finding_with_the_words_of_the_worst():
    found = of_kind(profiled(MADE["kernel-cliff"][0], rungs=(5, 6, 8)), "kernel-cliff")
    assert [each.numbers["rungs"] for each in found] == ["5, 6 and 8"]
    assert "Rung 8 of easier" in found[0].cause and "Rungs 5 and 6 likewise" in found[0].cause


def test_an_operator_that_grew_has_no_finding_of_its_own_and_stays_where_depth_is_told():
    found = profiled(op("layer4.1.conv1", 480_000, 5_600_000))
    (depth,) = of_kind(found, "depth-without-speed")
    assert depth.numbers["cause"] == "operator-grew" and depth.numbers["operator"] == "node_layer4.1.conv1"
    assert not {each.kind for each in found} & set(causes.KINDS)


def test_without_profiles_there_is_no_finding_about_a_cause():
    assert not {each.kind for each in RUN.findings} & set(causes.KINDS)


def test_advice_on_a_cause_knows_runtime_precision_and_batch():
    row = RUN.cases[8]
    bound = causes.Cause("overhead-bound", "")
    assert "--option mode=compile" in causes.advice(bound, replace(row, runtime="torch"))
    assert "--batch" in causes.advice(bound, row) and "--batch" not in causes.advice(bound, replace(row, batch=8))
    memory = causes.Cause("memory-bound", "")
    assert "--precision" in causes.advice(memory, row) and "--precision" not in causes.advice(
        memory, replace(row, precision="int8")
    )
    assert "leaves a unmerged" in causes.advice(causes.Cause("kernel-cliff", "", {"layer": "a"}), row)
    assert "earlier rung" in causes.advice(causes.Cause("layout-change", "", {"layer": None}), row)


# --- control-wins --------------------------------------------------------------------------------------------------


def test_a_trained_control_as_accurate_and_clearly_faster_beats_the_ladder_and_comes_first_among_warnings():
    run = with_control(265 / 270, 2.9)
    found = find(run)
    (won,) = trained(run)
    assert next(each.kind for each in found if each.severity == "warning") == "control-wins"
    assert won.numbers["rungs"] == "1 to 8" and (won.numbers["control"], won.numbers["network"]) == (
        "shallow",
        "resnet10",
    )
    assert won.numbers["low"] < 2.9 < won.numbers["high"] and won.numbers["rung_high"] < won.numbers["low"]
    assert won.numbers["gain_low"] < 0 < won.numbers["gain_high"]
    assert won.cases[0] == "shallow1" and len(won.cases) == 9


@pytest.mark.parametrize(
    ("right", "ratio", "wins"),
    [(200, 2.9, False), (266, 1.15, False), (266, 0.9, False), (264, 1.25, True)],
    ids=["clearly less accurate", "not clearly faster than rung 1", "slower", "a little faster for sure"],
)
def test_a_control_wins_only_where_no_rung_is_as_fast_and_as_accurate(right, ratio, wins):
    assert bool(trained(with_control(right / 270, ratio))) == wins


def test_a_control_of_equal_latency_wins_where_it_is_clearly_more_accurate():
    poor = tuple(replace(s, accuracy=200 / 270) if s.rung and s.method != "control" else s for s in RUN.cases)
    run = with_control(266 / 270, 1.17, run=replace(RUN, cases=poor))
    (won,) = trained(run)
    assert won.numbers["rungs"] == "1 to 8" and won.numbers["gain_low"] > 0


def test_a_narrow_network_is_a_control_too_and_its_advice_speaks_of_channels():
    (won,) = trained(with_control(265 / 270, 2.9, "narrow"))
    assert "prune channels" in won.advice and "--seeds 3" in won.advice


def test_accuracies_are_paired_where_it_is_known_which_examples_were_right():
    def bits(wrong):
        return (
            bytes(0 if n < wrong // 8 else 255 for n in range(33)).hex() + "fc"
        )  # 270 examples: 2 of 34 bytes' bits unused

    rungs = tuple(replace(rung, correct=bits(8), accuracy=262 / 270) for rung in RUN.ladders[0].rungs)
    cases = tuple(s if s.method == "control" else replace(s, accuracy=262 / 270) for s in RUN.cases)
    run = replace(RUN, cases=cases, **example.first_ladder(rungs=rungs))
    (won,) = trained(with_control(262 / 270, 2.9, run=run, correct=bits(8)))
    assert won.numbers["gain"] == 0 and won.numbers["gain_high"] - won.numbers["gain_low"] < 0.03  # unpaired: 0.085
    assert not trained(with_control(246 / 270, 2.9, run=run, correct=bits(24)))  # 16 of 270: unpaired intervals meet


def test_without_accuracies_a_trained_control_wins_nothing():
    blind = replace(RUN, cases=tuple(replace(s, accuracy=None) for s in RUN.cases))
    assert not trained(with_control(0.98, 2.9, run=blind))


def test_an_unclear_control_wins_nothing_and_a_floor_beyond_the_difference_hides_it():
    run = with_control(265 / 270, 1.25)
    unclear = tuple(
        replace(s, speedup=replace(s.speedup, verdict="unclear")) if s.case_id == "shallow1" else s for s in run.cases
    )
    assert trained(run) and not trained(replace(run, cases=unclear))
    noisy = {ref: replace(floor, low=0.85, high=1.17) for ref, floor in run.jobs[0].floor.items()}
    assert not trained(replace(run, **example.job(run, floor=noisy)))


def test_untrained_controls_are_told_by_latency_alone_first_among_what_is_good_to_know():
    (won,) = untrained(RUN)
    infos = [each.kind for each in RUN.findings if each.severity == "info"]
    assert infos[0] == "control-wins" and won.numbers["accuracy"] is None and "is unknown" in won.cause
    assert all(
        name in won.cause for name in ("resnet10 (2.91 times", "resnet18-w0.75 (2.02 times", "easier 1, has 1.14 times")
    )
    assert won.cases == tuple(s.case_id for s in RUN.cases if s.method == "control")
    assert "shallow,narrow" in won.advice
    assert "trained controls of this run (shallow)" in untrained(with_control(0.9, 1.1))[0].advice


def test_an_untrained_control_that_is_not_clearly_faster_than_a_rung_wins_nothing():
    cases = tuple(example.speed(s, 1.16) if s.method == "control" else s for s in RUN.cases)
    assert not untrained(replace(RUN, cases=cases))


def test_ladders_that_the_same_controls_beat_share_a_finding():
    run = example_run.run(methods=("easier", "order"))
    (won,) = untrained(run)
    assert "every rung of easier:" in won.cause or "every rung of easier and order:" in won.cause


def test_the_trained_controls_are_the_methods_that_say_so_but_continue():
    says = {name for name in content.names("method") if content.constant("method", name, "CONTROL", False)}
    assert says == {*TRAINED_CONTROLS, "continue"}


# --- order-differs -------------------------------------------------------------------------------------------------


def two_runtimes(changed):
    return ratios(example_run.run(runtimes=("onnxruntime", "torch")), "torch", changed)


def differs(run):
    return of_kind(find(run), "order-differs")


def test_the_best_rung_differs_between_runtimes_where_each_beats_the_others_clearly():
    run = two_runtimes({1: 1.05, 2: 1.19, 3: 0.96})
    (finding,) = differs(run)
    assert (finding.severity, finding.numbers["between"]) == ("info", "runtimes")
    assert (finding.numbers["best_first"], finding.numbers["best_second"]) == (1, 2)
    assert finding.numbers["low_second"] < 1.19 < finding.numbers["high_second"]
    assert finding.cases == tuple(
        s.case_id for runtime, rung in (("onnxruntime", 1), ("torch", 2)) for s in run.cases
        if (s.runtime, s.rung, s.method) == (runtime, rung, "easier")
    )  # fmt: skip
    assert "rung 1 is the fastest on onnxruntime fp32 (1.14 times" in finding.cause


@pytest.mark.parametrize(
    "changed",
    [{1: 1.16, 2: 1.17}, {}, {1: 1.30, 2: 1.20}],
    ids=["within the intervals", "the same order", "the same best"],
)
def test_a_best_rung_that_differs_within_the_intervals_is_no_finding(changed):
    assert not differs(two_runtimes(changed))


def test_an_unclear_rung_is_never_the_best():
    run = two_runtimes({1: 1.05, 2: 1.19, 3: 0.96})
    cases = tuple(
        replace(s, speedup=replace(s.speedup, verdict="unclear")) if (s.runtime, s.rung) == ("torch", 2) else s
        for s in run.cases
    )
    assert not differs(replace(run, cases=cases))


def test_rung_0_may_be_the_best_where_all_others_are_slower():
    (finding,) = differs(two_runtimes({1: 0.9, 2: 0.85}))
    assert finding.numbers["best_second"] == 0 and finding.numbers["low_second"] == finding.numbers["high_second"] == 1


def test_the_fastest_rung_and_the_one_of_least_energy_may_differ():
    run = example_energy_run.run()

    def saved(s):
        saving = Saving(
            *{1: (0.95, 0.94, 0.96, "more"), 2: (1.2, 1.18, 1.22, "less")}.get(s.rung, (1.0, 0.99, 1.01, "unclear"))
        )
        own = {"energy_j": replace(s.energy_j, saving=saving)}
        return {} if s.method == "control" or not s.rung else own

    (finding,) = differs(replace(run, cases=example.rows(saved, run)))
    assert finding.numbers["between"] == "metrics" and finding.numbers["second"] == "energy on onnxruntime fp32"
    assert (finding.numbers["best_first"], finding.numbers["best_second"]) == (1, 2)
    assert "rung 2 takes the least energy" in finding.cause


def on_device(name, changed, **fields):
    return replace(ratios(RUN, "onnxruntime", changed), device=name, **fields)


def test_across_devices_the_best_rung_differs_at_equal_runtime_and_precision():
    runs = [on_device("pi5", {}), on_device("jetson", {1: 1.05, 2: 1.19})]
    (finding,) = findings.across(runs)
    assert (finding.kind, finding.numbers["between"], finding.numbers["runtime"]) == (
        "order-differs",
        "devices",
        "onnxruntime",
    )
    assert (finding.numbers["first"], finding.numbers["second"]) == ("pi5", "jetson")
    assert "fastest on pi5" in finding.cause and "fastest on jetson" in finding.cause


def test_across_names_the_widest_pair_and_tells_what_is_best_elsewhere():
    runs = [on_device("pi5", {}), on_device("pi4", {1: 1.02, 2: 1.12}), on_device("jetson", {1: 1.05, 2: 1.39})]
    (finding,) = findings.across(runs)
    assert (finding.numbers["first"], finding.numbers["second"]) == ("pi5", "jetson")
    assert "Elsewhere rung 2 is the fastest on pi4" in finding.cause


def test_across_says_nothing_of_one_device_of_other_runtimes_or_of_other_networks():
    other = {1: 1.05, 2: 1.19}
    assert findings.across([on_device("pi5", {}), on_device("pi5", other)]) == ()
    torch = tuple(replace(s, runtime="torch") for s in on_device("pi4", other).cases)
    assert findings.across([on_device("pi5", {}), on_device("pi4", other, cases=torch)]) == ()
    networks = tuple(replace(s, variant=f"another {s.rung}") for s in on_device("pi4", other).cases)
    assert findings.across([on_device("pi5", {}), on_device("pi4", other, cases=networks)]) == ()
    assert findings.across([]) == ()


# --- all -----------------------------------------------------------------------------------------------------------


def test_every_kind_that_the_code_makes_is_defined_and_each_that_is_defined_is_made():
    source = "".join(
        path.read_text() for path in (ROOT / "harness" / "findings").glob("*.py") if path.name != "kinds.py"
    )
    made = example.every()
    assert made.keys() == kinds.KINDS.keys() and all(kind == each.kind for kind, each in made.items())
    assert all(f'"{kind}"' in source for kind in kinds.KINDS)
    named = re.findall(r'Finding\(\s*(?:kind=)?"([a-z-]+)"', source)
    assert len(named) > 20 and set(named) <= kinds.KINDS.keys()


def test_a_kind_or_a_severity_that_is_not_defined_is_a_mistake_of_ours():
    finding = example.every()["noisy"]
    for wrong in ({"kind": "noisier"}, {"severity": "error"}):
        with pytest.raises(ValueError, match="no such finding"):
            kinds.known(replace(finding, **wrong))


def test_every_example_is_whole_ascii_and_has_numbers():
    for kind, finding in example.every().items():
        for sentence in (finding.cause, finding.advice, kinds.KINDS[kind].says, kinds.KINDS[kind].do):
            assert sentence.isascii() and sentence.endswith("."), (kind, sentence)
        assert finding.numbers, kind


def test_intervals_that_touch_or_are_unknown_are_never_clear():
    one, other = Interval(1.1, 1.05, 1.15), Interval(1.0, 0.95, 1.05)
    assert not exceeds(one, other) and exceeds(replace(one, low=1.06), other)
    assert not exceeds(replace(one, low=1.06), other, floor=0.2) and not exceeds(
        replace(one, low=1.06), other, floor=None
    )
    assert not exceeds(replace(one, low=None), other) and not exceeds(None, other) and not exceeds(one, None)
