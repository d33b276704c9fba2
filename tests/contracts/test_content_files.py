"""Every content file keeps its kind's contract; a new file is tested by existing."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
import sys
import time
from pathlib import Path

import pytest
import torch
from made_datasets import data_of
from ruamel.yaml import YAML

from harness import cache, content, inventory, sensing, wire
from harness.compress import models, state
from harness.errors import ContentError

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    "errors",
    "decode",
    "mailbox",
    "nvml",
    "sensing",
    "wire",
)  # of the controller's modules, those that travel; `wire` is a package
_SOURCES = ("devices/**/*.py", *(f"harness/{name}.py" for name in SHARED[:-1]), "harness/wire/*.py")
TRAVELS = sorted(file for pattern in _SOURCES for file in ROOT.glob(pattern))
RUNTIMES, MODELS, TASKS = content.names("runtime"), content.names("model"), content.names("task")
METHODS, PROFILES = content.names("method"), content.names("profile")
SENSORS = content.names("sensor")
ABSENT: dict[str, dict[str, object]] = {  # what must be said before it can be looked for: none of it is there
    "command": {"program": ["/no/such/program"], "unit": "W", "scope": "dc_input"},
    "controller_command": {"program": ["/no/such/program"], "unit": "W", "scope": "dc_input"},
    "shelly": {"host": "127.0.0.1:1"},
    "tasmota": {"host": "127.0.0.1:1"},
}


def top_imports(file: Path) -> set[str]:
    """The modules that a file imports when it is itself imported."""
    found: set[str] = set()
    for node in ast.walk(ast.Module([n for n in ast.parse(file.read_text()).body if not is_type_checking(n)], [])):
        if isinstance(node, ast.Import) and is_at_top(file, node):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and is_at_top(file, node):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def is_at_top(file: Path, wanted: ast.stmt) -> bool:
    """Whether a statement lies outside every function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if wanted.lineno in lines:
                return False
    return True


@pytest.mark.parametrize("file", TRAVELS, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_travels_parses_on_python_3_8_and_imports_the_standard_library_and_wire_alone(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 8))
    ours = (*(f"harness.{name}" for name in SHARED), "harness", "devices")
    for module in top_imports(file):
        root = module.split(".")[0]
        assert root in sys.stdlib_module_names or module.startswith(ours), f"{file.name} imports {module}"
        assert root != "harness" or module.startswith(ours[: len(SHARED)]), f"{file.name} imports {module}"


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_has_both_halves_and_says_how_it_is_selected(name: str) -> None:
    module = content.load("runtime", name)
    assert f"--runtime {name}" in (module.__doc__ or "")
    assert list(inspect.signature(module.export).parameters) == ["variant", "target", "precision", "options", "out"]
    assert list(inspect.signature(module.load).parameters) == ["path", "options"]
    assert not inspect.signature(module.versions).parameters
    assert "fp32" in content.constant("runtime", name, "PRECISIONS")
    for option, values in content.constant("runtime", name, "OPTIONS").items():
        assert option.isidentifier()
        assert all(isinstance(value, str) for value in values)
    assert all(isinstance(package, str) for package in content.constant("runtime", name, "CONVERTERS"))


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_has_windows_options_with_a_line_each_and_shows_the_yaml_that_selects_it(name: str) -> None:
    module = content.load("sensor", name)
    least, usual = content.constant("sensor", name, "WINDOW_S")
    assert (least, usual) == module.WINDOW_S and 1 <= least <= usual <= 3600
    options = content.constant("sensor", name, "OPTIONS")
    assert options == module.OPTIONS, "the inventory reads it without running the file"
    for option, line in options.items():
        assert option.isidentifier() and line.strip() and "\n" not in line, option
    shown = shown_yaml(module.__doc__ or "", name)
    assert shown and all(set(each or ()) <= set(options) for each in shown), "it shows options that it has"
    assert list(inspect.signature(module.probe).parameters) == ["options"]
    assert list(inspect.signature(module.open).parameters) == ["options"]
    assert content.constant("sensor", name, "WHERE", default="device") in ("device", "controller")
    assert 0 <= content.constant("sensor", name, "LEAD_S", default=0.5) <= 60
    assert set(content.constant("sensor", name, "REPLACES", default=())) <= set(SENSORS) - {name}


def shown_yaml(text: str, name: str) -> list[dict[str, object] | None]:
    """The options of a sensor in each line of its docstring's YAML that names it."""
    lines = [line.strip() for line in text.splitlines()]
    assert "sensors:" in lines, "its docstring shows the YAML"
    read = YAML(typ="safe", pure=True).load
    return [read(line)[name] for line in lines[lines.index("sensors:") :] if line.startswith(f"{name}:")]


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_that_is_not_there_says_so_in_words_within_seconds_and_gives_no_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    module, options = content.load("sensor", name), ABSENT.get(name, {})
    began = time.monotonic()
    status, reason = module.probe(options)
    assert time.monotonic() - began < 5
    assert status in set(wire.STATUSES) - {"ok"} and reason.isprintable() and len(reason) > 10, (status, reason)
    absent = (sensing.AbsentError, sensing.UnavailableError, OSError)
    with pytest.raises(absent), module.open(options):
        pytest.fail("it was opened")


