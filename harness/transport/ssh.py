"""A board over SSH: the verbs, made of one kept file channel and a handful of commands.

A file is there when a listing shows its name, which is its hash, with its size: it got that name after the device had hashed it.
What is being sent is called `.part-<sha256>` and goes on from where it was cut. Of a job's commands there are three: `look`,
`probe` (which installs the packages that were sent) and `start`; all else is files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness import wire
from harness.clocks import Echo
from harness.errors import DamagedError, DeviceError, WireError
from harness.records import Address, Environment
from harness.transport import echo
from harness.transport.device import (
    COMMAND_LIMIT_S,
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
    spec,
    stepped,
    told,
)
from harness.transport.link import SILENCE_S, Link
from harness.transport.remote import Workdir

_PART = ".part-"
_LOG_BYTES = 2000
_LOCK_BYTES = 4096
_NO_PROGRAM = (126, 127)
_SIGNED_S, _LOOK_S = 10.0, 0.25


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
        self.name, self.python, self.keep_bytes = name, python, keep_bytes
        self.link = Link(name, address, silence_s)
        self.there = Workdir(self.link, workdir)
        self._agents: list[str] = []  # that were seen whole
        self._beat: tuple[str, Any] | None = None

    def close(self) -> None:
        """Let go of the connection."""
        self.link.close()

    # --- before ------------------------------------------------------------------------------------------------------

    def look(self, bundle: Path, options: SensorOptions | None = None) -> Mapping[str, Any]:
        """Return what the board is and how it stands, as `Transport.look` says. Raises DeviceError."""
        agent, began = self._put_bundle(bundle), time.monotonic_ns()
        seen = self._ask(self.python, agent, "look", self.there.path(), *sensor_words(options))
        return {**seen, "round_trip_ns": time.monotonic_ns() - began}

    def step(self, bundle: Path, sensors: SensorOptions) -> wire.Stepped:
        """Put a step of load on every core there and return what these sensors saw of it. Raises DeviceError."""
        answer = self._ask(self.python, self._put_bundle(bundle), "step", self.there.path(), meter_words(sensors))
        return stepped(answer, self.name)

    def environments(self) -> frozenset[str]:
        """Return the keys of the environments that are installed there. Raises DeviceError."""
        names = self.there.sizes("envs")
        return frozenset(name for name in names if not name.startswith(".") and not name.endswith(".json"))

    def probe(self, bundle: Path, runtime: str, environment: Environment | None = None) -> Mapping[str, Any]:
        """Return {"versions", "facts"} of a runtime imported in a child there, its environment installed before."""
        agent = self._put_bundle(bundle)
        if environment is None:
            answer = self._ask(self.python, agent, "probe", runtime)
            return probed(answer, runtime, self.name, self.python)
        install = (self.python, agent, "probe", runtime, self.there.path(), environment.key)
        try:
            self._put_environment(environment)
            answer = self._ask(*install)
        except DamagedError:  # it was removed there; what is sent twice and still damaged is a broken disk
            self._put_environment(environment, anew=True)
            answer = self._ask(*install)
        return probed(answer, runtime, self.name, f"the packages in {self.there.path('envs', environment.key)}")

    # --- sending -----------------------------------------------------------------------------------------------------

    def put(self, sources: Mapping[str, Path], folder: str = "artifacts") -> int:
        """Put files into a folder by the SHA-256 of their bytes; return the bytes sent. Raises DeviceError.

        They get their names when the agent has hashed them: at its next verb that needs them.
        """
        there = self.there.sizes(folder)
        wanted = {sha256: source for sha256, source in sources.items() if there.get(sha256) != source.stat().st_size}
        for sha256, source in wanted.items():
            if (digest := sha256_of(source)) != sha256:
                raise DeviceError(
                    f"{source}: its bytes have SHA-256 {digest}, not {sha256}", "Run `harness cache clean`."
                )
        return sum(self.there.send(source, f"{folder}/{_PART}{sha256}") for sha256, source in wanted.items())

    def put_job(self, job: wire.Job) -> None:
        """Write the job, whose files are there, into its folder. Raises DeviceError."""
        self.there.write(job_file(job, "job.json"), wire.encode(job).encode())

    def restore_journal(self, job: wire.Job, journal: bytes) -> None:
        """Give back the controller's copy of a journal where the device's is shorter. Raises DeviceError."""
        if self.there.size(job_file(job, "events.jsonl")) < len(journal):
            self.there.write(job_file(job, "events.jsonl"), journal)

    def _put_environment(self, environment: Environment, anew: bool = False) -> None:
        """Put what it is made of, unless it is there; `anew`: a folder that is there cannot be used."""
        if anew or environment.key not in self.environments():
            self.put({wheel.sha256: Path(wheel.path) for wheel in environment.wheels}, "wheels")
            self.there.write(f"envs/{environment.key}.json", spec(environment))

    def _put_bundle(self, bundle: Path) -> str:
        """Put an agent, unless it is there: it is read back once, for it cannot say itself that it is damaged."""
        name, data = f"agents/{bundle.name}", bundle.read_bytes()
        if name not in self._agents or self.there.size(name) != len(data):
            if self.there.read(name, len(data) + 1) != data:
                self.there.write(name, data, check=True)
            self._agents.append(name)
        return self.there.path(name)

    # --- at work -----------------------------------------------------------------------------------------------------

    def start(self, bundle: Path, job: wire.Job, environment: Environment | None = None) -> int:
        """Start an agent on the job, detached; return its process id. Raises DeviceError naming the holder if busy."""
        python = self.python if environment is None else self.there.path("envs", environment.key, "bin/python")
        words = (self.there.path(), job.job, owner(), str(self.keep_bytes))
        agent = self._put_bundle(bundle)
        try:
            return int(told(self._ask(python, agent, "start", *words), "pid", int, self.name))
        except KeyboardInterrupt:
            self._await_signature(job)
            raise

    def _await_signature(self, job: wire.Job) -> None:
        """Wait a while for the agent that is being started: only when it has signed its lock can it be stopped."""
        end = time.monotonic() + _SIGNED_S
        with suppress(DeviceError), self.link.hurried():
            while time.monotonic() < end and (self.holder() or {}).get("job") != job.job:
                time.sleep(_LOOK_S)

    def follow(self, job: wire.Job, offset: int) -> bytes:
        """Return whole lines of the journal from byte `offset` on, a piece at a time. Raises DeviceError, WireError."""
        data = self.there.read(job_file(job, "events.jsonl"), PIECE_BYTES, offset) or b""
        if len(data) == PIECE_BYTES and b"\n" not in data:
            raise WireError(f"device {self.name}: journal of {job.job}: a line of more than {PIECE_BYTES >> 20} MiB")
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

        Only the board's kernel knows; it is asked by the agent that signed last, or by one of ours where that is gone.
        """
        signed = self._signed()
        if signed is None:
            return None
        theirs = f"agents/{plain(signed.get('agent'), self.name)}"
        agents = [agent for agent in (theirs, *self._agents) if self.there.size(agent) > 0]
        if not agents:
            return None
        held = self._ask(self.python, self.there.path(agents[0]), "holder", self.there.path()).get("holder")
        return held if isinstance(held, dict) else None

    def reply(self, job: wire.Job) -> wire.Reply | None:
        """Return the job's reply once it is there. Raises WireError, DeviceError."""
        data = self.there.read(job_file(job, "reply.json"), MAX_REPLY_BYTES)
        if data is None:
            return None
        return wire.decode(wire.Reply, data.decode("utf-8", "replace"), f"{self.name}: {job_file(job, 'reply.json')}")

    def log_tail(self, job: wire.Job) -> str:
        """Return the last words of the agent that worked on the job. Raises DeviceError."""
        name = job_file(job, "agent.log")
        return last_line(self.there.read(name, _LOG_BYTES, max(0, self.there.size(name) - _LOG_BYTES)) or b"")

    def stop(self, job: str | None = None) -> bool:
        """End the agent at work, journal whole; return whether there was one. Raises DeviceError."""
        with self.link.hurried():
            holder = self.holder()
            if not holder or (job is not None and holder.get("job") != job):
                return False
            agent = self.there.path("agents", plain(holder.get("agent"), self.name))
            self._ask(self.python, agent, "stop", self.there.path(), owner())
        return True

    @contextmanager
    def clock(self, bundle: Path) -> Iterator[Echo]:
        """Ask the agent's clock over a channel of its own on the one connection. Raises DeviceError."""
        with self.link.hurried():  # nothing that is measured rests on it
            agent = self._put_bundle(bundle)
        with echo.over(self.link, [self.python, agent, "clock"]) as lines:
            yield lines

    def clean(self, bundle: Path) -> int:
        """Remove what no job under way needs and nobody has used for a day; return the bytes that were freed."""
        answer = self._ask(self.python, self._put_bundle(bundle), "clean", self.there.path())
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

    def _signed(self) -> Mapping[str, Any] | None:
        """Return what stands in the lock, {} for what is no signature, None where it is empty."""
        data = self.there.read("lock", _LOCK_BYTES)
        if not data:
            return None
        with suppress(ValueError, RecursionError):
            value = json.loads(data)
            return value if isinstance(value, dict) else {}
        return {}
