from dataclasses import replace
from types import SimpleNamespace

import example_run
import pytest

from harness import findings
from harness.findings.views import ROSE, joint_verdict, mega
from harness.records import Choice, Speedup


def of_kind(run, kind):
    return [finding for finding in run.findings if finding.kind == kind]


def again(run, **changes):
    """The run with other summaries, ladders or jobs, and the findings that follow."""
    run = replace(run, **changes)
    return replace(run, findings=findings.find(run.cases, run.ladders, run.jobs))


def with_rungs(run, change):
    """The run, each rung of its first ladder changed."""
    first = replace(run.ladders[0], rungs=tuple(change(rung) for rung in run.ladders[0].rungs))
    return again(run, ladders=(first, *run.ladders[1:]))


@pytest.fixture(scope="module")
def run():
    return example_run.run()


# --- speed ---------------------------------------------------------------------------------------------------------


def test_fewer_layers_without_speed_is_one_finding_with_the_numbers_of_the_worst_rung(run):
    (finding,) = of_kind(run, "depth-without-speed")
    case = {s.rung: s.case_id for s in run.cases}
    assert finding.cases == tuple(case[n] for n in (3, 5, 6, 7, 8))
    assert finding.numbers["rungs"] == "3, 5, 6, 7 and 8"
    assert (finding.numbers["slower"], finding.numbers["same"]) == (4, 1)
    assert (finding.numbers["depth_before"], finding.numbers["depth_after"]) == (18, 10)
    assert finding.numbers["ratio"] == pytest.approx(0.753)
    assert finding.numbers["low"] < 0.753 < finding.numbers["high"]
    assert finding.numbers["macs_useful_ratio"] == pytest.approx(158.7 / 117.6)


def test_the_cause_is_bytes_of_weights_and_useful_macs_not_depth(run):
    (finding,) = of_kind(run, "depth-without-speed")
    assert "46.2 MB of weights are read instead of 44.8 MB" in finding.cause
    assert "158.7 M useful MACs are done instead of 117.6 M" in finding.cause
    assert "7 merged layers of 1.33 to 1.81 times the weights of those replaced" in finding.cause


def test_the_cause_is_unknown_where_neither_bytes_nor_macs_rose(run):
    base = run.cases[0]
    lean = again(
        run, cases=tuple(replace(s, weight_bytes=base.weight_bytes, macs_useful=base.macs_useful) for s in run.cases)
    )
    assert "unknown" in of_kind(lean, "depth-without-speed")[0].cause


def test_the_advice_knows_the_best_rung_and_leaves_controls_to_their_own_finding(run):
    (finding,) = of_kind(run, "depth-without-speed")
    assert "Rung 1 (depth 17) is 1.14 times as fast" in finding.advice and "resnet10" not in finding.advice
    none_faster = again(run, cases=tuple(s for s in run.cases if not s.speedup or s.speedup.verdict != "faster"))
    assert "deploy rung 0" in of_kind(none_faster, "depth-without-speed")[0].advice


def test_an_unclear_verdict_never_makes_a_finding_about_speed(run):
    unclear = again(
        run,
        cases=tuple(s if s.rung == 0 else replace(s, speedup=replace(s.speedup, verdict="unclear")) for s in run.cases),
    )
    assert of_kind(unclear, "depth-without-speed") == []
    sentences = " ".join(f.cause + f.advice for f in unclear.findings)
    assert "times as fast" not in sentences and "times the speed" not in sentences


def test_removals_that_unlock_no_merge_are_no_layers_and_no_finding():
    run = example_run.run(every=True)
    (finding,) = of_kind(run, "depth-without-speed")
    depth = {s.case_id: s.depth for s in run.cases}
    assert all(depth[case] < 18 for case in finding.cases)


def test_each_runtime_and_ladder_has_its_own_finding_about_speed():
    run = example_run.run(methods=("easier", "order"), runtimes=("onnxruntime", "torch"))
    found = {(f.numbers["ladder"], f.numbers["runtime"]) for f in of_kind(run, "depth-without-speed")}
    assert found == {(ladder, runtime) for ladder in ("easier", "order") for runtime in ("onnxruntime", "torch")}


# --- structure -----------------------------------------------------------------------------------------------------


def test_macs_rose_goes_by_useful_macs(run):
    (finding,) = of_kind(run, "macs-rose")
    assert finding.numbers["rungs"] == "3 to 8"  # rung 2 has more nominal, but fewer useful MACs than rung 0 minus 1 %
    assert finding.numbers["macs_useful_after"] == 158_700_000


