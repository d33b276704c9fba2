"""What devices tell of the graphs they ran, from journals made here: sums, rates, layers, bounds, and why numbers are null."""

from __future__ import annotations

import time
from dataclasses import replace

import example_run
import made_graphs
import pytest
from test_analysis import RUNTIME, Journal, analysed, job_of, row

from harness import wire
from harness.analysis import executed, matching, virtual
from harness.records import Layer

NS = 5_000_000
LATENCY_NS = 7_500_000  # of every case: between what the operators of the shallowest and of the deepest rung take
CPU = {"provider": "cpu"}


@pytest.fixture(scope="module")
def run():
    made = replace(example_run.run(), cases=(), jobs=(), findings=(), analysis_version=0)
    return made_graphs.with_layers(made)


def journal_of(run, *, ceilings=True, graphs=True, effective=CPU, noted=None, **told):
    """Every case measured in four blocks and its operators told, as an agent's journal has them."""
    job = job_of(run)
    journal = Journal(job).blocks(1, 4, ns=LATENCY_NS, **effective)
    if ceilings:
        note_ceilings(journal)
    for entry in run.entries if graphs else ():
        ladder = next(ladder for ladder in run.ladders if ladder.name == entry.ladder)
        told_of = made_graphs.operators(ladder.rungs[entry.rung], **told)
        note_graph(journal, entry.case.case_id, told_of, **(noted or {}))
    return journal


def note_ceilings(journal, threads=1, macs=made_graphs.MACS_PER_S, copied=made_graphs.BYTES_PER_S, **more):
    fields = {"threads": threads, "macs_per_s": macs, "bytes_per_s": copied, "reason": "", **more}
    journal.note(wire.CeilingsEvent, "ceilings", made_with="numpy 2.4.6", settings={}, **fields)


def note_graph(journal, case, operators, **fields):
    inferences = 30 if any(each.time_ns is not None for each in operators) else 0
    said = {"inferences": inferences, **fields}
    journal.note(wire.GraphEvent, "graph", case_id=case, operators=tuple(operators), **said)


def measured(run, journal):
    return analysed(run, journal.job, journal)


# --- sums and rates ------------------------------------------------------------------------------------------------


def test_a_row_tells_what_was_executed_beside_the_controllers_count_and_the_ceilings(run):
    first = row(measured(run, journal_of(run)), 0)
    told = made_graphs.operators(run.ladders[0].rungs[0])
    done = first.executed
    assert (done.operators, done.macs) == (len(told), sum(each.macs for each in told))
    assert done.macs_ratio == pytest.approx(done.macs / first.macs)
    assert done.macs_per_s == pytest.approx(done.macs / (first.latency_ns.median / 1e9))
    assert done.flops_per_s == 2 * done.macs_per_s
    assert done.of_compute == pytest.approx(done.macs_per_s / made_graphs.MACS_PER_S)
    assert done.of_copy == pytest.approx(done.bytes_per_s / made_graphs.BYTES_PER_S)
    assert done.operators_ns == sum(each.time_ns for each in told)
    assert not [key for key in first.reasons if key.startswith("executed")]


def test_macs_of_a_whole_batch_are_put_beside_the_controllers_count_of_as_many_examples(run):
    first = row(measured(run, journal_of(run)), 0)
    done, _ = executed.sums(
        replace(first, batch=4),
        executed.Graph(wire.GraphEvent(1, 0, 0, "graph", "c", (operator(macs=first.macs),)), (), 4, None),
    )
    assert done.macs_ratio == pytest.approx(0.25)


def test_one_kind_that_nobody_can_count_makes_the_sum_null_and_stands_by_name(run):
    journal = journal_of(run, graphs=False)
    note_graph(journal, run.entries[0].case.case_id, [operator(macs=5), operator(kind="Einsum", macs=None)])
    first = row(measured(run, journal), 0)
    assert first.executed.macs is None and first.executed.macs_uncounted == ("Einsum",)
    for key in ("macs", "macs_ratio", "macs_per_s", "flops_per_s", "of_compute"):
        assert getattr(first.executed, key) is None
        assert first.reasons[f"executed.{key}"] == "no rule counts Einsum"
    assert first.executed.bytes == 200


