"""What two runs must share for their latencies to be compared, and what they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.compare.records import Unlike
from harness.compare.taken import Taken
from harness.records import JobRecord, LadderRequest

# Names that must have something in common; rows that only one run has are listed as such.
CHOICES = ("runtime", "precision", "method", "model", "task")
# How far a ladder goes (rungs, delta) is left out: rungs that only one run has are listed as such.
_MADE = ("eligible", "seed", "forms", "schedule", "budget_epochs", "step", "distil", "train_on")
LADDER = ("recipe", *_MADE)
PLAN = ("device", "threads", "batch", "options", "tune", "power_mode")
# Of the device as its agent found it: which machine, which system, in which state.
DEVICE = (
    *("machine", "cpu", "board", "cpus_usable", "cpus_isolated", "affinity", "smt_active", "supply_max_ma"),
    *("system", "kernel", "cmdline", "os", "os_image", "libc", "python", "environment"),
    *("governors", "turbo", "clock_max_hz"),
)
# Of the protocol: how a process is measured. How many there are (budget, looks) makes an interval wide, not a latency long.
PROTOCOL = (
    *("timed_s", "min_samples", "max_samples", "warmup_window_s", "warmup_tolerance", "warmup_cap_s"),
    *("spin_s", "spin_tolerance", "attempts", "cooldown_s", "cooldown_degc", "cooldown_drift", "soak_s"),
)
OF_THE_NETWORK = ("method", "model", "task", *LADDER)  # what differs here leaves the device what it was

_PLAN_SAYS = ("threads", "batch", "precision")  # among what is read back: a case whose setting was ignored has failed

Fact = tuple[str, Any, Any]


def names(a: Taken, b: Taken) -> tuple[str, ...]:
    """Return the names of all facts that are looked at, settings that only these runs read back included."""
    settings = {key for taken in (a, b) for row in taken.run.cases for key in row.effective}
    known = (*CHOICES, *LADDER, *PLAN, *DEVICE, "versions", *PROTOCOL)
    return (*known, *sorted(settings - set(known)))


def unlike(a: Taken, b: Taken) -> tuple[Unlike, ...]:
    """Return every fact in which the runs differ. What one of them does not know cannot differ (`unknown` says so)."""
    found = [
        *_choices(a, b),
        *_ladder(a, b),
        *_plan(a, b),
        *_by_runtime(a, b),
    ]
    return tuple(Unlike(name, _words(ours), _words(theirs)) for name, ours, theirs in found)


def unknown(a: Taken, b: Taken) -> tuple[str, ...]:
    """Return facts of the device that only one of the runs knows: runs of an older agent tell less."""
    found = dict.fromkeys(
        name for _, one, other in paired(a, b) for name in DEVICE if (name in one.facts) != (name in other.facts)
    )
    return tuple(found)


def paired(a: Taken, b: Taken) -> list[tuple[str, JobRecord, JobRecord]]:
    """Return the jobs that are compared: of common runtimes; of two runs of one runtime each, these."""
    ours, theirs = a.jobs, b.jobs
    common = [name for name in ours if name in theirs]
    if not common and len(ours) == len(theirs) == 1:
        (one,), (other,) = ours.values(), theirs.values()
        return [(f"{one.runtime} and {other.runtime}", one, other)]
    return [(name, ours[name], theirs[name]) for name in common]


def _choices(a: Taken, b: Taken) -> Iterator[Fact]:
    for name in CHOICES:
        ours, theirs = _chosen(a, name), _chosen(b, name)
        if not set(ours) & set(theirs):
            yield name, ours, theirs


def _chosen(taken: Taken, name: str) -> list[Any]:
    plan = taken.run.plan
    if name in ("runtime", "precision"):
        return list(plan.runtimes if name == "runtime" else plan.precisions)
    if name == "model" and plan.given:
        return [each.name for each in plan.given]
    asked: Sequence[Any] = plan.ladders or taken.run.ladders  # given networks were not asked for by method
    return list(dict.fromkeys(getattr(ladder, name) for ladder in asked))


def _ladder(a: Taken, b: Taken) -> Iterator[Fact]:
    """How ladders were made; recipes, which belong to a method, of common methods."""
    for name in _MADE:
        ours, theirs = (_distinct(_asked(one, name) for one in each.run.plan.ladders) for each in (a, b))
        if ours != theirs:
            yield name, ours, theirs
    for method in _chosen(a, "method"):
        pair = [_recipes(taken, method) for taken in (a, b)]
        if all(pair) and pair[0] != pair[1]:
            yield "recipe", pair[0], pair[1]


def _asked(ladder: LadderRequest, name: str) -> Any:
    """What was asked of a ladder; nothing is as good an answer as any."""
    value = getattr(ladder, name)
    return "not asked for" if value is None else value


def _recipes(taken: Taken, method: str) -> list[Any]:
    """The recipes of a method as its ladders were made by them, else as they were asked for."""
    ladders: Sequence[Any] = [ladder for ladder in taken.run.ladders if ladder.method == method]
    asked: Sequence[LadderRequest] = [ladder for ladder in taken.run.plan.ladders if ladder.method == method]
    return _distinct(dict(ladder.recipe) for ladder in ladders or asked)


def _plan(a: Taken, b: Taken) -> Iterator[Fact]:
    for name in PLAN:
        ours, theirs = getattr(a.run.plan, name), getattr(b.run.plan, name)
        if ours != theirs:
            yield name, ours, theirs


def _by_runtime(a: Taken, b: Taken) -> Iterator[Fact]:
    """Facts of the jobs; where several runtimes differ in one, the first of them is told."""
    told = set()
    for _, one, other in paired(a, b):
        for name, ours, theirs in _of_jobs(a, one, b, other):
            if ours != theirs and name not in told:
                told.add(name)
                yield name, ours, theirs


def _of_jobs(a: Taken, one: JobRecord, b: Taken, other: JobRecord) -> Iterator[Fact]:
    for name in DEVICE:
        if name in one.facts and name in other.facts:
            yield name, one.facts[name], other.facts[name]
    yield "versions", one.versions, other.versions
    for name in PROTOCOL:
        yield name, one.protocol.get(name), other.protocol.get(name)
    ours, theirs = _settings(a, one.runtime), _settings(b, other.runtime)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours and theirs and name not in _PLAN_SAYS:
            yield name, ours.get(name, []), theirs.get(name, [])


def _settings(taken: Taken, runtime: str) -> dict[str, list[Any]]:
    """What was in force in the processes of a runtime, by setting: the provider, above all."""
    rows = [row for row in taken.run.cases if row.runtime == runtime and row.status == "ok"]
    keys = dict.fromkeys(key for row in rows for key in row.effective)
    return {key: _distinct(row.effective[key] for row in rows if key in row.effective) for key in keys}


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in an order of its own."""
    return [value for _, value in sorted({repr(value): value for value in values}.items())]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(each)}" for key, each in sorted(value.items())) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value)) or "none"
    return "unknown" if value is None else str(value)
