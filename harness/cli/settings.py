"""What `harness plan` is asked: its goal, and the settings that its words stand for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.plan import Words
    from harness.planner.folder import Asked
    from harness.planner.goals import Goal
    from harness.records import Device, Plan
    from harness.records.planned import OptionForm


def goal(importance: str | None, speedup: float | None, drop: float | None) -> Goal:
    """What is wanted. Raises UsageError for words that contradict each other."""
    from typing import cast, get_args

    from harness import content
    from harness.plan.words import require_range
    from harness.planner.goals import Goal
    from harness.records.planned import PriceBasis

    basis = importance or ("count" if drop is None else "loss")
    content.require_known("importance", basis, get_args(PriceBasis))
    if speedup is not None and drop is not None:
        raise UsageError(
            "--target-speedup cannot be said beside --max-accuracy-drop: a plan is fast enough, or good enough",
            "Drop one.",
        )
    if speedup is not None:
        require_range("--target-speedup", speedup, 1, 1000, "It is a ratio: 1.5 is half as fast again.")
    if drop is not None:
        require_range("--max-accuracy-drop", drop, 0, 0.5, "It is a fraction: 0.01 is one percentage point.")
        if basis != "loss":
            raise UsageError(
                f"--max-accuracy-drop: --importance {basis} says nothing of accuracy",
                "Say --importance loss, or nothing.",
            )
    return Goal(cast(PriceBasis, basis), speedup, drop)


def forms(word: str) -> tuple[OptionForm, ...]:
    """What may be done to a segment, in the usual order. Raises UsageError."""
    from typing import cast, get_args

    from harness import content
    from harness.plan import split
    from harness.records.planned import OptionForm

    names = split(word, "--forms")
    for name in names:
        content.require_known("form", name, get_args(OptionForm))
    return cast("tuple[OptionForm, ...]", tuple(name for name in get_args(OptionForm) if name in names))


def threads(word: str | None) -> tuple[int | None, ...]:
    """Numbers of threads; None: the profile's."""
    from harness.plan import split

    if word is None:
        return (None,)
    try:
        return tuple(int(each) for each in split(word, "--threads"))
    except ValueError:
        raise UsageError(f"--threads {word}: no number of threads", "For example: --threads 1,2") from None


def require_one(**words: str | None) -> None:
    """Raise UsageError where a word is several: a plan is for one setting."""
    from harness.plan import split

    for flag, word in words.items():
        if word is not None and len(split(word, f"--{flag}")) > 1:
            hint = "Plan for one after the other, or add --transfer: each plan is measured on all."
            what = "number of threads" if flag == "threads" else flag
            raise UsageError(f"--{flag} {word}: a plan is for one {what}", hint)


def asked(
    words: Words, threads: Sequence[int | None], forms: tuple[OptionForm, ...], inventory: Path | None
) -> tuple[tuple[Device, Asked], ...]:
    """What is asked of each device, runtime, precision and number of threads. Raises UsageError, InventoryError, ContentError.

    A precision goes to those runtimes that have it (`not_had`); one that none has is a mistake.
    """
    from dataclasses import replace

    from harness import inventory as door
    from harness import plan as plans
    from harness.planner import story

    missing = not_had(words)
    shared = [each for each in _split(words)[1] if all(each != precision for _, precision in missing)]
    file, checked = door.locate(inventory), replace(words, precision=",".join(shared) or words.precision)
    planned = [plans.make(replace(checked, threads=each), file) for each in threads]
    for machine, _ in planned[0]:
        story.refuse_virtual(machine)
    return tuple(
        (machine, _one(each, runtime, precision, forms))
        for same in zip(*planned, strict=True)  # one device, with each number of threads
        for runtime, precision, (machine, each) in product(same[0][1].runtimes, _split(words)[1], same)
        if (runtime, precision) not in missing
    )


def not_had(words: Words) -> tuple[tuple[str, str], ...]:
    """Runtimes and the precisions asked for that they lack while another runtime asked for has them."""
    pairs = [*product(*_split(words))]
    had = {pair for pair in pairs if _has(*pair)}
    able, taken = ({pair[at] for pair in had} for at in (0, 1))
    return tuple(pair for pair in pairs if pair not in had and pair[0] in able and pair[1] in taken)


def _split(words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Runtimes by name, and precisions; no runtimes where a device's own is meant."""
    from harness import plan as plans

    runtimes = tuple(plans.split(words.runtime, "--runtime")) if words.runtime else ()
    return runtimes, tuple(plans.split(words.precision, "--precision"))


def _has(runtime: str, precision: str) -> bool:
    from harness import content

    return precision in content.constant("runtime", runtime, "PRECISIONS")


def _one(each: Plan, runtime: str, precision: str, forms: tuple[OptionForm, ...]) -> Asked:
    from harness import rows, wire
    from harness.planner.folder import Asked

    pinned = {key: value for key, value in each.options.items() if key == wire.CPUS}
    return Asked(
        device=each.device,
        model=each.ladders[0].model,
        task=each.ladders[0].task,
        data=each.ladders[0].data,
        runtime=runtime,
        precision=precision,
        threads=each.threads,
        batch=each.batch,
        options={**rows.options_of(runtime, each.options), **pinned},
        forms=forms,
        tune=each.tune,
    )
