"""Why fewer layers were not faster, as the profiles of a rung and of rung 0 tell it. Pure.

    layout-change    an operator grew, and its kind, layout or number format is another than before; or conversions between
                     layouts grew more than any layer
    kernel-cliff     an operator does its multiplications at a much lower rate than those that it replaced
    memory-bound     an operator grew that moves bytes near the copy ceiling, or such operators take most of the time
    operator-grew    an operator grew because it multiplies more, at about the same rate
    overhead-bound   most of the latency lies outside operators, or in operators that take nothing but the price of a call, and
                     that grew by more than the rest did
    unknown          there is no profile, or it shows none of these, or its times are not to be trusted: somebody else used
                     the machine meanwhile, or they add up to far more than the latency

The causes are tried in this order, but for overhead: where operators are the lesser part of the latency, what became of
one of them explains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.findings.changes import Change, Operations, compare
from harness.findings.views import ROSE, count, mega, percent
from harness.records import Group, Summary

# An operator must have gained this share of rung 0's operator time to explain that a rung is not faster: less is
# within what profiles of equal networks differ by.
SHARE = 0.05
# Times slower per multiplication. Kernels differ by up to 1.3 with the shape alone; leaving Winograd costs 2.25 (3x3 by
# 2x2 tiles), leaving a blocked layout or a vector unit more.
CLIFF = 1.5
# Where operators, or those that are more than a call, are less than half of the latency, they do not decide it.
OVERHEAD = 0.5
# From this share of contended processes on, latencies and profiles hold what others took: nothing is concluded from them.
SHARED = 0.1
# From this multiple of the latency on, the operators' times hold what timing them cost (a clock of whole microseconds, a
# profiler's own work per call), and of which it took more nobody can tell.
SWOLLEN = 1.5
_NAMED = 5  # words of each side that a sentence lists: a device may tell thousands

_CONVERTS = ("reorder", "transpose", "permute", "layout", "contiguous", "cast", "quantize", "copy")
ADVICE = "Run with --profile to see which operator it is."
KINDS = ("overhead-bound", "memory-bound", "kernel-cliff", "layout-change")  # causes that are findings of their own


@dataclass(frozen=True)
class Profile:
    """What a cause is looked for in: a row and its operators."""

    row: Summary
    operators: Operations

    @property
    def timed(self) -> bool:
        """Whether every operator has a time."""
        return bool(self.operators) and all(each.time_ns is not None for each in self.operators)

    @property
    def shared(self) -> bool:
        """Whether somebody else used the machine beside too many of its processes, or while operators were timed."""
        processes = self.row.latency_ns.processes if self.row.latency_ns else 0
        told = self.row.executed is not None and self.row.executed.contended
        return told or (self.row.contended > 0 and self.row.contended >= SHARED * processes)

    @property
    def swollen(self) -> bool:
        """Whether its times add up to far more than the latency."""
        return self.row.latency_ns is not None and are_swollen(self.operators_ns, self.row.latency_ns.median)

    @cached_property
    def operators_ns(self) -> int:
        """The time of all operators."""
        return sum(each.time_ns or 0 for each in self.operators)

    @property
    def outside_ns(self) -> float | None:
        """The latency between and around operators, ns; None without a latency."""
        return self.row.latency_ns.median - self.operators_ns if self.row.latency_ns else None

    def time_ns(self, bound: str) -> int:
        """The time of operators of this bound."""
        return sum(each.time_ns or 0 for each in self.operators if each.bound == bound)

    def share(self, bound: str) -> float:
        """The share of the operators' time in operators of this bound."""
        return self.time_ns(bound) / max(self.operators_ns, 1)


@dataclass(frozen=True)
class Cause:
    """A cause by its name, a sentence (none: nothing beyond what counts of the graph say) and the numbers behind it."""

    kind: str
    said: str
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)


def are_swollen(operators_ns: int, latency_ns: float) -> bool:
    """Whether the times of a graph's operators add up to far more than its latency: timing them cost more than they do."""
    return operators_ns > SWOLLEN * latency_ns


