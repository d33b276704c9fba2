"""Put, start, follow, get: the verbs between the controller and a device's workdir.

    workdir/agents/agent-<hash>.pyz    artifacts/<sha256>    wheels/<sha256>    envs/<key>/    jobs/<job>/...    lock    spin.json

Files are the interface: what is named by its hash is sent once, everything is written whole or not at all, and the
agent runs detached, so that link and controller may go away at any moment. `Local` is this machine, `Ssh` any other.

    device.py     what any device can be asked for, here or there (`Transport`), and what its answers must be
    local.py      this machine: files and child processes
    ssh.py        a board: the verbs as files and three commands
    remote.py     its workdir through SFTP: one listing tells what is missing, transfers go on where they were cut
    link.py       the connection under it: time-outs and a watchdog for everything, found again when it was lost
    echo.py       exchanges of times with a board, over one kept channel
    hosts.py      who is at the other end: host keys of the board and of the jump hosts before it
    configured.py what the user's SSH configuration says of them
    refusals.py   why a connection was not made, in words
"""

from __future__ import annotations

from pathlib import Path

from harness.records import Device
from harness.transport.device import KEEP_BYTES, ROOM_BYTES, Transport, require_room, told
from harness.transport.local import Local

__all__ = ["KEEP_BYTES", "ROOM_BYTES", "Local", "Transport", "connect", "require_room", "told"]


def connect(device: Device) -> Transport:
    """Return the transport that the inventory names for a device; nothing is sent yet."""
    if device.address is None:
        return Local(device.name, Path(device.workdir))
    from harness.transport.ssh import Ssh

    return Ssh(device.name, device.address, device.workdir, device.python)
