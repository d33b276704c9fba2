"""`harness report`: what is in the page's file. How a browser behaves with it: test_page_in_a_browser.py."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import example_energy_run
import example_run
import pytest
import vl_convert
from command import Cli

from harness import content, report, stats
from harness.errors import StoreError, UsageError
from harness.findings.kinds import KINDS
from harness.records import Operation
from harness.report import page
from harness.report.rows import is_dearer, is_warned_of, lettered

RUN = example_run.run(("easier", "order"), ("onnxruntime", "torch"))
EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def written(*runs):
    return page.html(runs)


def data_of(text):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    keys, rows = data["rows"]["keys"], data["rows"]["rows"]
    return {**data, "rows": [dict(zip(keys, row, strict=True)) for row in rows]}


def cells_of(text):
    """The table's lines, as what a reader sees in each cell."""
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[1]
    lines = re.findall(r"<tr .*?</tr>", body, re.DOTALL)
    return [
        [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)]
        for line in lines
    ]


def titles_of(text):
    head = re.search(r"<thead>(.*?)</thead>", text, re.DOTALL)[1]
    return [html.unescape(title) for title in re.findall(r"<button[^>]*>(.*?)</button>", head)]


def test_the_table_has_every_row_of_every_run_as_show_has_it():
    text = written(RUN, example_run.run(("random",)))
    lines, titles = cells_of(text), titles_of(text)
    assert len(lines) == len(RUN.cases) + len(example_run.run(("random",)).cases)
    first = dict(zip(titles, lines[1], strict=True))
    row = RUN.cases[1]
    assert first["rung"] == "1" and first["depth"] == str(row.depth) and first["verdict"] == row.speedup.verdict
    assert first["accuracy [95 %]"].startswith(f"{100 * row.accuracy:.1f}")
    assert first["speed-up [95 %]"].startswith(f"{row.speedup.ratio:.3f} [")


def test_every_finding_is_there_by_kind_with_cause_and_advice_errors_first():
    text = html.unescape(written(RUN))
    for finding in RUN.findings:
        assert finding.cause in text and finding.advice in text and KINDS[finding.kind].says in text
    shown = re.findall(r'<section class="kind (\w+)">', text)
    assert shown == sorted(shown, key=("error", "warning", "info").index) and shown


def test_a_rows_letters_lead_to_the_findings_that_name_it():
    text = written(RUN)
    anchors = re.findall(r'href="#(finding-[^"]+)"', text)
    assert anchors and set(anchors) <= set(re.findall(r'id="(finding-[^"]+)"', text))


def test_every_figure_is_vega_lite_that_compiles():
    charts = data_of(written(RUN, example_energy_run.run()))["charts"]
    assert {"latency", "relative", "macs", "accuracy", "energy", "tails"} <= set(charts)
    for chart in charts.values():
        compiled = vl_convert.vegalite_to_vega({**chart["spec"], "width": 300, "datasets": {"shown": []}})
        assert compiled["marks"]


def test_the_front_is_what_nothing_else_beats():
    """Compiled and run by Vega itself: of five points, three are on the front."""
    spots = [(1.0, 80.0), (2.0, 90.0), (2.0, 85.0), (3.0, 88.0), (4.0, 95.0)]
    chart = data_of(written(RUN))["charts"]["accuracy"]["spec"]
    rows = [{"latency_ms": x, "accuracy_percent": y} for x, y in spots]
    front = {**chart, "layer": [{**chart["layer"][0], "mark": {"type": "text", "text": "front"}}], "width": 300}
    drawn = vl_convert.vegalite_to_svg({**front, "datasets": {"shown": rows}})
    assert drawn.count(">front<") == 3


def rows_of(*runs):
    return data_of(written(*runs))["rows"]


def test_findings_have_letters_however_many_there_are():
    letters = [letter for letter, _ in lettered(RUN.findings[:1] * 800)]
    assert letters[:2] == ["a", "b"] and letters[26] == "aa" and letters[702] == "aaa" and len(set(letters)) == 800


