"""What a table would measure from nothing, and about how long that takes: what `harness plan --dry-run` says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import jobs
from harness.planner import table, weighing
from harness.records.planned import Option

_BUILD_S = 1.5  # a network made, folded, proved, built
_FRONT = 5  # plans of a front, as a guess


@dataclass(frozen=True)
class Outlook:
    """What one job would measure, and about how long that would take, building included."""

    what: str
    networks: int
    processes: int
    seconds: float


def expected(options: Sequence[Option], precision: str, budget_s: float | None) -> tuple[Outlook, ...]:
    """The jobs of a table that nothing is known of yet; how many plans the front will have is a guess."""
    if not options:
        return ()
    segments = table.isolated(options) if table.is_isolated(options, precision) else ()
    apart = 2 * len(segments)
    parts = [_outlook("segments by themselves", apart, table.SEGMENT_BLOCKS * apart, table.SEGMENT_S)]
    if segments:
        many = weighing.order(len(weighing.apart(options)), table.slots(budget_s, table.SEGMENT_S + table.WHOLE_MORE_S))
        parts.append(_outlook("options in place, in groups", many, table.BLOCKS * many, table.PROCESS_S))
    else:
        most = len(options) if len(options) <= table.ALL_IN_PLACE else table.room(budget_s, table.PROCESS_S)
        parts.append(_beside("options in place", min(len(options), most)))
    parts.append(_beside("the front", min(len(options), _FRONT)))
    return tuple(part for part in parts if part.networks)


def _beside(what: str, networks: int) -> Outlook:
    """Networks beside the unfolded one, which all are compared with."""
    return _outlook(what, networks + 1, table.BLOCKS * (networks + jobs.replicates(networks)), table.PROCESS_S)


def _outlook(what: str, networks: int, processes: int, process_s: float) -> Outlook:
    return Outlook(what, networks, processes, networks * _BUILD_S + processes * process_s)
