"""Devices on this machine behind a real SSH server, each with a workdir of its own, and the command as a user has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import content
from harness.records import Address
from tests.lab.sshd import Sshd, find

SFTP = "/usr/lib/openssh/sftp-server"
# Every command is written down; the file server, which is asked for as one, is what it would have been.
_NOTING = f"""#!/bin/sh
[ "$SSH_ORIGINAL_COMMAND" = {SFTP} ] && exec {SFTP}
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >> "$(dirname "$0")/commands"
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
_LIMIT_S = 900.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Done:
    """What became of one command: its wall time, when the last run was stored, and what the controller took."""

    wall_s: float
    stored_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class World:
    """A folder with an SSH server, an inventory, a cache and content of its own."""

    folder: Path
    server: Sshd

    @property
    def address(self) -> Address:
        """Where the server is, for a transport."""
        s = self.server
        return Address(s.host, s.port, s.user, str(s.key), known_hosts=str(s.known_hosts))

    def devices(self, count: int, python: str = sys.executable) -> None:
        """Write an inventory of `local` and so many devices over SSH, `b0`, `b1`, ..., all tagged `lab`."""
        s, lines = self.server, ["devices:", f"  local: {{profile: host, workdir: {self.workdir('local')}}}"]
        reached = f"host: {s.host}, port: {s.port}, user: {s.user}, key: {s.key}, known_hosts: {s.known_hosts}"
        lines += [
            f"  b{n}: {{profile: host, {reached}, workdir: {self.workdir(f'b{n}')}, python: {python}, "
            "runtimes: [empty, sleeps], tags: [lab]}"
            for n in range(count)
        ]
        (self.folder / "inventory.yaml").write_text("\n".join(lines) + "\n")

    def workdir(self, name: str) -> Path:
        """Where a device keeps its things."""
        return self.folder / "boards" / name

    def sleeping(self, seconds: float) -> None:
        """Make the runtime `sleeps`: `empty`, but an inference takes so long and no processor."""
        file = self.folder / "content" / "runtimes" / "sleeps.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = content.find("runtime", "empty").read_text()
        text = text.replace("import json\n", "import json\nimport time\n", 1)
        file.write_text(text.replace('"""Do nothing, once."""', f"time.sleep({seconds})", 1))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `harness run` on the smallest model, untrained, without controls."""
        command = [sys.executable, "-m", "harness", "run", "--model", "tiny", "--method", "order", "--no-controls"]
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HARNESS_CONTENT": str(self.folder / "content"),
            "PYTHONUNBUFFERED": "1",
        }
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            return subprocess.Popen([*command, *words], cwd=self.folder, env=environment, stdout=out, stderr=err)

    def run(self, *words: str) -> Done:
        """Carry the command out. Raises RuntimeError with its last words when it fails."""
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        began, clock, before, peak_kb = time.monotonic(), time.time(), os.times(), 0
        process = self.start(*words, "--json")
        while process.poll() is None:
            time.sleep(_LOOK_S)
            peak_kb = max(peak_kb, _peak_kb(process.pid))
            if time.monotonic() - began > _LIMIT_S:
                process.kill()
        if process.returncode != 0:
            raise RuntimeError((self.folder / "err").read_text()[-2000:])
        wall_s, after = time.monotonic() - began, os.times()
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        stored = [file.stat().st_mtime - clock for file in self.folder.glob("results/*/*/run.json")]
        return Done(wall_s, max(stored), cpu_s, peak_kb / 1024)

    def commands(self) -> list[str]:
        """The commands that the server was asked for since the last time, where it writes them down."""
        file = self.folder / "commands"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@contextlib.contextmanager
def world(*, noting: bool = False) -> Iterator[World]:
    """Give a world; its server writes the commands down, with `noting`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        script = folder / "note"
        script.write_text(_NOTING)
        script.chmod(0o755)
        made = Sshd(folder / "sshd", sftp=SFTP, force_command=str(script)) if noting else Sshd(folder / "sshd")
        with made as server:
            there = World(folder, server)
            there.sleeping(0.001)
            yield there


def missing(*programs: str) -> str:
    """Which of these programs are not installed, in words; empty when all are."""
    gone = [program for program in programs if find(program) is None]
    return f"{' and '.join(gone)} not installed" if gone else ""


def _peak_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