def advice(cause: Cause, row: Summary) -> str:
    """What to do about a cause that is a finding of its own, on this row's runtime and settings."""
    layer = cause.numbers.get("layer")
    keep = f"Choose a rung that leaves {layer} unmerged" if layer else "Choose an earlier rung"
    if cause.kind == "overhead-bound":
        compiled = row.runtime == "torch" and row.effective.get("mode", row.options.get("mode", "eager")) == "eager"
        how = "--option mode=compile takes fewer calls" if compiled else "a runtime that fuses more takes fewer calls"
        batch = "; a larger --batch shares their price" if row.batch == 1 else ""
        return f"Fewer multiplications buy nothing here, fewer operators do: {how}{batch}."
    if cause.kind == "memory-bound":
        fewer = "; numbers of fewer bits do, too (--precision fp16,int8)" if row.precision == "fp32" else ""
        return f"Merged layers pay here where they have fewer bytes, not fewer MACs: narrower ones{fewer}."
    if cause.kind == "kernel-cliff":
        return f"{keep}, or another --runtime: its kernels may be as fast for the merged shape as for the old ones."
    layout = "another --option layout=" if row.runtime == "torch" else "another --runtime or --precision"
    return f"{keep}, or try {layout}: what the runtime converts or computes otherwise costs more than the merge saves."


def find(before: Profile, after: Profile, groups: Sequence[Group]) -> Cause:
    """Return why `after`, a rung that is not faster, is not faster than `before`, rung 0; in ASCII, whatever devices told."""
    found = _find(before, after, groups)
    numbers = {key: _plain(value) if isinstance(value, str) else value for key, value in found.numbers.items()}
    return Cause(found.kind, _plain(found.said), numbers)


def _find(before: Profile, after: Profile, groups: Sequence[Group]) -> Cause:
    if not (before.timed and after.timed):
        return Cause("unknown", "")
    if before.shared or after.shared:
        who = " and ".join(name for name, side in (("rung 0", before), ("the rung", after)) if side.shared)
        said = f"Nothing is concluded from its profile: somebody else used the machine while {who} ran"
        return Cause("unknown", f"{said}; measure again with nothing beside.")
    if before.swollen or after.swollen:
        said = "Nothing is concluded from its profile: its operators are so short that timing them takes longer than they do"
        return Cause("unknown", f"{said}.")
    overhead = _overhead(before, after)
    if overhead is not None:
        return overhead
    changes = compare(before.operators, after.operators, groups)
    least = SHARE * before.operators_ns
    grown = [each for each in changes if each.gained_ns >= least and each.what in ("grew", "new")]
    worst = max(grown, key=lambda each: each.gained_ns, default=None)
    if worst is not None:
        return _grown(worst)
    fallen = [each for each in changes if _fell(each) and _share(each, after) >= SHARE]
    if fallen:
        return _cliff(min(fallen, key=lambda each: _rates(each) or 1.0))
    if after.share("memory") >= OVERHEAD:
        said = (
            f"{percent(after.share('memory'))} of its operators' time is in those that move bytes near the copy ceiling"
        )
        return Cause("memory-bound", f"By its profile, {said}.", {"memory_share": after.share("memory")})
    return Cause("unknown", "By its profile, no operator grew by enough to explain it.")


def _overhead(before: Profile, after: Profile) -> Cause | None:
    """Most of the latency outside operators, or in operators at the floor, and more of it than the rest gained."""
    latency, work = after.row.latency_ns, after.operators_ns - before.operators_ns
    inside = after.operators_ns / latency.median if latency and latency.median else None
    if inside is not None and inside < OVERHEAD and _gained_outside(before, after) > work:
        said = f"its operators take {percent(inside)} of the latency, the rest is between and around them"
        return Cause("overhead-bound", f"By its profile, {said}.", {"operators_share": inside})
    floor, calls_ns = after.share("overhead"), after.time_ns("overhead") - before.time_ns("overhead")
    if floor >= OVERHEAD and calls_ns > work - calls_ns:
        calls = sum(each.bound == "overhead" for each in after.operators)
        said = f"{percent(floor)} of its operators' time is the price of {count(calls, 'call')}, whatever they compute"
        return Cause("overhead-bound", f"By its profile, {said}.", {"overhead_share": floor})
    return None


def _gained_outside(before: Profile, after: Profile) -> float:
    """Time outside operators less that of rung 0; nothing can be said, and less than anything is, without a latency."""
    old, new = before.outside_ns, after.outside_ns
    return -math.inf if old is None or new is None else new - old


