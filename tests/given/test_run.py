"""The whole way, for real: `harness run --onnx`, and every command that looks at what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx_files
import pytest
from command import Cli
from onnx import TensorProto, helper
from test_faults import kill, until_some_are_measured

RUN = ("run", "--device", "local", "--budget", "6")
FILES = ("--onnx", "net.onnx", "--onnx", "twin.onnx", "--onnx", "other.onnx")


def write(folder: Path) -> None:
    """Two files that compute the same, one of them with its weights beside it, and one that does not."""
    onnx_files.convolution(folder / "net.onnx")
    onnx_files.convolution(folder / "twin.onnx", beside=True)
    onnx_files.convolution(folder / "other.onnx", scale=0.5)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """One run from files, looked at by several tests."""
    cli = Cli(tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("own-cache"))
    write(cli.folder)
    done = cli(*RUN, *FILES, "--json")
    assert done.code == 0, done.err
    (cli.folder / "shown.json").write_text(done.out)
    return cli


def shown(cli: Cli) -> dict:
    return json.loads((cli.folder / "shown.json").read_text())


def test_files_are_measured_against_the_first_and_what_is_not_known_of_them_is_null_with_a_reason(
    measured: Cli,
) -> None:
    cases = shown(measured)["cases"]
    assert [(case["rung"], case["model"], case["method"]) for case in cases] == [
        (0, "net", "onnx"),
        (1, "twin", "onnx"),
        (2, "other", "onnx"),
    ]
    for case in cases:
        assert case["status"] == "ok" and case["latency_ns"]["median"] > 0
        assert (case["depth"], case["macs"], case["parameters"]) == (1, 4 * 27 * 64, 108)
        assert case["artifact_error"] <= 1e-4
        for key in ("task", "removed", "accuracy", "fold_error", "padding", "setting", "activations"):
            assert case[key] is None and "given as an ONNX file" in case["reasons"][key]
    assert cases[0]["speedup"]["ratio"] == 1.0 and cases[2]["speedup"]["verdict"]
    assert [case["difference"] for case in cases[:2]] == [0.0, 0.0]
    assert cases[2]["difference"] == pytest.approx(0.5, rel=1e-5)


def test_how_far_files_agree_is_told_and_binds_nothing(measured: Cli) -> None:
    (found,) = [finding for finding in shown(measured)["findings"] if finding["kind"] == "agreement"]
    assert found["severity"] == "info" and found["numbers"]["rungs"] == "2"
    assert "Rung 2 (other) computes something else than rung 0 (net)" in found["cause"]


@pytest.mark.slow
def test_a_run_of_files_is_shown_plotted_and_compared(measured: Cli) -> None:
    table = measured("show")
    assert table.code == 0 and "2 other" in table.out and "A/A" in table.out
    assert max(len(line) for line in table.out.splitlines()) <= 120
    assert measured("plot", "--out", "figure.svg").code == 0
    assert "0: net; 1: twin; 2: other" in (measured.folder / "figure.svg").read_text()
    again = measured(*RUN, "--onnx", "other.onnx", "--onnx", "net.onnx", "--json")  # in another order
    assert again.code == 0, again.err
    first, second = (folder.name for folder in measured.runs)
    compared = measured("compare", first, second, "--json")
    assert compared.code == 0, compared.err
    rows = {row["label"]: row for row in compared.json["rows"]}
    assert rows["net"]["same_artifact"] and rows["net"]["ratio"] and rows["other"]["ratio"]
    assert "only A has it" in rows["twin"]["reason"]


def test_a_plan_of_files_can_be_looked_at_and_writes_nothing(cli: Cli) -> None:
    write(cli.folder)
    done = cli(*RUN, *FILES, "--batch", "3", "--dry-run")
    assert done.code == 0, done.err
    assert [each["name"] for each in done.json[0]["given"]] == ["net", "twin", "other"]
    assert done.json[0]["given"][0]["inputs"] == {"x": [3, 3, 8, 8]}
    assert not cli.runs and not list(cli.cache.glob("edge-harness/onnx/*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--onnx", "net.onnx", "--model", "tiny"), "--model cannot be said beside --onnx"),
        (("--onnx", "net.onnx", "--task", "tiny"), "--task cannot be said beside --onnx"),
        (("--onnx", "net.onnx", "--method", "order"), "--method cannot be said beside --onnx"),
        (("--onnx", "net.onnx", "--eligible", "all"), "--eligible cannot be said beside --onnx"),
        (("--onnx", "net.onnx", "--resume", "2026"), "cannot be said beside --resume"),
        (("--onnx", "net.onnx", "--runtime", "torch"), "runtime torch takes no ONNX files"),
        (("--onnx", "gone.onnx"), "--onnx gone.onnx: no such file"),
        (("--onnx", "text.onnx"), "text.onnx: not an ONNX network"),
        (("--onnx", "net.onnx", "--onnx", "large.onnx"), "large.onnx: reads 1x3x16x16 float32"),
    ],
)
def test_a_wrong_word_or_file_exits_2_with_one_message_and_writes_nothing(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    write(cli.folder)
    onnx_files.convolution(cli.folder / "large.onnx", shape=("N", 3, 16, 16))
    (cli.folder / "text.onnx").write_text("no network")
    done = cli(*RUN, *words)
    assert done.code == 2, done.err
    assert message in done.err and "Traceback" not in done.err
    assert not cli.runs and not list((cli.folder / "workdir").glob("jobs/*"))


@pytest.mark.slow
def test_a_killed_run_is_finished_from_the_cache_though_its_files_are_gone(cli: Cli) -> None:
    write(cli.folder)
    with cli.start(*RUN, *FILES, "--runtime", "empty") as process:
        until_some_are_measured(cli)
        kill(process.pid)
        process.communicate()
    for file in cli.folder.glob("*.onnx*"):
        file.unlink()
    done = cli("run", "--resume", cli.runs[0].name, "--json")
    assert done.code == 0, done.err
    assert done.json["status"] == "done" and all(case["status"] == "ok" for case in done.json["cases"])


@pytest.mark.slow
def test_a_network_whose_depth_no_rule_counts_is_measured_and_has_no_figure(cli: Cli) -> None:
    nodes = [helper.make_node("Einsum", ["x", "x"], ["z"], equation="nc,nc->n")]
    onnx_files.write(cli.folder / "sum.onnx", nodes, [("x", TensorProto.FLOAT, ("N", 3))], ["z"], {})
    done = cli(*RUN, "--onnx", "sum.onnx", "--runtime", "empty")
    assert done.code == 0, done.err
    assert "no rule counts Einsum" in done.out
    plotted = cli("plot")
    assert plotted.code == 1 and "no depth is known, no figure of it: no rule counts Einsum" in plotted.err


@pytest.mark.slow
def test_the_controller_needs_no_torch_for_files(cli: Cli) -> None:
    write(cli.folder)
    code = (
        "import sys; sys.argv = ['harness', *sys.argv[1:]]\n"
        "from harness.cli import app\n"
        "try: app()\n"
        "except SystemExit as done: assert done.code in (0, None), done.code\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
    )
    words = ("run", "--device", "local", "--budget", "2", "--onnx", "net.onnx")
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
