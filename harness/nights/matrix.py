"""A Matrix and its devices -> rows, each with the plan that carries it out. What a run would refuse is refused, with its line.

blocks -> every combination -> exclusions -> single rows besides -> overrides -> each row once -> a canary per device -> plans
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from harness import plan
from harness.errors import InventoryError, UsageError
from harness.plan import Words
from harness.planner import stored
from harness.records import Device, Plan
from harness.records.nights import Block, Matrix, MatrixRow, Pick

MOST = 5000  # rows of a matrix: whoever has more has a slip in a list, and would wait for minutes to see it
_LISTS = ("recipe", "option")  # words that are tuples


@dataclass(frozen=True)
class Laid:
    """A row of the matrix and its device; the plan that carries it out, or why it is excluded. `place` is for errors."""

    row: MatrixRow
    device: Device
    place: str
    plan: Plan | None = None
    excluded: str = ""


def lay(matrix: Matrix, devices: Sequence[Device], results: Path = Path("results")) -> tuple[Laid, ...]:
    """Return all rows, device by device: the canary first, then by priority, each key once.

    Rows of the method `planned` that name no plans take those that `harness plan` kept in `results` of their device.

    Raises InventoryError: no rows at all or far too many, one that cannot be run on its device, an exclusion or override that no
    row is like.
    """
    by_name = {device.name: device for device in devices}
    _require_few(matrix)
    rows = [*_excluded(matrix, [row for block in matrix.blocks for row in _combined(block, by_name)])]
    rows += [row for block in matrix.includes for row in _combined(block, by_name)]
    rows = [*_once(_overridden(matrix, rows))]
    if not rows:
        raise InventoryError(f"{matrix.place}: has no rows", "Say some under `matrix:` (docs/inventory.md).")
    used = [device for device in devices if any(row.device == device and not row.excluded for row in rows)]
    canaries = [_canary(matrix.canary, device) for device in used if not device.virtual]
    place = {device.name: n for n, device in enumerate(devices)}
    ordered = sorted(
        (*canaries, *rows),
        key=lambda each: (place[each.device.name], bool(each.excluded), not each.row.canary, -each.row.priority),
    )
    return tuple(each if each.excluded else _planned(each, results) for each in ordered)


def _require_few(matrix: Matrix) -> None:
    """Raise InventoryError, with the block that makes it so, for more rows than anybody measures."""
    total = 0
    for each in matrix.blocks:
        parts = (each.devices, each.models, each.methods, each.runtimes or (None,), each.precisions)
        count = math.prod(map(len, (*parts, each.threads, each.power_modes)))
        total += count
        if total > MOST:
            what = f"{each.place}: {count} rows, {total} with those above; a matrix has {MOST} at most"
            raise InventoryError(what, "Shorten a list: every combination is a row.")


def _combined(block: Block, devices: Mapping[str, Device]) -> Iterator[Laid]:
    """Every combination of a block."""
    parts = (block.devices, block.models, block.methods, block.runtimes or (None,), block.precisions)
    for name, model, method, runtime, precision, threads, mode in product(*parts, block.threads, block.power_modes):
        device = devices[name]
        named = (name, model, method, runtime or device.runtimes[0], precision, threads, mode, block.priority)
        yield Laid(MatrixRow(*named, words=block.words), device, block.place)


def _canary(block: Block, device: Device) -> Laid:
    (made,) = _combined(replace(block, devices=(device.name,)), {device.name: device})
    return replace(made, row=replace(made.row, canary=True))


def _excluded(matrix: Matrix, rows: Iterable[Laid]) -> Iterator[Laid]:
    """The rows; those that are excluded with the reason of the first exclusion that they are like."""
    unused = {each.pick.place: each for each in matrix.excludes}
    for laid in rows:
        like = [each for each in matrix.excludes if _is_like(each.pick, laid.row)]
        for each in like:
            unused.pop(each.pick.place, None)
        yield replace(laid, excluded=like[0].reason) if like else laid
    for place in unused:
        raise InventoryError(f"{place}: no row of the matrix is like this: it excludes nothing", "Mend or drop it.")


def _overridden(matrix: Matrix, rows: Sequence[Laid]) -> list[Laid]:
    made = list(rows)
    for each in matrix.overrides:
        like = [n for n, laid in enumerate(made) if _is_like(each.pick, laid.row)]
        if not like:
            what = f"{each.pick.place}: no row of the matrix is like this: it overrides nothing"
            raise InventoryError(what, "Mend or drop it.")
        for n in like:
            row = made[n].row
            priority = row.priority if each.priority is None else each.priority
            row = replace(row, priority=priority, words={**row.words, **each.words})
            made[n] = replace(made[n], row=row, place=each.pick.place if each.words else made[n].place)
    return made


def _is_like(pick: Pick, row: MatrixRow) -> bool:
    pairs: tuple[tuple[Sequence[Any], Any], ...] = (
        (pick.devices, row.device),
        (pick.models, row.model),
        (pick.methods, row.method),
        (pick.runtimes, row.runtime),
        (pick.precisions, row.precision),
        (pick.threads, row.threads),
        (pick.power_modes, row.power_mode),
    )
    return all(not wanted or value in wanted for wanted, value in pairs)


def _once(rows: Iterable[Laid]) -> Iterator[Laid]:
    """Each row once, where it stands first: measured if anything says so, at the highest priority that is said."""
    found: dict[str, Laid] = {}
    for laid in rows:
        before = found.get(laid.row.key)
        if before is None or (before.excluded and not laid.excluded):
            found[laid.row.key] = laid
        elif laid.row.priority > before.row.priority and bool(laid.excluded) == bool(before.excluded):
            found[laid.row.key] = replace(before, row=laid.row)
    yield from found.values()


def _planned(laid: Laid, results: Path) -> Laid:
    """The row with its plan. Raises InventoryError, with the line that the row comes from."""
    try:
        ((_, made),) = stored.resolve(plan.on([laid.device], words(laid.row)), results)
    except UsageError as error:
        what = f"{laid.place}: {laid.row.title} on {laid.row.device}: {error.message}"
        way = "Mend it, or exclude the row and say why." if not laid.row.canary else "Name another canary."
        raise InventoryError(what, "\n".join(filter(None, (error.hint, way)))) from None
    return replace(laid, plan=made)


def words(row: MatrixRow) -> Words:
    """Return what `harness run` would be told for a row."""
    said: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in row.words.items()}
    if "data" in said:
        said["data"] = Path(said["data"])
    own = ("model", "method", "runtime", "precision", "threads", "power_mode")
    return Words(row.device, **{**said, **{name: getattr(row, name) for name in own}})
