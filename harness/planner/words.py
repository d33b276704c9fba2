"""Why a plan is as it is, in plain sentences: what is folded and what that brings, what is left and for which reason. Pure.

A segment is a run of layers that could be folded, in whatever form. Of one that is left its best option tells the reason: the
one whose interval reaches highest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.planner import phrases
from harness.records.planned import FoldingPlan, Gain, Interaction, Listing, Option, Price

FORMS = {
    "plain": "becomes one layer",
    "dense": "becomes one matrix from image to image",
    "tail": "becomes one matrix up to the classifier",
    "skip": "is dropped: the block becomes an identity",
    "bypass": "becomes one layer, with an identity in place of {dropped}",
}
REASONS = {  # why segments are left -> how its sentence begins, in the order of the sentences
    "slower": "Folding {these} would make the network slower",
    "noise": "What folding {these} brings is within the noise (undecided)",
    "overlaps": "Folding {these} would make it faster, but {they} overlap{s} a better choice",
    "dear": "Folding {these} would make it faster, but {they} save{s} too little for the price in this plan",
    "unpriced": "Folding {these} would make it faster, but at a price that is not known",
    "failed": "Nothing is known of {these}, for measuring failed",
    "unmeasured": "Nothing is known of {these}, for nothing was measured",
}
IN_SUM = {
    "slower": "{n} would make the network slower",
    "noise": "{n} {are} within the noise",
    "overlaps": "{n} overlap{s} a better choice",
    "dear": "{n} save{s} too little for the price",
    "unpriced": "{n} {are} without a price",
    "failed": "{n} failed",
    "unmeasured": "{n} {are} not measured",
}

SENTENCES = 6  # about folded segments

Places = tuple[int, int]


@dataclass(frozen=True)
class Told:
    """What is known of a network's options on a device."""

    listing: Listing
    gains: Mapping[str, Gain]
    prices: Mapping[str, Price]
    interactions: Sequence[Interaction]
    unpriced: Mapping[str, str]

    @cached_property
    def segments(self) -> Mapping[Places, tuple[Option, ...]]:
        """Options by the places they take."""
        places = sorted({(option.first, option.after) for option in self.listing.options})
        return {at: tuple(o for o in self.listing.options if (o.first, o.after) == at) for at in places}


