"""What a plan is held against: choices that anybody could make without measuring, of as many options as the plan has. Pure.

Each is a set of options of the same network, made, trained and measured as a plan is: what differs is how it was chosen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from harness.records.planned import Listing, Option, OptionsRequest

RANDOM = 5  # choices at random
Names = tuple[str, ...]


def rivals(listing: Listing, many: int, order: Sequence[str] = (), seed: int = 0) -> dict[str, Names]:
    """Return option names by rival, for plans of `many` folded blocks; `order` has activations, first out first.

    fold everything, MACs greedy, deepest first, EASIER's order (where an order is given), random 1 to 5, uniform block drop
    (every other residual block). Choices at random differ from each other, and are fewer where there are not so many; others may
    come out alike. One of nothing is none.
    """
    every = whole_blocks(listing)
    few = min(many, len(every))
    found = {
        "fold everything": every,
        "MACs greedy": sorted(every, key=_macs_added)[:few],
        "deepest first": every[len(every) - few :],
        "EASIER's order": _in_order(every, order)[:few],
        **{f"random {n + 1}": drawn for n, drawn in enumerate(_drawn(every, few, seed))},
        "uniform block drop": _blocks(listing)[1::2],
    }
    return {name: tuple(sorted(_names(options))) for name, options in found.items() if options}


def request(model: str, task: str) -> OptionsRequest:
    """What to ask for, so that all of these are among the options."""
    return OptionsRequest(model, task, forms=("plain", "dense", "tail", "skip", "bypass"))


def touched(listing: Listing, names: Sequence[str]) -> int:
    """How many blocks these options reach into: of so many its rivals are."""
    taken = [option for option in listing.options if option.name in names]
    return sum(not all(_is_apart(block, option) for option in taken) for block in whole_blocks(listing))


def whole_blocks(listing: Listing) -> list[Option]:
    """The options that fold each block whole, in forward order: what the ladders of the literature choose among.

    A block is the innermost module that holds a segment's layers; its option is that of the most layers, and in one that
    goes on beyond it (VGG's row of convolutions) those of the most layers in what is left.
    """
    plain = [option for option in listing.options if option.form == "plain" and option.removed]
    home = {option.name: _home(option) for option in plain}
    inner = {path for path in home.values() if not any(other.startswith(path + ".") for other in home.values())}
    found: list[Option] = []
    for option in sorted(plain, key=lambda option: (-len(option.layers), option.first)):
        if home[option.name] in inner and all(_is_apart(option, other) for other in found):
            found.append(option)
    return sorted(found, key=lambda option: option.first)


def _home(option: Option) -> str:
    """The innermost module that holds all of an option's layers; a network without any has one home, itself."""
    parts = [layer.split(".")[:-1] for layer in option.layers]
    shared = []
    for steps in zip(*parts, strict=False):
        if len(set(steps)) > 1:
            break
        shared.append(steps[0])
    return ".".join(shared)


def _is_apart(one: Option, other: Option) -> bool:
    """Whether two options touch no common layer."""
    return one.after <= other.first or other.after <= one.first


def _blocks(listing: Listing) -> list[Option]:
    return [option for option in listing.options if option.form == "skip"]


def _drawn(every: Sequence[Option], few: int, seed: int) -> list[list[Option]]:
    """Choices of so many, each once: RANDOM of them, or all that there are."""
    draw = random.Random(seed)
    found: list[list[Option]] = []
    while len(found) < min(RANDOM, math.comb(len(every), few)):
        one = draw.sample(every, few)
        if all(set(_names(one)) != set(_names(other)) for other in found):
            found.append(one)
    return found


def _names(options: Sequence[Option]) -> list[str]:
    return [option.name for option in options]


def _macs_added(option: Option) -> tuple[int, str]:
    return option.macs_after - option.macs_before, option.name


def _in_order(options: Sequence[Option], order: Sequence[str]) -> list[Option]:
    """Options by the place of the last of their activations in an order; those that are not in it are left out."""
    place = {name: at for at, name in enumerate(order)}
    able = [option for option in options if all(name in place for name in option.removed)]
    return sorted(able, key=lambda option: max(place[name] for name in option.removed))
