"""Latency over runs in time: what is a series, what is set aside, what is refused, and the command."""

import csv
from dataclasses import replace
from datetime import datetime, timedelta

import example_run
import matplotlib as mpl
import pytest

from harness import report, store
from harness.errors import StoreError, UsageError
from harness.records import RunVerdict
from harness.report import history, pasts, style
from harness.store.columns import rows as columns

RUN = replace(example_run.run(("easier",)), analysis_version=10**6)
DAY = timedelta(days=1)


def made(n, device="local", **changes):
    """The example as a run of day `n`, one per cent slower each day."""
    at = datetime.fromisoformat(RUN.created) + n * DAY
    scale = 1.01**n
    cases = tuple(
        replace(
            row,
            latency_ns=replace(
                row.latency_ns, **{key: scale * getattr(row.latency_ns, key) for key in ("median", "low", "high")}
            ),
        )
        for row in RUN.cases
    )
    name = f"{at:%Y%m%dT%H%M%SZ}-{n:04x}"
    return replace(RUN, run=name, device=device, created=at.isoformat(), cases=cases, **changes)


def cases_of(*runs, rungs=(4,)):
    return [row for run in runs for row in columns(run, run.run) if row["rung"] in rungs]


def drawn(rows, *annotations):
    with mpl.rc_context(style.RC):
        figure = history._figure(pasts.pasts(rows), annotations)
        figure.draw_without_rendering()
        return figure


def words(figure):
    return " ".join(" ".join(text.get_text() for legend in figure.legends for text in legend.get_texts()).split())


def test_a_series_has_the_latencies_of_its_runs_in_time_with_their_intervals(tmp_path):
    _, points = report.draw_history(cases_of(*map(made, (2, 0, 1))), tmp_path / "h.svg")
    with points.open() as stream:
        found = list(csv.DictReader(stream))
    wanted = [next(row for row in made(n).cases if row.rung == 4).latency_ns for n in range(3)]
    assert [float(row["latency_ms"]) for row in found] == [each.median / 1e6 for each in wanted]
    assert [float(row["high_ms"]) for row in found] == [each.high / 1e6 for each in wanted]
    assert [row["started"][:10] for row in found] == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_devices_stand_one_below_the_other_on_one_axis_of_time():
    figure = drawn(cases_of(made(0), made(3), made(1, "pi")))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["local: 2 runs", "pi: 1 run"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert {axes.get_ylabel() for axes in figure.axes} == {"latency (ms)"}
    assert "resnet18 on digits, easier, rung 4, onnxruntime fp32, 1 thread, batch 1" in figure._suptitle.get_text()


def test_series_have_looks_of_their_own_and_are_named_by_what_differs():
    figure = drawn(cases_of(made(0), made(1), rungs=range(9)))
    handles = [handle for handle in figure.legends[0].legend_handles if handle.get_label().startswith("rung")]
    assert [handle.get_label() for handle in handles] == [f"rung {n}" for n in range(9)]
    assert len({handle.get_color() for handle in handles}) == len({handle.get_marker() for handle in handles}) == 9


def test_disturbed_runs_are_hollow_and_join_nothing():
    contended = RunVerdict("contended", ("4 of 40 processes",))
    figure = drawn(cases_of(made(0), made(1, verdict=contended), made(2)))
    assert "hollow, joined with nothing: contended" in words(figure)
    (line,) = (line for line in figure.axes[0].lines if line.get_linestyle() == "-")
    assert len(line.get_xdata()) == 2
    assert any(line.get_markerfacecolor() == "white" for line in figure.axes[0].lines)


def test_a_line_breaks_where_the_network_is_another():
    later = made(1)
    later = replace(later, cases=tuple(replace(row, variant="other") for row in later.cases))
    figure = drawn(cases_of(made(0), later))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_linestyle() == "-"] == [1, 1]
    assert "a line breaks where the network is another" in words(figure)


