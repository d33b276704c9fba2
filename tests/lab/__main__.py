"""The lab by hand: python -m tests.lab install | up | status | down.

`EDGE_LAB` is where the root file system and the state are kept, `EDGE_LAB_NAME` tells a second lab from the first.
"""

from __future__ import annotations

import os
import shutil
import sys

from . import inventory, machine, rootfs, slots
from .boards import KINDS
from .device import Device
from .machine import CACHE, LabError
from .sshd import NotReadyError, banner, new_key

NAME = os.environ.get("EDGE_LAB_NAME", "lab")
STATE = CACHE / f"state-{NAME}"
INVENTORY = STATE / "inventory.yaml"


def install() -> int:
    """Install what the lab needs, where that can be; say why where not, which stops nobody."""
    reason = machine.install() or machine.why_not()
    print(f"no virtual devices here, their tests will be skipped: {reason}" if reason else "ready for virtual devices")
    return 0


def up() -> int:
    """Start one device of each kind, unless all are up."""
    if reason := machine.install() or machine.why_not():
        print(f"no virtual devices here: {reason}", file=sys.stderr)
        return 1
    with machine.locked(STATE):
        if not (INVENTORY.exists() and len(running()) == len(KINDS)):
            clear()
            start()
    tell()
    return 0


def start() -> None:
    """Build what is missing, start the devices, write inventory, key and known hosts; the inventory last."""
    key = STATE / "id_ed25519"
    new_key(key)
    with slots.held():
        root = rootfs.build()
    devices = [Device(kind, root, key, owner=NAME) for kind in KINDS]
    for device in devices:
        device.up()
    known = STATE / "known_hosts"
    known.write_text("".join(device.known_hosts.read_text() for device in devices))
    for device in devices:
        device.known_hosts = known
    INVENTORY.write_text(inventory.virtual(*devices))


def running() -> dict[str, slots.Slot]:
    """Return the devices of this lab that answer, by name."""
    return {(slot.folder / "name").read_text(): slot for slot in slots.of(NAME) if answers(slot)}


def answers(slot: slots.Slot) -> bool:
    """Say whether a device's SSH server greets."""
    try:
        return banner(slot.host, Device.port).startswith(b"SSH-")
    except OSError:
        return False


def tell() -> None:
    """Say what is up and how it is used."""
    names = running()
    for name, slot in names.items():
        print(f"{name:<16} {slot.host:<14} {len(slot.processes())} processes")
    print(f"harness run --inventory {INVENTORY} --device {','.join(names)}")
    for name, slot in names.items():
        print(f"ssh -i {STATE}/id_ed25519 -o UserKnownHostsFile={STATE}/known_hosts root@{slot.host}  # {name}")
    print("make lab-down removes them")


def status() -> int:
    """Say what is up: exit 0 when all are, 1 otherwise."""
    if len(running()) == len(KINDS) and INVENTORY.exists():
        tell()
        return 0
    print(f"up: {', '.join(running()) or 'nothing'} (make lab)")
    return 1


def clear() -> None:
    """Remove the devices of this lab and of everyone who died; other labs' stay."""
    for slot in slots.of(NAME):
        slots.release(slot)
    slots.sweep()
    rootfs.forget_unfinished()


def down() -> int:
    """Remove devices and state, also after a crash; the root file system stays for the next time."""
    if os.getuid() or machine.missing():
        print("nothing is up: there can be no virtual devices here")
        return 0
    with machine.locked(STATE):
        clear()
        shutil.rmtree(STATE)
    return 0


def main(words: list[str]) -> int:
    """Run one verb."""
    verbs = {"install": install, "up": up, "status": status, "down": down}
    if len(words) != 1 or words[0] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return verbs[words[0]]()
    except (LabError, NotReadyError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
