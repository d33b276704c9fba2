import io
import json
from dataclasses import replace

import example_run
import pytest
from rich.console import Console

from harness import report
from harness.records import Finding


def shown(run, **console):
    stream = io.StringIO()
    report.show(run, Console(file=stream, **{"width": 120, "highlight": False, **console}))
    return stream.getvalue()


def with_case(run, n, **changes):
    cases = tuple(replace(s, **changes) if i == n else s for i, s in enumerate(run.cases))
    return replace(run, cases=cases)


@pytest.fixture(scope="module")
def run():
    return example_run.run()


def test_every_rung_and_control_has_its_line(run):
    lines = shown(run).splitlines()
    for name in [*map(str, range(9)), *example_run.CONTROLS]:
        assert sum(line.startswith(name + " ") for line in lines) == 1


def test_a_line_says_all_there_is_to_a_rung(run):
    (line,) = (line for line in shown(run).splitlines() if line.startswith("8 "))
    assert line.split() == [
        *("8", "8/8", "(17)", "10", "187", "(159)", "46.2", "93.0", "3e-06"),
        *("3.20", "[3.13,", "3.27]", "0.753", "[0.741,", "0.765]", "slower", "abc"),
    ]


def test_trained_controls_are_ladders_whose_rungs_are_named_and_untrained_ones_stand_apart():
    run = example_run.run(methods=("easier", "order"))
    small = [replace(c, model="resnet10") if (c.ladder, c.rung) == ("order", 1) else c for c in run.cases]
    lines = shown(replace(run, cases=tuple(small))).splitlines()
    after = lines[lines.index("order") :]
    assert after[2].startswith("1 resnet10 ")
    heading = after.index("untrained")
    names = [c.model for c in run.cases if c.ladder == "controls"]
    assert [line.split()[0] for line in after[heading + 1 : heading + 1 + len(names)]] == names


def test_markdown_of_several_ladders_says_in_every_row_which_one_it_is_of():
    rows = [
        line.split(" | ") for line in report.markdown(example_run.run(("easier", "order"))).splitlines() if "|" in line
    ]
    assert [row[0].strip("| ") for row in rows[2:]] == ["easier"] * 9 + ["order"] * 9 + ["controls"] * (len(rows) - 20)


@pytest.mark.parametrize("methods", [("easier",), ("easier", "order")])
def test_it_fits_in_120_columns_and_plain_ascii_where_nobody_looks(methods):
    text = shown(example_run.run(methods, ("onnxruntime", "torch"), wide=2.0))
    assert max(map(len, text.splitlines())) <= 120
    assert text.isascii() and "\x1b" not in text and "…" not in text


def test_a_narrow_terminal_gets_fewer_columns_whole(run):
    text = shown(run, width=80, force_terminal=True, color_system=None)
    assert max(map(len, text.splitlines())) <= 80
    assert "0.753 [0.741, 0.765]" in text and "resnet18-w0.75" in text and "…" not in text


def test_a_terminal_gets_colours(run):
    assert "\x1b[" in shown(run, force_terminal=True, color_system="standard")


def test_the_floor_and_the_end_of_the_job_are_in_the_caption(run):
    text = " ".join(shown(run).split())
    assert "A/A floor, rung 0 against itself: 1.002 [0.990, 1.014]" in text
    assert "16 blocks, ended: decided" in text
    (job,) = run.jobs
    assert " 1 block, ended: decided" in " ".join(shown(replace(run, jobs=(replace(job, blocks=1),))).split())


def test_findings_follow_with_the_letters_of_the_table(run):
    text = shown(run)
    for letter, finding in zip("abcdef", run.findings, strict=True):
        assert f"\n{letter}  {finding.kind}  {finding.severity}: " in text
        assert finding.cause.split(":")[0][:60] in " ".join(text.split())


def test_what_is_missing_says_why(run):
    text = shown(example_run.failed(run, 3, "signal: SIGSEGV"))
    (line,) = (line for line in text.splitlines() if line.startswith("3 "))
    assert "failed" in line and " - " in line
    assert "-  latency, speedup of rung 3: signal: SIGSEGV" in text
    assert "-  accuracy of resnet10, resnet18-w0.75, resnet18-w0.5: a latency control: never trained" in text
    assert "-  accuracy of rungs 0 to 8: method order does not train" in shown(example_run.run(methods=("order",)))


def test_names_with_markup_or_escapes_are_shown_not_obeyed(run):
    evil = "[bold red]x[/] \x1b[31mred"
    text = shown(with_case(run, 9, model=evil), force_terminal=True, color_system="standard", width=160)
    assert "[bold red]x[/]" in text and "\x1b[31mred" not in text
    finding = Finding("kind[/]", "info", (), {}, f"Cause {evil}.", "Advice.")
    assert "[bold red]x[/]" in shown(replace(run, findings=(finding,)), force_terminal=True, width=160)


def test_microseconds_where_everything_is_below_a_millisecond(run):
    fast = replace(
        run, cases=tuple(replace(s, latency_ns=replace(s.latency_ns, median=8.71e4, low=None)) for s in run.cases)
    )
    assert "latency us" in shown(fast) and " 87.1 " in shown(fast)


