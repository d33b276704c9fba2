"""One virtual device: an arm64 Debian under emulation, with a disk, an address and processes of its own.

Its root is an overlay over the shared root file system; what it writes goes to a small disk in memory, which outlives a power
cut and ends with `down`. `faults` has the ways to break it.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

from . import boards, slots
from .faults import Faults
from .machine import call
from .slots import Slot
from .sshd import new_key, public, wait_for

BOOT = Path(__file__).with_name("boot.sh")
DISK_MB = 4096
START_LIMIT_S = 20.0


class Device(Faults):
    """A device of one of `boards.KINDS`, logged into as root with `key`; `host` answers while it is up.

    `owner` names a lab that outlives this process. `known_hosts` holds the key that the device was made with, `workdir` is
    where the harness keeps its things there.
    """

    port, user, workdir = 22, "root", "~/.edge-harness"

    def __init__(self, kind: str, rootfs: Path, key: Path, name: str | None = None, owner: str | None = None) -> None:
        self.kind, self.rootfs, self.key = boards.KINDS[kind], rootfs, key
        self.name = name or f"{kind}-virtual"
        self.slot: Slot = slots.claim(owner)
        self.root, self.disk = self.slot.folder / "root", self.slot.folder / "disk"
        self.known_hosts, self.log = self.slot.folder / "known_hosts", self.slot.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Its address."""
        return self.slot.host

    def __enter__(self) -> Device:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Make the device and start it. Raises LabError, NotReadyError."""
        (self.slot.folder / "name").write_text(self.name)
        self._make_disk()
        self._make_network()
        self._furnish()
        self.boot()

    def boot(self) -> None:
        """Start what a power cut ended, with a new boot id; /sys is as after any start, the disk as it was left."""
        fakes = self.slot.folder / "fakes"
        fakes.mkdir(exist_ok=True)
        texts = {
            "cpuinfo": boards.cpuinfo(self.kind),
            "meminfo": boards.meminfo(self.kind),
            "boot_id": f"{uuid.uuid4()}\n",
        }
        for name, text in texts.items():
            (fakes / name).write_text(text)
        self._fresh_sys()
        apart = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "slave"]
        command = ["nsenter", f"--net=/run/netns/{self.slot.netns}", *apart, "sh", str(BOOT)]
        command += [str(self.root), self.name, self.kind.cpu, str(fakes)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self.host, self.port, self._process, self.log, START_LIMIT_S)

    def kill(self) -> None:
        """Cut the power: every process ends at once, and nobody at the other end of a connection is told."""
        self.link_down()
        slots.kill(self.slot)
        self._reap()

    def back(self) -> None:
        """Power again after `kill`: the same disk, another boot id."""
        self.link_up()
        self.boot()

    def down(self) -> None:
        """Remove the device and everything that it had; as often as you like."""
        slots.release(self.slot)
        self._reap()

    def run(self, *argv: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the device, past its SSH server. Raises CalledProcessError unless a failure may be."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "QEMU_CPU": self.kind.cpu}
        inside = [
            "nsenter",
            f"--target={self.first}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd=/",
        ]
        settings: dict[str, object] = {"env": environment, "capture_output": True, "text": True, "check": check}
        return subprocess.run([*inside, *argv], **settings | options)  # type: ignore[call-overload,no-any-return]

    def path(self, place: str) -> Path:
        """Return where a file of the device's disk lies on this machine; `~` is root's home there."""
        absolute = place.replace("~", "/root", 1) if place.startswith("~") else place
        return self.root / absolute.lstrip("/")

    def new_host_key(self) -> None:
        """Give the device another host key, from its next start on; `known_hosts` keeps the one before."""
        file = self.path("/etc/ssh/ssh_host_ed25519_key")
        file.parent.mkdir(parents=True, exist_ok=True)
        new_key(file)

    def _make_disk(self) -> None:
        for folder in (self.root, self.disk):
            folder.mkdir()
        call("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "edgelab", self.disk)
        for name in ("upper", "work"):
            (self.disk / name).mkdir()
        layers = f"lowerdir={self.rootfs},upperdir={self.disk}/upper,workdir={self.disk}/work"
        call("mount", "-t", "overlay", "-o", layers, "edgelab", self.root)

    def _make_network(self) -> None:
        slot = self.slot
        call("ip", "netns", "add", slot.netns)
        call("ip", "link", "add", slot.link, "type", "veth", "peer", "name", "eth0", "netns", slot.netns)
        call("ip", "address", "add", f"{slot.gateway}/24", "dev", slot.link)
        call("ip", "link", "set", slot.link, "up")
        self.ip("address", "add", f"{slot.host}/24", "dev", "eth0")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        self.count_bytes()

    def _furnish(self) -> None:
        self.new_host_key()
        host_key = public(self.path("/etc/ssh/ssh_host_ed25519_key"))
        self.known_hosts.write_text(f"{self.host} {host_key}\n")
        allowed = self.path("~/.ssh/authorized_keys")
        allowed.write_text(public(self.key) + "\n")
        allowed.chmod(0o600)
        self.path("/etc/hostname").write_text(f"{self.name}\n")
        for place, file in boards.commands(self.kind).items():
            shutil.copy(file, self.path(place))

    def _fresh_sys(self) -> None:
        shutil.rmtree(self.path("/sys"))
        for place, text in boards.tree(self.kind).items():
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
            self.path(place).write_text(text)
        for place, target in boards.links(self.kind).items():
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
            self.path(place).symlink_to(target)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(10)
            self._process = None
