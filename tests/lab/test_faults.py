"""Each way to break a virtual device is the real thing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from lab.device import Device
from lab.sshd import ask, ssh

pytestmark = pytest.mark.lab

IMPATIENT = ["ConnectTimeout=2", "ServerAliveInterval=1", "ServerAliveCountMax=2"]


def done(device: Device, *words: str) -> subprocess.CompletedProcess[str]:
    return ask(device, *words, options=IMPATIENT)


def upload(device: Device, size_bytes: int, place: str = "/root/file") -> tuple[int, bytes]:
    """Send a file; return the exit code and what lies there afterwards."""
    data = os.urandom(size_bytes)
    command = ssh(device, f"cat > {place}", options=IMPATIENT)
    sent = subprocess.run(command, input=data, capture_output=True, timeout=60)
    there = device.path(place).read_bytes() if device.path(place).exists() else b""
    assert data.startswith(there), "what arrived is the beginning of what was sent"
    return sent.returncode, there


def await_command(device: Device, name: str) -> None:
    """Return once a process of the device runs a command; a shell that has just forked is not there yet."""
    ends = time.monotonic() + 20
    while not any(command_of(pid) == name for pid in device.slot.processes()):
        assert time.monotonic() < ends, f"nothing on the device runs {name}"
        time.sleep(0.05)


def command_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended since it was listed
        return None


@pytest.mark.parametrize("limit", [50_000, 300_000])
def test_a_connection_is_cut_after_so_many_bytes(pi4: Device, limit: int) -> None:
    pi4.cut_after(limit)
    code, there = upload(pi4, 1_000_000)
    assert code == 255 and limit - 70_000 < len(there) < limit, "what was on its way is lost, and headers count"
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
    boot = pi4.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    await_command(pi4, "sleep")
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


def test_a_program_that_takes_too_much_memory_is_killed_and_the_device_is_not(pi4: Device) -> None:
    pi4.limit_memory(200)
    ran = done(pi4, "python3 -c 'bytearray(400_000_000)'; echo $?; python3 -c 'bytearray(10_000_000)'; echo $?")
    assert ran.stdout == "137\n0\n"
    pi4.limit_memory(None)
    assert done(pi4, "python3 -c 'bytearray(400_000_000)'").returncode == 0
