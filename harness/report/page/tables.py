"""The page's table of rows: columns with their meaning, cells as text and as what they sort by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.records import Summary
from harness.report import rows as of_run
from harness.report.page.marks import NULL, Placed, percent, right
from harness.report.text import digits

Sorted = float | str | None


@dataclass(frozen=True)
class Cell:
    """A cell: what is read, what it sorts by (None goes last), why it is empty, findings that it links to."""

    text: str
    by: Sorted = None
    why: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """The head of a column: its title and unit, what it means, whether it holds numbers."""

    title: str
    means: str
    numeric: bool


@dataclass(frozen=True)
class Column(Head):
    """A column: its head, and how a row's cell is made."""

    cell: Callable[[Placed], Cell]


@dataclass(frozen=True)
class Line:
    """A row of the table: its number on the page, and its cells in the order of the columns."""

    number: int
    cells: tuple[Cell, ...]


def table(found: Sequence[Placed]) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    """Return the columns that say anything, and a line per row."""
    several = len({each.run.run for each in found}) > 1
    shown = tuple(column for column in _COLUMNS if _says(column, found) and (several or column.title != "run"))
    return shown, tuple(Line(each.number, tuple(column.cell(each) for column in shown)) for each in found)


def _says(column: Column, found: Sequence[Placed]) -> bool:
    return any(column.cell(each).text not in ("", NULL) for each in found)


def _word(of: Callable[[Placed], str | None]) -> Callable[[Placed], Cell]:
    def cell(each: Placed) -> Cell:
        text = of(each)
        return Cell(text or NULL, text)

    return cell


def _number(
    of: Callable[[Summary], float | None], key: str, written: Callable[[float], str] = digits
) -> Callable[[Placed], Cell]:
    """A number of a row; where there is none, the reason that the row has for `key`."""

    def cell(each: Placed) -> Cell:
        value = of(each.row)
        if value is None:
            return Cell(NULL, None, each.row.reasons.get(key, "unknown"))
        return Cell(written(value), value)

    return cell


def _estimate(text: str, by: str, key: str) -> Callable[[Placed], Cell]:
    """What a tooltip says of a row, too: a value with its interval. Nothing of a virtual device's times."""

    def cell(each: Placed) -> Cell:
        value = each.values.get(by)
        if value is None:
            why = (
                "a virtual device's times stand for no real one" if each.run.virtual else each.row.reasons.get(key, "")
            )
            return Cell(NULL, None, why)
        return Cell(each.values[text], value)

    return cell


def _accuracy(each: Placed) -> Cell:
    """torch's, which figures show only of artifacts that have none of their own."""
    found = percent(each.row.accuracy, each.row.accuracy_interval)
    why = "" if found[0] is not None else each.row.reasons.get("accuracy", "unknown")
    return Cell(right(*found), found[0], why)


def _rung(each: Placed) -> Cell:
    row = each.row
    return Cell(each.panel.name(row), float("inf") if row.rung is None else row.rung)


def _verdict(each: Placed) -> Cell:
    row = each.row
    if row.status != "ok":
        return Cell(row.status, row.status, row.reasons.get("latency_ns", ""))
    word = (row.speedup.verdict or "") if row.speedup and not each.run.virtual else ""
    return Cell(word, word or None)


def _see(each: Placed) -> Cell:
    """The letters of the findings that name a row, as they stand at the findings."""
    letters = of_run.marks(each.run, each.row).split()
    return Cell(" ".join(letters), None, links=tuple(f"finding-{each.run_number}-{letter}" for letter in letters))


def _whole(value: float) -> str:
    return str(int(value))


def _tail(row: Summary) -> float | None:
    return row.latency_ns.p99 / 1e6 if row.latency_ns and row.latency_ns.p99 is not None else None


def _removed(each: Placed) -> Cell:
    row = each.row
    return Cell(NULL if row.removed is None else f"{row.removed}/{row.eligible}", row.removed)


def _power(value: float) -> str:
    return f"{value:.0e}"


def _real(of: Callable[[Placed], Cell]) -> Callable[[Placed], Cell]:
    """A column of times: empty for a virtual device."""
    return lambda each: Cell(NULL) if each.run.virtual else of(each)


_COLUMNS = (
    Column("device", "as in the inventory", False, _word(lambda each: each.run.device)),
    Column(
        "runtime",
        "what executed the network, and in which numbers",
        False,
        _word(lambda each: f"{each.row.runtime} {each.row.precision}"),
    ),
    Column("model", "the architecture", False, _word(lambda each: each.row.model)),
    Column("method", "how layers were chosen; a series has all its seeds", False, _word(lambda each: each.series)),
    Column("rung", "0 is full depth; a control has its own name", False, _rung),
    Column(
        "depth",
        "convolution and linear operators on the longest path",
        True,
        _number(lambda row: row.depth, "depth", _whole),
    ),
    Column("latency [95 %]", "median of process medians", True, _estimate("latency", "latency_ms", "latency_ns")),
    Column(
        "speed-up [95 %]",
        "over rung 0 of the same ladder, paired within blocks",
        True,
        _estimate("against", "speedup", "speedup"),
    ),
    Column(
        "verdict",
        "faster or slower: the whole interval beyond 1 and above the A/A floor; same: within 2 %",
        False,
        _verdict,
    ),
    Column(
        "accuracy [95 %]",
        "of the test split, in torch; Wilson's interval",
        True,
        _accuracy,
    ),
    Column(
        "as built",
        "accuracy of the artifact itself, where its numbers have fewer bits",
        True,
        _number(
            lambda row: None if row.artifact_accuracy is None else 100 * row.artifact_accuracy,
            "artifact_accuracy",
            lambda value: f"{value:.1f} %",
        ),
    ),
    Column(
        "energy [95 %]",
        "gross, of one inference, in the scenario that is compared",
        True,
        _estimate("takes", "energy_mj", "energy_j"),
    ),
    Column(
        "MMACs",
        "millions of multiply-accumulates of an example, nominal",
        True,
        _number(lambda row: None if row.macs is None else row.macs / 1e6, "macs"),
    ),
    Column(
        "useful",
        "the same without taps that only meet padding",
        True,
        _number(lambda row: None if row.macs_useful is None else row.macs_useful / 1e6, "macs_useful"),
    ),
    Column(
        "weights (MB)",
        "parameters and buffers at float32",
        True,
        _number(lambda row: row.weight_bytes / 1e6, "weight_bytes"),
    ),
    Column("p99 (ms)", "99th percentile of all timed inferences", True, _real(_number(_tail, "latency_ns"))),
    Column("removed", "activations removed, of those that could be", True, _removed),
    Column(
        "fold error",
        "largest difference of outputs by folding, relative, float32",
        True,
        _number(lambda row: row.fold_error, "fold_error", _power),
    ),
    Column(
        "blocks",
        "passes over all cases that hold this one",
        True,
        _real(_number(lambda row: row.blocks or None, "latency_ns", _whole)),
    ),
    Column("see", "findings that name this row", False, _see),
    Column("run", "the run's id", False, _word(lambda each: each.run.run)),
)
