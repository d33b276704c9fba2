"""System state: read where it is; a status and a reason where it is not, never 0."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import trees
from trees import JETSON, PI, X86, write

from devices.agent import facts, state
from devices.agent.state import State
from harness.sensing import Snapshot, Source, sysroot, take


def found(snapshot: Snapshot) -> dict[tuple[str, str], tuple[str, float | None, str]]:
    """Status, value and unit by sensor and scope."""
    return {
        (sensor, scope): (status, value, unit)
        for sensor, scope, _, status, value, unit in snapshot.readings
        if not sensor.startswith("gpu_")
    }


def test_in_an_empty_container_every_reading_of_files_is_null_with_a_status_and_a_reason(tmp_path: Path) -> None:
    snapshot = State(tmp_path).full()
    readings = {key: value for key, value in found(snapshot).items() if key[0] != "suspended"}
    assert {sensor for sensor, _ in readings} >= {"load_average_1min", "memory_available", "cpu_clock", "temperature"}
    assert all(status == "unsupported" and value is None for status, value, _ in readings.values())
    assert {f"{sensor} {scope}" for sensor, scope in readings} == snapshot.reasons.keys()
    assert "no thermal zone below" in snapshot.reasons["temperature machine"]
    assert "No such file" in snapshot.reasons["cpu_steal machine"]


def test_beside_a_process_nothing_is_said_of_what_the_device_does_not_have(tmp_path: Path) -> None:
    assert found(State(tmp_path).brief()).keys() <= {("suspended", "machine")}


def test_a_raspberry_pi_tells_clock_temperature_cooling_fan_and_firmware_in_si_units(tmp_path: Path) -> None:
    readings = found(State(write(tmp_path, PI)).full())
    assert readings["load_average_1min", "machine"] == ("ok", 0.5, "1")
    assert readings["runnable", "machine"] == ("ok", 2, "1")
    assert readings["memory_available", "machine"] == ("ok", 1_024_000, "B")
    assert readings["cpu_steal", "machine"] == ("ok", 40 / os.sysconf("SC_CLK_TCK"), "s")
    assert readings["cpu_busy", "machine"] == ("ok", 156 / os.sysconf("SC_CLK_TCK"), "s")
    assert readings["cpu_clock", "policy0"] == ("ok", 1.5e9, "Hz")
    assert readings["cpu_clock_hardware", "policy0"] == ("ok", 1_500_398_000, "Hz")
    assert readings["temperature", "cpu-thermal"] == ("ok", 48.312, "degC")
    assert readings["cooling_state", "pwm-fan"] == ("ok", 1, "1")
    assert readings["fan_speed", "pwmfan fan1"] == ("ok", 2904, "rpm")
    assert readings["throttle_bits", "firmware"] == ("ok", 0x50000, "1")
    assert readings["undervoltage_alarm", "supply"] == ("ok", 0, "1")
    assert readings["pgmajfault", "machine"] == ("ok", 7, "1")


def test_a_jetson_tells_its_events_and_which_zones_are_powered_down(tmp_path: Path) -> None:
    snapshot = State(write(tmp_path, JETSON)).full()
    readings = found(snapshot)
    assert readings["temperature", "cv0-thermal"] == ("error", None, "degC")
    assert "powered down" in snapshot.reasons["temperature cv0-thermal"]
    assert readings["overcurrent_events", "oc3"] == ("ok", 27390, "1")
    assert readings["device_clock", "17000000.gpu"] == ("ok", 624_750_000, "Hz")
    assert [scope for sensor, scope in readings if sensor == "cpu_clock"] == ["policy0", "policy4"]


def test_an_x86_box_tells_throttle_counts_and_zones_of_one_name_apart(tmp_path: Path) -> None:
    readings = found(State(write(tmp_path, X86)).full())
    assert readings["thermal_throttle", "core"] == ("ok", 5, "1")
    assert readings["temperature", "acpitz thermal_zone1"] == ("ok", 29.8, "degC")


def test_beside_a_process_many_clocks_are_told_by_their_extremes(tmp_path: Path) -> None:
    readings = found(State(write(tmp_path, X86)).brief())
    clocks = {scope: value for (sensor, scope), (_, value, _) in readings.items() if sensor == "cpu_clock"}
    assert clocks == {"lowest": 1e8, "highest": 1.2e9}


@pytest.mark.parametrize(
    ("text", "reason"), [("", "is empty"), ("warm\n", "invalid literal"), (None, "Is a directory")]
)
def test_a_file_that_holds_no_number_is_an_error_with_its_reason(tmp_path: Path, text: str | None, reason: str) -> None:
    write(tmp_path, PI)
    if text is None:
        (tmp_path / trees.ZONE).unlink()
        (tmp_path / trees.ZONE).mkdir()
    else:
        write(tmp_path, {trees.ZONE: text})
    snapshot = State(tmp_path).full()
    assert found(snapshot)["temperature", "cpu-thermal"] == ("error", None, "degC")
    assert reason in snapshot.reasons["temperature cpu-thermal"]


def test_a_zone_that_cannot_be_read_now_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    write(tmp_path, PI)
    (tmp_path / trees.ZONE).unlink()
    os.mkfifo(
        tmp_path / trees.ZONE
    )  # with a writer that says nothing, a plain read gives EAGAIN as a powered-down zone does
    keeper = os.open(tmp_path / trees.ZONE, os.O_RDWR)
    snapshot = State(tmp_path).full()
    os.close(keeper)
    assert found(snapshot)["temperature", "cpu-thermal"] == ("error", None, "degC")
    assert "temporarily unavailable" in snapshot.reasons["temperature cpu-thermal"]


def test_a_file_that_is_not_ours_to_read_is_a_matter_of_permission() -> None:
    def read() -> float:
        raise PermissionError(errno.EACCES, "Permission denied", "/sys/kernel/x")

    reading, reason = take(Source("x", "y", "gauge", "1", read))
    assert reading == ("x", "y", "gauge", "permission", None, "1") and reason == "/sys/kernel/x: Permission denied"


def test_a_sensor_that_goes_away_is_unsupported_from_then_on(tmp_path: Path) -> None:
    there = State(write(tmp_path, PI))
    there.full()
    (tmp_path / trees.ZONE).unlink()
    assert found(there.full())["temperature", "cpu-thermal"] == ("unsupported", None, "degC")


def test_a_counter_that_goes_back_is_an_error_once_and_counts_on_from_there(tmp_path: Path) -> None:
    watched = State(write(tmp_path, JETSON))
    values = []
    for count in (27390, 4294967295, 12, 15):
        write(tmp_path, {trees.OC3: f"{count}\n"})
        values.append(watched.full())
    readings = [found(snapshot)["overcurrent_events", "oc3"] for snapshot in values]
    assert [value for _, value, _ in readings] == [27390, 4294967295, None, 15]
    assert readings[2][0] == "error"
    assert values[2].reasons["overcurrent_events oc3"] == "went back from 4294967295 to 12"


def test_facts_are_plain_json_here_and_null_where_there_is_nothing(tmp_path: Path) -> None:
    assert json.loads(json.dumps(facts.read()))["cpus"] >= 1
    empty = facts.read(tmp_path)
    nothing = ("cpu", "memory_bytes", "board", "supply_max_ma", "turbo", "irqbalance", "root_device", "hottest_degc")
    assert [empty[name] for name in nothing] == [None] * len(nothing) and empty["governors"] == []


def test_facts_of_a_raspberry_pi(tmp_path: Path) -> None:
    told = facts.read(write(tmp_path, PI))
    assert (told["cpu"], told["cpu_features"]) == ("implementer 0x41 part 0xd0b", "fp asimd")
    assert (told["board"], told["supply_max_ma"]) == ("Raspberry Pi 5 Model B Rev 1.0", 5000)
    assert (told["governors"], told["clock_max_hz"], told["root_device"]) == (
        ["ondemand"],
        [2_400_000_000],
        "mmcblk0p2 (SD)",
    )
    assert told["hottest_degc"] == 48.312


def test_facts_of_an_x86_box_and_a_jetson(tmp_path: Path) -> None:
    told = facts.read(write(tmp_path / "x86", X86))
    assert (told["cpu"], told["os"], told["turbo"]) == ("Intel(R) N100", "Debian GNU/Linux 12", False)
    assert (told["smt"], told["irqbalance"], told["idle_states"]) == ("off", True, {"POLL": True, "C1": False})
    assert facts.read(write(tmp_path / "jetson", JETSON))["os_image"].startswith("# R36 (release)")


def test_the_environment_that_steers_threads_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("SECRET", "x")
    assert facts.read()["environment"]["OMP_WAIT_POLICY"] == "passive" and "SECRET" not in facts.read()["environment"]


def test_the_device_s_files_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_HARNESS_SYSROOT", raising=False)
    assert sysroot() == Path("/")
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(write(tmp_path, PI)))
    assert facts.read()["board"].startswith("Raspberry") and state.oom_kills() == 1
