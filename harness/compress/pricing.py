"""Price options: how much worse the network gets by each, in tiers, from free to dear. In the child, with torch.

    free      bits that the removed activations decide in the trained full network, on held-out images; where layers are
              dropped, of which activations say nothing, how much the held-out loss rises before any fine-tuning
    trained   the option is taken from the full network, which is fine-tuned; the held-out loss after it, less that of the full
              network fine-tuned as long with the same seed

The free ones are had for all before anything is fine-tuned, and say in which order: what seems cheap comes first, so that
whoever interrupts has the prices that a planner asks for first. Each training is kept as it ends.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from harness.child import OnProgress, Progress
from harness.compress import activations, edits, keys, options, plans, prices, rungs, shelf, state, train
from harness.compress.climber import Lesson, Means, Pace
from harness.compress.edits import Edit
from harness.compress.ladder import Climber
from harness.compress.prices import Choice, Free, Trained
from harness.compress.shelf import Shelf
from harness.errors import FoldError, TrainError, UsageError
from harness.records.planned import Listing, Option, OptionsRequest, PricesRequest

Training = tuple[Choice, int]  # what is fine-tuned, with which seed


def make(request: PricesRequest, on_progress: OnProgress) -> None:
    """Make what the cache lacks of the prices asked for; all words are judged before anything is trained.

    Raises UsageError (options, data), ContentError, StoreError; TrainError where a full network's own training diverges.
    """
    pricer = _Pricer(request, on_progress)
    taken = {choice: options.named(pricer.listing, choice) for choice in request.wanted}
    made = {choice: options.edits_of(each) for choice, each in taken.items()}
    pricer.open()
    free = {(choice, seed): pricer.free(taken[choice], choice, seed) for seed in pricer.networks for choice in taken}
    queue = order(taken, free)
    if request.tier == "loss":
        pricer.train_all(queue, made)


def order(taken: Mapping[Choice, Sequence[Option]], free: Mapping[Training, Free]) -> tuple[Choice, ...]:
    """Choices in the order in which they are trained: by free statistics, what seems cheapest first.

    Bits order those that drop no layer, zero-shot loss those that do; the two orders are merged by rank, for bits and nats
    cannot be compared.
    """
    dropping = [choice for choice, each in taken.items() if any(option.dropped for option in each)]
    bits = {choice: _mean(one.entropy for (of, _), one in free.items() if of == choice) for choice in taken}
    nats = {choice: _mean(_or_worst(one.rise) for (of, _), one in free.items() if of == choice) for choice in dropping}
    ranks: dict[Choice, float] = {}
    for scores in ({choice: bit for choice, bit in bits.items() if choice not in nats}, nats):
        ranked = sorted(scores, key=lambda choice: scores[choice])
        ranks.update({choice: (place + 0.5) / len(ranked) for place, choice in enumerate(ranked)})
    return tuple(sorted(ranks, key=lambda choice: ranks[choice]))


def entropies(network: nn.Module, split: state.Split) -> dict[str, float]:
    """Mean entropy, in bits, of how often each position of each activation's input is ON (z >= 0), over `split`.

    So method `easier` has it by position; an activation that is never called decides nothing and is not there.
    """
    on: dict[tuple[str, torch.Size], Tensor] = {}  # a module may be called with several shapes
    inputs: Counter[tuple[str, torch.Size]] = Counter()

    def see(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        key = name, given[0].shape[1:]
        on[key] = on.get(key, 0) + (given[0] >= 0).sum(dim=0)
        inputs[key] += len(given[0])

    names = activations(network)
    handles = [network.get_submodule(name).register_forward_pre_hook(partial(see, name)) for name in names]
    with torch.inference_mode():
        for batch, _ in state.batches(split):
            network.eval()(batch)
    for handle in handles:
        handle.remove()
    bits: dict[str, list[Tensor]] = {}
    for key, count in on.items():
        bits.setdefault(key[0], []).append(_entropy(count.double() / inputs[key]).flatten())
    return {name: float(torch.cat(each).mean()) for name, each in bits.items()}


def _entropy(p: Tensor) -> Tensor:
    """Entropy of a coin, in bits; exactly 0 at p = 0 and p = 1."""
    nats: Tensor = torch.special.entr(p) + torch.special.entr(1 - p)
    return nats / math.log(2)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _or_worst(rise: float | None) -> float:
    return math.inf if rise is None else rise


# --- full networks -------------------------------------------------------------------------------------------------


class _Pace(Pace):
    """How long all that is still to be trained takes: `left` epochs, in whichever training."""

    left = 0

    def lap(self, epochs_left: int) -> str:
        """One of them is done, whatever its own training knows of the others."""
        self.left = max(0, self.left - 1)
        return super().lap(self.left)


class _FullMeans(Means):
    """The means of a ladder of which rung 0 alone is wanted: what it tells is about the prices."""

    def tell(self, rung: int, doing: str) -> None:
        """Say what is being done; rung 0 is the full network before anything is priced."""
        self.say(doing if rung else f"the full network, {doing}")

    def say(self, text: str) -> None:
        """Say which network it is about."""
        self.on_progress(Progress(f"{self.request.model}, seed {self.request.seed}: {text}"))


class _Full:
    """The trained full network of one seed: rung 0 of every ladder of that seed."""

    def __init__(self, means: Means) -> None:
        self.means = means

    @cached_property
    def key(self) -> str:
        """Its key, once it is in the cache. Raises TrainError where training diverges."""
        return Climber(self.means, Shelf(self.means.say)).first().key

    @property
    def is_made(self) -> bool:
        """Whether it is there already."""
        return rungs.can_go_on(keys.rung(self.means.request, 0, None))

    def edited(self, made: Sequence[Edit]) -> nn.Module:
        """A copy of it that these edits were made to. Raises FoldError."""
        network = self.means.build()
        network.load_state_dict(torch.load(rungs.state_file(self.key), weights_only=True))
        return train.lay_out(edits.apply(network.eval(), made, self.means.example))

    @cached_property
    def entropies(self) -> dict[str, float]:
        """Bits that each of its activations decides."""
        return entropies(self.edited(()), self.means.data.validation)

    @cached_property
    def loss(self) -> float:
        """Its held-out loss, in nats."""
        return train.loss_of(self.edited(()), self.means.data.validation)


# --- all prices of a request ---------------------------------------------------------------------------------------


@dataclass
class _Pricer:
    """A request being served: the full network of each seed, what is done and what is left."""

    request: PricesRequest
    on_progress: OnProgress
    pace: _Pace = field(default_factory=_Pace)
    done: int = 0
    total: int | None = None

    @cached_property
    def listing(self) -> Listing:
        """All that may be done to the network."""
        asked = self.request
        of = OptionsRequest(asked.model, asked.task, data=asked.data, layers=asked.layers, kernel=asked.kernel)
        return plans.Means(of).listing

    @cached_property
    def networks(self) -> dict[int, _Full]:
        """The full networks by seed."""
        return {seed: _Full(self._means(seed)) for seed in prices.seeds(self.request)}

    def open(self) -> None:
        """Have every full network in the cache, trained. Raises UsageError, ContentError, TrainError, StoreError."""
        missing = [full for full in self.networks.values() if not full.is_made]
        each = missing[0].means.schedules.full.epochs if missing else 0
        later = (len(self.request.wanted) + 1) * len(self.networks) * self.request.epochs
        self.pace.left = len(missing) * each + (later if self.request.tier == "loss" else 0)
        data = None
        for full in self.networks.values():
            full.means.look()
            if data is not None:
                full.means.data = data
            data = full.means.data
            assert full.key  # made by now

    def free(self, taken: Sequence[Option], choice: Choice, seed: int) -> Free:
        """What the full network of a seed says of a choice without being trained."""
        known = prices.read_free(self.request, choice, seed)
        if known is None:
            full = self.networks[seed]
            full.means.say(f"what {say(choice)} decides")
            bits = math.fsum(full.entropies.get(name, 0.0) for option in taken for name in option.removed)
            known = Free(bits, self._rise(full, taken) if any(option.dropped for option in taken) else None)
            prices.write_free(self.request, choice, seed, known)
        return known

    def train_all(self, queue: Sequence[Choice], made: Mapping[Choice, tuple[Edit, ...]]) -> None:
        """Fine-tune the full networks, then the choices in turn, each with all seeds: prices become whole one by one."""
        told = ", ".join(map(say, queue))
        self.on_progress(Progress(f"{self.request.model}: by what is known without training, cheapest first: {told}"))
        every = [(choice, seed) for choice in ((), *queue) for seed in self.networks]
        todo = [(choice, seed) for choice, seed in every if prices.read_trained(self.request, choice, seed) is None]
        self.total = len(todo)
        for self.done, (choice, seed) in enumerate(todo):
            self.pace.left = (len(todo) - self.done) * self.request.epochs
            trained = self._outcome(choice, made.get(choice, ()), seed)
            prices.write_trained(self.request, choice, seed, trained)

    def _means(self, seed: int) -> Means:
        means = _FullMeans(keys.full(self.request, seed), self._counted)
        if means.task.CLASSES < 2:
            raise UsageError(
                f"task {self.request.task} has one class: there is nothing to learn", "Name another --task."
            )
        means.pace = self.pace
        return means

    def _counted(self, progress: Progress) -> None:
        self.on_progress(replace(progress, done=self.done if self.total else None, total=self.total))

    def _rise(self, full: _Full, taken: Sequence[Option]) -> float | None:
        """How much the held-out loss rises by the edits alone; None where they cannot be made, or it is not finite."""
        try:
            loss = train.loss_of(full.edited(options.edits_of(taken)), full.means.data.validation)
        except FoldError:
            return None
        return loss - full.loss if math.isfinite(loss) else None

    def _outcome(self, choice: Choice, made: Sequence[Edit], seed: int) -> Trained:
        """What comes of a choice; options that differ in what is merged alone are trained once."""
        key = keys.outcome(self.request, [asdict(edit) for edit in made if edit.kind != "merge"], seed)
        known = prices.read_outcome(key)
        if known is None:
            known = self._train(f"{say(choice)} ({self.done + 1} of {self.total})", made, seed, key)
            prices.write_outcome(key, known)
        return known

    def _train(self, doing: str, made: Sequence[Edit], seed: int, key: str) -> Trained:
        began, full = time.monotonic(), self.networks[seed]
        lesson = Lesson(full.means, full.means.schedules.rung.lasting(self.request.epochs), 1, key, doing)
        loss, accuracy, failure = None, None, None
        try:
            network = full.edited(made)
            lesson.fit(network)
            loss = train.loss_of(network, full.means.data.validation)
            accuracy = train.evaluate(network, full.means.data.validation)
        except (FoldError, TrainError) as error:
            failure = error.message
        if loss is not None and not math.isfinite(loss):
            loss, accuracy, failure = None, None, f"the held-out loss is {loss}"
        shelf.discard(lesson.folder)
        return Trained(loss, accuracy, round(time.monotonic() - began, 3), failure)


def say(choice: Choice) -> str:
    """What people call a choice of options."""
    return " + ".join(choice) or "nothing taken"
