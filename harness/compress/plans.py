"""Networks for a planner to measure: whole ones with some options taken, and segments by themselves. In the child, untrained.

Each goes the way of a rung: edited, folded and proved, exported, cached; its record tells what it costs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

from torch import Tensor, nn

from harness.child import OnProgress, Progress
from harness.compress import activations, edits, listings, models, options, program, rungs
from harness.compress.scenes import Scene
from harness.errors import FoldError
from harness.records import Rung
from harness.records.planned import Listing, Option, OptionsRequest, Wanted

UNTRAINED = "made to be measured: never trained"


def list_options(request: OptionsRequest, key: str, on_progress: OnProgress) -> None:
    """Find what may be done to a network, and keep it under `key`. Raises UsageError, ContentError, FoldError, StoreError."""
    means = Means(request)
    on_progress(Progress(f"{request.model}: looking for what can be folded"))
    listings.write(key, options.find(means.scene, request))


def make(request: OptionsRequest, wanted: Mapping[str, Wanted], on_progress: OnProgress) -> dict[str, str]:
    """Make each network into the cache, under its key; return why some could not be made, which is tried anew the next time.

    Raises UsageError, ContentError, StoreError; FoldError where not even the unfolded network can be made.
    """
    means, failed = Means(request), dict[str, str]()
    for place, (key, each) in enumerate(wanted.items()):
        on_progress(Progress(f"{request.model}: {say(each)}", place, len(wanted)))
        try:
            if rungs.read(key) is None:
                means.make(each, key)
        except FoldError as error:
            if not each.options:
                raise
            failed[key] = error.message
    return failed


def say(wanted: Wanted) -> str:
    """What people call such a network."""
    if not wanted.options:
        return "unfolded"
    return " + ".join(wanted.options) if wanted.kind == "whole" else f"{wanted.options[0]}, {wanted.kind}"


@dataclass(frozen=True)
class Means:
    """A request with the network that it is about."""

    request: OptionsRequest

    @cached_property
    def task(self) -> ModuleType:
        """The task, which says shape and classes."""
        return models.task(self.request.task, self.request.data)

    @cached_property
    def network(self) -> nn.Module:
        """The network, in eval mode."""
        return models.build(self.request.model, self.task, self.request.seed).eval()

    @cached_property
    def example(self) -> Tensor:
        """What it is traced with."""
        return models.example(self.task, self.request.seed)

    @cached_property
    def scene(self) -> Scene:
        """The network as options see it."""
        return Scene.of(self.network, self.example)

    @cached_property
    def listing(self) -> Listing:
        """All that may be done to it, whatever the request's forms: an option's name means the same for all."""
        return options.find(self.scene, replace(self.request, forms=options.EVERY))

    def make(self, wanted: Wanted, key: str) -> None:
        """Make one network into the cache, under `key`."""
        taken = options.named(self.listing, wanted.options)
        made = () if wanted.kind == "kept" else options.edits_of(taken)
        network, example = (self.network, self.example) if wanted.kind == "whole" else self._alone(taken[0])
        shorter = edits.apply(copy.deepcopy(network), made, example)
        vocabulary = models.vocabulary(self.task) if wanted.kind == "whole" else None
        with rungs.writing(key) as folder:
            deployed = program.deploy(
                shorter,
                example,
                self.task.CLASSES,
                (),
                folder / rungs.PROGRAM,
                vocabulary,
                edits.merging(made),
            )
            removed = tuple(name for option in taken for name in option.removed) if made else ()
            rungs.write_record(folder, _record(wanted, network, removed, deployed))

    def _alone(self, option: Option) -> tuple[nn.Module, Tensor]:
        """An option's segment as it is. Raises FoldError where it has no life of its own."""
        found = options.alone(self.scene, option, self.request)
        if found is None:
            raise FoldError(f"{option.name} cannot be measured by itself", "Measure it in the whole network.")
        return found.network, found.example


def _record(wanted: Wanted, network: nn.Module, removed: tuple[str, ...], deployed: program.Deployed) -> Rung:
    return Rung(
        rung=0,
        network=say(wanted),
        removed=len(removed),
        activations=len(activations(network)),
        eligible=None,
        removed_names=removed,
        setting=None,
        padding="moved" if removed else "kept",
        accuracy=None,
        accuracy_removed=None,
        accuracy_moved=None,
        choice=None,
        reasons=dict.fromkeys(("setting", "accuracy", "accuracy_removed", "accuracy_moved"), UNTRAINED),
        **vars(deployed),
    )
