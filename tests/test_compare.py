"""Two stored runs compared: the committed examples, and copies of them in which one thing is another."""

import io
import json
import math
import shutil
import statistics
from dataclasses import replace

import example_energy_run
import pytest
from rich.console import Console
from scipy.special import stdtrit

from harness import compare, content
from harness.compare.energy import energies
from harness.compare.rows import rows as bring
from harness.compare.taken import Taken
from harness.errors import HarnessError, StoreError, UsageError
from harness.report import comparison

EXAMPLES = {
    json.loads((folder / "run.json").read_text())["plan"]["ladders"][0]["method"]: folder
    for folder in (content.ROOT / "results" / "examples").glob("*/*")
    if (folder / "run.json").is_file()
}
EASIER, ORDER = EXAMPLES["easier"], EXAMPLES["order"]
OTHER = "20261122T101500Z-c0py"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The example with ten inferences per process: what is compared are medians of processes."""
    return altered(EASIER, tmp_path_factory.mktemp("base") / EASIER.name, shorten)


@pytest.fixture
def copy(base, tmp_path):
    """Make a copy of it as another run: `change` gets its files as trees, by name, to alter in place."""

    def make(change=lambda tree: None, scale=1.0, run=OTHER):
        def renamed(tree):
            tree["run"]["run"] = run
            for event in processes(tree):
                event["latency_ns"] = [round(ns * scale) for ns in event["latency_ns"]]
            change(tree)

        return altered(base, tmp_path / "results" / "local" / run, renamed)

    return make


def altered(source, folder, change):
    shutil.copytree(source / "jobs", folder / "jobs")
    own = folder / "jobs" / "onnxruntime"
    files = {"run": folder / "run.json", "job": own / "job.json", "reply": own / "reply.json"}
    tree = {name: json.loads((source / path.relative_to(folder)).read_text()) for name, path in files.items()}
    tree["journal"] = [json.loads(line) for line in (own / "events.jsonl").read_text().splitlines()]
    change(tree)
    for name, path in files.items():
        path.write_text(json.dumps(tree[name]))
    (own / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in tree["journal"]))
    return folder


def processes(tree):
    return [event for event in tree["journal"] if event["kind"] == "process"]


def shorten(tree):
    for event in processes(tree):
        for key in ("latency_ns", "start_ns", "warmup_ns"):
            event[key] = event[key][:10]


def shown(compared, **console):
    stream = io.StringIO()
    comparison.show(compared, Console(file=stream, **{"width": 120, "highlight": False, **console}))
    return stream.getvalue()


def verdicts(compared):
    return {row.ratio.verdict for row in compared.rows if row.ratio}


# --- the same rows ---------------------------------------------------------------------------------------------------


def test_the_examples_are_refused_as_their_methods_differ():
    with pytest.raises(UsageError, match=r"method: easier \| order") as refused:
        compare.compare(EASIER, ORDER)
    assert refused.value.hint.endswith("--despite method")


def test_in_spite_of_the_method_controls_and_rung_0_are_compared_and_all_else_is_listed():
    found = compare.compare(EASIER, ORDER, ["method"])
    assert [row.label for row in found.rows if row.ratio] == ["0", "resnet10", "resnet18-w0.75", "resnet18-w0.5"]
    assert [row.same_artifact for row in found.rows if row.ratio] == [False, True, True, True]
    rest = [row for row in found.rows if not row.ratio]
    assert len(rest) == 16 and all("only" in row.reason for row in rest)
    assert [each.fact for each in found.unlike] == ["method"]
    text = shown(found)
    assert "method: A easier, B order (waived)" in text and "rungs 1 to 8: only A has rungs of easier" in text


def test_what_the_same_controls_did_between_the_examples_keeps_rung_0_unclear():
    found = compare.compare(EASIER, ORDER, ["method"])
    assert found.between > 0.1  # the same three networks, minutes apart
    assert found.rows[0].ratio.verdict == "unclear"


def test_a_copy_is_never_slower(copy, base):
    found = compare.compare(base, copy())
    assert all(row.ratio.ratio == 1 for row in found.rows) and verdicts(found) <= {"same", "unclear"}
    assert found.exit_code == 0 and found.unlike == ()


def test_a_run_that_takes_a_quarter_longer_is_slower_and_that_is_a_regression(copy, base):
    found = compare.compare(base, copy(scale=1.25))
    assert all(row.ratio.ratio == pytest.approx(0.8, rel=1e-4) for row in found.rows)
    assert "slower" in verdicts(found) and "faster" not in verdicts(found)
    assert found.exit_code == 3
    assert "it, or its neighbours, changed" in comparison.conclusion(found)


def test_a_tenth_is_found_where_blocks_vary_little(copy):
    def quiet(tree):
        """Each process a tenth as far from the median of its case as it was."""
        medians = {}
        for event in processes(tree):
            medians.setdefault(event["case_id"], []).append(statistics.median(event["latency_ns"]))
        for event in processes(tree):
            away = statistics.median(event["latency_ns"]) / statistics.median(medians[event["case_id"]])
            event["latency_ns"] = [round(ns / away**0.9) for ns in event["latency_ns"]]

    found = compare.compare(copy(quiet, run="a"), copy(quiet, scale=1.10, run="b"))
    assert verdicts(found) == {"slower"} and found.exit_code == 3


def test_swapped_runs_give_inverse_ratios_and_opposite_verdicts(copy, base):
    slower = copy(scale=1.25)
    there, back = compare.compare(base, slower), compare.compare(slower, base)
    for one, other in zip(there.rows, back.rows, strict=True):
        assert one.ratio.ratio == pytest.approx(1 / other.ratio.ratio)
        assert {one.ratio.verdict, other.ratio.verdict} in ({"slower", "faster"}, {"unclear"})
    assert back.exit_code == 0


def test_a_case_that_failed_in_b_alone_is_a_failure(copy, base):
    def fail(tree):
        tree["run"]["entries"][3]["failure"] = "the converter gave up"

    failed = copy(fail)
    found = compare.compare(base, failed)
    assert found.exit_code == 1 and [row.label for row in found.rows if row.lost] == ["3"]
    assert found.rows[3].ratio is None and found.rows[3].reason == "failed in B: the converter gave up"
    assert "failed in B alone: 3" in shown(found)
    assert compare.compare(failed, base).exit_code == 0


def test_a_calibration_widens_every_interval_and_is_told(copy, base):
    def calibrate(tree):
        tree["run"]["calibration"] = {"between_jobs_sd": 0.2, "jobs": 12}

    plain, wide = compare.compare(base, copy(scale=1.25)), compare.compare(base, copy(calibrate, 1.25, "wide"))
    for one, other in zip(plain.rows, wide.rows, strict=True):
        assert other.ratio.low < one.ratio.low and other.ratio.high > one.ratio.high
    assert verdicts(wide) == {"unclear"}
    assert any("harness calibrate --device local" in note for note in plain.notes)
    assert any("sd 20.0 %" in note and "one run's" in note for note in wide.notes)


# --- energy ----------------------------------------------------------------------------------------------------------


def taken(run):
    """A run as `compare` takes it, of which only rows and energies matter here."""
    return Taken(run, {job.runtime: {} for job in run.jobs}, {}, frozenset())


def with_energies(scale=1.0, **changes):
    """Two runs, the second with energies `scale` times those of the first, brought together."""
    a, b = example_energy_run.run(), example_energy_run.run(scale=scale, **changes)
    found, between = bring(taken(a), taken(b), ())
    head = compare.Head(a.run, a.device, a.created, None, None)
    return compare.Comparison(head, head, (), found, {}, between, ())


def without_intervals(row):
    return replace(row, energy_j=replace(row.energy_j, gross=replace(row.energy_j.gross, low=None)))


def test_a_run_that_takes_a_tenth_more_energy_is_a_regression_though_no_slower():
    found = with_energies(1.1)
    assert all(row.energy.ratio == pytest.approx(1 / 1.1) for row in found.rows)
    assert found.count_energy("more") == len(found.rows) and found.count("slower") == 0
    assert found.exit_code == 3
    assert "energy: 12 more" in comparison.conclusion(found)
    back = with_energies(1 / 1.1)
    assert back.count_energy("less") == len(back.rows) and back.exit_code == 0


def test_an_interval_of_a_ratio_of_energies_adds_both_in_quadrature_and_holds_for_all_rows():
    one = energies([(example_energy_run.run().cases[1],) * 2])[0][0]
    half = math.log(one.high / one.ratio)
    assert half == pytest.approx(math.hypot(0.01, 0.01)) and math.log(one.ratio / one.low) == pytest.approx(half)
    rows = [row.energy for row in with_energies(1.0).rows]
    wide = math.log(rows[1].high / rows[1].ratio)
    assert wide / half == pytest.approx(stdtrit(4, 1 - 0.025 / 12) / stdtrit(4, 0.975))


def test_uneven_intervals_stay_uneven():
    row = example_energy_run.run().cases[0]
    gross = replace(row.energy_j.gross, high=row.energy_j.gross.value * 1.5)
    uneven = replace(row, energy_j=replace(row.energy_j, gross=gross))
    found = energies([(uneven, row)])[0][0]
    assert math.log(found.high) == pytest.approx(math.hypot(math.log(1.5), 0.01))
    assert math.log(found.low) == pytest.approx(-math.hypot(0.01, 0.01))


def test_energies_within_two_per_cent_are_the_same_and_no_regression():
    row = example_energy_run.run().cases[0]
    narrow = replace(row.energy_j.gross, low=row.energy_j.gross.value * 0.9999, high=row.energy_j.gross.value * 1.0001)
    a = replace(row, energy_j=replace(row.energy_j, gross=narrow))
    more = replace(narrow, **{key: getattr(narrow, key) * 1.01 for key in ("value", "low", "high")})
    b = replace(row, energy_j=replace(row.energy_j, gross=more))
    assert energies([(a, b)])[0][0].verdict == "same"


def test_without_an_interval_an_energy_is_unclear():
    row = example_energy_run.run().cases[0]
    found = energies([(row, without_intervals(row))])[0][0]
    assert found.verdict == "unclear" and found.low is None and found.high is None


def test_closed_windows_may_differ_by_an_inference_for_they_end_with_one():
    row = example_energy_run.run(scenarios=("closed",)).cases[0]
    figure = row.energy_j.figures["closed"]
    took_s = figure.gross.value / figure.power_w.value
    short = replace(row, energy_j=replace(row.energy_j, window_s=took_s * 10))
    within, beyond = (
        replace(row, energy_j=replace(row.energy_j, window_s=took_s * (10 + more))) for more in (0.9, 1.1)
    )
    assert energies([(short, within)])[0][0] is not None
    found, reason = energies([(short, beyond)])[0]
    assert found is None and "(give both runs one --window)" in reason


UNLIKE_ENERGY = {
    "scope": ({"scope": "wall"}, "scope module in A, wall in B"),
    "sensor": ({"sensor": "tegrastats"}, "sensor ina3221 in A, tegrastats in B"),
    "kind": ({"kind": "averaged_power"}, "kind instant_power in A, averaged_power in B"),
    "scenario": ({"scenario": "closed"}, "scenario paced in A, closed in B"),
    "window": ({"window_s": 20.3}, "windows of 20 s in A, 20.3 s in B (give both runs one --window)"),
}


@pytest.mark.parametrize("name", UNLIKE_ENERGY)
def test_energies_that_were_not_measured_alike_are_refused_with_the_reason(name):
    changes, said = UNLIKE_ENERGY[name]
    row = example_energy_run.run().cases[0]
    found, reason = energies([(row, replace(row, energy_j=replace(row.energy_j, **changes)))])[0]
    assert found is None and reason == f"energies of unlike {said}"


@pytest.mark.parametrize(("rate", "refused"), [(151.0, False), (152.0, True), (None, True)])
def test_rates_must_agree_within_one_per_cent(rate, refused):
    row = example_energy_run.run().cases[0]
    figures = {name: replace(figure, rate_hz=rate) for name, figure in row.energy_j.figures.items()}
    found, reason = energies([(row, replace(row, energy_j=replace(row.energy_j, figures=figures)))])[0]
    assert (found is None) is refused
    assert not refused or ("rate 150 Hz in A" in reason and "--rate" in reason)


def test_an_energy_that_only_one_run_has_is_told_and_of_none_nothing_is_said():
    run = example_energy_run.run()
    bare = example_energy_run.without(run).cases[0]
    assert energies([(run.cases[0], bare)]) == [(None, f"no energy in B: {example_energy_run.NO_ENERGY}")]
    assert energies([(bare, bare), (None, run.cases[0])]) == [(None, None)] * 2


def test_energies_of_two_runs_stand_in_a_table_of_their_own():
    found = with_energies(1.1)
    text = shown(found)
    assert max(map(len, text.splitlines())) <= 120 and text.isascii()
    assert "energy per inference: scope module (ina3221), paced at 150 Hz" in text
    (line,) = (line for line in text.splitlines() if line.startswith("8 ") and line.endswith("more"))
    assert line.split()[1] == "32.1" and "0.909 [" in line
    assert "What differs from job to job is not in them" in " ".join(text.split())


def test_energies_that_were_refused_are_listed_once_with_their_rows():
    text = " ".join(shown(with_energies(window_s=30.0)).split())
    assert text.count("windows of 20 s in A, 30 s in B") == 1 and "energy of rungs 0 to 8, resnet10" in text
    assert "energy per inference" not in text


# --- what is unlike --------------------------------------------------------------------------------------------------


def plan(key, value):
    return lambda tree: tree["run"]["plan"].update({key: value})


def ladder(key, value):
    return lambda tree: tree["run"]["plan"]["ladders"][0].update({key: value})


def fact(key, value):
    return lambda tree: tree["reply"]["facts"].update({key: value})


def protocol(key, value):
    return lambda tree: tree["job"]["protocol"].update({key: value})


def effective(key, value):
    def change(tree):
        for event in processes(tree):
            event["effective"][key] = value

    return change


UNLIKE = {
    "device": lambda tree: (plan("device", "desktop")(tree), tree["run"].update(device="desktop")),
    "threads": plan("threads", 2),
    "batch": plan("batch", 4),
    "options": plan("options", {"spinning": "off"}),
    "tune": plan("tune", ["governor"]),
    "power_mode": plan("power_mode", "15W"),
    "precision": plan("precisions", ["int8"]),
    "model": ladder("model", "resnet34"),
    "task": ladder("task", "cifar10"),
    "eligible": ladder("eligible", "all"),
    "seed": ladder("seed", 7),
    "forms": ladder("forms", ["ring"]),
    "schedule": ladder("schedule", "cifar"),
    "budget_epochs": ladder("budget_epochs", 40),
    "step": ladder("step", 2),
    "distil": ladder("distil", 0.5),
    "train_on": ladder("train_on", "cuda"),
    "recipe": lambda tree: tree["run"]["ladders"][0].update(recipe={"entropy": "position"}),
    "cpu": fact("cpu", "Cortex-A76"),
    "board": fact("board", "Raspberry Pi 5"),
    "machine": fact("machine", "aarch64"),
    "cpus_usable": fact("cpus_usable", 4),
    "kernel": fact("kernel", "6.6.0"),
    "libc": fact("libc", "musl"),
    "python": fact("python", "3.12.1"),
    "governors": fact("governors", ["performance"]),
    "versions": lambda tree: tree["reply"]["versions"].update(onnxruntime="1.32.0"),
    "timed_s": protocol("timed_s", 1.0),
    "warmup_cap_s": protocol("warmup_cap_s", 4.0),
    "spin_tolerance": protocol("spin_tolerance", 0.5),
    "cooldown_s": protocol("cooldown_s", 60.0),
    "provider": effective("provider", "XnnpackExecutionProvider"),
    "optimization": effective("optimization", "basic"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNLIKE)
def test_an_unlike_fact_is_refused_by_its_name(name, copy, base):
    with pytest.raises(UsageError, match=rf"\n  {name}: .+ \| .+") as refused:
        compare.compare(base, copy(UNLIKE[name]))
    assert refused.value.exit_code == 2 and refused.value.hint.endswith(f"--despite {name}")
    assert refused.value.message.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["device", "precision", "model", "recipe", "cpu", "versions", "timed_s", "provider"])
def test_an_unlike_fact_that_is_waived_by_name_is_kept_and_shown(name, copy, base):
    found = compare.compare(base, copy(UNLIKE[name]), [name])
    assert [each.fact for each in found.unlike] == [name]
    assert f"\n{name}: A " in shown(found) and "(waived)" in shown(found)
    assert any(row.ratio for row in found.rows)


def test_all_unlike_facts_are_named_in_one_message_and_each_must_be_waived(copy, base):
    def change(tree):
        UNLIKE["cpu"](tree)
        UNLIKE["versions"](tree)

    other = copy(change)
    with pytest.raises(UsageError, match=r"cpu: AMD EPYC \| Cortex-A76\n  versions: .*1.31.1 \| .*1.32.0") as refused:
        compare.compare(base, other)
    assert refused.value.hint.endswith("--despite cpu,versions")
    with pytest.raises(UsageError, match="versions"):
        compare.compare(base, other, ["cpu"])


@pytest.mark.slow
def test_where_the_device_is_another_its_same_artifacts_are_no_floor(copy, base):
    assert compare.compare(base, copy()).between is not None
    assert compare.compare(base, copy(UNLIKE["kernel"], run="b"), ["kernel"]).between is None


def test_a_larger_budget_is_not_unlike(copy, base):
    other = copy(lambda tree: (protocol("budget_s", 900.0)(tree), plan("budget_s", 900.0)(tree)))
    assert compare.compare(base, other).unlike == ()


def test_what_only_a_newer_agent_knows_is_not_unlike_but_said(copy, base):
    found = compare.compare(base, copy(lambda tree: tree["reply"]["facts"].pop("os")))
    assert any("Only one of the runs knows: os" in note for note in found.notes)


def test_another_boot_is_allowed_and_said(copy, base):
    found = compare.compare(base, copy(fact("boot_id", "another")))
    assert "another boot" in found.notes[0] and "Not interleaved" in found.notes[0]


@pytest.mark.slow
def test_a_device_whose_fixed_work_took_longer_is_told_apart_from_the_network(copy, base):
    def slow(tree):
        for event in processes(tree):
            event |= {key: round(1.2 * event[key]) for key in ("spin_before_ns", "spin_after_ns")}

    assert any("1.200 times as long in B" in note for note in compare.compare(base, copy(slow)).notes)
    assert not any("spin" in note for note in compare.compare(base, copy(run="b")).notes)


# --- what is no comparison -------------------------------------------------------------------------------------------


def test_a_run_is_not_compared_with_itself():
    with pytest.raises(UsageError, match="is one run"):
        compare.compare(EASIER, EASIER)


def test_nothing_waives_that_a_device_is_virtual(copy, base):
    other = copy(lambda tree: tree["run"].update(virtual=True))
    with pytest.raises(UsageError, match="virtual"):
        compare.compare(base, other, ["device"])


def test_nothing_waives_that_regimes_differ(copy, base):
    with pytest.raises(UsageError, match=r"\(burst\) and .* \(sustained\) are of two regimes"):
        compare.compare(base, copy(plan("regime", "sustained")), ["tune"])


def test_a_run_that_is_not_done_is_refused_with_the_next_move(copy, base):
    other = copy(lambda tree: tree["run"].update(status="interrupted"))
    with pytest.raises(StoreError, match="is interrupted, not done") as refused:
        compare.compare(base, other)
    assert refused.value.hint == f"Finish it: harness run --resume {OTHER}"


def test_a_damaged_journal_is_refused(copy, base):
    other = copy()
    journal = other / "jobs" / "onnxruntime" / "events.jsonl"
    journal.write_text(journal.read_text().replace('"seq": 40,', '"seq": 41,'))
    with pytest.raises(HarnessError, match=r"events\.jsonl"):
        compare.compare(base, other)


def test_a_fact_that_there_is_not_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match='no fact "governer"; did you mean "governors"'):
        compare.compare(EASIER, ORDER, ["governer"])


# --- on the command line ---------------------------------------------------------------------------------------------


def test_the_table_fits_a_pipe_and_says_both_latencies_and_the_verdict(copy, base):
    found = compare.compare(base, copy(scale=1.25))
    text, median_ns = shown(found), found.rows[8].a.latency_ns.median
    assert text.isascii() and max(map(len, text.splitlines())) <= 120
    (line,) = (line for line in text.splitlines() if line.startswith("8 "))
    assert line.split()[:3] == ["8", "same", f"{median_ns / 1e6:.2f}"] and "0.800 [" in line and line.endswith("slower")
    assert "A/A floors on onnxruntime" in text and "Not interleaved" in text


def test_the_command_compares_ends_with_3_on_a_regression_and_its_json_keeps_the_contract(cli, copy, base):
    copy(scale=1.25)
    done = cli("compare", str(base), OTHER[:8], "--json")
    assert done.code == 3 and done.err == ""
    found = done.json
    assert found.keys() == {"schema", "a", "b", "unlike", "rows", "floors", "between", "notes", "conclusion"}
    assert found["schema"] == 1 and found["b"]["run"] == OTHER and len(found["rows"]) == 12
    assert found["rows"][1].keys() == {
        *("label", "ladder", "rung", "model", "task", "method", "runtime", "precision"),
        *("a", "b", "same_artifact", "ratio", "reason", "lost", "energy", "energy_reason"),
    }
    assert found["rows"][1]["ratio"].keys() == {"ratio", "low", "high", "verdict"}
    assert found["rows"][1]["a"]["latency_ns"]["median"] < found["rows"][1]["b"]["latency_ns"]["median"]


def test_the_command_refuses_unlike_and_unknown_runs_as_the_users_mistake(cli):
    refused = cli("compare", str(EASIER), str(ORDER))
    assert refused.code == 2 and refused.out == "" and "--despite method" in refused.err
    missing = cli("compare", str(EASIER), "20990101", "--results", str(EASIER.parent.parent))
    assert missing.code == 2 and 'no run "20990101"' in missing.err
