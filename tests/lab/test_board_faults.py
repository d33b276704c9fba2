"""Boards that lack something, are somebody else, or lie in the midst of a run: each is named, and harms nothing."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import bundle, store, wire
from lab.device import Device
from lab.runs import RUNTIMES, Boards, ended, kill_agent, measured, require_each_once, until
from lab.sshd import Sshd, new_key

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture
def boards(pi4: Device, tmp_path: Path, shared_cache: Path) -> Boards:
    return Boards(tmp_path / "home", shared_cache, pi4)


# --- CPU and memory ------------------------------------------------------------------------------------------------


def test_an_instruction_that_a_pi_4_lacks_fails_its_cases_there_and_none_on_a_pi_5(
    pi4: Device, pi5: Device, tmp_path: Path, shared_cache: Path
) -> None:
    boards = Boards(tmp_path / "home", shared_cache, pi4, pi5)
    done = boards.run("dotted", "--json")
    assert done.code == 1, done.err
    by_device = {each["device"]: each["cases"] for each in done.json}
    assert {case["status"] for case in by_device["pi5-virtual"]} == {"ok"}
    assert {case["status"] for case in by_device["pi4-virtual"]} == {"failed"}
    assert all("SIGILL" in json.dumps(case) for case in by_device["pi4-virtual"])
    for device in ("pi4-virtual", "pi5-virtual"):
        require_each_once(boards.runs_of(device)[0], "dotted")


def test_an_import_that_dies_of_an_illegal_instruction_is_named_before_the_long_work(boards: Boards) -> None:
    done = boards.run("dotted_import")
    assert done.code == 1 and "runtime dotted_import does not work there" in done.err and "SIGILL" in done.err, done.err
    assert not boards.runs


def test_a_case_that_takes_too_much_memory_fails_for_that_reason_and_agent_and_board_survive(boards: Boards) -> None:
    (device,) = boards.devices
    device.limit_memory(350)
    done = boards.run("hungry", "--json")
    assert done.code == 1, done.err
    assert {case["status"] for case in done.json["cases"]} == {"failed"}
    assert all("out-of-memory" in json.dumps(case) for case in done.json["cases"]), done.out
    require_each_once(boards.runs[0], "hungry")
    assert device.run("true").returncode == 0


# --- time ----------------------------------------------------------------------------------------------------------

JUMPING = """\
import os, time
_now, _now_ns = time.time, time.time_ns
def _offset():
    try:
        return int(open("/root/offset").read())
    except (OSError, ValueError):
        return 0
time.time = lambda: _now() + _offset()
time.time_ns = lambda: _now_ns() + _offset() * 10**9
"""
TEN_YEARS_S = 10 * 365 * 86400


def test_a_wall_clock_that_jumps_by_years_in_a_run_and_between_two_starts_changes_nothing(boards: Boards) -> None:
    """The wall clock as Python programs see it (`time.time`, `time_ns`) and the times of all files jump to and fro.

    Not shown: a jump of the kernel's own clock, which no namespace has for itself, and what it does to sshd and its logs.
    """
    (device,) = boards.devices
    offset = device.path("/root/offset")
    custom = device.path("/usr/lib/python3.11/sitecustomize.py")  # Debian's is a link, which leads elsewhere from here
    custom.unlink(missing_ok=True)
    custom.write_text(JUMPING)
    offset.write_text(str(TEN_YEARS_S))
    assert float(device.run("python3", "-c", "import time; print(time.time())").stdout) > time.time() + 1e8
    process = boards.begin("bulky", "--budget", "10", "--json")
    until(measured(device, 1), process)
    offset.write_text(str(-5 * TEN_YEARS_S))
    until(measured(device, 2), process)
    assert kill_agent(device)
    assert ended(process).code == 1
    for n, path in enumerate(sorted(device.path(device.workdir).rglob("*"))):
        os.utime(path, (n % 2 * 2**31,) * 2, follow_symlinks=False)
    kept = store.journal_bytes(boards.runs[0], "bulky")
    boards.finish("bulky")
    assert store.journal_bytes(boards.runs[0], "bulky").startswith(kept)
    processes = [event for event in store.events(boards.runs[0], "bulky") if isinstance(event, wire.ProcessEvent)]
    assert all(event.wall_ns < 100e9 for event in processes)


# --- who is there, and what it has ---------------------------------------------------------------------------------


def refused(boards: Boards, *said: str) -> None:
    """The command must end soon, with exit code 1, these words and the inventory's line, and leave no run."""
    began = time.monotonic()
    done = boards.run("empty")
    assert done.code == 1 and all(word in done.err for word in said), done.err
    assert "Traceback" not in done.err and time.monotonic() - began < 25 and not boards.runs


def test_a_board_of_another_key_user_host_or_without_a_python_that_fits_is_refused_in_words(boards: Boards) -> None:
    (device,) = boards.devices
    new_key(boards.folder / "other")
    boards.list_devices(key=str(boards.folder / "other"))
    refused(boards, "the log-in was refused", str(boards.folder / "other"), "inventory.yaml:")
    boards.list_devices(user="nobody-of-that-name")
    refused(boards, "the log-in was refused", "nobody-of-that-name@", "inventory.yaml:")
    boards.list_devices(host="no-such-host.invalid")
    refused(boards, "no such host", "inventory.yaml:")
    boards.list_devices(host=device.host.rpartition(".")[0] + ".77")
    refused(boards, f"{device.host.rpartition('.')[0]}.77:22", "inventory.yaml:")
    boards.list_devices(python="/usr/bin/python9")
    refused(boards, "there is no /usr/bin/python9", "`python:")
    device.path("/usr/bin/python3.7").write_text(OLD)
    device.path("/usr/bin/python3.7").chmod(0o755)
    boards.list_devices(python="/usr/bin/python3.7")
    refused(boards, "Python 3.7 is too old: 3.8 is needed", "`python: /usr/bin/python3.11`")
    device.kill()
    device.new_host_key()
    device.back()
    boards.list_devices()
    refused(boards, "its host key has changed", "ssh-keygen -R")


