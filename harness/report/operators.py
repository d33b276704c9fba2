"""What devices really ran, operator by operator, beside rung 0's: `harness show --profile`, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.text import Text

from harness.errors import UsageError
from harness.findings import causes, changes
from harness.findings.changes import Change
from harness.findings.views import count
from harness.records import Group, Operation, Run, Summary
from harness.report import rows
from harness.report.columns import change_columns, laid, operator_columns, signed
from harness.report.text import Glyphs, boxed, digits, printable, unfilled

SHOWN = 0.01  # of the time of all operators: those below stand in one line together


def show_operators(run: Run, console: Console, rung: int | None = None) -> None:
    """Print the operators of each ladder's reference and of its rung `rung` (by default its fastest and its slowest).

    Raises UsageError where no ladder has such a rung.
    """
    _require(run, rung)
    unfilled(console, lambda: _print(run, console, rung))


def operators_json(run: Run, rung: int | None = None) -> list[dict[str, Any]]:
    """Return, for each row with operators (of `rung` alone, if given), the operators and what became of rung 0's.

    Raises UsageError where no ladder has such a rung.
    """
    _require(run, rung)
    return [
        _row_json(run, name, ladder[0], row)
        for panel in rows.panels(run)
        for name, ladder in (*panel.ladders.items(), ("controls", panel.controls))
        for row in ladder
        if row.case_id in run.operators and (rung is None or row.rung == rung)
    ]


def _row_json(run: Run, ladder: str, base: Summary, row: Summary) -> dict[str, Any]:
    named = {"case_id": row.case_id, "ladder": ladder, "rung": row.rung, "model": row.model}
    where = {"runtime": row.runtime, "precision": row.precision}
    told = [asdict(each) for each in run.operators[row.case_id or ""]]
    against = [asdict(each) for each in _changes(run, base, row)]
    return {**named, **where, "operators": told, "changes": against}


def _require(run: Run, rung: int | None) -> None:
    known = sorted({row.rung for row in run.cases if row.rung is not None})
    if rung is not None and rung not in known:
        last = f"0 to {known[-1]}" if known else "none"
        raise UsageError(f"--rung {rung}: this run has no such rung", f"Its rungs: {last}.")


def chosen(ladder: Sequence[Summary], rung: int | None) -> tuple[Summary, ...]:
    """The rows of a ladder to look at: the reference, and the rung that is asked for, or the fastest and the slowest."""
    others = [row for row in ladder if row.rung != 0]
    if rung is not None:
        wanted = [row for row in others if row.rung == rung]
    else:
        timed = [(row.speedup.ratio, row) for row in others if row.speedup]
        ends = [choose(timed, key=lambda pair: pair[0])[1] for choose in (max, min)] if timed else others[-1:]
        wanted = list({row.rung: row for row in ends}.values())
    return (*(row for row in ladder if row.rung == 0), *wanted)


def _changes(run: Run, base: Summary, row: Summary) -> tuple[Change, ...]:
    """What became of the reference's operators; nothing where one of both is unknown, or a row is the reference itself."""
    before, after = (run.operators.get(each.case_id or "", ()) for each in (base, row))
    if base.rung != 0 or row is base or not before or not after:
        return ()
    return changes.compare(before, after, _groups(run, row))


def _groups(run: Run, row: Summary) -> tuple[Group, ...]:
    found = (rung for ladder in run.ladders if ladder.name == row.ladder for rung in ladder.rungs)
    return next((rung.groups for rung in found if rung.rung == row.rung), ())


# --- printing ------------------------------------------------------------------------------------------------------


def _print(run: Run, console: Console, rung: int | None) -> None:
    glyphs, box = boxed(console)
    for line in _ceilings(run):
        console.print(Text(printable(line)))
    for panel in rows.panels(run):
        for name, ladder in panel.ladders.items():
            console.print()
            console.print(Text(printable(f"{panel.title}, ladder {name}"), style="bold"))
            for row in chosen(ladder, rung):
                _print_row(run, console, ladder[0], row, glyphs, box)


def _print_row(run: Run, console: Console, base: Summary, row: Summary, glyphs: Glyphs, box: Box) -> None:
    console.print()
    told = run.operators.get(row.case_id or "", ())
    console.print(Text(printable(_heading(row)), style="bold"))
    for line in _story(row):
        console.print(Text(printable(line), style="dim"))
    if not told:
        return
    shown = _worth(told)
    console.print(laid(operator_columns(shown, glyphs), box, console.width))
    if left := _rest(told, shown):
        console.print(Text(left, style="dim"))
    found = _changes(run, base, row)
    if found:
        _print_changes(console, found, told, glyphs, box)


