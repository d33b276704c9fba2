"""Jobs: make one from a run's entries, bring it to a device, follow it to its reply.

    entries -> Job -> put what the device lacks -> start, detached -> follow the journal -> reply

The device's journal is the truth and only grows; the run keeps a copy that is a prefix of it. Every line passes the
wire's door before it is kept, and nothing is kept twice: whoever follows holds the run's folder.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import bundle, energy, interrupt, store, wire
from harness.child import OnProgress, Progress
from harness.errors import DamagedError, DeviceError, HarnessError
from harness.records import ONNX, Artifact, Case, Entry, Environment, Plan, Profile, Run
from harness.transport import Transport

_FIRST_S, _RARER = (
    0.5,
    1.3,
)  # how soon the journal is looked at again, and how much rarer each time, up to the line's own
_MOST_BYTES = 2**31  # of a journal: 36 blocks of a hundred cases with their samples are a tenth of it
_FULL_BYTES = 2**20  # what a disk that is called full may still have free
_SILENCE_S = 10.0  # without a new line for so long, ask whether the agent still lives


def make(
    record: Run,
    runtime: str,
    artifacts: Mapping[str, Artifact],
    profile: Profile,
    passes: wire.EnergyPlan | None = None,
) -> wire.Job | None:
    """Return the job of all of a run's cases for one runtime, or None when none of them could be built.

    `artifacts` go by case: two precisions may be the same bytes, each proved on a sample and within a bound of its own. The
    device's profile says how the settings that the plan names are brought about, and how long it may take to cool.
    """
    entries = [entry for entry in record.entries if entry.case.runtime == runtime and entry.failure is None]
    if not entries:
        return None
    pairs = dict.fromkeys(
        (e.case.case_id, e.reference) for e in entries if e.reference and e.case.case_id != e.reference
    )
    comparisons = tuple((case, reference) for case, reference in pairs if reference is not None)
    compared = Counter(reference for _, reference in comparisons)
    first = {entry.case.case_id: entry for entry in reversed(entries)}  # ladders may share a case: the first names it
    cases = dict.fromkeys(entry.case.case_id for entry in entries)
    return wire.Job(
        run=record.run,
        job=f"{record.run}-{runtime}",
        runtime=runtime,
        seed=record.plan.seed,
        cases=tuple(
            _case(_label(record, first[name]), first[name].case, artifacts[name], compared[name]) for name in cases
        ),
        comparisons=comparisons,
        protocol=protocol(record.plan, profile, record.virtual),
        tune=settings(record.plan.tune, profile, record.plan.power_mode),
        profile=record.plan.profiling,
        energy=passes,
    )


def _case(label: str, case: Case, artifact: Artifact, compared: int) -> wire.JobCase:
    """A case as the device needs it; `compared` others are put beside it."""
    return wire.JobCase(
        case_id=case.case_id,
        label=label,
        artifact=wire.FileRef(artifact.sha256, artifact.size_bytes),
        sample=wire.FileRef(artifact.sample_sha256, artifact.sample_bytes),
        tolerance=artifact.tolerance,
        precision=case.precision,
        threads=case.threads,
        batch=case.batch,
        options=dict(case.options),
        replicates=replicates(compared),
        made_for=artifact.made_for,
    )


def protocol(plan: Plan, profile: Profile, virtual: bool = False) -> wire.Protocol:
    """How a plan's jobs are measured on a device of this profile; one that is emulated has no heat to wait for."""
    cooldown_s = 0.0 if virtual else profile.cooldown_s
    return wire.Protocol(budget_s=plan.budget_s, regime=plan.regime, cooldown_s=cooldown_s)


def settings(names: Iterable[str], profile: Profile, power_mode: str | None = None) -> tuple[wire.Setting, ...]:
    """What a power mode and the names of a profile's `tune:` stand for. Raises DeviceError for a name that is gone from it.

    The mode comes first, for it undoes what was done to clocks before it; what both name is brought about once.
    """
    modes = () if power_mode is None else (power_mode,)
    _require_still_there("power mode", modes, profile.power_modes, profile)
    _require_still_there("setting", names, profile.tune, profile)
    of_modes = (setting for mode in modes for setting in profile.power_modes[mode].settings)
    return tuple(dict.fromkeys((*of_modes, *(setting for name in names for setting in profile.tune[name]))))


def _require_still_there(what: str, names: Iterable[str], offered: Iterable[str], profile: Profile) -> None:
    gone = [name for name in names if name not in offered]
    if gone:
        key = "tune" if what == "setting" else "power_modes"
        raise DeviceError(
            f'profile "{profile.name}" no longer has the {what} "{gone[0]}" under `{key}:`',
            "Put it back, or start anew.",
        )


def _label(record: Run, entry: Entry) -> str:
    """What people call a row: `easier 3`, or a control or a given network by its name."""
    if entry.method not in ("control", ONNX):
        return f"{entry.ladder} {entry.rung}"
    return next(ladder for ladder in record.ladders if ladder.name == entry.ladder).rungs[entry.rung].network


