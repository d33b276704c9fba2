"""What docs/nightly.md shows is real: systemd, YAML and pytest read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import example_run
import pytest
from command import Cli
from ruamel.yaml import YAML

from harness import store
from harness.records import Tail

pytest_plugins = ("pytester",)
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
UNITS = ("harness-nightly.service", "harness-nightly.timer")
BLOCK = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = dict(BLOCK.findall((DOCS / "nightly.md").read_text()))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (package systemd)")
def test_systemd_finds_no_fault_with_service_and_timer(tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "harness"
    program.parent.mkdir(parents=True)
    program.symlink_to(shutil.which("true") or "/bin/true")
    for name in UNITS:
        text = (DOCS / "nightly" / name).read_text()
        (tmp_path / name).write_text(text.replace("/srv/bench", str(tmp_path)))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "harness-nightly" in line]
    assert done.returncode == 0 and not said, done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (package systemd)")
def test_the_timer_elapses_every_night() -> None:
    when = re.findall(r"^OnCalendar=(.*)$", (DOCS / "nightly" / UNITS[1]).read_text(), re.MULTILINE)
    done = subprocess.run(["systemd-analyze", "calendar", *when], capture_output=True, text=True, check=False)
    assert len(when) == 1 and done.returncode == 0 and "Next elapse" in done.stdout


def test_the_workflow_asks_for_a_runner_of_ones_own_one_at_a_time_and_for_no_permission() -> None:
    workflow = YAML(typ="safe").load((DOCS / "nightly" / "github.yaml").read_text())
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert workflow["permissions"] == {} and workflow["concurrency"]["cancel-in-progress"] is False
    assert set(workflow["on"]) == {"schedule", "workflow_dispatch"}  # never pull_request: the runner is one's own
    (job,) = workflow["jobs"].values()
    assert job["runs-on"][0] == "self-hosted" and job["timeout-minutes"] <= 24 * 60
    assert all("run" in step and "uses" not in step for step in job["steps"])
    assert all(
        "${{" not in step["run"] for step in job["steps"]
    )  # secrets go by the environment, not into a command line


def test_the_cron_line_has_five_fields_and_a_command() -> None:
    lines = (DOCS / "nightly" / "crontab").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
    assert fields[5].startswith("cd /srv/bench && ") and "%" not in fields[5]  # cron makes a line's end of it


def test_every_flag_that_is_shown_is_one_of_nightly() -> None:
    from typer.main import get_command

    from harness.cli import app

    nightly = get_command(app).commands.get("nightly")  # type: ignore[attr-defined]
    if nightly is None:
        pytest.skip("harness nightly is not there yet")
    known = {flag for parameter in nightly.params for flag in parameter.opts}
    for name in (UNITS[0], "github.yaml", "crontab"):
        for words in re.findall(r"harness nightly(.*)", (DOCS / "nightly" / name).read_text()):
            assert set(re.findall(r"--[a-z-]+", words)) <= known, name


def run_pytest(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "harness.pytest_plugin", "-p", "no:anyio", *words)


@pytest.mark.slow
def test_the_examples_on_stored_runs_pass(pytester: pytest.Pytester) -> None:
    made, tails = example_run.run(), {"p99": Tail(41e6, 38e6, 55e6, 56e6)}
    cases = [replace(each, latency_ns=replace(each.latency_ns, tails=tails)) for each in made.cases if each.latency_ns]
    store.create(pytester.path / "results", replace(made, cases=tuple(cases)))
    pytester.makepyfile(test_stored=EXAMPLES["test_stored.py"])
    run_pytest(pytester).assert_outcomes(passed=2)


@pytest.mark.slow
def test_the_example_on_a_fresh_run_passes(
    pytester: pytest.Pytester, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pytester.path / "inventory.yaml").write_text((cli.folder / "inventory.yaml").read_text())
    monkeypatch.setenv("XDG_CACHE_HOME", str(cli.cache))
    pytester.makepyfile(test_fresh=EXAMPLES["test_fresh.py"])
    run_pytest(pytester).assert_outcomes(passed=1)


@pytest.mark.slow
def test_what_does_not_hold_fails_with_the_numbers_and_words_that_name_nothing_with_what_does(
    pytester: pytest.Pytester,
) -> None:
    store.create(pytester.path / "results", example_run.run())
    pytester.makepyfile(
        """
        def test_slow(assert_latency):
            assert_latency("20261120", rung=3, below_ms=1)

        def test_unclear(assert_speedup):
            assert_speedup("rung = 1", at_least=1.14)

        def test_word(assert_latency):
            assert_latency("20261120", rong=3, below_ms=1)

        def test_no_run(assert_latency):
            assert_latency("1999", below_ms=1)

        def test_reference(assert_speedup):
            assert_speedup("20261120", rung=0, at_least=1)

        def test_fresh(harness_run):
            harness_run("--device", "nowhere")
        """
    )
    result = run_pytest(pytester)
    result.assert_outcomes(failed=6)
    result.stdout.fnmatch_lines_random(
        [
            "*median 2.* ms * is not below 1 ms",
            "*unclear: speed-up 1.142 * is not wholly at least 1.14; *",
            '*no property of a case "rong"*',
            '*no run "1999"*',
            "*rung 0 alone is picked*",
            "*harness run --device nowhere: exit code 2*",
        ]
    )
    assert "pytest_plugin.py" not in result.stdout.str() and "Traceback" not in result.stdout.str()


def test_the_plugin_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport harness.pytest_plugin\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules.keys() - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"harness"}


def test_pytest_finds_the_plugin_under_the_name_of_its_module() -> None:
    import tomllib

    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"harness.pytest_plugin": "harness.pytest_plugin"}