@pytest.mark.parametrize(
    ("ceilings", "reason"),
    [
        ({}, "no ceilings were measured with these threads"),
        ({"macs": None, "copied": None, "reason": "no NumPy"}, "no NumPy"),
    ],
)
def test_without_ceilings_rates_stay_and_fractions_say_why_there_are_none(run, ceilings, reason):
    journal = journal_of(run, ceilings=False)
    if ceilings:
        note_ceilings(journal, **ceilings)
    first = row(measured(run, journal), 0)
    assert first.executed.macs_per_s and first.executed.of_compute is None
    assert first.reasons["executed.of_compute"] == first.reasons["executed.of_copy"] == reason


def test_without_a_profile_operators_are_told_and_their_times_say_how_to_get_them(run):
    made = measured(run, journal_of(run, timed=False))
    first = row(made, 0)
    assert first.executed.operators_ns is None
    assert first.reasons["executed.operators_ns"] == "operators were not timed: run with --profile"
    assert {each.bound for each in made.operators[first.case_id]} == {None}


def test_a_journal_without_graphs_as_old_ones_are_says_so(run):
    first = row(measured(run, journal_of(run, graphs=False)), 0)
    assert first.executed is None and "made before devices did" in first.reasons["executed"]


def test_a_graph_that_cannot_be_walked_passes_its_reason_on(run):
    journal = journal_of(run, graphs=False)
    note_graph(journal, run.entries[0].case.case_id, (), reason="a compiled module has no operators")
    first = row(measured(run, journal), 0)
    assert first.executed is None and first.reasons["executed"] == "a compiled module has no operators"


def test_counters_that_are_not_permitted_are_null_with_the_cause(run):
    journal = journal_of(run, graphs=False)
    fields = {"counters": {"cycles": None, "instructions": 5.0}, "reasons": {"cycles": "perf_event_paranoid is 4"}}
    note_graph(journal, run.entries[0].case.case_id, [operator()], **fields)
    first = row(measured(run, journal), 0)
    assert first.executed.counters == {"cycles": None, "instructions": 5.0}
    assert first.reasons["executed.counters.cycles"] == "perf_event_paranoid is 4"


def test_a_virtual_device_tells_its_graph_but_no_rate_and_no_time(run):
    made = measured(replace(run, virtual=True), journal_of(run))
    first = row(made, 0)
    assert first.executed.operators and first.executed.macs and made.ceilings == ()
    for key in ("macs_per_s", "flops_per_s", "bytes_per_s", "of_compute", "of_copy", "operators_ns"):
        assert getattr(first.executed, key) is None and first.reasons[f"executed.{key}"] == virtual.REASON
    assert {(each.time_ns, each.bound) for each in made.operators[first.case_id]} == {(None, None)}


def test_ceilings_are_the_best_of_all_jobs_by_thread_count(run):
    one, other = Journal(job_of(run)), Journal(job_of(run))
    note_ceilings(one, 1, 50e9, 10e9)
    note_ceilings(other, 1, 40e9, 12e9)
    note_ceilings(other, 4, None, None, reason="no NumPy there")
    first, second = executed.ceilings([one.events, other.events])
    assert (first.threads, first.macs_per_s, first.bytes_per_s) == (1, 50e9, 12e9)
    assert (second.threads, second.macs_per_s, second.reason) == (4, None, "no NumPy there")


@pytest.mark.parametrize(
    ("effective", "reason"),
    [
        ({"provider": "cuda"}, "computed by cuda: the ceilings are the processor's"),
        ({"device": "cuda", "provider": "cuda"}, "computed by cuda"),
        ({"gpu": "Orin"}, "computed by Orin"),
        ({}, "does not tell what computes"),
    ],
)
def test_what_another_device_computes_is_not_put_beside_the_processor_s_ceilings(run, effective, reason):
    made = measured(run, journal_of(run, effective=effective))
    first = row(made, 0)
    assert first.executed.macs_per_s and first.executed.ceilings is first.executed.of_compute is None
    for key in ("ceilings", "of_compute", "of_copy"):
        assert reason in first.reasons[f"executed.{key}"]
    assert {(each.of_compute, each.bound) for each in made.operators[first.case_id]} == {(None, "unknown")}


