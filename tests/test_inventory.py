from __future__ import annotations

from pathlib import Path

import pytest

from harness import inventory
from harness.errors import InventoryError, UsageError
from harness.records import Address


def write(folder: Path, text: str) -> Path:
    file = folder / "inventory.yaml"
    file.write_text(text)
    return file


def test_the_shipped_inventory_holds_this_machine_and_four_to_fill_in(repository: Path) -> None:
    devices = inventory.read(repository / "inventory.yaml")
    assert [device.name for device in devices] == ["local", "jetson", "pi4", "pi5", "desktop"]
    assert [device.address.host for device in devices[1:] if device.address] == [
        f"{name}.local" for name in ("jetson", "pi4", "pi5", "desktop")
    ]
    assert devices[0].address is None and devices[0].profile.runtimes[0] == "onnxruntime"


FULL = """\
devices:
  local:
    profile: host
  board:
    profile: raspberry-pi-5
    host: fe80::1%eth0
    port: 2222
    user: pi
    key: {key}
    jump: me@gateway.example.org:22
    known_hosts: ~/hosts
    patience_s: 7
    workdir: /data/my harness
    python: /usr/bin/python3.11
    system: raspberry-pi-os-trixie
    runtimes: [torch, empty]
    sensors:
      pmic: {{period_s: 0.2}}
    tags: [lab, arm]
    virtual: true
"""


def test_every_key_reaches_the_device(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    file = write(tmp_path, FULL.format(key=key))
    board = inventory.device("board", file)
    assert board.address == Address(
        host="fe80::1%eth0",
        port=2222,
        user="pi",
        key=str(key),
        jump="me@gateway.example.org:22",
        known_hosts=str(Path("~/hosts").expanduser()),
        patience_s=7.0,
        declared=f"{file}:6",
    )
    assert (board.workdir, board.python, board.system) == (
        "/data/my harness",
        "/usr/bin/python3.11",
        "raspberry-pi-os-trixie",
    )
    assert board.runtimes == ("torch", "empty") and board.profile.runtimes[0] == "onnxruntime"
    assert board.sensors == {"pmic": {"period_s": 0.2}} and board.tags == ("lab", "arm") and board.virtual


def test_what_the_inventory_does_not_say_is_the_profiles(tmp_path: Path) -> None:
    board = inventory.device("b", write(tmp_path, "devices: {b: {profile: jetson-orin-nano, host: b}}"))
    assert board.runtimes == board.profile.runtimes and board.sensors == board.profile.sensors
    assert board.address is not None and board.address.patience_s == Address("b").patience_s


def test_options_of_a_sensor_are_laid_over_the_profiles_and_no_options_keep_them(tmp_path: Path) -> None:
    text = "devices: {b: {profile: jetson-orin-nano, sensors: {ina3221: {rails: all}, tegrastats: }}}"
    board = inventory.device("b", write(tmp_path, text))
    assert board.sensors == {"ina3221": {"total": ["VDD_IN"], "rails": "all"}, "tegrastats": {"total": ["VDD_IN"]}}


def test_a_key_file_that_is_not_there_is_an_error_of_the_device_that_is_used(tmp_path: Path) -> None:
    file = write(tmp_path, FULL.format(key="/no/such/key"))
    assert len(inventory.read(file)) == 2
    assert inventory.device("local", file).name == "local"
    for use in (lambda: inventory.device("board", file), lambda: inventory.select(["tag:lab"], file)):
        with pytest.raises(
            InventoryError, match=r"inventory\.yaml:9: devices\.board\.key: must be a file that is there"
        ):
            use()


FLEET = """\
devices:
  a: {profile: host, tags: [lab, arm]}
  b: {profile: host, tags: [arm]}
  c: {profile: host}
"""


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["c", "a"], ["c", "a"]),
        (["tag:arm"], ["a", "b"]),
        (["b", "tag:arm", "a", "tag:lab"], ["b", "a"]),
        (["c", "tag:lab"], ["c", "a"]),
        ([], []),
    ],
)
def test_devices_are_chosen_by_name_and_tag_each_once_in_the_order_of_the_words(
    tmp_path: Path, words: list[str], names: list[str]
) -> None:
    assert [each.name for each in inventory.select(words, write(tmp_path, FLEET))] == names


