"""Who is at the other end: connections with verified host keys, as the user's SSH configuration has them.

Aliases, users, ports, keys, ProxyJump and ProxyCommand are OpenSSH's (`configured`), and paramiko asks the user's agent.
fabric accepts any host key by default; here an unknown one is refused, for jump hosts too.
"""

from __future__ import annotations

import logging
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabric
import paramiko

from harness.records import Address
from harness.transport import configured

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it would print, our errors say

CONNECT_S = 6.0
"""For TCP, the other side's banner and the log-in, each: a dead host is told of within 10 s of the command."""

_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


class UnknownHostError(paramiko.SSHException):  # type: ignore[misc]
    """A host whose key nobody has vouched for."""

    def __init__(self, host: str, key: paramiko.PKey) -> None:
        super().__init__(f"{host} is not known")
        self.host, self.key = host, key


class RevokedError(paramiko.SSHException):  # type: ignore[misc]
    """A host with a key that the user's known hosts revoke."""

    def __init__(self, host: str, key: paramiko.PKey) -> None:
        super().__init__(f"{host} has a revoked key")
        self.host, self.key = host, key


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise UnknownHostError(hostname, key)


class FilesError(Exception):
    """The board let us in, and its file service does not answer as one."""


class HopError(Exception):
    """Opening one of the connections failed: the board's own, or one to a jump host. Its cause is why."""

    def __init__(self, hop: fabric.Connection) -> None:
        super().__init__(hop.host)
        self.hop = hop


def connection(address: Address) -> fabric.Connection:
    """Return a connection, not open yet, whose host keys and those of its jump hosts are verified."""
    return _made(address.host, address.user, address.port, address.jump, address)


def open_all(last: fabric.Connection) -> None:
    """Open the connections to the jump hosts and then the board's. Raises HopError."""
    for hop in reversed(list(hops(last))):
        try:
            hop.open()
            _require_not_revoked(hop)
        except Exception as error:
            raise HopError(hop) from error


def _made(host: str, user: str | None, port: int | None, jump: str | None, address: Address) -> fabric.Connection:
    config, jumps = configured.of(host, user, port)
    gateway = None
    for word in (jump,) if jump else jumps:
        gateway = _jump(word, gateway, address)
    made = fabric.Connection(host, user=user, port=port, gateway=gateway, config=config, connect_timeout=CONNECT_S)
    made.connect_kwargs = {**_keywords(address), **made.connect_kwargs}
    if address.key:  # before whatever the configuration names
        made.connect_kwargs["key_filename"] = [_own_key(address), *_named_keys(made)]
    _trust(made, address)
    return made


def _jump(word: str, gateway: fabric.Connection | None, address: Address) -> fabric.Connection:
    """The connection to `[user@]host[:port]`, through another; fabric itself cannot read an IPv6 address in brackets."""
    found = re.fullmatch(r"(?:ssh://)?(?:(.+)@)?(?:\[(.+)\]|([^:]+))(?::(\d+))?", word)
    if found is None:
        raise paramiko.ConfigParseError(f"ProxyJump {word!r} is no [user@]host[:port]")
    user, bare, name, port = found.groups()
    made = _made(bare or name, user, int(port) if port else None, None, address)
    made.gateway = gateway or made.gateway
    return made


# --- whom to trust -------------------------------------------------------------------------------------------------


def _trust(hop: fabric.Connection, address: Address) -> None:
    """Let the files of known hosts vouch, line by line: one that paramiko cannot read must not hide the others."""
    hop.client.set_missing_host_key_policy(_Refuse())
    lines = [
        line.strip() for file in known_hosts(address, hop) for line in file.read_text("utf-8", "replace").split("\n")
    ]
    hop.client.revoked = {words[3] for words in map(str.split, lines) if words[:1] == ["@revoked"] and len(words) > 3}
    with tempfile.NamedTemporaryFile("w", suffix=".known_hosts") as readable:
        readable.write("".join(f"{line}\n" for line in lines if _is_readable(line)))
        readable.flush()
        hop.client.load_system_host_keys(readable.name)
        alias = hop.ssh_config.get("hostkeyalias")
        for key in (paramiko.HostKeys(readable.name).lookup(alias) or {}).values() if alias else ():
            hop.client.get_host_keys().add(known_name(hop), key.get_name(), key)


def _is_readable(line: str) -> bool:
    """Whether a line vouches for a plain key. Authorities (`@cert-authority`) are not known to paramiko."""
    if not line or line[0] in "#@":
        return False
    try:
        return paramiko.hostkeys.HostKeyEntry.from_line(line) is not None
    except Exception:  # whatever a damaged line makes it trip over
        return False


def _require_not_revoked(hop: fabric.Connection) -> None:
    key = hop.transport.get_remote_server_key()
    if key.get_base64() in hop.client.revoked:
        raise RevokedError(known_name(hop), key)


def known_name(hop: fabric.Connection) -> str:
    """Return a host as known_hosts writes it."""
    return str(hop.host) if hop.port == 22 else f"[{hop.host}]:{hop.port}"


def known_hosts(address: Address, hop: fabric.Connection) -> list[Path]:
    """Return the files that vouch for hosts: the inventory's, else those of the SSH configuration, else OpenSSH's own."""
    if address.known_hosts is not None:
        named = Path(address.known_hosts).expanduser()
        return [named] if named.is_file() else []  # as OpenSSH: none that vouches, and the host is unknown
    users = hop.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    everybody = hop.ssh_config.get("globalknownhostsfile", _SYSTEM_KNOWN_HOSTS)
    files = [Path(word).expanduser() for word in shlex.split(f"{users} {everybody}")]
    return [file for file in files if file.is_file()]


def _keywords(address: Address) -> dict[str, Any]:
    return dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), CONNECT_S)


def _own_key(address: Address) -> str:
    return str(Path(address.key or "").expanduser())


def _named_keys(made: fabric.Connection) -> list[str]:
    named = made.connect_kwargs.get("key_filename", [])
    return [named] if isinstance(named, str) else list(named)


def hops(last: fabric.Connection) -> Iterator[fabric.Connection]:
    """Yield the connection and the jump hosts before it."""
    hop: Any = last
    while isinstance(hop, fabric.Connection):
        yield hop
        hop = hop.gateway
