"""`harness plan` as users have it: the tiny network on this machine for real, looked up, resumed after a kill, wrong words."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path

import pytest
from command import Cli, Done

from harness import content

ASKED = ("plan", "--device", "local", "--model", "tiny", "--forms", "tail")
WORDS = (*ASKED, "--budget", "30")  # a front that is not decided would take any longer one whole
NOTHING = '''"""One convolution and a classifier behind an activation: nothing to fold."""

from torch import nn

TASK = "tiny"


def build(weights=None, classes=10, shape=(3, 16, 16)):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, classes))
'''


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, Done]:
    """A folder in which the tiny network was planned for, once."""
    folder = tmp_path_factory.mktemp("planned")
    cli = Cli(folder, folder / "cache")
    return cli, cli(*WORDS)


def jobs(cli: Cli) -> list[str]:
    """The jobs that the device has had."""
    return sorted(path.name for path in (cli.folder / "workdir" / "jobs").glob("*"))


def own(cli: Cli) -> Path:
    (folder,) = (file.parent for file in cli.folder.glob("results/local/plans/*/asked.json"))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_plan_tells_its_front_and_why_and_what_to_do_next(planned: tuple[Cli, Done]) -> None:
    cli, done = planned
    assert done.code == 0, done.err
    assert "tiny on local: onnxruntime fp32, 1 thread, batch 1; unfolded " in done.out
    assert "table of 20" in done.out and ", 1 option; options " in done.out
    words = " ".join(done.out.split())  # whatever is undecided, and wherever lines end
    assert "undecided" in words and "`harness calibrate --device local`" in words
    stored = json.loads((own(cli) / "plan.json").read_text())
    assert stored["schema"] == 1 and stored["asked"]["forms"] == ["tail"]
    (gain,) = stored["gains"]
    assert gain["basis"] == "in place" and gain["low_ns"] < gain["gain_ns"] < gain["high_ns"]
    if stored["front"]:  # on a very noisy machine the one option may be undecided
        assert "next: harness run --method planned --device local --model tiny" in done.out
        (plan,) = stored["front"]
        assert plan["verified"]["fold_error"] < 1e-5 and plan["price"] == 2.0
        assert plan["verified"]["speedup"]["verdict"] in ("faster", "slower", "same", "unclear")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_words_again_are_a_look_up_that_starts_no_agent(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    before, stored = jobs(cli), (own(cli) / "plan.json").read_bytes()
    again = cli(*WORDS, "--json")
    assert again.code == 0, again.err
    assert again.json == json.loads(stored) and (own(cli) / "plan.json").read_bytes() == stored
    assert jobs(cli) == before and "block" not in again.err
    told = cli(*WORDS)
    assert "1 option; nothing measured" in told.out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_target_that_no_plan_reaches_shows_the_front_all_the_same_and_exits_1(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    done = cli(*WORDS, "--target-speedup", "900")
    assert (done.code, "no plan reaches 900x on local: " in done.out) == (1, True), done.err
    stored = json.loads((own(cli) / "plan.json").read_text())
    assert "unfolded" in done.out and stored["chosen"] is None and stored["goal"]["speedup"] == 900
    with (own(cli) / "plots" / "plan.csv").open() as points:
        assert {row["chosen"] for row in csv.DictReader(points)} == {"False"}  # the figure follows the answer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bound_on_accuracy_has_options_trained_and_the_plan_as_a_whole(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    copy = Cli(_copied(cli, "trained"), cli.cache)
    done = copy(*WORDS, "--max-accuracy-drop", "0.5", "--json")
    if not done.json["front"]:
        pytest.skip("the one option is undecided on this machine: there is nothing to train")
    assert done.code == (1 if done.json["chosen"] is None else 0), (
        done.err
    )  # in so few blocks it may not be sure to be faster
    (price,), (plan,) = done.json["prices"], done.json["front"]
    assert price["basis"] == "loss" and price["error"] is not None
    found = plan["verified"]
    assert 0 <= found["accuracy"] <= 1 and 0 < found["baseline"] <= 1
    assert found["price"] == pytest.approx(price["price"])  # a plan of one option has no interaction
    assert any(line.startswith("Fine-tuned as a whole it costs") for line in plan["words"])
    again = copy(*WORDS, "--max-accuracy-drop", "0.5")
    assert "nothing measured" in " ".join(again.out.split())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_next_move_that_is_told_trains_the_plans_as_a_ladder(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    front = json.loads((own(cli) / "plan.json").read_text())["front"]
    words = ("run", "--method", "planned", "--device", "local", "--model", "tiny", "--no-controls", "--energy", "none")
    done = cli(*words, "--budget-epochs", "1", "--budget", "20", "--json")
    if not front:
        assert done.code == 2 and "folds nothing" in done.err
        return
    assert done.code == 0, done.err
    chosen = [case for case in done.json["cases"] if case["method"] == "planned" and case["rung"]]
    assert [case["removed"] for case in chosen] == [len(plan["removed"]) for plan in front]
    assert all(case["accuracy"] is not None and case["latency_ns"] for case in chosen)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_that_cannot_be_asked_is_planned_for_by_what_is_known_of_it(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    workdir, aside = cli.folder / "workdir", cli.folder / "aside"
    workdir.rename(aside)
    workdir.write_text("no folder")
    try:
        done, other = cli(*WORDS), cli(*WORDS, "--batch", "2")
    finally:
        workdir.unlink()
        aside.rename(workdir)
    assert done.code == 0, done.err
    told = " ".join(done.out.split())  # long lines are wrapped
    assert "this is what was measured there on 20" in told and "nothing measured" in told
    assert other.code == 1 and "error: " in other.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_two_devices_one_that_cannot_be_reached_leaves_the_other_its_plan(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    copy = Cli(_copied(cli, "two"), cli.cache)
    inventory, nowhere = copy.folder / "inventory.yaml", copy.folder / "nowhere"
    nowhere.write_text("no folder")
    inventory.write_text(inventory.read_text() + f"  gone: {{profile: host, workdir: {nowhere}}}\n")
    words = ["local,gone" if word == "local" else word for word in WORDS]
    for asked in (words, [*words[:2], "gone,local", *words[3:]]):
        done = copy(*asked)
        assert done.code == 1 and "tiny on local: " in done.out, done.err
        assert "error: gone: " in done.err
    both = copy(*words, "--json")
    assert both.code == 1 and [each["device"] for each in both.json] == ["local"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_again_measures_anew_and_keeps_what_was_measured(planned: tuple[Cli, Done]) -> None:
    cli, _ = planned
    copy = Cli(_copied(cli), cli.cache)
    before = (own(copy) / "table" / "001" / "jobs" / "onnxruntime" / "events.jsonl").read_bytes()
    done = copy(*WORDS, "--again")
    assert done.code == 0, done.err
    (aside,) = copy.folder.glob("results/local/plans/*.before-*")
    assert (aside / "table" / "001" / "jobs" / "onnxruntime" / "events.jsonl").read_bytes() == before
    assert (own_without(copy, aside) / "table" / "001" / "jobs" / "onnxruntime" / "events.jsonl").read_bytes() != before


def own_without(cli: Cli, aside: Path) -> Path:
    (folder,) = (path for path in aside.parent.iterdir() if path != aside)
    return folder


def _copied(cli: Cli, name: str = "copied") -> Path:
    copy = cli.folder.with_name(name)
    shutil.copytree(cli.folder / "results", copy / "results")
    return copy


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", ["unfolded", "block 1"])
def test_a_plan_that_was_killed_goes_on_by_the_same_command(
    moment: str, planned: tuple[Cli, Done], tmp_path: Path
) -> None:
    """Killed while networks are made, and in the midst of a job: the device's agent goes on by itself meanwhile."""
    cli = Cli(tmp_path, tmp_path / "cache" if moment == "unfolded" else planned[0].cache)
    with cli.start(*WORDS) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if moment in line:
                begun.send_signal(signal.SIGKILL)
                break
        begun.wait()
    assert not (own(cli) / "plan.json").exists()
    done = cli(*WORDS, "--json")
    assert done.code == 0, done.err
    runs = jobs(cli)
    assert len([name for name in runs if "-table-" in name]) == 1, runs
    assert done.json["gains"][0]["basis"] == "in place"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_plan_says_how_to_go_on_and_ends_its_agent(planned: tuple[Cli, Done], tmp_path: Path) -> None:
    cli = Cli(tmp_path, planned[0].cache)
    with cli.start(*WORDS) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if "block 1" in line:
                begun.send_signal(signal.SIGINT)
                break
        said = begun.stderr.read()
        begun.wait()
    assert begun.returncode == 130
    assert "What is done is kept; the same command goes on." in said
    done = cli(*WORDS)
    assert done.code == 0 and len([name for name in jobs(cli) if "-table-" in name]) == 1, done.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_budget_that_holds_no_two_blocks_is_told_and_the_same_words_with_a_larger_one_go_on(
    planned: tuple[Cli, Done], tmp_path: Path
) -> None:
    cli = Cli(tmp_path, planned[0].cache)
    done = cli(*ASKED, "--budget", "1")
    assert (done.code, "2 are the least" in done.err, "larger --budget" in done.err) == (1, True, True), done.err
    again = cli(*WORDS)
    assert again.code == 0, again.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_unfolded_network_that_failed_is_measured_anew_by_the_same_command(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed once may not fail again: a full memory is no property of a network."""
    full = cli.folder / "full"
    full.touch()
    monkeypatch.setenv("HARNESS_CONTENT", str(moody(cli.folder / "own", full)))
    place = f"devices:\n  local: {{profile: host, runtimes: [moody], workdir: {cli.folder / 'workdir'}}}\n"
    (cli.folder / "inventory.yaml").write_text(place)
    failed = cli(*WORDS)
    assert (failed.code, "tiny was not measured on local" in failed.err) == (1, True), failed.err
    assert "no memory left" in failed.err and "The same command measures it anew." in failed.err
    full.unlink()
    done = cli(*WORDS, "--json")
    assert done.code == 0, done.err
    assert done.json["reference_ns"] and len(list(own(cli).glob("table/001*"))) == 2  # the failed job stays beside it


def moody(folder: Path, full: Path) -> Path:
    """ONNX Runtime, which loads nothing while a file is there; the folder of content that it lies in."""
    home = content.ROOT / "devices" / "runtimes"
    shutil.copytree(home, folder / "runtimes", ignore=lambda _, names: [each for each in names if each[0] != "_"])
    source, head = (home / "onnxruntime.py").read_text(), "    settings = _settings(options)\n    session = "
    assert source.count(head) == 1
    refuse = f'    if Path("{full}").exists():\n        raise MemoryError("no memory left")\n'
    (folder / "runtimes" / "moody.py").write_text(source.replace(head, refuse + head))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_network_with_nothing_to_fold_says_so_and_measures_nothing(cli: Cli) -> None:
    own = cli.folder / "content" / "models"
    own.mkdir(parents=True)
    (own / "plain.py").write_text(NOTHING)
    words = ("--content", str(own.parent), "plan", "--device", "local", "--model", "plain")
    done = cli(*words)
    assert done.code == 0, done.err
    assert "plain has nothing to fold in the forms plain, dense, tail" in done.out and jobs(cli) == []
    asked = cli(*words, "--target-speedup", "1.5")
    assert (asked.code, "no plan reaches 1.5x on local" in asked.out) == (1, True), asked.err
    assert cli(*words, "--json").json["reference_ns"] is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_dry_run_lists_options_and_what_would_be_measured_and_asks_no_device(cli: Cli) -> None:
    done = cli("plan", "--device", "local", "--model", "tiny", "--dry-run")
    assert done.code == 0, done.err
    assert "layer2.0.conv1..fc:tail" in done.out and "options in place: " in done.out
    told = cli("plan", "--device", "local", "--model", "tiny", "--dry-run", "--json").json
    assert [part["what"] for part in told["outlook"]] == ["options in place", "the front"]
    assert not (cli.folder / "workdir").exists() and not (cli.folder / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "plan: name a device"),
        (("--device", "lcal"), 'no device "lcal"; did you mean "local"?'),
        (("--device", "local", "--model", "resnet81"), 'no model "resnet81"; did you mean "resnet18"?'),
        (("--device", "local", "--runtime", "onnx"), 'no runtime "onnx"; did you mean "onnxruntime"?'),
        (("--device", "local", "--runtime", "onnxruntime,torch"), "a plan is for one runtime"),
        (("--device", "local", "--precision", "fp32,int8"), "a plan is for one precision"),
        (("--device", "local", "--forms", "plane"), 'no form "plane"; did you mean "plain"?'),
        (("--device", "local", "--importance", "los"), 'no importance "los"; did you mean "loss"?'),
        (("--device", "local", "--target-speedup", "0.5"), "--target-speedup 0.5: must be from 1 to 1000"),
        (("--device", "local", "--max-accuracy-drop", "5"), "--max-accuracy-drop 5: must be from 0 to 0.5"),
        (
            ("--device", "local", "--max-accuracy-drop", "0.01", "--importance", "count"),
            "--importance count says nothing of accuracy",
        ),
        (
            ("--device", "local", "--target-speedup", "1.5", "--max-accuracy-drop", "0.01"),
            "--target-speedup cannot be said beside --max-accuracy-drop",
        ),
        (("--device", "local", "--budget", "0"), "--budget 0: must be from 1 to 604800"),
        (("--device", "local", "--tune", "gvernor"), 'no setting "gvernor"; did you mean "governor"'),
    ],
)
def test_wrong_words_are_told_and_leave_nothing_behind(words: tuple[str, ...], message: str, cli: Cli) -> None:
    done = cli("plan", *words)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (cli.folder / "results").exists()


def test_a_virtual_device_is_not_planned_for(cli: Cli) -> None:
    inventory = cli.folder / "inventory.yaml"
    inventory.write_text(inventory.read_text() + "    virtual: true\n")
    done = cli("plan", "--device", "local", "--model", "tiny")
    assert (done.code, "its times stand for no real one" in done.err) == (2, True), done.err
