"""What a controller can ask of a device, wherever it is, and the door that a device's answers pass."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from harness import decode, wire
from harness.clocks import Echo
from harness.errors import BusyError, DamagedError, DeviceError, HarnessError, StoreError, WireError
from harness.records import Environment

COMMAND_LIMIT_S = 180.0
MAX_REPLY_BYTES = 2**24
ROOM_BYTES = 2**30  # artifacts of a ladder, its journal, and room to breathe
PIECE_BYTES = 64 * 2**20  # of a journal that are read at once; more than its longest line
KEEP_BYTES = 5 * 2**30  # what a workdir keeps beyond what a job needs
FOLDERS = ("agents", "artifacts", "wheels", "envs", "jobs")
_ERRORS: Mapping[str, type[HarnessError]] = {
    "BusyError": BusyError,
    "DamagedError": DamagedError,
    "DeviceError": DeviceError,
    "StoreError": StoreError,
    "WireError": WireError,
}

SensorOptions = Mapping[str, Mapping[str, Any]]
"""What the inventory says of each sensor, by its name: plain values."""


class Transport(Protocol):
    """What a controller can do with a device. All raise DeviceError, naming the device, the rule and the next move."""

    name: str
    follow_s: float
    """How long to wait between two looks at a journal: a look disturbs what is being measured."""

    def look(self, bundle: Path, options: SensorOptions | None = None) -> Mapping[str, Any]:
        """Return what the device is and how it stands: {"facts", "free_bytes", "writable", "holder", "clock_ns", ...}.

        "round_trip_ns" bounds how far from now `clock_ns` was read. "sensors": {name: {"status", "reason"}} of those in the
        bundle that a device reads itself, each probed with its options.
        """

    def step(self, bundle: Path, sensors: SensorOptions) -> wire.Stepped:
        """Put a step of load on every core there and return what these sensors saw. Raises BusyError."""

    def environments(self) -> frozenset[str]:
        """Return the keys of the environments that are installed there."""

    def probe(self, bundle: Path, runtime: str, environment: Environment | None = None) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported in a child there, its environment installed before."""

    def put(self, sources: Mapping[str, Path], folder: str = "artifacts") -> int:
        """Put files into a folder by the SHA-256 of their bytes; return the bytes sent (none for what is there)."""

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder."""

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter (a disk was lost)."""

    def start(self, bundle: Path, job: wire.Job, environment: Environment | None = None) -> int:
        """Start an agent on the job, detached, and return its process id; one that is at work on it already is that one.

        Raises DeviceError with its holder for a busy device, DamagedError when a file there is not what was sent.
        """

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, a piece at a time; empty at its end."""

    def alive(self, job: wire.Job) -> bool:
        """Return whether an agent is at work on this job."""

    def holder(self) -> Mapping[str, Any] | None:
        """Return {"run", "job", "pid", "agent", "owner", ...} of the agent at work ({} if not signed yet), or None."""

    def reply(self, job: wire.Job) -> wire.Reply | None:
        """Return the job's reply once it is there. A reply that breaks the format is a WireError."""

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job: why it ended, when it ended without a reply."""

    def stop(self, job: str | None = None) -> bool:
        """End the agent at work (on this job, if one is named), journal whole; return whether there was one."""

    def clock(self, bundle: Path) -> AbstractContextManager[Echo]:
        """Open a channel over which times are exchanged with the device, as often as is wanted, and close it behind."""

    def clean(self, bundle: Path) -> int:
        """Remove what no job under way needs and nobody has used for a day; return the bytes that were freed."""

    def close(self) -> None:
        """Let go of the connection; the next verb makes another."""


def require_room(name: str, seen: Mapping[str, Any], size_bytes: int = ROOM_BYTES) -> None:
    """Check in what `look` has seen that the workdir can be written and has `size_bytes` free. Raises DeviceError."""
    where, free = seen.get("workdir"), told(seen, "free_bytes", int, name)
    hint = "Free some space or make it writable, or give the device another `workdir` in the inventory."
    if seen.get("writable") is not True:
        raise DeviceError(f"device {name}: {where}: {seen.get('writable')}", hint)
    if free < size_bytes:
        raise DeviceError(f"device {name}: {free >> 20} MiB free in {where}, {size_bytes >> 20} MiB are needed", hint)


def owner() -> str:
    """Return who asks, as `user@machine`: a lock says it to others."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "unknown"
    return re.sub(r"[^A-Za-z0-9@._-]", "_", f"{user}@{socket.gethostname()}")[:64]


