"""What a run's energies rest on, in words: scope, sensor, windows, idle power, what sampling cost; and what gave nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.findings.views import count
from harness.records import Energy, EnergyRecord, Run, Summary
from harness.report.rows import Panel, label
from harness.report.text import Glyphs, digits, thousandths, with_interval

_REFUSED = {
    "contended": "contended",
    "throttled": "throttled",
    "uncovered": "without a whole trace",
    "failed": "failed",
}


def words(panel: Panel, glyphs: Glyphs) -> str:
    """What a panel's energies rest on; where it has none, why."""
    found = [row.energy_j for row in panel.rows if row.energy_j]
    record = panel.job.energy if panel.job else None
    if not found:
        return " ".join((f"Energy: {_none(panel)}.", *(_refused(record) if record else ())))
    return " ".join((_figure(found), *(_conditions(record, glyphs) if record else ())))


def _none(panel: Panel) -> str:
    """Why no row has energy: each reason once, with its rows where there are several."""
    rows: dict[str, list[str]] = {}
    for row in panel.rows:
        rows.setdefault(why(row), []).append(label(row))
    if len(rows) < 2:
        return "".join(rows)
    return "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in rows.items())


def scope(panel: Panel) -> str:
    """What the energies of a panel are of: module, wall, ..."""
    return " and ".join(dict.fromkeys(row.energy_j.scope for row in panel.rows if row.energy_j))


def why(row: Summary) -> str:
    """Why a row has no energy."""
    reason = row.reasons.get("energy_j", "")
    return row.energy_status if reason in row.energy_status else f"{row.energy_status}: {reason}"


def scenario(energy: Energy) -> str:
    """The compared scenario with its rate, if it has one: paced at 150 Hz."""
    figure = energy.figures.get(energy.scenario)
    rate = figure.rate_hz if figure else None
    return energy.scenario if rate is None else f"{energy.scenario} at {digits(rate)} Hz"


def _figure(found: Sequence[Energy]) -> str:
    """What the figure is of: scope, sensor, scenario, windows, and against what it is compared."""
    scopes = dict.fromkeys((each.scope, each.sensor, each.channel, each.kind.replace("_", " ")) for each in found)
    of = " and ".join(f"{scope} ({sensor} {channel}, {kind})" for scope, sensor, channel, kind in scopes)
    how = " and ".join(dict.fromkeys(map(scenario, found)))
    counts = sorted({figure.windows for each in found if (figure := each.figures.get(each.scenario))})
    windows = f"{counts[0]} to {counts[-1]} windows" if len(counts) > 1 else count(max(counts, default=0), "window")
    lengths = lasting(each.window_s for each in found)
    return (
        f"Energy, gross: scope {of}; {how}, {windows} x {lengths} s; "
        "saving: rung 0's energy over the row's, paired within blocks."
    )


def lasting(seconds: Iterable[float]) -> str:
    """How long windows are, s: 20, or 20 to 21.5. Closed ones end with an inference, so that no two are quite equal."""
    found = sorted(seconds)
    return " to ".join(dict.fromkeys(f"{round(length, 2):g}" for length in (found[0], found[-1])))


def _conditions(record: EnergyRecord, glyphs: Glyphs) -> Iterator[str]:
    if record.idle_w is not None:
        drift = record.idle_drift
        drifted = "" if drift is None else f", from block to block by up to {digits(100 * drift, 2)} % another"
        yield f"Idle: {with_interval(record.idle_w.value, record.idle_w.low, record.idle_w.high)} W{drifted}."
    if record.sampler is not None:
        effect = with_interval(record.sampler.value, record.sampler.low, record.sampler.high, digits=thousandths)
        yield f"Latency with the sampler over that without: {effect}."
    if record.clock_bound_s is not None:
        yield f"The meter's clock is known to {glyphs.plus_minus}{digits(1e3 * record.clock_bound_s, 2)} ms."
    yield from _refused(record)


def _refused(record: EnergyRecord) -> Iterator[str]:
    """How many passes came to nothing, of all, and what became of them."""
    refused = {name: number for name, number in record.passes.items() if number and name in _REFUSED}
    if refused:
        named = ", ".join(f"{number} {_REFUSED[name]}" for name, number in refused.items())
        do = "does" if sum(refused.values()) == 1 else "do"
        yield f"Of {count(sum(record.passes.values()), 'pass', 'passes')} {do} not count: {named}."


def unsaved(panel: Panel) -> Iterator[str]:
    """Why rows that have an energy are not compared by it, a line per reason."""
    told: dict[str, list[str]] = {}
    for row in panel.rows:
        if row.energy_j and row.energy_j.saving is None:
            told.setdefault(row.reasons.get("energy_j.saving", "unknown"), []).append(label(row))
    yield from (f"saving of {', '.join(labels)}: {reason}" for reason, labels in told.items())


def left_out(run: Run) -> Iterator[str]:
    """What is not in any figure, a line per reason: channels, meters that gave nothing; and scopes that must not be compared."""
    scopes = {job.runtime: job.energy.scope for job in run.jobs if job.energy and job.energy.scope}
    if len(set(scopes.values())) > 1:
        named = ", ".join(f"{runtime} {scope}" for runtime, scope in scopes.items())
        yield f"energies of unlike scope are not to be compared: {named}"
    told: dict[str, list[str]] = {}
    for job in run.jobs:
        for name, reason in (job.energy.others if job.energy else {}).items():
            told.setdefault(reason, []).append(name)
    for name, (status, reason) in run.sensors.items():
        if status != "ok" and name not in {word for names in told.values() for each in names for word in each.split()}:
            told.setdefault(f"{status}: {reason}", []).append(name)
    yield from (f"not in the energies: {', '.join(dict.fromkeys(names))}: {reason}" for reason, names in told.items())