OLD = """\
#!/bin/sh
exec python3 -c '
import runpy, sys
sys.version_info = (3, 7, 3, "final", 0)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""


def test_the_first_lines_of_the_agent_are_understood_by_the_oldest_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", "")
    text = zipfile.ZipFile(bundle.build("empty")).read("__main__.py").decode("ascii")
    tree = ast.parse(text, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign)]
    prints = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    assert all(len(node.args) == 1 and not node.keywords for node in prints), "Python 2 would print a tuple"


# --- devices that lie in the midst of a run ------------------------------------------------------------------------


class Liar(Boards):
    """A loopback board, quick, whose workdir is at hand here."""

    def __init__(self, folder: Path, cache: Path, server: Sshd) -> None:
        super().__init__(folder, cache)
        self.there = folder / "there"
        keys: dict[str, object] = {"profile": "host", "host": server.host, "port": server.port, "user": server.user}
        keys |= {"key": str(server.key), "known_hosts": str(server.known_hosts), "workdir": str(self.there)}
        keys |= {"python": sys.executable, "patience_s": 5.0, "virtual": True, "runtimes": RUNTIMES}
        text = "devices:\n  liar:\n" + "".join(f"    {key}: {json.dumps(value)}\n" for key, value in keys.items())
        (self.folder / "inventory.yaml").write_text(text)

    @property
    def names(self) -> str:
        return "liar"

    @property
    def journal(self) -> Path:
        """The journal on the board; it must be there."""
        (file,) = self.there.glob("jobs/*/events.jsonl")
        return file


@pytest.fixture
def liar(sshd: Sshd, tmp_path: Path, shared_cache: Path) -> Iterator[Liar]:
    made = Liar(tmp_path / "home", shared_cache, sshd)
    yield made
    with contextlib.suppress(OSError, ValueError, KeyError):
        os.kill(json.loads((made.there / "lock").read_text())["pid"], signal.SIGKILL)


def garbage(file: Path) -> None:
    with file.open("ab") as journal:
        journal.write(os.urandom(5000) + b"\n")


def event_of_nothing(file: Path) -> None:
    with file.open("ab") as journal:
        journal.write(b'{"v":1,"seq":3,"t_ns":-1,"kind":"process","case_id":"../../evil"}\n')


def endless_line(file: Path) -> None:
    """1 GB without a line's end; it takes no room."""
    with file.open("ab") as journal:
        journal.truncate(2**30)


def link_to(target: str) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return make


def reply_with(**changes: object) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        job = json.loads((file.parent / "job.json").read_text())
        reply = {"run": job["run"], "job": job["job"], "reason": "decided", "blocks": 6, "events": 3}
        reply |= {"half_widths": {}, "blocks_needed": {}, "failed": {}, "facts": {}, "versions": {}}
        (file.parent / "reply.json").write_text(json.dumps({**reply, **changes}))

    return make


def reply_is(target: str) -> Callable[[Path], None]:
    return lambda file: (file.parent / "reply.json").symlink_to(target)


def huge_reply(file: Path) -> None:
    with (file.parent / "reply.json").open("wb") as reply:
        reply.truncate(2**30)


LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (garbage, "journal of "),
    "an event of another case": (event_of_nothing, "journal of "),
    "a line of 1 GB": (endless_line, "a line of more than 64 MiB"),
    "a journal that is /dev/zero": (link_to("/dev/zero"), "events; "),
    "a journal that is /etc/passwd": (link_to("/etc/passwd"), "events; "),
    "a reply that promises more": (reply_with(events=10**6), "promises 1000000 events"),
    "a reply of another job": (reply_with(job="../../evil", run="x"), "evil"),
    "a reply that is /dev/zero": (reply_is("/dev/zero"), "reply.json"),
    "a reply that is /etc/passwd": (reply_is("/etc/passwd"), "reply.json"),
    "a reply of 1 GB": (huge_reply, "reply.json"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_board_that_lies_in_a_run_is_an_error_and_takes_neither_memory_nor_files(liar: Liar, lie: str) -> None:
    how, said = LIES[lie]
    process = liar.begin("bulky", "--budget", "8", "--json")
    until(lambda: liar.runs and b'"kind":"process"' in store.journal_bytes(liar.runs[0], "bulky"), process)
    folder, before, outside = liar.runs[0], peak_mb(process.pid), files_outside(liar)
    how(liar.journal)
    peak = before
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            peak = max(peak, peak_mb(process.pid))
        time.sleep(0.1)
    done = ended(process)
    assert done.code == 1 and said in done.err and "Traceback" not in done.err, done.err
    assert "root:x:0" not in done.err + (folder / "run.json").read_text(), "a file of the board was read and shown"
    assert peak - before < 300, "memory of the controller in MB"
    assert files_outside(liar) == outside


def peak_mb(pid: int) -> float:
    """The most memory that a process ever had."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def files_outside(liar: Liar) -> set[Path]:
    """All files that are neither the run's nor the board's."""
    inside = (liar.runs[0], liar.there, liar.folder / ".cache")
    files = {path for path in liar.folder.parent.rglob("*") if path.is_file()}
    return {path for path in files if not any(path.is_relative_to(each) for each in inside)}
