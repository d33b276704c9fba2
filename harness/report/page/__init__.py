"""One self-contained HTML page of one or several runs: findings first, figures, a table, where every number comes from.

    marks.py    rows and operators as flat values, which figures plot and filters ask
    charts.py   the figures, as Vega-Lite            layers.py  what they are made of
    looks.py    colours, symbols and dashes
    tables.py   the table of rows                    told.py    runs, findings and absences in words
    page.html.jinja, page.css, page.js               what a browser gets

Everything is inside: it opens offline, asks the network for nothing, and a policy in it (CSP) forbids that and any script but its
own. Names are text wherever they stand. The same runs make the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from harness import store
from harness.errors import UsageError
from harness.records import Run
from harness.report import rows
from harness.report.page import charts, looks, marks, tables, told

MOST_BYTES = 5_000_000
_HERE = Path(__file__).parent
_HINT = "or give another file with --out."


def write(runs: Sequence[Run], out: Path) -> Path:
    """Write the page of some runs and return its path.

    Raises UsageError for another suffix than .html, or where the page would be larger than MOST_BYTES; StoreError when it
    cannot be written.
    """
    if out.suffix not in (".html", ".htm"):
        raise UsageError(f"{out}: a page ends in .html, not in {out.suffix or 'nothing'}")
    page = html(runs).encode(errors="replace")  # a command's bytes need not have been text
    if len(page) > MOST_BYTES:
        raise UsageError(
            f"a page of {len(runs)} runs would have {len(page) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g}",
            "Give fewer runs; harness show --where lists any number.",
        )
    store.write(out, page, _HINT)
    return out


def html(runs: Sequence[Run]) -> str:
    """Return the page of some runs."""
    table = marks.placed(runs)
    values = [each.values for each in table]
    parts = list(marks.parts(table))
    series = looks.of_series(list(dict.fromkeys(each.series for each in table)))
    operators = {kind: pair for kind, pair in looks.of_kinds().items() if any(part["kind"] == kind for part in parts)}
    figures = charts.charts(series, values, operators)
    title, many = told.heading(runs)
    scripts = [_vega(), (_HERE / "page.js").read_text(encoding="utf-8")]
    columns, lines = tables.table(table)
    filters = _filters(values)
    return _template().render(
        title=title,
        many=many,
        policy=_policy(scripts),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # ours, as are the scripts
        scripts=[Markup(script) for script in scripts],
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
            "rows": values,
            "parts": parts,
            "charts": {figure.key: asdict(figure) for figure in figures},
            "panels": _panels(table),
            "palettes": {"series": _palette(series), "kinds": _pairs(operators)},
        },
    )


def _template() -> jinja2.Template:
    """The page's template: whatever is put into it is escaped, and a name that it does not know is an error."""
    loader = jinja2.FileSystemLoader(_HERE)
    known = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    known.policies["json.dumps_kwargs"] = {"allow_nan": False}  # in the order that was given
    return known.get_template("page.html.jinja")


def _vega() -> str:
    """Vega, Vega-Lite and vega-embed (BSD), as one script that asks the network for nothing."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def _policy(scripts: Sequence[str]) -> str:
    """What a browser may do with the page: run these scripts, draw; nothing from anywhere else."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    drawn = "style-src 'unsafe-inline'; img-src data:"
    return f"default-src 'none'; script-src {allowed}; {drawn}; form-action 'none'; base-uri 'none'"


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
