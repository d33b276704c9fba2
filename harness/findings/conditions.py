"""Findings about the device while a job was measured: throttling, heat, neighbours, stolen time, swapping.

They are said where they matter: where a process was invalid, where there were fewer cores than wanted, or where the latency
goes along with them. A reading that is merely there is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness import wire
from harness.findings.views import MANY, count, percent
from harness.records import Correlation, Finding, JobRecord, Summary

STEAL = 0.05  # cores: a core that is away for a twentieth of the time moves a latency by as much
_P = 0.01 / 4  # of a correlation, four of which are looked at
_RHO = 0.3  # below, it explains less than a tenth of the variance of ranks

_ADVICE = {
    "the firmware": "Mend the power supply (a Raspberry Pi 5 wants 5 V at 5 A) or the cooling.",
    "over-current": "The module's current limit is in force: choose a lower power mode, or a supply that its higher ones need.",
    "the processor": "The processor is too hot: cool it, or switch turbo off (--tune turbo).",
    "slowed its clock": "The GPU holds its clocks down: cool it, or lock its clocks below the limit.",
    "under-voltage": "Mend the power supply.",
    wire.SUSPENDED: "Keep it from sleeping while it measures.",
}


def throttled(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes beside which the device was throttled: invalid, and measured again as often as allowed."""
    if not job.throttling:
        return
    sustained = job.protocol.get("regime") == "sustained"
    counted = sum(s.throttled for s in cases)
    total = sum(s.latency_ns.processes for s in cases if s.latency_ns)
    first = job.throttling[0]
    what = (
        "as a lasting load makes it"
        if sustained
        else f"{counted} of {count(total, 'counted process', 'counted processes')} too"
    )
    if counted == 0 and not sustained:
        what = "all such processes were measured again, without it"
    yield Finding(
        "throttled",
        "info" if counted == 0 else "error",
        tuple(s.case_id for s in cases if s.case_id and (s.throttled or not counted)),
        {"runtime": job.runtime, "processes": counted, "of": total, "evidence": first},
        f"On {job.runtime} the device was throttled while it measured: {first}; {what}.",
        next((advice for words, advice in _ADVICE.items() if words in first), "Find out what slows it down."),
    )


def foreign_load(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Processes beside which others wanted more cores than the device has left."""
    crowded, worst = job.usage.get("crowded"), job.usage.get("foreign_cpu_worst")
    if crowded is None or worst is None or crowded < MANY:
        return
    names = ", ".join(f"{name} ({cores:.2g} cores)" for name, cores in job.neighbours.items())
    yield Finding(
        "foreign-load",
        "warning",
        tuple(s.case_id for s in cases if s.case_id),
        {
            "runtime": job.runtime,
            "share": crowded,
            "foreign_cpu": job.usage.get("foreign_cpu"),
            "foreign_cpu_worst": worst,
        },
        f"On {job.runtime}, beside {percent(crowded)} of the processes others wanted more cores than there were left"
        + (f": {names}." if names else ", and nobody by name: another container, or the kernel."),
        "Stop them, or measure with fewer --threads: a neighbour changes ratios, which pairing does not cancel.",
    )


def stolen(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Time that a hypervisor gave to other guests."""
    typical, worst = job.usage.get("steal"), job.usage.get("steal_worst")
    if typical is None or worst is None or typical < STEAL:
        return
    yield Finding(
        "stolen",
        "warning",
        tuple(s.case_id for s in cases if s.case_id),
        {"runtime": job.runtime, "steal": typical, "steal_worst": worst},
        f"On {job.runtime} other guests of a hypervisor had {typical:.2g} cores beside the median process, {worst:.2g} at worst.",
        "This is a shared machine: its latencies are those of its neighbours too. Measure on one of your own.",
    )


def swapped(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Pages swapped while a job was measured."""
    pages = job.usage.get("swapped_pages")
    if not pages:
        return
    yield Finding(
        "swapped",
        "warning",
        tuple(s.case_id for s in cases if s.case_id),
        {"runtime": job.runtime, "pages": pages},
        f"On {job.runtime} the device swapped {pages:.0f} pages while it measured: memory was short.",
        "Close what else runs there, or measure smaller networks: a page that comes from disk takes milliseconds.",
    )


def warm_start(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Blocks that began although the device had not cooled in time."""
    late = job.waits.get("timed_out", 0)
    if not late:
        return
    yield Finding(
        "warm-start",
        "warning",
        tuple(s.case_id for s in cases if s.case_id),
        {"runtime": job.runtime, "gates": job.waits["gates"], "timed_out": late, "seconds": job.waits["seconds"]},
        f"On {job.runtime}, {late:.0f} of {job.waits['gates']:.0f} waits for a cool device ended by time-out.",
        "Give it more air, allow a longer `cooldown_s` in its profile, or measure it warm on purpose: --regime sustained.",
    )


_FOLLOWED = {
    "temperature": (
        "heat-sensitive",
        "the hottest zone's temperature",
        "Cool the device, or lock a clock that it can hold (--tune).",
    ),
    "foreign_cpu": (
        "load-sensitive",
        "what other programs used of the processors",
        "Stop them, and measure again.",
    ),
    "steal": (
        "load-sensitive",
        "the time that a hypervisor gave to others",
        "Measure on a machine of your own.",
    ),
    "migrations": (
        "load-sensitive",
        "how often the process was moved between cores",
        "Isolate cores, or stop what else runs.",
    ),
}


def follows(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """What latencies go along with, from process to process."""
    for name, correlation in job.follows.items():
        if _matters(correlation):
            kind, what, advice = _FOLLOWED[name]
            yield Finding(
                kind,
                "warning",
                tuple(s.case_id for s in cases if s.case_id),
                {"runtime": job.runtime, "with": name, "rho": correlation.rho, "p": correlation.p},
                f"On {job.runtime} latency rises with {what} (Spearman's rho {correlation.rho:.2f} over "
                f"{count(correlation.processes, 'process', 'processes')}).",
                advice,
            )


def _matters(correlation: Correlation) -> bool:
    return correlation.rho >= _RHO and correlation.p < _P


LOOKS = (throttled, foreign_load, stolen, swapped, warm_start, follows)
