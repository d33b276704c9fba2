"""What training came to, over seeds and against the control `continue`: a table below a run's, where there is either."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.box import Box
from rich.table import Table
from rich.text import Text

from harness.findings.views import count
from harness.records import Run
from harness.report.levels import Level, levels
from harness.report.text import UNICODE, Glyphs, digits, printable

TITLE = "accuracy in torch, over seeds and against continue"
Cell = Callable[[Level, Glyphs], str]


def accuracy(level: Level, glyphs: Glyphs) -> str:
    """In percent: with Wilson's interval, or as mean and standard deviation over seeds."""
    if level.accuracy is None:
        return glyphs.null
    mean, limits = f"{100 * level.accuracy:.1f}", level.limits
    if level.spread is not None:
        return f"{mean} {glyphs.plus_minus} {100 * level.spread:.1f}"
    return mean if limits is None else f"{mean} [{100 * limits.low:.1f}, {100 * limits.high:.1f}]"


def against(level: Level, glyphs: Glyphs) -> str:
    """The difference to `continue` in points, with its interval."""
    found = level.against
    return (
        glyphs.null if found is None else f"{_points(found.difference)} [{_points(found.low)}, {_points(found.high)}]"
    )


def chance(level: Level, glyphs: Glyphs) -> str:
    """McNemar's p."""
    found = level.against
    return glyphs.null if found is None else "< 0.001" if found.p < 0.001 else digits(found.p, 2)


def epochs(level: Level, glyphs: Glyphs) -> str:
    """Of training, full depth included."""
    found = level.members[0].rung.epochs
    return glyphs.null if found is None else str(found)


COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("ladder", lambda level, _: level.name),
    ("rung", lambda level, _: str(level.number)),
    ("seeds", lambda level, _: str(len(level.members))),
    ("epochs", epochs),
    ("accuracy %", accuracy),
    ("points against continue", against),
    ("p", chance),
)


def shown(run: Run) -> list[Level]:
    """The levels to show: none where there is one seed and no `continue`. Those of the first panel: torch's are the same."""
    found = list(levels(run))
    first = [level for level in found if _panel(level) == _panel(found[0])]
    told = any(len(level.members) > 1 or level.against is not None for level in first)
    return [level for level in first if level.accuracy is not None] if told else []


def table(found: list[Level], box: Box, glyphs: Glyphs) -> Table:
    """Lay the levels out for a console."""
    made = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    made.title = Text(TITLE, style="bold")
    for head, _ in COLUMNS:
        made.add_column(Text(head), justify="left" if head == "ladder" else "right")
    for place, level in enumerate(found):
        if place and level.name != found[place - 1].name:
            made.add_section()
        made.add_row(*(Text(printable(cell(level, glyphs))) for _, cell in COLUMNS))
    return made


def caption(found: list[Level]) -> str:
    """What the numbers are."""
    examples = found[0].ladder.test_examples
    worth = f" One of {count(examples, 'test example')} is {digits(100 / examples, 2)} points." if examples else ""
    several = any(len(level.members) > 1 for level in found)
    spread = "Mean and standard deviation over seeds" if several else "Wilson's 95 % interval"
    return (
        f"{spread}; against the full network fine-tuned for as many epochs, on the same examples "
        f"(McNemar{'' if several else ', exact'}).{worth}"
    )


def markdown(run: Run) -> Iterator[str]:
    """Yield the table and its caption as Markdown, or nothing."""
    if found := shown(run):
        lines = [[head for head, _ in COLUMNS], ["---", *["---:"] * (len(COLUMNS) - 1)]]
        lines += [[cell(level, UNICODE) for _, cell in COLUMNS] for level in found]
        yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
        yield caption(found)


def _panel(level: Level) -> tuple[str, str]:
    return level.rows[0].runtime, level.rows[0].precision


def _points(fraction: float) -> str:
    return f"{100 * fraction + 0.0:+.1f}"
