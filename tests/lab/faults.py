"""Ways to break a virtual device, each with its way back. The kernel of this machine does the breaking, nothing is pretended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from .machine import LabError, call
from .slots import Slot

RESET = ("-j", "REJECT", "--reject-with", "tcp-reset")


class Faults:
    """What can be done to a device."""

    slot: Slot
    root: Path
    disk: Path

    @property
    def first(self) -> int:
        """The process that the device knows as number 1: its SSH server. Raises LabError when it is off."""
        if (pid := self.slot.first()) is None:
            raise LabError(f"{self.slot.netns} is off")
        return pid

    def ip(self, *words: str) -> str:
        """Run `ip` in the device's network."""
        return call("ip", "-n", self.slot.netns, *words)

    def in_network(self, *words: str) -> str:
        """Run a command of this machine in the device's network."""
        return call("ip", "netns", "exec", self.slot.netns, *words)

    def link_down(self) -> None:
        """Pull the network cable: nothing arrives, nobody is told."""
        self.ip("link", "set", "eth0", "down")

    def link_up(self) -> None:
        """Plug it in again."""
        self.ip("link", "set", "eth0", "up")

    def count_bytes(self) -> None:
        """Let the kernel count every connection from its beginning, so that a later cut knows what went through."""
        self.in_network("sysctl", "-q", "-w", "net.netfilter.nf_conntrack_acct=1")
        self.in_network("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "ACCEPT")

    def cut_after(self, size_bytes: int, direction: str = "both") -> None:
        """Reset each connection, open ones too, once so much has gone through it, until `uncut`.

        `direction`: original (to the device), reply (from it) or both; headers count. A new connection has as much again.
        """
        limit = ("-p", "tcp", "-m", "connbytes", "--connbytes", f"{size_bytes}:", "--connbytes-mode", "bytes")
        for chain in ("INPUT", "OUTPUT"):  # both ends are told
            self.in_network("iptables", "-I", chain, *limit, "--connbytes-dir", direction, *RESET)

    def uncut(self) -> None:
        """Let everything through again."""
        for chain in ("INPUT", "OUTPUT"):
            self.in_network("iptables", "-F", chain)
        self.count_bytes()

    def slow(self, mbit: float) -> None:
        """Limit the link to so many Mbit/s each way."""
        limit = ("root", "tbf", "rate", f"{mbit:g}mbit", "burst", "16kb", "latency", "200ms")
        call("tc", "qdisc", "replace", "dev", self.slot.link, *limit)
        self.in_network("tc", "qdisc", "replace", "dev", "eth0", *limit)

    def fast(self) -> None:
        """Take the limit away."""
        call("tc", "qdisc", "delete", "dev", self.slot.link, "root", check=False)
        call("ip", "netns", "exec", self.slot.netns, "tc", "qdisc", "delete", "dev", "eth0", "root", check=False)

    def fill_disk(self, size_mb: float = 0) -> None:
        """Leave so much room on the device's disk, for everyone who writes now and later."""
        state = os.statvfs(self.disk)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        # in whole pages, and never 0, which stands for no limit
        self._size(f"{max(used + int(size_mb * 1e6), 4096) // 4096 * 4}k")

    def free_disk(self) -> None:
        """Give the disk its size again."""
        from .device import DISK_MB

        self._size(f"{DISK_MB}m")

    def _size(self, size: str) -> None:
        call("mount", "-o", f"remount,size={size}", self.disk)

    def read_only_home(self) -> None:
        """Let nobody on the device open a file in root's home for writing; the rest of its disk stays as it was."""
        home = f"{self.root}/root"
        self._in_mounts("mount", "--bind", home, home)
        self._in_mounts("mount", "-o", "remount,bind,ro", home)

    def writable_home(self) -> None:
        """Undo `read_only_home`."""
        self._in_mounts("umount", f"{self.root}/root")

    def _in_mounts(self, *words: str) -> None:
        call("nsenter", f"--target={self.first}", "--mount", *words)

    def limit_memory(self, size_mb: float | None) -> None:
        """Let all programs of the device together have so much memory; the kernel kills what takes more. None: no limit.

        Raises LabError where this machine cannot limit memory.
        """
        limit = self._memory_limit()
        unlimited = "max" if limit.name == "memory.max" else "-1"
        limit.write_text(unlimited if size_mb is None else str(int(size_mb * 1e6)))
        for pid in self.slot.processes():  # what they start belongs to the group too
            with suppress(OSError):  # it may have ended meanwhile
                (limit.parent / "cgroup.procs").write_text(str(pid))

    def _memory_limit(self) -> Path:
        for group, name in zip(self.slot.groups, ("memory.limit_in_bytes", "memory.max"), strict=True):
            if (group.parent / "cgroup.procs").exists():
                group.mkdir(exist_ok=True)
                if (group / name).exists():
                    return group / name
                group.rmdir()
        raise LabError("this machine has no control group for memory")

    def freeze(self, everything: bool = False) -> None:
        """Stop the SSH server and its sessions, or every process: the kernel still takes connections, nobody answers."""
        self._signal(signal.SIGSTOP, everything)

    def thaw(self) -> None:
        """Let everything go on."""
        self._signal(signal.SIGCONT, everything=True)

    def _signal(self, number: int, everything: bool) -> None:
        for pid in self.slot.processes():
            with suppress(OSError):  # it may have ended meanwhile
                if everything or Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, number)
