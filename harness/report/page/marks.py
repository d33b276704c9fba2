"""What the page's figures and filters know of every row: flat values, ms and mJ, None where there is none.

A row is what a figure marks and a line of the table; its number says which. A panel is a run's runtime and precision: what has
axes of its own. A series is a method's ladders with all their seeds; untrained controls are one. The network is the one that
ladders begin with, whatever a control's own is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.analysis.accuracy import CONTROL
from harness.findings.views import TRAINED_CONTROLS
from harness.records import Interval, Ladder, Run, Speedup, Summary
from harness.report import rows, stacks
from harness.report.levels import family
from harness.report.plotted import ms
from harness.report.rows import Panel
from harness.report.text import digits, thousandths, with_interval

CONTROLS = "untrained controls"
NULL = "\N{EN DASH}"


@dataclass(frozen=True)
class Placed:
    """A row with where it stands: its number on the page, its run and panel, the series that it belongs to."""

    number: int
    run: Run
    run_number: int
    panel: Panel
    panel_number: int
    row: Summary
    series: str
    network: str

    @cached_property
    def values(self) -> dict[str, Any]:
        """What a figure may plot of the row, a filter may ask and a tooltip may say."""
        return _values(self)


def placed(runs: Sequence[Run]) -> tuple[Placed, ...]:
    """Number all rows of all runs, panel by panel."""
    found: list[Placed] = []
    panels = ((place, run, panel) for place, run in enumerate(runs) for panel in rows.panels(run))
    for number, (place, run, panel) in enumerate(panels):
        known = {ladder.name: ladder for ladder in run.ladders}
        for row in panel.rows:
            found.append(Placed(len(found), run, place, panel, number, row, _series(row, known), _network(row, known)))
    return tuple(found)


def is_control(series: str) -> bool:
    """Whether a series is what ladders are held against, trained or not."""
    return series in (CONTROLS, *TRAINED_CONTROLS, CONTROL)


def _network(row: Summary, known: Mapping[str, Ladder]) -> str:
    if row.ladder in known:
        return known[row.ladder].model
    models = {ladder.model for ladder in known.values()}
    return models.pop() if len(models) == 1 else row.model


def _series(row: Summary, known: Mapping[str, Ladder]) -> str:
    if row.method == "control":
        return CONTROLS
    return family(known[row.ladder]) if row.ladder in known else row.ladder


def _values(each: Placed) -> dict[str, Any]:
    row, run = each.row, each.run
    return {
        "n": each.number,
        "panel": each.panel_number,
        "run": run.run,
        "device": run.device,
        "runtime": row.runtime,
        "precision": row.precision,
        "threads": row.threads,
        "batch": row.batch,
        "network": each.network,
        "model": row.model,
        "series": each.series,
        "ladder": row.ladder,
        "label": rows.label(row),
        "rung": row.rung,
        "control": row.method == "control",
        "hollow": is_control(each.series),
        "depth": row.depth,
        "weight_mb": row.weight_bytes / 1e6,
        "status": row.status,
        "verdict": row.speedup.verdict if row.speedup else None,
        "warned": rows.is_warned_of(run, row),
        "findings": rows.marks(run, row),
        **_work(row),
        **(_times(row) if not run.virtual else {}),
        **_accuracy(row),
        **_energy(row),
    }


def _work(row: Summary) -> dict[str, Any]:
    """MACs of one example, and what a whole batch takes at the device's ceiling."""
    best = row.executed.ceilings if row.executed else None
    ceiling = best.macs_per_s if best else None
    macs = row.macs_useful
    return {
        "mmacs": None if row.macs is None else row.macs / 1e6,
        "mmacs_useful": None if macs is None else macs / 1e6,
        "ceiling_ms": 1e3 * macs * row.batch / ceiling if ceiling and macs is not None else None,
    }


def _times(row: Summary) -> dict[str, Any]:
    """Latency with its interval and tails; its ratio to full depth, which is one over the paired speed-up."""
    found, ratio = row.latency_ns, row.speedup
    return {
        **{f"latency_{name}ms": ms(getattr(found, key, None)) for name, key in _LATENCY.items()},
        "latency": _millis(found.median, found.low, found.high) if found else NULL,
        "speedup": ratio.ratio if ratio else None,
        "speedup_low": ratio.low if ratio else None,
        "speedup_high": ratio.high if ratio else None,
        **_relative(row),
        "against": with_interval(ratio.ratio, ratio.low, ratio.high, digits=thousandths) if ratio else NULL,
    }


_LATENCY = {"": "median", "low_": "low", "high_": "high", "p90_": "p90", "p95_": "p95", "p99_": "p99"}


def _relative(row: Summary) -> dict[str, float | None]:
    found: Speedup | None = row.speedup
    if found is None:
        return dict.fromkeys(("relative", "relative_low", "relative_high"))
    low, high = (None if limit is None else 1 / limit for limit in (found.high, found.low))
    return {"relative": 1 / found.ratio, "relative_low": low, "relative_high": high}


def _millis(value: float, low: float | None, high: float | None) -> str:
    return with_interval(value / 1e6, low, high, 1e6) + " ms"


def _accuracy(row: Summary) -> dict[str, Any]:
    """In percent of the test split, with Wilson's interval: torch's, of the rung as it is deployed."""
    limits = row.accuracy_interval
    low, high = (100 * limits.low, 100 * limits.high) if limits else (None, None)
    value = None if row.accuracy is None else 100 * row.accuracy
    return {
        "accuracy": value,
        "accuracy_low": low,
        "accuracy_high": high,
        "right": NULL if value is None else f"{with_interval(value, low, high, digits=_tenths)} %",
    }


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _energy(row: Summary) -> dict[str, Any]:
    """Gross energy of one inference, mJ, in the scenario that is compared."""
    energy = row.energy_j
    gross: Interval | None = energy.gross if energy else None
    saving = energy.saving if energy else None
    found = (gross.value, gross.low, gross.high) if gross else (None, None, None)
    value, low, high = (None if each is None else 1e3 * each for each in found)
    return {
        "energy_mj": value,
        "energy_low_mj": low,
        "energy_high_mj": high,
        "scope": energy.scope if energy else None,
        "takes": NULL if value is None else f"{with_interval(value, low, high)} mJ",
        "saving": saving.ratio if saving else None,
        "saving_low": saving.low if saving else None,
        "saving_high": saving.high if saving else None,
    }


def parts(table: Sequence[Placed]) -> Iterator[dict[str, Any]]:
    """Yield the operators of each row by kind, as they are stacked, with the number of their row."""
    for each in table:
        for part in () if each.run.virtual else stacks.parts(each.run, each.row):
            yield {
                "n": each.number,
                "panel": each.panel_number,
                "series": each.series,
                "label": part.label,
                "kind": part.kind,
                "operators": part.operators,
                "time_ms": part.time_ms,
                "from_ms": part.from_ms,
                "until_ms": part.from_ms + part.time_ms,
                "time": f"{digits(part.time_ms)} ms",
            }
