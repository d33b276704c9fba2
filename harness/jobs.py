"""Jobs: make one from a run's entries, bring it to a device, follow it to its reply (`following.py`).

    entries -> Job -> put what the device lacks -> start, detached -> follow the journal -> reply

The device's journal is the truth and only grows; the run keeps a copy that is a prefix of it. Every line passes the
wire's door before it is kept, and nothing is kept twice: whoever follows holds the run's folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import following, store, wire
from harness.child import OnProgress
from harness.errors import DamagedError, DeviceError, HarnessError
from harness.records import ONNX, Artifact, Case, Entry, Environment, Plan, Profile, Run
from harness.transport import Transport
from harness.transport.device import SensorOptions


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
            job_case(_label(record, first[name]), first[name].case, artifacts[name], compared[name]) for name in cases
        ),
        comparisons=comparisons,
        protocol=protocol(record.plan, profile, record.virtual),
        tune=settings(record.plan.tune, profile, record.plan.power_mode),
        profile=record.plan.profiling,
        energy=passes,
    )


def job_case(label: str, case: Case, artifact: Artifact, compared: int) -> wire.JobCase:
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
    agent = following.agent_of(job)
    try:
        line.start(agent, job, environment)
    except DamagedError:
        line.put(files)
        line.start(agent, job, environment)


def bring(
    line: Transport,
    folder: Path,
    job: wire.Job,
    artifacts: Iterable[Artifact],
    tell: OnProgress,
    environment: Environment | None = None,
    sensors: SensorOptions | None = None,
) -> None:
    """Bring a job to its reply: send what is missing and start an agent, unless one is at work or done; then follow it.

    `sensors` as for `following.follow`. Ctrl-C ends the agent too: whoever presses it wants quiet. Raises what `deploy` and
    `follow` raise.
    """
    with stopped_on_interruption(line, job):
        if not line.alive(job) and line.reply(job) is None:
            deploy(line, folder, job, artifacts, environment)
        following.follow(line, folder, job, tell, sensors)


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
    ours, theirs = store.journal_bytes(folder, job.runtime), following.whole(line, job)
    if len(ours) > len(theirs) and ours.startswith(theirs):
        wire.JournalReader(job, "the run's copy of the journal").read(ours.decode("utf-8", "replace"))
        line.restore_journal(job, ours)


def length_s(journal: Iterable[wire.Event]) -> float:
    """How long a job was at work on the device: not from its agent's end to the next one's start, if it was resumed."""
    spent_ns, last_ns = 0, None
    for event in journal:
        if last_ns is not None and not isinstance(event, wire.StartEvent):
            spent_ns += max(0, event.t_ns - last_ns)
        last_ns = event.t_ns
    return spent_ns / 1e9
