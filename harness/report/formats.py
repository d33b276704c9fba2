"""A run's table for papers and spreadsheets: LaTeX (booktabs), CSV with plain numbers, Markdown.

LaTeX shows what the table on a terminal shows, units in the header, names escaped, a table per runtime and precision with its
caption. CSV is for machines and spreadsheets: one line per row, no rounding, every column with its unit in its name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from harness.errors import StoreError
from harness.records import Run, Summary
from harness.report import basis, rows
from harness.report.rows import Panel
from harness.report.table import caption, markdown, with_energy
from harness.report.text import UNICODE

FORMATS = ("latex", "csv", "markdown")

_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "µ": r"\textmu{}",
    "±": r"$\pm$",
    "\u2212": r"$-$",
    "[": "{[}",
    "]": "{]}",
    **{char: "\\" + char for char in "&%$#_{}"},
}


def formatted(run: Run, kind: str) -> str:
    """Return a run's table in one of FORMATS. Raises StoreError where a run has no rows yet."""
    if not run.cases:
        raise StoreError(f"run {run.run}: no rows yet, no table", f"Go on with: harness run --resume {run.run}")
    return {"latex": latex, "csv": plain, "markdown": markdown}[kind](run)


def latex(run: Run) -> str:
    """Return a run's tables as LaTeX; they need the package booktabs."""
    head = f"% {_line(rows.subject(run))}, device {_line(run.device)}, run {_line(run.run)}; needs \\usepackage{{booktabs}}\n"
    return head + "\n".join(_tabular(run, panel) for panel in rows.panels(run))


def _line(text: str) -> str:
    """Text that stays on its line of comment."""
    return " ".join(text.split())


def _tabular(run: Run, panel: Panel) -> str:
    shown = with_energy(run, panel, UNICODE)
    several = len(panel.ladders) > 1
    align = "l" * several + "".join("r" if column.numeric else "l" for column in shown)
    head = ["ladder"] * several + [column.title.replace("\n", " ") for column in shown]
    body: list[str] = []
    groups = [*panel.ladders.values(), *([panel.controls] if panel.controls else [])]
    for group in groups:
        body += [r"\midrule", *(_cells([row.ladder] * several + [c.cell(row) for c in shown]) for row in group)]
    said = (
        _escaped(line)
        for line in (
            f"{rows.subject(run)}, device {run.device}, {panel.title}.",
            caption(run, panel, UNICODE),
            basis.words(panel, UNICODE),
        )
    )
    lines = [
        *(r"\begin{table}", r"\centering", rf"\caption{{{' '.join(said)}}}", rf"\begin{{tabular}}{{{align}}}"),
        *(r"\toprule", _cells(head), *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def _cells(texts: list[str]) -> str:
    return " & ".join(map(_escaped, texts)) + r" \\"


def _escaped(text: str) -> str:
    """Text that LaTeX sets as it is; what steers a terminal is left out."""
    return "".join(_TEX.get(char, char) if char.isprintable() else " " for char in text)


def plain(run: Run) -> str:
    """Return a run's rows as CSV: numbers as they are, what there is none of empty, units in the names of columns."""
    table = [_values(run, row) for panel in rows.panels(run) for row in panel.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _values(run: Run, row: Summary) -> Mapping[str, Any]:
    made = ("ladder", "method", "rung", "model", "task", "removed", "eligible", "activations", "setting", "variant")
    costs = ("depth", "macs", "macs_useful", "flops", "parameters", "weight_bytes", "activation_bytes", "ops_executed")
    proved = ("accuracy", "artifact_accuracy", "fold_error", "fold_error_f64", "artifact_error", "difference")
    where = ("runtime", "precision", "threads", "batch", "status", "blocks")
    latency, speedup, energy = row.latency_ns, row.speedup, row.energy_j
    took = ("median", "low", "high", "p90", "p95", "p99", "mean", "sd")
    saving = energy.saving if energy else None
    return {
        "run": run.run,
        "device": run.device,
        "case_id": row.case_id,
        **{name: getattr(row, name) for name in (*made, *where, *costs, *proved)},
        **{f"latency_{name}_ns": getattr(latency, name, None) for name in took},
        **{f"latency_{name}": getattr(latency, name, None) for name in ("samples", "processes")},
        **{f"speedup_{name}": getattr(speedup, name, None) for name in ("ratio", "low", "high", "verdict")},
        **{f"energy_gross_{name}_j": getattr(energy and energy.gross, name, None) for name in ("value", "low", "high")},
        **{f"energy_net_{name}_j": getattr(energy and energy.net, name, None) for name in ("value", "low", "high")},
        **{f"energy_saving_{name}": getattr(saving, name, None) for name in ("ratio", "low", "high", "verdict")},
        "energy_scope": energy.scope if energy else None,
        "energy_status": row.energy_status,
        "findings": rows.marks(run, row),
    }
