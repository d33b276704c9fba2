"""What people and programs see of a run: tables, figures, JSON. Knows records and findings, nothing of how they came.

formatted(run, kind)    the table as LaTeX, CSV or Markdown
show(run, console)      the table, findings and reasons         markdown(run)     the same for a README
to_json(run)            the machine's contract                  published(name)   a paper's table
show_cases(rows, count, damaged, console)   cases of many runs
show_operators(run, console, rung), operators_json(run, rung)   what was executed, beside rung 0
draw_accuracy(runs, out) accuracy against latency, energy and depth
draw_devices(runs, out) latency against depth, device beside device, absolute and relative, with fitted ms per layer
draw_roofline(run, out) useful MACs against latency, under the device's ceiling
draw_operators(run, out) operators per rung as stacked bars
draw_distribution(frames, out) latencies of single inferences, process medians, tails
draw_soak(run, out)     latency under a lasting load, over time
draw_energy(run, out)   energy per inference against depth and against latency
draw_power(frames, out) power over time in one block, with the windows
draw_history(rows, out) latency over runs in time, device by device, of cases as `show_cases` takes them
draw_plan(planned, out) what was predicted of a plan beside what was measured, and what each fold gains
draw_transfer(transfer, out) what plans cost on settings that they were not made for, as a matrix
write_page(runs, out)   one HTML page of one or several runs
draw(run, out, table)   depth against latency, MACs and weights; its points as CSV beside it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records import Run
from harness.report.cases import show_cases
from harness.report.formats import FORMATS, formatted
from harness.report.machine import to_json
from harness.report.operators import operators_json, show_operators
from harness.report.papers import Published, published
from harness.report.table import markdown, show

if TYPE_CHECKING:
    from harness.records.planned import Planned
    from harness.records.transferred import Transfer
    from harness.report.history import Annotation
    from harness.store import Frames

__all__ = [
    "FORMATS",
    "Published",
    "draw",
    "draw_accuracy",
    "draw_devices",
    "draw_distribution",
    "draw_energy",
    "draw_history",
    "draw_operators",
    "draw_plan",
    "draw_power",
    "draw_roofline",
    "draw_soak",
    "draw_transfer",
    "formatted",
    "markdown",
    "operators_json",
    "published",
    "show",
    "show_cases",
    "show_operators",
    "to_json",
    "write_page",
]


def draw(run: Run, out: Path, published: Published | None = None, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw depth against latency as `out` (.png, .svg or .pdf) and write the points beside it; return both paths.

    `also` are further suffixes in which the same figure is saved; `published` is drawn in a panel of its own. Raises
    UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    from harness.report import depth  # matplotlib: only who draws waits for it

    return depth.draw(run, out, published, also)


def draw_accuracy(runs: Sequence[Run], out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw accuracy against latency, energy where there is any, and depth, of one or several runs; write the points beside it.

    Raises UsageError for another suffix, StoreError when nothing was trained or nothing can be written.
    """
    from harness.report import accuracy

    return accuracy.draw(runs, out, also)


def draw_devices(runs: Sequence[Run], out: Path) -> tuple[Path, ...]:
    """Draw latency against depth per device and runtime of one or several runs, and write the points beside it.

    Raises UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    from harness.report import devices

    return devices.draw(runs, out)


def draw_roofline(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw useful MACs against latency with the device's ceiling, where the run has one, and write the points beside it.

    Raises UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    from harness.report import roofline

    return roofline.draw(run, out)


def draw_operators(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw operators per rung as stacked bars by kind, and write the parts beside it.

    Raises UsageError for another suffix, StoreError when operators were not timed (it says how to) or nothing can be written.
    """
    from harness.report import stacks

    return stacks.draw(run, out)


def draw_distribution(frames: Frames, out: Path) -> tuple[Path, ...]:
    """Draw the latencies of single inferences, medians of processes and tails, and write what is plotted beside it.

    Raises UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    from harness.report import spread

    return spread.draw(frames, out)


def draw_soak(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw how a sustained regime was reached, latency and temperature over time, and write the points beside it.

    Raises UsageError for another suffix, StoreError when the run has no such curve or nothing can be written.
    """
    from harness.report import soak

    return soak.draw(run, out)


def draw_energy(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw energy per inference against depth and against latency, and write the points beside it.

    Raises UsageError for another suffix, StoreError when the run has no energy (it says why) or nothing can be written.
    """
    from harness.report import energy

    return energy.draw(run, out)


def draw_power(frames: Frames, out: Path, block: int = 1) -> tuple[Path, ...]:
    """Draw the power of one block's passes over time with their windows, and write the readings beside it.

    Raises UsageError for another suffix or a block that there is not, StoreError when there are no passes.
    """
    from harness.report import power

    return power.draw(frames, out, block)


def draw_history(
    rows: Iterable[Mapping[str, Any]], out: Path, annotations: Sequence[Annotation] = ()
) -> tuple[Path, ...]:
    """Draw the latencies of cases of many runs over time, a panel per device, and write the points beside it.

    `rows` are the store's (`store.search`), of few series; `annotations` (`report.history.Annotation`: a time, a text) are
    vertical lines. Raises UsageError for another suffix or too many series, StoreError when nothing is measured or written.
    """
    from harness.report import history

    return history.draw(rows, out, annotations)


def draw_plan(planned: Planned, out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw what was predicted of a plan's front beside what was measured, and what each option gains; write the points beside it.

    Raises UsageError for another suffix, StoreError when nothing was measured or nothing can be written.
    """
    from harness.report import planner

    return planner.draw(planned, out, also)


def draw_transfer(transfer: Transfer, out: Path, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw what plans cost on settings that they were not made for, and write the numbers beside it.

    Raises UsageError for another suffix, StoreError when nothing can be written.
    """
    from harness.report import regrets

    return regrets.draw(transfer, out, also)


def write_page(runs: Sequence[Run], out: Path) -> Path:
    """Write one self-contained HTML page of one or several runs and return its path.

    Raises UsageError for another suffix than .html or where it would be too large, StoreError when it cannot be written.
    """
    from harness.report import page

    return page.write(runs, out)