def test_an_unfinished_or_virtual_run_says_so_above_its_table(run):
    text = shown(replace(run, status="interrupted", virtual=True))
    heading, status, *_ = text.splitlines()
    assert "virtual" in heading
    assert status == "Interrupted; this is what was measured until then."


@pytest.mark.parametrize(
    ("status", "failure", "said"),
    [
        ("preparing", None, "Preparing; nothing measured yet."),
        ("measuring", None, "Measuring; nothing measured yet."),
        ("interrupted", None, "Interrupted; nothing measured yet."),
        ("failed", "training went wrong", "Failed: training went wrong; nothing measured yet."),
    ],
)
def test_a_run_with_nothing_measured_says_what_it_set_out_to_do_and_how_far_it_came(run, status, failure, said):
    bare = replace(run, cases=(), ladders=(), findings=(), jobs=(), entries=(), status=status, failure=failure)
    heading, *rest = shown(bare).splitlines()
    assert heading.startswith("resnet18 on digits, device local, run 2026")
    assert rest == [said]
    assert said[1:-1] in report.markdown(bare)
    made = report.to_json(bare)
    assert (made["status"], made["failure"], made["cases"]) == (status, failure, [])


def test_a_file_or_pipe_gets_no_trailing_spaces():
    text = shown(example_run.run(("easier", "order"), ("onnxruntime", "torch"), wide=2.0))
    assert all(line == line.rstrip() for line in text.splitlines()) and text.endswith("\n")
    assert not text.endswith("\n\n")


def test_the_caption_says_what_the_floor_forbids(run):
    text = " ".join(shown(run).split())
    assert "no difference below +-2.6 % is faster or slower." not in text
    assert "no difference below +-1.4 % is faster or slower." in text
    wide = " ".join(shown(example_run.run(wide=2.0)).split())
    assert "no difference below +-2.6 % is faster or slower, and none the same." in wide


def test_the_caption_says_when_rows_hold_unequal_blocks(run):
    assert "Rows hold" not in shown(run)
    text = " ".join(shown(with_case(run, 8, blocks=6)).split())
    assert "Rows hold 6 to 16 blocks: decided ones leave early" in text


def test_a_case_that_failed_late_shows_its_latency_and_no_speedup(run):
    late = with_case(run, 3, status="failed", speedup=None, reasons={"status": "crash: x", "speedup": "it failed"})
    (line,) = (line for line in shown(late).splitlines() if line.startswith("3 "))
    assert "2.40 [" in line and line.split()[-2:][0] == "failed"


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_markdown_is_one_table_per_runtime_with_all_rows():
    run = example_run.run(("easier", "order"), ("onnxruntime", "torch"))
    lines = report.markdown(run).splitlines()
    assert sum(line.startswith("| ladder | rung |") for line in lines) == 2
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1
    assert sum(" | 8 | " in line[:20] for line in lines) == 4


def test_what_is_rounded_shows_its_own_accuracy_and_why_it_has_none(run):
    assert "as built" not in report.markdown(run)
    for n in range(9):
        run = with_case(run, n, precision="int8", artifact_accuracy=0.123)
    text = report.markdown(with_case(run, 9, precision="int8", artifact_accuracy=None))
    assert text.count("acc. % as built") == 1 and "| 12.3 |" in text


def test_markdown_escapes_names(run):
    text = report.markdown(with_case(run, 9, model="a|b<script>_c_"))
    assert r"| a\|b\<script\>\_c\_ |" in text


# --- the machine's contract --------------------------------------------------------------------------------------------

CASE_KEYS = """case_id ladder rung removed setting activations model task method variant depth macs flops parameters accuracy
padding fold_error fold_error_f64 artifact_error artifact_accuracy difference
macs_useful ops_executed weight_bytes runtime precision threads batch options
effective executed artifact_loss artifact_loss_added status blocks contended not_steady throttled latency_ns speedup
energy_j energy_status reasons accuracy_interval accuracy_vs_continue"""
ESTIMATE_KEYS = "median low high p90 p95 p99 mean sd samples processes tails lag1 effective_samples"


def test_the_json_has_exactly_the_documented_keys(run):
    made = report.to_json(run)
    keys = "schema run device status failure verdict cases findings jobs calibration ceilings sensors"
    assert list(made) == keys.split()
    assert (made["schema"], made["run"], made["device"]) == (1, run.run, "local")
    assert len(made["cases"]) == 12
    for case in made["cases"]:
        assert set(case) == set(CASE_KEYS.split())
        assert set(case["latency_ns"]) == set(ESTIMATE_KEYS.split())
        assert set(case["speedup"]) == {"ratio", "low", "high", "verdict", "joint_low", "joint_high"}
    for finding in made["findings"]:
        assert set(finding) == {"kind", "severity", "cases", "numbers", "cause", "advice"}


def test_the_json_is_plain_finite_json_with_nulls_and_reasons(run):
    made = report.to_json(example_run.failed(run, 3, "crash"))
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    case = made["cases"][3]
    assert case["status"] == "failed" and case["latency_ns"] is None and case["reasons"]["latency_ns"] == "crash"
    assert case["energy_j"] is None and case["reasons"]["energy_j"]
