"""System state: read where it is, `unsupported` where it is not, never 0."""

from __future__ import annotations

import json
from pathlib import Path

from devices.agent import state


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_in_an_empty_container_every_reading_is_null_with_a_status(tmp_path: Path) -> None:
    readings = state.readings(tmp_path)
    assert {reading[0] for reading in readings} >= {"load_average_1min", "memory_available", "cpu_clock", "temperature"}
    assert all(status == "unsupported" and value is None for _, _, _, status, value, _ in readings)


def test_readings_come_in_si_units_with_their_scope(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/loadavg": "0.50 0.40 0.30 1/100 42\n",
            "proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:  1000 kB\n",
            "proc/vmstat": "pswpin 3\noom_kill 1\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "",
        },
    )
    found = {
        (sensor, scope): (status, value, unit) for sensor, scope, _, status, value, unit in state.readings(tmp_path)
    }
    assert found["load_average_1min", "machine"] == ("ok", 0.5, "1")
    assert found["memory_available", "machine"] == ("ok", 1_024_000, "B")
    assert found["cpu_clock", "policy0"] == ("ok", 1.5e9, "Hz")
    assert found["temperature", "cpu-thermal"] == ("ok", 48.312, "degC")
    assert found["temperature", "cv0-thermal"] == ("error", None, "degC")
    assert found["pswpin", "machine"] == ("ok", 3, "1")
    assert found["pgmajfault", "machine"] == ("unsupported", None, "1")


def test_facts_are_plain_json_here_and_null_where_there_is_nothing(tmp_path: Path) -> None:
    assert json.loads(json.dumps(state.facts()))["cpus"] >= 1
    empty = state.facts(tmp_path)
    assert empty["cpu"] is None and empty["memory_bytes"] is None and empty["governors"] == []


def test_an_arm_cpu_is_named_by_implementer_and_part(tmp_path: Path) -> None:
    write(tmp_path, {"proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0b\n"})
    assert state.facts(tmp_path)["cpu"] == "implementer 0x41 part 0xd0b"
