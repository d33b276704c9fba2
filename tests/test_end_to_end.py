"""The main job, for real: the command, in a process, on `tiny`: trained, folded, built, run by the agent, timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command import Cli

import harness

TINY = ("run", "--device", "local", "--model", "tiny", "--budget", "8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """One main job from nothing, looked at by several tests."""
    cli = Cli(tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("own-cache"))
    done = cli(*TINY, "--json")
    assert done.code == 0, done.err
    (cli.folder / "shown.json").write_text(done.out)
    return cli


def test_the_main_job_trains_folds_builds_measures_and_a_second_run_trains_nothing(tiny: Cli) -> None:
    shown = json.loads((tiny.folder / "shown.json").read_text())
    keys = "schema run device status failure verdict cases findings jobs ceilings calibration sensors"
    assert set(shown) == set(keys.split())
    ladder = [case for case in shown["cases"] if case["rung"] is not None]
    controls = [case for case in shown["cases"] if case["rung"] is None]

    assert [case["rung"] for case in ladder] == [0, 1, 2, 3]
    assert [case["removed"] for case in ladder] == [0, 1, 2, 3]
    depths = [case["depth"] for case in ladder]
    assert depths == sorted(depths, reverse=True) and depths[-1] == depths[0] - 3
    assert controls and all(case["accuracy"] is None and case["reasons"]["accuracy"] for case in controls)

    for case in shown["cases"]:
        assert case["status"] == "ok"
        assert case["fold_error"] <= 1e-5 and case["fold_error_f64"] <= 1e-12
        assert case["artifact_error"] <= 1e-4
        assert case["latency_ns"]["median"] > 0 and case["latency_ns"]["processes"] >= 1
        assert case["energy_j"] is None and case["reasons"]["energy_j"]
        assert case["executed"]["operators"] >= 2 and case["executed"]["macs"] > 0
    assert ladder[0]["speedup"]["ratio"] == 1.0 and ladder[0]["speedup"]["verdict"] is None
    assert all(case["speedup"]["verdict"] in ("faster", "slower", "same", "unclear") for case in ladder[1:])
    assert all(0 <= case["accuracy"] <= 1 for case in ladder)
    assert [case["padding"] for case in ladder] == ["kept", "moved", "moved", "moved"]

    folder = tiny.runs[0]
    assert (folder / "plots" / "depth.png").stat().st_size > 10_000
    seconds = json.loads((folder / "run.json").read_text())["seconds"]
    again = tiny(*TINY, "--json")
    assert again.code == 0, again.err
    stored = json.loads((tiny.runs[-1] / "run.json").read_text())
    assert all(each["cached"] for each in stored["ladders"])
    assert stored["seconds"]["ladders"] + stored["seconds"]["build"] < 0.2 * (seconds["ladders"] + seconds["build"])
    assert [case["variant"] for case in again.json["cases"]] == [case["variant"] for case in shown["cases"]]


@pytest.mark.slow
def test_a_run_is_shown_as_a_table_drawn_as_a_figure_and_loaded_as_frames(tiny: Cli) -> None:
    folder = tiny.runs[0]
    table = tiny("show")
    assert table.code == 0 and "A/A" in table.out
    assert max(len(line) for line in table.out.splitlines()) <= 120

    assert tiny("show", folder.name[:20], "--json").json == json.loads((tiny.folder / "shown.json").read_text())

    for name in ("a.png", "a.svg", "a.pdf"):
        assert tiny("plot", folder.name, "--out", name, "--published", "easier").code == 0
        assert (tiny.folder / name).stat().st_size > 5_000

    frames = harness.load(folder)
    assert set(frames.samples.columns) >= {
        "case_id",
        "block",
        "attempt",
        "phase",
        "index",
        "start_ns",
        "latency_ns",
        "valid",
    }
    timed = frames.samples[frames.samples.phase.eq("timed") & frames.samples.valid]
    median = timed.groupby(["case_id", "block", "replicate"]).latency_ns.median().groupby("case_id").median()
    told = {
        case["case_id"]: case["latency_ns"]["median"]
        for case in json.loads((tiny.folder / "shown.json").read_text())["cases"]
    }
    assert median.to_dict() == pytest.approx(told)
    assert isinstance(frames.state, pd.DataFrame) and len(frames.state)
    assert len(frames.cases) == len(told)


@pytest.mark.slow
def test_several_methods_and_runtimes_share_one_run_and_order_trains_nothing(cli: Cli) -> None:
    done = cli(
        *(*TINY, "--method", "order,easier", "--runtime", "torch,empty", "--no-controls", "--budget", "6", "--json"),
        *("--option", "cpus=0"),
    )
    assert done.code == 0, done.err
    cases = done.json["cases"]
    assert {case["options"]["cpus"] for case in cases} == {"0"}  # read back, or the case would have failed
    assert {(case["ladder"], case["runtime"]) for case in cases} == {
        (ladder, runtime) for ladder in ("order", "easier") for runtime in ("torch", "empty")
    }
    for case in cases:
        assert (case["accuracy"] is None) == (case["method"] == "order")
        assert case["accuracy"] is not None or "weights are random" in case["reasons"]["accuracy"]


@pytest.mark.slow
def test_ladders_of_several_methods_share_a_job_in_which_what_they_have_in_common_is_measured_once(cli: Cli) -> None:
    done = cli(*TINY, "--method", "easier,order,random", "--rungs", "2", "--no-controls", "--budget", "12", "--json")
    assert done.code == 0, done.err
    rows = {(case["ladder"], case["rung"]): case for case in done.json["cases"]}
    assert set(rows) == {(ladder, rung) for ladder in ("easier", "order", "random") for rung in (0, 1, 2)}
    trained, untrained = rows["easier", 0], rows["order", 0]
    assert rows["random", 0]["case_id"] == trained["case_id"] != untrained["case_id"]
    assert rows["random", 0]["latency_ns"] == trained["latency_ns"]  # one measurement, shown in both ladders
    (job,) = (json.loads(file.read_text()) for file in cli.runs[-1].glob("jobs/*/job.json"))
    sent = [case["case_id"] for case in job["cases"]]
    assert sorted(sent) == sorted({case["case_id"] for case in rows.values()})
    stored = json.loads((cli.runs[-1] / "run.json").read_text())
    heads = {entry["ladder"]: entry["reference"] for entry in stored["entries"]}
    assert heads == {ladder: rows[ladder, 0]["case_id"] for ladder in ("easier", "order", "random")}
    assert [ladder["rungs"] for ladder in stored["plan"]["ladders"]] == [2, 2, 2]
    shown = cli("show")
    assert [line for line in shown.out.splitlines() if line in ("easier", "order", "random")] == [*heads]


@pytest.mark.slow
def test_a_ladder_that_cannot_be_is_refused_before_those_named_before_it_are_made(cli: Cli) -> None:
    done = cli(*TINY, "--method", "random,easier", "--schedule", "fine-grained", "--budget-epochs", "1")
    assert done.code == 2, done.err
    assert "method random: --budget-epochs 1: not one epoch for each of 3 rungs" in done.err
    done = cli(*TINY, "--method", "random,order", "--schedule", "fine-grained", "--order", "layer1.0.relu9")
    assert done.code == 2 and 'no eligible activation "layer1.0.relu9"' in done.err
    assert "training" not in done.err and not cli.runs


@pytest.mark.slow
def test_a_ladder_of_each_seed_has_a_name_and_a_full_network_of_its_own(cli: Cli) -> None:
    words = (*TINY, "--method", "random", "--seeds", "2", "--rungs", "1", "--no-controls")
    done = cli(*words, "--json")
    assert done.code == 0, done.err
    rows = {(case["ladder"], case["rung"]): case for case in done.json["cases"]}
    assert set(rows) == {(ladder, rung) for ladder in ("random", "random-s1") for rung in (0, 1)}
    assert len({case["variant"] for case in rows.values()}) == 4
    again = cli("run", "--resume", cli.runs[-1].name)
    assert again.code == 0 and "nothing to do" in again.err


@pytest.mark.parametrize(
    "said",
    ["--recipe=entropy=channel", "--schedule=quick", "--budget-epochs=5", "--rungs=1", "--step=1", "--delta=0.01",
     "--distil=0.5", "--seeds=1", "--train-on=cpu"],
)  # fmt: skip
def test_what_makes_ladders_cannot_be_said_of_given_networks_nor_of_a_run_that_goes_on(
    said: str, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from harness.cli import app

    flag = said.split("=")[0]
    for words, beside in ((("--device", "local", "--onnx", "a.onnx"), "--onnx"), (("--resume", "2026"), "--resume")):
        done = CliRunner().invoke(app, ["run", *words, said, "--results", str(tmp_path)])
        assert done.exit_code == 2 and f"{flag} cannot be said beside {beside}" in done.output


@pytest.mark.slow
def test_precisions_whose_artifacts_are_the_same_bytes_keep_bounds_of_their_own(cli: Cli) -> None:
    done = cli(
        *("run", "--device", "local", "--model", "tiny", "--method", "order", "--no-controls", "--budget", "3"),
        *("--runtime", "torch", "--precision", "fp16,fp32", "--json"),
    )
    assert done.code == 0, done.err
    cases = json.loads((cli.runs[-1] / "jobs" / "torch" / "job.json").read_text())["cases"]
    assert len({case["artifact"]["sha256"] for case in cases}) == len(cases) / 2  # rounded when it is loaded
    assert {(case["precision"], case["tolerance"]) for case in cases} == {("fp32", 1e-4), ("fp16", 2e-2)}


@pytest.mark.slow
def test_a_case_that_fails_leaves_the_others_alone_and_the_command_exits_1(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = cli.folder / "own"
    (own / "runtimes").mkdir(parents=True)
    crash = (
        "\n\nhealthy = load\n\n\n"
        "def load(path, options):\n"
        "    import ctypes\n"
        f"    ctypes.string_at(0) if open(path).read() == open({str(own / 'victim')!r}).read() else None\n"
        "    return healthy(path, options)\n"
    )
    victim = (
        "\n\nhealthy_export = export\n\n\n"
        "def export(variant, target, precision, options, out):\n"
        "    facts = healthy_export(variant, target, precision, options, out)\n"
        f"    open({str(own / 'victim')!r}, 'w').write(out.read_text())\n"
        "    return facts\n"
    )
    empty = (Path(harness.__file__).parent.parent / "devices" / "runtimes" / "empty.py").read_text()
    (own / "runtimes" / "empty.py").write_text(empty + victim + crash)
    done = cli("--content", str(own), *TINY, "--method", "order", "--runtime", "empty", "--budget", "20", "--json")
    assert done.code == 1, done.err
    failed = [case for case in done.json["cases"] if case["status"] == "failed"]
    assert len(failed) == 1
    assert "SIGSEGV" in failed[0]["reasons"]["latency_ns"] and failed[0]["latency_ns"] is None
    assert sum(case["status"] == "ok" for case in done.json["cases"]) == len(done.json["cases"]) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run",), "name a device, or a run to resume"),
        (("run", "--device", "lcal"), 'did you mean "local"?'),
        (("run", "--device", "local", "--model", "tinny"), 'did you mean "tiny"?'),
        (("run", "--device", "local", "--colour", "red"), "No such option"),
        (("run", "--device", "local", "--option", "spin=1"), "no option of runtime onnxruntime"),
        (
            ("run", "--device", "local", "--model", "tiny", "--method", "order", "--order", "layer9"),
            'eligible activation "layer9"',
        ),
        (("run", "--resume", "x", "--budget", "5"), "--budget cannot be said beside --resume"),
        (("run", "--resume", "x", "--dry-run"), "--dry-run cannot be said beside --resume"),
        (("--content", "/no/such", "models"), "no such folder"),
        (("plot", "--published", "easer"), "easier"),
    ],
)
def test_a_wrong_word_exits_2_with_one_message_and_writes_nothing(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    done = cli(*words)
    assert done.code == 2, done.err
    assert message in done.err
    assert "Traceback" not in done.err
    assert not cli.runs and not list((cli.folder / "workdir").glob("jobs/*"))


def test_a_bad_yaml_exits_2_naming_file_and_line(cli: Cli) -> None:
    (cli.folder / "inventory.yaml").write_text("devices:\n  local:\n    profil: host\n")
    done = cli(*TINY)
    assert done.code == 2
    assert "inventory.yaml:3: devices.local.profil" in done.err and 'Did you mean "profile"?' in done.err


def test_results_that_cannot_be_written_are_found_before_the_long_work(cli: Cli) -> None:
    (cli.folder / "taken").write_text("a file")
    for results in ("taken", "/proc/results"):
        done = cli(*TINY, "--results", results)
        assert done.code == 1
        assert "results cannot be written" in done.err and "--results" in done.err
    assert not (cli.folder / "workdir").exists()


def test_a_run_that_is_not_there_or_damaged_or_from_the_future_is_said_to_be(cli: Cli) -> None:
    run = cli.folder / "results" / "local" / "20260101T000000Z-abcd"
    run.mkdir(parents=True)
    for text, message in (('{"schema": 99}', "schema 99"), ("{", "damaged"), ('{"schema": 1}', "damaged")):
        (run / "run.json").write_text(text)
        done = cli("show", run.name)
        assert done.code == 1 and message in done.err, done.err
    missing = cli("show", run.name.replace("abcd", "abce"))
    assert missing.code == 2 and f'did you mean "{run.name}"' in missing.err


def test_a_plan_can_be_looked_at_without_doing_it(cli: Cli) -> None:
    done = cli(*TINY, "--dry-run")
    assert done.code == 0
    assert done.json[0]["runtimes"] == ["onnxruntime"] and done.json[0]["measuring_s_at_most"] == 8
    assert not cli.runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "layer-folding", "--recipe", "threshold=7"), "threshold = 7 must lie within 0 and 1"),
        (("--method", "easier,order", "--order", "layer9"), 'method order: no eligible activation "layer9"'),
        (("--task", "cifar10"), "CIFAR-10 is read from a folder of yours: --data DIR"),
        (("--task", "cifar10", "--data", "empty"), "no CIFAR-10 here"),
    ],
)
def test_a_plan_that_a_run_would_refuse_is_refused_and_nothing_is_left_behind(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    own = Cli(tmp_path, tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = own(*TINY, *words, "--dry-run")
    assert done.code == 2 and not done.out, done.err
    assert message in done.err and "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before
    assert message in own(*TINY, *words).err, "the run says the same"


@pytest.mark.slow
def test_precisions_are_rows_of_their_own_each_with_the_accuracy_of_what_was_built(cli: Cli) -> None:
    words = ("--model", "tiny", "--method", "easier,order", "--precision", "fp32,fp16,int8", "--budget", "10")
    done = cli("run", "--device", "local", *words, "--json")
    assert done.code == 0, done.err
    cases = done.json["cases"]
    assert {(case["precision"], case["ladder"]) for case in cases} == {
        (precision, ladder) for precision in ("fp32", "fp16", "int8") for ladder in ("easier", "order", "controls")
    }
    assert not [case["reasons"] for case in cases if case["status"] == "failed"]
    for case in cases:
        judged = case["precision"] != "fp32" and case["ladder"] == "easier"
        assert (case["artifact_accuracy"] is not None) == judged, case
        assert judged or case["reasons"]["artifact_accuracy"]
        assert not judged or abs(case["artifact_accuracy"] - case["accuracy"]) <= 0.2  # 8 of 40 images
        assert case["effective"].get("precision", case["precision"]) == case["precision"]
    shown = cli("show")
    assert shown.code == 0 and "as built" in shown.out


@pytest.mark.parametrize(
    "words", [("--help",), ("show",), ("plot", "--out", "f.png"), ("run", "--help"), ("runtimes",)]
)
def test_no_command_that_only_looks_imports_torch(cli: Cli, words: tuple[str, ...]) -> None:
    code = (
        "import sys; sys.argv = ['harness', *sys.argv[1:]]\n"
        "from harness.cli import app\n"
        "try: app()\n"
        "except SystemExit as done: assert done.code in (0, None), done.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cli.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
