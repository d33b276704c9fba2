"""The worked examples of CONTRIBUTING.md are real: each is written to a folder of one's own and used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import content

GUIDE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
BLOCK = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in BLOCK.findall(GUIDE.read_text()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return tmp_path


def test_there_is_a_worked_example_per_kind_of_addition(own: Path) -> None:
    kinds: tuple[content.Kind, ...] = ("profile", "runtime", "sensor", "model", "task", "method")
    assert all(any(content.find(kind, name).is_relative_to(own) for name in content.names(kind)) for kind in kinds)


def test_the_examples_model_task_method_runtime_and_device_do_the_main_job_together(own: Path) -> None:
    profile = own / "profiles" / "fanless-box.yaml"
    profile.write_text(
        profile.read_text().replace("x86_64", "any").replace("[onnxruntime", "[onnx_reference, onnxruntime")
    )
    inventory = own / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("~/.edge-harness-box", str(own / "box")))
    command = [
        sys.executable,
        "-m",
        "harness",
        "--content",
        str(own),
        "run",
        "--inventory",
        str(inventory),
        "--device",
        "box",
    ]
    command += ["--model", "plain", "--task", "stripes", "--method", "smallest_maps", "--budget", "20", "--json"]
    done = subprocess.run([*command, "--results", str(own / "results")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert {case["method"] for case in cases} == {"smallest_maps"}
    assert {case["runtime"] for case in cases} == {"onnx_reference"}
    assert len(cases) > 1 and all(case["status"] == "ok" for case in cases)
    assert cases[-1]["depth"] < cases[0]["depth"]


def test_the_examples_sensor_keeps_the_contract(own: Path) -> None:
    sensor = content.load("sensor", "battery")
    status, reason = sensor.probe()
    with sensor.open({}) as opened:
        readings = opened.read()
    assert all(reading["scope"] and reading["kind"] for reading in readings)
    assert all((reading["power_w"] is None) == (reading["status"] != "ok") for reading in readings)
    assert status == "ok" or reason
