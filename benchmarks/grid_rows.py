"""What `grid` kept and what it says: accuracies example by example, speed-ups over fp32 at full depth, a table, a few lines.

A difference of accuracies is taken example by example, so that its interval is not that of two independent shares.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.noise import DATA

FILE = DATA / "grid.json"
Row = dict[str, Any]
FIGURE = "![accuracy of each artifact against its latency](figures/grid.svg)"
NOT_RUN = "Not yet measured: `python -m benchmarks grid`."


def load() -> dict[str, Any]:
    """What is kept, by runtime."""
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return found


def bits(row: Row) -> np.ndarray:
    """Per test example 1 where it is classified rightly."""
    return np.array([int(bit) for bit in row["right"]])


def mean(values: np.ndarray) -> tuple[float, float, float]:
    """The mean of values per example with its 95 % interval; where all are alike, it is that of three examples in n."""
    n, centre = len(values), float(values.mean())
    width = 1.96 * float(values.std(ddof=1)) / math.sqrt(n) if values.any() and values.std() else 3 / n
    return centre, centre - width, centre + width


def share(right: np.ndarray) -> tuple[float, float, float]:
    """An accuracy with Wilson's 95 % interval."""
    n, p, z = len(right), float(right.mean()), 1.96
    centre, width = (p + z * z / (2 * n)), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)


def by_place(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """Rows that were measured and judged, by precision and rung."""
    return {(row["precision"], row["rung"]): row for row in rows if row["latency_ns"] and row["right"]}


def change(rows: Sequence[Row], precision: str, rung: int) -> tuple[float, float, float]:
    """Accuracy of a row less that of fp32 at full depth, example by example."""
    places = by_place(rows)
    return mean(bits(places[precision, rung]) - bits(places["fp32", 0]))


def added(rows: Sequence[Row], precision: str, rung: int) -> tuple[float, float, float]:
    """What the precision costs at this rung beyond what it costs at full depth: the loss that folding adds, as a change."""
    places = by_place(rows)

    def cost(at: int) -> np.ndarray:
        return bits(places[precision, at]) - bits(places["fp32", at])

    return mean(cost(rung) - cost(0))


def figures(kept: Mapping[str, Any]) -> list[Figure]:
    """Per runtime: quantised at full depth, the fastest rung in fp32, and both; what folding adds to quantisation."""
    return [figure for runtime, found in kept.items() for figure in _figures(runtime, found["rows"])]


def _figures(runtime: str, rows: Sequence[Row]) -> list[Figure]:
    places = by_place(rows)
    if ("fp32", 0) not in places or ("int8", 0) not in places:
        return [Figure(f"{runtime}: int8 by depth", "", "not measured", None)]
    told = {"quantised, full depth": ("int8", 0)}
    for precision, words in (("fp32", "fastest rung, not quantised"), ("int8", "fastest rung, quantised")):
        told[words] = (precision, fastest(rows, precision))
    lines = [
        Figure(
            f"{runtime}, {words} ({precision}, rung {rung})",
            "",
            _said(rows, precision, rung),
            None,
            "over fp32 at full depth",
        )
        for words, (precision, rung) in told.items()
    ]
    rungs = [rung for precision, rung in places if precision == "int8" and rung]
    worst = min(rungs, key=lambda rung: added(rows, "int8", rung)[0])
    beyond = percent(added(rows, "int8", worst))
    return [
        *lines,
        Figure(
            f"{runtime}: what folding adds to int8's loss, worst rung ({worst})", "", beyond, None, "accuracy, points"
        ),
    ]


def fastest(rows: Sequence[Row], precision: str) -> int:
    """The rung whose speed-up over fp32 at full depth is largest."""
    return max(
        (rung for kind, rung in by_place(rows) if kind == precision), key=lambda rung: _ratio(rows, precision, rung)
    )


def _ratio(rows: Sequence[Row], precision: str, rung: int) -> float:
    found = by_place(rows)[precision, rung]["speedup"]
    return float(found["ratio"]) if found else 1.0


def _said(rows: Sequence[Row], precision: str, rung: int) -> str:
    faster = times(by_place(rows)[precision, rung]["speedup"])
    return f"{faster} as fast, accuracy {percent(change(rows, precision, rung))} points"


def times(speedup: Mapping[str, float | None] | None) -> str:
    """A speed-up with its interval."""
    if speedup is None:
        return "1"
    inside = "no interval" if speedup["low"] is None else f"{speedup['low']:.2f}, {speedup['high']:.2f}"
    return f"{speedup['ratio']:.2f} [{inside}]"


def percent(estimate: tuple[float, float, float]) -> str:
    """A difference of accuracies in points with its interval."""
    value, low, high = (100 * each for each in estimate)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def tables(kept: Mapping[str, Any]) -> str:
    """The figure, and a table a runtime: a rung a line, latency and accuracy by precision, what int8 costs and folding adds."""
    return (
        "\n\n".join([FIGURE, *(_table(runtime, found["rows"]) for runtime, found in kept.items())]) if kept else NOT_RUN
    )


def _table(runtime: str, rows: Sequence[Row]) -> str:
    places, kinds = by_place(rows), list(dict.fromkeys(row["precision"] for row in rows))
    head = ["rung", "depth", *(f"{kind}, ms" for kind in kinds), *(f"{kind}, accuracy %" for kind in kinds)]
    head += ["int8: times as fast as fp32 rung 0", "its accuracy less that, points", "of it added by folding, points"]
    lines = [f"### {runtime}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for rung, depth in dict.fromkeys((row["rung"], row["depth"]) for row in rows):
        cells = [str(rung), str(depth)]
        cells += [_latency(places.get((kind, rung))) for kind in kinds]
        cells += [_accuracy(places.get((kind, rung))) for kind in kinds]
        known = {("int8", rung), ("fp32", rung), ("int8", 0), ("fp32", 0)} <= places.keys()
        cells += _costs(rows, rung) if known else ["-", "-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _costs(rows: Sequence[Row], rung: int) -> list[str]:
    faster = times(by_place(rows)["int8", rung]["speedup"])
    return [faster, percent(change(rows, "int8", rung)), percent(added(rows, "int8", rung)) if rung else "-"]


def _latency(row: Row | None) -> str:
    if row is None:
        return "-"
    found = row["latency_ns"]
    inside = "" if found["low"] is None else f" [{found['low'] / 1e6:.2f}, {found['high'] / 1e6:.2f}]"
    return f"{found['median'] / 1e6:.2f}{inside}"


def _accuracy(row: Row | None) -> str:
    return "-" if row is None else "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * each for each in share(bits(row))))
