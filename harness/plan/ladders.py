"""Ladders from words: a request per method and seed, with the settings that each method has."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from harness import content
from harness.compress import recipes, schedules
from harness.errors import UsageError
from harness.plan.words import Words, require_range, split
from harness.records import Eligible, LadderRequest

MAX_TRAINING_THREADS = 2  # fixed, because sums in another order give another ladder: part of a rung's key
TRAIN_ON = ("cpu", "cuda")
_TRAINING = ("schedule", "budget_epochs", "delta", "distil", "train_on")  # of no use where nothing is trained
_SHORT = ("entropy", "order")  # flags of their own for settings: --entropy position is --recipe entropy=position


def asked(words: Words) -> tuple[LadderRequest, ...]:
    """Return a request per method and seed, in that order. Raises UsageError, ContentError."""
    content.find("model", words.model)
    task = words.task or content.constant("model", words.model, "TASK")
    content.find("task", task)
    content.require_known("eligibility", words.eligible, get_args(Eligible))
    if words.data is not None and not words.data.is_dir():
        raise UsageError(f"--data {words.data}: no such folder", "Give the folder that holds the task's files.")
    methods = split(words.method, "--method")
    chosen = _recipes(words, methods)
    _check(words, methods)
    return tuple(
        LadderRequest(
            method=method,
            model=words.model,
            task=task,
            recipe=chosen[method],
            eligible=cast(Eligible, words.eligible),
            seed=seed,
            threads=min(MAX_TRAINING_THREADS, os.cpu_count() or 1),
            data=str(words.data.resolve()) if words.data else None,
            rungs=words.rungs,
            step=words.step,
            **_training(words, method),
        )
        for method in methods
        for seed in range(words.seed, words.seed + words.seeds)
    )


# --- how far, how long, on what ------------------------------------------------------------------------------------


def _check(words: Words, methods: Sequence[str]) -> None:
    """Refuse numbers out of range, and words that none of the methods would heed. Raises UsageError."""
    require_range("--seeds", words.seeds, 1, min(100, 2**32 - words.seed))
    require_range("--step", words.step, 1, 1000)
    if words.rungs is not None:
        require_range("--rungs", words.rungs, 1, 1000)
    if words.budget_epochs is not None:
        require_range("--budget-epochs", words.budget_epochs, 1, 10**6)
    if words.delta is not None:
        require_range("--delta", words.delta, 0, 0.5, "It is a fraction: 0.01 is one percentage point of accuracy.")
    if words.distil is not None:
        hint = "It is the share of the loss that the full network has, the labels have the rest."
        require_range("--distil", words.distil, 0.01, 1, hint)
    if words.schedule is not None:
        content.require_known("schedule", words.schedule, schedules.names())
    if words.train_on is not None:
        content.require_known("processor to train on", words.train_on, TRAIN_ON)
    for flag in _TRAINING:
        if getattr(words, flag) is not None and not any(_heeds(method, flag) for method in methods):
            _refuse(flag, methods)


def _refuse(flag: str, methods: Sequence[str]) -> None:
    trained = [_trains(method) for method in methods]
    if flag == "delta" and any(trained):
        what = "no controls" if all(trained) else "neither controls nor what is not trained"
        named = f"{_listed(methods)} {'is' if len(methods) == 1 else 'are'} nothing else"
        raise UsageError(f"--delta: it cuts {what}, and {named}", "Name another --method, too.")
    nobody = _nobody(methods, "does not train", "trains")
    raise UsageError(f"--{flag.replace('_', '-')}: {nobody}", "Drop it, or name another --method.")


def _training(words: Words, method: str) -> dict[str, Any]:
    """What was said of training, as far as this method heeds it: what it does not is not part of its ladder's key."""
    return {
        flag: getattr(words, flag) for flag in _TRAINING if getattr(words, flag) is not None and _heeds(method, flag)
    }


def _heeds(method: str, flag: str) -> bool:
    return _trains(method) and not (flag == "delta" and content.constant("method", method, "CONTROL", False))


def _trains(method: str) -> bool:
    return bool(content.constant("method", method, "TRAINS"))


# --- recipes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """One setting as it was said: by which flag, for which method alone (None: for each that has it)."""

    flag: str
    method: str | None
    key: str
    value: str


def _recipes(words: Words, methods: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Give each method the settings that it has, of those that were said. Raises UsageError."""
    known = {method: {each.name: each for each in recipes.settings(method)} for method in methods}
    chosen: dict[str, dict[str, Any]] = {method: {} for method in methods}
    # what is said for one method alone comes last and holds
    for said in sorted(_said(words, methods), key=lambda each: each.method is not None):
        named = methods if said.method is None else (said.method,)
        takers = [method for method in named if said.key in known[method]]
        if not takers:
            _unknown(said, {method: tuple(known[method]) for method in named})
        for method in takers:
            chosen[method][said.key] = recipes.parse(known[method][said.key], said.value)
    return {method: _judged(method, given) for method, given in chosen.items()}


def _judged(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings as the Recipe has them: numbers instead of words."""
    whole = recipes.plain(recipes.resolve(method, given))
    return {name: whole[name] for name in whole if name in given}


def _said(words: Words, methods: Sequence[str]) -> list[_Said]:
    """Every setting that was said, the flags of their own among them. Raises UsageError for one that is said twice."""
    short = [(flag, getattr(words, flag)) for flag in _SHORT]
    every = [_Said(f"--{flag}", None, flag, value) for flag, value in short if value is not None]
    every += _parsed(words.recipe, methods)
    for place, said in enumerate(every):
        for before in every[:place]:
            if (before.method, before.key) == (said.method, said.key):
                raise UsageError(
                    f"{said.flag}: {said.key} was given before, as {before.value}", "Give each setting once."
                )
    return every


def _parsed(given: Sequence[str], methods: Sequence[str]) -> Iterator[_Said]:
    """Read `key=value` and `method.key=value`; dots in a value are its own."""
    for word in given:
        place, equals, value = word.partition("=")
        method, dot, key = place.rpartition(".")
        if not equals or not key or (dot and not method):
            raise UsageError(
                f'--recipe "{word}": must be key=value or method.key=value', "For example --recipe entropy=position."
            )
        if method and method not in methods:
            content.require_known(f"method asked for in --recipe {word}:", method, methods, "Name it by --method, too.")
        yield _Said(f"--recipe {word}", method or None, key, value)


def _unknown(said: _Said, known: Mapping[str, Sequence[str]]) -> None:
    near = difflib.get_close_matches(said.key, {name for names in known.values() for name in names}, n=1, cutoff=0.5)
    listed = "; ".join(f"{method}: {', '.join(names) or 'none'}" for method, names in known.items())
    raise UsageError(
        f"{said.flag}: {_nobody([*known], 'has no such setting', 'has such a setting')}"
        + (f'; did you mean "{near[0]}"?' if near else ""),
        f"Settings there are: {listed}. Drop it, or name another --method.",
    )


# --- words ---------------------------------------------------------------------------------------------------------


def _nobody(methods: Sequence[str], one: str, several: str) -> str:
    """Say what no method does: of one, what it does not; of several, what none of them does."""
    return f"method {methods[0]} {one}" if len(methods) == 1 else f"none of the methods {_listed(methods)} {several}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
