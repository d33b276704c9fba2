"""What the lab needs of the machine it runs on: packages, and a kernel that runs aarch64 programs through QEMU."""

from __future__ import annotations

import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .sshd import find

PROGRAMS = {
    "qemu-aarch64-static": "qemu-user-static",
    "mmdebstrap": "mmdebstrap",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "update-binfmts": "binfmt-support",
    "ip": "iproute2",
    "iptables": "iptables",
}
POLICY = Path("/usr/sbin/policy-rc.d")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
RUN = Path("/run/edge-harness-lab")
# The real home: tests have one of their own, and the root file system is to outlive them.
CACHE = Path(os.environ.get("EDGE_LAB") or Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/edge-harness-lab")


class LabError(Exception):
    """Something the lab needs did not work; the text says which command and what it answered."""


def call(*words: str | Path, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed. Raises LabError when it fails, unless that may be."""
    argv = [find(str(words[0])) or str(words[0]), *map(str, words[1:])]
    # sudo and cron leave /usr/sbin out of PATH, where most of these live
    path = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=path | dict(environment or {}),
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def missing() -> list[str]:
    """Return the Debian packages that are not installed."""
    return sorted({package for program, package in PROGRAMS.items() if find(program) is None})


def why_not() -> str | None:
    """Return why there can be no virtual devices here, or None."""
    if os.getuid():
        return "virtual devices need root"
    if packages := missing():
        return f"not installed: {' '.join(packages)} (python -m tests.lab install)"
    kernel = Path("/proc/filesystems").read_text().split()
    if absent := [each for each in ("overlay", "tmpfs", "binfmt_misc") if each not in kernel]:
        return f"this kernel has no {' and no '.join(absent)}"
    try:
        call("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "mount", "-t", "tmpfs", "lab", "/mnt")
    except LabError as error:
        return f"namespaces are not allowed here: {error}"
    return None


def install() -> str | None:
    """Install what is missing, starting no service; return why that cannot be, or None."""
    if not (packages := missing()):
        return None
    if os.getuid() or find("apt-get") is None:
        return f"{' '.join(packages)} can be installed only by root, with apt-get"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        with _no_services():
            call("apt-get", "update", "-q", environment=quiet)
            call("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages, environment=quiet)
    except LabError as error:
        return str(error)
    return None


@contextmanager
def _no_services() -> Iterator[None]:
    """openssh-server would open port 22 of this machine to the world."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one lab at a time; the kernel frees it when the holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def emulate() -> None:
    """Let the kernel run aarch64 programs, and note down what had to be done for it; call with RUN locked."""
    if not (BINFMT / "status").exists():
        (RUN / "mounted").touch()
        call("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    if not (BINFMT / "qemu-aarch64").exists():
        (RUN / "enabled").touch()
        call("update-binfmts", "--enable", "qemu-aarch64")


def stop_emulating() -> None:
    """Undo what `emulate` did, and nothing else; call with RUN locked and no device left."""
    if (RUN / "enabled").exists() and (BINFMT / "qemu-aarch64").exists():
        call("update-binfmts", "--disable", "qemu-aarch64")
    if (RUN / "mounted").exists() and (BINFMT / "status").exists():
        call("umount", BINFMT)
    for note in ("enabled", "mounted"):
        (RUN / note).unlink(missing_ok=True)