@pytest.mark.parametrize("name", SENSORS)
def test_a_value_that_no_option_of_a_sensor_can_have_is_refused_with_the_option_s_name(name: str) -> None:
    module = content.load("sensor", name)
    for option in module.OPTIONS:
        wrong = {**ABSENT.get(name, {}), option: [[]]}
        with pytest.raises(ValueError, match=option), module.open(wrong):
            pytest.fail(f"{option} was not looked at")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_builds_for_its_task_and_never_imports_harness(name: str) -> None:
    file = content.find("model", name)
    assert not any(module.startswith("harness") for module in top_imports(file))
    module, task = content.load("model", name), content.load("task", content.constant("model", name, "TASK"))
    models.require_fit(name, task)
    controls = getattr(module, "controls", lambda classes, shape: {})
    with torch.device("meta" if hasattr(module, "TINY") else "cpu"):  # a large one is built without its numbers
        inputs = models.example(task, seed=0).to(torch.get_default_device())
        for network in (module.build(None, task.CLASSES, task.SHAPE), *controls(task.CLASSES, task.SHAPE).values()):
            assert network.eval()(inputs).shape == (len(inputs), task.CLASSES)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_seedable_and_its_weights_load_without_unpickling(name: str, tmp_path: Path) -> None:
    module, task = content.load("model", name), content.load("task", content.constant("model", name, "TASK"))
    networks, small = [], {"size": module.TINY} if hasattr(module, "TINY") else {}
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(module.build(None, task.CLASSES, task.SHAPE, **small))
    torch.save(networks[0].state_dict(), tmp_path / "weights.pt")
    networks.append(module.build(str(tmp_path / "weights.pt"), task.CLASSES, task.SHAPE, **small))
    first = networks[0].state_dict()
    for other in networks[1:]:
        assert all(torch.equal(value, first[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", TASKS)
def test_a_task_gives_three_splits_of_its_shape_and_classes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_of(content.load("task", name), name, tmp_path, monkeypatch)
    module = models.task(name, folder)
    data = module.load(folder)
    for split in (data.train, data.validation, data.test):
        images = state.inputs(split, torch.arange(len(split.labels)))
        assert images.dtype == models.example(module, seed=0).dtype
        assert images.shape[1:] == tuple(module.SHAPE)
        assert images.max() < getattr(module, "VOCABULARY", math.inf)
        assert split.labels.dtype == torch.int64 and len(split.labels) == len(images)
        assert set(split.labels.tolist()) == set(range(module.CLASSES))


OF_FILES = [name for name in TASKS if content.constant("task", name, "DATA", "") != ""]


@pytest.mark.parametrize("name", OF_FILES)
def test_a_task_that_reads_files_can_look_at_them_without_keeping_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_of(content.load("task", name), name, tmp_path, monkeypatch)
    models.task(name, folder).check(folder)
    assert not cache.root().exists()


@pytest.mark.parametrize("name", OF_FILES)
def test_a_task_that_reads_files_says_so_without_them_and_what_to_do(name: str, tmp_path: Path) -> None:
    assert f"--task {name} --data DIR" in (content.load("task", name).__doc__ or "")
    for folder in (None, str(tmp_path)):
        for do in ("check", "load"):
            with pytest.raises(ContentError) as caught, content.blaming(content.find("task", name)):
                getattr(models.task(name, folder), do)(folder)
            assert "--data DIR" in caught.value.message if folder is None else str(tmp_path) in caught.value.message
            assert caught.value.hint and "\n" not in caught.value.message


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_frozen_recipe_and_a_choice(name: str) -> None:
    module = content.load("method", name)
    assert dataclasses.is_dataclass(module.Recipe)
    with pytest.raises(dataclasses.FrozenInstanceError):
        module.Recipe().anything = 1
    assert re.search(rf"--method (\S+,)?{name}\b", module.__doc__ or "")
    assert list(inspect.signature(module.choose).parameters) == ["state", "recipe"]
    if hasattr(module, "check"):
        assert list(inspect.signature(module.check).parameters) in (["units", "recipe"], ["eligible", "recipe"])


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_passes_the_inventorys_door(name: str) -> None:
    assert inventory.profile(name).runtimes


@pytest.mark.parametrize("kind", ["profile", "runtime", "sensor", "model", "task", "method"])
def test_every_name_says_in_one_line_what_it_is(kind: content.Kind) -> None:
    for name in content.names(kind):
        assert content.summary(kind, name), f"{kind} {name}"
