import csv
import io
from dataclasses import replace

import example_energy_run
import example_methods
import example_run
import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from harness import report
from harness.errors import StoreError, UsageError
from harness.report import accuracy, dots, levels, style, tradeoff, trained


@pytest.fixture(scope="module")
def run():
    return example_methods.run()


@pytest.fixture(scope="module")
def figure(run):
    with mpl.rc_context(style.RC):
        made = accuracy._figure([run], dots.dots([run]))
        made.draw_without_rendering()
        return made


def drawn(axes):
    """The places of all single markers."""
    return {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in axes.lines if len(line.get_xdata()) == 1}


def test_the_points_lie_beside_the_figure_and_are_those_of_the_run(tmp_path, run):
    file, table = report.draw_accuracy([run], tmp_path / "plots" / "accuracy.png")
    assert file.read_bytes().startswith(b"\x89PNG") and table == file.with_suffix(".csv")
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    trained = [row for row in run.cases if row.accuracy is not None]
    assert len(rows) == len(trained) == 11 * 9 + 2 * 4
    for row, summary in zip(rows, trained, strict=True):
        assert (row["name"], int(row["rung"])) == (summary.ladder, summary.rung)
        assert float(row["accuracy"]) == summary.accuracy
        assert float(row["accuracy_low"]) == summary.accuracy_interval.low
        assert float(row["latency_ms"]) == summary.latency_ns.median / 1e6
        assert float(row["latency_low_ms"]) == summary.latency_ns.low / 1e6
        assert float(row["depth"]) == summary.depth


def test_what_the_csv_holds_is_what_is_drawn(run, figure):
    table = dots.dots([run])
    by_latency, by_depth = figure.axes
    assert drawn(by_latency) == {(dot.latency_ms, round(100 * dot.accuracy, 6)) for dot in table}
    assert drawn(by_depth) == {(dot.x, round(100 * dot.accuracy, 6)) for dot in table}
    left, right = by_depth.get_xlim()
    assert left > right  # depth falls from left to right
    assert by_latency.get_ylim() == by_depth.get_ylim()


def test_every_method_has_a_colour_and_a_marker_of_its_own_and_controls_are_black_and_hollow(figure):
    handles = {handle.get_label(): handle for handle in figure.legends[0].legend_handles}
    methods = {name: handle for name, handle in handles.items() if name in example_methods.METHODS}
    assert len({handle.get_color() for handle in methods.values()}) == len(methods) == 10
    assert len({handle.get_marker() for handle in methods.values()}) == len(methods)
    controls = [handles[f"{name} (control)"] for name in ("shallow", "narrow", "continue")]
    assert {handle.get_color() for handle in controls} == {style.BLACK}
    assert {handle.get_markerfacecolor() for handle in controls} == {"white"}
    assert len({handle.get_marker() for handle in controls}) == 3


def test_no_two_methods_that_there_are_share_a_look():
    looks = list(style.METHODS.values())
    methods = [look for name, look in style.METHODS.items() if name not in ("shallow", "narrow", "continue")]
    assert len({colour for colour, _, _ in methods}) == len({marker for _, marker, _ in methods}) == len(methods)
    assert len(set(looks)) == len(looks)
    assert set(style.of_methods(["easier", "mine", "yours"])) == {"easier", "mine", "yours"}
    assert style.of_methods(["mine", "yours"])["mine"] != style.of_methods(["mine", "yours"])["yours"]


def test_a_ladder_of_a_recipe_looks_like_its_method_where_it_is_the_only_one():
    assert style.of_methods(["narrow-378f35"])["narrow-378f35"] == style.METHODS["narrow"]
    looks = style.of_methods(["easier", "easier-aaaaaa", "planned-aaaaaa", "planned-bbbbbb", "mine-cccccc"])
    assert looks["easier"] == style.METHODS["easier"] and len(set(looks.values())) == 5
    assert [name for name, look in looks.items() if not look[2]] == ["planned-aaaaaa", "planned-bbbbbb"]


