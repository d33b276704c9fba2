"""What the page's figures and filters know of every row: flat values, ms and mJ, None where there is none.

A row is what a figure marks and a line of the table; its number says which. A panel is a run's runtime and precision: what has
axes of its own. A series is a method's ladders with all their seeds; untrained controls are one. The network is the one that
ladders begin with, whatever a control's own is called. Its place is its depth, moved aside where others have the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness import stats
from harness.records import Interval, Ladder, Limits, Run, Speedup, Summary
from harness.report import rows, stacks
from harness.report.levels import CONTROLS as TRAINED_CONTROLS
from harness.report.levels import family
from harness.report.plotted import ms
from harness.report.rows import Panel
from harness.report.text import digits, thousandths, with_interval

CONTROLS = "untrained controls"
NULL = "\N{EN DASH}"
ASIDE = 0.34  # of a layer, to each side: ladders of one depth share so much
_DRAWN = (
    "n",
    "panel",
    "hollow",
    "place",
    "name",
    "reach_ms",
    "latency",
    "against",
    "right",
    "takes",
)  # for figures alone


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
    is_control: bool
    examples: int | None
    place: float | None

    @cached_property
    def values(self) -> dict[str, Any]:
        """What a figure may plot of the row, a filter may ask and a tooltip may say; JSON has nothing that is not finite."""
        return {key: None if _endless(value) else value for key, value in _values(self).items()}


def placed(runs: Sequence[Run]) -> tuple[Placed, ...]:
    """Number all rows of all runs, panel by panel."""
    found: list[Placed] = []
    panels = ((place, run, panel) for place, run in enumerate(runs) for panel in rows.panels(run))
    for number, (place, run, panel) in enumerate(panels):
        known = {ladder.name: ladder for ladder in run.ladders}
        for row, x in zip(panel.rows, _places(panel), strict=True):
            ladder = known.get(row.ladder)
            is_control = row.method in ("control", *TRAINED_CONTROLS)
            names = _series(row, ladder), _network(row, known)
            examples = ladder.test_examples if ladder else None
            found.append(Placed(len(found), run, place, panel, number, row, *names, is_control, examples, x))
    return tuple(found)


def exported(table: Sequence[Placed]) -> list[str]:
    """The values that the page's CSV has, in their order: all that any row has but what only figures need."""
    return [key for key in dict.fromkeys(key for each in table for key in each.values) if key not in _DRAWN]


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _places(panel: Panel) -> Iterator[float | None]:
    """Where rows stand along depth, in the order of the panel's rows: side by side where ladders, or rungs of one, share it.

    Full depth, which all share, and untrained controls stand where they are.
    """
    for n, ladder in enumerate(panel.ladders.values()):
        many, seen = Counter(row.depth for row in ladder if row.rung), Counter[int | None]()
        for row in ladder:
            slots, slot = max(1, many[row.depth]), seen[row.depth]
            seen[row.depth] += bool(row.rung)
            place, places = slot * len(panel.ladders) + n, slots * len(panel.ladders)
            aside = ASIDE * (1 - 2 * place / (places - 1)) if row.rung and places > 1 else 0.0
            yield None if row.depth is None else row.depth + aside
    yield from (row.depth for row in panel.controls)


def _network(row: Summary, known: Mapping[str, Ladder]) -> str:
    if row.ladder in known:
        return known[row.ladder].model
    models = {ladder.model for ladder in known.values()}
    return models.pop() if len(models) == 1 else row.model


def _series(row: Summary, ladder: Ladder | None) -> str:
    if row.method == "control":
        return CONTROLS
    return family(ladder) if ladder else row.ladder


def _values(each: Placed) -> dict[str, Any]:
    row, run = each.row, each.run
    return {
        "n": each.number,
        "panel": each.panel_number,
        "name": _name(each),
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
        "hollow": each.is_control,
        "depth": row.depth,
        "place": each.place,
        "weight_mb": row.weight_bytes / 1e6,
        "status": row.status,
        "verdict": row.speedup.verdict if row.speedup else None,
        "warned": rows.is_warned_of(run, row),
        "dearer": rows.is_dearer(run, row),
        "findings": rows.marks(run, row),
        **_work(row),
        **(_times(row) if not run.virtual else {}),
        **_accuracy(row, each.examples),
        **_energy(row),
    }


def _name(each: Placed) -> str:
    """A row's name in its panel, where each has a line: seeds of one method are lines of their own."""
    named = each.panel.name(each.row)
    return named if each.row.method == "control" else f"{each.row.ladder} {named}"


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
        "reach_ms": ms(next((far for far in (found.p99, found.p95, found.p90) if far is not None), None))
        if found
        else None,
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


def _accuracy(row: Summary, examples: int | None) -> dict[str, Any]:
    """In percent of the test split, with Wilson's interval: the artifact's own where it has one, for its numbers are rounded."""
    own, limits = row.artifact_accuracy, row.accuracy_interval
    if own is not None:
        limits = stats.wilson(round(own * examples), examples) if examples else None
    value, low, high = percent(row.accuracy if own is None else own, limits)
    return {
        "accuracy_percent": value,
        "accuracy_low_percent": low,
        "accuracy_high_percent": high,
        "accuracy_is": None if value is None else "torch's" if own is None else "the artifact's",
        "right": right(value, low, high),
    }


def percent(value: float | None, limits: Limits | None) -> tuple[float | None, float | None, float | None]:
    """A fraction and its limits in percent."""
    return None if value is None else 100 * value, *((100 * limits.low, 100 * limits.high) if limits else (None, None))


def right(value: float | None, low: float | None, high: float | None) -> str:
    """An accuracy in percent as it is written."""
    return NULL if value is None else f"{with_interval(value, low, high, digits=_tenths)} %"


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
        "energy_scope": energy.scope if energy else None,
        "takes": f"{with_interval(value, low, high)} mJ, {energy.scope}" if energy and value is not None else NULL,
        "energy_saving": saving.ratio if saving else None,
        "energy_saving_low": saving.low if saving else None,
        "energy_saving_high": saving.high if saving else None,
    }


_BESIDE = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency")  # once a bar


def parts(table: Sequence[Placed]) -> Iterator[dict[str, Any]]:
    """Yield the operators of each row by kind, as they are stacked, with the number of their row."""
    for each in table:
        for part in () if each.run.virtual else stacks.parts(each.run, each.row):
            yield {
                "n": each.number,
                "panel": each.panel_number,
                "series": each.series,
                "label": part.label,
                "name": each.values["name"],
                "kind": part.kind,
                "operators": part.operators,
                "time_ms": part.time_ms,
                "from_ms": part.from_ms,
                "until_ms": part.from_ms + part.time_ms,
                "time": f"{digits(part.time_ms)} ms",
                **({key: each.values[key] for key in _BESIDE} if part.from_ms == 0 else {}),
            }