def _print_changes(
    console: Console, found: Sequence[Change], told: Sequence[Operation], glyphs: Glyphs, box: Box
) -> None:
    least = SHOWN * sum(each.time_ns or 0 for each in told)
    worth: list[Change] = []
    others: list[Change] = []
    for each in found:
        told_of = each.moved or abs(each.gained_ns) > least or (each.layer and each.what != "same")
        (worth if told_of else others).append(each)
    console.print()
    console.print(
        Text("Against rung 0:" if worth else "Against rung 0: no layer changed by more than 1 % of the time.")
    )
    if worth:
        console.print(laid(change_columns(worth, glyphs), box, console.width))
    if worth and others:
        gained = sum(each.gained_ns for each in others)
        console.print(Text(f"{count(len(others), 'other')}: {signed(gained)} {glyphs.micro}", style="dim"))


def _ceilings(run: Run) -> Iterator[str]:
    for best in run.ceilings:
        threads = f"{best.threads} thread" + "s" * (best.threads != 1) + f" on CPUs {best.cpus}" * bool(best.cpus)
        if best.macs_per_s is None or best.bytes_per_s is None:
            yield f"Ceilings with {threads}: none, {best.reason}."
        else:
            yield (
                f"Ceilings with {threads}: {digits(best.macs_per_s / 1e9)} GMAC/s (a matrix product, float32), "
                f"{digits(best.bytes_per_s / 1e9)} GB/s (a copy); {best.made_with}."
                f"{' Somebody else used the processor meanwhile: nothing is judged by them.' * best.contended}"
            )


def _heading(row: Summary) -> str:
    depth = f", depth {row.depth}" if row.depth is not None else ""
    against = f", {row.speedup.verdict}" if row.speedup and row.speedup.verdict else ""
    latency = f", {digits(row.latency_ns.median / 1e6)} ms" if row.latency_ns else ""
    return f"rung {rows.title(row)}{depth}{latency}{against}"


def _story(row: Summary) -> Iterator[str]:
    """What a row's network came to as executed, a sentence each; why there is nothing."""
    made = row.executed
    if made is None:
        yield f"No operators: {row.reasons.get('executed', 'made by an older version')}."
        return
    said = [count(made.operators, "operator")]
    if made.macs is not None:
        ratio = f" ({made.macs_ratio:.3f} of the controller's count)" if made.macs_ratio is not None else ""
        said.append(f"{digits(made.macs / 1e6)} M MACs{ratio}")
    if made.macs_per_s is not None:
        said.append(f"{digits(made.macs_per_s / 1e9)} GMAC/s{_fraction(made.of_compute, ' of the ceiling')}")
    if made.bytes_per_s is not None:
        said.append(f"{digits(made.bytes_per_s / 1e9)} GB/s{_fraction(made.of_copy, ' of the ceiling')}")
    yield f"{', '.join(said)}."
    if made.macs_uncounted:
        yield f"MACs: {row.reasons.get('executed.macs', '')}."
    if made.operators_ns is None:
        yield f"No times: {row.reasons.get('executed.operators_ns', 'unknown')}."
    elif row.latency_ns:
        share = made.operators_ns / row.latency_ns.median
        timing = ": timing them takes longer than they do, nothing is judged by it" if share > causes.SWOLLEN else ""
        yield f"Operators take {share:.0%} of the latency (medians of {made.inferences}){timing}."
    if made.contended:
        yield "Somebody else used the processor while the operators were timed: nothing is judged by their times."
    counted = {name: value for name, value in made.counters.items() if value is not None}
    if counted:
        yield f"Per inference: {', '.join(f'{digits(value)} {name}' for name, value in counted.items())}."


def _fraction(value: float | None, of: str) -> str:
    return "" if value is None else f" ({value:.0%}{of})"


def _worth(told: Sequence[Operation]) -> list[Operation]:
    """Operators worth a line: by their time, or where there is none, those that multiply."""
    return [each for each in told if (each.share or 0.0) >= SHOWN or (each.time_ns is None and each.macs != 0)]


def _rest(told: Sequence[Operation], shown: Sequence[Operation]) -> str:
    left = len(told) - len(shown)
    if not left:
        return ""
    share = sum(each.share or 0.0 for each in told) - sum(each.share or 0.0 for each in shown)
    timed = f", {share:.1%} of the time together" if any(each.time_ns is not None for each in told) else ""
    return f"and {left} more{timed}"
