"""A year of nights on five devices that never were, judged night by night, and the page that comes of it.

python scripts/simulated_year.py [--out year.html] [--nights 365] [--seed 0]

Noise is that of `benchmarks/histories.py`; what happens is written below (`EVENTS`): steps, a drift, upgrades, a device that is
silent for twelve nights, one whose canary moves. Nights decide as `harness nightly` lets them: `stats.changes.judge`, suspected
series measured again the same night, what is confirmed begins a new segment. Prints what was told when, and the last night's
summary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import histories
from harness.nights import gallery, summary
from harness.records.nights import MatrixRow, Night, RowOutcome, SeriesChange
from harness.report.page.chronicles import Chronicle
from harness.stats import changes
from harness.stats.changes import History

DEVICES = ("pi4", "pi5", "jetson", "desktop", "local")
SD = {"pi4": 0.006, "pi5": 0.006, "jetson": 0.01, "desktop": 0.005, "local": 0.008}  # of a night's latency, log
SPEED = {"pi4": 21.0, "pi5": 8.0, "jetson": 1.9, "desktop": 0.6, "local": 4.3}  # ms of ResNet-18 at full depth
ROWS = (("tiny", "order", 1, True), ("resnet18", "order", 3, False), ("mobilenet_v2", "order", 2, False))  # rungs
FIRST = date(2026, 1, 1)


@dataclass(frozen=True)
class Event:
    """What happens to series of a device from a night on: a step or a drift of log latency, a word where it is an upgrade."""

    device: str
    night: int
    size: float
    model: str = ""  # all of them where empty
    rung: str = ""
    over: int = 1
    upgrade: str = ""


EVENTS = (
    Event("pi5", 363, +0.06, "resnet18", "order 2"),  # a regression of this week
    Event("jetson", 120, -0.08, upgrade="JetPack 6.2 -> 6.3"),
    Event("jetson", 240, +0.035, "mobilenet_v2", over=14),  # a slow drift
    Event("local", 90, +0.05, "resnet18"),
    Event("local", 150, -0.05, "resnet18"),  # and its mend
    Event("desktop", 300, +0.0, upgrade="onnxruntime 1.31 -> 1.32"),
    Event("desktop", 361, +0.09),  # the device itself: its canary moves, too
    Event("pi4", 200, -0.04, "mobilenet_v2", "order 1"),
)
SILENT = ("pi4", 270, 282)  # twelve nights on which a device is not there


@dataclass
class Lab:
    """All series, and what has been told of them so far."""

    keys: list[tuple[MatrixRow, str]]
    first: histories.Floats
    again: histories.Floats
    usable: histories.Bools
    upgrades: dict[str, dict[int, str]]
    breaks: list[dict[int, str]] = field(default_factory=list)
    told: list[dict[int, str]] = field(default_factory=list)


def main() -> int:
    """Simulate, judge, write the page. Returns 0."""
    said = _said()
    lab = simulated(said.nights, said.seed)
    last = None
    for night in range(8, said.nights):
        last = one_night(lab, night)
        for change in last.changes:
            print(
                f"{last.night}  {change.row.device:8} {change.row.title} {change.rung}: {100 * (change.ratio - 1):+.1f} %"
            )
        for device, reason in last.blamed.items():
            print(f"{last.night}  {device:8} blamed: {reason}")
    assert last is not None
    print(f"\n{summary.markdown(last)}")
    print(gallery.write(last, chronicles(lab, last), said.out))
    return 0


def _said() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--out", type=Path, default=Path("year.html"), metavar="FILE")
    made.add_argument("--nights", type=int, default=365, metavar="N")
    made.add_argument("--seed", type=int, default=0, metavar="N")
    return made.parse_args()


def simulated(count: int, seed: int) -> Lab:
    """Return a lab with its year, every value drawn, nothing told yet."""
    keys = [
        (MatrixRow(device, model, method, "onnxruntime", "fp32", 1, canary=canary), f"{method} {rung}")
        for device in DEVICES
        for model, method, rungs, canary in ROWS
        for rung in range(rungs)
    ]
    first, again, usable = (np.empty((len(keys), count)) for _ in range(3))
    dice = np.random.default_rng(seed)
    for device in DEVICES:
        mine = [n for n, (row, _) in enumerate(keys) if row.device == device]
        world = histories.World(sd=SD[device], rho=0.3)
        year = histories.simulate(dice, world, np.array([_levels(*keys[n], count) for n in mine]), devices=1)
        first[mine], again[mine], usable[mine] = year.first, year.again, year.usable
        if device == SILENT[0]:
            first[mine, SILENT[1] : SILENT[2]] = np.nan
    upgrades = {device: {e.night: e.upgrade for e in EVENTS if e.device == device and e.upgrade} for device in DEVICES}
    return Lab(
        keys,
        first,
        again,
        usable.astype(bool),
        upgrades,
        [dict(upgrades[row.device]) for row, _ in keys],
        [{} for _ in keys],
    )


def _levels(row: MatrixRow, rung: str, count: int) -> histories.Floats:
    """Log latency in ms without noise."""
    share = {"tiny": 0.02, "resnet18": 1.0, "mobilenet_v2": 0.45}[row.model] * (1 + 0.07 * int(rung.split()[-1]))
    level = np.full(count, np.log(SPEED[row.device] * share))
    for event in EVENTS:
        if event.device == row.device and event.model in ("", row.model) and event.rung in ("", rung):
            level += histories.drift(count, event.night, event.size, event.over)
    return level


def one_night(lab: Lab, night: int) -> Night:
    """Judge a night, measure again what is suspected, judge again; what is confirmed begins a segment."""
    judged = changes.judge([_history(lab, n, night, again=False) for n in range(len(lab.keys))])
    suspected = [n for n, each in enumerate(judged) if each.state in ("suspected", "confirmed")]
    judged = changes.judge([_history(lab, n, night, again=n in suspected) for n in range(len(lab.keys))])
    held = _held(lab, judged)
    confirmed = [_change(lab, n, each) for n, each in enumerate(judged) if each.state == "confirmed" and not held[n]]
    blamed = {
        each.row.device: f"its canary is at {each.ratio:.3f} of its level" for each in confirmed if each.row.canary
    }
    for n, each in enumerate(judged):
        if each.state == "confirmed" and not held[n] and each.since is not None and each.ratio is not None:
            lab.breaks[n][each.since] = ""
            if lab.keys[n][0].canary or lab.keys[n][0].device not in blamed:
                lab.told[n][night] = f"{100 * (each.ratio - 1):+.1f} %"
    rows = tuple(_outcome(lab, row, night) for row in {row.key: row for row, _ in lab.keys}.values())
    notes = {device: (text[night],) for device, text in lab.upgrades.items() if night in text}
    changed = tuple(each for each in confirmed if each.row.canary or each.row.device not in blamed)
    begun = f"{_day(night)}T02:00:00+00:00"
    return Night(1, _day(night), begun, begun.replace("T02", "T04"), rows, changed, (), notes, blamed)


def _held(lab: Lab, judged: Sequence[changes.Judgement]) -> list[bool]:
    """Which series wait a night, as harness/nights/judging.py has it: their canary was not measured, or seems to have moved."""
    canaries = [(row.device, each.state) for (row, _), each in zip(lab.keys, judged, strict=True) if row.canary]
    doubted = {device for device, state in canaries if state in ("unjudged", "suspected")}
    return [row.device in doubted and not row.canary for row, _ in lab.keys]


def _history(lab: Lab, n: int, night: int, again: bool) -> History:
    logs = lab.first[n, : night + 1].copy()
    if again:
        logs[-1] = (logs[-1] + lab.again[n, night]) / 2
    breaks = tuple(sorted(place for place in lab.breaks[n] if place <= night))
    second = float(lab.again[n, night]) if again else None
    return History(logs, lab.usable[n, : night + 1], breaks, second)


def _change(lab: Lab, n: int, each: changes.Judgement) -> SeriesChange:
    row, rung = lab.keys[n]
    assert each.since is not None and each.ratio is not None
    now = 1e6 * float(np.exp(np.nanmean(lab.first[n, each.since : each.since + 1])))
    worse = each.ratio > 1
    return SeriesChange(
        row, rung, "latency", "ns", now / each.ratio, now, each.ratio, each.low, each.high, each.p, _day(each.since),
        "worse" if worse else "better",
    )  # fmt: skip


def _outcome(lab: Lab, row: MatrixRow, night: int) -> RowOutcome:
    mine = [n for n, (each, _) in enumerate(lab.keys) if each == row]
    known = np.isfinite(lab.first[mine, : night + 1]).all(axis=0)
    before = np.flatnonzero(known[:-1])
    last = _day(int(before[-1])) if before.size else None
    if not known[-1]:
        return RowOutcome(row, "unreachable", "no answer", last=last)
    return RowOutcome(row, "measured", run=f"{_day(night)}-{row.key[:4]}", seconds=60.0, new=last is None, last=last)


def _day(night: int) -> str:
    return (FIRST + timedelta(days=night)).isoformat()


def chronicles(lab: Lab, last: Night) -> tuple[Chronicle, ...]:
    """Return all series for the page."""
    days = tuple(_day(night) for night in range(lab.first.shape[1]))
    return tuple(_chronicle(lab, n, days, last) for n in range(len(lab.keys)))


def _chronicle(lab: Lab, n: int, days: tuple[str, ...], last: Night) -> Chronicle:
    row, rung = lab.keys[n]
    values = [None if np.isnan(value) else float(np.exp(value)) for value in lab.first[n]]
    half = 1.96 * histories.World(sd=SD[row.device]).error
    low, high = (tuple(None if v is None else v * float(np.exp(s * half)) for v in values) for s in (-1, 1))
    said = (each for each in last.changes if (each.row.key, each.rung) == (row.key, rung))
    return Chronicle(
        device=row.device,
        row=row.title,
        rung=rung,
        quantity="latency",
        unit="ms",
        nights=days,
        values=tuple(values),
        low=low,
        high=high,
        usable=tuple(map(bool, lab.usable[n])),
        breaks=lab.upgrades[row.device],
        told=lab.told[n],
        canary=row.canary,
        tonight=next((f"{100 * (each.ratio - 1):+.1f} %" for each in said), ""),
    )


if __name__ == "__main__":
    sys.exit(main())