def test_no_line_joins_plans_which_do_not_build_on_one_another_and_each_has_its_number():
    made = example_methods.run(("easier", "order"))
    plans = {"order": "planned"}
    ladders = tuple(replace(ladder, name=plans.get(ladder.name, ladder.name)) for ladder in made.ladders)
    cases = tuple(replace(row, ladder=plans.get(row.ladder, row.ladder)) for row in made.cases)
    table = dots.dots([replace(made, ladders=ladders, cases=cases)])
    with mpl.rc_context(style.RC):
        axes = accuracy._figure([made], table).axes[0]
    colour = style.METHODS["planned"][0]

    def course(colour: str) -> list[str]:
        return [line.get_linestyle() for line in axes.lines if line.get_color() == colour and len(line.get_xdata()) > 2]

    assert course(colour) == ["None"] and course(style.METHODS["easier"][0]) == ["-"]
    numbered = {int(text.get_text()) for text in axes.texts if text.get_color() == colour}
    assert numbered and numbered <= {dot.rung for dot in table if dot.name == "planned"}


def test_nothing_that_is_written_lies_on_something_else_that_is(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert len(boxes) > 3
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
    key = figure.legends[0].get_window_extent(renderer)
    assert not any(key.overlaps(axes.get_tightbbox(renderer)) for axes in figure.axes)


def test_the_depth_axis_says_that_dots_are_set_aside_and_the_csv_holds_the_depth_itself(run, figure):
    assert "up to 0.3 of a layer from their depth" in figure.axes[1].get_xlabel()
    known = {(row.ladder, row.rung): row.depth for row in run.cases}
    table = dots.dots([run])
    assert all(dot.depth == known[dot.name, dot.rung] for dot in table)
    assert max(abs(dot.x - dot.depth) for dot in table) == pytest.approx(0.3)
    with mpl.rc_context(style.RC):
        alone = accuracy._figure([run], dots.dots([example_methods.run(("easier",))]))
    assert "side by side" not in alone.axes[1].get_xlabel()


@pytest.mark.parametrize("examples", [32, example_methods.N])
def test_every_interval_is_drawn_whole_with_caps_thinner_and_paler_than_dots_and_nothing_else_is_vertical(examples):
    few = example_methods.run(examples=examples)
    table = dots.dots([few])
    with mpl.rc_context(style.RC):
        made = accuracy._figure([few], table)
        made.draw_without_rendering()
    by_depth = made.axes[1]
    found = [line for line in by_depth.lines if line.get_marker() == "_"]
    wanted = {(dot.x, 100 * dot.accuracy_low, 100 * dot.accuracy_high) for dot in table}
    assert {(line.get_xdata()[0], *line.get_ydata()) for line in found} == wanted
    assert all(line.get_alpha() <= 0.3 and line.get_linewidth() < 0.7 and line.get_zorder() < 2 for line in found)
    bottom, top = by_depth.get_ylim()
    assert all(bottom <= low and high <= top for _, low, high in wanted)
    assert not any(line.get_visible() for axes in made.axes for line in axes.get_xgridlines())


def test_where_a_method_collapsed_the_others_are_told_apart_on_the_scale_of_errors(run):
    def share(made):
        """How much of the axis lies between the accuracies of full depth and of half a hundred errors more."""
        axes = made.axes[0]
        made.draw_without_rendering()
        top, lower = (axes.transAxes.inverted().transform(axes.transData.transform((1, y)))[1] for y in (98, 95))
        return top - lower

    fallen = replace(
        run,
        cases=tuple(replace(row, accuracy=0.1) if row.ladder == "lacoot" and row.rung else row for row in run.cases),
    )
    with mpl.rc_context(style.RC):
        made = accuracy._figure([fallen], dots.dots([fallen]))
    assert share(made) > 0.12  # of a linear axis from 10 to 100: 0.03
    low, high = made.axes[0].get_ylim()
    assert low < 10 < 98 < high <= 100


def test_where_no_method_is_good_the_axis_is_linear_and_has_its_numbers(run):
    poor = replace(run, cases=tuple(replace(row, accuracy=(row.accuracy or 0.0) * 0.4) for row in run.cases))
    poor = replace(poor, cases=tuple(replace(row, accuracy=0.1) if row.rung else row for row in poor.cases))
    with mpl.rc_context(style.RC):
        axes = accuracy._figure([poor], dots.dots([poor])).axes[0]
    low, high = axes.get_ylim()
    assert high - low > tradeoff._COLLAPSED and axes.get_yscale() == "linear"
    assert sum(low <= tick <= high for tick in axes.get_yticks()) > 3


def test_the_front_is_what_nothing_beats(run):
    table = dots.dots([run])
    front = list(dots.front(table))
    latencies, accuracies = [dot.latency_ms for dot in front], [dot.accuracy for dot in front]
    assert latencies == sorted(latencies) and accuracies == sorted(accuracies) and len(set(accuracies)) == len(front)
    for dot in table:
        beaten = any(o.latency_ms <= dot.latency_ms and o.accuracy > dot.accuracy for o in table) or any(
            o.latency_ms < dot.latency_ms and o.accuracy >= dot.accuracy for o in table
        )
        assert dot.front is not beaten


def test_several_seeds_are_one_dot_with_their_mean_and_standard_deviation():
    run = example_methods.run(("easier", "continue"), seeds=3)
    (dot,) = (dot for dot in dots.dots([run]) if (dot.name, dot.rung) == ("easier", 4))
    own = [row.accuracy for row in run.cases if row.rung == 4 and row.method == "easier"]
    mean = sum(own) / 3
    sd = (sum((each - mean) ** 2 for each in own) / 2) ** 0.5
    assert (dot.seeds, dot.accuracy) == (3, pytest.approx(mean))
    assert (dot.accuracy_low, dot.accuracy_high) == (pytest.approx(mean - sd), pytest.approx(mean + sd))


def test_several_runs_and_runtimes_share_a_figure(tmp_path):
    first = example_methods.run(("easier", "continue"))
    rows = tuple(replace(row, runtime="torch") for row in first.cases)
    second = replace(example_methods.run(("tlc", "continue")), run="20261120T111500Z-9f9f")
    file, table = report.draw_accuracy([replace(first, cases=(*first.cases, *rows)), second], tmp_path / "both.svg")
    with table.open() as stream:
        found = list(csv.DictReader(stream))
    assert {row["runtime"] for row in found} == {"onnxruntime", "torch"} and len({row["run"] for row in found}) == 2
    assert file.stat().st_size > 10_000


def test_rungs_that_were_not_measured_are_in_the_other_panel_and_named_whole_below_theirs(run):
    rows = tuple(replace(row, latency_ns=None) if row.ladder == "tlc" and row.rung == 3 else row for row in run.cases)
    table = dots.dots([replace(run, cases=rows)])
    with mpl.rc_context(style.RC):
        figure = accuracy._figure([run], table)
    assert len(drawn(figure.axes[1])) >= len(drawn(figure.axes[0]))
    assert figure.axes[0].get_xlabel().endswith("\nno latency: tlc 3")


def test_however_many_rungs_were_not_measured_every_word_lies_within_the_figure():
    methods = (*style.METHODS,)
    run = example_methods.run(methods)
    rows = tuple(replace(row, latency_ns=None) if row.rung in (2, 3, 5, 7) else row for row in run.cases)
    table = dots.dots([replace(run, cases=rows)])
    with mpl.rc_context(style.RC):
        figure = accuracy._figure([run], table)
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
    label = " ".join(figure.axes[0].get_xlabel().split())
    assert all(f"{name} 2, 3, 5 and 7" in label for name in methods if name not in ("shallow", "narrow"))
    assert "shallow 2 and 3; narrow 2 and 3" in label
    texts = [*figure.texts, *figure.legends[0].get_texts()]
    texts += [text for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    assert all(figure.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))
    key = figure.legends[0].get_window_extent(renderer)
    assert not any(key.overlaps(axes.get_tightbbox(renderer)) for axes in figure.axes)


def test_where_nothing_was_measured_no_rung_is_named(run):
    table = dots.dots([replace(run, cases=tuple(replace(row, latency_ns=None) for row in run.cases))])
    with mpl.rc_context(style.RC):
        figure = accuracy._figure([run], table)
    assert "no latency" not in figure.axes[0].get_xlabel()
    assert [text.get_text() for text in figure.axes[0].texts] == ["nothing measured"]


# --- against energy -------------------------------------------------------------------------------------------------------


def metered(**how):
    """A run whose one ladder has accuracies, with energies."""
    return example_energy_run.run(**how)


def test_a_run_with_energy_has_a_panel_more_with_its_unit_scope_and_rate_and_the_front_there(tmp_path):
    run = metered()
    table = dots.dots([run])
    with mpl.rc_context(style.RC):
        by_latency, by_energy, by_depth = accuracy._figure([run], table).axes
    assert by_energy.get_xlabel() == "gross energy per inference (mJ), 95 % interval\nscope module, paced at 150 Hz"
    assert by_energy.get_title(loc="left") == "accuracy against measured energy"
    wanted = {(round(1e3 * dot.energy_j, 6), round(100 * dot.accuracy, 6)) for dot in table}
    assert {(round(x, 6), y) for x, y in drawn(by_energy)} == wanted
    assert by_latency.get_ylim() == by_energy.get_ylim() == by_depth.get_ylim()
    front = list(dots.front(table, "energy"))
    assert front and all(
        not any(o.energy_j < dot.energy_j and o.accuracy >= dot.accuracy for o in table) for dot in front
    )
    _, points = report.draw_accuracy([run], tmp_path / "a.png")
    with points.open() as stream:
        first = next(csv.DictReader(stream))
    energy = run.cases[0].energy_j
    assert float(first["energy_j"]) == energy.gross.value and float(first["energy_low_j"]) == energy.gross.low
    assert (first["scope"], first["scenario"]) == ("module", "paced at 150 Hz")


def test_rungs_without_energy_and_those_of_another_scope_are_named_below_the_axis_not_drawn():
    some = example_energy_run.without(metered(), (3, 4))
    table = dots.dots([some])
    assert [dot.rung for dot in table if dot.energy_j is None] == [3, 4]
    assert tradeoff.energy(table).label.endswith("\nno energy, or not of this kind: easier 3 and 4")
    walls = tuple(
        replace(row, energy_j=replace(row.energy_j, scope="wall")) if row.rung == 2 else row for row in some.cases
    )
    table = dots.dots([replace(some, cases=walls)])
    assert [dot.rung for dot in table if dot.energy_j is None] == [2, 3, 4]


def test_an_emulated_device_has_accuracies_and_neither_times_nor_energies():
    table = dots.dots([replace(metered(), virtual=True)])
    assert {dot.latency_ms for dot in table} == {dot.energy_j for dot in table} == {None}
    assert not any(dot.front or dot.energy_front for dot in table)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = example_methods.run(("easier", "continue"))
    first, second = (report.draw_accuracy([run], tmp_path / name / "a.svg")[0].read_bytes() for name in "ab")
    assert first == second


def test_a_run_without_accuracies_has_no_figure_of_them(tmp_path):
    with pytest.raises(StoreError, match="does not train") as error:
        report.draw_accuracy([example_run.run(("order",))], tmp_path / "a.png")
    assert "harness methods" in error.value.hint and list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path, run):
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        report.draw_accuracy([run], tmp_path / "a.jpeg")


