"""Put, start, follow, get: the verbs between the controller and a device's workdir.

    workdir/agents/agent-<hash>.pyz    artifacts/<sha256>    wheels/    jobs/<job>/...    lock    spin.json

Files are the interface: what is named by its hash is sent once, everything is written whole or not at all, and the
agent runs detached, so that link and controller may go away at any moment. `Local` is this machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness import files, wire
from harness.errors import DeviceError, HarnessError, StoreError, WireError
from harness.records import Device

_COMMAND_LIMIT_S = 180.0
_MAX_REPLY_BYTES = 2**24
_ARTIFACT_S, _REPLY_S = 24 * 3600.0, 7 * 24 * 3600.0  # how long what is unused is spared
_ERRORS: Mapping[str, type[HarnessError]] = {
    "DeviceError": DeviceError,
    "WireError": WireError,
    "StoreError": StoreError,
}
ROOM_BYTES = 2**30  # artifacts of a ladder, its journal, and room to breathe
PIECE_BYTES = 64 * 2**20  # of a journal that are read at once; more than its longest line
KEEP_BYTES = 5 * 2**30  # artifacts and finished jobs that a workdir keeps


class Transport(Protocol):
    """What a controller can do with a device. All raise DeviceError, naming the device, the rule and the next move."""

    name: str

    def require_room(self, size_bytes: int = ROOM_BYTES) -> None:
        """Check that the workdir can be written and has `size_bytes` free."""

    def probe(self, bundle: Path, runtime: str) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported there; DeviceError if it cannot be."""

    def put(self, sources: Mapping[str, Path]) -> int:
        """Put files into `artifacts/` by the SHA-256 of their bytes; return the bytes sent (none for what is there)."""

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder; what was used least recently goes, beyond the cap."""

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter (a disk was lost)."""

    def start(self, bundle: Path, job: wire.Job) -> int:
        """Start an agent on the job, detached, and return its process id. A busy device is a DeviceError with its holder."""

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, a piece at a time; empty at its end."""

    def alive(self, job: wire.Job) -> bool:
        """Return whether an agent is at work on this job."""

    def holder(self) -> Mapping[str, Any] | None:
        """Return {"run", "job", "pid", "agent"} of the agent at work ({} if it has not signed yet), or None."""

    def reply(self, job: wire.Job) -> wire.Reply | None:
        """Return the job's reply once it is there. A reply that breaks the format is a WireError."""

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job: why it ended, when it ended without a reply."""

    def stop(self, job: wire.Job) -> bool:
        """End the agent at work on this job, journal whole; return whether there was one."""

    def free_bytes(self) -> int:
        """Return the free space of the workdir's file system."""


def connect(device: Device) -> Transport:
    """Return the transport that the inventory names for a device."""
    return Local(device.name, Path(device.workdir))


