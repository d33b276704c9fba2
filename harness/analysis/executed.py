"""What devices told of the graphs that they ran, with what follows: achieved rates, shares, what bounds each operator. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import wire
from harness.analysis import matching
from harness.findings import causes
from harness.records import Bound, Ceilings, Executed, Layer, Operation, Run, Summary

# From half of a ceiling on an operator is near it. Ceilings are the best of ideal shapes; kernels of real ones, and copies
# that read more than they write, reach half to nine tenths of them where nothing else is in their way.
NEAR = 0.5
# Faster than a copy by a quarter: then the data came from a cache, and the memory's bandwidth does not hold the operator.
CACHED = 1.25
# An operator is nothing but overhead where both ceilings would allow it ten times its speed, ..
IDLE = 0.1
# .. and its time is near the least that any operator of the graph takes: the price of a call.
FLOOR = 2.0

UNTOLD = "the device told no operators: made before devices did, or the job was cut off before its end"
NO_TIMES = "operators were not timed: run with --profile"
SHARED = "the ceilings were measured while somebody else used the processor: measure again on a quiet machine"
NO_PLACE = "the runtime does not tell what computes, and the ceilings are the processor's"

# What runtimes call the processor that the ceilings are of, as they read back their `device` or `provider`.
PROCESSORS = frozenset(("cpu", "xnnpackbackend"))
_NAMED = 5  # kinds of operators in a reason

Sums = tuple[Executed | None, dict[str, str]]


@dataclass(frozen=True)
class Graph:
    """What a device told of a case's graph, the words that came with it, and the layers of its variant.

    `why` says why there are no ceilings to put the case beside; `latency_ns` is the case's median, None without one.
    """

    event: wire.GraphEvent
    layers: Sequence[Layer]
    batch: int
    ceilings: Ceilings | None
    why: str = ""
    latency_ns: float | None = None

    @property
    def yardstick(self) -> Ceilings | None:
        """The ceilings, where rates may be judged by them."""
        return None if self.ceilings is None or self.ceilings.contended else self.ceilings

    @property
    def doubtful(self) -> bool:
        """Whether nothing may be judged by the operators' times."""
        total = _total(self.event.operators)
        swollen = total is not None and self.latency_ns is not None and causes.are_swollen(total, self.latency_ns)
        return self.event.contended or swollen


# --- ceilings ------------------------------------------------------------------------------------------------------


def ceilings(journals: Iterable[Sequence[wire.Event]]) -> tuple[Ceilings, ...]:
    """Return the ceilings of a run's device by threads and CPUs: the best that any of its jobs reached, each on its own."""
    found: dict[tuple[int, str], Ceilings] = {}
    for event in (event for journal in journals for event in journal if isinstance(event, wire.CeilingsEvent)):
        new = Ceilings(
            *(event.threads, event.macs_per_s, event.bytes_per_s, event.made_with, event.reason),
            *(event.cpus, event.contended),
        )
        key = new.threads, new.cpus
        found[key] = _better(found[key], new) if key in found else new
    return tuple(found[key] for key in sorted(found))


def _better(one: Ceilings, other: Ceilings) -> Ceilings:
    """The best of two; the library that is named is the one of the faster product.

    What was reached beside somebody else is reached all the same: only where both were contended nothing may be judged.
    """
    if one.macs_per_s is None or other.macs_per_s is None:
        return other if one.macs_per_s is None else one
    faster = max(one, other, key=lambda each: each.macs_per_s or 0.0)
    copied = max(one.bytes_per_s or 0.0, other.bytes_per_s or 0.0)
    return replace(faster, bytes_per_s=copied, contended=one.contended and other.contended)


def fitting(row: Summary, best: Mapping[tuple[int, str], Ceilings]) -> tuple[Ceilings | None, str]:
    """Return the ceilings that a row may be put beside, or why there are none: they are the processor's alone."""
    where = str(row.effective.get("device") or row.effective.get("provider") or row.effective.get("gpu") or "")
    if where.lower() not in PROCESSORS:
        return None, f"computed by {where[:40]}: the ceilings are the processor's" if where else NO_PLACE
    cpus = row.options.get(wire.CPUS, "")
    found = best.get((row.threads, cpus))
    missing = "no ceilings were measured with these threads" + f" on CPUs {cpus}" * bool(cpus)
    return found, "" if found else missing


