"""Energy against depth and latency, and power over time with its windows."""

import csv
import math
from dataclasses import replace

import example_energy_run as example
import example_run
import matplotlib as mpl
import pytest

from harness import findings, report, store, tables, wire
from harness.errors import StoreError, UsageError
from harness.report import energy, power, style
from harness.report.spots import spots

RUN = example.run()
JOURNALS = example.journals(RUN)


def rows_of(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


def framed(journals=JOURNALS, run=RUN, meters=None):
    empty = tables.samples([])
    return store.Frames(
        run, empty, empty, empty, empty, tables.power(journals, meters), tables.windows(journals), empty
    )


def drawn(run):
    with mpl.rc_context(style.RC):
        return energy._figure(run, tuple(spots(run)))


def drawn_power(frames, block=1):
    with mpl.rc_context(style.RC):
        return power._figure(frames.run, tuple(power.panes(frames, block)), block)


def texts(axes):
    return {text.get_text() for text in axes.texts}


def words(figure):
    return {text.get_text() for text in figure.legends[0].get_texts()}


# --- energy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"], ids=["png", "svg", "pdf"])
def test_the_figure_lies_beside_its_points(tmp_path, suffix):
    figure, table = report.draw_energy(RUN, tmp_path / f"energy{suffix}")
    assert figure.stat().st_size > 1000 and table == tmp_path / "energy.csv"


def test_rungs_that_took_more_energy_are_boxed_and_the_csv_says_so(tmp_path):
    found = replace(RUN, findings=findings.find(RUN.cases, RUN.ladders, RUN.jobs))
    rows = rows_of(report.draw_energy(found, tmp_path / "energy.png")[1])
    warned = {row["label"] for row in rows if row["warning"] == "True"}
    assert warned == {str(n) for n in range(5, 9)}
    figure = drawn(found)
    boxed = [text.get_text() for text in figure.axes[0].texts if text.get_bbox_patch()]
    assert set(boxed) == warned and "boxed: fewer layers or faster, and more energy" in words(figure)
    assert not any(text.startswith("boxed") for text in words(drawn(RUN)))


def test_the_csv_holds_each_row_in_each_scenario_as_it_was_measured(tmp_path):
    rows = rows_of(report.draw_energy(RUN, tmp_path / "energy.png")[1])
    assert len(rows) == 2 * len(RUN.cases)
    closed = [row for row in rows if row["scenario"] == "closed"]
    for row, summary in zip(closed, RUN.cases, strict=True):
        figure = summary.energy_j.figures["closed"]
        assert float(row["gross_j"]) == figure.gross.value and float(row["net_low_j"]) == figure.net.low
        assert row["rate_hz"] == "" and row["compared"] == "False" and row["scope"] == "module"
        assert float(row["latency_ms"]) == summary.latency_ns.median / 1e6


def test_the_lines_run_through_the_points_of_the_csv():
    table = [p for p in spots(RUN) if not p.control]
    by_depth, by_latency = drawn(RUN).axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in by_depth.lines]
    for scenario in ("paced", "closed"):
        mine = [p for p in table if p.scenario == scenario]
        assert ([p.x for p in mine], [p.gross_j / 1e-3 for p in mine]) in lines
    paced = [p for p in table if p.compared]
    assert ([p.latency_ms for p in paced], [p.gross_j / 1e-3 for p in paced]) in [
        (list(line.get_xdata()), list(line.get_ydata())) for line in by_latency.lines
    ]
    assert by_depth.get_xlim()[0] > by_depth.get_xlim()[1]
    assert by_depth.get_ylim()[0] == by_latency.get_ylim()[0] == by_latency.get_xlim()[0] == 0


def test_unit_scope_sensor_windows_and_rate_stand_in_the_figure():
    figure = drawn(RUN)
    by_depth, by_latency = figure.axes
    assert by_depth.get_ylabel() == by_latency.get_ylabel() == "energy per inference (mJ), module"
    assert "scope module (ina3221 VDD_IN), 5 windows x 20 s" in by_depth.get_title(loc="left")
    assert by_latency.get_title(loc="left").startswith("paced at 150 Hz")
    assert {"filled: paced at 150 Hz, compared", "hollow: closed"} <= words(figure)
    assert texts(by_depth) >= {*map(str, range(9)), *example_run.CONTROLS}


def test_a_single_scenario_has_no_hollow_markers_in_the_key():
    assert not any("hollow" in word for word in words(drawn(example.run(scenarios=("closed",)))))


def test_a_line_breaks_where_a_rung_has_no_energy_and_the_key_names_it():
    run = example.without(RUN, [3])
    figure = drawn(run)
    assert "no energy: 3" in words(figure) and "3" not in texts(figure.axes[0])
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 9)
    assert math.isnan(line.get_ydata()[3]) and not math.isnan(line.get_ydata()[4])


