"""Findings about energy: what was lost, what disturbs, and where depth, speed and energy disagree.

Those about rows rest on a saving's verdict `less`, `more` or `same`, never on `unclear`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.findings.views import Row, View, cases_of, count, listing, percent, verdict
from harness.records import Energy, EnergyRecord, Finding, JobRecord, Saving, Summary

DISTURBS = 0.02  # what a sampler may change of a latency
DRIFTS, DRIFTS_W = 0.05, 0.2  # of idle power from one block to the next, as a fraction and in W
LATE = 0.05  # share of paced inferences that may begin late

_ADVICE = {
    "permission": "Let the agent's user read it (the reason says what is refused), then measure again.",
    "stale": "Read it by hand for a while: a sensor that stands still needs its driver reloaded, or another meter.",
    "error": "Find out why it ceased to answer (the cable, the driver, the network), then measure again.",
    "too-short": "Lengthen the windows (--window), or choose a meter that gives values oftener.",
    "unsupported": "Choose another of the device's sensors in the inventory.",
    "uncovered": "Keep the device and the meter free of other work while passes run, or read the meter less often.",
}


# --- jobs ----------------------------------------------------------------------------------------------------------


def lost(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Windows without a figure because a sensor stopped, stalled, may not be read, or left holes."""
    record = job.energy
    for said, windows in record.lost.items() if record else ():
        status, _, reason = said.partition(": ")
        where = {window.split()[1] for window in windows if len(window.split()) == 3}
        yield Finding(
            "energy-lost",
            "warning",
            tuple(s.case_id for s in cases if s.case_id in where),
            {"runtime": job.runtime, "status": status, "windows": len(windows), "first": windows[0]},
            f"On {job.runtime}, {count(len(windows), 'window')} of energy passes gave no figure ({status}): {reason}.",
            _ADVICE.get(status, _ADVICE["error"]),
        )


def disturbs(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """A sampler beside which inferences take another time, by more than 2 % for sure."""
    effect = job.energy.sampler if job.energy else None
    if effect is None or effect.low is None or effect.high is None:
        return
    if effect.high >= 1 - DISTURBS and effect.low <= 1 + DISTURBS:
        return
    yield Finding(
        "sampler-disturbs",
        "warning",
        tuple(s.case_id for s in cases if s.case_id),
        {"runtime": job.runtime, "ratio": effect.value, "low": effect.low, "high": effect.high},
        f"On {job.runtime} inferences beside the sampler take {effect.value:.3g} times as long "
        f"[{effect.low:.3g}, {effect.high:.3g}].",
        "Leave it a core of its own (fewer --threads), or read the sensor less often: energies are those beside it.",
    )


def drifts(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Idle power that differs from block to block: what is net of it rests on the block's own."""
    record = job.energy
    if record is None or record.idle_w is None or record.idle_drift is None:
        return
    watts = record.idle_drift * record.idle_w.value
    if record.idle_drift <= DRIFTS and watts <= DRIFTS_W:
        return
    yield Finding(
        "idle-drifts",
        "warning",
        tuple(s.case_id for s in cases if s.case_id and s.energy_j),
        {"runtime": job.runtime, "drift": record.idle_drift, "drift_w": watts, **_interval(record)},
        f"On {job.runtime} idle power differs by up to {percent(record.idle_drift)} ({watts:.2g} W) from one block to the next.",
        "Let the device cool down and keep other programs away: gross savings are paired within blocks, net ones are in doubt.",
    )


def _interval(record: EnergyRecord) -> dict[str, float | int | str | None]:
    idle = record.idle_w
    return {} if idle is None else {"idle_w": idle.value, "low": idle.low, "high": idle.high}


def late(job: JobRecord, cases: Sequence[Summary]) -> Iterator[Finding]:
    """Paced passes that could not keep their pace."""
    shares = {s.case_id: share for s in cases if s.case_id and (share := _late(s.energy_j)) > LATE}
    if not shares:
        return
    worst = max(shares.values())
    rate = job.energy.rate_hz if job.energy else None
    yield Finding(
        "late-paces",
        "warning",
        tuple(shares),
        {"runtime": job.runtime, "share": worst, "rate_hz": rate, "cases": len(shares)},
        f"On {job.runtime} up to {percent(worst)} of the paced inferences of {count(len(shares), 'case')} began late.",
        "Choose a lower --rate: passes that cannot keep it are not idle as long as the others.",
    )


def _late(energy: Energy | None) -> float:
    figure = energy.figures.get("paced") if energy else None
    if figure is None or not figure.rate_hz:
        return 0.0
    return figure.late / max(1.0, figure.rate_hz * figure.window_s * figure.windows)


LOOKS = (lost, disturbs, drifts, late)


# --- rows of ladders -----------------------------------------------------------------------------------------------


def faster_not_cheaper(view: View) -> Iterator[Finding]:
    """Rungs that are faster than rung 0 and take more energy."""
    rows = [row for row in view.rows if verdict(row) == "faster" and _takes_more(row)]
    yield from _more(
        "faster-not-cheaper",
        view,
        rows,
        "is faster than rung 0 and takes more energy",
        "Speed that is bought with power: choose by energy where a battery or heat is the limit, or compare paced passes.",
    )


def rose(view: View) -> Iterator[Finding]:
    """Rungs of fewer layers than rung 0 that take more energy."""
    depth = view.base.summary.depth
    rows = [
        row
        for row in view.rows
        if depth is not None and row.summary.depth is not None and row.summary.depth < depth and _takes_more(row)
    ]
    yield from _more(
        "energy-rose",
        view,
        rows,
        "has fewer layers than rung 0 and takes more energy",
        "Fewer layers are no gain here: look at the MACs and weights of its merged layers, and deploy a rung that takes less.",
    )


def _takes_more(row: Row) -> bool:
    saving = _saving(row)
    return saving is not None and saving.verdict == "more"


def _saving(row: Row) -> Saving | None:
    return row.summary.energy_j.saving if row.summary.energy_j else None


def _more(kind: str, view: View, rows: Sequence[Row], what: str, advice: str) -> Iterator[Finding]:
    found = [(saving, row) for row in rows if (saving := _saving(row)) is not None]
    if not found:
        return
    least, worst = min(found, key=lambda pair: pair[0].ratio)
    energy = worst.summary.energy_j
    yield Finding(
        kind,
        "warning",
        cases_of(rows),
        {
            "runtime": worst.summary.runtime,
            "ladder": view.ladder.name,
            "rung": worst.rung.rung,
            "saving": least.ratio,
            "low": least.low,
            "high": least.high,
            "scope": energy.scope if energy else None,
            "scenario": energy.scenario if energy else None,
            **_speed(worst),
        },
        f"{view.ladder.name} rung {listing(row.rung.rung for row in rows)} on {worst.summary.runtime} {what}: "
        f"{percent(1 / least.ratio - 1)} more at rung {worst.rung.rung}{_limits(least)}.",
        advice,
    )


def _speed(row: Row) -> dict[str, float | None]:
    speedup = row.summary.speedup
    return {"speedup": speedup.ratio if speedup else None}


def _limits(saving: Saving) -> str:
    if saving.low is None or saving.high is None or not all(map(math.isfinite, (saving.low, saving.high))):
        return ""
    return f" [{percent(1 / saving.high - 1)}, {percent(1 / saving.low - 1)}]"
