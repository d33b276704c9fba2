"""`harness runtimes`: what can be built and run here, on which devices, and what brings the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness import content, extras
from tests.command import Cli

_FILE = '''"""The runtime {name}."""
PRECISIONS = ("fp32",)
OPTIONS = {{}}
CONVERTERS = {converters}
PACKAGES = {packages}
{more}

def export(variant, target, precision, options, out): ...
def load(path, options): ...
def versions():
    {body}
'''
PACKAGES = """("no-such-package>=2; python_version >= '3.8'",)"""


@pytest.fixture(name="cli", scope="module")
def _cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A user with runtimes of their own, each of which cannot be used in its way."""
    folder = tmp_path_factory.mktemp("usable")
    _write(folder, "absent", "import no_such_package", converters='("no-such-package", "torch")')
    _write(folder, "board_only", "raise ImportError('no driver')", more='INSTALL = "It comes with the board."')
    _write(folder, "whole", "raise OSError('no card')", packages='("pytest>=1", "no-such; python_version < \'3\'")')
    driver = "class NoDriver(ImportError):\n        installed = True\n    raise NoDriver('no driver')"
    _write(folder, "driverless", driver, more='INSTALL = "It comes with the board."', packages="()")
    _write(folder, "deadly", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    return Cli(folder, folder / "cache")


def _write(
    folder: Path, name: str, body: str, converters: str = "()", more: str = "", packages: str = PACKAGES
) -> None:
    runtimes = folder / "own" / "runtimes"
    runtimes.mkdir(parents=True, exist_ok=True)
    (runtimes / f"{name}.py").write_text(
        _FILE.format(name=name, converters=converters, packages=packages, more=more, body=body)
    )


@pytest.fixture(name="found", scope="module")
def _found(cli: Cli) -> dict[str, Any]:
    done = cli("--content", "own", "runtimes", "--json")
    assert done.code == 0, done.err
    return {each["runtime"]: each for each in done.json}


def test_what_is_installed_builds_and_runs_here_and_the_devices_that_list_it_are_named(found: dict[str, Any]) -> None:
    known = found["onnxruntime"]
    assert known["builds"] and known["versions"]["onnxruntime"] == known["converters"]["onnxruntime"]
    assert known["devices"] == ["local"] and known["precisions"] == ["fp32", "fp16", "int8"]
    assert known["get"] == [] and known["trouble"] == ""


def test_what_is_missing_is_named_with_the_command_that_brings_it(found: dict[str, Any]) -> None:
    absent = found["absent"]
    assert not absent["builds"] and absent["converters"]["no-such-package"] is None
    assert "No module named 'no_such_package'" in absent["trouble"]
    assert absent["get"] == ["pip install no-such-package"]


def test_a_file_that_says_where_its_runtime_comes_from_is_quoted(found: dict[str, Any]) -> None:
    assert found["board_only"]["get"] == ["It comes with the board."]


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "trouble"), [("whole", "no card"), ("driverless", "no driver")])
def test_where_nothing_is_missing_no_command_is_advised_and_what_is_in_the_way_says_so(
    runtime: str, trouble: str, found: dict[str, Any], cli: Cli
) -> None:
    assert found[runtime]["get"] == [] and trouble in found[runtime]["trouble"]
    shown = cli("--content", "own", "runtimes").out
    assert re.search(rf"^{runtime}: cannot run here: .*{trouble}$", shown, re.MULTILINE)


def test_a_runtime_that_kills_its_process_when_imported_leaves_the_others_alone(found: dict[str, Any]) -> None:
    assert "kills the process" in found["deadly"]["trouble"] and "signal 4" in found["deadly"]["trouble"]
    assert found["empty"]["trouble"] == ""


@pytest.mark.slow
def test_the_table_shows_each_runtime_and_below_it_what_is_missing(cli: Cli) -> None:
    done = cli("--content", "own", "runtimes")
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if line.startswith("absent "))
    assert row.split() == ["absent", "fp32", "no", "no", "-"]
    assert "absent: not installed: no-such-package; cannot run here: ModuleNotFoundError" in done.out
    assert "\n  pip install no-such-package\n" in done.out


def test_every_extra_of_a_runtime_has_its_name() -> None:
    brought = {name: extras.extra(name) for name in content.names("runtime")}
    assert {"executorch", "iree", "litert", "ncnn", "openvino"} <= {name for name, extra in brought.items() if extra}
    assert brought["litert"] == "edge-harness[litert]" and brought["onnxruntime"] is None
