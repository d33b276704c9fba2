"""The way over SSH when somebody leaves in the midst of it, and when two come at once: on a real server of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_jobs import CONTENT
from lab.sshd import Sshd, public, why_not
from test_ssh import SLEEPY, Board, address

from harness import bundle, jobs
from harness.errors import DeviceError
from harness.records import Environment, Wheel
from harness.transport.device import sha256_of
from harness.transport.link import Link
from harness.transport.ssh import Ssh

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextlib.contextmanager
def pressed(after_s: float) -> Iterator[None]:
    """Ctrl-C, in a while; never after the block, where it would end whoever runs the tests."""
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.slow
def test_patience_begins_when_the_link_is_lost_not_when_it_was_asked(sshd: Sshd) -> None:
    link = Link("board", address(sshd, patience_s=1.5))
    link.ask("looking", lambda session: session.home)
    threading.Timer(2.0, sshd.drop).start()
    assert link.run(["sh", "-c", "sleep 2.5; echo there"], 20).out == b"there\n"
    link.close()


def test_who_is_interrupted_leaves_no_channel_that_two_speak_on(sshd: Sshd) -> None:
    link = Link("board", address(sshd))
    link.ask("looking", lambda session: session.home)
    with pytest.raises(KeyboardInterrupt), pressed(0.3):
        link.ask("dawdling", lambda session: time.sleep(30))
    began = time.monotonic()
    assert link.ask("looking", lambda session: session.home) and time.monotonic() - began < 2
    assert link.address.patience_s == link.patience_s
    link.close()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.1, 0.6, 1.3])
def test_an_agent_that_is_being_started_is_ended_with_whoever_started_it(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    board = Board(tmp_path, sshd, runtime="faulty")
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n[ "$2" = start ] && sleep 1\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    job = board.job(["sleep", "sleep"], SLEEPY)
    board.line.python = str(slow)
    board.line.look(board.bundle)
    with pytest.raises(KeyboardInterrupt), pressed(after_s), jobs.stopped_on_interruption(board.line, job):
        board.line.start(board.bundle, job)
        time.sleep(30)
    time.sleep(1.5)
    left = board.line.holder()
    with contextlib.suppress(DeviceError):
        board.line.stop()
    board.line.close()
    assert left is None


def test_a_start_that_is_asked_again_while_the_first_is_under_way_is_that_one(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    board = Board(tmp_path, sshd, runtime="faulty")
    job = board.job(["sleep", "sleep"], SLEEPY)
    lines = [Ssh("board", address(sshd), str(board.there), sys.executable) for _ in range(2)]
    pids: list[int] = []
    threads = [threading.Thread(target=lambda line=line: pids.append(line.start(board.bundle, job))) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    board.line.stop()
    for line in (*lines, board.line):
        line.close()
    assert len(pids) == 2 and len(set(pids)) == 1


def test_two_controllers_come_to_a_new_board_at_once(tmp_path: Path, sshd: Sshd) -> None:
    agent, wrong = bundle.build("empty"), []
    for turn in range(4):
        lines = [Ssh("board", address(sshd), str(tmp_path / f"new/{turn}"), sys.executable) for _ in range(3)]
        ready = threading.Barrier(len(lines))

        def come(line: Ssh, ready: threading.Barrier = ready) -> None:
            line.link.ask("looking", lambda session: session.home)
            ready.wait()
            try:
                line.look(agent)
            except Exception as error:
                wrong.append(error)
            line.close()

        threads = [threading.Thread(target=come, args=(line,)) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("broken", ["python", "description"])
def test_an_environment_that_cannot_be_used_any_more_is_sent_again(tmp_path: Path, sshd: Sshd, broken: str) -> None:
    board = Board(tmp_path, sshd)
    packed, code = tmp_path / "packed.tar.gz", tmp_path / "there.py"
    code.write_text("here = True\n")
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(code, "there.py")
    wheel = Wheel("there", "1", sha256_of(packed), packed.stat().st_size, str(packed))
    environment = Environment("0123456789abcdef", (wheel,))
    board.line.probe(board.bundle, "empty", environment)
    if broken == "python":  # the system was upgraded
        python = board.there / "envs" / environment.key / "bin" / "python"
        python.unlink()
        python.symlink_to("/nowhere/python3")
    else:
        (board.there / "envs" / f"{environment.key}.json").unlink()
    shutil.rmtree(board.there / "wheels")
    (board.there / "wheels").mkdir()
    assert board.line.probe(board.bundle, "empty", environment)["versions"]["python"]
    board.line.close()


def test_a_jump_host_is_let_go_of_with_the_board_behind_it(tmp_path: Path, sshd: Sshd) -> None:
    with Sshd(tmp_path / "jump") as jump:
        keys = jump.folder / "authorized_keys"
        keys.write_text(keys.read_text() + public(sshd.key) + "\n")
        known = tmp_path / "known"
        known.write_text(sshd.known_hosts.read_text() + jump.known_hosts.read_text())
        through = address(sshd, jump=f"{jump.user}@[::ffff:127.0.0.1]:{jump.port}", known_hosts=str(known))
        known.write_text(known.read_text() + f"[::ffff:127.0.0.1]:{jump.port} {public(jump.folder / 'host_key')}\n")
        link = Link("board", through)
        before = threading.active_count()
        for _ in range(5):
            link.ask("looking", lambda session: session.home)
            link.close()
        end = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < end:
            time.sleep(0.05)
        assert threading.active_count() <= before
