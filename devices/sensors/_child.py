"""Shared by sensors that run a program: the program, its lines as they come, and its end, whatever becomes of us."""

import collections
import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Deque, Iterator, List, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from devices.sensors import _lines
else:
    import _lines

_PIECE_BYTES = 65536
_WORDS_BYTES = 1000  # of standard error, its end
_MOST_LINES = 100_000  # that wait to be taken
_GRACE_S = 1.0  # between asking a program to end and ending it
# Reads process groups, one a line, until whoever writes them is gone, and ends the last. A sampler may be killed outright.
_GUARD = 'group=; while read -r next; do group=$next; done; [ -z "$group" ] || kill -s KILL -- "-$group"'


class Line(NamedTuple):
    """A line without its end; when it came (monotonic), with how many others at once, and after how long a silence (s)."""

    t_ns: int
    data: bytes
    together: int
    silence_s: float


class Guard:
    """A shell of its own session that ends the program's process group when this process is gone, however it went."""

    def __init__(self) -> None:
        self._shell: "Optional[subprocess.Popen[bytes]]" = None
        with contextlib.suppress(OSError):  # no /bin/sh: a program that writes dies by its closed pipe all the same
            null = subprocess.DEVNULL
            command = ["/bin/sh", "-c", _GUARD]
            self._shell = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=null, stderr=null, bufsize=0, start_new_session=True
            )

    def over(self, group: str) -> None:
        """Watch over this process group from now on; "": over none."""
        if self._shell and self._shell.stdin:
            with contextlib.suppress(OSError):  # somebody ended the shell
                self._shell.stdin.write(group.encode() + b"\n")

    def end(self) -> None:
        """Watch no more."""
        self.over("")
        if self._shell and self._shell.stdin:
            self._shell.stdin.close()
            self._shell.wait()


class Child:
    """A program in a process group of its own. Raises OSError where it cannot be started (`why` says it in words)."""

    def __init__(self, program: Sequence[str], guard: Guard) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # Python programs flush each line then
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            list(program),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
            env=environment,
        )
        guard.over(str(self._process.pid))
        self._guard = guard
        self._lines: Deque[Line] = collections.deque(maxlen=_MOST_LINES)
        self._changed = threading.Condition()
        self._ending = threading.Lock()
        self._words = b""
        self.half = b""  # what came behind the last line's end
        self.silent = False  # whether its output has ended
        self._threads = [self._reader(self._read, self._process.stdout), self._reader(self._hear, self._process.stderr)]

    def take(self, wait_s: float) -> List[Line]:
        """Return the lines that have come; wait so long for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._lines) or self.silent, wait_s)
            taken = list(self._lines)
            self._lines.clear()
        return taken

    def whole(self, wait_s: float) -> bool:
        """Wait so long for the end of its output; says whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: self.silent, wait_s)

    def end(self, grace_s: float = _GRACE_S) -> int:
        """End the whole process group and return the program's exit code (negative: a signal's number)."""
        with self._ending:
            if self._process.returncode is None:
                self._end(grace_s)
        for thread in self._threads:
            thread.join(_GRACE_S)  # a process that left the group may hold a pipe: then the thread stays behind
        return int(self._process.returncode)

    def ended(self) -> int:
        """Give a program whose output has ended a moment to exit by itself, then end it; returns its exit code."""
        with self._ending:
            if self._process.returncode is None:
                self._await_exit(_GRACE_S)
        return self.end()

    def words(self) -> str:
        """Return the end of what it wrote to standard error, as one line."""
        text = self._words[-_WORDS_BYTES:].decode("utf-8", "replace")
        line = " | ".join(each.strip() for each in text.splitlines() if each.strip())
        return "".join(letter if letter.isprintable() else "?" for letter in line) or "it said nothing"

    def _end(self, grace_s: float) -> None:
        """The group is signalled before the program is reaped: until then no other process can have its number."""
        self._signal(signal.SIGTERM)
        self._await_exit(grace_s)
        self._signal(signal.SIGKILL)
        self._guard.over("")
        self._process.wait()

    def _await_exit(self, wait_s: float) -> None:
        """Wait until the program has exited, without reaping it."""
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.01)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):  # all gone already
            os.killpg(self._process.pid, number)

    def _reader(self, run: Any, stream: Optional[IO[bytes]]) -> threading.Thread:
        thread = threading.Thread(target=run, args=(stream,), daemon=True)
        thread.start()
        return thread

    def _read(self, stream: IO[bytes]) -> None:
        heard = time.monotonic_ns()
        for piece in _pieces(stream):
            now = time.monotonic_ns()
            *lines, half = (self.half + piece).split(b"\n")
            with self._changed:
                self.half = half[: _lines.MOST_BYTES + 1]  # a line without end is known as too long, and not kept
                self._lines.extend(Line(now, data, len(lines), (now - heard) / 1e9) for data in lines)
                self._changed.notify_all()
            heard = now
        with self._changed:
            self.silent = True
            self._changed.notify_all()

    def _hear(self, stream: IO[bytes]) -> None:
        for piece in _pieces(stream):
            self._words = (self._words + piece)[-_WORDS_BYTES:]


def why(error: OSError, program: Sequence[str]) -> str:
    """Return in words why a program could not be started, with the next move."""
    if isinstance(error, PermissionError):
        return "%s may not be run by this user: chmod +x, or another user" % program[0]
    if not isinstance(error, FileNotFoundError):
        return "%s cannot be run: %s" % (program[0], error.strerror or error)
    if Path(program[0]).exists():
        return "%s names an interpreter in its first line that is not there" % program[0]
    return "there is no program %s here: install it, or give its whole path in the option program" % program[0]


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    with stream, contextlib.suppress(OSError, ValueError):
        while True:
            piece = stream.read(_PIECE_BYTES)
            if not piece:
                return
            yield piece
