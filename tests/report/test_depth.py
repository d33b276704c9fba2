import csv
import subprocess
import sys
from dataclasses import replace

import example_run
import pytest

from harness import report
from harness.errors import StoreError, UsageError
from harness.report import style
from harness.report.points import points


@pytest.fixture(scope="module")
def run():
    return example_run.run()


def rows_of(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml"), (".pdf", b"%PDF")], ids=["png", "svg", "pdf"]
)
def test_the_suffix_chooses_the_format_and_points_lie_beside(tmp_path, run, suffix, magic):
    figure, table = report.draw(run, tmp_path / "plots" / f"depth{suffix}")
    assert figure.read_bytes().startswith(magic)
    assert table == tmp_path / "plots" / "depth.csv" and table.is_file()


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path, run):
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        report.draw(run, tmp_path / "depth.jpeg")
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_bytes(tmp_path, run):
    first, second = (report.draw(run, tmp_path / name / "depth.svg")[0].read_bytes() for name in "ab")
    assert first == second


def test_the_csv_holds_what_is_drawn_and_that_is_what_was_measured(tmp_path, run):
    rows = rows_of(report.draw(run, tmp_path / "depth.png")[1])
    assert len(rows) == len(run.cases)
    for row, summary in zip(rows, run.cases, strict=True):
        assert int(row["depth"]) == summary.depth
        assert float(row["latency_ms"]) == summary.latency_ns.median / 1e6
        assert float(row["low_ms"]) == summary.latency_ns.low / 1e6
        assert float(row["high_ms"]) == summary.latency_ns.high / 1e6
        assert float(row["mmacs_useful"]) == summary.macs_useful / 1e6
        assert float(row["weight_mb"]) == summary.weight_bytes / 1e6
        assert row["verdict"] == (summary.speedup.verdict or "")


def test_the_points_of_the_csv_are_those_of_the_lines(tmp_path, run):
    import matplotlib as mpl

    from harness.report import depth

    table = tuple(points(run))
    with mpl.rc_context(style.RC):
        axes = depth._figure(run, table, None).axes[0]
    ladder = [p for p in table if not p.control]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert ([p.x for p in ladder], [p.latency_ms for p in ladder]) in lines
    low, high = axes.get_xlim()
    assert low > high  # depth falls from left to right
    assert axes.get_ylim()[0] == 0
    assert {text.get_text() for text in axes.texts} >= {*map(str, range(9)), *example_run.CONTROLS}


def test_rungs_of_equal_depth_stand_side_by_side_in_order():
    table = [p for p in points(example_run.run(every=True)) if not p.control]
    assert [p.depth for p in table] == [18, 18, 17, 17, 16, 16, 15, 15, 14]
    xs = [p.x for p in table]
    assert xs == sorted(set(xs), reverse=True)
    assert all(abs(p.x - p.depth) < 0.5 for p in table)


def test_ladders_stand_side_by_side_too():
    table = [p for p in points(example_run.run(("easier", "order"))) if not p.control]
    assert len({p.x for p in table}) == len(table) == 18


def test_warnings_and_findings_are_on_their_points(run):
    table = {p.label: p for p in points(run)}
    assert [label for label, p in table.items() if p.warning] == ["3", "5", "6", "7", "8"]
    assert table["8"].letters == "b c" and table["1"].letters == ""


@pytest.mark.parametrize("published", [None, "easier"])
def test_several_ladders_runtimes_failures_and_papers_fit_one_figure(tmp_path, published):
    run = example_run.failed(example_run.run(("easier", "order"), ("onnxruntime", "torch"), wide=2.0), 3)
    paper = report.published(published) if published else None
    figure, table = report.draw(run, tmp_path / "depth.png", paper)
    failed = [row for row in rows_of(table) if row["label"] == "3"]
    assert len(failed) == 4 and all(row["latency_ms"] == "" for row in failed)
    assert figure.stat().st_size > 50_000


def test_one_point_is_drawn(tmp_path, run):
    assert report.draw(replace(run, cases=run.cases[:1]), tmp_path / "depth.png")[0].is_file()


