"""What a plan made for one setting is worth on others: each is planned for, and all plans are measured on each.

    settings -> a plan for each (`story`) -> on each one job: unfolded, its own plan, all others' -> regrets -> transfer.json

Nothing is measured twice: plans are look-ups where their tables are there, a plan that two settings share is one network, and
what an earlier job measured of the same plans beside the same own one is read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.child import OnProgress, Progress
from harness.errors import HarnessError, StoreError, UsageError
from harness.planner import document, story, table, trials
from harness.planner.folder import TRANSFER, Asked, Pair
from harness.planner.gains import Compared
from harness.planner.goals import Goal, chosen
from harness.planner.story import Found
from harness.planner.trials import UNFOLDED, Options, Trial
from harness.records import Device, digest
from harness.records.planned import Planned
from harness.records.transferred import Regret, Setting, Transfer

SCHEMA = 1
HOME, _FILE = "transfers", "transfer.json"
Place = tuple[Device, Asked]


@dataclass(frozen=True)
class Carried:
    """What a call came to: the matrix, its folder, whether nothing had to be measured, what is to be said of its plans."""

    transfer: Transfer
    folder: Path
    looked_up: bool
    said: tuple[str, ...] = ()
    short: tuple[Setting, ...] = ()  # of the target: there the fastest plan is taken


def transfer(
    results: Path,
    places: Sequence[Place],
    goal: Goal,
    tell: OnProgress,
    budget_s: float | None = None,
    again: bool = False,
) -> Carried:
    """Plan for each setting, and measure each plan on all of them. Raises HarnessError; the same call goes on."""
    require(places)
    places = tuple({setting(asked): (device, asked) for device, asked in places}.values())  # each once
    found = [_planned(results, place, goal, tell, budget_s, again) for place in places]
    plans = [meant(each.planned, goal) for each in found]
    columns = [_column(on, found[on].folder, place, plans, tell, budget_s) for on, place in enumerate(places)]
    made = Transfer(
        schema=SCHEMA,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=places[0][1].model,
        task=places[0][1].task,
        settings=tuple(setting(asked) for _, asked in places),
        plans=tuple(plans),
        regrets=tuple(column[of] for of in range(len(places)) for column, _ in columns),
        folders=tuple(str(each.folder.relative_to(results)) for each in found),
        goal=asdict(goal),
    )
    own, kept = save(results, made)
    story.end_again(found)
    short = [setting(asked) for each, (_, asked) in zip(found, places, strict=True) if _is_short(each.planned, goal)]
    looked_up = all(each.looked_up for each in found) and not any(measured for _, measured in columns)
    return Carried(kept, own, looked_up, _said(found, [_name(asked) for _, asked in places]), tuple(short))


def _said(found: Sequence[Found], names: Sequence[str]) -> tuple[str, ...]:
    """What is to be known of the plans, each once; what is not of all of them says of which."""
    whose: dict[str, list[str]] = {}
    for each, name in zip(found, names, strict=True):
        for said in each.said:
            whose.setdefault(said, []).append(name)
    return tuple(said if len(named) == len(found) else f"{', '.join(named)}: {said}" for said, named in whose.items())


def _is_short(planned: Planned, goal: Goal) -> bool:
    """Whether no plan reaches the target, where there is one."""
    return (goal.speedup, goal.accuracy_drop) != (None, None) and chosen(planned.front, goal) is None


def require(places: Sequence[Place]) -> None:
    """Raise UsageError for settings that cannot be compared: fewer than two, a virtual device."""
    for device, _ in places:
        story.refuse_virtual(device)
    if len({setting(asked) for _, asked in places}) < 2:
        raise UsageError(
            "--transfer: one setting has nowhere to carry its plan to",
            "Name several devices, runtimes, precisions or numbers of threads: --threads 1,2.",
        )


def setting(asked: Asked) -> Setting:
    """Where a plan is made for."""
    return Setting(asked.device, asked.runtime, asked.precision, asked.threads)


def _planned(results: Path, place: Place, goal: Goal, tell: OnProgress, budget_s: float | None, again: bool) -> Found:
    """One setting's plan; an error names the setting."""
    device, asked = place
    tell(Progress(f"planning for {_name(asked)}"))
    try:
        return story.plan(results, device, asked, goal, tell, budget_s, again, alone=False)
    except HarnessError as error:
        error.message = f"{_name(asked)}: {error.message}"
        raise