@pytest.mark.parametrize(
    "effective", [CPU, {"provider": "local-task", "device": "cpu"}, {"provider": "XnnpackBackend"}]
)
def test_the_processor_is_known_by_what_runtimes_call_it(run, effective):
    assert row(measured(run, journal_of(run, effective=effective)), 0).executed.of_compute is not None


def test_ceilings_made_beside_somebody_else_are_told_and_judge_nothing(run):
    journal = journal_of(run, ceilings=False)
    note_ceilings(journal, contended=True)
    made = measured(run, journal)
    first = row(made, 0)
    assert first.executed.ceilings.contended and first.executed.of_compute is first.executed.of_copy is None
    assert "while somebody else used the processor" in first.reasons["executed.of_compute"]
    assert {each.bound for each in made.operators[first.case_id]} == {"unknown"}


def test_what_one_quiet_job_reached_may_be_judged_by_and_raised_by_a_contended_one(run):
    journal = Journal(job_of(run))
    note_ceilings(journal, macs=50e9, copied=10e9)
    note_ceilings(journal, macs=40e9, copied=12e9, contended=True)
    (best,) = executed.ceilings([journal.events])
    assert (best.macs_per_s, best.bytes_per_s, best.contended) == (50e9, 12e9, False)


def test_ceilings_go_by_the_cpus_of_a_case_as_by_its_threads(run):
    journal = Journal(job_of(run))
    note_ceilings(journal, macs=50e9)
    note_ceilings(journal, macs=20e9, cpus="2,3")
    known = {(each.threads, each.cpus): each for each in executed.ceilings([journal.events])}
    anywhere = replace(row(measured(run, journal_of(run)), 0), options={})
    assert executed.fitting(anywhere, known)[0].macs_per_s == 50e9
    assert executed.fitting(replace(anywhere, options={"cpus": "2,3"}), known)[0].macs_per_s == 20e9
    missing = "no ceilings were measured with these threads on CPUs 0"
    assert executed.fitting(replace(anywhere, options={"cpus": "0"}), known) == (None, missing)


def test_a_profile_made_beside_somebody_else_bounds_no_operator_and_names_no_cause(run):
    made = measured(run, journal_of(run, slower=2.0, noted={"contended": True}))
    first = row(made, 0)
    assert first.executed.contended and {each.bound for each in made.operators[first.case_id]} == {"unknown"}
    (finding,) = (each for each in made.findings if each.kind == "depth-without-speed")
    assert finding.numbers["cause"] == "unknown" and "somebody else used the machine" in finding.cause


def test_times_that_add_up_to_far_more_than_the_latency_bound_no_operator(run):
    told = wire.GraphEvent(1, 0, 0, "graph", "c", (operator(macs=10**6, time_ns=20_000),) * 2, inferences=30)
    best = executed.Ceilings(1, 50e9, 12e9, "numpy", "")
    for latency_ns, bound in ((27_000, "compute"), (26_000, "unknown"), (None, "compute")):
        made = executed.operations(executed.Graph(told, (), 1, best, latency_ns=latency_ns))
        assert {each.bound for each in made} == {bound}


def test_a_quiet_profile_counts_before_a_later_contended_one(run):
    journal = journal_of(run, graphs=False)
    case = run.entries[0].case.case_id
    note_graph(journal, case, [operator(), operator()])
    note_graph(journal, case, [operator()], contended=True)
    assert row(measured(run, journal), 0).executed.operators == 2


def test_thousands_of_kinds_that_nobody_counts_make_a_short_reason(run):
    journal = journal_of(run, graphs=False)
    note_graph(journal, run.entries[0].case.case_id, [operator(kind=f"k{n:05}", macs=None) for n in range(3000)])
    reason = row(measured(run, journal), 0).reasons["executed.macs"]
    assert reason == "no rule counts k00000, k00001, k00002, k00003, k00004 and 2995 more"


