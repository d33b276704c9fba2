"""A run's plan carried out again: refused where something is not at hand, and compared where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command import Cli

from harness import inventory, store
from harness.errors import UsageError
from harness.plan.again import again, differences
from harness.records import Device, GivenNetwork, Plan

EXAMPLE = Path(__file__).resolve().parent.parent / "results" / "examples" / "local" / "20261121T063146Z-b45a"


@pytest.fixture
def plan() -> Plan:
    return store.load(EXAMPLE).plan


@pytest.fixture
def device(tmp_path: Path) -> Device:
    file = tmp_path / "inventory.yaml"
    file.write_text("devices:\n  desk:\n    profile: host\n")
    return inventory.device("desk", file)


def test_the_plan_of_a_run_is_asked_again_as_it_was_on_the_device_that_is_named(plan: Plan, device: Device) -> None:
    assert again(plan, device) == replace(plan, device="desk")


def test_what_is_not_at_hand_is_a_clear_word(plan: Plan, device: Device, tmp_path: Path) -> None:
    (ladder,) = plan.ladders
    network = GivenNetwork("net", str(tmp_path / "net.onnx"), "0" * 64, {})
    cases = [
        (replace(plan, ladders=(replace(ladder, model="resnet81"),)), r'"resnet81".*did you mean "resnet18"'),
        (replace(plan, ladders=(replace(ladder, task="digit"),)), 'did you mean "digits"'),
        (replace(plan, ladders=(replace(ladder, method="easiest"),)), 'did you mean "easier"'),
        (
            replace(plan, ladders=(replace(ladder, data=f"{tmp_path}/gone"),)),
            "read the files of task digits from .*gone, which is not",
        ),
        (replace(plan, ladders=(), given=(network,)), r"the run measured .*net\.onnx, which is not here"),
        (replace(plan, runtimes=("tensorrt",)), 'runtime on device "desk"'),
        (replace(plan, precisions=("int3",)), "int3"),
        (replace(plan, options={"optimisation": "all"}), "optimisation"),
        (replace(plan, tune=("governor-nowhere",)), 'setting of device "desk"'),
        (replace(plan, power_mode="15W"), 'power mode of device "desk"'),
    ]
    for asked, said in cases:
        with pytest.raises(UsageError, match=said):
            again(asked, device)
    with pytest.raises(UsageError, match="read no folder"):
        again(plan, device, tmp_path)


def test_data_that_lies_elsewhere_is_named(plan: Plan, device: Device, tmp_path: Path) -> None:
    asked = replace(plan, ladders=tuple(replace(each, data="/gone") for each in plan.ladders))
    assert [each.data for each in again(asked, device, tmp_path).ladders] == [str(tmp_path)]


def test_what_differs_is_told_by_name_and_what_is_equal_is_not() -> None:
    then = {"commit": "a", "python": "3.11", "packages": {"torch": "2.1", "numpy": "2"}}
    now = {"commit": None, "python": "3.11", "packages": {"torch": "2.2", "numpy": "2", "onnx": "1"}}
    assert differences(then, now) == {"commit": ("a", "None"), "torch": ("2.1", "2.2"), "onnx": ("unknown", "1")}
    assert differences(then, then) == {}


@pytest.mark.slow
def test_a_run_is_archived_imported_elsewhere_run_again_there_and_compared(cli: Cli) -> None:
    words = [
        "--model",
        "tiny",
        "--method",
        "order",
        "--rungs",
        "1",
        "--no-controls",
        "--runtime",
        "empty",
        "--budget",
        "5",
    ]
    assert cli("run", "--device", "local", *words).code == 0
    (made,) = cli.runs
    done = cli("archive", made.name, "--json")
    assert done.code == 0, done.err
    assert done.json["archive"] == f"{made.name}.zip"
    assert cli("import", f"{made.name}.zip", "--results", "other").out.strip() == f"other/local/{made.name}"
    done = cli("reproduce", made.name, "--results", "other", "--json")
    assert done.code in (0, 3), done.err
    assert set(done.json) == {"run", "differs", "comparison"}
    assert set(done.json["differs"]) <= {"commit"}  # who works on the program meanwhile makes it another
    new = done.json["run"]["run"]
    old, again_ = (store.load(cli.folder / "other" / "local" / name) for name in (made.name, new))
    assert (again_.plan, again_.command[0]) == (old.plan, "reproduce")
    assert [case.variant for case in again_.cases] == [case.variant for case in old.cases]