def replicates(compared: int) -> int:
    """A reference runs in about sqrt(cases of its comparisons), at least 2, processes per block: all rest on it."""
    return max(2, round(math.sqrt(compared + 1))) if compared else 1


def deploy(
    line: Transport, folder: Path, job: wire.Job, artifacts: Iterable[Artifact], environment: Environment | None
) -> None:
    """Put what the device lacks (artifacts, samples, journal, job) and start the agent, detached, in its environment.

    A file that was damaged there is sent once more. Raises DeviceError.
    """
    made = list(artifacts)
    files = {artifact.sha256: Path(artifact.path) for artifact in made}
    files |= {artifact.sample_sha256: Path(artifact.sample_path) for artifact in made}
    wanted = {file.sha256 for file in job.files()}
    files = {sha256: path for sha256, path in files.items() if sha256 in wanted}
    line.put(files)
    give_back(line, folder, job)
    line.put_job(job)
    agent = bundle.build(job.runtime, _sensors(job))
    try:
        line.start(agent, job, environment)
    except DamagedError:
        line.put(files)
        line.start(agent, job, environment)


def _sensors(job: wire.Job) -> list[str]:
    """The sensors that the job reads on the device."""
    return [meter.sensor for meter in job.energy.meters] if job.energy else []


def bring(
    line: Transport,
    folder: Path,
    job: wire.Job,
    artifacts: Iterable[Artifact],
    tell: OnProgress,
    environment: Environment | None = None,
) -> None:
    """Bring a job to its reply: send what is missing and start an agent, unless one is at work or done; then follow it.

    Ctrl-C ends the agent too: whoever presses it wants quiet. Raises what `deploy` and `follow` raise.
    """
    with stopped_on_interruption(line, job):
        if not line.alive(job) and line.reply(job) is None:
            deploy(line, folder, job, artifacts, environment)
        follow(line, folder, job, tell)


@contextmanager
def stopped_on_interruption(line: Transport, job: wire.Job) -> Iterator[None]:
    """End the agent when whoever follows it is interrupted."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        try:
            line.stop(job.job)
        except HarnessError as error:  # the interruption is what the user must hear of, and this beside it
            said = f"{error.message}: its agent may still be at work; --resume follows it, --steal ends it."
            raise KeyboardInterrupt(*interruption.args, said) from None
        raise


def give_back(line: Transport, folder: Path, job: wire.Job) -> None:
    """Give a device that lost the end of its journal, or all of it, the run's copy. Raises WireError for a damaged copy."""
    ours, theirs = store.journal_bytes(folder, job.runtime), _whole(line, job)
    if len(ours) > len(theirs) and ours.startswith(theirs):
        wire.JournalReader(job, "the run's copy of the journal").read(ours.decode("utf-8", "replace"))
        line.restore_journal(job, ours)


def _whole(line: Transport, job: wire.Job) -> bytes:
    """Return the device's whole journal, piece by piece as the line gives it."""
    journal = b""
    while piece := line.follow(job, len(journal)):
        _require_bounded(job, len(journal) + len(piece))
        journal += piece
    return journal


def _require_bounded(job: wire.Job, size_bytes: int) -> None:
    if size_bytes > _MOST_BYTES:
        raise DeviceError(f"the journal of {job.job} exceeds {_MOST_BYTES >> 30} GiB: no job of ours says so much")


def follow(line: Transport, folder: Path, job: wire.Job, tell: OnProgress) -> None:
    """Copy the journal as it grows until the reply is there. Blocks between looks; never spins.

    A copy that is no prefix of the device's journal (a power cut, an edit) is set aside and made anew. Raises DeviceError
    when the agent died without a reply (its journal is kept, and the run can go on), or when its reply is another job's
    or promises more than the journal holds; WireError for a line that breaks the format.
    """
    if not _whole(line, job).startswith(store.journal_bytes(folder, job.runtime)):
        store.set_journal_aside(folder, job.runtime)
    copy = _Copy(folder, job, tell)
    quiet_since, pause_s = time.monotonic(), _FIRST_S
    while True:
        reply = line.reply(job)  # before the journal: a reply that is there has its whole journal behind it
        fresh = line.follow(job, copy.size_bytes)
        if fresh:
            copy.append(fresh)
            quiet_since = time.monotonic()
        elif reply is not None:
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


class _Copy:
    """The run's copy of a journal while it is followed, and the progress that it tells of."""

    def __init__(self, folder: Path, job: wire.Job, tell: OnProgress) -> None:
        self.folder, self.job, self.tell = folder, job, tell
        known = store.journal_bytes(folder, job.runtime)
        self.size_bytes = len(known)
        self.reader = wire.JournalReader(job, f"journal of {job.job}")
        self.reader.read(known.decode("utf-8", "replace"))
        self.labels = {case.case_id: case.label for case in job.cases}
        self.began = time.monotonic()

    def append(self, lines: bytes) -> None:
        """Check whole lines, keep them, and tell of the last one that says something: readings of the state stand between."""
        _require_bounded(self.job, self.size_bytes + len(lines))
        events = self.reader.read(lines.decode("utf-8", "replace"))
        store.append_journal(self.folder, self.job.runtime, lines)
        self.size_bytes += len(lines)
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
