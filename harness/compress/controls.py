"""Latency controls: networks that are shallower or narrower from the start, which folding has to beat. Untrained."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from harness.child import OnProgress, Progress
from harness.compress import activations, keys, models, program, rungs
from harness.records import Rung

NAME = "controls"
UNTRAINED = "a latency control: never trained"
NOTHING_REMOVED = "a control is a network of its own: nothing is removed from it"


def make(model: str, task: str, seed: int, data: str | None, key: str, on_progress: OnProgress) -> None:
    """Fold and export `controls(classes, shape)` of the model into the cache, as a ladder under `key`; empty if it has none.

    Raises UsageError, FoldError, StoreError.
    """
    known = models.task(task, data)
    networks = models.controls(model, known, seed)
    made = {keys.control(model, task, seed, name, data): name for name in networks}
    for place, (own, name) in enumerate(made.items()):
        on_progress(Progress(f"{NAME}: {name}", place, len(made)))
        if rungs.read(own) is None:
            _make(own, place, name, networks[name], known, seed)
    rungs.write_ladder(key, rungs.Outline(NAME, {}, None, eligible=0), list(made))


def _make(key: str, place: int, name: str, network: nn.Module, task: ModuleType, seed: int) -> None:
    example, vocabulary = models.example(task, seed), models.vocabulary(task)
    with rungs.writing(key) as folder:
        deployed = program.deploy(network, example, task.CLASSES, (), folder / rungs.PROGRAM, vocabulary)
        rung = Rung(
            rung=place,
            network=name,
            removed=0,
            activations=len(activations(network)),
            eligible=0,
            removed_names=(),
            setting=None,
            padding="kept",
            accuracy=None,
            accuracy_removed=None,
            accuracy_moved=None,
            choice=None,
            reasons={
                "setting": NOTHING_REMOVED,
                "accuracy": UNTRAINED,
                "accuracy_removed": NOTHING_REMOVED,
                "accuracy_moved": NOTHING_REMOVED,
            },
            **vars(deployed),
        )
        rungs.write_record(folder, rung)
