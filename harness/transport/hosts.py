"""Who is at the other end: connections with verified host keys, as the user's SSH configuration has them, and what went
wrong in words that end in a next move.

fabric reads `~/.ssh/config` and `/etc/ssh/ssh_config` (aliases, users, ports, keys, ProxyJump, ProxyCommand) and paramiko
asks the user's agent. fabric accepts any host key by default; here an unknown one is refused, for jump hosts too.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from harness.errors import DeviceError
from harness.records import Address

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it would print, our errors say

CONNECT_S = 6.0
"""For TCP, the other side's banner and the log-in, each: a dead host is told of within 10 s of the command."""

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


class UnknownHostError(paramiko.SSHException):  # type: ignore[misc]
    """A host whose key nobody has vouched for."""

    def __init__(self, host: str, key: paramiko.PKey) -> None:
        super().__init__(f"{host} is not known")
        self.host, self.key = host, key


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise UnknownHostError(hostname, key)


def connection(address: Address) -> fabric.Connection:
    """Return a connection, not open yet, whose host keys and those of its jump hosts are verified."""
    made = fabric.Connection(
        address.host,
        user=address.user,
        port=address.port,
        gateway=_jump(address.jump) if address.jump else None,
        connect_timeout=CONNECT_S,
        connect_kwargs=_keywords(address),
    )
    for hop in _hops(made):
        hop.connect_timeout = CONNECT_S
        hop.connect_kwargs = {**_keywords(address), **hop.connect_kwargs}
        hop.client.set_missing_host_key_policy(_Refuse())
        for file in known_hosts(address, hop):
            hop.client.load_system_host_keys(str(file))
    return made


def _jump(word: str) -> fabric.Connection:
    """The connection to `[user@]host[:port]`; fabric itself cannot read an IPv6 address in brackets."""
    found = re.fullmatch(r"(?:(.+)@)?(?:\[(.+)\]|([^:]+))(?::(\d+))?", word)
    assert found is not None, "the inventory's door has checked it"
    user, address, name, port = found.groups()
    return fabric.Connection(address or name, user=user, port=int(port) if port else None)


def known_hosts(address: Address, hop: fabric.Connection) -> list[Path]:
    """Return the files that vouch for hosts: the inventory's, else those of the SSH configuration, else OpenSSH's own."""
    if address.known_hosts is not None:
        named = Path(address.known_hosts).expanduser()
        return [named] if named.is_file() else []  # as OpenSSH: none that vouches, and the host is unknown
    configured = hop.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    files = [Path(word).expanduser() for word in configured]
    return [file for file in (*files, _SYSTEM_KNOWN_HOSTS) if file.is_file()]


def _keywords(address: Address) -> dict[str, Any]:
    own = {"key_filename": str(Path(address.key).expanduser())} if address.key else {}
    return {"banner_timeout": CONNECT_S, "auth_timeout": CONNECT_S, "channel_timeout": CONNECT_S, **own}


def _hops(last: fabric.Connection) -> Iterator[fabric.Connection]:
    """The connection and the jump hosts before it."""
    hop: Any = last
    while isinstance(hop, fabric.Connection):
        yield hop
        hop = hop.gateway


# --- what went wrong -----------------------------------------------------------------------------------------------


def refusal(name: str, address: Address, made: fabric.Connection | None, error: BaseException) -> DeviceError:
    """Return the error for a connection that was not made: the host tried, the cause, and the next move."""
    host = f"{made.user}@{made.host}:{made.port}" if made is not None else address.host
    if isinstance(error, NoValidConnectionsError):  # one error for each address that a name has
        error = next(iter(error.errors.values()))
    if isinstance(error, paramiko.BadHostKeyException) and made is not None and made.port != 22:
        error.hostname = f"[{error.hostname}]:{made.port}"  # as known_hosts writes it
    explain = next((explain for kind, explain in _CAUSES.items() if isinstance(error, kind)), _other)
    cause, hint = explain(error, address)
    place = f" ({address.declared})" if address.declared else ""
    return DeviceError(f"device {name}: {host}{place}: {cause}", hint)


def _unknown(error: Any, address: Address) -> tuple[str, str]:
    host, port = _host_and_port(error.host)
    file = address.known_hosts or "~/.ssh/known_hosts"
    kind = error.key.get_name().removeprefix("ssh-").partition("-")[0]
    return (
        f"its host key ({error.key.get_name()} {_fingerprint(error.key)}) is not known here",
        f"Compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub` says on the board, then add it: "
        f"ssh-keyscan -t {kind} -p {port} {host} >> {file}",
    )


def _changed(error: Any, address: Address) -> tuple[str, str]:
    file = f" -f {address.known_hosts}" if address.known_hosts else ""
    return (
        f"its host key has changed: it is {error.key.get_name()} {_fingerprint(error.key)}, "
        f"known is {error.expected_key.get_name()} {_fingerprint(error.expected_key)}",
        f"Somebody may be in between. If the board was set up anew: ssh-keygen -R '{error.hostname}'{file}, "
        "then connect once by hand.",
    )


def _login(error: Any, address: Address) -> tuple[str, str]:
    tried = f"the key {address.key}" if address.key else "your SSH agent and the keys in ~/.ssh"
    return (
        f"the log-in was refused ({error}); tried was {tried}",
        "Give `user` and `key`, or let the board know your key: ssh-copy-id.",
    )


def _locked(error: Any, address: Address) -> tuple[str, str]:
    return "the private key is locked by a passphrase", "Add it to your SSH agent: ssh-add FILE."


def _resolved(error: Any, address: Address) -> tuple[str, str]:
    return f"no such host ({error.strerror or error})", "Mend `host`, or give the board's address."


def _slow(error: Any, address: Address) -> tuple[str, str]:
    return f"no answer within {CONNECT_S:g} s", "Is it switched on, and reachable from here?"


def _refused(error: Any, address: Address) -> tuple[str, str]:
    return "nothing listens there (connection refused)", "Does an SSH server run on it, on this port?"


def _configured(error: Any, address: Address) -> tuple[str, str]:
    return f"your SSH configuration cannot be read ({error})", "Mend ~/.ssh/config."


def _protocol(error: Any, address: Address) -> tuple[str, str]:
    if "private key file" in str(error):  # paramiko has no error of its own for it
        return f"its private key cannot be read ({error})", "Give a private key in `key`, not its .pub."
    return f"it does not answer as an SSH server does ({error})", "Is this its SSH port, and the server in order?"


def _other(error: Any, address: Address) -> tuple[str, str]:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"it cannot be reached ({said})", "Is it switched on, and in this network?"


_CAUSES: dict[type[BaseException], Any] = {
    UnknownHostError: _unknown,
    paramiko.BadHostKeyException: _changed,
    paramiko.PasswordRequiredException: _locked,
    paramiko.AuthenticationException: _login,
    socket.gaierror: _resolved,
    TimeoutError: _slow,
    ConnectionRefusedError: _refused,
    paramiko.ConfigParseError: _configured,
    paramiko.SSHException: _protocol,
    EOFError: _protocol,
}


def _host_and_port(known: str) -> tuple[str, str]:
    """Take `[host]:port`, as known_hosts writes a port that is not 22, apart."""
    host, colon, port = known.rpartition("]:")
    return (host.removeprefix("["), port) if colon else (known, "22")


def _fingerprint(key: paramiko.PKey) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
