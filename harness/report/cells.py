"""The columns of a run's table and what stands in their cells: what a rung is, what it takes in time, what in energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from harness.records import Energy, Estimate, Interval, Run, Saving, Speedup, Summary
from harness.report import rows
from harness.report.rows import Panel
from harness.report.text import Glyphs, digits, thousandths, with_interval


@dataclass(frozen=True)
class Column:
    """A column: its title (two lines at most), how a row's cell reads, whether it is a number, and shown even at 80 columns."""

    title: str
    cell: Callable[[Summary], str]
    numeric: bool = True
    essential: bool = False


def columns(run: Run, panel: Panel, glyphs: Glyphs) -> tuple[Column, ...]:
    """Return all columns but those of energy."""
    scale, unit = _unit(panel, glyphs)
    null = glyphs.null
    made = Column("removed\nof (all)", lambda s: _removed(s, null))
    built = Column("acc. %\nas built", lambda s: _percent(s.artifact_accuracy, null), essential=True)
    lost = Column("lost\n(added)", lambda s: _lost(s, null))
    proved: tuple[Column, ...] = (
        Column("acc.\n%", lambda s: _percent(s.accuracy, null), essential=True),
        Column("fold\nerror", lambda s: null if s.fold_error is None else f"{s.fold_error:.0e}"),
        *((built, lost) if panel.rounded else ()),
    )
    there = Column("outputs\ndiffer", lambda s: null if s.artifact_error is None else _difference(s.artifact_error))
    timed = (
        Column(f"latency {unit}\n[95 % interval]", lambda s: _latency(s.latency_ns, scale, null), essential=True),
        Column("speed-up\n[interval]", lambda s: speedup(s.speedup, null), essential=True),
        Column("verdict", lambda s: _verdict(s, null), numeric=False, essential=True),
    )
    equal = (there, Column("status", lambda s: s.status, numeric=False, essential=True))
    agrees = Column("differs\nfrom 0", lambda s: null if s.difference is None else _difference(s.difference))
    return (
        Column("rung", panel.name, numeric=False, essential=True),
        *(() if panel.given else (made,)),
        Column("depth", lambda s: null if s.depth is None else str(s.depth), essential=True),
        Column("MMACs\n(useful)", lambda s: _macs(s, null)),
        Column("weights\nMB", lambda s: digits(s.weight_bytes / 1e6)),
        *((agrees,) if panel.given else proved),
        *(equal if run.virtual else timed),
        Column("see", lambda s: rows.marks(run, s).replace(" ", ""), numeric=False, essential=True),
    )


def _unit(panel: Panel, glyphs: Glyphs) -> tuple[float, str]:
    """Milliseconds, or microseconds where every latency is below one millisecond."""
    medians = [s.latency_ns.median for s in panel.rows if s.latency_ns]
    return (1e3, glyphs.micro) if medians and max(medians) < 1e6 else (1e6, "ms")


def _removed(s: Summary, null: str) -> str:
    if s.removed is None:
        return null
    return f"{s.removed}/{s.eligible}" + (f" ({s.activations})" if s.activations != s.eligible else "")


def _percent(fraction: float | None, null: str) -> str:
    return null if fraction is None else f"{100 * fraction:.1f}"


def _lost(s: Summary, null: str) -> str:
    """What an artifact loses of torch's accuracy, in percent of the examples, and how much more than rung 0's."""
    if s.artifact_loss is None:
        return null
    added = "" if s.artifact_loss_added is None else f" ({100 * s.artifact_loss_added:+.1f})"
    return f"{100 * s.artifact_loss:.1f}{added}"


def _macs(s: Summary, null: str) -> str:
    if s.macs is None or s.macs_useful is None:
        return null
    return f"{digits(s.macs / 1e6)} ({digits(s.macs_useful / 1e6)})"


def _difference(size: float) -> str:
    return f"{size:.0e}" if 0 < size < 0.01 else f"{size:.2g}"


def _latency(estimate: Estimate | None, scale: float, null: str) -> str:
    if estimate is None:
        return null
    return with_interval(estimate.median / scale, estimate.low, estimate.high, scale)


def speedup(found: Speedup | Saving | None, null: str) -> str:
    """A ratio with its interval, to a thousandth."""
    return null if found is None else with_interval(found.ratio, found.low, found.high, digits=thousandths)


def _verdict(s: Summary, null: str) -> str:
    if s.status != "ok":
        return s.status
    if s.speedup is None:
        return null
    return s.speedup.verdict or ""  # the reference has none


# --- energy ----------------------------------------------------------------------------------------------------------


def energy_columns(panel: Panel, glyphs: Glyphs) -> tuple[Column, ...]:
    """Return the columns of energy, J per inference; those of the compared figure are essential. None where no row has any."""
    found = [row.energy_j for row in panel.rows if row.energy_j]
    if not found:
        return ()
    scale, unit = joules((each.gross.value for each in found), glyphs)
    null = glyphs.null
    others = dict.fromkeys(name for each in found for name in each.figures if name != each.scenario)
    return (
        Column(f"{unit}/inference\n[95 % interval]", lambda s: _gross(s.energy_j, scale, null), essential=True),
        Column(
            "saving\n[interval]", lambda s: speedup(s.energy_j.saving if s.energy_j else None, null), essential=True
        ),
        Column("energy", lambda s: _takes(s.energy_j, null), numeric=False, essential=True),
        Column(f"net\n{unit}", lambda s: _plain(s.energy_j.net if s.energy_j else None, scale, null)),
        Column("mean\nW", lambda s: _plain(_power(s.energy_j), 1.0, null)),
        *(Column(f"{name}\n{unit}", partial(_other, name=name, scale=scale, null=null)) for name in others),
    )


def joules(values: Iterable[float], glyphs: Glyphs) -> tuple[float, str]:
    """The unit in which energies are shown, J, mJ or uJ by the largest, and how much of a joule it is."""
    largest = max(values, default=0.0)
    prefixes = ((1.0, "J"), (1e-3, "mJ"))
    return next((each for each in prefixes if largest >= each[0]), (1e-6, glyphs.micro[:-1] + "J"))


def _gross(energy: Energy | None, scale: float, null: str) -> str:
    if energy is None:
        return null
    return with_interval(energy.gross.value / scale, energy.gross.low, energy.gross.high, scale)


def _takes(energy: Energy | None, null: str) -> str:
    """Whether a row takes less energy than rung 0; the reference has no verdict."""
    return null if energy is None or energy.saving is None else energy.saving.verdict or ""


def _power(energy: Energy | None) -> Interval | None:
    figure = energy.figures.get(energy.scenario) if energy else None
    return figure.power_w if figure else None


def _other(s: Summary, name: str, scale: float, null: str) -> str:
    """Gross energy in another scenario than the one that is compared."""
    figure = s.energy_j.figures.get(name) if s.energy_j else None
    return _plain(figure.gross if figure else None, scale, null)


def _plain(found: Interval | None, scale: float, null: str) -> str:
    return null if found is None else digits(found.value / scale)
