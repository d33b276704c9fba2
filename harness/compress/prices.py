"""What options cost a network, in the cache, and what that comes to over seeds. Without torch.

statistic/<key>/free.json       what the trained full network says of a choice, without training
price/<key>/trained.json        what came of a choice fine-tuned; of no option: the full network fine-tuned as long
outcome/<key>/trained.json      the same by edits: options that differ in nothing but what folding merges share one training
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from harness import cache
from harness.compress import keys
from harness.records.planned import Interaction, Price, Priced, PricesRequest

Choice = tuple[str, ...]  # of options, by name
_FREE, _TRAINED = "free.json", "trained.json"


@dataclass(frozen=True)
class Free:
    """`entropy` and `rise` as in Priced."""

    entropy: float
    rise: float | None


@dataclass(frozen=True)
class Trained:
    """Loss and accuracy on the validation part after a fine-tuning that took so long; None where it failed: why."""

    loss: float | None
    accuracy: float | None
    seconds: float
    failure: str | None = None


# --- in the cache --------------------------------------------------------------------------------------------------


def read(request: PricesRequest) -> tuple[Priced, ...] | None:
    """Return what each choice is priced with each seed, in order; None where anything is missing."""
    found = []
    for choice, seed in itertools.product(request.wanted, seeds(request)):
        free = read_free(request, choice, seed)
        if free is None:
            return None
        own = baseline = None
        if request.tier == "loss":
            own, baseline = read_trained(request, choice, seed), read_trained(request, (), seed)
            if own is None or baseline is None:
                return None
        found.append(_priced(choice, seed, free, own, baseline))
    return tuple(found)


def seeds(request: PricesRequest) -> tuple[int, ...]:
    """The seeds asked for, each once."""
    return tuple(dict.fromkeys(request.seeds))


def read_free(request: PricesRequest, choice: Choice, seed: int) -> Free | None:
    """Return what is known of a choice without training, or None."""
    return cache.read("statistic", keys.free(request, choice, seed), _parse_free)


def read_trained(request: PricesRequest, choice: Choice, seed: int) -> Trained | None:
    """Return what came of a choice fine-tuned, or None."""
    return cache.read("price", keys.trained(request, choice, seed), _parse_trained)


def read_outcome(key: str) -> Trained | None:
    """Return what came of edits fine-tuned, or None."""
    return cache.read("outcome", key, _parse_trained)


def write_free(request: PricesRequest, choice: Choice, seed: int, free: Free) -> None:
    """Keep it. Raises StoreError."""
    _write("statistic", keys.free(request, choice, seed), _FREE, free)


def write_trained(request: PricesRequest, choice: Choice, seed: int, trained: Trained) -> None:
    """Keep it. Raises StoreError."""
    _write("price", keys.trained(request, choice, seed), _TRAINED, trained)


def write_outcome(key: str, trained: Trained) -> None:
    """Keep it. Raises StoreError."""
    _write("outcome", key, _TRAINED, trained)


def _write(kind: str, key: str, file: str, what: Free | Trained) -> None:
    from pydantic import TypeAdapter

    with cache.storing(), cache.put(kind, key) as folder:
        (folder / file).write_bytes(TypeAdapter[Any](type(what)).dump_json(what, indent=1))


def _parse_free(folder: Path) -> Free:
    from pydantic import TypeAdapter

    return TypeAdapter(Free).validate_json((folder / _FREE).read_bytes())


def _parse_trained(folder: Path) -> Trained:
    from pydantic import TypeAdapter

    return TypeAdapter(Trained).validate_json((folder / _TRAINED).read_bytes())


def _priced(choice: Choice, seed: int, free: Free, own: Trained | None, baseline: Trained | None) -> Priced:
    priced = Priced(choice, seed, free.entropy, free.rise)
    if own is None or baseline is None:
        return priced
    failure = own.failure or (f"the full network fine-tuned as long: {baseline.failure}" if baseline.failure else None)
    return Priced(
        **vars(priced)
        | vars(own)
        | {"baseline": baseline.loss, "baseline_accuracy": baseline.accuracy, "failure": failure}
    )


# --- over seeds ----------------------------------------------------------------------------------------------------


def summary(priced: Iterable[Priced], basis: Literal["entropy", "loss"] = "loss") -> tuple[Price, ...]:
    """Return the price of each single option: mean and standard error over its seeds, negative ones as they are.

    An option that failed with any seed has none: a mean of those that went well would praise it. `failures` says why.
    """
    found = []
    for choice, each in _by_choice(priced).items():
        costs = [one.entropy if basis == "entropy" else _rise(one) for one in each]
        known = [cost for cost in costs if cost is not None]
        if len(choice) == 1 and len(known) == len(each):
            found.append(Price(choice[0], fmean(known), _error(known), basis, _drop(each)))
    return tuple(found)


def failures(priced: Iterable[Priced]) -> Mapping[str, str]:
    """Return why options have no price, by name."""
    return {
        one.options[0]: f"seed {one.seed}: {one.failure}" for one in priced if one.failure and len(one.options) == 1
    }


def interactions(priced: Iterable[Priced]) -> tuple[Interaction, ...]:
    """Return the interaction of each choice of several options whose options were all priced with the same seeds, too."""
    by_choice = {choice: {one.seed: _rise(one) for one in each} for choice, each in _by_choice(priced).items()}
    found = (_interaction(choice, by_choice) for choice in by_choice if len(choice) > 1)
    return tuple(each for each in found if each is not None)


def pairs(plans: Iterable[Choice], trainings: int, seeds: int = 2) -> tuple[Choice, ...]:
    """Return pairs of options that are together in plans, as many as so many trainings price: those in most plans first.

    Plans of two options are none of them: such a plan is priced itself.
    """
    plans = tuple(plans)
    whole = {frozenset(plan) for plan in plans}
    held = Counter(pair for plan in plans if len(plan) > 2 for pair in itertools.combinations(plan, 2))
    free = [pair for pair, _ in held.most_common() if frozenset(pair) not in whole]
    return tuple(free[: trainings // max(1, seeds)])


def _interaction(choice: Choice, by_choice: Mapping[Choice, Mapping[int, float | None]]) -> Interaction | None:
    joint, added = [], []
    for seed, together in by_choice[choice].items():
        apart = [by_choice.get((option,), {}).get(seed) for option in choice]
        known = [cost for cost in apart if cost is not None]
        if together is None or len(known) < len(choice):
            return None
        joint.append(together)
        added.append(math.fsum(known))
    excess = [one - other for one, other in zip(joint, added, strict=True)]
    return Interaction(choice, fmean(joint), fmean(added), fmean(excess), _error(excess), len(excess), *_ends(excess))


def _by_choice(priced: Iterable[Priced]) -> dict[Choice, list[Priced]]:
    found: dict[Choice, dict[int, Priced]] = {}
    for one in priced:
        found.setdefault(one.options, {})[one.seed] = one
    return {choice: list(each.values()) for choice, each in found.items()}


def _rise(one: Priced) -> float | None:
    return None if one.loss is None or one.baseline is None else one.loss - one.baseline


def _drop(each: Sequence[Priced]) -> float | None:
    drops = [
        one.baseline_accuracy - one.accuracy
        for one in each
        if one.accuracy is not None and one.baseline_accuracy is not None
    ]
    return fmean(drops) if len(drops) == len(each) else None


def _ends(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the mean; of two values it reaches 12.7 standard errors to each side."""
    error = _error(values)
    if error is None:
        return None, None
    from scipy.special import stdtrit  # takes longer to import than a look-up takes

    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return fmean(values) - half, fmean(values) + half


def _error(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None of one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
