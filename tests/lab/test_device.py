"""Virtual devices are what they pass for."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import pytest

from lab import rootfs
from lab.device import Device
from lab.sshd import ask

pytestmark = pytest.mark.lab


def test_a_pi_is_arm64_debian_without_anything_but_python_and_ssh(pi4: Device) -> None:
    ran = ask(pi4, "uname -m; python3 -V; hostname; cat /sys/firmware/devicetree/base/model; command -v gcc pip")
    assert ran.stdout.split("\n")[:3] == ["aarch64", "Python 3.11.2", "pi4-virtual"]
    assert ran.stdout.endswith("Raspberry Pi 4 Model B Rev 1.4\0") and ran.returncode == 1


def test_a_pi_tells_its_own_cpu_memory_clock_and_temperature(pi4: Device) -> None:
    assert pi4.run("grep", "-c", "0xd08", "/proc/cpuinfo").stdout == "4\n"
    assert pi4.run("grep", "MemTotal", "/proc/meminfo").stdout.split() == ["MemTotal:", "3884000", "kB"]
    assert pi4.run("vcgencmd", "get_throttled").stdout == "throttled=0x0\n"
    pi4.path("/sys/class/thermal/thermal_zone0/temp").write_text("81500\n")
    assert pi4.run("vcgencmd", "measure_temp").stdout == "temp=81.5'C\n"
    assert "Command not registered" in pi4.run("vcgencmd", "pmic_read_adc").stdout


def test_a_pi_5_tells_its_supplies(pi5: Device) -> None:
    lines = pi5.run("vcgencmd", "pmic_read_adc").stdout.splitlines()
    assert len(lines) == 26 and "     VDD_CORE_A current(7)=1.20000000A" in lines


SDOT = struct.pack("<4I", 0x4E829420, 0xD2800000, 0xD2800BA8, 0xD4000001)  # sdot v0.4s, v1.16b, v2.16b; exit(0)


def elf(code: bytes) -> bytes:
    """A static aarch64 program of these instructions alone: file header, one segment, code."""
    base, start = 0x400000, 64 + 56
    head = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    size = start + len(code)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def dot_product(device: Device) -> int:
    program = device.path("/root/sdot")
    program.write_bytes(elf(SDOT))
    program.chmod(0o755)
    return int(ask(device, "./sdot; echo $?").stdout)


def test_an_instruction_that_a_pi_4_lacks_kills_there(pi4: Device) -> None:
    assert dot_product(pi4) == 128 + signal.SIGILL


def test_the_same_instruction_runs_on_a_pi_5(pi5: Device) -> None:
    assert dot_product(pi5) == 0


def test_a_jetson_has_its_power_sensor_where_a_jetson_has_it(jetson: Device) -> None:
    chips = [file for file in jetson.path("/sys/class/hwmon").glob("hwmon*/name") if file.read_text() == "ina3221\n"]
    (chip,) = (file.parent for file in chips)
    assert (chip / "device").resolve().name == "1-0040"
    labels = [(chip / f"in{n}_label").read_text().strip() for n in (1, 2, 3)]
    assert labels == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    power_mw = int((chip / "in1_input").read_text()) * int((chip / "curr1_input").read_text()) // 1000
    assert power_mw == 4769
    told = jetson.run("timeout", "1.5", "tegrastats", "--interval", "100", check=False).stdout.splitlines()
    assert len(told) > 3 and all("VDD_IN 4769mW/4769mW" in line and "cv0@-256C" in line for line in told)


def test_a_jetson_switches_power_modes_and_keeps_them(jetson: Device) -> None:
    assert jetson.run("nvpmodel", "-q").stdout == "NV Power Mode: 25W\n1\n"
    jetson.run("nvpmodel", "-m", "2")
    assert jetson.path("/sys/class/devfreq/17000000.gpu/max_freq").read_text() == "1020000000\n"
    jetson.kill()
    jetson.back()
    assert jetson.run("nvpmodel", "-q").stdout == "NV Power Mode: MAXN_SUPER\n2\n"
    assert jetson.path("/sys/devices/system/cpu/cpu5/cpufreq/scaling_max_freq").read_text() == "1728000\n"
    listed = jetson.run("nvpmodel", "-p", "--verbose").stdout
    assert "PM_CONFIG: DEFAULT=25W(1)\n" in listed and "POWER_MODEL: ID=0 NAME=15W\n" in listed


def test_a_mode_of_fewer_cores_waits_for_a_reboot(jetson: Device) -> None:
    refused = jetson.run("nvpmodel", "-m", "3", check=False, input="")
    assert refused.returncode and jetson.run("nvpmodel", "-q").stdout.startswith("NV Power Mode: 25W\n")
    jetson.run("nvpmodel", "-m", "3", input="yes\n")
    jetson.kill()
    jetson.back()
    assert jetson.path("/sys/devices/system/cpu/online").read_text() == "0-3\n"


def test_clocks_are_locked_and_given_back(jetson: Device) -> None:
    gpu = jetson.path("/sys/class/devfreq/17000000.gpu/min_freq")
    jetson.run("jetson_clocks", "--store", "/root/clocks")
    jetson.run("jetson_clocks")
    assert gpu.read_text() == "918000000\n" and "FreqOverride=1" in jetson.run("jetson_clocks", "--show").stdout
    jetson.run("jetson_clocks", "--restore", "/root/clocks")
    assert gpu.read_text() == "306000000\n" and "FreqOverride=0" in jetson.run("jetson_clocks", "--show").stdout


def test_what_one_test_broke_the_next_does_not_see(pi4: Device) -> None:
    assert not pi4.path("/root/sdot").exists()


def test_the_root_file_system_does_not_tell_where_it_came_from(lab_rootfs: Path) -> None:
    name = rootfs.mirror().split("/")[2].encode()
    settings = [file for part in ("etc", "var/lib/apt", "var/log") for file in (lab_rootfs / part).rglob("*")]
    assert settings and not [file for file in settings if file.is_file() and name in file.read_bytes()]