def test_macs_that_rose_never_look_the_same_before_and_after():
    for before in (1234, 99_000, 100_400, 123_456, 2_401_000, 9_994_000, 10_040_000, 105_600_000):
        assert mega(before) != mega(ROSE * before + 1)
    assert [mega(value) for value in (131_700_000, 2_401_000, 124_000)] == ["131.7", "2.40", "0.124"]


def test_a_small_network_s_macs_are_told_to_the_digits_in_which_they_differ(run):
    def few(rung):
        return replace(rung, cost=replace(rung.cost, macs_useful=101_900 if rung.rung else 100_400))

    (finding,) = of_kind(with_rungs(run, few), "macs-rose")
    assert "does 0.102 M useful MACs instead of 0.100 M" in finding.cause


def test_macs_are_explained_by_the_merged_layers_that_have_more_or_not_at_all(run):
    (finding,) = of_kind(run, "macs-rose")
    assert "7 merged layers of 1.33 to 1.81 times the MACs of those replaced" in finding.cause
    equal = with_rungs(run, lambda rung: replace(rung, groups=()))
    assert "the cause is unknown" in of_kind(equal, "macs-rose")[0].cause


def test_macs_that_rose_while_latency_fell_are_information_not_a_warning(run):
    fast = replace(run.cases[4], speedup=Speedup(1.2, 1.18, 1.22, "faster"))
    (finding,) = of_kind(again(run, cases=(*run.cases[:4], fast, *run.cases[5:])), "macs-rose")
    assert finding.severity == "info" and "1.20 times as fast" in finding.advice


@pytest.mark.parametrize(("gap", "error", "tied"), [(0.001, 0.0006, True), (0.0012, 0.0006, False), (0.0, 0.1, True)])
def test_the_order_is_settled_from_a_gap_of_two_bootstrap_errors(run, gap, error, tied):
    choice = Choice(("b",), {"b": 0.1, "a": 0.1 + gap}, gap, error)
    made = with_rungs(run, lambda rung: replace(rung, choice=choice if rung.rung == 2 else None))
    assert bool(of_kind(made, "order-not-determined")) is tied


def test_a_choice_without_data_or_rivals_says_nothing(run):
    for choice in (Choice(("a",), {"a": 1.0, "b": 1.0}, 0.0, None), Choice(("a",), {"a": 1.0}, None, None)):
        assert of_kind(with_rungs(run, lambda rung, c=choice: replace(rung, choice=c)), "order-not-determined") == []


@pytest.mark.parametrize("change", [{"fold_error": 2e-5}, {"fold_error_f64": 2e-12}])
def test_a_fold_beyond_its_bound_is_an_error_and_comes_first(run, change):
    made = with_rungs(run, lambda rung: replace(rung, **change) if rung.rung >= 7 else rung)
    assert made.findings[0].kind == "not-exact" and made.findings[0].severity == "error"
    assert made.findings[0].numbers["rungs"] == "7 and 8"


def test_a_refused_group_is_named_with_its_reason(run):
    def refuse(rung):
        return replace(rung, groups=tuple(replace(g, reason="padding between the convolutions") for g in rung.groups))

    (finding,) = of_kind(with_rungs(run, refuse), "not-exact")
    assert finding.severity == "info" and finding.numbers["groups"] == 8
    assert "layer4.1: padding between the convolutions" in finding.cause


def test_accuracy_is_lost_only_beyond_binomial_noise(run):
    (finding,) = of_kind(run, "accuracy-lost")
    assert finding.numbers["rungs"] == "8"  # rung 7 has 8 of 270 fewer: not beyond chance
    assert finding.numbers["examples_lost"] == 15
    assert "one example is 0.37 %" in finding.cause
    assert "Rung 7 is the last" in finding.advice


def test_without_accuracies_none_is_lost():
    assert of_kind(example_run.run(methods=("order",)), "accuracy-lost") == []


# --- trust ---------------------------------------------------------------------------------------------------------


def test_a_quiet_run_is_not_called_noisy(run):
    assert of_kind(run, "noisy") == []


