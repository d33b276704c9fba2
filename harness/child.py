"""Run a module of ours in a child process: JSON request in, progress lines and one JSON result out.

Torch lives in such children, so that the controller stays small, starts at once and blocks instead of spinning while
a device is timed. The child speaks on its standard output, one JSON object a line: `{"progress": text, "done": n,
"total": n}` at will, then `{"result": ...}` or `{"error": {"type", "message", "hint"}}` as its last word.
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
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from harness import errors, interrupt


@dataclass(frozen=True)
class Progress:
    """A line of progress: what is being done, and how much of how much (None: unknown)."""

    text: str
    done: int | None = None
    total: int | None = None


OnProgress = Callable[[Progress], None]
_TAIL_BYTES = 4000


def call(module: str, request: Any, on_progress: OnProgress, env: Mapping[str, str] | None = None) -> Any:
    """Run `python -m module` with `request` on standard input and return its result.

    Raises the HarnessError that the child met, by its own type; ChildDied with the tail of its standard error when the
    child died without a word (a signal, out of memory). Ctrl-C ends the child too, whichever thread waits for it.
    """
    with Group() as alone:
        return alone.call(module, request, on_progress, env)


class ChildDied(errors.HarnessError):
    """A child ended without a result: a signal, out of memory, a bug. The hint is the tail of its standard error."""


class Group:
    """Calls made from any number of threads, which end together.

    Python interrupts the main thread alone; a thread that waits for its child hears nothing. So whoever starts the
    threads leaves the group, by the exception, before waiting for them: that kills every child. A group that was made
    in another thread is ended by `interrupt`, which does the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
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
            for process in self._running:
                process.kill()

    def call(self, module: str, request: Any, on_progress: OnProgress, env: Mapping[str, str] | None = None) -> Any:
        """Do as `call` does; raises KeyboardInterrupt when the group was left meanwhile."""
        with tempfile.TemporaryFile() as noise:  # what libraries print; shown only when the child dies without a word
            with self._start(module, noise, env) as process:
                try:
                    last, code = _converse(process, request, on_progress)
                except BaseException:
                    process.kill()
                    raise
                finally:
                    with self._lock:
                        self._running.discard(process)
            if self._ended:
                raise KeyboardInterrupt
            return _answer(module, last, code, noise)

    def _start(self, module: str, noise: IO[bytes], env: Mapping[str, str] | None) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                env={**os.environ, **(env or {})},
                text=True,
            )
            self._running.add(process)
        return process


def _answer(module: str, last: Mapping[str, Any], code: int, noise: IO[bytes]) -> Any:
    """Return the result in a child's last word, or raise the error in it, or that there was none."""
    if "result" in last:
        return last["result"]
    if "error" in last:
        kind = getattr(errors, last["error"]["type"], errors.HarnessError)
        raise kind(last["error"]["message"], last["error"]["hint"])
    if code == -signal.SIGINT:  # a terminal interrupts children too, and they may be the first to hear it
        raise KeyboardInterrupt
    noise.seek(0)
    said = noise.read()[-_TAIL_BYTES:].decode("utf-8", "replace").strip()
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

    Standard output belongs to this conversation; whatever libraries print is sent to standard error.
    """
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
