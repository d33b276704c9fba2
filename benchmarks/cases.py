"""The product's own road for a few rungs: build them, bring a job to this machine's agent, and say what came of it.

`harness run` takes every rung of a ladder; here some are picked, and the rest is its code: rows, jobs, agent, analysis.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.ends import NICENESS
from harness import analysis, content, inventory, jobs, rows, store, transport
from harness.child import Progress
from harness.records import Artifact, Device, Entry, Ladder, LadderRequest, Plan, Run, Summary, digest

ON_GPUS = ("tensorrt", "tensorrt_rtx")
WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-harness" / "bench"


@dataclass(frozen=True)
class Built:
    """Cases with their artifacts by case, and the plan and ladders they are of."""

    plan: Plan
    ladders: tuple[Ladder, ...]
    entries: tuple[Entry, ...]
    artifacts: Mapping[str, Artifact]


def quiet(progress: Progress) -> None:
    """Tell nobody."""


def this_machine() -> Device:
    """This machine with a workdir of its own, so that a benchmark neither waits for a user's run nor hinders it."""
    return replace(inventory.device("local", inventory.locate(None)), workdir=str(WORK / "device"))


def plan(request: LadderRequest, runtime: str, precisions: Sequence[str], budget_s: float) -> Plan:
    """One runtime, one thread, batch 1, no options and no controls."""
    return Plan("local", (request,), (runtime,), tuple(precisions), 1, 1, {}, budget_s, 0, controls=False)


def build(asked: Plan, ladder: Ladder) -> Built:
    """Build every rung, at the lowest priority but one; a row that could not be built says why."""
    with ProcessPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as pool:
        entries, artifacts = pool.submit(_make, asked, ladder).result()
    return Built(asked, (ladder,), entries, artifacts)


def _make(asked: Plan, ladder: Ladder) -> tuple[tuple[Entry, ...], dict[str, Artifact]]:
    return rows.make(asked, this_machine(), (ladder,), quiet)


def measure(built: Built, **protocol: Any) -> Run:
    """Measure all that was built in one job, `protocol` aside as users' jobs are; the run that comes of it is not kept."""
    record, runtime = _record(built), built.plan.runtimes[0]
    device = this_machine()
    job = jobs.make(record, runtime, built.artifacts, device.profile)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if job is not None:
            job = replace(job, protocol=replace(job.protocol, **protocol))
            with closing(transport.connect(device)) as line:
                store.save_job(folder, job)
                jobs.bring(line, folder, job, built.artifacts.values(), quiet)
        return analysis.analyse(record, *store.measured(folder, [runtime]))


def _record(built: Built) -> Run:
    now = datetime.now(UTC)
    return Run(
        schema=store.SCHEMA,
        run=f"bench-{now:%Y%m%dT%H%M%S%f}",
        session="bench",
        device="local",
        virtual=False,
        status="measuring",
        created=now.isoformat(timespec="seconds"),
        command=(),
        plan=built.plan,
        provenance={},
        ladders=built.ladders,
        entries=built.entries,
    )


def fingerprint(runtime: str, *files: Path) -> str:
    """What figures of a runtime depend on: its file and what it shares, its packages, and these files."""
    own = content.find("runtime", runtime)
    names = {*content.constant("runtime", runtime, "CONVERTERS"), *_required(runtime)}
    return digest([content.source_hash(own, *sorted(own.parent.glob("_*.py")), *files), _versions(names)])[:16]


def _required(runtime: str) -> set[str]:
    """Names of the packages of a runtime's requirements, without versions and markers."""
    wanted = content.constant("runtime", runtime, "PACKAGES", default=())
    return {
        word for each in wanted for word in [each.partition(";")[0].split("<")[0].split("=")[0].split(">")[0].strip()]
    }


def _versions(names: set[str]) -> dict[str, str]:
    installed = {each.name.lower().replace("_", "-"): each.version for each in metadata.distributions()}
    return {name: installed.get(name.lower().replace("_", "-"), "absent") for name in sorted(names)}


def wanted() -> Iterator[tuple[str, str]]:
    """Runtimes that compute something and whose packages are here, with each of their precisions."""
    for runtime in content.names("runtime"):
        if runtime != "empty" and installed(runtime):
            for precision in content.constant("runtime", runtime, "PRECISIONS"):
                yield runtime, precision


def executed() -> Iterator[tuple[str, str]]:
    """Those of them that compute without a GPU: what machines without one can time."""
    return (each for each in wanted() if each[0] not in ON_GPUS)


def installed(runtime: str) -> bool:
    """Whether this machine has the packages that the runtime asks for, and those that convert for it."""
    names = set(content.constant("runtime", runtime, "CONVERTERS"))
    return "absent" not in _versions(names).values()


def estimate(summary: Summary) -> dict[str, Any] | None:
    """Median and 95 % interval of a row's latency, ns; None where it has none."""
    found = summary.latency_ns
    return found and {"median": found.median, "low": found.low, "high": found.high, "processes": found.processes}
