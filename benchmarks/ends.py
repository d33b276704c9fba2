"""Two rungs of a ladder and nothing between: a network at full depth, and the one whose activations have gone at once.

A ladder goes step by step, which comes to the same network (`tests/compress/folding/test_padding.py`) but takes long where
there are many steps. What is made is kept in the cache like a ladder's rungs.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from harness import content
from harness.compress import keys, rungs
from harness.records import Ladder, LadderRequest, Rung, digest

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST = 1e-3  # outputs smaller than this are small for float16, whose steps are 6e-8 at best
NICENESS = 10  # of what is not timed: others may be at work on this machine


def make(request: LadderRequest, removed: str = "") -> Ladder:
    """Return a ladder of two rungs, with random weights; `removed` is a pattern of what goes of all that unlocks a merge.

    Raises HarnessError.
    """
    source = content.source_hash(Path(__file__))
    both = [digest({"end": end, "of": keys.ladder(request), "source": source}) for end in ("", f"without {removed}")]
    if any(rungs.read(key) is None for key in both):
        with ProcessPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as pool:
            pool.submit(_make, request, removed, *both).result()
    made = tuple(rungs.require(key) for key in both)
    return Ladder(request.method, request.method, request.model, request.task, {}, request.seed, made)


def _make(request: LadderRequest, removed: str, full: str, folded: str) -> None:
    """Write both rungs, in a child: torch stays out of the process that measures."""
    import torch

    from harness.compress import mergeable, models, pad_first, remove

    torch.set_num_threads(1)
    task = content.load("task", request.task)
    network, example = models.build(request.model, task, request.seed).eval(), models.example(task, request.seed)
    names = tuple(name for name in mergeable(network, example) if re.match(removed, name))
    images = task.load(None).train.images[:256]
    without = _settled(remove(network, names), images)
    _write(full, request, _settled(network, images), example, ())
    _write(folded, request, pad_first(without, example, names), example, names)


def _settled(network: nn.Module, images: Tensor) -> nn.Module:
    """The network, its norms with the statistics of these images where its outputs are too small without them."""
    import torch

    with torch.no_grad():
        if network(images[:4]).abs().max() > LEAST:
            return network
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain mean over what it sees
                module.reset_running_stats()
        network.train()(images)
    return network.eval()


def _write(key: str, request: LadderRequest, network: nn.Module, example: Tensor, names: tuple[str, ...]) -> None:
    from harness.compress import models, program

    task = content.load("task", request.task)
    with rungs.writing(key) as folder:
        file, vocabulary = folder / rungs.PROGRAM, models.vocabulary(task)
        deployed = program.deploy(network, example, task.CLASSES, request.forms, file, vocabulary)
        rung = Rung(
            rung=len(names),
            network=request.model,
            removed=len(names),
            activations=None,
            eligible=None,
            removed_names=names,
            setting=None,
            padding="moved" if names else "kept",
            accuracy=None,
            accuracy_removed=None,
            accuracy_moved=None,
            choice=None,
            **vars(deployed),
        )
        rungs.write_record(folder, rung)
