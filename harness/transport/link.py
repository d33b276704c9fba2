"""The connection under `Ssh`: kept, watched, and found again when it was lost.

Libraries wait for a peer that is gone for as long as the kernel does (fabric#2345, paramiko#1380), so whatever is asked
of a connection is asked in a thread of its own, and whoever asks waits for a bounded time without progress, no longer.
What was asked is asked again over a new connection, with back-off, until the address's patience is over: everything
here may be done twice.
"""

from __future__ import annotations

import queue
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import fabric
import paramiko

from harness import interrupt
from harness.errors import DeviceError, HarnessError
from harness.records import Address
from harness.transport import hosts, refusals

SILENCE_S = 20.0
"""How long an operation may go without progress before its connection is given up."""

_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
_MOST_BYTES = 2**22  # of what one command may say
_SETTLE_S = 0.005
_ALIVE_S = 5
_MOST_ATTEMPTS = 200
_HURRY_S = 5.0

T = TypeVar("T")


class LostError(Exception):
    """The link is gone, or nobody answers on it any more."""


@dataclass
class Session:
    """An open connection and its file channel, kept. Whoever watches it wants to be told that it goes on."""

    connection: fabric.Connection
    files: paramiko.SFTPClient
    home: str
    last: float
    moved: bool = False

    def beat(self) -> None:
        """Say that something has arrived, or was taken."""
        self.last, self.moved = time.monotonic(), True

    def wait(self) -> None:
        """Say that nothing needs to move now: what is waited for has a time limit of its own."""
        self.last = time.monotonic()


@dataclass(frozen=True)
class Done:
    """What a command left: exit code (127: no such program) and the bytes that it wrote."""

    code: int
    out: bytes
    err: bytes


class Link:
    """One device's connection. Not for two threads at once: a device has one worker."""

    def __init__(self, name: str, address: Address, silence_s: float = SILENCE_S) -> None:
        self.name, self.address, self.silence_s = name, address, silence_s
        self.patience_s = address.patience_s
        self._session: Session | None = None
        self._ever = False

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Notice a lost link sooner, and try less long to find it again: somebody wants to leave."""
        before = self.patience_s, self.silence_s
        self.patience_s, self.silence_s = (min(limit_s, _HURRY_S) for limit_s in before)
        try:
            yield
        finally:
            self.patience_s, self.silence_s = before

    def close(self) -> None:
        """Let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            threading.Thread(target=_close, args=(session.connection,), daemon=True).start()

    def ask(self, what: str, work: Callable[[Session], T]) -> T:
        """Return what `work` makes of an open session. Raises DeviceError with `what` when the link stays lost.

        `work` may be called again from its beginning, over another connection. What it raises of ours passes.
        """
        end: float | None = None  # patience begins when the link is lost, however long it was used before
        for attempt in range(_MOST_ATTEMPTS):
            try:
                session = self._session or self._open()
                return _watched(work, session, self.silence_s)
            except LostError as lost:
                cause = str(lost)
            except KeyboardInterrupt:  # what was asked goes on in its thread: nobody else may speak on that session
                self.close()
                raise
            moved = self._session is not None and self._session.moved  # a transfer goes on where it was cut
            if end is None or moved:
                end = time.monotonic() + self.patience_s
            self.close()
            pause = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
            if not self._ever or time.monotonic() + pause > end:
                break
            interrupt.pause(pause)
        raise DeviceError(f"device {self.name}: {what}: {cause}", "Nothing is lost; go on when the board is back.")

    def run(self, argv: Sequence[str], limit_s: float) -> Done:
        """Run a program there, quoted word by word, and return what it said, at most 4 MiB of it. Raises DeviceError."""
        return self.ask(argv[0] + " there", lambda session: _run(session, argv, limit_s))

    def _open(self) -> Session:
        made: list[fabric.Connection] = []
        try:
            self._session = self._opened(made)
        except HarnessError:
            raise
        except Exception as error:
            for connection in made:
                threading.Thread(target=_close, args=(connection,), daemon=True).start()
            hop = error.hop if isinstance(error, hosts.HopError) else made[0] if made else None
            cause = error.__cause__ or error if isinstance(error, hosts.HopError) else error
            refused = refusals.refusal(self.name, refusals.Tried(self.address, hop), cause)
            if self._ever and _may_pass(cause):
                raise LostError(refused.message) from None
            raise refused from None
        self._ever = True
        return self._session

    def _opened(self, made: list[fabric.Connection]) -> Session:
        """Open all hops and the file channel, within a bounded time for each; `made` tells of the connection at once."""

        def work() -> Session:
            hosts.open_all(connection)
            _bound(connection, self.silence_s)
            return Session(connection, *_files(connection, self.silence_s), time.monotonic())

        connection = hosts.connection(self.address)
        made.append(connection)
        try:
            return _within(len(list(hosts.hops(connection))) * 1.25 * hosts.CONNECT_S, work)
        except queue.Empty:
            raise TimeoutError from None