def test_a_net_energy_below_zero_is_not_cut_off():
    cases = tuple(
        replace(
            s,
            energy_j=replace(
                s.energy_j,
                figures={k: replace(f, net=example.Interval(-0.002)) for k, f in s.energy_j.figures.items()},
            ),
        )
        for s in RUN.cases
    )
    assert drawn(replace(RUN, cases=cases)).axes[0].get_ylim()[0] < -2


def test_numbers_that_would_lie_on_each_other_share_a_place():
    assert any("," in text for text in texts(drawn(RUN).axes[1]))


def test_a_runtime_without_energy_has_no_panel():
    both = example.run(scopes=("module", "wall"))
    assert len(drawn(both).axes) == 4
    cases = tuple(replace(s, energy_j=None) if s.runtime == "torch" else s for s in both.cases)
    assert len(drawn(replace(both, cases=cases)).axes) == 2


def test_a_run_without_energy_is_an_error_that_says_why_and_the_next_move(tmp_path):
    with pytest.raises(StoreError, match="no energy: no-sensor: attach a meter") as refused:
        report.draw_energy(example_run.run(), tmp_path / "energy.png")
    assert "harness check --device local" in refused.value.hint and not list(tmp_path.iterdir())


def test_a_virtual_devices_energies_have_no_figure(tmp_path):
    with pytest.raises(StoreError, match="virtual device's energies stand for no real one"):
        report.draw_energy(replace(RUN, virtual=True), tmp_path / "energy.png")


def test_where_sensors_could_be_read_nobody_is_sent_to_check_them(tmp_path):
    lost = replace(RUN, cases=tuple(replace(s, energy_j=None, energy_status="contended") for s in RUN.cases))
    with pytest.raises(StoreError) as told:
        report.draw_energy(lost, tmp_path / "energy.png")
    assert "--kind power" in str(told.value.hint) and "check" not in str(told.value.hint)


def test_another_suffix_is_refused(tmp_path):
    for refuse in (
        lambda: report.draw_energy(RUN, tmp_path / "energy.jpeg"),
        lambda: report.draw_power(framed(), tmp_path / "p"),
    ):
        with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
            refuse()


# --- power -----------------------------------------------------------------------------------------------------------


def test_each_pass_has_its_small_picture_idle_first():
    found = [pane.title for pane in power.panes(framed(), 2)]
    expected = [f"rung {n}, {scenario}" for n in range(4) for scenario in ("paced", "closed")]
    assert found == ["idle", *expected]


def test_scenarios_keep_their_columns_where_a_pass_is_missing():
    def paced_of_rung_1(event):
        return event.block == 1 and event.case_id == RUN.cases[1].case_id and event.scenario == "paced"

    kept = {"onnxruntime": [event for event in JOURNALS["onnxruntime"] if not paced_of_rung_1(event)]}
    axes = drawn_power(framed(kept)).axes
    titled = [each.get_title(loc="left") for each in axes]
    assert titled[:6] == ["idle", "", "rung 0, paced", "rung 0, closed", "", "rung 1, closed"]


def test_the_window_is_shaded_and_the_readings_reach_beyond_it():
    pane = next(iter(power.panes(framed(), 1)))
    assert pane.length_s == 4.0 and pane.readings.at_s.min() == -0.5 and pane.readings.at_s.max() > 4.4
    first = drawn_power(framed()).axes[0]
    (band, *_) = first.patches
    assert (band.get_x(), band.get_width()) == (0, 4.0)


def test_a_gap_is_hatched_and_no_line_bridges_it():
    frames = framed()
    pane = next(pane for pane in power.panes(frames, 1) if pane.title == "rung 1, closed")
    name = next(name for name in power._channels(pane) if name.total)
    at_s, watts, holes = power._curve(pane, name)
    assert (
        len(holes) == 1
        and holes[0][0] < 2.0 < holes[0][1]
        and holes[0][1] - holes[0][0] == pytest.approx(0.5, abs=0.05)
    )
    assert sum(map(math.isnan, watts)) == 1 and not any(1.8 < t < 2.2 for t in at_s)
    assert "no reading" in words(drawn_power(frames)) and "no reading" not in words(drawn_power(frames, 2))


def test_a_counter_is_drawn_as_the_mean_power_between_its_readings_and_never_below_zero():
    counter = wire.Channel("nvml", "total", "gpu", "energy_counter", True)
    event = JOURNALS["onnxruntime"][0]
    times = tuple(event.start_ns + n * 10**9 for n in range(4))
    event = replace(event, traces=(wire.Trace(counter, times, (100.0, 103.0, 101.0, 105.0)),))
    (pane,) = power.panes(framed({"onnxruntime": [event]}), 1)
    at_s, watts, _ = power._curve(pane, next(power._channels(pane)))
    assert list(at_s) == [0, 1, 1, 2, 2, 3]
    assert list(watts[:2]) == [3, 3] and all(map(math.isnan, watts[2:4])) and list(watts[4:]) == [4, 4]


