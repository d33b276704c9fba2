"""What ladders and rungs are cached by: everything that they depend on, and nothing that they do not. Without torch.

A rung's key holds the variant of the rung above, so a rung never rests on another than the one it was made from. Rung 0
depends on neither method nor recipe nor on what is eligible, only on whether it is trained: all ladders go on from the
same network.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import content
from harness.compress import recipes, schedules
from harness.content import Kind
from harness.records import Choice, Cost, Group, LadderRequest, Rung, Variant, digest
from harness.records.planned import OptionsRequest, PricesRequest, Wanted

_HERE = Path(__file__).resolve().parent
_FOLDING = ("__init__.py", "program.py", "folding/*.py", "../flops.py")
_LADDER = (
    *_FOLDING,
    *(f"{name}.py" for name in ("models", "ladder", "drafts", "climber", "edits", "state", "train", "schedules")),
    *("ranking.py", "widths.py"),
    *(f"{name}.py" for name in ("blocks", "spans", "channels", "slopes", "fronts")),  # edits, and what methods ask
    *(f"{name}.py" for name in ("options", "scenes", "segments")),
)
_CONTROLS = (*_FOLDING, "models.py", "controls.py")
_PLANS = (
    *_FOLDING,
    *(f"{name}.py" for name in ("models", "edits", "blocks", "options", "scenes", "segments", "plans")),
)
_PRICES = ("pricing.py",)
_EXAMPLES = ("examples.py",)
CONTROL = "continue"  # the method that `delta` holds rungs against
# decode, cut into tokens, split, draw resamples, prune widths
_PACKAGES = ("numpy", "pillow", "scikit-learn", "scipy", "tokenizers", "torch-pruning")


def ladder(request: LadderRequest) -> str:
    """Key of a whole ladder. Raises UsageError for unknown names and settings."""
    ends = {"rungs": request.rungs, "budget_epochs": request.budget_epochs, "delta": request.delta}
    judged = None if request.delta is None else [*_sources("method", CONTROL), _HERE / "delta.py"]
    held = content.source_hash(*judged) if judged else None
    return digest({"ladder": _shared(request), "ends": {**ends, "held_against": held}, **_chosen(request)})


def rung(request: LadderRequest, number: int, above: str | None, tuning: Mapping[str, Any] | None = None) -> str:
    """Key of rung `number`, below the rung whose variant is named `above` (None for rung 0).

    `tuning` holds schedule and epochs of what comes after full depth.
    """
    trains = content.constant("method", request.method, "TRAINS")
    chosen = {**_chosen(request), "tuning": dict(tuning or {})} if number > 0 else None
    return digest({"rung": number, "above": above, "trained": trains, "chosen": chosen, **_shared(request)})


def begun(request: LadderRequest, full: str, tuning: Mapping[str, Any]) -> str:
    """Key of the full network (its variant's name) as a method trains it before its first choice."""
    return digest({"begun": full, "tuning": tuning["begin"], **_chosen(request), **_shared(request)})


def controls(model: str, task: str, seed: int, data: str | None = None) -> str:
    """Key of the ladder of a model's latency controls; `data` is the folder in which the task counts its classes."""
    return digest({"controls": _network(model, task, seed, _CONTROLS), **_counted(data)})


def control(model: str, task: str, seed: int, name: str, data: str | None = None) -> str:
    """Key of one latency control."""
    return digest({"control": name, **_network(model, task, seed, _CONTROLS), **_counted(data)})


def options(request: OptionsRequest) -> str:
    """Key of what may be done to a network."""
    return digest({"options": asdict(request), **_planned(request)})


def planned(request: OptionsRequest, wanted: Wanted) -> str:
    """Key of a network that is made for measuring; what may be done besides does not matter to it."""
    return digest({"planned": asdict(wanted), **_planned(request)})


def _planned(request: OptionsRequest) -> dict[str, Any]:
    return {**_network(request.model, request.task, request.seed, _PLANS), **_counted(request.data)}


def full(request: PricesRequest, seed: int) -> LadderRequest:
    """The ladder whose rung 0 is the full network that prices of one seed go out from: every ladder's of that seed."""
    return LadderRequest(
        method=CONTROL,
        model=request.model,
        task=request.task,
        seed=seed,
        threads=request.threads,
        data=request.data,
        schedule=request.schedule,
        train_on=request.train_on,
    )


def free(request: PricesRequest, choice: Sequence[str], seed: int) -> str:
    """Key of what the trained full network says of a choice of options, whatever their order."""
    return digest({"free": _choice(request, choice), "code": _hash(_PRICES), **_shared(full(request, seed))})


def trained(request: PricesRequest, choice: Sequence[str], seed: int) -> str:
    """Key of what comes of a choice of options when it is fine-tuned; of none, the full network fine-tuned as long."""
    return digest({"trained": _choice(request, choice), **_tuned(request, seed)})


def outcome(request: PricesRequest, edits: Sequence[Mapping[str, Any]], seed: int) -> str:
    """Key of what comes of these edits when they are fine-tuned, whichever options ask for them."""
    return digest({"outcome": list(edits), **_tuned(request, seed)})


def _choice(request: PricesRequest, choice: Sequence[str]) -> dict[str, Any]:
    return {"options": sorted(set(choice)), "layers": request.layers, "kernel": request.kernel}


def _tuned(request: PricesRequest, seed: int) -> dict[str, Any]:
    schedule = schedules.named(request.schedule, request.model).rung.lasting(request.epochs)
    return {"tuned": asdict(schedule), "code": _hash(_PRICES), **_shared(full(request, seed))}


def examples(task: str, data: str | None) -> str:
    """Key of a task's examples, for artifacts of rounded numbers."""
    return digest(
        {
            "examples": task,
            "torch": metadata.version("torch"),
            "sources": [content.source_hash(*_sources("task", task)), _hash(_EXAMPLES)],
            **_data(data),
        }
    )


@functools.cache
def listing(folder: str) -> str:
    """Hash of a folder's files by name, size and time of change; taken once, as the data of a climb are read once."""
    root = Path(folder)
    files = ((str(file.relative_to(root)), file.stat()) for file in root.rglob("*") if file.is_file())
    return digest(sorted([name, facts.st_size, facts.st_mtime_ns] for name, facts in files))


def _shared(request: LadderRequest) -> dict[str, Any]:
    """What all rungs of a ladder depend on."""
    asked = {
        "forms": list(request.forms),
        "threads": request.threads,
        "train_on": request.train_on,
        "full_depth": asdict(schedules.named(request.schedule, request.model).full),
        **_data(request.data),
    }
    return {**_network(request.model, request.task, request.seed, _LADDER), **asked}


def _chosen(request: LadderRequest) -> dict[str, Any]:
    """What rungs below full depth depend on besides."""
    return {
        "method": _method(request),
        "eligible": request.eligible,
        "step": request.step,
        "distil": request.distil,
        "schedule": asdict(schedules.named(request.schedule, request.model).rung),
    }


def _data(folder: str | None) -> dict[str, Any]:
    """What a task's data depend on besides its file."""
    return {
        "data": [folder, listing(folder)] if folder else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _counted(folder: str | None) -> dict[str, Any]:
    """What the size of a network's output depends on, where the task counts its classes in a folder."""
    return {"counted": [folder, listing(folder)]} if folder else {}


def _network(model: str, task: str, seed: int, code: tuple[str, ...]) -> dict[str, Any]:
    return {
        "model": model,
        "task": task,
        "seed": seed,
        "torch": metadata.version("torch"),
        "built_by": {name: _version(name) for name in content.constant("model", model, "PACKAGES", ())},
        "sources": [content.source_hash(*_sources("model", model), *_sources("task", task)), _hash(code)],
        "record": {
            kind.__name__: [field.name for field in fields(kind)] for kind in (Rung, Choice, Variant, Group, Cost)
        },
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def _hash(code: tuple[str, ...]) -> str:
    """Hash of our own code, taken once: a climb keeps its keys when somebody edits a file meanwhile."""
    return content.source_hash(*sorted(file for pattern in code for file in _HERE.glob(pattern)))


def _method(request: LadderRequest) -> dict[str, Any]:
    recipe = recipes.plain(recipes.resolve(request.method, request.recipe))
    return {
        "method": request.method,
        "recipe": recipe,
        "source": content.source_hash(*_sources("method", request.method)),
    }


def _sources(kind: Kind, name: str) -> list[Path]:
    """Return the file of `name` and the shared code beside it."""
    file = content.find(kind, name)
    return [file, *sorted(file.parent.glob("_*.py"))]