# --- operators -----------------------------------------------------------------------------------------------------


def graphs(journal: Iterable[wire.Event]) -> Mapping[str, wire.GraphEvent]:
    """Return what was told of each case's graph: the last word that has operators, and was not contended, if there is one."""
    found: dict[str, wire.GraphEvent] = {}
    for event in journal:
        if isinstance(event, wire.GraphEvent) and _worth(event) >= _worth(found.get(event.case_id)):
            found[event.case_id] = event
    return found


def _worth(event: wire.GraphEvent | None) -> tuple[bool, bool]:
    return event is not None and bool(event.operators), event is not None and not event.contended


def operations(graph: Graph) -> tuple[Operation, ...]:
    """Return a graph's operators with their layers, rates and bounds."""
    told = graph.event.operators
    places = matching.match(told, graph.layers, graph.batch)
    total = _total(told)
    least = min((operator.time_ns for operator in told if operator.time_ns), default=0)
    made = (
        _operation(operator, places.get(place), total, least, graph.yardstick) for place, operator in enumerate(told)
    )
    if graph.doubtful:
        made = (replace(each, bound=each.bound and "unknown") for each in made)
    return tuple(made)


def _operation(
    operator: wire.Operator,
    place: matching.Place | None,
    total: int | None,
    least: int,
    best: Ceilings | None,
) -> Operation:
    layer, matched = place or (None, None)
    made = Operation(
        operator.name, operator.kind, layer, matched, operator.macs, operator.bytes, operator.dtype, operator.layout
    )
    if operator.time_ns is None:
        return made
    timed = replace(made, time_ns=operator.time_ns, share=operator.time_ns / total if total else None)
    if not operator.time_ns:
        return replace(timed, bound="unknown")
    macs, copied = _rate(operator.macs, operator.time_ns), _rate(operator.bytes, operator.time_ns)
    of_compute, of_copy = _of(macs, best.macs_per_s if best else None), _of(copied, best.bytes_per_s if best else None)
    return replace(
        timed,
        macs_per_s=macs,
        bytes_per_s=copied,
        of_compute=of_compute,
        of_copy=of_copy,
        bound=bound(of_compute, of_copy, operator.time_ns <= FLOOR * least),
    )


def bound(of_compute: float | None, of_copy: float | None, at_floor: bool) -> Bound:
    """Say what holds an operator, by its fractions of the ceilings; `at_floor`: none of its graph takes much less time."""
    if of_compute is None or of_copy is None:
        return "unknown"
    if of_compute >= NEAR and (of_compute >= of_copy or of_copy > CACHED):
        return "compute"
    if NEAR <= of_copy <= CACHED:
        return "memory"
    if at_floor and max(of_compute, of_copy) < IDLE:
        return "overhead"
    return "unknown"


# --- sums ----------------------------------------------------------------------------------------------------------


def sums(row: Summary, graph: Graph | None) -> Sums:
    """Return what a row's network came to as executed, and why what is None is, by key."""
    if graph is None:
        return None, {"executed": UNTOLD}
    told = graph.event
    if not told.operators:
        return None, {"executed": told.reason}
    best = graph.yardstick
    uncounted = tuple(sorted({operator.kind for operator in told.operators if operator.macs is None}))
    macs = None if uncounted else sum(operator.macs or 0 for operator in told.operators)
    unsized = sorted({operator.kind for operator in told.operators if operator.bytes is None})
    copied = None if unsized else sum(operator.bytes or 0 for operator in told.operators)
    expected = None if row.macs is None else row.macs * row.batch
    median = row.latency_ns.median if row.latency_ns else None
    rates = _rate(macs, median), _rate(copied, median)
    made = Executed(
        operators=len(told.operators),
        macs=macs,
        macs_uncounted=uncounted,
        macs_ratio=None if macs is None or not expected else macs / expected,
        bytes=copied,
        macs_per_s=rates[0],
        flops_per_s=None if rates[0] is None else 2 * rates[0],
        bytes_per_s=rates[1],
        of_compute=_of(rates[0], best.macs_per_s if best else None),
        of_copy=_of(rates[1], best.bytes_per_s if best else None),
        operators_ns=_total(told.operators),
        inferences=told.inferences,
        ceilings=graph.ceilings,
        counters=told.counters,
        contended=told.contended,
    )
    return made, _reasons(row, made, unsized, graph)


