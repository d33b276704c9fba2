"""What the page says in words: what was run on what, findings, why values are missing, where numbers come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness import findings
from harness.findings.kinds import KINDS
from harness.findings.views import count
from harness.records import Finding, Run
from harness.report import basis, citation, rows
from harness.report.page.marks import Placed
from harness.report.table import caption, where
from harness.report.text import UNICODE

_SEVERE = ("error", "warning", "info")
_FEW = 3
_NULLS = ("depth", "macs", "accuracy", "fold_error", "latency_ns", "speedup")


@dataclass(frozen=True)
class Card:
    """A run in short: what was run on what, how far it came, how far it can be believed; the full account behind it."""

    number: int
    run: str
    title: str
    short: str
    device: str
    about: str
    created: str
    state: str
    lines: tuple[str, ...]
    panels: tuple[tuple[str, tuple[str, ...]], ...]
    absent: tuple[str, ...]
    command: str
    environment: str


@dataclass(frozen=True)
class Told:
    """A finding as the page shows it; `numbers` are those of the rows that it names, or of all that it is about."""

    anchor: str
    letter: str
    kind: str
    severity: str
    where: str
    cause: str
    advice: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """All findings of a kind and severity: what the kind means, the first of them and the others."""

    kind: str
    severity: str
    means: str
    first: Told
    others: tuple[Told, ...]


def cards(runs: Sequence[Run]) -> tuple[Card, ...]:
    """Return a card per run."""
    return tuple(_card(number, run) for number, run in enumerate(runs))


def _card(number: int, run: Run) -> Card:
    virtual = (
        ("Virtual device: outputs and status are compared, its times stand for no real one.",) if run.virtual else ()
    )
    status = rows.status(run)
    return Card(
        number=number,
        run=run.run,
        title=citation.title(run),
        short=_short(run),
        device=run.device,
        about=citation.device(run),
        created=run.created,
        state=run.verdict.state if run.verdict else run.status,
        lines=(*virtual, *((status[0].upper() + status[1:] + ".",) if status else ()), *rows.trust(run)),
        panels=tuple(
            (panel.title, (caption(run, panel, UNICODE), basis.words(panel, UNICODE))) for panel in rows.panels(run)
        ),
        absent=tuple(_absent(run)),
        command=citation.command(run),
        environment=citation.environment(run),
    )


def _short(run: Run) -> str:
    methods = list(dict.fromkeys(each.method for each in run.plan.ladders))
    by = ", ".join(methods) if len(methods) <= _FEW else f"{len(methods)} methods and controls"
    return "; ".join(filter(None, (rows.subject(run), by, ", ".join(run.plan.runtimes))))


def _absent(run: Run) -> Iterator[str]:
    """Why values are missing, a line per reason."""
    for panel in rows.panels(run):
        for keys, names, reason in rows.absences(panel, _NULLS):
            yield f"{keys.replace('latency_ns', 'latency')} of {names} on {panel.runtime} {panel.precision}: {reason}"
        yield from basis.unsaved(panel)
    yield from basis.left_out(run)


def kinds(runs: Sequence[Run], table: Sequence[Placed]) -> tuple[Kind, ...]:
    """Return all findings by kind, those across runs too: errors first, then in the order in which `show` has them."""
    groups: dict[tuple[str, str], list[Told]] = {}
    for each in sorted(_found(runs, table), key=lambda each: _SEVERE.index(each.severity)):
        groups.setdefault((each.severity, each.kind), []).append(each)
    return tuple(
        Kind(kind, severity, KINDS[kind].says if kind in KINDS else "", first, tuple(others))
        for (severity, kind), (first, *others) in groups.items()
    )


def _found(runs: Sequence[Run], table: Sequence[Placed]) -> Iterator[Told]:
    for n, finding in enumerate(findings.across(runs) if len(runs) > 1 else ()):
        yield _told(finding, f"finding-across-{n}", "", None, table)
    for number, run in enumerate(runs):
        mine = [each for each in table if each.run_number == number]
        for letter, finding in rows.lettered(run.findings):
            yield _told(finding, f"finding-{number}-{letter}", letter, run, mine)


def _told(finding: Finding, anchor: str, letter: str, run: Run | None, table: Sequence[Placed]) -> Told:
    return Told(
        anchor=anchor,
        letter=letter,
        kind=finding.kind,
        severity=finding.severity,
        where=", ".join(filter(None, (run.device if run else "all runs", where(finding)))),
        cause=finding.cause,
        advice=finding.advice,
        numbers=_numbers(finding, table),
    )


def _numbers(finding: Finding, table: Sequence[Placed]) -> tuple[int, ...]:
    """The rows that a finding names; one of a whole job or run is about all of its rows."""
    named = tuple(each.number for each in table if each.row.case_id in finding.cases)
    return named or tuple(each.number for each in table)


def heading(runs: Sequence[Run]) -> tuple[str, str]:
    """Say what the page is of: a title, and how much there is."""
    subjects = "; ".join(dict.fromkeys(rows.subject(run) for run in runs))
    devices = list(dict.fromkeys(run.device for run in runs))
    cases = sum(len(run.cases) for run in runs)
    days = sorted({run.created[:10] for run in runs})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    many = f"{count(len(runs), 'run')}, {count(cases, 'row')}, {', '.join(devices)}, {when}"
    return subjects, many