# --- the table ------------------------------------------------------------------------------------------------------------


def shown(run, width=80):
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    report.show(run, console)
    return console.export_text()


def test_the_table_tells_each_rung_against_continue_within_80_columns():
    run = example_methods.run(("easier", "continue"))
    text = shown(run)
    assert max(map(len, text.splitlines())) <= 80
    (line,) = (line for line in text.splitlines() if line.split()[:2] == ["easier", "6"])
    row = next(row for row in run.cases if (row.ladder, row.rung) == ("easier", 6))
    found, interval = row.accuracy_vs_continue, row.accuracy_interval
    assert f"{100 * row.accuracy:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in line
    assert f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]" in line
    assert line.split()[-1] == f"{found.p:.3f}"
    assert "One of 270 test examples is 0.37 points" in " ".join(text.split())


def test_several_seeds_are_told_by_mean_and_standard_deviation():
    text = shown(example_methods.run(("easier",), seeds=3), 120)
    level = next(each for each in levels.levels(example_methods.run(("easier",), seeds=3)) if each.number == 4)
    (line,) = (line for line in text.splitlines() if line.split()[:3] == ["easier", "4", "3"])
    assert f"{100 * level.accuracy:.1f} +- {100 * level.spread:.1f}" in line
    assert "Mean and standard deviation over seeds" in text


def test_one_seed_without_continue_has_no_such_table():
    run = example_methods.run(("easier", "tlc"))
    assert trained.TITLE not in shown(run) and "points against" not in report.markdown(run)
    assert "points against continue" in report.markdown(example_methods.run(("easier", "continue")))


def test_seeds_are_held_against_the_control_of_their_own_seed():
    run = example_methods.run(("easier", "continue"), seeds=3)
    level = next(each for each in levels.levels(run) if (each.name, each.number) == ("easier", 5))
    assert [each.control[0].seed for each in level.members] == [0, 1, 2]
    mean = sum(row.accuracy_vs_continue.difference for row in level.rows) / 3
    assert level.against.difference == pytest.approx(mean)
    assert level.against.low < mean < level.against.high
