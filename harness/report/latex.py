r"""A run's table as LaTeX, with the packages booktabs and graphicx, for every engine: compiled as it is, in one column or two.

A table per runtime and precision, a second one for energies, further ones where there are more ladders than fit on a page. Heads
have two lines, as on a terminal; a table that is wider than the text is made smaller to fit it (`\resizebox`). Names are escaped.
What a letter of a finding stands for is said in the caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.records import Run, Summary
from harness.report import basis, cells, rows
from harness.report.cells import Column
from harness.report.rows import Panel
from harness.report.table import caption
from harness.report.text import UNICODE

_MOST = 38  # rows of a table: more are higher than a page
_TEX = {
    **{char: "\\" + char for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "\u2212": "$-$",
    "\u00b5": r"$\mu$",
    "\u03bc": r"$\mu$",
    "±": r"$\pm$",
    "\u00d7": r"$\times$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
}
_POWER = re.compile(r"(\d+(?:\.\d+)?)e([+-])0*(\d+)")
_LATIN = "\u0180"  # letters below it are known to every engine


def latex(run: Run) -> str:
    """Return a run's tables as LaTeX."""
    body = "\n".join(part for panel in rows.panels(run) for part in _panel(run, panel))
    head = f"% {_line(rows.subject(run))}, device {_line(run.device)}, run {_line(run.run)}\n"
    head += "% needs \\usepackage{booktabs,graphicx}; table* spans both columns where there are two\n"
    if any(char >= _LATIN for char in body):
        head += "% letters beyond Latin: compile with xelatex or lualatex and a font that has them\n"
    return head + body


def _line(text: str) -> str:
    """Text that stays on its line of comment."""
    return " ".join(text.split())


def _panel(run: Run, panel: Panel) -> Iterator[str]:
    """The tables of a panel: what was measured, then energies."""
    about = f"{rows.subject(run)}, device {run.device}, {panel.title}"
    said = [f"{about}.", caption(run, panel, UNICODE), _letters(run, panel)]
    energy = cells.energy_columns(panel, UNICODE)
    *first, last = cells.columns(run, panel, UNICODE)
    columns = (*first, replace(last, cell=lambda row: ", ".join(rows.marks(run, row).split())))
    if energy:
        yield from _tables(panel, columns, said, about)
        words = [f"{about}: energy per inference.", basis.words(panel, UNICODE)]
        yield from _tables(panel, (columns[0], *energy), words, f"{about}: energy per inference")
    else:
        yield from _tables(panel, columns, [*said, basis.words(panel, UNICODE)], about)


def _letters(run: Run, panel: Panel) -> str:
    """What the letters of the table stand for, kind by kind."""
    shown = {letter for row in panel.rows for letter in rows.marks(run, row).split()}
    kinds: dict[str, list[str]] = {}
    for letter, finding in rows.lettered(run.findings):
        if letter in shown:
            kinds.setdefault(finding.kind, []).append(letter)
    told = "; ".join(f"{', '.join(letters)}: {kind}" for kind, letters in kinds.items())
    return f"Findings: {told}." if told else ""


def _tables(panel: Panel, columns: Sequence[Column], said: Sequence[str], about: str) -> Iterator[str]:
    parts = list(_parts([*panel.ladders.values(), *([panel.controls] if panel.controls else [])]))
    for n, part in enumerate(parts):
        words = " ".join(filter(None, said)) if n == 0 else f"{about}, continued."
        yield _table(part, columns, words, several=len(panel.ladders) > 1)


def _parts(groups: Sequence[Sequence[Summary]]) -> Iterator[list[Sequence[Summary]]]:
    """Ladders that stand in one table: as many as fit on a page, and a long one in pieces."""
    pieces = [group[start : start + _MOST] for group in groups for start in range(0, len(group), _MOST)]
    part: list[Sequence[Summary]] = []
    for piece in pieces:
        if part and sum(map(len, part)) + len(piece) > _MOST:
            yield part
            part = []
        part.append(piece)
    yield part


def _table(groups: Sequence[Sequence[Summary]], columns: Sequence[Column], said: str, *, several: bool) -> str:
    align = "l" * several + "".join("r" if column.numeric else "l" for column in columns)
    body: list[str] = []
    for group in groups:
        body += [r"\midrule", *(_row([row.ladder] * several + [c.cell(row) for c in columns]) for row in group)]
    lines = [
        *(r"\begin{table*}", r"\centering\small\setlength{\tabcolsep}{4pt}"),
        rf"\caption{{{escaped(said)}}}\vspace{{4pt}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *(rf"\begin{{tabular}}{{{align}}}", r"\toprule", *_head(["ladder"] * several + [c.title for c in columns])),
        *(*body, r"\bottomrule", r"\end{tabular}}", r"\end{table*}"),
    ]
    return "\n".join(lines) + "\n"


def _head(titles: Sequence[str]) -> Iterator[str]:
    """The lines of titles, one row each; what has fewer stands above."""
    split = [title.split("\n") for title in titles]
    for n in range(max(map(len, split))):
        yield _row([lines[n] if n < len(lines) else "" for lines in split])


def _row(texts: Sequence[str]) -> str:
    return " & ".join(map(_cell, texts)) + r" \\"


def _cell(text: str) -> str:
    """A cell; 4e-07 as a power of ten."""
    found = _POWER.fullmatch(text)
    if not found:
        return escaped(text)
    digits, sign, power = found.groups()
    return rf"${digits}\cdot10^{{{sign.strip('+')}{power}}}$"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; what steers a terminal is left out."""
    parts = text.split("--")  # a flag, no dash
    return "-{}-".join("".join(_TEX.get(char, char) if char.isprintable() else " " for char in part) for part in parts)
