"""Figures of runs that are hard to draw: names that mean something to matplotlib, one rung, forty, failures, no intervals."""

from dataclasses import replace

import example_energy_run
import example_run
import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from harness import report
from harness.errors import StoreError
from harness.records import Speedup
from harness.report import (
    accuracy,
    canvas,
    depth,
    devices,
    dots,
    energy,
    places,
    points,
    roofline,
    rows,
    spots,
    style,
    work,
)

LONG = "raspberry_pi_5-" + "behind-the-$door$-of-{room}_7^2 & <b>west</b> " * 3


def renamed(run, old, new):
    return replace(
        run,
        cases=tuple(replace(row, ladder=new) if row.ladder == old else row for row in run.cases),
        ladders=tuple(replace(each, name=new) if each.name == old else each for each in run.ladders),
    )


def grown(run, rungs):
    """The same run with so many rungs, one layer less each, or with fewer."""
    heads = [row for row in run.cases if row.rung is not None and row.method == "easier"]
    rest = [row for row in run.cases if row not in heads]
    cases = tuple(replace(heads[min(n, 8)], rung=n, removed=n, depth=60 - n, case_id=f"{n:016x}") for n in range(rungs))
    ladders = tuple(
        replace(each, rungs=tuple(replace(each.rungs[min(n, 8)], rung=n) for n in range(rungs)))
        if each.method == "easier"
        else each
        for each in run.ladders
    )
    return replace(run, cases=(*cases, *rest), ladders=ladders, findings=())


def changed(run, **changes):
    return replace(run, cases=tuple(replace(row, **changes) for row in run.cases))


def scaled(run, factors):
    """The same run with the latency of some rungs times a factor, and its speed-up."""

    def row(each):
        k = factors.get(each.rung, 1.0)
        told = {name: k * getattr(each.latency_ns, name) for name in ("median", "low", "high")}
        speedup = Speedup(1 / k, 0.98 / k, 1.02 / k, "slower") if k != 1.0 else each.speedup
        return replace(each, latency_ns=replace(each.latency_ns, **told), speedup=speedup)

    return replace(run, cases=tuple(map(row, run.cases)))


def quantised(run):
    """The same cases once more as int8, a third as long."""
    third = {"median": 1 / 3, "low": 1 / 3, "high": 1 / 3}
    more = tuple(
        replace(
            row,
            precision="int8",
            latency_ns=replace(row.latency_ns, **{k: v * getattr(row.latency_ns, k) for k, v in third.items()}),
        )
        for row in run.cases
    )
    return replace(run, cases=(*run.cases, *more))


METERED = example_energy_run.run(("easier",))
TWO = example_energy_run.run(("easier", "order"), scopes=("module", "wall"))
UNCLEAR = tuple(
    replace(row, speedup=replace(row.speedup, verdict="unclear")) if row.rung else row for row in METERED.cases
)
HARD = {
    "names": replace(renamed(METERED, "easier", "$a_b^{c$ <i>" + "ladder_" * 12), device=LONG),
    "one rung": grown(METERED, 1),
    "forty rungs": grown(METERED, 40),
    "unclear": replace(METERED, cases=UNCLEAR),
    "no intervals": changed(METERED, speedup=Speedup(1.1, None, None, None)),
    "precisions": quantised(TWO),
    "far apart": scaled(METERED, {3: 60.0, 7: 900.0}),
    "many ladders": example_energy_run.run(tuple(f"method-{n}" for n in range(12)), scopes=("module",)),
    "failed but one": replace(
        METERED,
        cases=tuple(
            row if row.rung == 2 else replace(row, latency_ns=None, speedup=None, energy_j=None, status="failed")
            for row in METERED.cases
        ),
    ),
    "controls alone": replace(METERED, cases=tuple(row for row in METERED.cases if row.rung is None)),
}


def figures(run):
    """Each figure of a run, as it is drawn."""
    table = tuple(points.points(run))
    marks = tuple(mark for panel in rows.panels(run) for row in panel.rows for mark in work.marks(run, row))
    return {
        "depth": lambda: depth._figure(run, table, None),
        "devices": lambda: devices._figure([run], *places.fitted([run])),
        "roofline": lambda: roofline._figure(run, marks),
        "energy": lambda: energy._figure(run, tuple(spots.spots(run))),
        "accuracy": lambda: accuracy._figure([run], dots.dots([run])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["depth", "devices", "roofline", "energy", "accuracy"])
@pytest.mark.parametrize("hard", HARD)
def test_every_word_of_a_figure_lies_within_it(hard, kind):
    run = HARD[hard]
    if kind == "accuracy" and not dots.dots([run]):
        pytest.skip("it has no accuracies")
    with mpl.rc_context(style.RC):
        figure = figures(run)[kind]()
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
    words = [*figure.texts, *figure.legends[0].get_texts()]
    for axes in figure.axes:
        if axes.get_visible():
            words += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    for word in words:
        box = word.get_window_extent(renderer)
        inside = figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert not word.get_text() or inside, word.get_text()


def test_more_ladders_than_looks_have_those_of_their_methods_and_none_twice():
    names = ["easier", "tlc", *(f"mine-{n}" for n in range(30))]
    looks = canvas.looks(names)
    assert len({(colour, marker) for colour, marker, _ in looks.values()}) == len(names)
    assert looks["easier"] == style.METHODS["easier"] and canvas.crowded(looks)
    assert canvas.looks(names[:3])["tlc"] == style.LADDERS[1] and not canvas.crowded(canvas.looks(names[:5]))


def test_where_ladders_crowd_no_number_is_written_and_warnings_are_boxed():
    many = example_run.run(tuple(f"method-{n}" for n in range(6)))
    with mpl.rc_context(style.RC):
        figure = devices._figure([many], *places.fitted([many]))
    assert not {str(n) for n in range(9)} & {text.get_text() for axes in figure.axes for text in axes.texts}
    warned = [place for place in places.fitted([many])[0] if place.warning]
    boxes = [line for line in figure.axes[0].lines if line.get_markeredgecolor() == style.WARNING]
    assert warned and len(boxes) == len(warned)


def test_ratios_far_apart_are_on_logarithmic_axes():
    with mpl.rc_context(style.RC):
        figure = devices._figure([HARD["far apart"]], *places.fitted([HARD["far apart"]]))
        near = devices._figure([METERED], *places.fitted([METERED]))
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert {axes.get_yscale() for axes in near.axes} == {"linear"}


@pytest.mark.parametrize("kind", ["draw", "draw_roofline", "draw_operators", "draw_energy"])
def test_times_of_emulated_devices_are_never_drawn(tmp_path, kind):
    with pytest.raises(StoreError, match="virtual"):
        getattr(report, kind)(replace(METERED, virtual=True), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
