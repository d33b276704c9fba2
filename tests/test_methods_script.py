"""scripts/methods.py: what is left out and why, what is skipped, what goes on after a kill, and the tables that come of it."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import example_methods
import psutil
import pytest
from command import Cli

from harness import store

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "methods.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("methods_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def asked(script: ModuleType, *methods: str, task: str = "tiny", seeds: int = 1):
    return script.Asked(task, methods, 2, seeds, None, None)


def kept(script: ModuleType, out: Path, run, left_out: dict[str, str] | None = None) -> Path:
    """A model's folder in which a finished run lies."""
    folder = out / "resnet18"
    plan = script.Plan("resnet18", asked(script, "easier", task="digits"), ("easier",), left_out or {}, 1, 8)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))
    store.save(store.create(folder / "main", run), run)
    return folder


# --- what is asked --------------------------------------------------------------------------------------------------


def test_methods_that_are_not_for_a_model_are_left_out_with_the_reason(script: ModuleType) -> None:
    plan = script._decide("tiny", asked(script, "easier", "order", "nosuch"), None)
    assert plan.methods == ("easier", "order")
    assert list(plan.left_out) == ["nosuch"] and 'no method "nosuch"' in plan.left_out["nosuch"]
    assert (plan.step, plan.epochs) == (2, 2)  # three activations in two rungs of an epoch each


def test_a_plan_that_lies_there_is_used_again_unless_something_else_is_asked(
    script: ModuleType, tmp_path: Path
) -> None:
    said = script._parser().parse_args(["--task", "tiny", "--out", str(tmp_path)])
    first = script._plan("tiny", asked(script, "easier"), said)
    file = tmp_path / "tiny" / "plan.json"
    marked = replace(first, left_out={"mine": "a mark"})
    file.write_text(json.dumps(asdict(marked)))
    assert script._plan("tiny", asked(script, "easier"), said) == marked
    assert script._plan("tiny", asked(script, "easier", "order"), said).methods == ("easier", "order")


def test_a_run_of_other_words_is_not_taken_for_this_one(script: ModuleType, tmp_path: Path) -> None:
    plan = script._decide("tiny", asked(script, "easier"), None)
    requests = script._requests(plan, "easier", (), None)
    run = replace(example_methods.run(("easier",)), status="measuring")
    run = replace(run, plan=replace(run.plan, ladders=requests))
    store.create(tmp_path / "main", run)
    assert script._standing(tmp_path / "main", requests).run == run.run
    elsewhere = tuple(replace(each, threads=1, data="/elsewhere") for each in requests)
    assert script._standing(tmp_path / "main", elsewhere).run == run.run
    assert script._standing(tmp_path / "main", tuple(replace(each, seed=1) for each in requests)) is None


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_a_table_and_a_figure_are_made_of_finished_runs(script: ModuleType, tmp_path: Path) -> None:
    run = example_methods.run(("easier", "tlc", "continue"))
    folder = kept(script, tmp_path, run, {"lacoot": "no blocks in it"})
    script.write(folder)
    text = (folder / "table.md").read_text()
    assert "Left out, lacoot: no blocks in it" in text and (folder / "accuracy.png").is_file()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 1 + 3 * 8  # full depth once
    assert {line.count("|") for line in rows} == {13}
    with (folder / "table.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 9
    row = next(each for each in run.cases if (each.ladder, each.rung) == ("tlc", 4))
    line = next(each for each in lines if (each["ladder"], each["rung"]) == ("tlc", "4"))
    assert float(line["against_continue"]) == row.accuracy_vs_continue.difference
    assert float(line["p"]) == row.accuracy_vs_continue.p and int(line["macs"]) == row.macs
    assert float(line["latency_high_ms"]) == row.latency_ns.high / 1e6 and line["verdict"] == row.speedup.verdict


def test_digits_rank_nothing_and_say_what_an_image_is_worth(script: ModuleType, tmp_path: Path) -> None:
    folder = kept(script, tmp_path, example_methods.run(("easier", "random"), seeds=3))
    script.write(folder)
    text = (folder / "table.md").read_text()
    assert "one image is 0.37 %" in text and "Nothing is ranked" in text and "ahead of" not in text


def test_the_page_for_the_docs_links_to_what_lies_there(script: ModuleType, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    assert "Not made here yet" in script.page(tmp_path / "out", docs)
    folder = kept(script, tmp_path / "out", example_methods.run(("easier", "tlc", "continue")))
    script.write(folder)
    page = script.page(tmp_path / "out", docs)
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| full depth", "| easier", "| tlc", "| continue"]
    assert "](../out/resnet18/table.md)" in page and "](../out/resnet18/accuracy.png)" in page


def test_a_run_that_is_not_done_has_no_table(script: ModuleType, tmp_path: Path) -> None:
    folder = kept(script, tmp_path, replace(example_methods.run(("easier",)), status="interrupted"))
    script.write(folder)
    assert not (folder / "table.md").exists()


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_in_the_middle_it_goes_on_and_a_third_time_it_does_nothing(cli: Cli) -> None:
    out = cli.folder / "out"
    words = ["--task", "tiny", "--models", "tiny", "--methods", "order,easier,random", "--rungs", "1", "--budget", "10"]
    command = [
        sys.executable,
        str(SCRIPT),
        *words,
        "--out",
        str(out),
        "--inventory",
        str(cli.folder / "inventory.yaml"),
    ]

    first = subprocess.Popen(command, env=cli.env, cwd=cli.folder, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 300
    while not list(out.glob("tiny/main/*/*/run.json")) and time.monotonic() < until and first.poll() is None:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    (folder,) = store.folders(out / "tiny" / "main")
    assert store.load(folder).status != "done"

    again = subprocess.run(command, env=cli.env, cwd=cli.folder, capture_output=True, text=True, timeout=700)
    assert again.returncode == 0, again.stderr
    assert f"--resume {store.load(folder).run}" in again.stderr
    assert list(store.folders(out / "tiny" / "main")) == [folder] and store.load(folder).status == "done"
    table = (out / "tiny" / "table.md").read_text()
    assert all(f"| {method} | 1 |" in table for method in ("order", "easier", "random"))

    third = subprocess.run(command, env=cli.env, cwd=cli.folder, capture_output=True, text=True, timeout=300)
    assert third.returncode == 0 and "done before" in third.stderr and "harness run" not in third.stderr
    assert (out / "tiny" / "table.md").read_text() == table


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_alone_it_takes_the_run_that_it_has_started_with_it(cli: Cli) -> None:
    words = ["--task", "tiny", "--models", "tiny", "--methods", "order", "--rungs", "1", "--budget", "60"]
    where = ["--out", str(cli.folder / "out"), "--inventory", str(cli.folder / "inventory.yaml")]
    command = [sys.executable, str(SCRIPT), *words, *where]
    alone = subprocess.Popen(command, env=cli.env, cwd=cli.folder, stderr=subprocess.DEVNULL, start_new_session=True)
    until, started = time.monotonic() + 300, list[psutil.Process]()
    while not started and time.monotonic() < until and alone.poll() is None:
        started = [each for each in psutil.Process(alone.pid).children() if "harness" in each.cmdline()]
        time.sleep(0.05)
    os.kill(alone.pid, signal.SIGKILL)
    alone.wait()
    (run,) = started
    run.wait(timeout=10)
