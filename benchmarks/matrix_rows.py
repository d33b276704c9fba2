"""What `matrix` kept, as the tables of docs/matrix.md: a network a table, a runtime and precision a row, reasons of failures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import Figure
from benchmarks.noise import DATA

FILE = DATA / "matrix.json"

Row = Mapping[str, Any]
HEAD = (
    "runtime",
    "precision",
    "built in s",
    "MB",
    "off by",
    "full, ms",
    "folded, ms",
    "folded is so many times as fast",
)
NOT_RUN = "Not yet measured: `python -m benchmarks matrix`."


def load() -> dict[str, Any]:
    """The rows that are kept, by name."""
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return found


def figures(kept: Mapping[str, Row]) -> list[Figure]:
    """How many rows were built, equal within bounds and timed, full and folded."""
    whole = [row for row in kept.values() if row["failure"] is None]
    unlike = sorted({f"{row['model']} {row['runtime']} {row['precision']}" for row in kept.values() if row["failure"]})
    lost = [
        f"{row['model']} {row['runtime']} {row['precision']}"
        for row in whole
        if row["speedup"] and row["speedup"]["verdict"] == "slower"
    ]
    return [
        Figure(
            "networks x runtimes x precisions: built, equal within bounds and timed, full and folded",
            "the others say why",
            f"{len(whole)} of {len(kept)}",
            None,
            "failed: " + (", ".join(unlike) or "none") + "; all in [The matrix](matrix.md)",
        ),
        Figure("of these, folded slower than full", "", f"{len(lost)} of {len(whole)}", None, ", ".join(lost)),
    ]


def tables(kept: Mapping[str, Row]) -> str:
    """All networks, one after the other."""
    models = dict.fromkeys(row["model"] for row in kept.values())
    parts = [_part(model, [row for row in kept.values() if row["model"] == model]) for model in models]
    return "\n\n".join([_summary(kept), *parts]) if parts else NOT_RUN


def _summary(kept: Mapping[str, Row]) -> str:
    whole = [row for row in kept.values() if row["failure"] is None]
    verdicts = [row["speedup"]["verdict"] for row in whole if row.get("speedup")]
    said = ", ".join(f"{verdicts.count(word)} {word}" for word in ("faster", "same", "slower", "unclear"))
    days = sorted({row["measured"] for row in kept.values()})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    versions = {name: version for row in kept.values() for name, version in row.get("versions", {}).items()}
    with_versions = ", ".join(f"{name} {versions[name]}" for name in sorted(versions) if name != "numpy")
    return (
        f"{len(whole)} of {len(kept)} rows were built, equal within their bounds and timed, full and folded; "
        f"folded against full: {said}. Measured {when} with {with_versions}."
    )


def _part(model: str, rows: Sequence[Row]) -> str:
    both = next((row["ends"] for row in rows if len(row["ends"]) == 2), None)
    title = f"## {model}"
    if both:
        depths, macs = ([end[key] for end in both] for key in ("depth", "macs"))
        title += f": depth {depths[0]} to {depths[1]}, {macs[0] / 1e6:.1f} to {macs[1] / 1e6:.1f} million MACs"
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *map(_line, rows)]
    return "\n".join([title, "", *lines])


def _line(row: Row) -> str:
    cells = [row["runtime"], row["precision"]]
    ends = row["ends"]
    cells += [_both(ends, lambda end: _number(end["build_s"], "{:.1f}")), _both(ends, _megabytes)]
    cells += [_both(ends, lambda end: _number(end["error"], "{:.0e}"))]
    cells += [*(_latency(end) for end in ends), *[""] * (2 - len(ends))]
    return f"| {' | '.join([*cells, _verdict(row)])} |"


def _both(ends: Sequence[Row], tell: Any) -> str:
    return " / ".join(tell(end) for end in ends)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _megabytes(end: Row) -> str:
    return "-" if end["size_bytes"] is None else f"{end['size_bytes'] / 1e6:.1f}"


def _latency(end: Row) -> str:
    found = end["latency_ns"]
    if end["failure"] is not None or found is None:
        return "-"
    median, low, high = (found[key] for key in ("median", "low", "high"))
    inside = "" if low is None else f" [{low / 1e6:.3g}, {high / 1e6:.3g}]"
    return f"{median / 1e6:.3g}{inside}"


def _verdict(row: Row) -> str:
    if row["failure"]:
        which = [name for name, end in zip(("full", "folded"), row["ends"], strict=False) if end["failure"]]
        return f"**{' and '.join(which) or 'both'} failed**: {short(row['failure'])}"
    found = row["speedup"]
    if found is None:
        return "no comparison: too few blocks"
    inside = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    processes = sum(end["latency_ns"]["processes"] for end in row["ends"])
    disturbed = ", contended" if 2 * row["contended"] > processes else ""
    return f"{found['ratio']:.3f}{inside} {found['verdict']}{disturbed}"


def short(reason: str, most: int = 160) -> str:
    """A failure in a few words: its first line, without the place in our sources and without bars, which end a cell."""
    said = re.sub(r"\s*\[\w+\.py:\d+[^\]]*\]\s*$", "", reason.strip())
    line = re.sub(r"\s+", " ", said.splitlines()[0] if said else "").replace("|", "/").strip()
    return line if len(line) <= most else line[:most].rsplit(" ", 1)[0] + " ..."
