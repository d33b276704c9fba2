"""Data that rows will be trained on, looked for before any device is asked: hours later it would cost the row its night.

A folder that is not there is a mistake of the matrix, and refused with its line. What is missing or damaged in one is no more
than the failure of the rows that need it: a disk that was not mounted takes nothing from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness import content
from harness.child import OnProgress
from harness.compress import client, keys, rungs
from harness.errors import ContentError, HarnessError
from harness.nights.matrix import Laid
from harness.records import LadderRequest
from harness.records.nights import PlannedRow

FAILS = "will fail"  # how a forecast begins the reason of a row without its data


def missing(rows: Sequence[Laid], planned: Iterable[PlannedRow], tell: OnProgress) -> Mapping[str, str]:
    """Return by key why rows that are due cannot be made for want of data; nothing of ladders that are made already."""
    due = {each.row.key for each in planned if each.due == "due"}
    needed = {laid.row.key: _unmade(laid) for laid in rows if laid.row.key in due}
    samples = {(each.task, each.data): each for requests in needed.values() for each in requests}
    wrong = _wrong(list(samples.values()), tell)
    found = {
        key: [wrong[each.task, each.data] for each in requests if (each.task, each.data) in wrong]
        for key, requests in needed.items()
    }
    return {key: reasons[0] for key, reasons in found.items() if reasons}


def forecast(planned: Iterable[PlannedRow], absent: Mapping[str, str]) -> tuple[PlannedRow, ...]:
    """Return the rows with what their data say in place of why they are due."""
    return tuple(
        replace(each, reason=f"{FAILS}: {absent[each.row.key]}") if each.row.key in absent else each for each in planned
    )


def _unmade(laid: Laid) -> list[LadderRequest]:
    """A row's ladders that will have to be trained, on data of files."""
    requests = laid.plan.ladders if laid.plan else ()
    return [each for each in requests if _reads(each) and rungs.read_ladder(keys.ladder(each)) is None]


def _reads(request: LadderRequest) -> bool:
    trains = content.constant("method", request.method, "TRAINS", default=False)
    return trains and (request.data is not None or bool(content.constant("task", request.task, "DATA", "")))


def _wrong(samples: Sequence[LadderRequest], tell: OnProgress) -> dict[tuple[str, str | None], str]:
    """By task and folder: what is wrong with the data. All at once, for that is nothing mostly; else one by one."""
    if not samples or _said(samples, tell) is None:
        return {}
    told = {(each.task, each.data): _said([each], tell) for each in samples}
    return {place: said for place, said in told.items() if said}


def _said(samples: Sequence[LadderRequest], tell: OnProgress) -> str | None:
    """What looking says; empty where something else than the data is wrong, which the row itself will tell."""
    try:
        client.check(samples, tell, least=1)
    except ContentError as error:
        return f"{error.message} {error.hint}".strip()
    except HarnessError:
        return ""
    return None