def spec(environment: Environment) -> bytes:
    """Return what a device is told of an environment, as `devices/agent/environments.py` reads it."""
    wheels = [{"name": w.name, "sha256": w.sha256, "size_bytes": w.size_bytes} for w in environment.wheels]
    told = {"key": environment.key, "system_packages": environment.system_packages, "wheels": wheels}
    return json.dumps(told, sort_keys=True).encode()


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def job_file(job: wire.Job, name: str) -> str:
    """Return the path, within a workdir, of a file of the job."""
    return f"jobs/{wire.require_name(job.job, 'job')}/{name}"


def plain(value: Any, device: str) -> str:
    """Check that the agent that a lock is signed with is one plain name. Raises DeviceError."""
    try:
        return wire.require_name(str(value), "agent")
    except ValueError as error:
        raise DeviceError(f"device {device}: its lock is signed with a strange name: {error}") from None


def last_line(log: bytes) -> str:
    """Return the last line of an agent's log: why it ended."""
    lines = log[-2000:].decode("utf-8", "replace").splitlines()
    return lines[-1].strip() if lines else ""


# --- answers -------------------------------------------------------------------------------------------------------


def read_answer(verb: str, code: int, out: bytes, err: bytes, name: str) -> dict[str, Any]:
    """Read what a verb of the agent said: its last line, for a log-in may have printed others before.

    Raises the error that it gives, DeviceError for anything else.
    """
    said = out.decode("utf-8", "replace").strip().splitlines() or [""]
    try:
        answer = wire.parse(said[-1], f"device {name}, {verb}")
    except WireError:
        last = (err.decode("utf-8", "replace").strip().splitlines() or [said[-1] or "it said nothing"])[-1]
        raise DeviceError(f"device {name}: {verb} exited with {code}: {last[:500]}") from None
    return _accepted(answer, name)


def _accepted(answer: Any, name: str) -> dict[str, Any]:
    """Check what a device answered; an error that it gives is raised as the one it names, if it may name it."""
    if not isinstance(answer, dict):
        raise DeviceError(f"device {name}: it answered {str(answer)[:200]!r}, not an object")
    refused = answer.get("error")
    if refused is None:
        return answer
    said = refused if isinstance(refused, dict) else {"message": str(refused)[:200]}
    kind = _ERRORS.get(str(said.get("type")), DeviceError)
    hint = str(said.get("hint") or "")[:2000]
    raise kind(f"device {name}: {str(said.get('message'))[:2000]}", hint and f"It says: {hint}")


def told(answer: Mapping[str, Any], key: str, kind: type, name: str) -> Any:
    """Return what an answer must give. Raises DeviceError where it does not."""
    value = answer.get(key)
    if not isinstance(value, kind):
        raise DeviceError(f"device {name}: its answer must give {key}, it gave {value!r:.200}")
    return value


def probed(answer: Mapping[str, Any], runtime: str, name: str, python: str) -> Mapping[str, Any]:
    """Return {"versions", "facts"} of a runtime. Raises DeviceError when it could not be imported."""
    if "cause" in answer:
        raise DeviceError(
            f"device {name}: runtime {runtime} does not work there: {str(answer.get('detail'))[:2000]}",
            f"It was imported with {python}; `harness runtimes` says how to get what is missing.",
        )
    return {key: told(answer, key, dict, name) for key in ("versions", "facts")}


def meter_words(options: SensorOptions) -> str:
    """Return the word that names meters to the agent's `step`."""
    return json.dumps([{"sensor": name, "options": dict(each)} for name, each in options.items()])


def stepped(answer: Mapping[str, Any], name: str) -> wire.Stepped:
    """Return what `step` answered. Raises WireError for anything else."""
    return decode.build(wire.Stepped, answer, f"device {name}, step")


def sensor_words(options: SensorOptions | None) -> Sequence[str]:
    """Return what the agent's `look` is told of sensors, beside the workdir: their options as JSON, or nothing."""
    return () if options is None else (json.dumps(options, sort_keys=True, allow_nan=False),)