def test_virtual_devices_have_no_times_and_are_named():
    figure = drawn(cases_of(made(0), made(1, "emulated", virtual=True)))
    assert len(figure.axes) == 1 and "not drawn, virtual: emulated" in words(figure)
    with pytest.raises(StoreError, match="virtual"):
        pasts.pasts(cases_of(made(1, "emulated", virtual=True)))


def test_series_far_apart_are_on_a_logarithmic_axis_and_noise_does_not_fill_a_linear_one():
    near = drawn(cases_of(made(0), made(1))).axes[0]
    low, high = near.get_ylim()
    assert near.get_yscale() == "linear" and high - low > 0.2 * low
    far = [
        {**row, "latency_ns": 20 * row["latency_ns"], "latency_ns_high": None} for row in cases_of(made(0), rungs=(0,))
    ]
    assert drawn([*cases_of(made(0)), *far]).axes[0].get_yscale() == "log"


def test_annotations_are_lines_with_their_words_on_their_device():
    at = datetime(2026, 11, 21, 12)
    figure = drawn(cases_of(made(0), made(3), made(3, "pi")), history.Annotation(at, "+4 % [3, 5]", "local"))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["+4 % [3, 5]"], []]


def test_too_many_series_are_refused_with_their_number_and_how_to_narrow():
    several = [replace(made(0), cases=tuple(replace(r, ladder=f"l{n}") for r in made(0).cases)) for n in range(4)]
    with pytest.raises(UsageError, match=r"36 series, a figure shows 10 .* ladder \(4\), rung \(9\)") as refused:
        pasts.pasts(cases_of(*several, rungs=range(9)))
    assert "\"ladder = 'l0' and rung = 0\"" in refused.value.hint
    with pytest.raises(UsageError, match="9 devices, a figure shows 8 devices"):
        pasts.pasts(cases_of(*(made(n, f"d{n}") for n in range(9))))
    many = ({**cases_of(made(0))[0], "batch": n} for n in range(10**9))
    with pytest.raises(UsageError, match="100 or more series"):
        pasts.pasts(many)


def test_nothing_timed_has_no_figure():
    with pytest.raises(StoreError, match="no case of any run is like that"):
        pasts.pasts([])
    failed = example_run.failed(made(0), 4)
    with pytest.raises(StoreError, match="none was measured"):
        pasts.pasts(cases_of(failed))


@pytest.mark.slow
def test_the_command_draws_what_an_expression_picks_and_refuses_what_does_not_fit(cli, tmp_path):
    results = tmp_path / "results"
    for n in range(3):
        store.create(results, made(n))
    (results / "local" / "broken").mkdir()
    (results / "local" / "broken" / "run.json").write_text("{")
    where = ("--results", str(results), "--kind", "history")
    found = cli("plot", *where, "--where", "rung = 4", "--out", str(tmp_path / "h.png"), "--json")
    assert found.json == {"figure": str(tmp_path / "h.png"), "points": str(tmp_path / "h.csv")}
    assert (tmp_path / "h.png").stat().st_size > 20_000 and "left out: " in found.err
    for given, said in (
        (("--where", "rung = 4"), "Add --out FILE"),
        ((RUN.run, "--out", "h.png"), "Choose them with --where"),
        (("--where", "ring = 4", "--out", "h.png"), "rung"),
        (("--where", "rung = 4", "--out", "h.jpeg"), ".png"),
    ):
        refused = cli("plot", *where, *given)
        assert refused.code == 2 and said in refused.err
    refused = cli("plot", "--results", str(results), "--where", "rung = 4")
    assert refused.code == 2 and "Say --kind history, too" in refused.err


def test_the_same_cases_give_the_same_bytes(tmp_path):
    rows = cases_of(made(0), made(1))
    first, second = (report.draw_history(rows, tmp_path / name / "h.svg")[0].read_bytes() for name in "ab")
    assert first == second
