"""`harness show --format`: the table for a paper and for a spreadsheet."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace

import example_energy_run
import example_run
import pytest

from harness import report, store
from harness.errors import StoreError
from harness.report import rows

RUN = example_run.run(("easier", "order"))


def lines_of(run):
    return list(csv.DictReader(io.StringIO(report.formatted(run, "csv"))))


def test_csv_has_every_row_with_numbers_as_they_are():
    found = lines_of(RUN)
    assert len(found) == len(RUN.cases)
    for line, row in zip(found, RUN.cases, strict=True):
        assert float(line["latency_median_ns"]) == row.latency_ns.median
        assert float(line["speedup_ratio"]) == row.speedup.ratio
        assert int(line["macs_useful"]) == row.macs_useful
        assert line["accuracy"] == ("" if row.accuracy is None else str(row.accuracy))
        assert line["case_id"] == row.case_id and line["speedup_verdict"] == (row.speedup.verdict or "")


def test_csv_has_energy_in_joules_and_empty_cells_where_there_is_none():
    metered = example_energy_run.run()
    found = lines_of(metered)
    values = [line["energy_gross_value_j"] for line in found]
    assert values == ["" if s.energy_j is None else str(s.energy_j.gross.value) for s in metered.cases] and any(values)
    assert {line["energy_gross_value_j"] for line in lines_of(RUN)} == {""}


def test_latex_has_a_booktabs_table_per_runtime_with_units_and_every_row():
    text = report.formatted(example_run.run(("easier",), ("onnxruntime", "torch")), "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == text.count(r"\end{table*}") == 2
    head, below = text[text.index(r"\toprule") :].splitlines()[1:3]
    assert (
        "latency ms & " in head and "{[}95 \\% interval{]} & " in below and "weights & " in head and " & MB & " in below
    )
    columns = head.count(" & ") + 1
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 2 * (2 + 9 + 3) and {line.count(" & ") + 1 for line in body} == {columns}
    assert len(re.search(r"begin\{tabular\}\{(\w+)\}", text)[1]) == columns


def test_latex_names_ladders_where_there_are_several_and_parts_them_by_rules():
    text = report.formatted(RUN, "latex")
    assert text.count(r"\midrule") == 3 and "easier & 0 & " in text and "order & 0 & " in text


@pytest.mark.parametrize(
    ("name", "set_as"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("$x^2$~{}", r"\$x\textasciicircum{}2\$\textasciitilde{}\{\}"),
        ("\\input", r"\textbackslash{}input"),
        ("\x1b#", r" \#"),
    ],
)
def test_names_are_set_as_they_are_and_steer_nothing(name, set_as):
    cases = tuple(replace(row, model=name) if row.method == "control" else row for row in RUN.cases)
    assert set_as in report.formatted(replace(RUN, cases=cases), "latex")


def test_a_name_with_a_line_break_stays_in_its_comment():
    text = report.formatted(replace(RUN, device="x\n\\input{y}"), "latex")
    assert not any(line.startswith("\\input") for line in text.splitlines())


def test_energies_have_a_latex_table_of_their_own_as_on_a_terminal():
    text = report.formatted(example_energy_run.run(), "latex")
    assert text.count(r"\begin{table*}") == 2 and "mJ/inference & saving & " in text
    assert "scope module (ina3221 VDD\\_IN" in text


def test_latex_says_what_letters_stand_for_and_tells_them_apart():
    text = report.formatted(RUN, "latex")
    kinds = {finding.kind for finding in RUN.findings if finding.cases}
    assert kinds and all(f": {kind}" in text for kind in kinds)
    assert f"{', '.join(rows.marks(RUN, RUN.cases[8]).split())} " + r"\\" in text


def test_latex_of_more_ladders_than_fit_on_a_page_goes_on_in_further_tables():
    methods = tuple(f"m{n}" for n in range(9))
    text = report.formatted(example_run.run(methods), "latex")
    tables = text.split(r"\begin{table*}")[1:]
    assert len(tables) == 3 and ", continued." in tables[1]
    assert sum(table.count(r"\midrule") for table in tables) == 10
    assert all(table.count(r" \\") <= 38 + 2 for table in tables)


def test_a_flag_and_a_power_of_ten_are_set_as_such():
    said = report.formatted(replace(RUN, device="no --energy"), "latex")
    assert "no -{}-energy" in said and r"$3\cdot10^{-7}$" in said


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["", "twocolumn"])
def test_latex_compiles_and_no_table_is_wider_than_the_text(tmp_path, columns):
    if not (pdflatex := shutil.which("pdflatex")):
        pytest.skip("no pdflatex here: apt-get install texlive-latex-recommended")
    odd = replace(example_energy_run.run(("easier", "order")), device='pi_5 & $x^2$ ~ "ä µ°±×·" ≤≥≈→ <b>|#%{}\\')
    many = example_run.run(tuple(f"m{n}" for n in range(9)), ("onnxruntime", "torch"))
    body = "\n".join(report.formatted(run, "latex") for run in (RUN, odd, many))
    packages = "\\usepackage{booktabs,graphicx}\n"
    text = f"\\documentclass[{columns}]{{article}}\n{packages}\\begin{{document}}\n{body}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text)
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert made.returncode == 0, made.stdout[-2000:]
    assert "Overfull \\hbox" not in made.stdout and "Float too large" not in made.stdout


def test_markdown_is_the_table_of_readmes():
    assert report.formatted(RUN, "markdown") == report.markdown(RUN)


@pytest.mark.parametrize("form", report.FORMATS)
def test_a_run_without_rows_says_how_to_go_on(form):
    with pytest.raises(StoreError, match="no rows yet") as refused:
        report.formatted(replace(RUN, cases=()), form)
    assert "--resume" in refused.value.hint


def test_the_command_prints_the_table_alone_and_refuses_what_is_none(cli, tmp_path):
    store.create(tmp_path, replace(RUN, analysis_version=10**6))
    shown = cli("show", RUN.run, "--format", "csv", "--results", str(tmp_path))
    assert shown.out == report.formatted(replace(RUN, analysis_version=10**6), "csv")
    for words, said in ((("csv", "--json"), "--json"), (("latex", "--profile"), "--profile"), (("latx",), "latex")):
        refused = cli("show", RUN.run, "--format", *words, "--results", str(tmp_path))
        assert refused.code == 2 and said in refused.err
