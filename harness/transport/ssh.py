"""A board over SSH: the verbs, made of one kept file channel and a handful of commands.

A file is there when a listing shows its name, which is its hash, with its size: it got that name after the device had hashed it.
What is being sent is called `.part-<sha256>` and goes on from where it was cut. Of a job's commands there are three: `look`,
`probe` (which installs the packages that were sent) and `start`; all else is files.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from harness import wire
from harness.errors import DamagedError, DeviceError
from harness.records import Address, Environment
from harness.transport.device import (
    COMMAND_LIMIT_S,
    FOLDERS,
    KEEP_BYTES,
    MAX_REPLY_BYTES,
    PIECE_BYTES,
    job_file,
    last_line,
    owner,
    plain,
    probed,
    read_answer,
    sha256_of,
    spec,
    told,
)
from harness.transport.link import SILENCE_S, Link, Session

_CHUNK_BYTES = 2**18
_MOST_NAMES = 100_000  # of one folder
_PART = ".part-"
_LOG_BYTES = 2000
_LOCK_BYTES = 4096
_NO_PROGRAM = (126, 127)

T = TypeVar("T")


class Ssh:
    """A board: its agent in a session of its own, its workdir seen through SFTP."""

    follow_s = 10.0

    def __init__(
        self,
        name: str,
        address: Address,
        workdir: str,
        python: str = "python3",
        keep_bytes: int = KEEP_BYTES,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.name, self.workdir, self.python, self.keep_bytes = name, workdir, python, keep_bytes
        self.link = Link(name, address, silence_s)
        self._home: str | None = None
        self._beat: tuple[str, Any] | None = None

    def close(self) -> None:
        """Let go of the connection."""
        self.link.close()

    # --- before ------------------------------------------------------------------------------------------------------

    def look(self, bundle: Path) -> Mapping[str, Any]:
        """Return what the board is and how it stands, as `Transport.look` says. Raises DeviceError."""
        agent, began = self._put_bundle(bundle), time.monotonic_ns()
        seen = self._ask(self.python, agent, "look", self._path())
        return {**seen, "round_trip_ns": time.monotonic_ns() - began}

    def environments(self) -> frozenset[str]:
        """Return the keys of the environments that are installed there. Raises DeviceError."""
        names = self._sizes("envs")
        return frozenset(name for name in names if not name.startswith(".") and not name.endswith(".json"))

    def probe(self, bundle: Path, runtime: str, environment: Environment | None = None) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported in a child there, its environment installed before."""
        agent = self._put_bundle(bundle)
        if environment is None:
            answer = self._ask(self.python, agent, "probe", runtime)
            return probed(answer, runtime, self.name, self.python)
        install = (self.python, agent, "probe", runtime, self._path(), environment.key)
        try:
            self._put_environment(environment)
            answer = self._ask(*install)
        except DamagedError:  # it was removed there; what is sent twice and still damaged is a broken disk
            self._put_environment(environment)
            answer = self._ask(*install)
        return probed(answer, runtime, self.name, f"the packages in {self._path('envs', environment.key)}")

    # --- sending -----------------------------------------------------------------------------------------------------

    def put(self, sources: Mapping[str, Path], folder: str = "artifacts") -> int:
        """Put files into a folder by the SHA-256 of their bytes; return the bytes sent. Raises DeviceError.

        They get their names when the agent has hashed them: at its next verb that needs them.
        """
        there = self._sizes(folder)
        wanted = {sha256: source for sha256, source in sources.items() if there.get(sha256) != source.stat().st_size}
        for sha256, source in wanted.items():
            if (digest := sha256_of(source)) != sha256:
                raise DeviceError(
                    f"{source}: its bytes have SHA-256 {digest}, not {sha256}", "Run `harness cache clean`."
                )
        return sum(self._send(source, self._path(folder, _PART + sha256)) for sha256, source in wanted.items())

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder. Raises DeviceError."""
        self._write(job_file(job, "job.json"), wire.encode(job).encode())

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter. Raises DeviceError."""
        if self._size(job_file(job, "events.jsonl")) < len(journal):
            self._write(job_file(job, "events.jsonl"), journal)

    def _put_environment(self, environment: Environment) -> None:
        if environment.key not in self.environments():
            self.put({wheel.sha256: Path(wheel.path) for wheel in environment.wheels}, "wheels")
            self._write(f"envs/{environment.key}.json", spec(environment))

    def _put_bundle(self, bundle: Path) -> str:
        name = f"agents/{bundle.name}"
        data = bundle.read_bytes()
        if self._size(name, make=True) != len(data):
            self._write(name, data, check=True)
        return self._path(name)

    # --- at work -----------------------------------------------------------------------------------------------------

    def start(self, bundle: Path, job: wire.Job, environment: Environment | None = None) -> int:
        """Start an agent on the job, detached; return its process id. Raises DeviceError naming the holder if busy."""
        python = self.python if environment is None else self._path("envs", environment.key, "bin/python")
        words = (self._path(), job.job, owner(), str(self.keep_bytes))
        return int(told(self._ask(python, self._put_bundle(bundle), "start", *words), "pid", int, self.name))

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, a piece at a time. Raises DeviceError."""
        data = self._read(job_file(job, "events.jsonl"), PIECE_BYTES, offset) or b""
        return data[: data.rfind(b"\n") + 1]

    def alive(self, job: wire.Job) -> bool:
        """Return whether an agent is at work on this job. Raises DeviceError.

        A heartbeat that has moved since the last look says so without a command; else the board is asked.
        """
        signed = self._signed()
        if signed is None or signed.get("job") != job.job:
            return False
        beat = (job.job, signed.get("beat"))
        moved = self._beat is not None and self._beat != beat and self._beat[0] == job.job
        self._beat = beat
        return moved or (self.holder() or {}).get("job") == job.job

    def holder(self) -> Mapping[str, Any] | None:
        """Return who holds the lock as it is signed, {} if it is not yet, None when it is free. Raises DeviceError.

        Only the board's kernel knows; it is asked by the agent that signed last, which is there as long as it works.
        """
        signed = self._signed()
        if signed is None:
            return None
        agent = f"agents/{plain(signed.get('agent'), self.name)}"
        if self._size(agent) < 0:
            return None
        held = self._ask(self.python, self._path(agent), "holder", self._path()).get("holder")
        return held if isinstance(held, dict) else None

    def reply(self, job: wire.Job) -> wire.Reply | None:
        """Return the job's reply once it is there. Raises WireError, DeviceError."""
        data = self._read(job_file(job, "reply.json"), MAX_REPLY_BYTES)
        if data is None:
            return None
        return wire.decode(wire.Reply, data.decode("utf-8", "replace"), f"{self.name}: {job_file(job, 'reply.json')}")

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job. Raises DeviceError."""
        name = job_file(job, "agent.log")
        return last_line(self._read(name, _LOG_BYTES, max(0, self._size(name) - _LOG_BYTES)) or b"")

    def stop(self, job: str | None = None) -> bool:
        """End the agent at work, journal whole; return whether there was one. Raises DeviceError."""
        with self.link.hurried():
            holder = self.holder()
            if not holder or (job is not None and holder.get("job") != job):
                return False
            agent = self._path("agents", plain(holder.get("agent"), self.name))
            self._ask(self.python, agent, "stop", self._path())
        return True

    def clean(self, bundle: Path) -> int:
        """Remove what no job under way needs and nobody has used for a day; return the bytes that were freed."""
        answer = self._ask(self.python, self._put_bundle(bundle), "clean", self._path())
        return int(told(answer, "freed_bytes", int, self.name))

    # --- commands ----------------------------------------------------------------------------------------------------

    def _ask(self, python: str, agent: str, *words: str) -> dict[str, Any]:
        """Run one verb of the agent and return its answer. Raises the error it gives, DeviceError for anything else."""
        done = self.link.run([python, agent, *words], COMMAND_LIMIT_S)
        if done.code in _NO_PROGRAM:
            raise DeviceError(
                f"device {self.name}: there is no {python}",
                "Install Python 3.8 or newer there, or say in the inventory where it is: `python: /usr/bin/python3.11`.",
            )
        return read_answer(words[0], done.code, done.out, done.err, self.name)

    # --- files -------------------------------------------------------------------------------------------------------

    def _path(self, *names: str) -> str:
        """Return the absolute path of something in the workdir; `~` is the home that the board itself names."""
        if not self.workdir.startswith("~"):
            return "/".join((self.workdir, *names))
        if self._home is None:
            self._home = self.link.ask("looking for the home folder", lambda session: session.home)
        return "/".join((self._home + self.workdir[1:], *names))

    def _sizes(self, folder: str) -> dict[str, int]:
        """Return what a folder holds: names and sizes in bytes. It is made where it is not there."""

        def work(session: Session) -> dict[str, int]:
            sizes: dict[str, int] = {}
            for entry in session.files.listdir_iter(path):
                sizes[entry.filename] = entry.st_size or 0
                session.beat()
                if len(sizes) > _MOST_NAMES:
                    raise DeviceError(f"device {self.name}: {path} holds more than {_MOST_NAMES} names")
            return sizes

        path = self._path(folder)
        with suppress(FileNotFoundError):
            return self._touch(f"listing {path}", path, work)
        self._make_folders()
        return {}

    def _size(self, name: str, make: bool = False) -> int:
        """Return the size of a file in bytes, -1 where it is not there; with `make`, its folders are made."""
        path = self._path(name)
        try:
            found = self._touch(f"looking at {path}", path, lambda session: session.files.stat(path))
            return int(found.st_size or 0)
        except FileNotFoundError:
            if make:
                self._make_folders()
            return -1

    def _make_folders(self) -> None:
        def work(session: Session) -> None:
            for folder in folders:
                if not _is_folder(session, folder):
                    session.files.mkdir(folder)

        above = self._path().rstrip("/").split("/")
        parents = ["/".join(above[: n + 1]) for n in range(1, len(above))]
        folders = [*parents, *(self._path(name) for name in FOLDERS)]
        self._touch("making its folders", self._path(), work)

    def _read(self, name: str, most: int, offset: int = 0) -> bytes | None:
        """Return at most `most` bytes of a file from `offset` on, None where it is not there."""

        def work(session: Session) -> bytes:
            data = bytearray()
            if (session.files.stat(path).st_size or 0) <= offset:
                return b""
            with session.files.open(path, "rb") as file:
                file.seek(offset)
                while len(data) < most and (chunk := file.read(min(_CHUNK_BYTES, most - len(data)))):
                    data += chunk
                    session.beat()
            return bytes(data[:most])

        path = self._path(name)
        with suppress(FileNotFoundError):
            return self._touch(f"reading {path}", path, work)
        return None

    def _write(self, name: str, data: bytes, check: bool = False) -> None:
        """Write a file whole or not at all; with `check`, what was written is read back first."""

        def work(session: Session) -> None:
            folder = path.rpartition("/")[0]
            if not _is_folder(session, folder):
                session.files.mkdir(folder)
            with session.files.open(temporary, "wb") as file:
                file.set_pipelined(True)
                _pour(session, file, data)
            if check:
                with session.files.open(temporary, "rb") as file:
                    if file.read(len(data) + 1) != data:
                        raise DamagedError(f"device {self.name}: {path} reads back otherwise than it was written")
            session.files.posix_rename(temporary, path)

        path = self._path(name)
        temporary = f"{path.rpartition('/')[0]}/.tmp-{path.rpartition('/')[2]}"
        self._touch(f"writing {path}", path, work)

    def _send(self, source: Path, path: str) -> int:
        """Send a file, from where an earlier transfer was cut; return the bytes that really went."""
        sent = 0

        def work(session: Session) -> None:
            nonlocal sent
            size, there = source.stat().st_size, 0
            with suppress(FileNotFoundError):
                there = session.files.stat(path).st_size or 0
            there = there if there <= size else 0
            with source.open("rb") as reader, session.files.open(path, "r+b" if there else "wb") as file:
                reader.seek(there)
                file.seek(there)
                file.set_pipelined(True)
                while chunk := reader.read(_CHUNK_BYTES):
                    _pour(session, file, chunk)
                    sent += len(chunk)

        self._touch(f"sending {path}", path, work)
        return sent

    def _touch(self, what: str, path: str, work: Callable[[Session], T]) -> T:
        """Do something with files there. Raises FileNotFoundError, DeviceError for all else that the board refuses."""

        def explained(session: Session) -> T:
            with self._explained(session, path):
                return work(session)

        return self.link.ask(what, explained)

    @contextmanager
    def _explained(self, session: Session, path: str) -> Iterator[None]:
        """Turn what the board's file server refuses into a DeviceError; a lost link and a missing file pass as they are."""
        try:
            yield
        except (FileNotFoundError, TimeoutError, ConnectionError):
            raise
        except OSError as error:
            if not session.connection.is_connected:
                raise
            raise DeviceError(
                f"device {self.name}: {path}: {error.strerror or error}",
                "Is its disk full, or read-only? Make room, or give the device another `workdir` in the inventory.",
            ) from None

    def _signed(self) -> Mapping[str, Any] | None:
        """Return what stands in the lock, {} for what is no signature, None where it is empty."""
        data = self._read("lock", _LOCK_BYTES)
        if not data:
            return None
        with suppress(ValueError, RecursionError):
            value = json.loads(data)
            return value if isinstance(value, dict) else {}
        return {}


def _pour(session: Session, file: Any, data: bytes) -> None:
    """Write piece by piece, so that whoever watches sees that something moves."""
    for start in range(0, len(data), _CHUNK_BYTES):
        file.write(data[start : start + _CHUNK_BYTES])
        session.beat()


def _is_folder(session: Session, path: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(session.files.stat(path).st_mode or 0)
    return False
