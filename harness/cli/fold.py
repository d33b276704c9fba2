"""`harness fold`: one network by itself, without a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.guard import Json, console, first_line, guarded, print_json
from harness.errors import StoreError, UsageError

if TYPE_CHECKING:
    from harness.records import FoldReport, FoldRequest

_SUFFIXES = (".pt2", ".onnx")


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(fold))


def fold(
    network: Annotated[str, typer.Argument(help="A model, or a file with a model's weights (a state_dict).")],
    remove: Annotated[
        str, typer.Option(help="Activations to remove, or many at once.", metavar="NAMES|mergeable|all|none")
    ],
    model: Annotated[str | None, typer.Option(help="Whose weights the file holds: see `harness models`.")] = None,
    task: Annotated[str | None, typer.Option(help="Gives classes and size; by default the model's own.")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs, in place of the task's.", metavar="N")] = None,
    shape: Annotated[str | None, typer.Option(help="Of one input, in place of the task's.", metavar="C,H,W")] = None,
    padding: Annotated[
        str,
        typer.Option(
            help="Moved before each group's first layer: another function, to fine-tune after.", metavar="kept|moved"
        ),
    ] = "kept",
    policy: Annotated[
        str,
        typer.Option(help="approximate merges across padding too: wrong near the border.", metavar="exact|approximate"),
    ] = "exact",
    forms: Annotated[
        str | None,
        typer.Option(
            help="Across padding: ring or border. Under approximate: crop, kernels no larger than before (LayerFold's).",
            metavar="ring|border|crop",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write FILE.pt2 and FILE.onnx.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Remove activations, merge what nothing non-linear keeps apart, prove it equal, and say what was left and why."""
    first_line(f"folding {network}")
    from harness.compress import client
    from harness.progress import narrate

    request = _request(network, remove, model, task, classes, shape, padding, policy, forms, seed, out)
    with narrate() as tell:
        report = client.fold(request, tell)
    _show(report, as_json)


def _show(report: FoldReport, as_json: bool) -> None:
    from dataclasses import asdict

    from harness.report import folding

    if as_json:
        print_json(asdict(report))
    else:
        folding.show(report, console())


def _request(
    network: str,
    remove: str,
    model: str | None,
    task: str | None,
    classes: int | None,
    shape: str | None,
    padding: str,
    policy: str,
    forms: str | None,
    seed: int,
    out: Path | None,
) -> FoldRequest:
    from typing import cast

    from harness import content
    from harness.plan import split
    from harness.records import FoldRequest, Padding

    name, weights = _model(network, model)
    content.require_known("padding", padding, ("kept", "moved"))
    task = task or content.constant("model", name, "TASK")
    return FoldRequest(
        model=name,
        weights=weights,
        classes=classes if classes is not None else _classes(task),
        input_shape=_shape(shape, content.constant("task", task, "SHAPE")),
        remove=tuple(split(remove, "--remove")),
        padding=cast(Padding, padding),
        policy=policy,
        forms=tuple(split(forms, "--forms")) if forms is not None else (),
        seed=seed,
        out=None if out is None else str(_stem(out)),
    )


def _model(network: str, model: str | None) -> tuple[str, str | None]:
    """The model's name, and the file of its weights, if `network` is one."""
    from harness import content

    file = Path(network)
    if model is None:
        if file.is_file():
            raise UsageError(f"{network}: whose weights are these?", "Say it: --model NAME (see `harness models`).")
        content.find("model", network)
        return network, None
    content.find("model", model)
    if not file.is_file():
        raise UsageError(f"{network}: no such file", "Give the weights' file, or the model's name alone.")
    return model, str(file.resolve())


def _classes(task: str) -> int:
    from harness import content

    known: int | None = content.constant("task", task, "CLASSES")
    if known is None:
        raise UsageError(f"task {task} counts its classes in its folder", "Say how many there are: --classes N.")
    return known


def _shape(word: str | None, usual: Sequence[int]) -> tuple[int, ...]:
    """The sizes that a word gives, as many as the task has; without a word the task's own."""
    if word is None:
        return tuple(usual)
    try:
        sizes = tuple(int(part) for part in word.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != len(usual) or min(sizes) < 1:
        raise UsageError(f"--shape {word}: must be {len(usual)} sizes, such as {','.join(map(str, usual))}")
    return sizes


def _stem(out: Path) -> Path:
    """The path without the suffix, which both files get; in a folder that is there."""
    if not out.parent.is_dir():
        raise StoreError(f"--out {out}: {out.parent} is no folder", "Make it first.")
    return out.resolve().with_suffix("") if out.suffix in _SUFFIXES else out.resolve()
