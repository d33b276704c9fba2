"""Places for virtual devices: a number each, and from it every name and address that a device takes on this machine.

Whatever happens to whoever made a device, its number is enough to remove it: processes are found by the network namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .machine import RUN, LabError, call, emulate, locked, stop_emulating


@dataclass(frozen=True)
class Slot:
    """One place: its folder in /run, network namespace, both ends of its link, address."""

    number: int

    @property
    def folder(self) -> Path:
        return RUN / str(self.number)

    @property
    def netns(self) -> str:
        return f"edgelab{self.number}"

    @property
    def link(self) -> str:
        """This machine's end; the device's own is `eth0` within its namespace."""
        return f"edgelab{self.number}h"

    @property
    def host(self) -> str:
        return f"10.77.{self.number}.2"

    @property
    def gateway(self) -> str:
        return f"10.77.{self.number}.1"

    @property
    def groups(self) -> tuple[Path, Path]:
        """Where a control group of its own may be: version 1's for memory, version 2's."""
        top = Path("/sys/fs/cgroup")
        return top / "memory" / self.netns, top / self.netns

    def processes(self) -> list[int]:
        """Return every process of the device, by this machine's numbers."""
        return [int(word) for word in call("ip", "netns", "pids", self.netns, check=False).split()]

    def first(self) -> int | None:
        """Return the process that the device knows as number 1, or None."""
        for pid in self.processes():
            if _status(pid, "NSpid").split()[1:] == ["1"]:
                return pid
        return None


def claim(owner: str | None = None) -> Slot:
    """Take a free place for this process, or for a named lab that outlives it. Raises LabError when all are taken."""
    with locked(RUN):
        emulate()
        taken = call("ip", "-o", "address") + call("ip", "-o", "link")
        for number in range(1, 255):
            slot = Slot(number)
            if not slot.folder.exists() and f" 10.77.{number}." not in taken and f" {slot.link}@" not in taken:
                slot.folder.mkdir()
                (slot.folder / "owner").write_text(f"lab {owner}" if owner else _identity(os.getpid()))
                return slot
    raise LabError("all 254 places for virtual devices are taken")


@contextmanager
def held() -> Iterator[None]:
    """Hold a place without a device: aarch64 programs run meanwhile, whoever removes the last device."""
    slot = claim()
    try:
        yield
    finally:
        release(slot)


def taken() -> list[Slot]:
    """Return all places that someone took."""
    return [Slot(int(folder.name)) for folder in sorted(RUN.glob("[0-9]*"), key=lambda each: int(each.name))]


def of(owner: str) -> list[Slot]:
    """Return the places of a named lab."""
    return [slot for slot in taken() if _owner(slot) == f"lab {owner}"]


def sweep() -> None:
    """Remove the devices of processes that died, and give back the kernel's settings if none is left."""
    with locked(RUN):
        left_behind = [slot for slot in taken() if _orphaned(slot)]
        if not taken():
            stop_emulating()
    for slot in left_behind:
        release(slot)


def _owner(slot: Slot) -> str:
    """Return who took a place: a lab, or a process as number and start; empty when it died while taking it."""
    try:
        return (slot.folder / "owner").read_text()
    except OSError:
        return ""


def _orphaned(slot: Slot) -> bool:
    who = _owner(slot)
    return not who.startswith("lab ") and (not who or _identity(int(who.split()[0])) != who)


def release(slot: Slot) -> None:
    """Remove a device and whatever is left of one; give back the kernel's settings after the last."""
    with locked(RUN):
        kill(slot)
        if slot.netns in call("ip", "netns", "list").split():
            call("ip", "netns", "delete", slot.netns)
        call("ip", "link", "delete", slot.link, check=False)  # gone with the namespace, unless it never got there
        unmount(slot.folder)
        for group in filter(Path.is_dir, slot.groups):
            group.rmdir()
        shutil.rmtree(slot.folder, ignore_errors=True)
        if not taken():
            stop_emulating()


def kill(slot: Slot) -> None:
    """End every process of a device at once, and wait until all are gone. Raises LabError after 10 s."""
    if first := slot.first():  # the kernel ends a process namespace as a whole with its first process
        _kill(first)
    until = time.monotonic() + 10
    while left := [pid for pid in slot.processes() if not _status(pid, "State").startswith("Z")]:
        for pid in left:
            _kill(pid)
        if time.monotonic() > until:
            raise LabError(f"processes {left} of {slot.netns} do not end")
        time.sleep(0.01)


def unmount(folder: Path) -> None:
    """Take away everything mounted at a folder or below, the last first."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed([each for each in places if Path(each).is_relative_to(folder)]):
        call("umount", "--lazy", place)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _status(pid: int, key: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:")), "")


def _identity(pid: int) -> str:
    """A process's number and start: numbers come round again."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""