def _grown(change: Change) -> Cause:
    """What is to be said of the operator that grew most."""
    if change.moved:
        return _moved(change)
    if change.layer is None and any(word in change.kind.lower() for word in _CONVERTS):
        return Cause("layout-change", f"{_story(change)}.", _numbers(change))
    if _fell(change):
        return _cliff(change)
    assert change.after is not None
    if "memory" in change.after.bounds:
        return Cause("memory-bound", f"{_story(change)}; it moves bytes near the copy ceiling.", _numbers(change))
    old, new = change.before.macs if change.before else 0, change.after.macs
    if new is not None and old is not None and new > ROSE * old:
        rate = "; it multiplies at about the same rate" if old else ""
        return Cause("operator-grew", f"{_story(change)}{rate}.", _numbers(change))
    if change.layer is None and new == 0:
        return Cause("operator-grew", f"{_story(change)}.", _numbers(change))
    return Cause("unknown", f"{_story(change)}; nothing that is known of it explains that.", _numbers(change))


def _moved(change: Change) -> Cause:
    assert change.before is not None and change.after is not None
    pairs = {
        "kind": (change.before.kinds, change.after.kinds),
        "layout": (change.before.layouts, change.after.layouts),
        "dtype": (change.before.dtypes, change.after.dtypes),
    }
    said = ", ".join(f"{what} {_listed(pairs[what][0])} became {_listed(pairs[what][1])}" for what in change.moved)
    return Cause("layout-change", f"{_story(change)}: {said}.", {**_numbers(change), "moved": "+".join(change.moved)})


def _cliff(change: Change) -> Cause:
    slower = 1 / (_rates(change) or 1.0)
    said = f"each of its multiplications takes {slower:.2f} times as long: its kernel left the fast path"
    return Cause("kernel-cliff", f"{_story(change)}; {said}.", {**_numbers(change), "times_slower": slower})


def _rates(change: Change) -> float | None:
    """MACs per second after over before; ceilings cancel out of it."""
    before, after = (None if side is None else side.macs_per_s for side in (change.before, change.after))
    return None if not before or after is None else after / before


def _fell(change: Change) -> bool:
    rates = _rates(change)
    return rates is not None and rates * CLIFF < 1


def _share(change: Change, profile: Profile) -> float:
    time = change.after.time_ns if change.after else None
    return (time or 0) / max(profile.operators_ns, 1)


# --- words ---------------------------------------------------------------------------------------------------------


def _story(change: Change) -> str:
    """Which operator takes how long, and how long that took before."""
    after, before = change.after, change.before
    assert after is not None
    name = f"{after.names[0]} ({change.kind}, {change.layer})" if change.layer else f"all {change.kind} together"
    layers = count(len(change.replaced), "layer") if len(change.replaced) > 1 else ""
    old = _milliseconds(before.time_ns if before else 0)
    took = f"take{'s' * bool(change.layer)} {_milliseconds(after.time_ns)} instead of {old}"
    for_them = f" for the {layers} that it replaces" if layers else ""
    macs = ""
    if before and after.macs and before.macs:
        macs = f", with {mega(after.macs)} M MACs instead of {mega(before.macs)} M"
    return f"By its profile, {name} {took}{for_them}{macs}{_reached(change)}"


def _reached(change: Change) -> str:
    """Fractions of the compute ceiling, where both are known."""
    before, after = (None if side is None else side.of_compute for side in (change.before, change.after))
    if before is None or after is None:
        return ""
    return f", at {percent(after)} of the compute ceiling instead of {percent(before)}"


def _numbers(change: Change) -> dict[str, float | int | str | None]:
    before, after = change.before, change.after
    assert after is not None
    return {
        "operator": after.names[0],
        "operator_kind": change.kind,
        "layer": change.layer,
        "replaced": len(change.replaced),
        "time_before_ns": before.time_ns if before else None,
        "time_after_ns": after.time_ns,
        "macs_before": before.macs if before else None,
        "macs_after": after.macs,
        "of_compute_before": before.of_compute if before else None,
        "of_compute_after": after.of_compute,
    }


def _milliseconds(ns: int | None) -> str:
    return "an unknown time" if ns is None else f"{ns / 1e6:.3g} ms"


def _listed(words: Sequence[str]) -> str:
    return "+".join(words[:_NAMED]) + (f" and {len(words) - _NAMED} more" if len(words) > _NAMED else "")


def _plain(text: str) -> str:
    """What a runtime said, in ASCII that steers no terminal."""
    return "".join(char if " " <= char <= "~" else "?" for char in " ".join(text.split()))
