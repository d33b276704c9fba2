"""The JSON Schemas that editors read: current, complete, and of one mind with the door that checks the files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness import content
from harness.inventory import editors

FILES = ["inventory.yaml", *(f"devices/profiles/{name}.yaml" for name in content.names("profile"))]


def validator(which: editors.Which) -> Draft202012Validator:
    tree = json.loads(editors.place(which).read_text())
    Draft202012Validator.check_schema(tree)
    return Draft202012Validator(tree)


def named_by(file: Path) -> Path:
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())
    assert found, "its first line names its schema"
    return file.parent / found[1]


@pytest.mark.parametrize("which", editors.WHICH)
def test_the_schema_in_the_package_is_current(which: editors.Which) -> None:
    assert editors.place(which).read_text() == editors.schema(which), "run: .venv/bin/python scripts/docs.py"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ships_names_its_schema_and_fits_it(name: str, repository: Path) -> None:
    which: editors.Which = "inventory" if name == "inventory.yaml" else "profile"
    file = repository / name
    assert named_by(file).resolve() == editors.place(which)
    validator(which).validate(YAML(typ="safe", pure=True).load(file.read_text()))


@pytest.mark.parametrize("which", editors.WHICH)
def test_every_key_has_a_description(which: editors.Which) -> None:
    tree = json.loads(editors.schema(which))
    for model in (tree, *tree["$defs"].values()):
        for key, entry in model.get("properties", {}).items():
            assert entry.get("description"), key


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"profile": "host", "hots": "a"},
        {"profile": "host", "host": "-oProxyCommand=x"},
        {"profile": "host", "host": None},
        {"profile": "host", "port": "22"},
        {"profile": "host", "workdir": "/a/../b"},
        {"profile": "host", "runtimes": []},
        {"profile": "host", "tags": ["a b"]},
        {"profile": "host", "jump": "a,b"},
    ],
)
def test_an_editor_marks_what_the_door_refuses(entry: dict[str, Any]) -> None:
    assert not validator("inventory").is_valid({"devices": {"d": entry}})


def test_an_editor_takes_a_sensor_without_options() -> None:
    entry = {"profile": "raspberry-pi-5", "sensors": {"pmic": None, "rapl": {"a": 1}}}
    assert validator("inventory").is_valid({"devices": {"d": entry}})


@pytest.mark.parametrize(("command", "which"), [("devices", "inventory"), ("profiles", "profile")])
def test_the_command_prints_the_schema(command: str, which: editors.Which, cli: Any) -> None:
    assert cli(command, "--schema").out == editors.schema(which)


def test_the_page_shows_every_key_and_its_examples_pass_the_door(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "inventory.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (nightly,) = [text for text in blocks if text.startswith("nightly:")]
    inventories = [text for text in blocks if "devices:" in text and text != nightly]
    (profile,) = [text for text in blocks if text.startswith("description:")]
    load = YAML(typ="safe", pure=True).load
    for text in inventories:
        validator("inventory").validate(load(text))
    validator("profile").validate(load(profile))
    keys = {key for text in inventories for entry in load(text)["devices"].values() for key in entry}
    assert keys == set(json.loads(editors.schema("inventory"))["$defs"]["DeviceFile"]["properties"])
    validator("inventory").validate({"devices": {}, **load(nightly)})
    matrix, defined = load(nightly)["nightly"], json.loads(editors.schema("inventory"))["$defs"]
    assert set(matrix) == set(defined["NightlyFile"]["properties"])
    assert set(matrix["matrix"][0]) == set(defined["BlockFile"]["properties"])
    assert set(load(profile)) == set(json.loads(editors.schema("profile"))["properties"])
