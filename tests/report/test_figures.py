"""The further figures: device beside device, useful MACs against latency, operators per rung, single inferences."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import example_run
import made_graphs
import matplotlib as mpl
import pytest
import test_executed

from harness import report, store, tables
from harness.errors import StoreError, UsageError
from harness.report import canvas, devices, places, roofline, scales, spread, stacks, style, work

RUN = example_run.run(("easier", "order"), ("onnxruntime", "torch"))


def unmeasured(methods=("easier",)):
    return made_graphs.with_layers(
        replace(example_run.run(methods), cases=(), jobs=(), findings=(), analysis_version=0)
    )


def profiled(**told):
    made = unmeasured()
    return test_executed.measured(made, test_executed.journal_of(made, slower=2.0, **told))


@pytest.fixture(scope="module")
def timed():
    return profiled()


@pytest.fixture(scope="module")
def framed():
    """A run with its inferences, as its journal has them."""
    made = unmeasured()
    journal = test_executed.journal_of(made)
    run = test_executed.measured(made, journal)
    return frames_of(run, journal.events)


def frames_of(run, events):
    journals = {"onnxruntime": events}
    nothing = tables.processes([])
    samples = tables.samples(journals.values())
    return store.Frames(run, nothing, samples, nothing, tables.processes(journals.values()), nothing, nothing, nothing)


def rows_of(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


def drawn(figure, *args):
    with mpl.rc_context(style.RC):
        return figure(*args)


def texts(axes):
    return {text.get_text() for text in axes.texts}


def words(figure):
    return " ".join(" ".join(text.get_text() for legend in figure.legends for text in legend.get_texts()).split())


def every(run, frames):
    """Each figure with what it is drawn from."""
    return {
        "devices": (report.draw_devices, [run]),
        "roofline": (report.draw_roofline, run),
        "operators": (report.draw_operators, run),
        "distribution": (report.draw_distribution, frames),
    }


KINDS = ("devices", "roofline", "operators", "distribution")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_run_gives_the_same_bytes_and_points_lie_beside(tmp_path, framed, kind):
    draw, what = every(framed.run, framed)[kind]
    (first, points), (second, _) = (draw(what, tmp_path / name / f"{kind}.svg") for name in "ab")
    assert first.read_bytes() == second.read_bytes() and first.read_bytes().startswith(b"<?xml")
    assert points == tmp_path / "a" / f"{kind}.csv" and rows_of(points)


@pytest.mark.parametrize("kind", KINDS)
def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path, framed, kind):
    draw, what = every(framed.run, framed)[kind]
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        draw(what, tmp_path / "figure.jpeg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("virtual", [True, False])
def test_what_is_virtual_or_not_measured_has_no_figure(tmp_path, framed, kind, virtual):
    cases = tuple(replace(row, latency_ns=None, speedup=None, status="failed") for row in framed.run.cases)
    run = replace(framed.run, virtual=virtual, cases=framed.run.cases if virtual else cases)
    draw, what = every(run, replace(framed, run=run))[kind]
    with pytest.raises(StoreError, match="virtual" if virtual else "nothing measured"):
        draw(what, tmp_path / "figure.png")


# --- device beside device --------------------------------------------------------------------------------------------


def drawn_devices(*runs):
    return drawn(devices._figure, runs, *places.fitted(runs))


def test_runs_stand_side_by_side_absolute_over_relative_on_one_scale():
    pi = replace(RUN, device="pi", run="20261120T101500Z-pi00")
    figure = drawn_devices(RUN, pi)
    above, below = figure.axes[:4], figure.axes[4:]
    assert [axes.get_title(loc="left").splitlines()[0] for axes in above] == ["local", "local", "pi", "pi"]
    assert len({axes.get_ylim() for axes in below}) == 1 and len({axes.get_xlim() for axes in figure.axes}) == 1
    assert (
        above[0].get_ylabel() == "latency (ms), 95 % interval"
        and below[0].get_ylabel() == "latency relative to full depth"
    )


def test_relative_is_one_over_the_paired_speed_up_with_its_limits(tmp_path):
    for row, case in zip(rows_of(report.draw_devices([RUN], tmp_path / "d.png")[1]), RUN.cases, strict=True):
        assert float(row["relative"]) == pytest.approx(1 / case.speedup.ratio)
        if case.speedup.high:
            assert float(row["relative_low"]) == pytest.approx(1 / case.speedup.high)
            assert float(row["relative_high"]) == pytest.approx(1 / case.speedup.low)


def test_the_fit_rests_on_decided_rungs_and_says_ms_per_layer(tmp_path):
    run = example_run.run()
    table = list(places.places(run))
    assert [p.label for p in table if not p.decided] == ["4"]
    assert places.fit(table, table[0]).points == 8
    told = next(text for text in texts(drawn_devices(run).axes[0]) if "ms per layer" in text)
    assert "[" in told and "below it" in told
    fitted = {row["label"]: row["fitted_ms"] for row in rows_of(report.draw_devices([run], tmp_path / "d.png")[1])}
    assert fitted["4"] == "" and fitted["resnet10"] == "" and float(fitted["0"]) == pytest.approx(2.41, rel=0.1)


def test_few_decided_rungs_have_no_fit_and_say_so():
    run = example_run.run()
    figure = drawn_devices(replace(run, cases=(*run.cases[:4], *run.cases[9:])))
    assert "no fit: fewer than 5 decided rungs" in texts(figure.axes[0]) and "fit to" not in words(figure)


def test_controls_failures_and_what_is_not_measured_stand_in_the_figure():
    figure = drawn_devices(example_run.failed(example_run.run(), 3))
    assert {*example_run.CONTROLS} <= texts(figure.axes[0]) and "order" not in words(figure)
    assert "local onnxruntime fp32 easier 3" in words(figure)


# --- useful MACs against latency -------------------------------------------------------------------------------------


def drawn_roofline(run):
    return drawn(roofline._figure, run, _marks(run))


def _marks(run):
    return [mark for row in run.cases for mark in work.marks(run, row)]


def test_points_are_useful_macs_and_latency_with_what_the_ceiling_allows(tmp_path, timed):
    rows = rows_of(report.draw_roofline(timed, tmp_path / "r.png")[1])
    for row, case in zip(rows, timed.cases, strict=True):
        assert float(row["mmacs_useful"]) == case.macs_useful / 1e6
        assert float(row["gmacs_per_s"]) == pytest.approx(case.macs_useful / case.latency_ns.median)
        assert float(row["ceiling_ms"]) == pytest.approx(1e3 * case.macs_useful / made_graphs.MACS_PER_S)
        assert float(row["copy_ms"]) == pytest.approx(1e3 * case.executed.bytes / made_graphs.BYTES_PER_S)


def test_the_ceiling_is_drawn_and_named_on_logarithmic_axes(timed):
    whole, close = (figure := drawn_roofline(timed)).axes
    assert "ceiling 50.0 GMAC/s (a matrix product, float32)" in whole.get_title(loc="left")
    assert {whole.get_xscale(), whole.get_yscale(), close.get_xscale()} == {"log"}
    assert {*example_run.CONTROLS} <= texts(whole) and {*map(str, range(9))} <= texts(close)
    assert "ceiling of this device, float32" in words(figure)


def test_without_a_ceiling_points_stand_alone_and_the_title_says_why():
    figure = drawn_roofline(example_run.run())
    assert "no ceiling drawn: an older version measured none" in figure.axes[0].get_title(loc="left")
    assert "ceiling" not in words(figure) and "equal rate, GMAC/s" in words(figure)


def test_a_ceiling_reached_beside_somebody_else_is_broken_and_says_so(timed):
    cases = tuple(
        replace(row, executed=replace(row.executed, ceilings=replace(timed.ceilings[0], contended=True)))
        for row in timed.cases
    )
    axes = drawn_roofline(replace(timed, cases=cases)).axes[0]
    assert "measured beside somebody else" in " ".join(axes.get_title(loc="left").split())
    assert "--" in {line.get_linestyle() for line in axes.lines}


def test_a_batch_counts_whole():
    run = example_run.run()
    one, many = (_marks(replace(run, cases=tuple(replace(row, batch=n) for row in run.cases))) for n in (1, 4))
    assert [mark.mmacs_useful for mark in many] == [4 * mark.mmacs_useful for mark in one]


@pytest.mark.parametrize(("low", "high"), [(97, 113), (20, 180), (0.3, 9), (1, 9000), (0.99, 1.01), (1e-5, 1e9)])
def test_ticks_are_round_and_neither_many_nor_few(low, high):
    found = scales.ticks(low, high)
    assert 3 <= len(found) <= 10 and all(low <= tick <= high for tick in found)


# --- operators -------------------------------------------------------------------------------------------------------


def test_parts_of_a_bar_stack_up_to_the_latency_and_are_the_operators_times(tmp_path, timed):
    rows = rows_of(report.draw_operators(timed, tmp_path / "o.png")[1])
    mine = [row for row in rows if row["label"] == "0"]
    told = timed.operators[timed.cases[0].case_id]
    times = {row["kind"]: float(row["time_ms"]) for row in mine}
    assert times["convolution"] == pytest.approx(sum(o.time_ns for o in told if o.kind == "Conv") / 1e6)
    assert times["conversion of layout or numbers"] == pytest.approx(0.02) and times["pooling"] == pytest.approx(0.03)
    assert sum(times.values()) == pytest.approx(timed.cases[0].latency_ns.median / 1e6)
    assert [float(row["from_ms"]) for row in mine] == pytest.approx([0, *_running(list(times.values()))][:-1])


def _running(values):
    return [math.fsum(values[: n + 1]) for n in range(len(values))]


def test_where_timing_swells_operators_nothing_is_between_them_and_the_key_says_so(timed):
    table = [part for row in timed.cases for part in stacks.parts(timed, row)]
    assert stacks.BETWEEN not in {part.kind for part in table if part.label == "8"}
    assert "timing operators took time of its own" in words(drawn(stacks._figure, timed, table))


@pytest.mark.parametrize(
    ("name", "macs", "kind"),
    [
        ("FusedConv", 5, "convolution"),
        ("Gemm", 5, "linear and matrix products"),
        ("CONV_2D", 5, "convolution"),
        ("ReorderInput", 0, "conversion of layout or numbers"),
        ("QuantizeLinear", 0, "conversion of layout or numbers"),
        ("Convert", 0, "conversion of layout or numbers"),
        ("quantized::linear", 5, "linear and matrix products"),
        ("ConvTranspose", None, "convolution"),
        ("aten::addmm", 5, "linear and matrix products"),
        ("aten::add", 0, "elementwise"),
        ("Relu", 0, "elementwise"),
        ("GlobalAveragePool", 0, "pooling"),
        ("LayerNormalization", 0, "normalisation and softmax"),
        ("Flatten", 0, "other operators"),
        ("myelin_7", 9, "linear and matrix products"),
    ],
)
def test_what_a_runtime_calls_an_operator_says_its_kind(timed, name, macs, kind):
    told = timed.operators[timed.cases[0].case_id][0]
    assert stacks.kind_of(replace(told, kind=name, macs=macs)) == kind


def test_a_run_without_times_says_how_to_get_them(tmp_path):
    for run in (example_run.run(), profiled(timed=False)):
        with pytest.raises(StoreError, match="no operator has a time") as refused:
            report.draw_operators(run, tmp_path / "o.png")
        assert refused.value.hint == "Time them: harness run --device local --profile"
        assert list(tmp_path.iterdir()) == []


# --- single inferences -----------------------------------------------------------------------------------------------


def test_every_process_has_its_dot_and_every_inference_its_step(tmp_path, framed):
    rows = rows_of(report.draw_distribution(framed, tmp_path / "s.png")[1])
    timed = framed.samples[(framed.samples.phase == "timed") & framed.samples.valid]
    first = framed.run.cases[0]
    mine = timed[timed.case_id == first.case_id]
    steps = [row for row in rows if row["label"] == "0" and row["what"] == "inferences"]
    assert [float(row["latency_ms"]) for row in steps] == pytest.approx(sorted(mine.latency_ns / 1e6))
    assert float(steps[-1]["fraction"]) == 1.0
    dots = [float(row["latency_ms"]) for row in rows if row["label"] == "0" and row["what"] == "process median"]
    assert sorted(dots) == pytest.approx(sorted(mine.groupby(["block", "replicate"]).latency_ns.median() / 1e6))
    (middle,) = (row for row in rows if row["label"] == "0" and row["what"] == "median")
    assert float(middle["low_ms"]) == first.latency_ns.low / 1e6


def test_many_inferences_are_drawn_by_thousandths_first_and_last_among_them(framed):
    samples = framed.samples[framed.samples.case_id == framed.run.cases[0].case_id]
    timed = samples[samples.phase == "timed"]
    many = timed.loc[timed.index.repeat(300)].assign(latency_ns=range(300 * len(timed)))
    curve = [each for each in spread._drawn(framed.run.cases[0], many) if each.what == spread.CURVE]
    assert len(curve) == 1001 and curve[-1].fraction == 1.0
    assert (curve[0].latency_ms, curve[-1].latency_ms) == (0.0, (300 * len(timed) - 1) / 1e6)


def test_attempts_that_were_disturbed_and_warm_ups_are_not_drawn(tmp_path, framed):
    none = framed.samples.assign(valid=False)
    with pytest.raises(StoreError, match="no inference of it is stored"):
        report.draw_distribution(replace(framed, samples=none), tmp_path / "s.png")


def test_curves_carry_their_rungs_and_lines_below_their_names(framed):
    table = [
        each
        for row in framed.run.cases
        for each in spread._drawn(row, framed.samples[framed.samples.case_id == row.case_id])
    ]
    above, below = drawn(spread._figure, framed.run, table).axes
    assert {*map(str, range(9)), *example_run.CONTROLS} <= texts(above)
    assert [label.get_text() for label in below.get_yticklabels()][:2] == ["rung 0", "rung 1"]
    assert below.get_xlabel() == "latency (ms)"


def test_every_interval_lies_within_the_axes_of_latencies(framed):
    table = [
        replace(each, high_ms=9 * each.high_ms) if each.what == "median" and each.high_ms else each
        for row in framed.run.cases
        for each in spread._drawn(row, framed.samples[framed.samples.case_id == row.case_id])
    ]
    left, right = drawn(spread._figure, framed.run, table).axes[1].get_xlim()
    assert left < min(each.low_ms for each in table if each.low_ms)
    assert right > max(each.high_ms for each in table if each.high_ms)


# --- what they share, and the command --------------------------------------------------------------------------------


def test_the_key_never_runs_out_of_the_figure():
    long = [canvas.handle("o", "word " * 40) for _ in range(4)]
    assert canvas._columns(long, 7.0) == 1 and canvas._columns(long[:1], 3.0) == 1
    assert canvas._columns([canvas.handle("o", "short")] * 4, 8.0) == 4


def test_words_beside_spots_keep_clear_of_other_spots():
    spots = [(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (0.0, 100.0)]
    for (right, up), spot in zip(style.beside(spots), spots, strict=True):
        at = (spot[0] + right, spot[1] + up)
        assert min(math.dist(at, other) for other in spots) > 9


@pytest.fixture(scope="module")
def results(tmp_path_factory, framed):
    """A stored run with its frames, and a second one."""
    root: Path = tmp_path_factory.mktemp("results")
    made = unmeasured()
    run = replace(framed.run, analysis_version=10**6)
    folder = store.create(root, run)
    store.save_frames(folder, {"onnxruntime": test_executed.journal_of(made).events})
    store.create(root, replace(run, run="20261120T101501Z-pi00", device="pi"))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["roofline", "operators", "distribution", "devices"])
def test_the_command_draws_each_kind_into_the_runs_folder(cli, results, kind):
    run = example_run.run().run
    drawn = cli("plot", run, "--kind", kind, "--results", str(results), "--json")
    folder = results / "local" / run / "plots"
    assert drawn.json == {"figure": str(folder / f"{kind}.png"), "points": str(folder / f"{kind}.csv")}
    assert (folder / f"{kind}.png").stat().st_size > 30_000


@pytest.mark.slow
def test_several_runs_are_drawn_device_beside_device_and_other_kinds_refuse_them(cli, results):
    both = (example_run.run().run, "20261120T101501Z-pi00")
    drawn = cli("plot", *both, "--results", str(results), "--json")
    assert {row["device"] for row in rows_of(Path(drawn.json["points"]))} == {"local", "pi"}
    refused = cli("plot", *both, "--kind", "roofline", "--results", str(results))
    assert refused.code == 2 and "--kind roofline: it shows one run, not 2" in refused.err
    refused = cli("plot", *both, "--published", "easier", "--results", str(results))
    assert refused.code == 2 and "--published" in refused.err
