"""`harness plan --transfer` as users have it: the tiny network with one and two threads, looked up, resumed, wrong words."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from command import Cli, Done

from harness import inventory
from harness.planner import folder, trials
from harness.planner.trials import UNFOLDED

NETWORK = ("--device", "local", "--model", "tiny", "--forms", "tail")
ASKED = ("plan", *NETWORK, "--threads", "1,2", "--transfer", "--budget", "60")
PATIENCE_S = 850


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, Done]:
    """A folder in which the plans of two settings were carried to each other, once."""
    home = tmp_path_factory.mktemp("carried")
    cli = Cli(home, home / "cache")
    return cli, cli(*ASKED, patience_s=PATIENCE_S)


def jobs(cli: Cli) -> list[str]:
    """The jobs that the device has had."""
    return sorted(path.name for path in (cli.folder / "workdir" / "jobs").glob("*"))


def own(cli: Cli) -> Path:
    (file,) = cli.folder.glob("results/transfers/*/transfer.json")
    return file.parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_plans_are_carried_told_drawn_and_kept(carried: tuple[Cli, Done]) -> None:
    cli, done = carried
    assert done.code == 0, done.err
    assert "tiny: plans of 2 settings (local onnxruntime fp32), each measured on all of them" in done.out
    stored = json.loads((own(cli) / "transfer.json").read_text())
    assert [each["threads"] for each in stored["settings"]] == [1, 2]
    assert [(each["of"], each["on"]) for each in stored["regrets"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(each["failure"] is None and each["ratio"] > 0 for each in stored["regrets"])
    alike = stored["plans"][0] == stored["plans"][1]
    assert any(word in done.out for word in ("costs", "faster on", "not told apart", "the same network")) and (
        ("the same network" in done.out) == alike
    )
    assert len([name for name in jobs(cli) if "-transfer-" in name]) == (0 if alike else 2)
    assert all((own(cli) / "plots" / f"transfer.{end}").is_file() for end in ("png", "svg", "csv"))
    assert {figure.name for figure in cli.folder.glob("results/local/plans/*/plots/*.png")} <= {"plan.png"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_words_again_start_no_agent_and_leave_the_file_as_it_is(carried: tuple[Cli, Done]) -> None:
    cli, _ = carried
    before, stored = jobs(cli), (own(cli) / "transfer.json").read_bytes()
    again = cli(*ASKED, "--json")
    assert again.code == 0 and again.json == json.loads(stored), again.err
    assert jobs(cli) == before and (own(cli) / "transfer.json").read_bytes() == stored
    assert "nothing measured: all of it was known" in cli(*ASKED).out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_choice_of_options_is_tried_in_the_folder_of_a_plan_once(
    carried: tuple[Cli, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What benchmarks use."""
    cli, _ = carried
    plans = sorted(cli.folder.glob("results/local/plans/*-1t-*"))[0]
    (option,) = [each.name for each in folder.load(plans).listing.options]  # type: ignore[union-attr]
    monkeypatch.setenv("XDG_CACHE_HOME", str(cli.cache))
    ((device,),) = [inventory.select(("local",), cli.folder / "inventory.yaml")]
    found = trials.trial(plans, device, [(option,), UNFOLDED], lambda _: None)
    compared, whole = found.compared((option,)), found.latency_ns(UNFOLDED)
    assert compared.speedup is not None and compared.reference_ns == whole and found.latency_ns((option,)) is not None
    count = len(jobs(cli))
    assert trials.trial(plans, device, [(option,)], lambda _: None).own == found.own and len(jobs(cli)) == count


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_transfer_that_was_killed_goes_on_by_the_same_command_and_measures_nothing_twice(
    carried: tuple[Cli, Done], tmp_path: Path
) -> None:
    """Killed in the job that carries plans: the tables are there."""
    cli = Cli(tmp_path, carried[0].cache)
    shutil.copytree(carried[0].folder / "results", cli.folder / "results", ignore=shutil.ignore_patterns("transfer*"))
    with cli.start(*ASKED) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if "block 2" in line:
                begun.send_signal(signal.SIGKILL)
                break
        begun.wait()
    done = cli(*ASKED, "--json", patience_s=PATIENCE_S)
    assert done.code == 0, done.err
    many = {part: len([name for name in jobs(cli) if f"-{part}-" in name]) for part in ("table", "verify", "transfer")}
    assert (many["table"], many["verify"]) == (0, 0) and many["transfer"] in (0, 2), jobs(cli)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "2"), "--transfer: one setting has nowhere to carry its plan to"),
        (("--threads", "1,two"), "--threads 1,two: no number of threads"),
        (("--threads", "1,0"), "--threads 0: must be from 1 to 1024"),
        (("--runtime", "onnxruntime,torhc"), 'no runtime "torhc"; did you mean "torch"?'),
        (("--runtime", "onnxruntime,torch", "--precision", "fp32,fp61"), "fp61"),
    ],
)
def test_wrong_words_are_told_and_leave_nothing_behind(words: tuple[str, ...], message: str, cli: Cli) -> None:
    done = cli("plan", "--device", "local", "--model", "tiny", "--transfer", *words)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (cli.folder / "results").exists()


def test_several_settings_without_transfer_are_refused_with_the_next_move(cli: Cli) -> None:
    done = cli("plan", "--device", "local", "--model", "tiny", "--threads", "1,2")
    assert (done.code, "--threads 1,2: a plan is for one number of threads" in done.err) == (2, True)
    assert "--transfer" in done.err


def test_a_dry_run_says_what_each_setting_and_the_transfer_would_measure(cli: Cli) -> None:
    done = cli(*ASKED, "--dry-run")
    assert done.code == 0, done.err
    assert "local onnxruntime fp32, 1 thread:" in done.out and "local onnxruntime fp32, 2 threads:" in done.out
    assert "transfer: 2 jobs of at most 3 networks" in done.out and not (cli.folder / "results").exists()
    assert [each["threads"] for each in cli(*ASKED, "--dry-run", "--json").json] == [1, 2]