def _files(connection: fabric.Connection, silence_s: float) -> tuple[paramiko.SFTPClient, str]:
    """Open the file channel; return it and the home folder that it names. Raises hosts.FilesError."""
    try:
        files = connection.client.open_sftp()
        files.get_channel().settimeout(silence_s)
        return files, str(files.normalize("."))
    except (paramiko.SFTPError, paramiko.SSHException, EOFError) as error:
        if not connection.transport.is_active():
            raise
        raise hosts.FilesError(str(error) or "it ended at once") from None


def _may_pass(error: BaseException) -> bool:
    """Whether a board that was there may be back soon: it boots, or its link is down. Another key or a log-in refused stays."""
    stays = (
        *(paramiko.BadHostKeyException, paramiko.AuthenticationException, paramiko.ConfigParseError),
        *(hosts.UnknownHostError, hosts.RevokedError),
    )
    return isinstance(error, OSError | EOFError | paramiko.SSHException) and not isinstance(error, stays)


def _bound(connection: fabric.Connection, silence_s: float) -> None:
    """Let the kernel give up unanswered bytes as early as we do; a jump host's channel has no such socket."""
    sock = connection.transport.sock
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence_s * 1000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _close(connection: fabric.Connection) -> None:
    """Close it, and those to its jump hosts: fabric leaves them open."""
    for hop in hosts.hops(connection):
        with suppress(Exception):
            hop.close()


# --- watching ------------------------------------------------------------------------------------------------------


def _within(limit_s: float, work: Callable[[], T]) -> T:
    """Return what `work`, in a thread of its own, comes to, or raise what it raises; queue.Empty after `limit_s`."""
    kind, value = _begun(work).get(timeout=limit_s)
    if kind:
        return value  # type: ignore[no-any-return]
    raise value


def _begun(work: Callable[[], Any]) -> queue.SimpleQueue[tuple[bool, Any]]:
    outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def carry_out() -> None:
        try:
            outcome.put((True, work()))
        except BaseException as error:  # whoever asked raises it
            outcome.put((False, error))

    threading.Thread(target=carry_out, daemon=True).start()
    return outcome


def _watched(work: Callable[[Session], T], session: Session, silence_s: float) -> T:
    """Return what `work` comes to while the session moves. Raises LostError when it stops moving or is gone."""
    session.wait()
    session.moved = False
    outcome = _begun(lambda: work(session))
    while True:
        left = session.last + silence_s - time.monotonic()
        if left <= 0:
            raise LostError(f"no progress for {silence_s:g} s")
        with suppress(queue.Empty):
            ok, value = outcome.get(timeout=left)
            if ok:
                return value  # type: ignore[no-any-return]
            raise _judged(value, session)


def _judged(error: BaseException, session: Session) -> BaseException:
    """What the file server or the agent says is its answer; everything else means that the link is gone."""
    if isinstance(error, HarnessError):
        return error
    active = session.connection.transport is not None and session.connection.transport.is_active()
    if isinstance(error, TimeoutError | EOFError | ConnectionError) or not active:
        return LostError(f"{error or type(error).__name__}")
    if isinstance(error, paramiko.SSHException | paramiko.SFTPError):
        return LostError(f"it does not keep to the protocol ({error})")
    return error


# --- commands ------------------------------------------------------------------------------------------------------


def _run(session: Session, argv: Sequence[str], limit_s: float) -> Done:
    end = time.monotonic() + limit_s
    transport = session.connection.transport
    channel = transport.open_session(timeout=SILENCE_S)
    transport.set_keepalive(_ALIVE_S)  # or nobody would notice that the link is gone while we only wait
    try:
        channel.exec_command(shlex.join(argv))
        channel.shutdown_write()
        out, err = bytearray(), bytearray()
        while not _over(channel, out, err):
            if time.monotonic() > end:
                raise DeviceError(f"{argv[0]} there did not end within {limit_s:g} s")
            if len(out) + len(err) > _MOST_BYTES:
                raise DeviceError(f"{argv[0]} there said more than {_MOST_BYTES >> 20} MiB: no answer of ours")
            session.wait()
        code = channel.recv_exit_status()
        if code < 0 and not transport.is_active():
            raise EOFError("the link was lost while it ran")
        return Done(code, bytes(out), bytes(err))
    finally:
        channel.close()
        transport.set_keepalive(0)  # quiet, while something may be timed there


def _over(channel: paramiko.Channel, out: bytearray, err: bytearray) -> bool:
    """Take what has arrived; whether the command has ended and nothing more will come."""
    ended = channel.closed or (channel.exit_status_ready() and channel.eof_received)
    if channel.recv_ready():
        out += channel.recv(2**16)
    elif channel.recv_stderr_ready():
        err += channel.recv_stderr(2**16)
    elif ended:
        return True
    else:
        time.sleep(_SETTLE_S)
    return False
