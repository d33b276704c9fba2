"""Follow a job to its reply: the run's copy of the journal as it grows, and the controller's meters beside it."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness import bundle, energy, interrupt, meters, store, wire
from harness.child import OnProgress, Progress
from harness.errors import DeviceError, HarnessError
from harness.transport import Transport
from harness.transport.device import SensorOptions

_FIRST_S = 0.5  # how soon the journal is looked at again,
_RARER = 1.3  # and how much rarer each time, up to the line's own
_MOST_BYTES = 2**31  # of a journal: 36 blocks of a hundred cases with their samples are a tenth of it
_FULL_BYTES = 2**20  # what a disk that is called full may still have free
_SILENCE_S = 10.0  # without a new line for so long, ask whether the agent still lives


def agent_of(job: wire.Job) -> Path:
    """Return the agent of a job: its runtime, and the sensors that it reads on the device. Raises what `bundle.build` does."""
    return bundle.build(job.runtime, [meter.sensor for meter in job.energy.meters] if job.energy else [])


def whole(line: Transport, job: wire.Job) -> bytes:
    """Return the device's whole journal, piece by piece as the line gives it."""
    journal = b""
    while piece := line.follow(job, len(journal)):
        _require_bounded(job, len(journal) + len(piece))
        journal += piece
    return journal


def _require_bounded(job: wire.Job, size_bytes: int) -> None:
    if size_bytes > _MOST_BYTES:
        raise DeviceError(f"the journal of {job.job} exceeds {_MOST_BYTES >> 30} GiB: no job of ours says so much")


def follow(
    line: Transport, folder: Path, job: wire.Job, tell: OnProgress, sensors: SensorOptions | None = None
) -> None:
    """Copy the journal as it grows until the reply is there. Blocks between looks; never spins.

    Meters that are the controller's are read meanwhile, from the first sign of energy passes on; `sensors` are the device's in
    the inventory, with their options. Whatever happens to a meter, the job goes on.

    A copy that is no prefix of the device's journal (a power cut, an edit) is set aside and made anew. Raises DeviceError
    when the agent died without a reply (its journal is kept, and the run can go on), or when its reply is another job's
    or promises more than the journal holds; WireError for a line that breaks the format.
    """
    if not whole(line, job).startswith(store.journal_bytes(folder, job.runtime)):
        store.set_journal_aside(folder, job.runtime)
    with _reader(line, folder, job, sensors or {}) as reader:
        _follow(line, _Copy(folder, job, tell), reader)


def _reader(line: Transport, folder: Path, job: wire.Job, sensors: SensorOptions) -> meters.Reader:
    remote = job.energy.remote if job.energy else ()
    options = {name: sensors.get(name, {}) for name in remote}
    record = partial(store.meter_record, folder, job.runtime)
    return meters.Reader(options, record, lambda: line.clock(agent_of(job)))


def _follow(line: Transport, copy: _Copy, reader: meters.Reader) -> None:
    job, quiet_since, pause_s = copy.job, time.monotonic(), _FIRST_S
    while True:
        reply = line.reply(job)  # before the journal: a reply that is there has its whole journal behind it
        fresh = line.follow(job, copy.size_bytes)
        if reply is None:
            reader.tick(copy.has_passes)
        if fresh:
            copy.append(fresh)
            quiet_since = time.monotonic()
        elif reply is not None:
            reader.end()
            copy.end(reply)
            return
        elif time.monotonic() - quiet_since > _SILENCE_S:
            _require_alive(line, job)
            quiet_since = time.monotonic()
        else:
            interrupt.pause(pause_s)
            pause_s = min(line.follow_s, pause_s * _RARER)  # a look disturbs what is being timed


def _require_alive(line: Transport, job: wire.Job) -> None:
    """Raise DeviceError when the agent is gone and has left no reply, not even just now."""
    if line.alive(job) or line.reply(job) is not None:
        return
    said = line.log_tail(job) or _unsaid(line, job)
    raise DeviceError(
        f"the agent on {line.name} ended without a reply: {said}",
        f"Nothing measured is lost; go on with: harness run --resume {job.run}",
    )


