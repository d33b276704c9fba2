"""What `harness plan` found, for people: the front as a table, the chosen plan in words, what noise hides, the next move."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.findings.views import count
from harness.records.planned import FoldingPlan, Option, Planned
from harness.report import gained
from harness.report.text import COLOURS, boxed, digits, printable, thousandths, unfilled, with_interval

_NAMED = 2  # options that a row names, before the rest is counted
_COLUMNS = (("plan", True), ("folded", False), ("removed", True), ("price", True), ("predicted", True))
_MEASURED = (("measured", True), ("off", True), ("verdict", False))


def show(planned: Planned, said: Sequence[str], noise: str, console: Console, where: Sequence[str] = ()) -> None:
    """Print a plan; `said`: where its numbers come from; `noise`: what the device cannot tell apart.

    `where`: words of the command that say where it lies, which the next one needs, too.
    """
    unfilled(console, lambda: _print(planned, said, noise, console, where))


def show_options(listing_options: Sequence[Option], console: Console) -> None:
    """Print what may be folded, with MACs and weights before and after."""
    unfilled(console, lambda: console.print(_options(listing_options, console)))


def _print(planned: Planned, said: Sequence[str], noise: str, console: Console, where: Sequence[str]) -> None:
    for line in (_head(planned), *said):
        console.print(Text(printable(line)))
    if not planned.listing.options:
        console.print(Text(_nothing(planned)))
        return
    if planned.front:
        console.print(_front(planned, console))
        for line in _failures(planned.front):
            console.print(Text(printable(line)))
        shown = planned.front[_shown(planned)]
        for line in shown.words:
            console.print(Text(printable(line)))
    else:
        console.print(Text(f"No option surely gains: {planned.asked['model']} stays as it is on {planned.device}."))
    for gain in planned.gains:
        if gain.failure is not None:
            console.print(Text(printable(f"{gain.option} failed: {gain.failure}")))
    console.print(Text(printable(noise)))
    if planned.front:
        console.print(Text(printable(f"next: {next_move(planned, where)}")))


def _head(planned: Planned) -> str:
    asked, reference = planned.asked, planned.reference_ns
    where = f"{asked['runtime']} {asked['precision']}, {count(asked['threads'], 'thread')}, batch {asked['batch']}"
    whole = "" if reference is None else f"; unfolded {digits(reference / 1e6)} ms"
    return f"{asked['model']} on {planned.device}: {where}{whole}"


def _nothing(planned: Planned) -> str:
    forms = ", ".join(planned.asked["forms"])
    reasons = "; ".join(dict.fromkeys(reason.rstrip(".") for reason in planned.listing.left.values()))
    return (
        f"{planned.asked['model']} has nothing to fold in the forms {forms}{f' ({reasons})' if reasons else ''}: "
        "it stays as it is, nothing was measured."
    )


def _shown(planned: Planned) -> int:
    """The plan whose words are told: the chosen one, else the fastest that was measured, else the last."""
    if planned.chosen is not None:
        return planned.chosen
    measured = [(plan.verified.speedup.ratio, place) for place, plan in enumerate(planned.front) if plan.verified]
    return max(measured)[1] if measured else len(planned.front) - 1


# --- the front -----------------------------------------------------------------------------------------------------


def _front(planned: Planned, console: Console) -> Table:
    glyphs, box = boxed(console)
    table = Table(box=box, pad_edge=False)
    for name, right in (*_COLUMNS, *_MEASURED):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for place, plan in enumerate(planned.front):
        mark = "*" if place == planned.chosen else ""
        cells = (f"{mark}{place + 1}", _folded(plan), _removed(planned, plan), digits(plan.price), _predicted(plan))
        table.add_row(*cells, *_verified(plan, glyphs.null))
    return table


def _failures(front: Sequence[FoldingPlan]) -> Iterator[str]:
    for place, plan in enumerate(front, 1):
        if plan.failure is not None:
            yield f"plan {place} failed: {plan.failure}"


def _folded(plan: FoldingPlan) -> str:
    named = ", ".join(gained.short(name) for name in plan.options[:_NAMED])
    more = len(plan.options) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _removed(planned: Planned, plan: FoldingPlan) -> str:
    return f"{len(plan.removed)}/{len(planned.listing.activations)}"


def _predicted(plan: FoldingPlan) -> str:
    found = plan.predicted
    return with_interval(found.speedup, found.speedup_low, found.speedup_high, digits=thousandths)


def _verified(plan: FoldingPlan, null: str) -> tuple[str, str, Text]:
    found = plan.verified
    if found is None:
        return null, null, Text("failed")
    ratio, verdict = found.speedup, found.speedup.verdict or "unclear"
    measured = with_interval(ratio.ratio, ratio.low, ratio.high, digits=thousandths)
    return measured, f"{100 * found.error:+.1f} %", Text(verdict, style=COLOURS[verdict])


def next_move(planned: Planned, where: Sequence[str] = ()) -> str:
    """The command that trains the plans of the front and measures them; `where` as of `show`."""
    asked = planned.asked
    words = ["harness", "run", "--method", "planned", "--device", planned.device, "--model", asked["model"]]
    usual = {"data": None, "precision": "fp32", "batch": 1}
    for name in ("task", "data", "runtime", "precision", "threads", "batch"):
        if name not in usual or asked[name] != usual[name]:
            words += [f"--{name}", str(asked[name])]
    words += [word for key, value in asked["options"].items() for word in ("--option", f"{key}={value}")]
    words += ["--tune", ",".join(asked["tune"])] if asked.get("tune") else []
    return shlex.join([*words, *where])


# --- options -------------------------------------------------------------------------------------------------------


def _options(options: Sequence[Option], console: Console) -> Table:
    _, box = boxed(console)
    table = Table(box=box, pad_edge=False)
    for name, right in (("option", False), ("removed", True), ("MMACs", True), ("weights, k", True)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in _option_rows(options):
        table.add_row(*row)
    return table


def _option_rows(options: Sequence[Option]) -> Iterator[tuple[str, str, str, str]]:
    for option in options:
        macs = f"{digits(option.macs_before / 1e6)} -> {digits(option.macs_after / 1e6)}"
        weights = f"{digits(option.weights_before / 1e3)} -> {digits(option.weights_after / 1e3)}"
        yield option.name, str(len(option.removed)), macs, weights
