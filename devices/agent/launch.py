"""Starts one fresh process, waits for it (blocked, never spinning), and says what came of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from devices.agent import facts, state
from devices.agent.journal import now_ns
from harness import wire
from harness.errors import WireError

_TAIL_BYTES = 2000
_WATCH_S = 1.0


class Outcome(NamedTuple):
    """What a process gave: a result, or the cause and detail of its failure. `wall_ns`: from start to exit.

    `used`: what it said of itself at its end (`worker.used`), None where it said nothing.
    """

    result: Optional[Dict[str, Any]]
    cause: str
    detail: str
    wall_ns: int
    used: Optional[Dict[str, Any]] = None


class Child:
    """A process of its own that runs `agent.pyz <verb>` with `request` on its standard input, begun at once.

    It answers one JSON object on standard output, {"result": ..} or {"cause": .., "detail": ..}; all else that it
    prints goes to `log`, emptied before. `fds` are handed over: they are closed here once it has them. It is killed where
    the block that it is made for ends before it does, and by the kernel when this process dies.
    """

    def __init__(self, verb: str, request: Dict[str, Any], threads: int, log: Path, fds: Sequence[int] = ()) -> None:
        self._request, self._log = request, log
        self._kills = state.oom_kills()
        self._began = now_ns()
        message = json.dumps({**request, "began_ns": self._began, "parent": os.getpid()}).encode()
        try:
            with log.open("wb") as errors:
                self._process = _start(verb, threads, errors, fds)
        finally:
            for fd in fds:
                os.close(fd)
        _send(self._process, message)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.__exit__(None, None, None)

    def end(self, limit_s: float, watch: Optional[Callable[[], Any]] = None) -> Outcome:
        """Wait for its end, at most `limit_s`, and say what came of it; `watch` is called about once a second meanwhile."""
        try:
            answer = _await(self._process, limit_s, watch)
        except subprocess.TimeoutExpired:
            self._process.kill()
            detail = "no result after %g s; %s" % (limit_s, tail(self._log))
            return Outcome(None, "timeout", detail, now_ns() - self._began)
        wall_ns = now_ns() - self._began
        if self._process.returncode < 0:
            cause, detail = _killed(-self._process.returncode, self._kills, self._log, self._request)
            return Outcome(None, cause, detail, wall_ns)
        return _read(answer, self._process.returncode, self._log, wall_ns)


def launch(
    verb: str,
    request: Dict[str, Any],
    threads: int,
    log: Path,
    limit_s: float,
    watch: Optional[Callable[[], Any]] = None,
    fds: Sequence[int] = (),
) -> Outcome:
    """Run a `Child` to its end; it is killed after `limit_s`, and whenever this process is interrupted."""
    with Child(verb, request, threads, log, fds) as child:
        return child.end(limit_s, watch)


def _send(process: "subprocess.Popen[bytes]", message: bytes) -> None:
    """Write the request, which a pipe holds, and close: a process that has died already says so by its end."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(message)
    process.stdin = None


def _await(process: "subprocess.Popen[bytes]", limit_s: float, watch: Optional[Callable[[], Any]]) -> bytes:
    """Wait, blocked but for `watch`; return the answer. Raises subprocess.TimeoutExpired."""
    now = time.monotonic()
    end, following = now + limit_s, now + _WATCH_S
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(end, following) - time.monotonic()))[0]
        except subprocess.TimeoutExpired as error:
            if (
                process.poll() is not None and error.output
            ):  # what it has left behind holds its output open: all is here
                return bytes(error.output)
            if time.monotonic() >= end:
                raise
        if watch is not None:
            watch()
        following = time.monotonic() + _WATCH_S


def _start(verb: str, threads: int, errors: Any, fds: Sequence[int]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}  # read by OpenMP when a runtime is imported
    command: List[str] = [sys.executable, str(Path(sys.argv[0]).resolve()), verb]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, pass_fds=fds
    )


def _read(answer: bytes, code: int, log: Path, wall_ns: int) -> Outcome:
    value: Dict[str, Any] = {}
    with contextlib.suppress(WireError):  # what a runtime says of itself passes the journal's door before it is kept
        value = wire.parse(answer.decode("utf-8", "replace"), "answer")
    if "result" in value:
        return Outcome(value["result"], "", "", wall_ns, value.get("used"))
    if "cause" in value:
        return Outcome(None, value["cause"], value["detail"], wall_ns)
    return Outcome(None, "crash", "exit code %d without a result; %s" % (code, tail(log)), wall_ns)


def _killed(number: int, kills_before: Optional[int], log: Path, request: Dict[str, Any]) -> Tuple[str, str]:
    name = signal.Signals(number).name if number in set(signal.Signals) else "signal %d" % number
    kills = state.oom_kills()
    if number == signal.SIGKILL and None not in (kills, kills_before) and kills != kills_before:
        return "out-of-memory", "killed by the kernel for memory (SIGKILL, oom_kill rose)"
    if number == signal.SIGILL:
        return "illegal-instruction", "%s: %s; %s" % (name, _illegal(request), tail(log))
    return "signal", "%s; %s" % (name, tail(log))


def _illegal(request: Dict[str, Any]) -> str:
    """What an illegal instruction means, with the processor that code was made for and the one that is here."""
    processor = facts.processor() or "not told by the kernel"
    made_for = request.get("case", {}).get("made_for")
    if made_for:
        return "the artifact was made for %s, this processor (%s) lacks instructions of it" % (made_for, processor)
    return "this processor (%s) does not have an instruction of the runtime or of its packages" % processor


def tail(log: Path) -> str:
    """Return the end of what a process printed, as one line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "it printed nothing"
