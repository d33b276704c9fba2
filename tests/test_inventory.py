from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import inventory
from harness.errors import InventoryError, UsageError


def write(folder: Path, text: str) -> Path:
    file = folder / "inventory.yaml"
    file.write_text(text)
    return file


def test_the_shipped_inventory_holds_local_alone(repository: Path) -> None:
    devices = inventory.read(repository / "inventory.yaml")
    assert [device.name for device in devices] == ["local"]
    assert devices[0].profile.runtimes[0] == "onnxruntime"


def test_an_inventory_in_the_current_folder_is_preferred_to_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert inventory.locate(None).parent != Path()
    write(tmp_path, "devices: {}\n")
    assert inventory.locate(None) == Path("inventory.yaml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("devices:\n  pi:\n    profil: host\n", ':3: devices.pi.profil: no key "profil"', 'Did you mean "profile"?'),
        ("devices:\n  pi:\n    profile: hots\n", ':3: devices.pi.profile: no profile "hots"', 'Did you mean "host"?'),
        ("devices:\n  pi:\n    profile: host\n    tags: x\n", ":4: devices.pi.tags: input should be a valid list; it is 'x'", ""),
        ("devices:\n  pi:\n    profile: host\n  pi:\n    profile: host\n", ":4: not valid YAML: found duplicate key", ""),
        ("devices:\n  pi: {}\n", ":2: devices.pi.profile: field required", ""),
        ("devices:\n  '../x':\n    profile: host\n", ":2: devices.../x: a device's name is letters", ""),
        ("device:\n  pi: {}\n", ':1: device: no key "device"', 'Did you mean "devices"?'),
        ("devices: [\n", "not valid YAML", "Mend that line"),
        ("- a\n", ":1: must be a mapping", "devices:"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_key_rule_value_and_the_nearest_known_key(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InventoryError) as caught:
        inventory.read(file)
    assert caught.value.exit_code == 2
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_device_is_answered_with_the_nearest_one(repository: Path) -> None:
    with pytest.raises(UsageError, match='no device "locl"; did you mean "local"\\? Known: local'):
        inventory.device("locl", repository / "inventory.yaml")


def test_a_missing_inventory_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no such inventory"):
        inventory.locate(tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_no_text_whatever_gets_past_the_door_without_an_inventory_error(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inventory.yaml"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            inventory.read(file)
        except InventoryError as error:
            assert str(file) in error.message


PROFILE = """\
description: a board
arch: any
runtimes: [empty]
tune:
  fan:
    - file: {file}
      value: "255"
"""


def profile_with(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles" / "board.yaml").write_text(text)
    monkeypatch.setenv("HARNESS_CONTENT", str(folder))


def test_a_profile_says_what_tune_brings_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile_with(tmp_path, PROFILE.format(file="/sys/class/hwmon/hwmon*/pwm1"), monkeypatch)
    (setting,) = inventory.profile("board").tune["fan"]
    assert (setting.name, setting.value, setting.file) == ("fan", "255", "/sys/class/hwmon/hwmon*/pwm1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROFILE.format(file="pwm1"), "board.yaml:6: tune.fan.0: a setting needs a file, or apply, query and restore"),
        (PROFILE.replace("value:", "valeu:"), 'board.yaml:7: tune.fan.0.valeu: no key "valeu"'),
        (
            PROFILE.format(file="/sys/x") + "cooldown_s: -1\n",
            "board.yaml:8: cooldown_s: input should be greater than or equal to 0",
        ),
    ],
)
def test_a_setting_that_breaks_a_rule_is_told_with_its_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_with(tmp_path, text, monkeypatch)
    with pytest.raises(InventoryError) as caught:
        inventory.profile("board")
    assert message in str(caught.value.message)
