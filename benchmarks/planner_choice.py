"""How long the planner takes to choose: the front of a network of 60 layers whose segments have up to four, in three forms each.

python -m benchmarks planner_choice        a few seconds

Gains and prices are drawn at random. Twice: as they come, where most options are beaten within their own interval; and so
that none is (longer segments gain more than their parts for less, dearer forms gain more), where the second stage has to look
at all of them.
"""

from __future__ import annotations

import random
import statistics
import time

from benchmarks.figures import Figure
from harness.planner.choice import front
from harness.planner.programme import Item, Programme, likely_ns, worthwhile

LAYERS, LONGEST, FORMS = 60, 4, 3
NETWORKS = 7
BAR_S = 1.0


def measure() -> list[Figure]:
    """Return the times of both kinds of networks."""
    return [
        _timed("gains and prices at random", hard=False),
        _timed("gains and prices such that no option is beaten", hard=True),
    ]


def _timed(what: str, hard: bool) -> Figure:
    networks = [network(random.Random(seed), hard) for seed in range(NETWORKS)]
    seconds, plans = [], []
    for items in networks:
        reference_ns = 2 * likely_ns(Programme(items).fastest)
        began = time.perf_counter()
        plans.append(len(front(items, reference_ns)))
        seconds.append(time.perf_counter() - began)
    slowest = max(seconds)
    left = [len(worthwhile(items)) for items in networks]
    return Figure(
        f"a front of plans, {LAYERS} layers, {len(networks[0])} options: {what}",
        f"<= {BAR_S:g} s",
        f"{statistics.median(seconds):.2f} s",
        slowest <= BAR_S,
        f"median of {NETWORKS} networks, slowest {slowest:.2f} s; stage 1 leaves {_range(left)} options; "
        f"fronts of {_range(plans)} plans",
    )


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def network(dice: random.Random, hard: bool) -> list[Item]:
    """Options of a network, up to four neighbouring layers each."""
    return [
        _item(dice, first, long, form, hard)
        for first in range(LAYERS)
        for long in range(1, min(LONGEST, LAYERS - first) + 1)
        for form in range(FORMS)
    ]


def _item(dice: random.Random, first: int, long: int, form: int, hard: bool) -> Item:
    gain, price = dice.uniform(0.5, 1.0), dice.uniform(0.5, 1.0)
    if hard:
        gain, price = long**2 * (4**form + gain), long * (8**form + price)
    low_ns = 1e4 * gain
    return Item(f"{first}+{long}:{form}", first, first + long, price, low_ns, 1.2 * low_ns, low_ns, 1.4 * low_ns)
