"""The two-stage dynamic programme of Kim et al. 2023 (ICML, arXiv 2301.12187), for options that overlap in places. Pure.

Their tables are of times and importances of segments; here an item saves time for a price, and both add up over items that do
not overlap. Stage 1 looks at one interval of places after the other: of all forms and of all splits into smaller items it
keeps the least time for each price. Stage 2 goes over places and budgets: the least total price for at least so much gain.

A budget is an integer number of steps, a 100,000th of the largest gain there is: budgets in µs would be too coarse for one
network and too many for another. Gains are rounded down, so that no plan promises more than its items. What that costs: of
the plans of one price it may take one that gains less than the best by fewer steps than the best has items.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

STEPS = 100_000
SPLITS = 64  # of an interval that stage 1 holds an item against: fewer find less to leave out, and nothing wrong

Split = tuple[float, float, int]  # price, gain in ns, items


@dataclass(frozen=True)
class Item:
    """An option that pays: it takes the places from `first` up to, and without, `after`, for a `price` of 0 or more.

    Choices are made by `likely_ns`, a cautious estimate of the gain, above 0; the gain with its interval is for predictions.
    """

    option: str
    first: int
    after: int
    price: float
    likely_ns: float
    gain_ns: float
    low_ns: float
    high_ns: float
    removed: tuple[str, ...] = ()


Choice = tuple[Item, ...]  # in order of their places


def price_of(choice: Iterable[Item]) -> float:
    """Prices add up."""
    return math.fsum(item.price for item in choice)


def likely_ns(choice: Iterable[Item]) -> float:
    """What items most likely gain, ns."""
    return math.fsum(item.likely_ns for item in choice)


# --- stage 1: within an interval -----------------------------------------------------------------------------------------


def worthwhile(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items that nothing within their interval beats in both price and gain: no other form, no split, no part of it."""
    at: Mapping[tuple[int, int], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.option):
        at[item.first, item.after].append(item)
    ends = {first: max(after for start, after in at if start == first) for first, _ in at}
    kept: dict[tuple[int, int], list[Item]] = defaultdict(list)
    for first in sorted(ends, reverse=True):
        splits: dict[int, list[Split]] = {first: [(0.0, 0.0, 0)]}
        for after in range(first + 1, ends[first] + 1):
            found = [*splits[after - 1], *_split(splits, kept, first, after)]
            kept[first, after] = _unbeaten(at.get((first, after), ()), found)
            own = [(item.price, item.likely_ns, 1) for item in kept[first, after]]
            splits[after] = _least(found + own)[:SPLITS]
    return tuple(item for interval in sorted(kept) for item in kept[interval])


def _split(
    splits: Mapping[int, list[Split]], kept: Mapping[tuple[int, int], list[Item]], first: int, after: int
) -> list[Split]:
    """Splits of an interval whose last item ends with it."""
    return [
        (price + item.price, gain + item.likely_ns, count + 1)
        for place in range(first + 1, after)
        for item in kept.get((place, after), ())
        for price, gain, count in splits[place]
    ]


def _unbeaten(items: Iterable[Item], splits: Sequence[Split]) -> list[Item]:
    """Items of one interval that neither a split of it nor another of them beats; the first by name of equals."""
    order = sorted(items, key=lambda item: (item.price, -item.likely_ns, item.option))
    unlike = [item for item in order if not any(_beats(split, item) for split in splits)]
    return [item for place, item in enumerate(unlike) if all(o.likely_ns < item.likely_ns for o in unlike[:place])]


def _beats(split: Split, item: Item) -> bool:
    price, gain, count = split
    return gain >= item.likely_ns and (price, -gain, count) <= (item.price, -item.likely_ns, 1)


def _least(splits: Iterable[Split]) -> list[Split]:
    """Splits that gain more than all cheaper ones."""
    kept: list[Split] = []
    for split in sorted(splits, key=lambda split: (split[0], -split[1], split[2])):
        if not kept or split[1] > kept[-1][1]:
            kept.append(split)
    return kept


