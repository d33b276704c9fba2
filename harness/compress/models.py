"""The networks of a model's file, checked: a content file's mistake is told with its place before anything is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from harness import content
from harness.compress import program
from harness.errors import ContentError, UsageError


def task(name: str, data: str | None) -> ModuleType:
    """Return a task that knows how many classes it has, counted in the folder `data` where it is any folder of images.

    Raises UsageError for an unknown name; ContentError where they cannot be counted.
    """
    module, file = content.load("task", name), content.find("task", name)
    if module.CLASSES is not None:
        return module
    with content.blaming(file):
        counted = {"CLASSES": module.classes(data)}
    told = ModuleType(module.__name__)
    vars(told).update(vars(module) | counted)
    return told


def build(model: str, task: ModuleType, seed: int) -> nn.Module:
    """Return the model's full network for the task, with random weights, the same ones for the same seed.

    Raises UsageError (a task that it does not fit); ContentError, with the place, when the file's code fails or its output
    is not (N, classes).
    """
    module, file = content.load("model", model), content.find("model", model)
    require_fit(model, task)
    torch.manual_seed(seed)
    with content.blaming(file):
        network = module.build(None, classes=task.CLASSES, shape=task.SHAPE)
    return _checked(network, file, "build()", task)


def controls(model: str, task: ModuleType, seed: int) -> dict[str, nn.Module]:
    """Return the model's latency controls by name, none if it has none. Raises as `build` does."""
    module, file = content.load("model", model), content.find("model", model)
    make = getattr(module, "controls", None)
    if make is None:
        return {}
    require_fit(model, task)
    torch.manual_seed(seed)
    with content.blaming(file):
        networks = dict(make(task.CLASSES, task.SHAPE))
    return {name: _checked(network, file, f'control "{name}"', task) for name, network in networks.items()}


def example(task: ModuleType, seed: int) -> Tensor:
    """Return a batch of the task's kind: numbers, or tokens of its vocabulary, of its shape."""
    return program.make_example(task.SHAPE, seed, vocabulary(task))


def vocabulary(file: ModuleType) -> int | None:
    """Return how many tokens a model or a task knows; None for one of numbers."""
    known: int | None = getattr(file, "VOCABULARY", None)
    return known


def require_fit(model: str, task: ModuleType) -> None:
    """Check that the model reads what the task holds: numbers, or tokens that it all knows. Raises UsageError."""
    reads, holds = vocabulary(content.load("model", model)), vocabulary(task)
    if (reads is None) != (holds is None):
        one, other = ("numbers", "tokens") if reads is None else ("tokens", "numbers")
        raise UsageError(f"model {model} reads {one}, the task holds {other}", "Name another --task.")
    if reads is not None and holds is not None and holds > reads:
        raise UsageError(f"model {model} knows {reads} tokens, the task has {holds}", "Name another --task.")


def _checked(network: object, file: Path, what: str, task: ModuleType) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise ContentError(f"{file}: {what} must be a torch.nn.Module, not {type(network).__name__}")
    inputs = example(task, seed=0)
    with content.blaming(file), torch.no_grad():
        output = copy.deepcopy(network).eval()(inputs)  # a copy: the caller's keeps its mode
    expected = (len(inputs), task.CLASSES)
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if found != expected:
        raise ContentError(
            f"{file}: {what} must give (inputs, classes) = {expected} for inputs {tuple(inputs.shape)}, not {found}"
        )
    return network
