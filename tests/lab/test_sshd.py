"""The loopback server does what tests rely on."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from lab.sshd import Sshd, ask, ssh, why_not

needs_sshd = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_it_runs_commands_and_keeps_their_exit_codes(sshd: Sshd) -> None:
    ran = ask(sshd, "echo out; echo err >&2; exit 7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, "out\n", "err\n")


def test_it_takes_files(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"x" * 100_000)
    batch = ssh(sshd, program="sftp")
    words = f"put {tmp_path}/here {tmp_path}/there\n"
    subprocess.run(batch, input=words, text=True, check=True, capture_output=True, timeout=20)
    assert (tmp_path / "there").read_bytes() == b"x" * 100_000


def test_a_changed_host_key_is_seen(sshd: Sshd) -> None:
    sshd.restart(new_host_key=True)
    refused = ask(sshd, "true")
    assert refused.returncode == 255 and "Host key verification failed" in refused.stderr
    sshd.write_known_hosts()
    assert ask(sshd, "true").returncode == 0


def test_fifty_devices_may_knock_at_once(sshd: Sshd) -> None:
    doors = [socket.create_connection((sshd.host, sshd.port), timeout=10) for _ in range(60)]
    greetings = [door.recv(64)[:4] for door in doors]
    for door in doors:
        door.close()
    assert greetings == [b"SSH-"] * 60


def test_dropped_connections_end_at_once_and_new_ones_are_taken(sshd: Sshd) -> None:
    with subprocess.Popen(
        ssh(sshd, "echo there; sleep 60"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as session:
        assert session.stdout is not None and session.stdout.readline() == b"there\n"
        began = time.monotonic()
        sshd.drop()
        assert session.wait(10) == 255 and time.monotonic() - began < 2
    assert ask(sshd, "true").returncode == 0


def test_a_stopped_server_refuses(sshd: Sshd) -> None:
    sshd.stop()
    refused = ask(sshd, "true")
    assert refused.returncode == 255 and "refused" in refused.stderr
    sshd.start()
    assert ask(sshd, "true").returncode == 0


@needs_sshd
def test_sessions_get_the_environment_that_was_given(tmp_path: Path) -> None:
    with Sshd(tmp_path / "other", environment={"HOME": str(tmp_path), "TWO": "a b"}) as server:
        assert ask(server, 'echo "$TWO"; cd; pwd').stdout == f"a b\n{tmp_path}\n"


@needs_sshd
def test_a_hostile_command_answers_in_place_of_what_was_asked(tmp_path: Path) -> None:
    with Sshd(tmp_path / "other", sftp="/bin/echo garbage", force_command="echo no") as server:
        assert ask(server, "echo yes").stdout == "no\n"
    with Sshd(tmp_path / "third", sftp="/bin/echo garbage") as server:
        batch = ssh(server, program="sftp")
        refused = subprocess.run(batch, input="ls\n", capture_output=True, text=True, timeout=20)
        assert refused.returncode == 255