def test_two_thousand_rows_fit():
    rows = len(RUN.cases)
    many = [replace(RUN, run=f"{RUN.run}-{n}", findings=()) for n in range(2000 // rows)]
    assert len(written(*many).encode()) < page.document.MOST_BYTES


def test_operators_are_drawn_bar_by_bar_beside_the_latency_that_was_measured():
    told = tuple(
        Operation(kind, kind, None, None, None, None, "float32", "", time_ns)
        for kind, time_ns in (("Conv", 10**6), ("Relu", 10**5))
    )
    data = data_of(written(replace(RUN, operators={RUN.cases[1].case_id: told})))
    bar = [part for part in data["parts"] if part["n"] == 1]
    assert [part["until_ms"] for part in bar[:2]] == [1.0, 1.1] and "operators" in data["charts"]
    assert [part.get("latency_ms") for part in bar] == [RUN.cases[1].latency_ns.median / 1e6, None, None]


def changed(run, **fields):
    """The run, these fields of all its rows changed."""
    return replace(run, cases=tuple(replace(row, **fields) for row in run.cases))


def test_what_is_drawn_is_what_the_run_has():
    drawn = rows_of(RUN)
    for row in RUN.cases:
        point = next(
            each for each in drawn if (each["ladder"], each["rung"], each["runtime"], each["model"]) == key(row)
        )
        assert (
            point["latency_ms"] == row.latency_ns.median / 1e6 and point["latency_low_ms"] == row.latency_ns.low / 1e6
        )
        assert point["depth"] == row.depth and point["mmacs_useful"] == row.macs_useful / 1e6
        assert point["relative"] == 1 / row.speedup.ratio and point["warned"] == is_warned_of(RUN, row)
        if row.speedup.low is not None:
            assert (point["relative_low"], point["relative_high"]) == (1 / row.speedup.high, 1 / row.speedup.low)


def key(row):
    return row.ladder, row.rung, row.runtime, row.model


def test_an_artifact_of_fewer_bits_is_drawn_with_its_own_accuracy_and_interval():
    built = changed(RUN, precision="int8", artifact_accuracy=0.5)
    easier = next(row for row in rows_of(built) if row["ladder"] == "easier")
    limits = stats.wilson(135, 270)
    assert (easier["accuracy_percent"], easier["accuracy_is"]) == (50, "the artifact's")
    assert (easier["accuracy_low_percent"], easier["accuracy_high_percent"]) == (100 * limits.low, 100 * limits.high)
    text = written(built)
    first = dict(zip(titles_of(text), cells_of(text)[0], strict=True))
    assert first["accuracy [95 %]"].startswith("98.5") and first["as built"] == "50.0 %"


def test_ladders_of_one_depth_stand_side_by_side_within_half_a_layer():
    drawn = [row for row in rows_of(RUN) if row["panel"] == 0]
    assert all(abs(row["place"] - row["depth"]) < 0.5 for row in drawn)
    deep = {row["place"] for row in drawn if row["depth"] == 15 and row["rung"] is not None}
    assert len(deep) == 2 and {row["place"] for row in drawn if row["rung"] == 0} == {18}


def test_seeds_of_one_method_are_lines_of_their_own_of_one_series():
    second = {"easier": "easier-s1"}
    ladders = (*RUN.ladders, replace(RUN.ladders[0], name="easier-s1", seed=1))
    copies = tuple(replace(row, ladder=second[row.ladder]) for row in RUN.cases if row.ladder in second)
    drawn = [row for row in rows_of(replace(RUN, ladders=ladders, cases=RUN.cases + copies)) if row["panel"] == 0]
    assert {row["series"] for row in drawn if row["ladder"] == "easier-s1"} == {"easier"}
    assert len({row["name"] for row in drawn}) == len(drawn)


def test_what_is_boxed_in_figures_of_energy_took_more_energy():
    run = example_energy_run.run()
    data = data_of(written(run))
    assert "datum.dearer" in json.dumps(data["charts"]["energy"]) and "datum.warned" in json.dumps(
        data["charts"]["latency"]
    )
    assert [row["dearer"] for row in data["rows"]] == [is_dearer(run, row) for row in run.cases]
    assert data["rows"][0]["takes"].endswith("mJ, module")


def test_rows_too_few_for_a_99th_percentile_are_drawn_to_the_highest_they_have():
    few = replace(RUN, cases=tuple(replace(row, latency_ns=replace(row.latency_ns, p99=None)) for row in RUN.cases))
    data = data_of(written(few))
    assert "tails" in data["charts"] and data["rows"][0]["reach_ms"] == RUN.cases[0].latency_ns.p95 / 1e6


def test_numbers_that_are_not_finite_are_none_and_the_data_stay_json():
    wide = replace(RUN.cases[0].latency_ns, p99=float("nan"), high=float("inf"))
    data = data_of(written(replace(RUN, cases=(replace(RUN.cases[0], latency_ns=wide), *RUN.cases[1:]))))
    assert data["rows"][0]["latency_p99_ms"] is data["rows"][0]["latency_high_ms"] is None


def test_csv_has_a_column_for_whatever_any_row_has():
    columns = data_of(written(replace(RUN, virtual=True, device="emulated"), RUN))["columns"]
    assert columns[:4] == ["run", "device", "runtime", "precision"] and "latency_ms" in columns
    assert not {"n", "panel", "place", "right"} & set(columns)


def test_findings_of_a_whole_job_belong_to_the_rows_of_their_run():
    whole = replace(RUN, findings=tuple(replace(each, cases=()) for each in RUN.findings[:1]))
    text = written(replace(RUN, device="other", findings=()), whole)
    numbers = re.search(r'class="finding" data-rows="([^"]+)"', text)[1].split()
    assert numbers == [str(len(RUN.cases) + n) for n in range(len(RUN.cases))]


def test_a_command_that_was_no_text_is_no_reason_to_have_no_page(tmp_path):
    file = report.write_page([replace(RUN, command=("harness", "run", "caf\udce9"))], tmp_path / "page.html")
    assert "caf?" in file.read_text(encoding="utf-8")


def test_names_with_markup_in_them_are_text():
    evil = replace(
        RUN,
        device=EVIL,
        command=("harness", "run", EVIL),
        cases=tuple(replace(row, model=EVIL, reasons={"accuracy": EVIL}) for row in RUN.cases),
    )
    text = written(evil)
    shell = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "<img" not in shell and "alert" in shell and "<script>alert" not in text
    assert len(re.findall("<script[ >]", text)) == len(re.findall("<script[ >]", written(RUN)))
    assert data_of(text)["rows"][0]["device"] == EVIL


def test_a_virtual_devices_times_are_nowhere():
    virtual = replace(RUN, virtual=True)
    text = written(virtual)
    assert not any(key.startswith(("latency", "relative", "speedup")) for key in data_of(text)["rows"][0])
    assert not {"latency", "relative", "macs", "accuracy", "tails"} & set(data_of(text)["charts"])
    assert not {"latency [95 %]", "speed-up [95 %]"} & set(titles_of(text))
    assert "stand for no real one" in text


def test_why_values_are_missing_is_said():
    lost = replace(
        RUN, cases=tuple(replace(row, accuracy=None, reasons={"accuracy": "not <trained>"}) for row in RUN.cases)
    )
    assert "not &lt;trained&gt;" in written(lost)


def test_a_run_without_rows_has_a_page_that_says_so():
    bare = replace(
        RUN, cases=(), findings=(), jobs=(), ladders=(), entries=(), status="failed", failure="the board is gone"
    )
    text = written(bare)
    assert "Failed: the board is gone" in text and not data_of(text)["charts"]


def test_nothing_is_asked_of_the_network_and_a_policy_forbids_it():
    text = written(RUN)
    shell = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src &#39;none&#39;" in shell
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", shell)


def test_the_same_runs_make_the_same_bytes():
    assert written(RUN) == written(RUN)


def test_a_page_over_the_limit_is_refused_with_the_next_move_and_nothing_is_written(tmp_path):
    many = [replace(RUN, run=f"{RUN.run}-{n}") for n in range(130)]
    with pytest.raises(UsageError, match=r"130 runs would have .* MB, more than 5"):
        report.write_page(many, tmp_path / "page.html")
    assert not [*tmp_path.iterdir()]


def test_other_suffixes_and_places_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a page ends in \.html, not in \.pdf"):
        report.write_page([RUN], tmp_path / "page.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        report.write_page([RUN], tmp_path / "file" / "page.html")


@pytest.mark.slow
def test_the_command_writes_the_page_of_the_runs_that_it_is_given_each_once(tmp_path):
    run = Cli(tmp_path, tmp_path / "cache")
    done = run("report", "--out", "page.html", "--json")
    assert done.code == 0 and done.json == {"page": "page.html"}
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    folder = min((content.ROOT / "results" / "examples" / "local").iterdir())
    twice = run("report", str(folder), f"{folder}/../{folder.name}", "--out", "twice.html", "--json")
    assert twice.code == 0 and len(data_of((tmp_path / "twice.html").read_text())["panels"]) == 1
    wrong = run("report", "2026nothing", "--out", "other.html")
    assert wrong.code == 2 and "2026nothing" in wrong.err and not (tmp_path / "other.html").exists()
