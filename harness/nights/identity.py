"""What the result of a row depends on, by name: what is known here before anybody is asked, and what the device tells.

Digests stand for what is not told in a word (sources, recipes, protocol), versions and names for themselves, so that what
changed can be said: `onnxruntime 1.22.0 -> 1.23.0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata

from harness import build, content
from harness.compress import keys
from harness.preflight import Ready
from harness.records import Device, Plan, digest
from harness.wire import Protocol

Identity = Mapping[str, str]

# What is told by a digest, in words. A change of the first two is what a night is to notice, and breaks no series.
_WORDS = {
    "network": "what its networks are made of changed",
    "artifact": "how it is built changed",
    "protocol": "how it is measured changed",
}
CONTINUES = ("network", "artifact")
_FACTS = ("serial", "board", "machine", "cpu", "os", "os_image", "kernel", "python")


def here(plan: Plan, device: Device) -> Identity:
    """Return what is known without asking the device: networks, artifacts, protocol, versions of what makes them."""
    made = {f"{name} here": _version(name) for name in sorted({"torch", *_converters(plan)})}
    return {"network": _network(plan), "artifact": _artifact(plan, device), "protocol": _protocol(plan), **made}


def there(ready: Ready, runtime: str) -> Identity:
    """Return what the device told of itself and of a runtime; what it could not tell is not among it."""
    facts = {name: str(ready.facts[name]) for name in _FACTS if ready.facts.get(name) is not None}
    return {**facts, **{name: str(version) for name, version in ready.probed[runtime]["versions"].items()}}


def changes(was: Identity, now: Identity) -> tuple[str, ...]:
    """Return what differs, in words. What one of them does not tell differs, too."""
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    told = [f"{name} {was.get(name, 'unknown')} -> {now.get(name, 'unknown')}" for name in names if name not in _WORDS]
    if told:  # a package that makes a network is part of its digest
        names = [name for name in names if name not in CONTINUES]
    return (*told, *(_WORDS[name] for name in names if name in _WORDS))


def breaks(was: Identity, now: Identity) -> bool:
    """Whether a series begins a new segment: anything but networks and artifacts differs."""
    return any(was.get(name) != now.get(name) for name in {*was, *now} - {*CONTINUES})


def _network(plan: Plan) -> str:
    """Digest of the keys of all ladders, which hold sources, recipes, data and versions."""
    found = [keys.ladder(request) for request in plan.ladders]
    if plan.controls:
        first = plan.ladders[0]
        counted = content.constant("task", first.task, "CLASSES", 0) is None
        found.append(keys.controls(first.model, first.task, first.seed, first.data if counted else None))
    return digest(found)


def _artifact(plan: Plan, device: Device) -> str:
    files = {name: content.find("runtime", name) for name in plan.runtimes}
    sources = {name: content.source_hash(file, *sorted(file.parent.glob("_*.py"))) for name, file in files.items()}
    targets = [
        build.target_of(device, runtime, precision) for runtime in plan.runtimes for precision in plan.precisions
    ]
    return digest([sources, targets, plan.precisions, plan.batch, dict(plan.options)])


def _protocol(plan: Plan) -> str:
    """Digest of how it is measured: the plan but for what is measured, and the protocol's own numbers."""
    of_networks = ("device", "ladders", "given", "runtimes", "precisions", "batch", "options")
    return digest([{k: v for k, v in asdict(plan).items() if k not in of_networks}, asdict(Protocol())])


def _converters(plan: Plan) -> set[str]:
    return {name for runtime in plan.runtimes for name in content.constant("runtime", runtime, "CONVERTERS")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
