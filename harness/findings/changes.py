"""Two profiles beside each other: what became of each layer of rung 0, and of each kind of operator that is no layer's. Pure.

A merged layer is put beside all layers that it stands for. Times are those of the operators, medians of one process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.records import Group, Operation

# A profile is one process, and equal processes differ by as much where their memory lies otherwise.
GREW = 1.10

What = Literal["grew", "shrank", "same", "vanished", "new", "unknown"]
Operations = Sequence[Operation]


@dataclass(frozen=True)
class Total:
    """Operators taken together; `names` in their order. Sums are None where one of them is not known."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    layouts: tuple[str, ...]
    dtypes: tuple[str, ...]
    macs: int | None
    bytes: int | None
    time_ns: int | None
    of_compute: float | None
    bounds: tuple[str, ...]

    @property
    def macs_per_s(self) -> float | None:
        """MACs over time; None where one of them is unknown or nothing."""
        return self.macs / (self.time_ns / 1e9) if self.macs and self.time_ns else None


@dataclass(frozen=True)
class Change:
    """A layer (or, without `layer`, all operators of a kind that are no layer's) before and after.

    `replaced`: the layers of rung 0 that it stands for. `moved`: which of kind, layout and dtype it has otherwise than
    all that it replaced.
    """

    layer: str | None
    kind: str
    replaced: tuple[str, ...]
    before: Total | None
    after: Total | None
    what: What
    moved: tuple[str, ...]

    @property
    def gained_ns(self) -> int:
        """Time after less time before, 0 where one is not known; what is new or vanished counts whole."""
        if self.what == "unknown":
            return 0
        before, after = (0 if total is None else total.time_ns for total in (self.before, self.after))
        return 0 if before is None or after is None else after - before


def compare(before: Operations, after: Operations, groups: Sequence[Group]) -> tuple[Change, ...]:
    """Return what became of rung 0's operators: the layers in the order in which they run now, then those that vanished,
    then the kinds of operators that are no layer's.

    A kind of which not as many operators found their layers before as after is compared as a whole.
    """
    before, after = _comparable(before, after)
    merged = {group.path: group.layers for group in groups if group.reason is None and group.layers}
    old, new = _by_layer(before), _by_layer(_merged(after, tuple(merged)))
    found = [_layer(layer, merged.get(layer, (layer,)), old, each) for layer, each in new.items()]
    stood_for = {name for change in found for name in change.replaced}
    gone = [_change(layer, (layer,), each, ()) for layer, each in old.items() if layer not in stood_for]
    return (*found, *gone, *_kinds(before, after))


def _merged(operators: Operations, paths: Sequence[str]) -> Operations:
    """Call what stands inside a merged module (a padding, then a convolution) by the module's path."""
    owners = {f"{path}.": path for path in paths}
    layers = {each.layer for each in operators if each.layer is not None}
    inside = {layer: path for layer in layers for prefix, path in owners.items() if layer.startswith(prefix)}
    return [replace(each, layer=inside[each.layer]) if each.layer in inside else each for each in operators]


def _comparable(before: Operations, after: Operations) -> tuple[Operations, Operations]:
    """Take the layers from all operators of a kind some of which, on one side alone, multiply for nobody knows which layer.

    Products of activations have no layers either, but they have none before and after.
    """
    stray = [Counter(each.kind for each in side if each.layer is None and each.macs != 0) for side in (before, after)]
    mixed = {kind for kind in stray[0] | stray[1] if stray[0][kind] != stray[1][kind]}
    old, new = ([replace(o, layer=None) if o.kind in mixed else o for o in side] for side in (before, after))
    return old, new


def total(operators: Iterable[Operation]) -> Total:
    """Return operators taken together."""
    group = tuple(operators)
    times = [each.time_ns for each in group]
    fractions = [(each.of_compute, each.time_ns) for each in group]
    time = _sum(times)
    weighed = [fraction * ns for fraction, ns in fractions if fraction is not None and ns is not None]
    return Total(
        names=tuple(each.name for each in group),
        kinds=_distinct(each.kind for each in group),
        layouts=_distinct(each.layout for each in group),
        dtypes=_distinct(each.dtype for each in group),
        macs=_sum(each.macs for each in group),
        bytes=_sum(each.bytes for each in group),
        time_ns=time,
        of_compute=sum(weighed) / time if time and len(weighed) == len(group) else None,
        bounds=_distinct(each.bound or "" for each in group),
    )


def _layer(layer: str, replaced: tuple[str, ...], old: Mapping[str, Operations], after: Operations) -> Change:
    if len(replaced) > 1 and not all(name in old for name in replaced):
        # a part of what it replaced would make it look as if it had grown
        return Change(layer, after[0].kind, replaced, None, total(after), "unknown", ())
    return _change(layer, replaced, [each for name in replaced for each in old.get(name, ())], after)


def _change(layer: str | None, replaced: tuple[str, ...], before: Operations, after: Operations) -> Change:
    old, new = (total(side) if side else None for side in (before, after))
    return Change(layer, (*after, *before)[0].kind, replaced, old, new, _what(old, new), _moved(old, new))


def _what(before: Total | None, after: Total | None) -> What:
    if before is None or after is None:
        return "new" if before is None else "vanished"
    if before.time_ns is None or after.time_ns is None:
        return "unknown"
    if after.time_ns > GREW * before.time_ns:
        return "grew"
    return "shrank" if after.time_ns * GREW < before.time_ns else "same"


def _moved(before: Total | None, after: Total | None) -> tuple[str, ...]:
    """What no operator had before: a word that is not told on one side tells nothing."""
    if before is None or after is None:
        return ()
    pairs = {
        "kind": (before.kinds, after.kinds),
        "layout": (before.layouts, after.layouts),
        "dtype": (before.dtypes, after.dtypes),
    }
    return tuple(name for name, (old, new) in pairs.items() if old and new and not set(old) & set(new))


def _kinds(before: Operations, after: Operations) -> Iterator[Change]:
    """What is no layer's, by kind: activations, poolings, conversions of layout."""
    old, new = (_by_kind(each for each in operators if each.layer is None) for operators in (before, after))
    for kind in dict.fromkeys((*old, *new)):
        yield _change(None, (), old.get(kind, ()), new.get(kind, ()))


def _by_kind(operators: Iterable[Operation]) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for each in operators:
        found.setdefault(each.kind, []).append(each)
    return found


def _by_layer(operators: Operations) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for each in operators:
        if each.layer is not None:
            found.setdefault(each.layer, []).append(each)
    return found


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))