def test_the_last_graph_with_operators_counts_where_a_job_was_resumed(run):
    journal = journal_of(run, graphs=False)
    case = run.entries[0].case.case_id
    note_graph(journal, case, [operator(), operator()])
    note_graph(journal, case, [operator()])
    note_graph(journal, case, (), reason="the process failed")
    assert row(measured(run, journal), 0).executed.operators == 1


# --- layers --------------------------------------------------------------------------------------------------------


def operator(name="o", kind="Conv", macs=100, **fields):
    return wire.Operator(name, kind, macs, fields.pop("bytes", 100), **fields)


CHAIN = (
    Layer("conv1", "convolution", 10),
    Layer("layer1.0.conv1", "convolution", 100),
    Layer("layer1.0.conv2", "convolution", 100),
    Layer("fc", "linear", 7),
)


@pytest.mark.parametrize(
    ("name", "macs", "layer"),
    [
        ("node_conv2d_2", 100, "layer1.0.conv2"),
        ("node_conv2d", 10, "conv1"),
        ("node_conv2d_2_quant", 100, "layer1.0.conv2"),
        ("conv2d_1_nchwc", 100, "layer1.0.conv1"),
        ("node_linear", 7, "fc"),
        ("ResNet/Sequential_layer1/Block_0/Conv2d_conv2;aten__convolution", 100, "layer1.0.conv2"),
        ("layer1/0/conv1", None, "layer1.0.conv1"),
    ],
)
def test_a_name_tells_the_layer(name, macs, layer):
    assert matching.match([operator(name, macs=macs)], CHAIN, 1)[0] == (layer, "name")


@pytest.mark.parametrize(("name", "macs"), [("node_conv2d_1", 55), ("node_conv2d_9", 100), ("dispatch_3", 55)])
def test_a_name_that_the_macs_contradict_or_that_counts_too_far_tells_nothing(name, macs):
    assert matching.match([operator(name, macs=macs)], CHAIN, 1) == {}


SEQUENCE = tuple(Layer(str(2 * n), "convolution", 100) for n in range(5))  # convolutions with activations between
EXPORTED = ("node_conv2d", *(f"node_conv2d_{n}" for n in range(1, 5)))


@pytest.mark.parametrize("names", [EXPORTED, ("0", "2", "4", "6", "8"), [f"Net/Conv2d_{2 * n};aten" for n in range(5)]])
def test_layers_whose_paths_are_numbers_are_not_mistaken_for_torch_s_own_counting(names):
    found = matching.match([operator(name) for name in names], SEQUENCE, 1)
    assert found == {n: (layer.name, "name") for n, layer in enumerate(SEQUENCE)}


def test_a_number_in_a_name_that_is_no_path_tells_nothing():
    assert matching.match([operator("dispatch_2", macs=None)], SEQUENCE, 1) == {}


def test_nodes_of_a_given_network_keep_their_names_whatever_was_folded_away_before_them():
    given = tuple(Layer(name, "convolution", 100) for name in ("node_conv2d", "node_conv2d_2", "node_conv2d_5"))
    found = matching.match([operator("conv2d_2_nchwc"), operator("node_conv2d_5"), operator("node_conv2d")], given, 1)
    assert [found[n][0] for n in range(3)] == ["node_conv2d_2", "node_conv2d_5", "node_conv2d"]


def test_a_layer_that_two_operators_claim_is_neither_s():
    told = [operator("layer1/0/conv1", macs=None), operator("other/layer1/0/conv1", macs=None)]
    assert matching.match(told, CHAIN, 1) == {}


@pytest.mark.parametrize("digits", [7, 180])
def test_a_number_that_no_network_reaches_is_no_place(digits):
    assert matching.match([operator("conv2d_" + "9" * digits)], CHAIN, 1) == {}
    assert matching.match([operator("conv2d_" + "0" * digits, macs=10)], CHAIN[1:], 1) == {}


def test_as_many_operators_as_a_device_may_tell_are_matched_in_time_that_grows_with_them():
    layers = [Layer(f"layer{n}.conv", "convolution", 100 + n) for n in range(200)]
    told = [operator(f"x_{n}_" + "conv_b_" * 20, macs=100 + n % 7) for n in range(wire.MAX_OPERATORS)]
    began = time.process_time()
    matching.match(told, layers, 1)
    assert time.process_time() - began < 5  # of minutes as it was


