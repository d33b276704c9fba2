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


@pytest.mark.slow
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
    command += ["--model", "plain", "--task", "stripes", "--method", "smallest-maps", "--recipe", "images=16"]
    command += ["--budget", "20", "--json"]
    done = subprocess.run([*command, "--results", str(own / "results")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert {(case["method"], case["ladder"]) for case in cases} == {("smallest-maps", "smallest-maps-images16")}
    assert {case["runtime"] for case in cases} == {"onnx_reference"}
    assert len(cases) > 1 and all(case["status"] == "ok" for case in cases)
    assert cases[-1]["depth"] < cases[0]["depth"]


def test_the_examples_sensor_tells_watts_and_why_it_cannot(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path / "root"))
    sensor = content.load("sensor", "battery")
    assert sensor.probe({})[0] == "unsupported" and "no such battery" in sensor.probe({})[1]
    file = tmp_path / "root/sys/class/power_supply/BAT1/power_now"
    file.parent.mkdir(parents=True)
    file.write_text("12500000\n")
    assert sensor.probe({"name": "BAT1"}) == ("ok", "battery: 12.5 W")
    with sensor.open({"name": "BAT1"}) as session:
        assert session.channels[0].unit == "W" and session.read()[0].value == 12.5
        file.write_text("plugged in\n")
        taken = session.read()[0]
        assert taken.value is None and taken.status == "error" and "plugged in" in taken.reason


def test_all_that_a_method_must_or_may_define_is_listed() -> None:
    section = GUIDE.read_text().split("### A method:")[1].split("### ")[0]
    listed = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    assert listed == content._REQUIRED["method"].keys() | content._OPTIONAL["method"].keys()
