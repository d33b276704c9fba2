"""This machine as a device: files in its workdir, the agent in a session of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness import files, sensing, wire
from harness.clocks import Echo, Same
from harness.errors import DeviceError
from harness.records import Environment
from harness.transport.device import (
    COMMAND_LIMIT_S,
    FOLDERS,
    KEEP_BYTES,
    MAX_REPLY_BYTES,
    PIECE_BYTES,
    SensorOptions,
    job_file,
    last_line,
    meter_words,
    owner,
    plain,
    probed,
    read_answer,
    sensor_words,
    sha256_of,
    stepped,
    told,
)


class Local:
    """This machine as a device: the same agent, detached in a session of its own, in its own workdir."""

    follow_s = 0.5

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

    def look(self, bundle: Path, options: SensorOptions | None = None) -> Mapping[str, Any]:
        """Return what this machine is and how it stands, as `Transport.look` says."""
        agent, began = self._put_bundle(bundle), time.monotonic_ns()
        seen = self._ask(agent, "look", str(self.workdir), *sensor_words(options))
        return {**seen, "round_trip_ns": time.monotonic_ns() - began}

    def step(self, bundle: Path, sensors: SensorOptions) -> wire.Stepped:
        """Put a step of load on every core and return what these sensors saw of it."""
        answer = self._ask(self._put_bundle(bundle), "step", str(self.workdir), meter_words(sensors))
        return stepped(answer, self.name)

    def environments(self) -> frozenset[str]:
        """Return none: on this machine the agent runs with our own packages."""
        return frozenset()

    def probe(self, bundle: Path, runtime: str, environment: Environment | None = None) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported in a child there. Raises DeviceError if it cannot be."""
        return probed(self._ask(self._put_bundle(bundle), "probe", runtime), runtime, self.name, self.python)

    # --- sending -----------------------------------------------------------------------------------------------------

    def put(self, sources: Mapping[str, Path], folder: str = "artifacts") -> int:
        """Put files into a folder by the SHA-256 of their bytes; return the bytes sent (none for what is there)."""
        with self._explained():
            self._folders()
            return sum(
                self._put_file(source, self.workdir / folder / sha256, sha256) for sha256, source in sources.items()
            )

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
            if target.is_file() and sha256_of(target) != sha256_of(bundle):
                target.unlink()  # it cannot say itself that it is damaged
            self._put_file(bundle, target, sha256_of(bundle))
        return target

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder. Raises DeviceError."""
        with self._explained():
            files.write(self._job_file(job, "job.json", make=True), wire.encode(job).encode())

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter. Raises DeviceError."""
        with self._explained():
            file = self._job_file(job, "events.jsonl", make=True)
            if not file.is_file() or file.stat().st_size < len(journal):
                files.write(file, journal)

    # --- at work -----------------------------------------------------------------------------------------------------

    def start(self, bundle: Path, job: wire.Job, environment: Environment | None = None) -> int:
        """Start an agent on the job, detached; return its process id. Raises DeviceError naming the holder if busy."""
        words = (str(self.workdir), job.job, owner(), str(self.keep_bytes))
        return int(told(self._ask(self._put_bundle(bundle), "start", *words), "pid", int, self.name))

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, at most `piece_bytes`. Raises DeviceError."""
        with self._explained():
            try:
                with self._job_file(job, "events.jsonl").open("rb") as file:
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
        """Return who holds the lock as it is signed, {} if it is not yet, None when it is free.

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
        path = self._job_file(job, "reply.json")
        with self._explained():
            try:
                with path.open("rb") as file:
                    text = file.read(MAX_REPLY_BYTES).decode("utf-8", "replace")
            except FileNotFoundError:
                return None
        return wire.decode(wire.Reply, text, f"{self.name}: {path}")

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job. Raises DeviceError."""
        with self._explained():
            try:
                data = self._job_file(job, "agent.log").read_bytes()
            except FileNotFoundError:
                return ""
        return last_line(data)

    def stop(self, job: str | None = None) -> bool:
        """End the agent at work, journal whole; return whether there was one. Raises DeviceError.

        It is asked by its own bundle, which is there as long as it is: it starts each of its processes from it.
        """
        holder = self.holder()
        if not holder or (job is not None and holder.get("job") != job):
            return False
        self._ask(self.workdir / "agents" / plain(holder.get("agent"), self.name), "stop", str(self.workdir), owner())
        return True

    @contextmanager
    def clock(self, bundle: Path) -> Iterator[Echo]:
        """Give this machine's clock, which is the device's: nothing is exchanged, and nothing is off."""
        yield Same(sensing.text(sensing.sysroot() / "proc/sys/kernel/random/boot_id") or "")

    def clean(self, bundle: Path) -> int:
        """Remove what no job under way needs and nobody has used for a day; return the bytes that were freed."""
        answer = self._ask(self._put_bundle(bundle), "clean", str(self.workdir))
        return int(told(answer, "freed_bytes", int, self.name))

    def close(self) -> None:
        """Do nothing: there is no connection."""

    # --- how ---------------------------------------------------------------------------------------------------------

    def _folders(self) -> None:
        for name in FOLDERS:
            (self.workdir / name).mkdir(parents=True, exist_ok=True)

    def _job_file(self, job: wire.Job, name: str, make: bool = False) -> Path:
        file = self.workdir / job_file(job, name)
        if make:
            file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _ask(self, agent: Path, *words: str) -> dict[str, Any]:
        """Run one verb of the agent and return its answer. Raises the error it gives, DeviceError for anything else."""
        command = [self.python, str(agent), *words]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_LIMIT_S,
                start_new_session=True,  # a terminal's Ctrl-C is for us: we stop the agent ourselves
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"device {self.name}: {words[0]} failed: {error}", "Is its Python there?") from None
        return read_answer(words[0], done.returncode, done.stdout, done.stderr, self.name)

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
