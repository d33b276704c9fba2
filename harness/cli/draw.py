"""`harness plot`: figures of runs. A kind of figure is a line of the table of kinds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.cases import tell_reading
from harness.cli.guard import Json, Results, first_line, guarded, print_json, without_escapes
from harness.cli.look import load
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.store import Frames

Drawn = tuple[Path, ...]  # the figure and its points


@dataclass(frozen=True)
class Asked:
    """What one call asks for: folders of runs, where to draw, and what belongs to one kind alone."""

    folders: Sequence[Path]
    published: str | None = None
    block: int | None = None


def _depth(asked: Asked, out: Path) -> Drawn:
    from harness import report

    table = report.published(asked.published) if asked.published else None
    return report.draw(load(asked.folders[0]), out, table)


def _several(name: str) -> Callable[[Asked, Path], Drawn]:
    """A figure of one or several runs."""

    def draw(asked: Asked, out: Path) -> Drawn:
        from harness import report

        drawn: Drawn = getattr(report, name)([load(folder) for folder in asked.folders], out)
        return drawn

    return draw


def _one(name: str) -> Callable[[Asked, Path], Drawn]:
    """A figure of one run."""

    def draw(asked: Asked, out: Path) -> Drawn:
        from harness import report

        drawn: Drawn = getattr(report, name)(load(asked.folders[0]), out)
        return drawn

    return draw


def _power(asked: Asked, out: Path) -> Drawn:
    from harness import report

    return report.draw_power(_frames(asked), out, 1 if asked.block is None else asked.block)


def _distribution(asked: Asked, out: Path) -> Drawn:
    from harness import report

    return report.draw_distribution(_frames(asked), out)


def _frames(asked: Asked) -> Frames:
    from harness import store

    store.require_raw(asked.folders[0])
    return replace(store.frames(asked.folders[0]), run=load(asked.folders[0]))


KINDS: Mapping[str, Callable[[Asked, Path], Drawn]] = {
    "depth": _depth,
    "devices": _several("draw_devices"),
    "accuracy": _several("draw_accuracy"),
    "roofline": _one("draw_roofline"),
    "operators": _one("draw_operators"),
    "distribution": _distribution,
    "sustained": _one("draw_soak"),
    "energy": _one("draw_energy"),
    "power": _power,
}
HISTORY = "history"  # of cases of all runs that an expression picks, not of runs that are named
_MANY = ("devices", "accuracy")  # kinds that show several runs

RunWords = Annotated[
    list[str] | None,
    typer.Argument(
        help="A run's id, the start of one, or its folder; several with --kind devices or accuracy. "
        "Without: the newest, else an example."
    ),
]
OutFile = Annotated[
    Path | None, typer.Option(help="PNG, SVG or PDF by its ending; by default in the run's folder.", metavar="FILE")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(plot))


def plot(
    runs: RunWords = None,
    out: OutFile = None,
    published: Annotated[str | None, typer.Option(help="Draw a paper's table beside it.", metavar="easier")] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="Depth against latency; device beside device; accuracy; useful MACs against latency; operators per rung; "
            "single inferences; latency under lasting load; energy; power over time; latency over many runs.",
            metavar="|".join((*KINDS, HISTORY)),
        ),
    ] = "depth",
    block: Annotated[
        int | None,
        typer.Option(help="With --kind power: the block whose passes are drawn, else the first.", metavar="N"),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="With --kind history: cases of all runs, by an SQL expression, as harness show takes it.",
            metavar="EXPRESSION",
        ),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Draw depth against latency of a run, or another kind of figure; the plotted points as CSV beside it."""
    from harness import content, store

    content.require_known("kind of figure", kind, (*KINDS, HISTORY))
    words = list(dict.fromkeys(runs or ()))
    kind = _checked(kind, words, published, block, where)
    if kind == HISTORY:
        _drawn(_history(results, "true" if where is None else where, words, out), as_json)
        return
    folders = [store.find(results, word) for word in words or (None,)]
    first_line(f"drawing {', '.join(folder.name for folder in folders)}")  # matplotlib takes its time
    more = published or (str(block or 1) if kind == "power" else "")
    file = out or folders[0] / "plots" / f"{'-'.join(filter(None, (kind, more)))}.png"
    _drawn(KINDS[kind](Asked(folders, published, block), file), as_json)


def _history(results: Path, where: str, words: Sequence[str], out: Path | None) -> Drawn:
    """Draw cases of all runs over time; runs that cannot be read are named."""
    from harness import report, store

    if words:
        raise UsageError("--kind history: it shows cases of all runs, none by name", "Choose them with --where.")
    if out is None:
        raise UsageError("--kind history: it is of many runs and belongs into no run's folder", "Add --out FILE.")
    with store.search(results, where, tell_reading) as found:
        first_line(f"drawing {found.count} case{'s' * (found.count != 1)}")
        drawn: Drawn = report.draw_history(found.all(), out)
    for reason in found.damaged.values():  # they name the file
        print(f"left out: {without_escapes(reason)}", file=sys.stderr)
    return drawn


def _drawn(drawn: Drawn, as_json: bool) -> None:
    figure, points = drawn
    if as_json:
        print_json({"figure": str(figure), "points": str(points)})
    else:
        print(figure)


def _checked(kind: str, words: Sequence[str], published: str | None, block: int | None, where: str | None) -> str:
    """The kind that is drawn: depth of several runs is `devices`. Raises UsageError where an option belongs to another kind."""
    if block is not None and kind != "power":
        raise UsageError("--block: it chooses whose power is drawn", "Say --kind power, too.")
    if where is not None and kind != HISTORY:
        raise UsageError("--where: it chooses cases of all runs, drawn over time", "Say --kind history, too.")
    if published is not None and (kind != "depth" or len(words) > 1):
        raise UsageError(
            "--published: a paper's table stands beside --kind depth of one run only", "Drop one of the two."
        )
    if len(words) > 1 and kind == "depth":
        return "devices"
    if len(words) > 1 and kind not in (*_MANY, HISTORY):
        raise UsageError(
            f"--kind {kind}: it shows one run, not {len(words)}", f"Give one, or --kind {' or '.join(_MANY)}."
        )
    return kind
