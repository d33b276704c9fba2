"""Nights made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.records.nights import MatrixRow, Night, Outcome, RowOutcome, SeriesChange
from harness.store import nights


def row(device: str = "pi5", model: str = "resnet18", **more: Any) -> MatrixRow:
    return MatrixRow(
        **{"device": device, "model": model, "method": "easier", "runtime": "onnxruntime", "precision": "fp32", **more}
    )


def came(of: MatrixRow, outcome: Outcome = "measured", **more: Any) -> RowOutcome:
    if outcome == "measured":
        more = {"run": "20261120T021500Z-1a2b", "seconds": 61.5, "last": "2026-11-19", **more}
    return RowOutcome(of, outcome, **more)


def change(of: MatrixRow, ratio: float = 1.107, **more: Any) -> SeriesChange:
    known: dict[str, Any] = {
        "row": of,
        "rung": "easier 3",
        "quantity": "latency",
        "unit": "ns",
        "before": 12.1e6,
        "after": 12.1e6 * ratio,
        "ratio": ratio,
        "low": ratio - 0.026,
        "high": ratio + 0.023,
        "p": 0.0002,
        "since": "2026-11-20",
        "direction": "worse" if ratio > 1 else "better",
    }
    return SeriesChange(**{**known, **more})


def night(*rows: RowOutcome, **more: Any) -> Night:
    times = {"began": "2026-11-20T02:00:00+00:00", "ended": "2026-11-20T05:30:00+00:00"}
    return Night(**{"schema": 1, "night": "2026-11-20", **times, "rows": rows, **more})


def calm(results: Path) -> None:
    """Let stored nights be those of a machine without other users: a row that was contended is due again."""
    for each in nights.nights(results):
        nights.save(results, replace(each, rows=tuple(replace(row, state="") for row in each.rows)))


def eventful() -> Night:
    """A night with one of everything."""
    slow, fast = row(), row(model="vgg16")
    rows = (
        came(slow, again="20261120T043000Z-9f0e"),
        came(fast),
        came(row(model="bert"), "failed", reason="signal: SIGSEGV"),
        came(row(model="swin_t"), "failed", reason="no space", failed_before=True, last="2026-10-01"),
        came(row("orin"), "unreachable", reason="no route to host", last="2026-11-08"),
        came(row(model="roberta"), "missing", reason="it never came back", last="2026-11-18"),
        came(row(model="resnet50"), "out-of-time", reason="the night was 10 minutes too short"),
        came(row(model="resnet34"), new=True, last=None),
        came(row(model="tiny")),
        came(row(model="mobilenet_v2"), "fresh", run="20261101T000000Z-0000"),
        came(row(model="plain"), "excluded", reason="does not fit into memory"),
        came(row("jetson", canary=True)),
        came(row("jetson")),
    )
    return night(
        *rows,
        changes=(change(slow), change(slow, 1.3, quantity="p99"), change(fast, 0.8), change(row("jetson"), 1.5)),
        suspected=(change(row(model="tiny"), 1.05),),
        annotations={"pi5": ("onnxruntime 1.22 -> 1.23",)},
        blamed={"jetson": "its canary is 9 % slower"},
    )