def test_wide_intervals_and_a_wide_floor_are_noisy_and_say_what_is_needed():
    comparisons, floor = of_kind(example_run.run(wide=2.0), "noisy")
    assert comparisons.numbers["half_width"] == pytest.approx(0.032) and comparisons.numbers["blocks_needed"] == 17
    assert "About 17 more blocks" in comparisons.advice
    assert "2.2 times the --budget" in comparisons.advice  # a job ends at its looks: 36 blocks, not 33
    assert floor.numbers["floor"] == pytest.approx(0.0263, abs=1e-4)


def noisy(run, widths=None, needed=None, **job):
    """The finding about wide comparisons, the job of the run changed."""
    old = run.jobs[0]
    if widths is not None:
        job["half_widths"] = dict(zip(old.half_widths, widths, strict=False))
        job["blocks_needed"] = dict.fromkeys(job["half_widths"], needed)
    found = of_kind(again(run, jobs=(replace(old, **job),)), "noisy")
    return next(f for f in found if "most_blocks" in f.numbers)


def test_what_comparisons_reached_is_said_of_those_that_are_wide(run):
    finding = noisy(run, [0.01, 0.04, 0.127], 5, blocks=14, reason="budget")
    assert "2 of 3 comparisons missed +-2 % (reached +-4 % to +-12.7 %)" in finding.cause
    assert len(finding.cases) == finding.numbers["wide"] == 2 and finding.numbers["narrowest"] == 0.04


def test_blocks_beyond_the_most_that_a_job_has_are_never_advised(run):
    on_budget = noisy(run, [0.127], 403, blocks=14, reason="budget").advice
    assert "cannot resolve +-2 % in 36 blocks" in on_budget and "403" not in on_budget
    assert "A larger --budget would bring the widest to about +-8.01 %" in on_budget
    at_the_cap = noisy(run, [0.03], 40, blocks=36, reason="blocks").advice
    assert "cannot resolve +-2 % in 36 blocks" in at_the_cap and "--budget" not in at_the_cap


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_budget_without_room_for_two_blocks_is_called_that(run, blocks):
    finding = noisy(run, [None, None], None, blocks=blocks, reason="budget")
    assert finding.numbers["half_width"] is None and "2 without an interval" in finding.cause
    assert "No two blocks fitted the budget of 240 s" in finding.advice


def test_a_job_that_was_cut_off_is_to_be_resumed(run):
    assert "--resume" in noisy(run, [0.05], 9, reason="interrupted").advice


def test_a_clock_too_coarse_is_no_matter_of_blocks(run):
    assert "clock is too coarse" in noisy(run, [0.05], None).advice


def test_targets_and_looks_are_those_of_the_job_not_of_this_program(run):
    strict = {**run.jobs[0].protocol, "half_width": 0.005, "looks": [4, 8]}
    finding = noisy(run, protocol=strict)
    assert finding.numbers["target"] == 0.005 and finding.numbers["most_blocks"] == 8


# --- failures ------------------------------------------------------------------------------------------------------


def test_what_failed_is_an_error_grouped_by_cause_with_its_own_words(run):
    made = example_run.failed(example_run.failed(run, 3, "signal: SIGSEGV at 0x1"), 5, "signal: SIGSEGV at 0x2")
    (finding,) = of_kind(example_run.failed(made, 7, "timeout: 300 s"), "failed")[:1]
    assert made.findings[0].kind == "failed" and made.findings[0].severity == "error"
    assert finding.numbers["rungs"] == "3 and 5" and finding.numbers["cause"] == "signal"
    assert "easier rungs 3 and 5 failed: rung 3, for instance: signal: SIGSEGV at 0x1." in finding.cause
    assert finding.cases == tuple(run.cases[n].case_id for n in (3, 5))


def test_an_artifact_that_could_not_be_built_is_a_failure_too(run):
    gone = replace(
        run.cases[2],
        case_id=None,
        status="failed",
        latency_ns=None,
        speedup=None,
        reasons={"status": "ValueError: no é"},
    )
    (finding,) = of_kind(again(run, cases=(*run.cases[:2], gone, *run.cases[3:])), "failed")
    assert finding.numbers["cause"] == "build" and finding.cases == ()
    assert "easier rung 2 failed: ValueError: no ?." in finding.cause


def test_a_failed_rung_0_takes_its_ladders_speedups_with_it(run):
    (finding,) = of_kind(example_run.failed(run, 0, "crash: exit status 1"), "failed")
    assert "Without rung 0" in finding.advice


