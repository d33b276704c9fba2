"""A run's table for papers and spreadsheets: LaTeX, CSV with plain numbers, Markdown.

LaTeX (`latex.py`) shows what the table on a terminal shows, units in the header, names escaped, with a caption. CSV is for
machines and spreadsheets: one line per row, no rounding, every column with its unit in its name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from harness.errors import StoreError
from harness.records import Run, Summary
from harness.report import rows
from harness.report.latex import latex
from harness.report.table import markdown

FORMATS = ("latex", "csv", "markdown")


def formatted(run: Run, kind: str) -> str:
    """Return a run's table in one of FORMATS. Raises StoreError where a run has no rows yet."""
    if not run.cases:
        raise StoreError(f"run {run.run}: no rows yet, no table", f"Go on with: harness run --resume {run.run}")
    return {"latex": latex, "csv": plain, "markdown": markdown}[kind](run)


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