def _reasons(row: Summary, made: Executed, unsized: Sequence[str], graph: Graph) -> dict[str, str]:
    """Why numbers are None: the first thing that each of them lacks."""
    told = graph.event
    no_macs = f"no rule counts {_listed(made.macs_uncounted)}"
    no_bytes = f"the runtime does not tell the sizes of {_listed(unsized)}"
    no_latency = "" if row.latency_ns else row.reasons.get("latency_ns", "no latency")
    no_best = graph.why
    if made.ceilings is not None:
        no_best = made.ceilings.reason or SHARED
    no_time, no_copy = no_macs * (made.macs is None), no_bytes * (made.bytes is None)
    causes = {
        "macs": no_time,
        "macs_ratio": no_time or row.reasons.get("macs", "the controller counts no MACs"),
        "bytes": no_copy,
        "macs_per_s": no_time or no_latency,
        "flops_per_s": no_time or no_latency,
        "bytes_per_s": no_copy or no_latency,
        "of_compute": no_time or no_latency or no_best,
        "of_copy": no_copy or no_latency or no_best,
        "operators_ns": NO_TIMES if not told.inferences else "the runtime tells no times of operators",
        "ceilings": no_best,
    }
    found = {f"executed.{key}": why for key, why in causes.items() if getattr(made, key) is None}
    found |= {f"executed.counters.{name}": why for name, why in told.reasons.items()}
    return found


def _total(operators: Iterable[wire.Operator]) -> int | None:
    """The sum of the operators' times, ns; None where none is told."""
    times = [operator.time_ns for operator in operators if operator.time_ns is not None]
    return sum(times) if times else None


def _listed(kinds: Sequence[str]) -> str:
    """The first few, and how many more: a device may tell thousands."""
    left = len(kinds) - _NAMED
    return ", ".join(kinds[:_NAMED]) + (f" and {left} more" if left > 0 else "")


def _rate(amount: int | None, ns: float | None) -> float | None:
    return None if amount is None or not ns else amount / (ns / 1e9)


def _of(rate: float | None, best: float | None) -> float | None:
    return None if rate is None or not best else rate / best


# --- rows ----------------------------------------------------------------------------------------------------------


def attach(
    run: Run, rows: Sequence[Summary], journals: Mapping[str, Sequence[wire.Event]], best: Sequence[Ceilings]
) -> tuple[tuple[Summary, ...], dict[str, tuple[Operation, ...]]]:
    """Return the rows (one per entry of the run) with what was executed, and the operators of each case."""
    told = {runtime: graphs(journal) for runtime, journal in journals.items()}
    limits = {(each.threads, each.cpus): each for each in best}
    layers = {(ladder.name, n): rung.layers for ladder in run.ladders for n, rung in enumerate(ladder.rungs)}
    found, operators = [], {}
    for row, entry in zip(rows, run.entries, strict=True):
        event = told.get(row.runtime, {}).get(row.case_id or "")
        median = row.latency_ns.median if row.latency_ns else None
        place = layers[entry.ladder, entry.rung], row.batch, *fitting(row, limits), median
        graph = Graph(event, *place) if event else None
        made, reasons = sums(row, graph)
        if row.case_id is None:
            reasons = {"executed": row.reasons["case_id"]}
        found.append(replace(row, executed=made, reasons={**row.reasons, **reasons}))
        if graph is not None and made is not None and row.case_id:
            operators[row.case_id] = operations(graph)
    return tuple(found), operators
