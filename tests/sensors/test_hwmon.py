"""Power chips in the supply's cable, as the kernel's hwmon tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trees_of_sensors as trees

from harness import content

INA226 = {
    "name": "ina226",
    "in0_input": 10,  # over the shunt: no bus voltage
    "in1_input": 5100,
    "curr1_input": 1000,
    "power1_input": 5_100_000,
    "shunt_resistor": 10000,
    "update_interval": 35,
}


@pytest.fixture
def sensor() -> Any:
    return content.load("sensor", "hwmon")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    return tmp_path


def test_an_ina226_gives_its_power_at_the_dc_input(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, INA226)
    with sensor.open({}) as session:
        (channel,), (taken,) = session.channels, session.read()
    assert (channel.name, channel.scope, channel.total) == ("ina226 1-0040", "dc_input", True)
    assert (channel.update_s, channel.resolution) == (0.035, 0.025)
    assert (taken.value, taken.status) == (pytest.approx(5.1), "ok")
    assert sensor.probe({}) == ("ok", "dc_input: ina226 at 1-0040 (shunt 10000 uOhm)")


def test_a_small_shunt_has_larger_steps(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, {**INA226, "shunt_resistor": 1000})
    with sensor.open({}) as session:
        assert session.channels[0].resolution == pytest.approx(25 * 2.5e-6 / 1e-3)  # 25 steps of current, 2.5 uV each


def test_the_scope_is_what_the_owner_says(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, INA226)
    with sensor.open({"scope": "module"}) as session:
        assert session.channels[0].scope == "module"
    assert sensor.probe({"scope": "rail"})[0] == "error"


def test_a_chip_without_power_file_gives_voltage_times_current_never_that_over_the_shunt(
    sensor: Any, root: Path
) -> None:
    trees.hwmon(root, "1-0040", 2, {k: v for k, v in INA226.items() if k != "power1_input"})
    with sensor.open({}) as session:
        assert session.read()[0].value == pytest.approx(5.1)


def test_of_several_chips_one_is_named_by_its_address(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, INA226)
    trees.hwmon(root, "1-0041", 0, {**INA226, "name": "ina219", "power1_input": 7_000_000, "in1_input": 7000})
    status, reason = sensor.probe({})
    assert status == "unsupported"
    assert reason == "several chips fit (ina226 at 1-0040, ina219 at 1-0041): say which, `address: 1-0040`"
    for options in ({"address": "1-0041"}, {"chip": "ina219"}):
        with sensor.open(options) as session:
            assert session.read()[0].value == pytest.approx(7.0)


def test_no_chip_is_unsupported_with_what_is_there(sensor: Any, root: Path) -> None:
    trees.usb_c(root)
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)  # another sensor's
    assert sensor.probe({})[1] == "no power chip among the chips of /sys/class/hwmon; there are: none"
    trees.hwmon(root, "1-0045", 2, INA226)
    status, reason = sensor.probe({"address": "1-0044"})
    assert (status, reason.split("; ")[1]) == ("unsupported", "there are: ina226 at 1-0045")


def test_an_unknown_chip_is_refused_by_name(sensor: Any, root: Path) -> None:
    status, reason = sensor.probe({"chip": "bmp280"})
    assert status == "error" and "option chip must be one of" in reason


def test_power_in_another_unit_is_refused(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, {**INA226, "power1_input": 5100})
    status, reason = sensor.probe({})
    assert status == "error" and "not the unit that it should be" in reason


def test_a_shunt_that_is_not_the_one_on_the_board_is_refused_with_the_command(sensor: Any, root: Path) -> None:
    trees.hwmon(root, "1-0040", 2, INA226)
    assert sensor.probe({"shunt_uohm": 10000})[0] == "ok"
    assert sensor.probe({"shunt_uohm": 10040})[0] == "ok"
    status, reason = sensor.probe({"shunt_uohm": 100_000})
    assert status == "error" and "for 10000 uOhm, not 100000: `echo 100000 | sudo tee " in reason
    (root / "sys/class/hwmon/hwmon2/shunt_resistor").unlink()
    assert "does not tell the shunt" in sensor.probe({"shunt_uohm": 10000})[1]


@pytest.mark.parametrize(
    ("value", "said"), [("0", "draws more than nothing"), ("", "no whole number"), ("5.1 W", "no whole number")]
)
def test_what_is_no_power_is_a_gap(sensor: Any, root: Path, value: str, said: str) -> None:
    chip = trees.hwmon(root, "1-0040", 2, INA226)
    with sensor.open({}) as session:
        assert session.read()[0].status == "ok"
        trees.put(chip, {"power1_input": value})
        (taken,) = session.read()
    assert (taken.value, taken.status) == (None, "error") and said in taken.reason


def test_a_chip_that_is_unplugged_in_mid_window_is_a_gap(sensor: Any, root: Path) -> None:
    chip = trees.hwmon(root, "1-0040", 2, INA226)
    with sensor.open({}) as session:
        (chip / "power1_input").unlink()
        (taken,) = session.read()
    assert (taken.value, taken.status) == (None, "error") and "No such file" in taken.reason
