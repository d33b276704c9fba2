"""A plain OpenSSH server on 127.0.0.1, out of a temporary folder: quick to start, able to be broken, gone with its test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
MaxAuthTries 20
Subsystem sftp {sftp}
"""


class Target(Protocol):
    """What can be logged into: a loopback server or a virtual device."""

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path


class NotReadyError(Exception):
    """A server did not answer in time; the text carries the end of its log."""


def why_not() -> str | None:
    """Return why this machine cannot serve, or None."""
    missing = [program for program in ("sshd", "ssh-keygen") if find(program) is None]
    return f"{' and '.join(missing)} not installed (Debian: openssh-server, openssh-client)" if missing else None


def find(program: str) -> str | None:
    """Return the path of a program; an ordinary user's PATH leaves /usr/sbin out."""
    return shutil.which(program, path=SBIN)


def ssh(target: Target, *words: str, program: str = "ssh", options: Sequence[str] = ()) -> list[str]:
    """Return the command of OpenSSH's client (ssh, scp or sftp) for a target; nothing of the user's own settings counts."""
    settings = [*options, "BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10"]
    settings += [f"UserKnownHostsFile={target.known_hosts}", "GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    port = "-p" if program == "ssh" else "-P"
    command = [program, "-F", "/dev/null", "-i", str(target.key), port, str(target.port)]
    command += [word for setting in settings for word in ("-o", setting)]
    return command + ([f"{target.user}@{target.host}"] if program != "scp" else []) + list(words)


def ask(
    target: Target, *words: str, options: Sequence[str] = (), limit_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command on a target with OpenSSH's client and return what came of it; exit 255 is the client's own."""
    command = ssh(target, *words, options=options)
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=limit_s)


def new_key(file: Path) -> None:
    """Write a fresh key pair, over an older one."""
    file.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(file)], check=True)


def public(file: Path) -> str:
    """Return type and key of a key pair, without its comment."""
    return " ".join(file.with_name(file.name + ".pub").read_text().split()[:2])


def banner(host: str, port: int, timeout_s: float = 1.0) -> bytes:
    """Return what an SSH server says first. Raises OSError."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        return connection.recv(64)


def wait_for(host: str, port: int, process: subprocess.Popen[bytes], log: Path, limit_s: float) -> None:
    """Wait until a server answers. Raises NotReadyError when it ends or the time is up."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            if banner(host, port).startswith(b"SSH-"):
                return
        time.sleep(0.005)
    raise NotReadyError(f"no SSH server at {host}:{port} within {limit_s:g} s: {log.read_text()[-2000:]}")


def descendants(pid: int) -> list[int]:
    """Return the processes below one, parents first."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = [int(word) for word in children.read_text().split()]
    except OSError:
        return []
    return below + [far for each in below for far in descendants(each)]


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Sshd:
    """One server for the user who runs it.

    `sftp` is what serves files ("internal-sftp" or a command of yours, to answer garbage), `force_command` runs instead of
    whatever is asked for, `environment` is set in every session, HOME too. `known_hosts` holds the key that the server had
    first: after `restart(new_host_key=True)` it is the wrong one.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        sftp: str = "internal-sftp",
        force_command: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.user = folder, pwd.getpwuid(os.getuid()).pw_name
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.key, self.known_hosts, self._log = folder / "id_ed25519", folder / "known_hosts", folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        new_key(self.key)
        new_key(folder / "host_key")
        (folder / "authorized_keys").write_text(public(self.key) + "\n")
        config = CONFIG.format(port=self.port, folder=folder, sftp=sftp)
        config += f"ForceCommand {force_command}\n" if force_command else ""
        if environment:  # one line alone: the first SetEnv of a file is the only one that counts
            config += "SetEnv " + " ".join(f'"{name}={value}"' for name, value in environment.items()) + "\n"
        (folder / "sshd_config").write_text(config)
        self.write_known_hosts()

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write_known_hosts(self) -> None:
        """Trust the key that the server has now."""
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public(self.folder / 'host_key')}\n")

    def start(self) -> None:
        """Serve, within 2 s. Raises NotReadyError."""
        if os.getuid() == 0:  # where sshd puts its unprivileged half; Debian makes it when the service starts
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = find("sshd")
        assert program is not None, why_not()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.host, self.port, self._process, self._log, 2)

    def drop(self) -> None:
        """Break every connection; the server goes on, and so does what was started detached."""
        if self._process is not None:
            for pid in descendants(self._process.pid):
                if _comm(pid).startswith("sshd"):
                    _kill(pid)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Answer nothing meanwhile; connections stay open."""
        assert self._process is not None
        family = [self._process.pid, *descendants(self._process.pid)]
        try:
            for pid in family:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def stop(self, connections: bool = True) -> None:
        """Serve no more; open connections are broken unless they may stay."""
        if self._process is None:
            return
        if connections:
            self.drop()
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, new_host_key: bool = False) -> None:
        """Stop and serve again at the same port."""
        self.stop()
        if new_host_key:
            new_key(self.folder / "host_key")
        self.start()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
