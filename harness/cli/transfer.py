"""`harness plan --transfer`: what plans cost where they were not made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.guard import console, print_json

if TYPE_CHECKING:
    from harness.planner.folder import Asked
    from harness.planner.goals import Goal
    from harness.planner.transfer import Carried
    from harness.records import Device


def carry_each(
    asked: Sequence[tuple[Device, Asked]], goal: Goal, budget_s: float | None, again: bool, results: Path, as_json: bool
) -> None:
    """Plan for each setting, measure each plan on all, draw and print the matrix. Exit code 1 where one is short of a target."""
    from harness import report
    from harness.planner import document, transfer
    from harness.progress import narrate
    from harness.records.transferred import Transfer
    from harness.report import regrets

    with narrate() as tell:
        found = transfer.transfer(results, asked, goal, tell, budget_s, again)
    figure = found.folder / "plots" / "transfer.png"
    if not regrets.is_plotted(found.transfer, figure):
        report.draw_transfer(found.transfer, figure, also=(".svg",))
    if as_json:
        print_json(document.plain(Transfer, found.transfer))
    else:
        _show(found, figure)
    if found.short:
        raise typer.Exit(1)


def _show(found: Carried, figure: Path) -> None:
    from harness.report import transfers

    short = [f"no plan reaches the target on {transfers.name(each)}: its fastest is taken" for each in found.short]
    looked_up = ["nothing measured: all of it was known"] if found.looked_up else []
    transfers.show(found.transfer, (*found.said, *short, *looked_up), console())
    print(f"\ntransfer {found.folder}")
    print(f"figure {figure}")