@pytest.mark.parametrize(("ended", "advice"), [("interrupted", "--resume"), ("budget", "--budget")])
def test_rows_that_were_never_measured_are_a_warning(run, ended, advice):
    cases = tuple(
        replace(s, status="skipped", latency_ns=None, speedup=None) if (s.rung or 0) > 5 else s for s in run.cases
    )
    (finding,) = of_kind(again(run, cases=cases, jobs=(replace(run.jobs[0], reason=ended),)), "skipped")
    assert finding.severity == "warning" and finding.numbers["rungs"] == "6 to 8" and advice in finding.advice


# --- disturbed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "field"), [("contended", "contended"), ("not-steady", "not_steady")])
@pytest.mark.parametrize(("each", "severity"), [(1, "info"), (4, "warning")])
def test_disturbed_processes_are_counted_and_weigh_from_a_tenth(run, kind, field, each, severity):
    (finding,) = of_kind(again(run, cases=tuple(replace(s, **{field: each}) for s in run.cases)), kind)
    assert finding.severity == severity
    assert (finding.numbers["processes"], finding.numbers["of"]) == (12 * each, 12 * 16)


# --- all -----------------------------------------------------------------------------------------------------------


def test_a_case_knows_its_findings(run):
    kinds = [f.kind for f in findings.for_case(run.findings, run.cases[8].case_id)]
    assert kinds == ["depth-without-speed", "macs-rose", "accuracy-lost"]
    assert findings.for_case(run.findings, None) == ()


def test_every_sentence_is_plain_ascii_and_whole():
    for run in (example_run.run(wide=2.0), example_run.failed(example_run.run(), 3, "crash: é\n." + 999 * "x")):
        for finding in run.findings:
            for sentence in (finding.cause, finding.advice):
                assert sentence.isascii() and sentence.endswith(".") and sentence[0].isupper()


def test_nothing_measured_gives_no_findings():
    assert findings.find((), (), ()) == ()


def test_without_rung_0_nothing_is_compared_with_it(run):
    assert of_kind(again(run, cases=run.cases[1:]), "depth-without-speed") == []


@pytest.mark.parametrize(
    ("evidence", "advice"),
    [
        ("the firmware says: under-voltage (0x1)", "power supply"),
        ("2 over-current events (oc3)", "lower power mode"),
        ("1 average over-current events (oc2)", "lower power mode"),
        ("1 under-voltage events (oc1)", "power supply"),
        ("the processor counted 5 thermal throttling events (core, over all CPUs)", "--tune turbo"),
        ("gpu0 slowed its clock: hardware thermal slow-down (0x40)", "lock its clocks"),
        ("the device was suspended for 3 s", "sleeping"),
    ],
)
def test_each_evidence_of_throttling_comes_with_its_own_advice(run, evidence, advice):
    told = again(run, jobs=tuple(replace(job, throttling=(evidence,)) for job in run.jobs))
    assert advice in of_kind(told, "throttled")[0].advice


def test_same_for_one_rung_alone_is_not_said_of_a_ladder_whose_intervals_are_wider():
    assert joint_verdict(row_of("same", 0.99, 1.01)) == "same"
    assert joint_verdict(row_of("same", 0.97, 1.03)) == "unclear"
    assert joint_verdict(row_of("slower", 0.90, 1.01)) == "unclear"


def row_of(verdict, joint_low, joint_high):
    summary = SimpleNamespace(speedup=Speedup(1.0, 0.99, 1.01, verdict, joint_low, joint_high))
    return SimpleNamespace(summary=summary)


# --- given networks ------------------------------------------------------------------------------------------------


def given(run, differences):
    """The run as one of networks that were given, with these differences from rung 0."""
    rungs = tuple(replace(r, fold_error=None, fold_error_f64=None) for r in run.ladders[0].rungs)
    rungs = tuple(replace(r, difference=differences.get(r.rung)) for r in rungs)
    return again(run, ladders=(replace(run.ladders[0], method="onnx", rungs=rungs), *run.ladders[1:]))


def test_given_networks_that_compute_the_same_are_said_to(run):
    (finding,) = of_kind(given(run, {0: 0.0, 1: 2e-7, 2: 4e-7}), "agreement")
    assert (finding.severity, finding.numbers["rungs"], finding.numbers["difference"]) == ("info", "1 and 2", 4e-7)
    assert "Rung 2 (resnet18) computes what rung 0 (resnet18) computes" in finding.cause and "4e-07" in finding.cause


