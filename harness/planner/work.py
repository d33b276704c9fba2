"""A planner at work in one folder: it does what is missing there, and reads the rest.

A job that has its reply is never measured again; an agent that is still at work is followed before anything else is done; a
plan that was measured once is not measured again for another target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import store
from harness.compress import client, prices
from harness.errors import DeviceError
from harness.planner import choice, folder, gains, goals, table, words
from harness.planner.bench import Bench, Told, pairs
from harness.planner.folder import TABLE, VERIFY, Asked, Pair, Row
from harness.planner.gains import Compared
from harness.planner.goals import Goal, Learnt
from harness.records import Speedup
from harness.records.planned import (
    FoldingPlan,
    Gain,
    Interaction,
    Listing,
    Option,
    Planned,
    Price,
    PriceBasis,
    Priced,
    Verified,
)

SEGMENTS, WHOLE, ONE_BY_ONE = 0, 1, 2  # jobs of a table; the last only where groups came to nothing
PAIR_TRAININGS = 12  # at most, over all seeds, of pairs within plans of more than two options


@dataclass(frozen=True)
class Table:
    """What the device said of the options: gains, the slope that isolated ones were corrected by, the unfolded latency."""

    gains: tuple[Gain, ...] = ()
    slope: float | None = None
    reference_ns: float | None = None


@dataclass(frozen=True)
class Work:
    """One planner: where results lie, for what it plans, and what measures for it."""

    results: Path
    goal: Goal
    bench: Bench

    def go_on(self) -> Planned:
        """Do what the folder lacks and return what came of it, which is kept there. Raises HarnessError."""
        known = folder.load(self.own)
        self.bench.seconds.update(known.seconds if known else {})
        self.bench.catch_up()
        planned = self._planned(known.listing if known else self._listing())
        folder.save(self.own, planned)  # one that says the same, too: `stored` takes the one that was told last
        return planned

    @property
    def own(self) -> Path:
        """The folder."""
        return self.bench.own

    @property
    def asked(self) -> Asked:
        """The words."""
        return self.bench.begun.asked

    def _listing(self) -> Listing:
        with self.bench.timed("options"):
            return client.options(self.asked.request, self.bench.tell)

    def _planned(self, listing: Listing) -> Planned:
        found = self._table(listing) if listing.options else Table()
        priced, unpriced = self._prices(listing, found.gains)
        front, interactions = self._trained(self._verified(self._front(listing, found, priced)))
        explained = (words.explained(plan, listing, found.gains, priced, interactions, unpriced) for plan in front)
        front = tuple(replace(plan, words=said) for plan, said in zip(front, explained, strict=True))
        calibration = store.load_calibration(self.results, self.asked.device)
        return Planned(
            schema=folder.SCHEMA,
            device=self.asked.device,
            created=self.bench.begun.created,
            asked=folder.plain(self.asked),
            listing=listing,
            reference_ns=found.reference_ns,
            slope=found.slope,
            gains=found.gains,
            prices=priced,
            front=front,
            chosen=goals.chosen(front, self.goal),
            undecided=words.undecided(found.gains),
            resolution=calibration.resolution if calibration else None,
            seconds=dict(self.bench.seconds),
            facts=self.bench.begun.facts,
            versions=self.bench.begun.versions,
            goal=asdict(self.goal),
            interactions=interactions,
            unpriced=unpriced,
        )

    # --- the table ---------------------------------------------------------------------------------------------------

    def _table(self, listing: Listing) -> Table:
        """Measure what is missing of the table, and read it."""
        isolated: dict[str, Compared] = {}
        if table.is_isolated(listing.options, self.asked.precision):
            signature = {option.name: option.signature for option in listing.options}
            told = self.bench.bring(
                folder.place(self.own, TABLE, SEGMENTS), "isolated", table.isolated(listing.options)
            )
            isolated = {signature[options[0]]: each for options, each in told.items()}
        whole = self._in_place(listing, isolated)
        reference_ns = next((each.reference_ns for each in whole.values() if each.reference_ns is not None), None)
        if reference_ns is None and not self._only_unfolded_was_built():
            why = next((each.failure for each in whole.values() if each.failure), "not even two blocks were measured")
            folder.set_aside(self._last_in_place())  # else it would be said for ever
            raise DeviceError(
                f"{self.asked.model} was not measured on {self.asked.device}: {why}",
                "The same command measures it anew.",
            )
        in_place = {options[0]: each for options, each in whole.items() if options}
        found, correction = gains.gains(listing.options, isolated, in_place)
        return Table(found, correction.slope if correction else None, reference_ns)

    def _in_place(self, listing: Listing, isolated: Mapping[str, Compared]) -> Told:
        """Options in the whole network; one by one where groups tell of none, for one that fails takes all of its groups down."""
        worth = gains.worth_a_look(listing.options, isolated)
        told = self._bring_in_place(WHOLE, self._first(worth, grouped=bool(isolated)))
        if any(told) or told.get((), Compared()).failure is not None:
            return told
        return self._bring_in_place(ONE_BY_ONE, self._first(worth, grouped=False)) if worth else told

    def _bring_in_place(self, place: int, wanted: Sequence[Pair]) -> Told:
        """Bring one job in place to its end: what it was begun with, else what is wanted."""
        own = folder.place(self.own, TABLE, place)
        return self.bench.bring(own, "in place", pairs(own) if folder.is_begun(own) else wanted)

    def _first(self, worth: Sequence[Option], *, grouped: bool) -> tuple[Pair, ...]:
        """What a job in place is to hold: groups, each of few, or the first of many, as there is room."""
        if grouped:
            return table.in_groups(worth, self._slots())
        most = len(worth) if len(worth) <= table.ALL_IN_PLACE else table.room(self.bench.budget_s, table.PROCESS_S)
        return table.in_place(worth[:most])

    def _last_in_place(self) -> Path:
        """The folder of the job in place that gains are of."""
        one_by_one = folder.place(self.own, TABLE, ONE_BY_ONE)
        return one_by_one if folder.is_begun(one_by_one) else folder.place(self.own, TABLE, WHOLE)

    def _only_unfolded_was_built(self) -> bool:
        """Whether there was nothing to measure the unfolded network against."""
        rows = folder.load_sheet(self._last_in_place()).rows
        return all(row.reference is not None and row.failure is not None for row in rows)

    def _slots(self) -> float:
        """Processes of whole networks that a block has room for, by how long those of segments took."""
        pace_s = table.process_s(store.events(folder.place(self.own, TABLE, SEGMENTS), self.asked.runtime))
        return table.slots(self.bench.budget_s, (pace_s or table.SEGMENT_S) + table.WHOLE_MORE_S)

    # --- the front ---------------------------------------------------------------------------------------------------

    def _front(self, listing: Listing, found: Table, priced: Sequence[Price]) -> tuple[FoldingPlan, ...]:
        """The front by what is predicted, and the cheapest plan that should reach the target, if it lies between two of it."""
        if found.reference_ns is None:
            return ()
        items = choice.items(listing, found.gains, priced)
        front = choice.front(items, found.reference_ns)
        wanted = goals.reaching(items, found.reference_ns, self.goal.speedup)
        if wanted is None or wanted.options in [plan.options for plan in front]:
            return front
        return tuple(sorted((*front, wanted), key=lambda plan: (plan.price, plan.predicted.speedup)))

    def _verified(self, front: Sequence[FoldingPlan]) -> tuple[FoldingPlan, ...]:
        """Measure the plans that were not measured yet, in blocks of their own, and put beside each what it came to."""
        known = self._known()
        missing = [plan for plan in front if plan.options not in known]
        if missing:
            self.bench.bring(folder.vacant(self.own, VERIFY), "front", table.front(missing))
            known = self._known()
        return tuple(_verified(plan, *known[plan.options]) for plan in front)

    def _known(self) -> dict[tuple[str, ...], tuple[Row, Compared, float | None]]:
        """What was measured of plans so far, by their options; a job that was begun is brought to its end first."""
        known = {}
        for own in folder.places(self.own, VERIFY):
            told = self.bench.bring(own, "front", pairs(own))
            measured = table.measured(*self.bench.read(own))
            for row in folder.load_sheet(own).rows:
                options = row.pair.options
                known[options] = (row, told[options], table.latency_ns(row, measured))
        return known

    # --- what it costs the network -----------------------------------------------------------------------------------

    def _prices(self, listing: Listing, gains: Sequence[Gain]) -> tuple[tuple[Price, ...], Mapping[str, str]]:
        """What each option costs: counted, or learnt by training, of those that likely gain; and why some have no price."""
        basis, wanted = self.goal.importance, goals.likely(gains)
        if basis == "count":
            return goals.counted(listing), {}
        unable = _without_bits(listing, wanted) if basis == "entropy" else {}
        priced = self._priced([each for each in wanted if each[0] not in unable], basis, "prices")
        return prices.summary(priced, "entropy" if basis == "entropy" else "loss"), {
            **unable,
            **prices.failures(priced),
        }

    def _trained(self, front: tuple[FoldingPlan, ...]) -> tuple[tuple[FoldingPlan, ...], tuple[Interaction, ...]]:
        """Where losses are prices: the front with each plan fine-tuned as a whole, and what options cost together, pairs too."""
        if self.goal.importance != "loss":
            return front, ()
        plans = [plan.options for plan in front if plan.verified]
        apart = [(option,) for plan in plans for option in plan]
        wanted = dict.fromkeys((*apart, *plans, *prices.pairs(plans, PAIR_TRAININGS)))
        priced = self._priced(tuple(wanted), "loss", "accuracy")
        told = goals.learnt(priced)
        return tuple(_with(plan, told.get(plan.options)) for plan in front), prices.interactions(priced)

    def _priced(self, wanted: Sequence[tuple[str, ...]], basis: PriceBasis, part: str) -> tuple[Priced, ...]:
        """What these choices are priced: looked up in the cache, whose keys hold all that prices depend on, else trained."""
        request = goals.request(self.asked, wanted, basis)
        known = prices.read(request)
        if known is not None:
            return known
        self.bench.measured = True
        with self.bench.timed(part):
            return client.prices(request, self.bench.tell)


def _without_bits(listing: Listing, choices: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Those of these single options that drop layers, of which activations do not tell; why they have no price in bits."""
    dropping = [option.name for option in listing.options if option.dropped and (option.name,) in choices]
    return dict.fromkeys(dropping, "bits say nothing of dropped layers")


def _with(plan: FoldingPlan, learnt: Learnt | None) -> FoldingPlan:
    if plan.verified is None or learnt is None:
        return plan
    return replace(plan, verified=replace(plan.verified, **vars(learnt)))


def _verified(plan: FoldingPlan, row: Row, told: Compared, latency_ns: float | None) -> FoldingPlan:
    """A plan with what it came to beside what was predicted, or why it could not be built or measured."""
    ratio: Speedup | None = told.speedup
    if told.failure is not None or ratio is None or latency_ns is None or row.cost is None:
        return replace(plan, failure=told.failure or "measured in fewer than two blocks")
    error = plan.predicted.speedup / ratio.ratio - 1
    return replace(plan, verified=Verified(ratio, latency_ns, error, row.cost, row.fold_error))
