"""`harness check --sensors`: a step of load on a real device, which is this machine, and what its sensors make of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

import pytest
from agent_jobs import CONTENT
from command import Cli

from harness import inventory, transport
from harness.check.steps import stepped


def with_sensors(folder: Path, *sensors: str) -> Path:
    listed = "".join(f"      {name}: {{}}\n" for name in sensors)
    file = folder / "inventory.yaml"
    file.write_text(f"devices:\n  here:\n    profile: host\n    workdir: {folder / 'there'}\n    sensors:\n{listed}")
    return file


@pytest.mark.slow
def test_a_step_of_load_tells_a_meter_that_answers_from_one_with_something_else_in_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    file = with_sensors(tmp_path, "own_work", "wrong_plug", "broken_meter")
    done = cli("check", "--device", "here", "--sensors", "--json", "--inventory", str(file))
    assert done.code == 0, done.err
    points = {point["what"]: point for point in done.json["points"]}
    answer = points["own_work total"]
    idle = re.match(r"(\d\.\d\d) W idle", answer["found"])
    assert idle and float(idle[1]) == pytest.approx(2, abs=0.2), "2 W, and what it works while it reads"
    assert answer["severity"] == "ok" and "returns to idle" in answer["found"]
    assert points["wrong_plug total"]["severity"] == "differs" and "plug" in points["wrong_plug total"]["advice"]
    assert points["sensor broken_meter"]["severity"] == "missing" and "broken_meter total" not in points


def test_a_step_of_load_waits_for_nobody_s_work_and_puts_none_on_a_busy_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    device = inventory.select(("here",), with_sensors(tmp_path, "own_work"))[0]
    (tmp_path / "there").mkdir()
    name = {"run": "somebody-s-run", "job": "their-job", "pid": os.getpid(), "agent": "agent-0.pyz", "since": 0}
    with (tmp_path / "there" / "lock").open("w") as held:  # as an agent holds it
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(json.dumps(name))
        held.flush()
        found = {"own_work": ("ok", "")}
        points = list(stepped(device, found, transport.connect(device), lambda _: None))
    assert [point.severity for point in points] == ["missing"] and "somebody-s-run" in points[0].found
