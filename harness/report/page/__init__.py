"""One self-contained HTML page of one or several runs: findings first, figures, a table, where every number comes from.

    marks.py    rows and operators as flat values, which figures plot and filters ask
    charts.py   the figures, as Vega-Lite            layers.py  what they are made of
    looks.py    colours, symbols and dashes
    tables.py   the table of rows                    told.py    runs, findings and absences in words
    document.py puts page.html.jinja (what all pages have), runs.html.jinja, page.css and page.js into one file
    nights.py   the page of a night, with chronicles.py: the same, of series over nights

Everything is inside: it opens offline, asks the network for nothing, and a policy in it (CSP) forbids that and any script but its
own. Names are text wherever they stand. The same runs make the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.records import Run
from harness.report import rows
from harness.report.page import charts, document, looks, marks, tables, told


def write(runs: Sequence[Run], out: Path) -> Path:
    """Write the page of some runs and return its path.

    Raises UsageError for another suffix than .html, or where the page would be larger than document.MOST_BYTES; StoreError when
    it cannot be written.
    """
    document.require_suffix(out)
    hint = "Give fewer runs; harness show --where lists any number."
    return document.save(html(runs), out, f"{len(runs)} runs", hint)


def html(runs: Sequence[Run]) -> str:
    """Return the page of some runs."""
    table = marks.placed(runs)
    values = [each.values for each in table]
    parts = list(marks.parts(table))
    series = looks.of_series(list(dict.fromkeys(each.series for each in table)))
    operators = {kind: pair for kind, pair in looks.of_kinds().items() if any(part["kind"] == kind for part in parts)}
    figures = charts.charts(series, values, operators)
    title, many = told.heading(runs)
    columns, lines = tables.table(table)
    filters = _filters(values)
    return document.render(
        "runs.html.jinja",
        title=title,
        many=many,
        cards=told.cards(runs),
        kinds=told.kinds(runs, table),
        controls={each.series for each in table if each.is_control},
        untrained=marks.CONTROLS,
        filters=filters,
        looks=series,
        figures=figures,
        columns=columns,
        lines=lines,
        protocols=_protocols(runs),
        data={
            "columns": marks.exported(table),
            "filters": {key: names for key, _, names in filters},
            "rows": document.lean(values),
            "parts": parts,
            "charts": {figure.key: asdict(figure) for figure in figures},
            "panels": _panels(table),
            "palettes": {"series": _palette(series), "kinds": _pairs(operators)},
        },
    )


def _filters(values: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """What can be filtered by: key, name, values in their order."""
    named = (
        ("device", "Device"),
        ("network", "Model"),
        ("runtime", "Runtime"),
        ("precision", "Precision"),
        ("series", "Method"),
    )
    return [(key, name, list(dict.fromkeys(str(row[key]) for row in values))) for key, name in named]


def _panels(table: Sequence[marks.Placed]) -> dict[str, str]:
    """What each panel is called: networks, device, runtime, precision; its run where several have the same name."""
    heads = {each.panel_number: each for each in table}
    names = {n: f"{rows.subject(each.run)}, {each.run.device}, {each.panel.title}" for n, each in heads.items()}
    many = Counter(names.values())
    return {str(n): f"{name}, run {heads[n].run.run}" if many[name] > 1 else name for n, name in names.items()}


def _palette(series: dict[str, looks.Look]) -> dict[str, list[str]]:
    return {"light": [look.light for look in series.values()], "dark": [look.dark for look in series.values()]}


def _pairs(kinds: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    return {"light": [light for light, _ in kinds.values()], "dark": [dark for _, dark in kinds.values()]}


def _protocols(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The numbers that each job went by; alike ones stand once."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in runs:
        for job in run.jobs:
            numbers = tuple(sorted((key, str(value)) for key, value in job.protocol.items()))
            found.setdefault(numbers, []).append(f"{run.device} {job.runtime}")
    return [(", ".join(dict.fromkeys(where)), list(numbers)) for numbers, where in found.items()]