def _name(asked: Asked) -> str:
    return f"{asked.device} {asked.runtime} {asked.precision} {asked.threads} thread{'s' * (asked.threads != 1)}"


def meant(planned: Planned, goal: Goal) -> Options:
    """The options of the meant plan: the fastest where none reaches the target, none where unfolded is no slower."""
    place = chosen(planned.front, goal)
    place = chosen(planned.front, Goal()) if place is None else place
    return planned.front[place].options if place is not None else UNFOLDED


# --- one setting ---------------------------------------------------------------------------------------------------


def _column(
    on: int, own: Path, place: Place, plans: Sequence[Options], tell: OnProgress, budget_s: float | None
) -> tuple[list[Regret], bool]:
    """What each setting's plan costs on this one, measured where it is not known yet; and whether anything was."""
    known = {options: _known(own, options, plans[on]) for options in plans}
    missing = [options for options in dict.fromkeys(plans) if options != plans[on] and known[options] is None]
    if missing:
        device, asked = place
        tell(Progress(f"measuring other settings' plans ({len(missing)}) on {_name(asked)}"))
        job = trials.measure(own, device, TRANSFER, pairs(plans[on], missing), tell, budget_s)
        known |= dict.fromkeys((*missing, plans[on]), job)
    return [regret(of, on, options, plans[on], known[options]) for of, options in enumerate(plans)], bool(missing)


def _known(own: Path, options: Options, made_there: Options) -> Trial | None:
    """The newest job that has a plan beside the one that was made there, and the unfolded network."""
    return trials.newest(own, TRANSFER, (options, made_there, UNFOLDED))


def pairs(made_there: Options, others: Sequence[Options]) -> tuple[Pair, ...]:
    """What one job compares: every plan with the unfolded network, and with the one that was made there."""
    plans = [options for options in (made_there, *others) if options]
    beside = [trials.against(options, made_there) for options in others if options and made_there]
    return (*(table.whole(options) for options in plans), *beside)


def regret(of: int, on: int, options: Options, made_there: Options, found: Trial | None) -> Regret:
    """What one plan costs on one setting, out of the job that has both."""
    over = found.compared(options).speedup if found and options else None
    if options == made_there or (found is not None and found.is_same(options, made_there)):
        return Regret(of, on, 1.0, None, None, "same", over)
    told = found.compared(options, made_there) if found else Compared(failure="not measured")
    ratio = told.speedup
    if ratio is None:
        return Regret(of, on, None, None, None, None, over, told.failure or "measured in fewer than two blocks")
    return Regret(of, on, 1 / ratio.ratio, _inverse(ratio.high), _inverse(ratio.low), ratio.verdict, over)


def _inverse(limit: float | None) -> float | None:
    return None if limit is None else 1 / limit


# --- what is kept --------------------------------------------------------------------------------------------------


def save(results: Path, made: Transfer) -> tuple[Path, Transfer]:
    """Keep a matrix under an id of its settings, plans' folders and goal; one that says the same already stays as it is."""
    words = {
        "settings": [asdict(each) for each in made.settings],
        "folders": list(made.folders),
        "goal": dict(made.goal),
    }
    own = results / HOME / f"{made.model}-{digest(words)[:8]}"
    if (own / _FILE).is_file():
        try:
            before = load(own)
        except StoreError:
            before = None  # damaged: made anew out of what was measured
        if before is not None and replace(before, created=made.created) == made:
            return own, before
    document.write(own / _FILE, Transfer, made)
    return own, made


def load(own: Path) -> Transfer:
    """Read transfer.json. Raises StoreError: damaged, or from a newer program."""
    return document.read(own / _FILE, Transfer)