def _unsaid(line: Transport, job: wire.Job) -> str:
    """Return why an agent may have ended that could not even write its log."""
    full = False
    with suppress(HarnessError):  # what it ended of may forbid this, too
        free = line.look(bundle.build(job.runtime)).get("free_bytes")
        full = isinstance(free, int) and free < _FULL_BYTES
    return "there is no space left on its disk" if full else "killed, or out of memory or disk space"


def _of_passes(event: wire.Event) -> bool:
    """Whether an event tells of energy passes: a pass, or a state or a wait beside one."""
    return bool(getattr(event, "scenario", "") or getattr(event, "energy", False))


class _Copy:
    """The run's copy of a journal while it is followed, and the progress that it tells of."""

    def __init__(self, folder: Path, job: wire.Job, tell: OnProgress) -> None:
        self.folder, self.job, self.tell = folder, job, tell
        known = store.journal_bytes(folder, job.runtime)
        self.size_bytes = len(known)
        self.reader = wire.JournalReader(job, f"journal of {job.job}")
        self.has_passes = any(map(_of_passes, self.reader.read(known.decode("utf-8", "replace"))))
        self.labels = {case.case_id: case.label for case in job.cases}
        self.began = time.monotonic()

    def append(self, lines: bytes) -> None:
        """Check whole lines, keep them, and tell of the last one that says something: readings of the state stand between."""
        _require_bounded(self.job, self.size_bytes + len(lines))
        events = self.reader.read(lines.decode("utf-8", "replace"))
        store.append_journal(self.folder, self.job.runtime, lines)
        self.size_bytes += len(lines)
        self.has_passes = self.has_passes or any(map(_of_passes, events))
        texts = [text for event in events if (text := self._text(event))]
        if texts:
            self._tell(texts[-1])

    def end(self, reply: wire.Reply) -> None:
        """Keep the reply. Raises DeviceError unless it is this job's and the copy holds all its events."""
        if (reply.run, reply.job, reply.events) != (self.job.run, self.job.job, self.reader.events):
            raise DeviceError(
                f"the reply of job {reply.job} promises {reply.events} events; {self.job.job} has {self.reader.events} here",
                "The device's files were changed; start a new run.",
            )
        store.save_reply(self.folder, self.job, reply)

    def _text(self, event: wire.Event) -> str:
        if isinstance(event, wire.ProcessEvent):
            return f"block {event.block}, {self.labels[event.case_id]}"
        if isinstance(event, wire.FailedEvent) and event.final:
            return f"failed: {self.labels[event.case_id]}: {event.cause}"
        if isinstance(event, wire.PassEvent):
            return f"energy: window {event.block}, {self._scenario(event)}"
        if isinstance(event, wire.PassFailedEvent) and event.final:
            return f"energy: no window {event.block}, {self._scenario(event)}: {event.cause}"
        if isinstance(event, wire.GraphEvent):
            return f"looked at what ran as {self.labels[event.case_id]}"
        if isinstance(event, wire.WaitEvent):
            return f"waited {event.waited_ns / 1e9:.0f} s for the device to cool: {event.reason}"
        if isinstance(event, wire.SoakEvent):
            return f"warmed up for a sustained load: {event.reason}"
        return ""

    def _scenario(self, event: wire.PassEvent | wire.PassFailedEvent) -> str:
        return f"{self.labels[event.case_id]} {event.scenario}" if event.case_id else event.scenario

    def _tell(self, text: str) -> None:
        """Say it beside the seconds gone, of those that latencies take at most and energy passes mostly."""
        total_s = self.job.protocol.budget_s + energy.seconds(self.job.energy, len(self.job.cases))
        gone_s = min(time.monotonic() - self.began, total_s)
        self.tell(Progress(f"{self.job.runtime}: {text}", round(gone_s), round(total_s)))
