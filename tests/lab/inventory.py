"""Inventories for what the lab offers."""

from __future__ import annotations

import json
from pathlib import Path

from .device import Device
from .sshd import Target


def entry(name: str, target: Target, profile: str, workdir: str | Path, virtual: bool = False) -> str:
    """Return the lines of one device."""
    lines = {"profile": profile, "host": target.host, "port": target.port, "user": target.user, "key": str(target.key)}
    lines |= {"known_hosts": str(target.known_hosts), "workdir": str(workdir)}
    text = f"  {name}:\n" + "".join(f"    {key}: {json.dumps(value)}\n" for key, value in lines.items())
    return text + ("    virtual: true\n    tags: [lab]\n" if virtual else "")


def virtual(*devices: Device) -> str:
    """Return the whole inventory of virtual devices."""
    entries = [entry(each.name, each, each.kind.profile, each.workdir, virtual=True) for each in devices]
    return "devices:\n" + "".join(entries)
