"""Why a connection was not made, in words that end in a next move."""

from __future__ import annotations

import base64
import hashlib
import socket
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from harness.errors import DeviceError
from harness.records import Address
from harness.transport import hosts


@dataclass(frozen=True)
class Tried:
    """A connection that was tried: the inventory's address, and the one of its hops that failed, where it is known."""

    address: Address
    hop: fabric.Connection | None

    @property
    def host(self) -> str:
        """Whom it was tried to reach: a jump host is called one."""
        if self.hop is None:
            return self.address.host
        role = "" if self.hop.original_host == self.address.host else "jump host "
        return f"{role}{self.hop.user}@{self.hop.host}:{self.hop.port}"

    @property
    def before(self) -> str:
        """The jump host through which it was tried, as a prefix for commands: what lies behind cannot be asked from here."""
        gateway = self.hop.gateway if self.hop is not None else None
        if not isinstance(gateway, fabric.Connection):
            return ""
        return f"ssh -p {gateway.port} {gateway.user}@{gateway.host} "

    @property
    def known_hosts(self) -> str:
        """The file to add a host to."""
        return self.address.known_hosts or "~/.ssh/known_hosts"


def refusal(name: str, tried: Tried, error: BaseException) -> DeviceError:
    """Return the error for a connection that was not made: the host tried, the cause, and the next move."""
    if isinstance(error, NoValidConnectionsError):  # one error for each address that a name has
        error = next(iter(error.errors.values()))
    explain = next((explain for kind, explain in _CAUSES.items() if isinstance(error, kind)), _other)
    cause, hint = explain(error, tried)
    place = f" ({tried.address.declared})" if tried.address.declared else ""
    return DeviceError(f"device {name}: {tried.host}{place}: {cause}", hint)


def _unknown(error: Any, tried: Tried) -> tuple[str, str]:
    host, port = _host_and_port(error.host)
    kind = error.key.get_name().removeprefix("ssh-").partition("-")[0]
    return (
        f"its host key ({error.key.get_name()} {_fingerprint(error.key)}) is not known here",
        f"Compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub` says on the board, then add it: "
        f"{tried.before}ssh-keyscan -t {kind} -p {port} {host} >> {tried.known_hosts}",
    )


def _changed(error: Any, tried: Tried) -> tuple[str, str]:
    file = f" -f {tried.address.known_hosts}" if tried.address.known_hosts else ""
    name = hosts.known_name(tried.hop) if tried.hop is not None else error.hostname
    return (
        f"its host key has changed: it is {error.key.get_name()} {_fingerprint(error.key)}, "
        f"known is {error.expected_key.get_name()} {_fingerprint(error.expected_key)}",
        f"Somebody may be in between. If the board was set up anew: ssh-keygen -R '{name}'{file}, "
        "then connect once by hand.",
    )


def _login(error: Any, tried: Tried) -> tuple[str, str]:
    keys = f"the key {tried.address.key}" if tried.address.key else "your SSH agent and the keys in ~/.ssh"
    return (
        f"the log-in was refused ({error}); tried was {keys}",
        "Give `user` and `key`, or let the board know your key: ssh-copy-id.",
    )


def _locked(error: Any, tried: Tried) -> tuple[str, str]:
    return "the private key is locked by a passphrase", "Add it to your SSH agent: ssh-add FILE."


def _revoked(error: Any, tried: Tried) -> tuple[str, str]:
    return (
        f"its host key ({error.key.get_name()} {_fingerprint(error.key)}) is revoked in {tried.known_hosts}",
        "Somebody may have its old key. Give the board a new one.",
    )


def _no_files(error: Any, tried: Tried) -> tuple[str, str]:
    return (
        f"its file service does not answer as it should ({error})",
        "Its sshd needs `Subsystem sftp`, and what a log-in runs (~/.bashrc) must print nothing when nobody looks on.",
    )


def _resolved(error: Any, tried: Tried) -> tuple[str, str]:
    return f"no such host ({error.strerror or error})", "Mend `host`, or give the board's address."


def _slow(error: Any, tried: Tried) -> tuple[str, str]:
    return f"no answer within {hosts.CONNECT_S:g} s", "Is it switched on, and reachable from here?"


def _refused(error: Any, tried: Tried) -> tuple[str, str]:
    return "nothing listens there (connection refused)", "Does an SSH server run on it, on this port?"


def _configured(error: Any, tried: Tried) -> tuple[str, str]:
    return f"your SSH configuration cannot be read ({error})", "Mend ~/.ssh/config."


def _protocol(error: Any, tried: Tried) -> tuple[str, str]:
    if "private key file" in str(error):  # paramiko has no error of its own for it
        return f"its private key cannot be read ({error})", "Give a private key in `key`, not its .pub."
    return f"it does not answer as an SSH server does ({error})", "Is this its SSH port, and the server in order?"


def _other(error: Any, tried: Tried) -> tuple[str, str]:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"it cannot be reached ({said})", "Is it switched on, and in this network?"


_CAUSES: dict[type[BaseException], Any] = {
    hosts.UnknownHostError: _unknown,
    hosts.RevokedError: _revoked,
    hosts.FilesError: _no_files,
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
