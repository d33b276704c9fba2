"""Whatever stands in an inventory: either devices whose words are plain, or an error that says where. Nothing else."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import inventory
from harness.errors import InventoryError
from harness.inventory.shape import DeviceFile
from harness.records import Device


def write(folder: Path, text: str) -> Path:
    file = folder / "inventory.yaml"
    file.write_text(text)
    return file


@given(st.text(max_size=200))
def test_no_text_whatever_gets_past_the_door_without_an_inventory_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inventory.yaml"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            inventory.read(file)
        except InventoryError as error:
            assert str(file) in error.message


def test_aliases_that_stand_for_a_billion_values_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InventoryError, match="holds more than"):
        inventory.read(write(tmp_path, "\n".join(lines)))


def test_a_file_that_is_no_inventory_by_its_size_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="larger than"):
        inventory.read(write(tmp_path, "#" * 2_000_000))


HOSTILE = [
    "; rm -rf ~", "$(reboot)", "`reboot`", "a\nb", "-oProxyCommand=reboot", "../../etc", "a\0b", "a b'c", 'a"b', "a|b",
    "a&b", "a>b", "a\x1b[2J", "a\u2028b", "\ud800", "", " ", "*", "~", "a\\b", "\u202eabc", "a#b", "{before}", "a\tb",
]  # fmt: skip
PLACES = ("host", "user", "jump", "known_hosts", "key", "workdir", "python", "system", "profile")


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_are_refused_wherever_they_stand(tmp_path: Path, key: str, word: str) -> None:
    entry = {"profile": "host", "host": "a", key: word}
    if key in ("key", "known_hosts") and word.startswith(("a", "$", "`")):
        entry[key] = "\x07" + word
    file = write(tmp_path, json.dumps({"devices": {"d": entry}}))
    with pytest.raises(InventoryError, match=r"inventory\.yaml:1: devices\.d\."):
        inventory.read(file)


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_names_of_devices_tags_sensors_and_runtimes_are_refused(tmp_path: Path, word: str) -> None:
    trees = [{word: {"profile": "host"}}]
    trees += [{"d": {"profile": "host", key: [word]}} for key in ("tags", "runtimes")]
    trees += [{"d": {"profile": "host", "sensors": {word: {}}}}]
    for tree in trees:
        with pytest.raises(InventoryError, match=r"inventory\.yaml:1: devices\."):
            inventory.read(write(tmp_path, json.dumps({"devices": tree})))


MEANT_ELSEWHERE = {
    "host": ["10.0.0.1:22", "pi@pi4", "[::1]", "-v", "a/b", "a,b"],
    "user": ["-l", "a@b", "a:b"],
    "jump": ["a,b", "-J", "a@", "@a", "a:b", "a:99999", "::1"],
    "workdir": ["/", "~", "a/b", "~root/x", "/a/..", "~/../x", "/a/../b", "/$HOME"],
    "python": ["-c", "bin/python", "/a/../python", "python3 -c"],
    "key": ["id_rsa", "~root/id"],
    "port": [70000, 1.0],
    "virtual": ["yes", 1],
}


@pytest.mark.parametrize(("key", "word"), [(key, word) for key, words in MEANT_ELSEWHERE.items() for word in words])
def test_words_that_mean_something_else_elsewhere_are_refused(tmp_path: Path, key: str, word: Any) -> None:
    file = write(tmp_path, json.dumps({"devices": {"d": {"profile": "host", "host": "a", key: word}}}))
    with pytest.raises(InventoryError, match=rf"inventory\.yaml:1: devices\.d\.{key}: "):
        inventory.read(file)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "10.0.0.1", "pi4", "my_pi.lab.example.org", "a-b"])
@pytest.mark.parametrize("jump", ["gw", "me@gw", "me@gw:22", "[::1]", "me@[fe80::1%eth0]:22", "10.0.0.1:2222"])
def test_what_ssh_takes_is_taken(tmp_path: Path, host: str, jump: str) -> None:
    file = write(tmp_path, json.dumps({"devices": {"d": {"profile": "host", "host": host, "jump": jump}}}))
    address = inventory.device("d", file).address
    assert address is not None and (address.host, address.jump) == (host, jump)


KEYS = [*DeviceFile.model_fields, "devices", "d", "<<", "=", "a.b"]
SCALARS = st.one_of(
    st.text(max_size=20), st.sampled_from(HOSTILE), st.integers(), st.floats(), st.booleans(), st.none(), st.sampled_from(KEYS),
    st.sampled_from(["host", "raspberry-pi-5", "empty", "pmic", "~/x", "/x", "a@b:1"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries({"profile": st.just("host") | TREES}, optional=dict.fromkeys(KEYS[1:15], TREES))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES | st.fixed_dictionaries({"devices": st.dictionaries(st.text(max_size=4), ENTRIES, max_size=2)}))
def test_whatever_tree_there_is_every_device_keeps_the_rules_or_the_error_says_where(tree: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder), json.dumps(tree))
        try:
            devices = inventory.read(file)
        except InventoryError as error:
            assert error.message.startswith(f"{file}:")
            assert all(letter.isprintable() for letter in error.message)
        else:
            for device in devices:
                require_plain(device)


def require_plain(device: Device) -> None:
    words = [device.name, device.python, *device.tags, *device.runtimes, *device.sensors, device.system or "a"]
    if device.address:
        address = device.address
        words += [address.host, *(word for word in (address.user, address.jump) if word)]
        assert address.port is None or 1 <= address.port <= 65535
    for word in words:
        assert re.fullmatch(r"[A-Za-z0-9_:/][A-Za-z0-9._:%@/+\[\]-]*", word)
    assert device.workdir.startswith(("/", "~/")) and ".." not in device.workdir.split("/")