def explained(
    plan: FoldingPlan,
    listing: Listing,
    gains: Iterable[Gain],
    prices: Iterable[Price],
    interactions: Sequence[Interaction] = (),
    unpriced: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Sentences about a plan: the sum, then each folded segment, then what is left, a sentence per reason."""
    gain, price = {each.option: each for each in gains}, {each.option: each for each in prices}
    told = Told(listing, gain, price, interactions, unpriced or {})
    folded = [option for option in listing.options if option.name in plan.options]
    groups = _left(told, folded)
    return (
        _sum(plan, told, folded, groups),
        *_folds(told, folded),
        *_together(plan, told),
        *_pairs(plan, told),
        *(_group(told, reason, groups[reason]) for reason in REASONS if reason in groups),
        *_unmergeable(listing),
    )


# --- the sum -------------------------------------------------------------------------------------------------------------


def _sum(plan: FoldingPlan, told: Told, folded: Sequence[Option], groups: Mapping[str, Sequence[Option]]) -> str:
    """2 of 8 segments are folded: 1.19x [1.06, 1.34] predicted; 6 would make the network slower."""
    total, found = len(told.segments), plan.predicted
    if not total:
        return "Nothing can be folded: no layers of this network could become one."
    rest = [_worded(IN_SUM[reason], len(groups[reason])) for reason in REASONS if reason in groups]
    what = f"{phrases.share(len(folded), total, 'segment')} folded"
    speed = f": {phrases.ratio(found.speedup, found.speedup_low, found.speedup_high)} predicted" if folded else ""
    return "; ".join([what + speed, *rest]) + "."


def _worded(template: str, n: int) -> str:
    one = n == 1
    return template.format(n=n, s="s" * one, are="is" if one else "are")


# --- what is folded ------------------------------------------------------------------------------------------------------


def _folds(told: Told, folded: Sequence[Option]) -> Iterator[str]:
    """A sentence per folded segment, in the network's order; of many those that save most, and one for the others."""
    if len(folded) <= SENTENCES:
        yield from (_folded(told, option) for option in folded)
        return
    ranked = sorted(folded, key=lambda option: -_estimate(told.gains.get(option.name)))
    first, others = ranked[: SENTENCES - 1], ranked[SENTENCES - 1 :]
    yield from (_folded(told, option) for option in folded if option in first)
    named = [_name(option) + _size(told.gains.get(option.name)) for option in others]
    yield f"The {len(others)} others save less each: {phrases.some(named)}."


def _folded(told: Told, option: Option) -> str:
    """layer4.1.conv1..layer4.1.conv2 becomes one layer: saves 0.35 ms [0.10, 0.60]; layer4.1.relu1 goes; price 0.012 nats."""
    gain, price = told.gains.get(option.name), told.prices.get(option.name)
    parts = [
        f"saves {_saved(gain)}{_basis(gain)}" if gain and gain.gain_ns is not None else "what it saves is not known"
    ]
    if option.removed:
        parts.append(f"{phrases.some(option.removed)} {'goes' if len(option.removed) == 1 else 'go'}")
    if price:
        parts.append(f"price {_price(price)}")
    form = FORMS[option.form].format(dropped=phrases.some(option.dropped))
    return f"{_name(option)} {form}: {'; '.join(parts)}."


def _basis(gain: Gain) -> str:
    return " (measured by itself, corrected)" if gain.basis == "isolated" else ""


def _price(price: Price) -> str:
    error = "" if price.error is None else f" ± {price.error:.2g}"
    if price.basis == "count":
        return phrases.count(round(price.price), "activation")
    if price.basis == "entropy":
        return f"{price.price:.2g}{error} bits that its activations decide"
    return f"{price.price:.2g}{error} nats of loss after one epoch"


def _together(plan: FoldingPlan, told: Told) -> Iterator[str]:
    """What a plan of several options costs as a whole, beside the sum of their prices, and its accuracy; where it was trained."""
    found = plan.verified
    if found is None or found.price is None or found.accuracy is None or found.baseline is None:
        return
    own = next((each for each in told.interactions if each.options == plan.options), None)
    apart = f", its options one by one {own.added:.2g}: together {_excess(own)}" if own else ""
    accuracy = f"accuracy {100 * found.accuracy:.1f} % where the full network has {100 * found.baseline:.1f} %"
    yield f"Fine-tuned as a whole it costs {found.price:.2g} nats{apart}; {accuracy} (validation part)."


def _pairs(plan: FoldingPlan, told: Told) -> Iterator[str]:
    """Which pairs of a larger plan surely cost more or less together, of those that were trained."""
    pairs = [each for each in told.interactions if len(each.options) == 2 and set(each.options) < set(plan.options)]
    sure = [f"{' + '.join(each.options)} cost {_excess(each)}" for each in pairs if _is_told(each)]
    which = f"{phrases.some(sure)} than one by one" if sure else "none surely costs more or less than one by one"
    if pairs:
        yield f"{phrases.count(len(pairs), 'pair')} of its options {'was' if len(pairs) == 1 else 'were'} trained: {which}."


def _excess(found: Interaction) -> str:
    """0.031 nats more [0.02, 0.042]; where 0 lies within, that so few seeds do not tell it from nothing."""
    sign, word = (-1, "less") if found.excess < 0 else (1, "more")
    size = f"{sign * found.excess:.2g} nats {word}"
    if found.low is None or found.high is None:
        return f"{size}, by one seed alone"
    low, high = sorted((sign * found.low, sign * found.high))
    untold = "" if _is_told(found) else f", which {found.seeds} seeds do not tell from nothing"
    return f"{size} [{low:.2g}, {high:.2g}]{untold}"


def _is_told(found: Interaction) -> bool:
    """Whether the whole interval is above 0, or below."""
    return found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)


# --- what is left --------------------------------------------------------------------------------------------------------


def _left(told: Told, folded: Sequence[Option]) -> dict[str, list[Option]]:
    """The best option of each segment that is not folded, by reason."""
    groups: dict[str, list[Option]] = {}
    for place, options in told.segments.items():
        if not any((option.first, option.after) == place for option in folded):
            best = max(options, key=lambda option: _reach(told.gains.get(option.name)))
            groups.setdefault(_reason(told, best, folded), []).append(best)
    return groups


def _reach(gain: Gain | None) -> tuple[float, float]:
    """Order options by whether they surely pay, and then by how much they may gain."""
    if gain is None or gain.low_ns is None or gain.high_ns is None:
        return (-1.0, 0.0)
    return (1.0 if gain.low_ns > 0 else 0.0, gain.high_ns)


