"""The lab does what it says: virtual devices are what they pass for, and each fault is the real thing."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import machine, rootfs, slots
from lab.device import Device
from lab.sshd import ssh

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
IMPATIENT = ["ConnectTimeout=2", "ServerAliveInterval=1", "ServerAliveCountMax=2"]


def done(device: Device, *words: str) -> subprocess.CompletedProcess[str]:
    command = ssh(device, *words, options=IMPATIENT)
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


def upload(device: Device, size_bytes: int, place: str = "/root/file") -> tuple[int, bytes]:
    """Send a file; return the exit code and what lies there afterwards."""
    data = os.urandom(size_bytes)
    command = ssh(device, f"cat > {place}", options=IMPATIENT)
    sent = subprocess.run(command, input=data, capture_output=True, timeout=60)
    there = device.path(place).read_bytes() if device.path(place).exists() else b""
    assert data.startswith(there), "what arrived is the beginning of what was sent"
    return sent.returncode, there


# What a device is


def test_a_pi_is_arm64_debian_without_anything_but_python_and_ssh(pi4: Device) -> None:
    ran = done(pi4, "uname -m; python3 -V; hostname; cat /sys/firmware/devicetree/base/model; command -v gcc pip")
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
    return done(device, "./sdot").returncode


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


# Faults


@pytest.mark.parametrize("limit", [50_000, 300_000])
def test_a_connection_is_cut_after_so_many_bytes(pi4: Device, limit: int) -> None:
    pi4.cut_after(limit)
    code, there = upload(pi4, 1_000_000)
    assert code == 255 and len(there) < limit
    assert len(there) > limit // 2 or limit < 100_000, "a login itself takes some 10 kB"
    pi4.uncut()
    assert upload(pi4, 1_000_000)[0] == 0


def test_an_open_connection_is_cut_too_and_downloads_are(pi4: Device) -> None:
    pi4.path("/root/big").write_bytes(bytes(2_000_000))
    assert len(done(pi4, "cat big").stdout) == 2_000_000
    command = ssh(pi4, "echo there; read line; cat big", options=IMPATIENT)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as session:
        assert session.stdout is not None and session.stdout.readline() == b"there\n"
        pi4.cut_after(400_000, direction="reply")
        rest, _ = session.communicate(b"\n", timeout=20)
        assert session.returncode == 255 and 100_000 < len(rest) < 400_000


def test_a_short_outage_is_survived_and_a_long_one_noticed(pi4: Device) -> None:
    with subprocess.Popen(ssh(pi4, "cat > /root/file"), stdin=subprocess.PIPE) as session:
        assert session.stdin is not None
        session.stdin.write(b"a" * 100_000)
        pi4.link_down()
        session.stdin.write(b"b" * 100_000)
        time.sleep(1)
        pi4.link_up()
        session.stdin.close()
        assert session.wait(30) == 0
    assert pi4.path("/root/file").read_bytes() == b"a" * 100_000 + b"b" * 100_000
    pi4.link_down()
    assert done(pi4, "true").returncode == 255


def test_a_slow_link_is_as_slow_as_it_was_made(pi4: Device) -> None:
    pi4.slow(4)
    began = time.monotonic()
    upload(pi4, 1_000_000)
    assert 2 < time.monotonic() - began < 15, "1 MB at 4 Mbit/s takes 2 s and the login"
    pi4.fast()
    began = time.monotonic()
    upload(pi4, 1_000_000)
    assert time.monotonic() - began < 5


def test_a_power_cut_ends_everything_at_once_and_keeps_the_disk(pi4: Device) -> None:
    done(pi4, "echo kept > kept; nohup sleep 1000 > /dev/null 2>&1 &")
    before, boot = pi4.slot.processes(), pi4.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    assert any(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in before)
    with subprocess.Popen(ssh(pi4, "echo there; sleep 60", options=IMPATIENT), stdout=subprocess.PIPE) as session:
        assert session.stdout is not None and session.stdout.readline() == b"there\n"
        pi4.kill()
        assert pi4.slot.processes() == [] and pi4.path("~/kept").read_text() == "kept\n"
        assert session.wait(20) == 255
    assert done(pi4, "true").returncode == 255
    pi4.back()
    ran = done(pi4, "cat kept; cat /proc/sys/kernel/random/boot_id; ps -e -o comm=")
    assert ran.stdout.startswith("kept\n") and boot not in ran.stdout and "sleep" not in ran.stdout


def test_a_full_disk_is_full_for_those_who_write_already_too(pi4: Device) -> None:
    command = ssh(pi4, "exec 3> log; read line; head -c 3000000 /dev/zero >&3")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as session:
        while not pi4.path("/root/log").exists():
            time.sleep(0.01)
        pi4.fill_disk(1)
        _, told = session.communicate("\n", timeout=30)
    assert "No space left on device" in told and 900_000 < pi4.path("/root/log").stat().st_size <= 1_000_000
    assert "No space left" in done(pi4, "echo more > /tmp/other").stderr
    pi4.free_disk()
    assert upload(pi4, 3_000_000)[0] == 0


def test_a_read_only_home_refuses_and_the_rest_does_not(pi4: Device) -> None:
    pi4.read_only_home()
    assert "Read-only file system" in done(pi4, "touch new").stderr
    assert done(pi4, "touch /tmp/new").returncode == 0
    pi4.writable_home()
    assert done(pi4, "touch new").returncode == 0


@pytest.mark.parametrize("everything", [False, True])
def test_a_frozen_device_takes_connections_and_answers_nobody(pi4: Device, everything: bool) -> None:
    pi4.freeze(everything)
    frozen = done(pi4, "true")
    assert frozen.returncode == 255 and "timed out" in frozen.stderr
    pi4.thaw()
    assert done(pi4, "true").returncode == 0


def test_another_host_key_is_there_after_the_next_start(pi4: Device) -> None:
    pi4.new_host_key()
    pi4.kill()
    pi4.back()
    assert "Host key verification failed" in done(pi4, "true").stderr


# The lab by hand


class Lab:
    """A lab beside the one that its user may have."""

    def __init__(self) -> None:
        self.name = f"test-{os.getpid()}"
        self.environment = {**os.environ, "EDGE_LAB_NAME": self.name, "EDGE_LAB": str(machine.CACHE)}

    def start(self, verb: str) -> subprocess.Popen[str]:
        command = ["python3", "-m", "tests.lab", verb]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, verb: str) -> tuple[int, str]:
        with self.start(verb) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out + err

    @property
    def slots(self) -> list[slots.Slot]:
        return slots.of(self.name)


@pytest.fixture
def lab(lab_rootfs: Path) -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab("down")


def traces(of: list[slots.Slot]) -> list[str]:
    """What is left of devices on this machine."""
    links, spaces, mounts = machine.call("ip", "-o", "link"), machine.call("ip", "netns", "list"), Path("/proc/mounts")
    found = [slot.link for slot in of if f" {slot.link}@" in links]
    found += [slot.netns for slot in of if slot.netns in spaces.split()]
    found += [str(slot.folder) for slot in of if slot.folder.exists() or f"{slot.folder}/" in mounts.read_text()]
    names = {str(slot.folder) for slot in of}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [text for name in names if f"{name}/root" in text]
    return found


def test_up_twice_is_up_and_down_twice_leaves_nothing(lab: Lab) -> None:
    code, told = lab("up")
    assert code == 0 and "--device pi4-virtual,pi5-virtual,jetson-virtual" in told
    made = lab.slots
    before = [slot.processes() for slot in made]
    assert lab("up") == (0, told) and [slot.processes() for slot in made] == before
    assert len(made) == 3 and lab("status") == (0, told)
    state = machine.CACHE / f"state-{lab.name}"
    assert "profile: jetson-orin-nano" in (state / "inventory.yaml").read_text()
    login = ["ssh", "-F", "/dev/null", "-i", state / "id_ed25519", "-o", f"UserKnownHostsFile={state}/known_hosts"]
    named = subprocess.run([*login, f"root@{made[2].host}", "hostname"], capture_output=True, text=True, timeout=20)
    assert named.stdout == "jetson-virtual\n"
    for _ in range(2):
        assert lab("down") == (0, "")
        assert traces(made) == [] and lab.slots == [] and not state.exists()


@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.45, 0.6, 0.9, 1.3])
def test_whenever_up_is_killed_down_cleans_up(lab: Lab, after_s: float) -> None:
    with lab.start("up") as process:
        time.sleep(after_s)
        process.kill()
    made = lab.slots
    assert lab("down") == (0, "")
    assert traces(made) == [] and lab.slots == []


def test_devices_of_a_test_run_that_died_are_swept(lab_rootfs: Path, lab_key: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.lab.device import Device;"
        "device = Device('pi4', Path(sys.argv[1]), Path(sys.argv[2])); device.up(); print(device.slot.number, flush=True);"
        "time.sleep(60)"
    )
    command = ["python3", "-c", script, str(lab_rootfs), str(lab_key)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        slot = slots.Slot(int(process.stdout.readline()))
        process.kill()
    assert slot.first() is not None
    slots.sweep()
    assert traces([slot]) == []


def test_an_ordinary_user_is_told_why_not(lab_rootfs: Path) -> None:
    code = "from lab import machine; print(machine.why_not())"
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", code]
    told = subprocess.run(as_nobody, cwd=ROOT / "tests", capture_output=True, text=True, check=True)
    assert told.stdout == "virtual devices need root\n"
