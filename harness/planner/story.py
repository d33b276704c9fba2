"""The story of a plan: what can be folded, what each fold gains there, what to choose, and whether it came true.

    options -> table (isolated, in place) -> gains -> prices -> front -> built, proved and measured -> plan.json

The same words find the same folder, and what is whole there is looked up (`work`): only the device is asked what it is. One that
cannot be reached is planned for by what is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import bundle, preflight, store, transport
from harness.child import OnProgress, Progress
from harness.errors import BusyError, DeviceError, HarnessError, UsageError
from harness.planner import folder, table
from harness.planner.bench import Bench
from harness.planner.document import GO_ON
from harness.planner.folder import Asked, Begun
from harness.planner.goals import Goal, chosen
from harness.planner.work import Work
from harness.records import Device
from harness.records.planned import Planned
from harness.store.writing import reported
from harness.transport import Transport


@dataclass(frozen=True)
class Found:
    """What a call came to: the plan, its folder, whether nothing had to be measured, and what is to be said of that."""

    planned: Planned
    folder: Path
    looked_up: bool
    said: tuple[str, ...] = ()


def plan(
    results: Path,
    device: Device,
    asked: Asked,
    goal: Goal,
    tell: OnProgress,
    budget_s: float | None = None,
    again: bool = False,
    alone: bool = True,
) -> Found:
    """Plan for a device: measure what is missing, look up the rest. Raises HarnessError.

    `alone`: whether this is all that the command plans for.
    """
    refuse_virtual(device)
    store.require_writable(results)
    with closing(transport.connect(device)) as line:
        try:
            begun = folder.begin(asked, _told(line, device, asked, tell))
        except DeviceError as error:
            if again:
                raise
            return _from_memory(results, asked, goal, error)
        said = _what_changed(results, begun)
        own = _own(results, begun, again, alone)
        with store.held(own), resumable():
            bench = Bench(own, device, line, budget_s, tell)
            planned = Work(results, goal, bench).go_on()
            return Found(planned, own, not bench.measured, (*said, *bench.cut_short()))


def refuse_virtual(device: Device) -> None:
    """Raise UsageError for a device whose times stand for no real one."""
    if device.virtual:
        raise UsageError(f"device {device.name} is virtual: its times stand for no real one", "Plan for a board.")


# --- which folder --------------------------------------------------------------------------------------------------


def _told(line: Transport, device: Device, asked: Asked, tell: OnProgress) -> Mapping[str, Any]:
    """What a device says of itself and its runtime, and what would measure there; no agent is started, no job is made."""
    runtime = asked.runtime
    tell(Progress(f"looking at {runtime} on {device.name}"))
    agent = bundle.build(runtime)
    seen = line.look(agent)
    facts = transport.told(seen, "facts", dict, device.name)
    environment = preflight.environment(device, runtime, facts, tell)
    versions = line.probe(agent, runtime, environment)["versions"]
    return {
        "facts": facts,
        "versions": {**versions, "agent": agent.stem, "protocol": table.rules(asked, device.profile)},
    }


def _from_memory(results: Path, asked: Asked, goal: Goal, error: DeviceError) -> Found:
    """The newest finished plan of the same words, for a device that cannot be asked. Raises the error without one."""
    finished = [own for own in folder.alike(results, asked) if folder.is_finished(own)]
    planned = folder.load(finished[-1]) if finished else None
    if planned is None:
        raise error
    said = f"{error.message}: this is what was measured there on {planned.created[:10]}"
    if folder.load_begun(finished[-1]).words != folder.words(asked):
        said += ", before the model, the task or the program changed"
    planned = replace(planned, chosen=chosen(planned.front, goal), goal=asdict(goal))
    return Found(planned, finished[-1], True, (said,))


def _what_changed(results: Path, begun: Begun) -> tuple[str, ...]:
    """Why a table of the same words is measured anew, where there is one; nothing where it still speaks."""
    earlier = folder.alike(results, begun.asked)
    if not earlier or any(own.name == begun.name for own in earlier):
        return ()
    changed = "; ".join(folder.changed(folder.load_begun(earlier[-1]), begun))
    return (f"measured anew: since the last table of these words, {changed}",)


def _own(results: Path, begun: Begun, again: bool, alone: bool) -> Path:
    """The folder of what is asked; a finished one is set aside where it is to be measured again, an unfinished one goes on.

    What an `--again` over several settings has measured already stays (`folder.anew`): the same command goes on. One over this
    setting alone asks for no such thing: what is finished it measures anew.
    """
    own = folder.make(results, begun)
    if again and folder.is_finished(own) and (alone or not folder.anew(own).exists()):
        with store.held(own):
            folder.set_aside(own)
        own = folder.make(results, begun)
    if again and not alone:
        with reported(own, GO_ON):
            folder.anew(own).touch()
    return own


def end_again(found: Iterable[Found]) -> None:
    """All settings of a command are done: an `--again` measures them anew from now on."""
    for each in found:
        folder.anew(each.folder).unlink(missing_ok=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Say of an interruption, and of an error in the midst of measuring, how to go on."""
    hint = "What is done is kept; the same command goes on."
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(*interruption.args, hint) from None
    except BusyError as error:
        error.hint = "When it is free the same command goes on; or name another device."
        raise
    except HarnessError as error:
        if not isinstance(error, UsageError) and (not error.hint or "harness run --resume" in error.hint):
            error.hint = hint  # jobs know of runs alone
        raise
