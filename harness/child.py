"""Run a module of ours in a child process: JSON request in, progress lines and one JSON result out.

Torch lives in such children, so that the controller stays small, starts at once and blocks instead of spinning while
a device is timed. The child speaks on its standard output, one JSON object a line: `{"progress": text, "done": n,
"total": n}` at will, then `{"result": ...}` or `{"error": {"type", "message", "hint"}}` as its last word.

Whatever comes of a child ends with it, however it ends, and what libraries print is kept within bounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from harness import errors, interrupt, processes


@dataclass(frozen=True)
class Progress:
    """A line of progress: what is being done, and how much of how much (None: unknown)."""

    text: str
    done: int | None = None
    total: int | None = None


OnProgress = Callable[[Progress], None]
_TAIL_BYTES = 4000
_NOISE_BYTES = 2**26  # on the disk, of what libraries print
_LOOK_S = 0.2


@dataclass(frozen=True)
class Bounds:
    """How long a child may be silent between two lines of progress, and what memory it and all that come of it may hold."""

    seconds: float
    memory_bytes: int


def call(module: str, request: Any, on_progress: OnProgress, env: Mapping[str, str] | None = None) -> Any:
    """Run `python -m module` with `request` on standard input and return its result.

    Raises the HarnessError that the child met, by its own type; ChildDied with the tail of its standard error when the
    child died without a word (a signal, out of memory). Ctrl-C ends the child too, whichever thread waits for it.
    """
    with Group() as alone:
        return alone.call(module, request, on_progress, env)


class ChildDied(errors.HarnessError):
    """A child ended without a result: a signal, out of memory, a bug. The hint is the tail of its standard error."""


class ChildBoundedError(ChildDied):
    """A child was ended because it went beyond its bounds; says which and the figure."""


class Group:
    """Calls made from any number of threads, which end together.

    Python interrupts the main thread alone; a thread that waits for its child hears nothing. So whoever starts the
    threads leaves the group, by the exception, before waiting for them: that kills every child. A group that was made
    in another thread is ended by `interrupt`, which does the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[str]] = {}  # by the mark of all that come of it
        self._ended = False
        self._listening = interrupt.ended_by(self._end)

    def __enter__(self) -> Self:
        self._listening.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._listening.__exit__(None, None, None)
        if kind is not None:
            self._end()
        self._ended = True

    def _end(self) -> None:
        """Kill every child, and start none any more."""
        with self._lock:
            self._ended = True
            for mark, process in self._running.items():
                process.kill()
                processes.end(mark)

    def call(
        self,
        module: str,
        request: Any,
        on_progress: OnProgress,
        env: Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
    ) -> Any:
        """Do as `call` does; raises KeyboardInterrupt when the group was left meanwhile, ChildBoundedError beyond `bounds`."""
        mark, marking = processes.marked()
        with tempfile.TemporaryFile() as noise:  # what libraries print; shown only when the child dies without a word
            with self._start(module, noise, {**(env or {}), **marking}, mark) as process:
                watch = _Watch(process, mark, noise.fileno(), bounds)
                try:
                    last, code = _converse(process, request, watch.told(on_progress))
                except BaseException:
                    process.kill()
                    raise
                finally:
                    watch.end()
                    processes.end(mark)
                    with self._lock:
                        self._running.pop(mark, None)
            if self._ended:
                raise KeyboardInterrupt
            if watch.beyond and "result" not in last:
                raise ChildBoundedError(watch.beyond)
            return _answer(module, last, code, noise)

    def _start(self, module: str, noise: IO[bytes], env: Mapping[str, str], mark: str) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                env={**os.environ, **env},
                text=True,
            )
            self._running[mark] = process
        return process


class _Watch:
    """A thread beside a conversation: ends a child beyond its bounds, and what a dead one left, which may hold its pipes."""

    def __init__(self, process: subprocess.Popen[str], mark: str, noise: int, bounds: Bounds | None) -> None:
        self.process, self.mark, self.noise, self.bounds = process, mark, noise, bounds
        self.beyond = ""
        self.heard = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def told(self, on_progress: OnProgress) -> OnProgress:
        """Return what notes that the child was heard, and then does as `on_progress`."""

        def tell(progress: Progress) -> None:
            self.heard = time.monotonic()
            on_progress(progress)

        return tell

    def end(self) -> None:
        """Watch no more."""
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.over.wait(_LOOK_S):
            self._quieten()
            if self.bounds:
                self.beyond = self._beyond(self.bounds)
            if self.beyond or self.process.poll() is not None:
                self.process.kill()
                processes.end(self.mark)
                return

    def _beyond(self, bounds: Bounds) -> str:
        if time.monotonic() - self.heard > bounds.seconds:
            return f"took more than {bounds.seconds:g} s"
        held = processes.memory_bytes(self.mark)
        if held > bounds.memory_bytes:
            return f"held {held / 2**30:.1f} GiB of memory, more than {bounds.memory_bytes / 2**30:.1f} GiB"
        return ""

    def _quieten(self) -> None:
        """Drop what was printed where it is too much; what follows stays at its place, for a file may have a hole."""
        if os.fstat(self.noise).st_blocks * 512 > _NOISE_BYTES:
            os.ftruncate(self.noise, 0)


def _answer(module: str, last: Mapping[str, Any], code: int, noise: IO[bytes]) -> Any:
    """Return the result in a child's last word, or raise the error in it, or that there was none."""
    if "result" in last:
        return last["result"]
    if "error" in last:
        kind = getattr(errors, last["error"]["type"], errors.HarnessError)
        raise kind(last["error"]["message"], last["error"]["hint"])
    if code == -signal.SIGINT:  # a terminal interrupts children too, and they may be the first to hear it
        raise KeyboardInterrupt
    noise.seek(max(0, noise.seek(0, os.SEEK_END) - _TAIL_BYTES))
    said = noise.read().decode("utf-8", "replace").strip("\0").strip()
    raise ChildDied(f"{module} ended without a result ({_describe(code)})", said)


def _converse(process: subprocess.Popen[str], request: Any, on_progress: OnProgress) -> tuple[dict[str, Any], int]:
    """Say the request, pass progress on, and return the child's last word and its exit code."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died before reading; its exit code says how
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    last: dict[str, Any] = {}
    for line in process.stdout:
        last = json.loads(line)
        if "progress" in last:
            on_progress(Progress(last["progress"], last.get("done"), last.get("total")))
    return last, process.wait()


def _describe(code: int) -> str:
    if code == -9:
        return "killed, signal 9: most likely out of memory"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(handle: Callable[[Any, OnProgress], Any]) -> None:
    """The child's side: read the request, call `handle(request, on_progress)`, write its result or its HarnessError.

    It dies with its parent: nobody else would hear what it does, and a run that goes on would train beside it.
    Standard output belongs to this conversation; whatever libraries print is sent to standard error.
    """
    processes.die_with_parent()
    speech, sys.stdout = os.fdopen(os.dup(1), "w", buffering=1), sys.stderr
    os.dup2(2, 1)

    def say(message: Mapping[str, Any]) -> None:
        speech.write(json.dumps(message) + "\n")
        speech.flush()

    def on_progress(progress: Progress) -> None:
        say({"progress": progress.text, "done": progress.done, "total": progress.total})

    try:
        say({"result": handle(json.loads(sys.stdin.read()), on_progress)})
    except errors.HarnessError as error:
        say({"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}})
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)  # the parent is gone; nobody listens
    except Exception:
        traceback.print_exc()
        sys.exit(70)