@pytest.mark.parametrize(
    ("status", "hint"),
    [("measuring", "--resume 20261120T101500Z-1a2b"), ("done", "harness show 20261120T101500Z-1a2b")],
)
@pytest.mark.parametrize("kept", [0, 12])
def test_a_run_with_nothing_measured_has_no_figure(tmp_path, run, status, hint, kept):
    cases = tuple(replace(s, latency_ns=None, speedup=None, status="failed") for s in run.cases[:kept])
    with pytest.raises(StoreError, match="nothing measured") as error:
        report.draw(replace(run, cases=cases, status=status), tmp_path / "depth.png")
    assert hint in error.value.hint and list(tmp_path.iterdir()) == []


def test_a_case_that_failed_late_is_a_cross_with_its_own_word_in_the_key(tmp_path, run):
    import matplotlib as mpl

    from harness.report import depth

    late = replace(run, cases=(*run.cases[:8], replace(run.cases[8], status="failed", speedup=None), *run.cases[9:]))
    with mpl.rc_context(style.RC):
        figure = depth._figure(late, tuple(points(late)), None)
    assert [line.get_marker() for line in figure.axes[0].lines].count("x") == 1
    assert "cross: failed after these blocks" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_rows_of_unknown_depth_are_named_and_unknown_macs_leave_a_gap(tmp_path, run):
    def unknown(s):
        return replace(s, depth=None) if s.rung == 2 else replace(s, macs=None, macs_useful=None) if s.rung == 3 else s

    blind = replace(run, cases=tuple(map(unknown, run.cases)))
    figure, table = report.draw(blind, tmp_path / "depth.svg")
    assert "not drawn, depth unknown: 2" in figure.read_text()
    rows = {row["label"]: row for row in rows_of(table)}
    assert "2" not in rows and rows["3"]["mmacs"] == "" and rows["3"]["latency_ms"]


def test_a_run_without_any_depth_has_no_figure_and_says_why(tmp_path, run):
    cases = tuple(replace(s, depth=None, reasons={**s.reasons, "depth": "no rule counts Einsum"}) for s in run.cases)
    with pytest.raises(StoreError, match="no depth is known, no figure of it: no rule counts Einsum"):
        report.draw(replace(run, cases=cases), tmp_path / "depth.svg")


def test_a_long_title_breaks_between_its_parts(tmp_path, run):
    device = "a-device-of-forty-characters-or-even-more"
    figure, _ = report.draw(replace(run, device=device), tmp_path / "depth.svg")
    assert f"device {device}" in figure.read_text()


def test_names_that_look_like_formulas_are_drawn_as_text(tmp_path, run):
    odd = replace(run, device="$\\frac{1}$", cases=tuple(replace(s, model="$a_$") for s in run.cases))
    assert report.draw(odd, tmp_path / "depth.svg")[0].is_file()


def test_text_is_never_smaller_than_eight_points(run):
    import matplotlib as mpl
    from matplotlib.text import Text

    from harness.report import depth

    with mpl.rc_context(style.RC):
        figure = depth._figure(run, tuple(points(run)), report.published("easier"))
        sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
    assert min(sizes) >= 8


def test_names_of_controls_are_moved_apart_as_little_as_needed():
    assert style.apart([3.0, 1.0, 1.05], 0.1) == [3.0, 1.0, 1.1]
    assert style.apart([], 0.1) == []


# --- published -------------------------------------------------------------------------------------------------------


def test_the_published_table_is_read_as_printed():
    paper = report.published("easier")
    assert paper.removed == tuple(range(9)) and paper.activations == 17
    assert paper.latency_ms["Raspberry Pi 4"][6] == 225
    assert paper.latency_ms["RTX A4500"] == (3.32, 3.27, 3.10, 2.96, 2.78, 2.60, 1.79, 1.71, 1.55)


def test_the_misprinted_mflops_are_not_even_read():
    assert "725.47" not in repr(replace(report.published("easier"), source=""))


def test_an_unknown_paper_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r'no published table "easer"; did you mean "easier"'):
        report.published("easer")


# --- what starts what ------------------------------------------------------------------------------------------------


def test_a_table_starts_neither_torch_nor_matplotlib_and_a_figure_no_torch():
    code = (
        "import sys; from harness import report; assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules), 1;"
        "from harness.report import depth; assert 'torch' not in sys.modules;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