def test_a_name_or_tag_that_nobody_has_is_answered_with_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path, FLEET)
    with pytest.raises(UsageError, match='no device "d"'):
        inventory.select(["a", "d"], file)
    with pytest.raises(UsageError, match=r'no device carries the tag "lap"\. Did you mean "lab"'):
        inventory.select(["tag:lap"], file)
    with pytest.raises(UsageError, match='no device carries the tag ""'):
        inventory.select(["tag:"], file)


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
        ("devices:\n  4:\n    profile: host\n", ":2: devices.4: a key must be text; it is 4", "Put it between quotes."),
        ("devices:\n  pi: &a [*a]\n", ":2: devices.pi", ""),
        ("devices:\n  pi: *a\n", "not valid YAML: found undefined alias", ""),
        ('devices:\n  "a\\e[2J": {profile: host}\n', ":2: devices.'a\\x1b[2J': a device's name is letters", ""),
        ('devices:\n  a: {profile: "\\0"}\n', ":2: devices.a.profile: text must hold neither NUL", ""),
        ("devices:\n  pi:\n    profile: raspberry-pi-5\n    sensors:\n      pmic: {rail: [a]}\n",
         ':5: devices.pi.sensors.pmic.rail: no option of sensor pmic "rail"', 'Did you mean "rails"?'),
        ("devices:\n  pi:\n    profile: host\n    sensors:\n      rapl: \n      ina322: {}\n",
         ':6: devices.pi.sensors.ina322: no sensor "ina322"', 'Did you mean "ina3221"?'),
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


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("port: '22'", "port: input should be a valid integer; it is '22'", ""),
        ("port: true", "port: input should be a valid integer; it is True", ""),
        ("port: 0", "port: input should be greater than or equal to 1; it is 0", ""),
        ("patience_s: .inf", "patience_s: input should be a finite number", ""),
        ("user:", "user: has no value", ""),
        ("usr: pi", 'usr: no key "usr"', 'Did you mean "user"?'),
        ("system: trixie", 'system: no system of profile raspberry-pi-5 "trixie"', 'Did you mean "raspberry-pi-os-trixie"?'),
        ("runtimes: [onnxruntim]", 'runtimes.0: no runtime "onnxruntim"', 'Did you mean "onnxruntime"?'),
        ("runtimes: []", "runtimes: list should have at least 1 item", ""),
        ("tags: [a, a]", 'tags: "a" stands there twice', ""),
        ("sensors: {pmik: }", 'sensors.pmik: no sensor "pmik"', 'Did you mean "pmic"?'),
        ("sensors: {pmic: {a: .nan}}", 'sensors.pmic: option "a" must be', ""),
        ("sensors: {pmic: {a: {b: 1}}}", 'sensors.pmic: option "a" must be', ""),
    ],
)  # fmt: skip
def test_a_key_of_a_device_that_breaks_its_rule_is_told_with_its_line(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    file = write(tmp_path, f"devices:\n  pi:\n    profile: raspberry-pi-5\n    host: pi\n    {line}\n")
    with pytest.raises(InventoryError) as caught:
        inventory.read(file)
    assert f"{file}:5: devices.pi.{message}" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("line", ["port: 22", "user: pi", "key: /k", "jump: gw", "known_hosts: /k", "patience_s: 1"])
def test_what_belongs_to_a_host_is_a_mistake_without_one(tmp_path: Path, line: str) -> None:
    file = write(tmp_path, f"devices:\n  pi:\n    profile: host\n    {line}\n")
    with pytest.raises(InventoryError, match=r"inventory\.yaml:4: devices\.pi\.\w+: goes with `host`"):
        inventory.read(file)


def test_a_host_without_a_value_is_not_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"inventory\.yaml:4: devices\.pi\.host: has no value"):
        inventory.read(write(tmp_path, "devices:\n  pi:\n    profile: host\n    host:\n"))


def test_an_unknown_device_is_answered_with_the_nearest_one(repository: Path) -> None:
    with pytest.raises(UsageError, match='no device "locl"; did you mean "local"\\? Known: local'):
        inventory.device("locl", repository / "inventory.yaml")


def test_a_missing_inventory_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no such inventory"):
        inventory.locate(tmp_path / "none.yaml")


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


def test_a_profile_s_sensor_with_a_file_has_the_options_of_that_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "description: x\narch: any\nruntimes: [empty]\nsensors:\n  later: {anything: 1}\n"
    profile_with(tmp_path, head + "  ina3221: {totl: [VDD_IN]}\n", monkeypatch)
    with pytest.raises(InventoryError, match=r'board.yaml:6: sensors.ina3221.totl: no option of sensor ina3221 "totl"'):
        inventory.profile("board")
    (tmp_path / "profiles" / "board.yaml").write_text(head)
    assert inventory.profile("board").sensors == {"later": {"anything": 1}}
