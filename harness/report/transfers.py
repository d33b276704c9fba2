"""What plans cost where they were not made, in words and as a table: settings are named by what they differ in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.findings.views import count, series
from harness.records.transferred import Regret, Setting, Transfer
from harness.report.text import boxed, printable, unfilled, with_interval

_FACTS = ("device", "runtime", "precision", "threads")


def show(transfer: Transfer, said: Sequence[str], console: Console) -> None:
    """Print the matrix, and in words what it means; `said`: what is to be known of the plans in it."""
    unfilled(console, lambda: _print(transfer, said, console))


def _print(transfer: Transfer, said: Sequence[str], console: Console) -> None:
    many, alike = len(transfer.settings), shared(transfer.settings)
    where = f" ({alike})" if alike else ""
    console.print(Text(printable(f"{transfer.model}: plans of {many} settings{where}, each measured on all of them")))
    console.print(_table(transfer, console))
    for line in (*told(transfer), *said):
        console.print(Text(printable(line)))


# --- names ---------------------------------------------------------------------------------------------------------


def name(setting: Setting) -> str:
    """All that a setting is, in words."""
    return " ".join(_fact(setting, fact) for fact in _FACTS)


def _fact(setting: Setting, fact: str) -> str:
    return count(setting.threads, "thread") if fact == "threads" else str(getattr(setting, fact))


def names(settings: Sequence[Setting], between: str = " ") -> list[str]:
    """Settings by what they differ in."""
    return [between.join(_fact(each, fact) for fact in _FACTS if _differs(settings, fact)) for each in settings]


def shared(settings: Sequence[Setting]) -> str:
    """What all settings have in common."""
    return " ".join(_fact(settings[0], fact) for fact in _FACTS if not _differs(settings, fact))


def _differs(settings: Sequence[Setting], fact: str) -> bool:
    return len({getattr(each, fact) for each in settings}) > 1


# --- in words ------------------------------------------------------------------------------------------------------


def untold(regret: Regret) -> bool:
    """Whether a foreign plan was measured and its verdict calls it neither faster nor slower than the one made there."""
    is_other = regret.low is not None or regret.verdict != "same"
    return regret.ratio is not None and is_other and regret.verdict not in ("faster", "slower")


def told(transfer: Transfer) -> Iterator[str]:
    """What the matrix means, that which costs most first; of settings with the same plan the first stands for all."""
    called = names(transfer.settings)
    foreign = [each for each in transfer.regrets if each.of != each.on]
    yield from _unfolded(transfer, called)
    yield from (f"the same network: the plans of {alike}" for alike in _alike(called, foreign))
    first = [each for each in foreign if transfer.plans.index(transfer.plans[each.of]) == each.of]
    yield from _costs(sorted(first, key=lambda each: -(each.ratio or 0.0)), called)
    near = [f"{called[each.of]} on {called[each.on]} {_ratio(each)}" for each in first if untold(each)]
    if near:
        yield f"not told apart from the plan made there: {', '.join(near)}"
    for each in first:
        if each.failure:
            yield f"the plan made for {called[each.of]} was not measured on {called[each.on]}: {each.failure}"


def _alike(called: Sequence[str], foreign: Sequence[Regret]) -> Iterator[str]:
    """Settings whose plans come to the same wherever they were measured, then pairs of which that is so on one alone."""
    same = {(each.of, each.on) for each in foreign if each.verdict == "same" and each.low is None}
    groups: list[list[int]] = []
    for place in range(len(called)):
        home = [group for group in groups if all({(place, at), (at, place)} <= same for at in group)]
        home[0].append(place) if home else groups.append([place])
    yield from (series([called[place] for place in group]) for group in groups if len(group) > 1)
    for of, on in sorted(same):
        if (on, of) not in same:
            yield f"{called[of]} and {called[on]} (on {called[on]})"


def _unfolded(transfer: Transfer, called: Sequence[str]) -> Iterator[str]:
    stay = [each for each, plan in zip(called, transfer.plans, strict=True) if not plan]
    if stay:
        yield f"nothing is folded for {', '.join(stay)}: no plan surely gained there"


def _costs(ranked: Sequence[Regret], called: Sequence[str]) -> Iterator[str]:
    """What surely costs and what surely gains, by the verdict; that nothing that was measured does."""
    for each in ranked:
        if each.verdict == "slower":
            yield f"the plan made for {called[each.of]} costs {called[each.on]} {_ratio(each)}"
        elif each.verdict == "faster":
            yield f"the plan made for {called[each.of]} is faster on {called[each.on]} than the one made there: {_ratio(each)}"
    known = [each for each in ranked if each.ratio is not None]
    if known and not any(each.verdict == "slower" for each in known):
        whole = len(known) == len(ranked)
        yield f"no plan {'' if whole else 'that was measured '}surely costs another setting anything"


def _ratio(regret: Regret) -> str:
    return f"{regret.ratio:.2f}x" + ("" if regret.low is None else f" [{regret.low:.2f}, {regret.high:.2f}]")


# --- the matrix ----------------------------------------------------------------------------------------------------


def _table(transfer: Transfer, console: Console) -> Table:
    """A row per setting that was measured on, a column per plan: settings with the same plan share one."""
    glyphs, box = boxed(console)
    table = Table(box=box, pad_edge=False)
    called = names(transfer.settings)
    plans = [*dict.fromkeys(transfer.plans)]
    table.add_column("measured on", no_wrap=True)
    for plan in plans:
        whose = [each for each, own in zip(called, transfer.plans, strict=True) if own == plan]
        table.add_column(f"{_heading(whose)}\n{count(len(plan), 'fold')}", justify="right")
    found = {(each.of, each.on): _cell(each, glyphs.null) for each in transfer.regrets}
    for on, label in enumerate(called):
        table.add_row(label, *(found[transfer.plans.index(plan), on] for plan in plans))
    return table


def _heading(whose: Sequence[str]) -> str:
    """Of which settings a plan is."""
    return f"plan of {whose[0]}" + (f" and {count(len(whose) - 1, 'other')}" if len(whose) > 1 else "")


def _cell(regret: Regret, null: str) -> str:
    if regret.ratio is None:
        return null
    return with_interval(regret.ratio, regret.low, regret.high, digits=lambda value: f"{value:.2f}")