def test_the_axis_says_unit_and_scope_and_the_key_names_the_channel():
    figure = drawn_power(framed())
    assert figure.get_supylabel() == "power (W), scope module"
    assert {"ina3221 VDD_IN, scope module", "parts of a total, never added", "window"} <= words(figure)
    bottom, top = figure.axes[0].get_ylim()
    assert bottom == 0 and top > 7


def test_a_controllers_meter_is_drawn_around_each_window_it_covers():
    start = JOURNALS["onnxruntime"][0].start_ns
    wall = wire.Trace(
        wire.Channel("shelly", "switch:0", "wall", "instant_power", True),
        tuple(start + n * 10**9 for n in range(-5, 12)),
        (8.0,) * 17,
    )
    frames = framed(meters={"onnxruntime": [wall]})
    first, *others = power.panes(frames, 1)
    assert list(first.readings[first.readings.sensor == "shelly"].at_s) == [*map(float, range(-2, 7))]
    assert not any((pane.readings.sensor == "shelly").any() for pane in others)
    assert drawn_power(frames).get_supylabel() == "power (W), scope module and wall"


def test_a_pass_that_does_not_count_is_marked_and_a_sensor_that_gave_nothing_is_named():
    first, *others = JOURNALS["onnxruntime"]
    first = replace(first, contended=True, unopened={"rapl": "permission: root only"})
    axes = drawn_power(framed({"onnxruntime": [first, *others]})).axes[0]
    assert axes.get_title(loc="left") == "idle, contended: not counted" and texts(axes) == {"rapl: permission"}


def test_passes_in_which_nothing_could_be_read_are_drawn_empty_and_say_so(tmp_path):
    bare = [replace(e, traces=(), unopened={"ina3221": "error: gone"}) for e in JOURNALS["onnxruntime"] if e.block == 1]
    frames = framed({"onnxruntime": bare})
    figure = drawn_power(frames)
    assert figure.get_supylabel() == "power (W), scope unknown" and texts(figure.axes[0]) == {"ina3221: error"}
    _, table = report.draw_power(frames, tmp_path / "power-1.png")
    assert {(row["sensor"], row["value"], row["reason"]) for row in rows_of(table)} == {("ina3221", "", "gone")}


def test_only_the_last_attempt_is_drawn():
    first, *others = JOURNALS["onnxruntime"]
    again = replace(first, attempt=2, start_ns=first.start_ns + 1, end_ns=first.end_ns + 1)
    found = list(power.panes(framed({"onnxruntime": [first, again, *others]}), 1))
    assert len(found) == 9 and set(found[0].readings.attempt) == {2}


def test_the_csv_has_every_reading_of_the_block_and_gaps_without_a_value(tmp_path):
    figure, table = report.draw_power(framed(), tmp_path / "power-1.svg")
    rows = rows_of(table)
    mine = [event for event in JOURNALS["onnxruntime"] if event.block == 1]
    assert len(rows) == sum(len(t.t_ns) + len(t.gaps) for event in mine for t in event.traces)
    gaps = [row for row in rows if row["status"] != "ok"]
    assert gaps and {row["value"] for row in gaps} == {""} and {row["unit"] for row in rows} == {"W"}
    assert figure.read_bytes() == report.draw_power(framed(), tmp_path / "again.svg")[0].read_bytes()


def test_a_block_that_there_is_not_is_the_users_mistake_and_says_which_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"--block 7: run .* has no such block") as refused:
        report.draw_power(framed(), tmp_path / "power.png", 7)
    assert refused.value.hint == "It has blocks 1 to 2."


def test_a_run_without_passes_says_why_it_has_no_power_over_time(tmp_path):
    with pytest.raises(StoreError, match="no energy passes, no power over time: no-sensor: attach"):
        report.draw_power(framed({}, example_run.run()), tmp_path / "power.png")


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A stored run with its frames."""
    root = tmp_path_factory.mktemp("results")
    store.save_frames(store.create(root, replace(RUN, analysis_version=10**6)), JOURNALS)
    return root


@pytest.mark.slow
def test_the_command_draws_energy_and_power_into_the_runs_folder(cli, results):
    folder = results / "jetson" / RUN.run
    drawn = cli("plot", RUN.run, "--kind", "energy", "--results", str(results), "--json")
    assert drawn.json == {"figure": str(folder / "plots/energy.png"), "points": str(folder / "plots/energy.csv")}
    drawn = cli("plot", RUN.run, "--kind", "power", "--block", "2", "--results", str(results), "--json")
    assert drawn.json["figure"] == str(folder / "plots/power-2.png")
    assert {row["block"] for row in rows_of(folder / "plots/power-2.csv")} == {"2"}


def test_a_block_without_power_is_the_users_mistake(cli, results):
    refused = cli("plot", RUN.run, "--block", "2", "--results", str(results))
    assert refused.code == 2 and "--kind power" in refused.err
    refused = cli("plot", RUN.run, "--kind", "powr", "--results", str(results))
    assert refused.code == 2 and '"power"' in refused.err
