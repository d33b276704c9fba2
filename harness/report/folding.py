"""What folding one network came to, for people: groups, what was left and why, costs before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.findings.views import count
from harness.records import Cost, FoldReport, Group
from harness.report.text import ASCII_HEAD, digits, printable, unfilled

_WHY = {"not chosen": "no activation was removed between them, and as one layer they would take more MACs"}
_LONGEST = 60  # characters of a group's kind


def show(report: FoldReport, console: Console) -> None:
    """Print a report: groups that were merged, what was left and why, costs before and after, the proof."""
    unfilled(console, lambda: _print(report, console))


def _print(report: FoldReport, console: Console) -> None:
    plain = not console.is_terminal or not console.encoding.startswith("utf")
    box = ASCII_HEAD if plain else SIMPLE_HEAD
    for line in _head(report):
        console.print(Text(printable(line)))
    merged = [group for group in report.groups if group.reason is None]
    if merged:
        console.print(_table(merged, box))
    for reason, paths in _by_reason(report.groups):
        console.print(Text(printable(f"left: {paths}: {reason}")))
    for formats, paths in _suffering(merged):
        console.print(Text(printable(f"likely to lose in {formats} by being merged: {paths}")))
    if not merged:
        console.print()
    for name, before, after in _costs(report.before, report.after):
        console.print(Text(f"{name:24}{before:>10} -> {after}"))
    for line in _tail(report):
        console.print(Text(printable(line)))


def _head(report: FoldReport) -> Iterator[str]:
    size = "x".join(map(str, report.input_shape))
    removed = f"{len(report.removed_names)} of {count(report.activations, 'activation')} removed"
    yield f"{report.model} on {size}: {removed}, padding {report.padding}, folded in {report.seconds:.1f} s"
    if report.padding == "moved":
        yield "With its padding moved the network is another function: fine-tune it before it is used."


def _table(groups: Iterable[Group], box: Box) -> Table:
    table = Table(box=box, pad_edge=False)
    for name, right in (
        ("group", False),
        ("what", False),
        ("form", False),
        ("layers", True),
        ("MMACs", True),
        ("weights, k", True),
    ):
        table.add_column(name, justify="right" if right else "left")
    for group in groups:
        macs = f"{digits(group.macs_before / 1e6)} -> {digits(group.macs_after / 1e6)}"
        weights = f"{digits(group.weights_before / 1e3)} -> {digits(group.weights_after / 1e3)}"
        table.add_row(group.path, _short(group.kind), group.form, str(len(group.layers)), macs, weights)
    return table


def _short(kind: str) -> str:
    """What a group is made of, cut in its middle where it is long."""
    return kind if len(kind) <= _LONGEST else f"{kind[: _LONGEST - 20]} ... {kind[-14:]}"


def _suffering(groups: Iterable[Group]) -> Iterator[tuple[str, str]]:
    """The groups whose merged weights some number formats hold worse than those of their layers, by these formats."""
    losing: dict[tuple[str, ...], list[str]] = {}
    for group in groups:
        losing.setdefault(group.suffers, []).append(group.path)
    yield from ((", ".join(formats), ", ".join(paths)) for formats, paths in losing.items() if formats)


def _by_reason(groups: Iterable[Group]) -> Iterator[tuple[str, str]]:
    """Each reason with the groups that it kept as they are."""
    reasons: dict[str, list[str]] = {}
    for group in groups:
        if group.reason is not None:
            reasons.setdefault(group.reason, []).append(group.path)
    for reason, paths in reasons.items():
        yield _WHY.get(reason, reason), ", ".join(paths)


def _costs(before: Cost, after: Cost) -> Sequence[tuple[str, str, str]]:
    def row(name: str, of: str, scale: float) -> tuple[str, str, str]:
        return name, digits(getattr(before, of) / scale), digits(getattr(after, of) / scale)

    return (
        ("depth", str(before.depth), str(after.depth)),
        row("MMACs", "macs", 1e6),
        row("MMACs, useful", "macs_useful", 1e6),
        row("weights, MB", "weight_bytes", 1e6),
        row("activations, MB", "activation_bytes", 1e6),
    )


def _tail(report: FoldReport) -> Iterator[str]:
    what = "proved equal" if report.policy == "exact" else "NOT EQUAL, off by"
    yield f"{what}: {report.fold_error_f64:.0e} in float64, {report.fold_error:.0e} in float32 (relative, largest)"
    yield from _predictions(report)
    if report.fixed_size:
        yield f"for inputs of {'x'.join(map(str, report.input_shape))} alone: what was merged counts on that size"
    for file in report.files:
        yield f"wrote   {file}"


def _predictions(report: FoldReport) -> Iterator[str]:
    """What became of the predictions for the example's entries (noise), in float32."""
    if not report.flips and report.examples:
        among = f"all {report.examples} examples" if report.examples > 1 else "the one example"
        yield f"predictions: the same for {among}"
    for flip in report.flips:
        yield f"prediction {flip.example} differs: its two best outputs are {flip.margin:.1e} apart, off by {flip.error:.1e}"
