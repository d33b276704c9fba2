"""Exchanges of times with the real agent: on this machine, where the truth is known, and over the loopback server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_jobs import Bench
from lab.sshd import Sshd
from test_ssh import address

from harness import bundle, clocks, interrupt, sensing
from harness.errors import DeviceError
from harness.transport import Local
from harness.transport import echo as echo_of_transport
from harness.transport.echo import Lines
from harness.transport.ssh import Ssh

BOOT = sensing.text(Path("/proc/sys/kernel/random/boot_id"))


@contextmanager
def verb(bench: Bench) -> Iterator[tuple[Lines, subprocess.Popen[bytes]]]:
    """The agent's verb as a child of ours."""
    pipe = subprocess.PIPE
    with subprocess.Popen(bench.command("clock"), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as child:
        assert child.stdin is not None and child.stdout is not None
        yield Lines("bench", child.stdin.write, lambda most: os.read(child.stdout.fileno(), most)), child  # type: ignore[union-attr]
        child.stdin.close()
        assert child.wait(10) == 0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def board(tmp_path: Path, sshd: Sshd) -> Iterator[Ssh]:
    made = Ssh("board", address(sshd), str(tmp_path / "workdir"), sys.executable, silence_s=2.0)
    yield made
    made.close()


def test_one_clock_seen_from_two_processes_is_off_by_no_more_than_the_bound(bench: Bench) -> None:
    with verb(bench) as (lines, _):
        groups = [[lines.exchange() for _ in range(clocks.GROUP)] for _ in range(2)]
    found = clocks.align(groups)
    now = time.monotonic_ns()
    assert found.boot == BOOT
    assert abs(found.device_ns(now) - now) <= found.bound_ns(now) < 50_000_000
    assert all(e.t0_ns <= e.t1_ns <= e.t2_ns <= e.t3_ns for group in groups for e in group)


def test_the_verb_ends_when_nobody_can_ask_any_more(bench: Bench) -> None:
    with verb(bench) as (lines, child):
        lines.exchange()
        assert child.poll() is None
    assert child.returncode == 0 and child.stderr is not None


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one() -> None:
    said = iter([b'{"boot_id": "b"}\n', b"1 5 6\n", b"1 5 6\n"])
    lines = Lines("board", lambda data: None, lambda most: next(said))
    lines.exchange()
    with pytest.raises(DeviceError, match="its clock answered '1 5 6'"):
        lines.exchange()


@pytest.mark.parametrize(
    "said", [b"", b"nothing\n", b'{"boot_id"\n', b"x" * 5000], ids=["end", "word", "half", "flood"]
)
def test_a_greeting_that_is_none_is_the_board_s_error(said: bytes) -> None:
    with pytest.raises(DeviceError, match="device board"):
        Lines("board", lambda data: None, lambda most: said)


@pytest.mark.parametrize("said", [b"1 2\n", b"1 -5 6\n", b"1 a b\n", b"1 1.5 2\n"])
def test_an_answer_that_is_none_is_the_board_s_error(said: bytes) -> None:
    answers = iter([b'{"boot_id": null}\n', said])
    lines = Lines("board", lambda data: None, lambda most: next(answers))
    with pytest.raises(DeviceError, match="its clock answered"):
        lines.exchange()


def test_this_machine_has_one_clock(tmp_path: Path) -> None:
    with Local("desk", tmp_path).clock(bundle.build("empty")) as echo:
        found = clocks.align([[echo.exchange()]])
    assert (found.boot, found.bound_ns(0), found.device_ns(12345)) == (BOOT, 0.0, 12345)


def test_over_ssh_twenty_exchanges_take_one_channel_and_the_bound_covers_the_truth(board: Ssh) -> None:
    with board.clock(bundle.build("empty")) as echo:
        groups = [[echo.exchange() for _ in range(clocks.GROUP)] for _ in range(2)]
        session = board.link.ask("looking", lambda session: session.connection.transport)
        assert board.holder() is None  # the connection serves others meanwhile
    found = clocks.align(groups)
    now = time.monotonic_ns()
    assert found.boot == BOOT  # the loopback's other end is this machine: its clock is ours
    assert abs(found.device_ns(now) - now) <= found.bound_ns(now) < 50_000_000
    assert board.link.ask("looking", lambda session: session.connection.transport) is session


def _verbs(board: Ssh) -> list[int]:
    """The processes of the verb that belong to this board's workdir."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"clock" in words and any(word.startswith(board.there.place.encode()) for word in words):
            found.append(int(folder.name))
    return found


def _await_no_verb(board: Ssh) -> None:
    end = time.monotonic() + 10
    while _verbs(board):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_nothing_stays_behind_on_the_board(board: Ssh) -> None:
    with board.clock(bundle.build("empty")) as echo:
        echo.exchange()
        assert len(_verbs(board)) == 1
    _await_no_verb(board)


def test_a_link_that_is_cut_is_an_error_at_once_and_a_new_channel_goes_on(board: Ssh, sshd: Sshd) -> None:
    agent = bundle.build("empty")
    with board.clock(agent) as echo:
        echo.exchange()
        sshd.drop()
        with pytest.raises(DeviceError, match="its clock cannot be asked"):
            for _ in range(3):
                echo.exchange()
    with board.clock(agent) as echo:
        assert echo.exchange().boot == BOOT
    _await_no_verb(board)


def test_a_server_that_stops_answering_is_given_up_after_a_bounded_time(
    board: Ssh, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo_of_transport, "_ANSWER_S", 0.3)
    with board.clock(bundle.build("empty")) as echo, sshd.frozen():
        began = time.monotonic()
        with pytest.raises(DeviceError, match="no answer in time"):
            echo.exchange()
        assert time.monotonic() - began < 2.0


def test_an_interruption_ends_a_channel_that_waits(board: Ssh) -> None:
    try:
        with board.clock(bundle.build("empty")) as echo:
            interrupt.interrupt()
            began = time.monotonic()
            with pytest.raises(DeviceError):
                echo.exchange()
            assert time.monotonic() - began < 1.0
    finally:
        interrupt.clear()