def test_given_networks_that_compute_something_else_are_named_and_are_no_error(run):
    made = given(run, {0: 0.0, 1: 2e-7, 2: 0.4, 3: 0.1})
    (finding,) = of_kind(made, "agreement")
    assert (finding.severity, finding.numbers["rungs"], finding.numbers["worst_rung"]) == ("info", "2 and 3", 2)
    assert "different functions" in finding.advice
    assert not [finding for finding in of_kind(made, "not-exact") if finding.severity == "error"]


def test_nothing_is_found_about_costs_that_nobody_knows(run):
    rungs = tuple(
        replace(r, cost=replace(r.cost, depth=None, macs=None, macs_useful=None, flops=None))
        for r in run.ladders[0].rungs
    )
    cases = tuple(replace(s, depth=None, macs=None, macs_useful=None, flops=None) for s in run.cases)
    unknown = again(run, cases=cases, ladders=(replace(run.ladders[0], rungs=rungs), *run.ladders[1:]))
    assert not of_kind(unknown, "depth-without-speed") and not of_kind(unknown, "macs-rose")


def test_where_macs_are_unknown_the_cause_does_not_say_that_they_did_not_rise(run):
    base = run.cases[0]
    blind = again(run, cases=tuple(replace(s, weight_bytes=base.weight_bytes, macs_useful=None) for s in run.cases))
    assert "MACs are unknown" in of_kind(blind, "depth-without-speed")[0].cause


def _built(run, builds, ratio):
    """The run as of a runtime that compiles on the device, each row so much faster than rung 0."""
    fast = [s.speedup and replace(s.speedup, ratio=ratio, verdict="faster") for s in run.cases]
    told = {"builds": builds} if builds else {}
    rows = zip(run.cases, fast, strict=True)
    return again(run, cases=tuple(replace(s, speedup=ratio, effective=told) for s, ratio in rows))


@pytest.mark.parametrize(
    ("builds", "ratio", "found"),
    [("1", 1.049, 1), ("2", 0.951, 1), ("3", 1.049, 0), ("1", 1.06, 0), (None, 1.02, 0)],
)
def test_a_difference_below_five_percent_needs_three_builds_where_a_device_compiles(run, builds, ratio, found):
    few = of_kind(_built(run, builds, ratio), "few-builds")
    assert len(few) == found
    if few:
        assert few[0].numbers["builds"] == int(builds) and "--option builds=3" in few[0].advice


# --- ladders that ended early ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "delta", "severity"),
    [
        ("rung 9 is 3.70 points below continue on the 5000 validation images, more than --delta 0.01", 0.01, "info"),
        ("rung 9: training diverged: the loss became nan at step 3 of 20", None, "warning"),
        ("rung 9: training diverged: the loss became nan at step 3 of 20", 0.01, "warning"),
    ],
    ids=["delta", "diverged", "diverged with a delta"],
)
def test_a_ladder_that_ended_early_says_at_which_rung_and_why(run, ended, delta, severity):
    first = replace(run.ladders[0], ended=ended, delta=delta, validation_examples=5000)
    made = again(run, ladders=(first, *run.ladders[1:]))
    (finding,) = of_kind(made, "ladder-cut-short")
    assert (finding.severity, finding.numbers["last_rung"]) == (severity, 8)
    assert finding.cases == tuple(s.case_id for s in run.cases if s.ladder == first.name and s.rung == 8)
    assert ended in finding.cause
    assert not of_kind(made, "delta-not-resolvable")


@pytest.mark.parametrize(
    ("images", "found"),
    [(270, True), (1999, True), (2000, False), (10000, False)],
    ids=["270", "1999", "2000", "10000"],
)
def test_delta_is_not_resolvable_on_fewer_than_two_thousand_images(run, images, found):
    ladders = tuple(replace(ladder, delta=0.01, validation_examples=images) for ladder in run.ladders[:1])
    made = of_kind(again(run, ladders=ladders), "delta-not-resolvable")
    assert bool(made) == found
    if found:
        assert made[0].numbers["error_at_most"] == pytest.approx(0.5 / images**0.5)
        assert f"judged on {images} validation images" in made[0].cause


def test_a_ladder_that_ended_by_itself_and_was_allowed_everything_is_not_remarked_on(run):
    assert not of_kind(run, "ladder-cut-short") and not of_kind(run, "delta-not-resolvable")