class Local:
    """This machine as a device: the same agent, detached in a session of its own, in its own workdir."""

    def __init__(
        self,
        name: str = "local",
        workdir: Path = Path("~/.edge-harness"),
        python: str = sys.executable,
        keep_bytes: int = KEEP_BYTES,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self.name = name
        self.workdir = workdir.expanduser().absolute()
        self.python = python
        self.keep_bytes = keep_bytes
        self.piece_bytes = piece_bytes

    # --- before ------------------------------------------------------------------------------------------------------

    def require_room(self, size_bytes: int = ROOM_BYTES) -> None:
        """Check that the workdir can be written and has `size_bytes` free. Raises DeviceError."""
        with self._explained():
            self._folders()
            with tempfile.TemporaryFile(dir=self.workdir) as file:
                file.write(b"\0")
        free = self.free_bytes()
        if free < size_bytes:
            raise DeviceError(
                f"device {self.name}: {free / 2**20:.0f} MiB free in {self.workdir}, {size_bytes / 2**20:.0f} MiB are needed",
                "Free some space, or give the device another `workdir` in the inventory.",
            )

    def probe(self, bundle: Path, runtime: str) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported in a child there. Raises DeviceError if it cannot be."""
        answer = self._ask(self._put_bundle(bundle), "probe", runtime)
        if "cause" in answer:
            raise DeviceError(
                f"device {self.name}: runtime {runtime} does not work there: {answer.get('detail')}",
                f"It was imported with {self.python}.",
            )
        return {key: _told(answer, key, dict, self.name) for key in ("versions", "facts")}

    def free_bytes(self) -> int:
        """Return the free space of the workdir's file system."""
        with self._explained():
            return shutil.disk_usage(self.workdir).free

    # --- sending -----------------------------------------------------------------------------------------------------

    def put(self, sources: Mapping[str, Path]) -> int:
        """Put files into `artifacts/` by the SHA-256 of their bytes; return the bytes sent (none for what is there)."""
        with self._explained():
            self._folders()
            folder = self.workdir / "artifacts"
            return sum(self._put_file(source, folder / sha256, sha256) for sha256, source in sources.items())

    def _put_file(self, source: Path, target: Path, sha256: str) -> int:
        size = source.stat().st_size
        if target.is_file() and target.stat().st_size == size:
            os.utime(target)  # used just now: the last to go
            return 0
        with files.replacing(target) as temporary:
            digest = _copy(source, temporary)
            if digest != sha256:
                raise DeviceError(
                    f"{source}: its bytes have SHA-256 {digest}, not {sha256}", "Run `harness cache clean`."
                )
        return size

    def _put_bundle(self, bundle: Path) -> Path:
        with self._explained():
            self._folders()
            target = self.workdir / "agents" / bundle.name
            self._put_file(bundle, target, hashlib.sha256(bundle.read_bytes()).hexdigest())
        return target

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder. Raises DeviceError.

        Artifacts and jobs that have ended go, least recently used first, until the others fit under `keep_bytes`; this
        job's own stay, artifacts used within a day (somebody may be about to start), and replies of the last week
        (somebody may still come for them). While an agent is at work nothing is removed.
        """
        with self._explained():
            folder = self._job_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / "job.json", wire.encode(job).encode())
            with (self.workdir / "lock").open("ab") as lock:  # held meanwhile: no agent begins, nobody else trims
                if _is_free(lock.fileno(), fcntl.LOCK_EX):
                    self._trim(job)

    def _trim(self, job: wire.Job) -> None:
        own = {job.job, *(file.sha256 for case in job.cases for file in (case.artifact, case.sample))}
        artifacts = [_Kept.of(path, _ARTIFACT_S) for path in self.workdir.glob("artifacts/[!.]*")]
        ended = [_Kept.of(reply.parent, _REPLY_S) for reply in self.workdir.glob("jobs/*/reply.json")]
        entries = sorted(artifacts + ended, key=lambda entry: entry.used)
        excess = sum(entry.size_bytes for entry in entries) - self.keep_bytes
        for entry in entries:
            if excess > 0 and entry.path.name not in own and entry.is_stale():
                excess -= entry.size_bytes
                entry.remove()
        for path in self.workdir.glob(f"artifacts/{files.PREFIX}*"):  # what a killed put left half-written
            leftover = _Kept.of(path, _ARTIFACT_S)
            if leftover.is_stale():
                leftover.remove()

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter. Raises DeviceError."""
        with self._explained():
            folder = self._job_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / "events.jsonl"
            if not file.is_file() or file.stat().st_size < len(journal):
                files.write(file, journal)

    # --- at work -----------------------------------------------------------------------------------------------------

    def start(self, bundle: Path, job: wire.Job) -> int:
        """Start an agent on the job, detached; return its process id. Raises DeviceError naming the holder if busy."""
        answer = self._ask(self._put_bundle(bundle), "start", str(self.workdir), job.job)
        return int(_told(answer, "pid", int, self.name))

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, at most `piece_bytes`. Raises DeviceError."""
        with self._explained():
            try:
                with (self._job_folder(job) / "events.jsonl").open("rb") as file:
                    file.seek(offset)
                    data = file.read(self.piece_bytes)
            except FileNotFoundError:
                return b""
        return data[: data.rfind(b"\n") + 1]

    def alive(self, job: wire.Job) -> bool:
        """Return whether an agent is at work on this job. Raises DeviceError."""
        holder = self.holder()
        return holder is not None and holder.get("job") == job.job

    def holder(self) -> Mapping[str, Any] | None:
        """Return who holds the lock: {"run", "job", "pid", "agent"}, {} if not signed yet, None when it is free.

        The controller's own reader of the file that the agent's `lock` writes: it looks often, and starts no process.
        """
        with self._explained():
            try:
                file = (self.workdir / "lock").open("rb")
            except FileNotFoundError:
                return None
            with file:
                if _is_free(file.fileno()):
                    return None
                with suppress(ValueError):
                    value = json.loads(file.read(4096))
                    return value if isinstance(value, dict) else {}
        return {}

    def reply(self, job: wire.Job) -> wire.Reply | None:
        """Return the job's reply once it is there. Raises WireError, DeviceError."""
        path = self._job_folder(job) / "reply.json"
        with self._explained():
            try:
                with path.open("rb") as file:
                    text = file.read(_MAX_REPLY_BYTES).decode("utf-8", "replace")
            except FileNotFoundError:
                return None
        return wire.decode(wire.Reply, text, f"{self.name}: {path}")

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job. Raises DeviceError."""
        with self._explained():
            try:
                lines = (
                    (self._job_folder(job) / "agent.log").read_bytes()[-2000:].decode("utf-8", "replace").splitlines()
                )
            except FileNotFoundError:
                return ""
        return lines[-1].strip() if lines else ""

    def stop(self, job: wire.Job) -> bool:
        """End the agent at work on this job, journal whole; return whether there was one. Raises DeviceError.

        It is asked by its own bundle, which is there as long as it is: it starts each of its processes from it.
        """
        holder = self.holder()
        if holder is None or holder.get("job") != job.job:
            return False
        agent = self.workdir / "agents" / _plain(holder.get("agent"), self.name)
        self._ask(agent, "stop", str(self.workdir))
        return True

    # --- how ---------------------------------------------------------------------------------------------------------

    def _folders(self) -> None:
        for name in ("agents", "artifacts", "wheels", "jobs"):
            (self.workdir / name).mkdir(parents=True, exist_ok=True)

    def _job_folder(self, job: wire.Job) -> Path:
        return self.workdir / "jobs" / wire.require_name(job.job, "job")

    def _ask(self, agent: Path, *words: str) -> dict[str, Any]:
        """Run one verb of the agent and return its answer. Raises the error it gives, DeviceError for anything else."""
        command = [self.python, str(agent), *words]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"device {self.name}: {words[0]} failed: {error}", "Is its Python there?") from None
        try:
            answer = wire.parse(done.stdout.decode("utf-8", "replace"), f"device {self.name}, {words[0]}")
        except WireError:
            last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
            raise DeviceError(f"device {self.name}: {words[0]} exited with {done.returncode}: {last}") from None
        return _answer(answer, self.name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system refuses into a DeviceError."""
        try:
            yield
        except OSError as error:
            raise DeviceError(
                f"device {self.name}: {error.filename or self.workdir}: {error.strerror}",
                "Free some space or make it writable, or give the device another `workdir` in the inventory.",
            ) from error


def _answer(answer: Any, name: str) -> dict[str, Any]:
    """Check what a device answered; an error that it gives is raised as the one it names, if it may name it."""
    if not isinstance(answer, dict):
        raise DeviceError(f"device {name}: it answered {str(answer)[:200]!r}, not an object")
    refused = answer.get("error")
    if refused is None:
        return answer
    told = refused if isinstance(refused, dict) else {"message": str(refused)[:200]}
    kind = _ERRORS.get(str(told.get("type")), DeviceError)
    raise kind(f"device {name}: {told.get('message')}", str(told.get("hint", "")))


def _told(answer: Mapping[str, Any], key: str, kind: type, name: str) -> Any:
    value = answer.get(key)
    if not isinstance(value, kind):
        raise DeviceError(f"device {name}: its answer must give {key}, it gave {value!r:.200}")
    return value


def _is_free(fd: int, how: int = fcntl.LOCK_SH) -> bool:
    """Whether the lock could be taken; it is held, as `how` says, until the file is closed."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _copy(source: Path, target: Path) -> str:
    """Copy bytes and return their SHA-256, hashed on the way."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(2**20):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Kept:
    """Something in a workdir that may be removed once it has not been used for `spared_s`."""

    path: Path
    size_bytes: int
    used: float
    spared_s: float

    @classmethod
    def of(cls, path: Path, spared_s: float) -> _Kept:
        try:
            inside = (file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
            return cls(path, sum(inside), path.stat().st_mtime, spared_s)
        except FileNotFoundError:  # gone meanwhile
            return cls(path, 0, time.time(), spared_s)

    def is_stale(self) -> bool:
        return time.time() - self.used > self.spared_s

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True) if self.path.is_dir() else self.path.unlink(missing_ok=True)


def _plain(name: Any, device: str) -> str:
    try:
        return wire.require_name(str(name), "agent")
    except ValueError as error:
        raise DeviceError(f"device {device}: its lock is signed with a strange name: {error}") from None
