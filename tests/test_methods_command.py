"""`harness methods`: every method with its settings; one that cannot be used says why and hides none of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import content
from harness.cli import app


def listed(*words: str) -> str:
    done = CliRunner().invoke(app, ["methods", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_method_is_listed_with_what_its_settings_take() -> None:
    told = {each["method"]: each for each in json.loads(listed("--json"))}
    assert tuple(told) == content.names("method")
    assert all(each["usable"] and each["summary"] for each in told.values())
    assert told["easier"]["settings"] == {"entropy": {"default": "channel", "takes": "channel|position"}}
    assert (told["easier"]["trains"], told["order"]["trains"]) == (True, False)
    lines = listed().splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(content.names("method"))
    assert any("--recipe entropy=channel|position" in line and '"channel"' in line for line in lines)


def test_tasks_are_listed_with_the_files_that_they_need() -> None:
    lines = CliRunner().invoke(app, ["tasks"]).stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(content.names("task"))
    place = next(n for n, line in enumerate(lines) if line.startswith("cifar10 "))
    assert lines[place + 1].strip().startswith("needs --data DIR: https://www.cs.toronto.edu/")
    told = {each["task"]: each["data"] for each in json.loads(CliRunner().invoke(app, ["tasks", "--json"]).stdout)}
    assert told["digits"] is None and told["folder"] == "your own: a folder of images per class"


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("TRAINS = True", "a method must define Recipe, a dataclass"),
        ("def broken(:", "not valid Python"),
    ],
)
def test_a_file_that_breaks_its_contract_hides_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, trouble: str
) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "broken.py").write_text(text)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    told = {each["method"]: each for each in json.loads(listed("--json"))}
    assert trouble in told["broken"]["trouble"] and not told["broken"]["usable"]
    assert told["easier"]["usable"]
    assert "broken" in listed() and "cannot be used" in listed()