def _reason(told: Told, option: Option, folded: Sequence[Option]) -> str:
    gain = told.gains.get(option.name)
    if gain is None:
        return "unmeasured"
    if gain.low_ns is None or gain.high_ns is None:
        return "failed"
    if gain.low_ns <= 0:
        return "slower" if gain.high_ns < 0 else "noise"
    if option.name not in told.prices:
        return "unpriced"
    touching = any(option.first < other.after and other.first < option.after for other in folded)
    return "overlaps" if touching else "dear"


def _group(told: Told, reason: str, options: Sequence[Option]) -> str:
    """Folding would make these 6 segments slower: layer1.0.conv1..layer1.0.conv2 by 0.31 ms [0.27, 0.35], ... and 3 more."""
    one = len(options) == 1
    these = "this segment" if one else f"these {len(options)} segments"
    said = REASONS[reason].format(these=these, they="it" if one else "they", s="s" * one)
    size = _loss if reason == "slower" else _size
    ranked = sorted(options, key=lambda option: -abs(_estimate(told.gains.get(option.name))))
    named = [_name(option) + size(told.gains.get(option.name)) + _why(told, option) for option in ranked]
    return f"{said}: {phrases.some(named)}."


def _why(told: Told, option: Option) -> str:
    """Why it has no price."""
    return f" ({told.unpriced[option.name]})" if option.name in told.unpriced else ""


def _loss(gain: Gain | None) -> str:
    return f" by {_interval(gain, -1.0)}" if gain else ""


def _size(gain: Gain | None) -> str:
    """What an option would save; why nothing is known where it failed."""
    if gain is None:
        return ""
    return f" ({gain.failure})" if gain.failure else f" ({_saved(gain)})"


def _unmergeable(listing: Listing) -> Iterator[str]:
    """What cannot become one layer with its neighbours, by reason; of many reasons those of the most layers."""
    groups: dict[str, list[str]] = {}
    for path, reason in listing.left.items():
        groups.setdefault(reason.rstrip("."), []).append(path or "the network")
    ranked = sorted(groups, key=lambda reason: -len(groups[reason]))
    for reason in ranked[: phrases.SHOWN]:
        yield f"Cannot be merged: {phrases.some(groups[reason])} ({reason})."
    if rest := ranked[phrases.SHOWN :]:
        many = sum(len(groups[reason]) for reason in rest)
        yield f"{many} more cannot be merged, for {phrases.count(len(rest), 'other reason')}."


# --- noise ---------------------------------------------------------------------------------------------------------------


def undecided(gains: Iterable[Gain]) -> tuple[str, ...]:
    """Options whose interval holds 0: measuring has not told whether they gain or lose."""
    return tuple(
        gain.option
        for gain in gains
        if gain.low_ns is not None and gain.high_ns is not None and gain.low_ns <= 0 <= gain.high_ns
    )


def noise(gains: Sequence[Gain], resolution: float | None, device: str) -> str:
    """Which options are undecided, and what the device can tell apart at all; `resolution` None: it was never calibrated."""
    names = undecided(gains)
    known = [gain for gain in gains if gain.low_ns is not None]
    which = f": {', '.join(names)}" if names else ""
    first = f"{phrases.share(len(names), len(known), 'option')} undecided{which}." if known else "No gain is known."
    if resolution is None:
        return f"{first} What {device} can tell apart is not known: `harness calibrate --device {device}` measures it."
    return f"{first} By its calibration a run on {device} tells networks apart that differ by {100 * resolution:.2g} % or more."


# --- gains ---------------------------------------------------------------------------------------------------------------


def _name(option: Option) -> str:
    """The segment of an option as its name has it: its first and last layer, or its block."""
    return option.name.partition(":")[0]


def _estimate(gain: Gain | None) -> float:
    return 0.0 if gain is None or gain.gain_ns is None else gain.gain_ns


def _saved(gain: Gain) -> str:
    return _interval(gain, 1.0)


def _interval(gain: Gain, sign: float) -> str:
    """A gain, or a loss, with its interval."""
    known = [sign * value for value in (gain.gain_ns, gain.low_ns, gain.high_ns) if value is not None]
    return phrases.time(known[0], min(known[1:]), max(known[1:])) if len(known) == 3 else "an unknown time"