def test_operators_without_telling_names_are_matched_in_order_where_counts_and_macs_agree():
    told = [operator(f"aten::convolution {n}", macs=macs) for n, macs in enumerate((10, 100, 100))]
    told.insert(1, operator("aten::relu", "relu", macs=0))
    found = matching.match([*told, operator("aten::addmm", "addmm", macs=7)], CHAIN, 1)
    assert [found[place][0] for place in sorted(found)] == [layer.name for layer in CHAIN]
    assert {how for _, how in found.values()} == {"macs"} and 1 not in found


def test_a_batch_multiplies_what_layers_are_expected_to_do():
    assert matching.match([operator("x", macs=40)], CHAIN[:1], 4) == {0: ("conv1", "macs")}


def test_one_operator_for_two_layers_of_its_macs_is_unknown():
    assert matching.match([operator("x", macs=100)], CHAIN, 1) == {}


def test_branches_that_run_in_another_order_are_matched_by_their_macs():
    found = matching.match([operator("x", macs=7), operator("y", macs=10)], CHAIN, 1)
    assert {place: layer for place, (layer, _) in found.items()} == {0: "fc", 1: "conv1"}


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_compute", "of_copy", "at_floor", "bound"),
    [
        (0.5, 0.1, False, "compute"),
        (0.499, 0.1, False, "unknown"),
        (0.1, 0.5, False, "memory"),
        (0.1, 0.499, False, "unknown"),
        (0.6, 0.7, False, "memory"),
        (0.7, 0.6, False, "compute"),
        (0.1, 1.25, False, "memory"),
        (0.1, 1.26, False, "unknown"),  # faster than a copy: it came from a cache
        (0.6, 1.26, False, "compute"),
        (0.05, 0.05, True, "overhead"),
        (0.05, 0.05, False, "unknown"),
        (0.05, 0.1, True, "unknown"),
        (None, 0.9, True, "unknown"),
        (0.9, None, True, "unknown"),
    ],
)
def test_what_holds_an_operator_follows_from_its_fractions_of_the_ceilings(of_compute, of_copy, at_floor, bound):
    assert executed.bound(of_compute, of_copy, at_floor) == bound


def test_shares_add_up_and_calls_near_the_least_time_are_overhead():
    told = [operator(macs=4_000_000, time_ns=100_000), operator(kind="Relu", macs=0, time_ns=1_000)]
    told.append(operator(kind="Relu", macs=0, time_ns=2_001))
    best = executed.Ceilings(1, 50e9, 10e9, "numpy")
    event = wire.GraphEvent(1, 0, 0, "graph", "c", tuple(told), inferences=3)
    made = executed.operations(executed.Graph(event, (), 1, best))
    assert sum(each.share for each in made) == pytest.approx(1)
    assert [each.bound for each in made] == ["compute", "overhead", "unknown"]


def test_every_word_of_a_run_survives_storing(run, tmp_path):
    from harness import store

    made = measured(run, journal_of(run))
    folder = store.create(tmp_path, made)
    loaded = store.load(folder)
    assert (loaded.cases, loaded.operators, loaded.ceilings) == (made.cases, made.operators, made.ceilings)
    assert loaded.ladders == made.ladders


def test_the_profile_of_a_rung_that_is_not_faster_names_the_operator_in_the_finding(run):
    made = measured(run, journal_of(run, slower=2.0))
    (finding,) = (each for each in made.findings if each.kind == "depth-without-speed")
    assert finding.numbers["cause"] == "kernel-cliff" and "--profile" not in finding.advice
    (shown,) = (each for each in made.findings if each.kind == "kernel-cliff")
    assert shown.numbers["layer"].endswith("conv1") and "left the fast path" in shown.cause


def test_without_a_profile_the_finding_says_how_to_get_one(run):
    made = measured(run, journal_of(run, timed=False))
    (finding,) = (each for each in made.findings if each.kind == "depth-without-speed")
    assert finding.numbers["cause"] == "unknown" and "Run with --profile" in finding.advice
    assert RUNTIME in finding.numbers["runtime"]