# --- stage 2: over places and budgets ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reached:
    """Layers up to one place: by budget the least price, with how few items, and the item that comes last (-1: none here)."""

    price: NDArray[np.float64]
    count: NDArray[np.int32]
    last: NDArray[np.int32]

    @classmethod
    def after(cls, row: Reached, length: int) -> Reached:
        """The row of the next place before any item ends there: what was reached is reached, nothing else."""
        more = (0, length - len(row.price))
        price = np.pad(row.price, more, constant_values=np.inf)
        return cls(price, np.pad(row.count, more), np.full(length, -1, np.int32))

    def take(self, before: Reached, item: Item, number: int, steps: int) -> None:
        """Let an item come last where that is cheaper, or as cheap with fewer items. `before`: the row at its first place."""
        budgets = np.maximum(np.arange(-steps, len(before.price)), 0)  # at least so much: what is missing is 0
        price, count = before.price[budgets] + item.price, before.count[budgets] + 1
        here = slice(len(budgets))
        better = (price < self.price[here]) | ((price == self.price[here]) & (count < self.count[here]))
        np.copyto(self.price[here], price, where=better)
        np.copyto(self.count[here], count, where=better)
        np.copyto(self.last[here], np.int32(number), where=better)


class Programme:
    """The cheapest choices of items by how much they gain. Equal ones: fewer items, then those that come first by name."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = sorted(worthwhile(items), key=lambda item: (item.after, item.option))
        self.fastest = _fastest(self.items)
        self.step_ns = likely_ns(self.fastest) / STEPS
        self._places = sorted({place for item in self.items for place in (item.first, item.after)})

    @cached_property
    def _rows(self) -> Mapping[int, Reached]:
        """A row per place; those where no item ends are the row before them."""
        row = Reached(np.zeros(1), np.zeros(1, np.int32), np.full(1, -1, np.int32))
        rows: dict[int, Reached] = {}
        ending: Mapping[int, list[tuple[int, int]]] = defaultdict(list)
        for number, item in enumerate(self.items):
            ending[item.after].append((number, self._steps(item)))
        for place in self._places:
            if ending[place]:
                reach = max(steps + len(rows[self.items[number].first].price) for number, steps in ending[place])
                row = Reached.after(row, max(reach, len(row.price)))
            for number, steps in ending[place]:
                row.take(rows[self.items[number].first], self.items[number], number, steps)
            rows[place] = row
        return rows

    def _steps(self, item: Item) -> int:
        return int(item.likely_ns / self.step_ns)

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """Budgets above 0, in steps, of which one step more has a higher price: the most that each price buys."""
        if not self.items:
            return np.zeros(0, np.int64)
        price = self._rows[self._places[-1]].price
        rises = np.flatnonzero(np.append(price[:-1] < price[1:], True))
        return rises[rises > 0]

    def choice(self, budget: int) -> Choice:
        """The cheapest items that gain at least so many steps together."""
        found: list[Item] = []
        place, budget = len(self._places) - 1, int(budget)
        while budget > 0:
            row = self._rows[self._places[place]]
            number = int(row.last[budget])
            if number < 0 or self.items[number].after != self._places[place]:
                place -= 1
                continue
            item = self.items[number]
            found.append(item)
            place, budget = self._places.index(item.first), budget - self._steps(item)
        return tuple(reversed(found))


def _fastest(items: Sequence[Item]) -> Choice:
    """The items that gain the most, without any rounding; of equal ones the cheapest, then the fewest, then by name."""
    places = sorted({place for item in items for place in (item.first, item.after)})
    best: dict[int, Choice] = {}
    so_far: Choice = ()
    for place in places:
        ways = [(*best[item.first], item) for item in items if item.after == place]
        so_far = best[place] = min([so_far, *ways], key=rank)
    return so_far


def rank(choice: Choice) -> tuple[float, float, int, tuple[str, ...]]:
    """Order by gain, most first, then price, then number, then names."""
    return (-likely_ns(choice), price_of(choice), len(choice), tuple(item.option for item in choice))
