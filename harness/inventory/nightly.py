"""`nightly:` of inventory.yaml -> a Matrix, every name in it looked up, with the line of each block for later errors."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness import content
from harness.errors import InventoryError
from harness.inventory.listed import TAG, opened, require_key
from harness.inventory.shape_nightly import (
    BlockFile,
    CanaryFile,
    ExclusionFile,
    OverrideFile,
    PickFile,
    RowFile,
    WordsFile,
)
from harness.inventory.tree import Step, Tree
from harness.records import Device
from harness.records.nights import Block, Exclusion, Matrix, Override, Pick

Where = tuple[Step, ...]
_KINDS: Mapping[str, Literal["model", "method", "runtime"]] = {
    "model": "model",
    "models": "model",
    "method": "method",
    "methods": "method",
    "runtime": "runtime",
    "runtimes": "runtime",
}


def nightly(path: Path) -> tuple[tuple[Device, ...], Matrix]:
    """Return the devices that are measured every night, in the order of the inventory, and the matrix.

    Raises InventoryError: no `nightly:`, a rule that is broken, a device, model, method or runtime that there is not.
    """
    tree, file, devices = opened(path)
    if file.nightly is None:
        raise InventoryError(f"{path}: has no `nightly:`", "docs/inventory.md says what stands there.")
    reader, said = _Reader(tree, devices), file.nightly
    matrix = Matrix(
        place=tree.place(("nightly",)),
        budget_s=said.budget_s,
        canary=reader.canary(said.canary, ("nightly", "canary")),
        blocks=tuple(reader.block(each, ("nightly", "matrix", n)) for n, each in enumerate(said.matrix)),
        includes=tuple(reader.row(each, ("nightly", "include", n)) for n, each in enumerate(said.include)),
        excludes=tuple(reader.exclusion(each, ("nightly", "exclude", n)) for n, each in enumerate(said.exclude)),
        overrides=tuple(reader.override(each, ("nightly", "overrides", n)) for n, each in enumerate(said.overrides)),
        max_age_days=said.max_age_days,
        keep_samples_days=said.keep_samples_days,
    )
    named = {name for block in (*matrix.blocks, *matrix.includes) for name in block.devices}
    used = tuple(device for device in devices if device.name in named)
    for device in used:
        require_key(device, tree)
    return used, matrix


class _Reader:
    """Makes records of the parts, one by one; an unknown name is an InventoryError at its line."""

    def __init__(self, tree: Tree, devices: Sequence[Device]) -> None:
        self.tree, self.devices = tree, devices

    def block(self, said: BlockFile, where: Where) -> Block:
        self._require_known(said, where)
        return Block(
            place=self.tree.place(where),
            devices=self._named(said.devices, (*where, "devices")),
            models=tuple(said.models),
            methods=tuple(said.methods),
            runtimes=tuple(said.runtimes or ()),
            precisions=tuple(said.precisions),
            threads=tuple(said.threads or (None,)),
            power_modes=tuple(said.power_modes or (None,)),
            priority=said.priority,
            words=_words(said.words),
            why=said.why or "",
        )

    def row(self, said: RowFile, where: Where) -> Block:
        self._require_known(said, where)
        return Block(
            devices=self._named([said.device], where, "device"),
            power_modes=(said.power_mode,),
            priority=said.priority,
            why=said.reason,
            **self._single(said, where),
        )

    def canary(self, said: CanaryFile, where: Where) -> Block:
        self._require_known(said, where)
        return Block(devices=(), **self._single(said, where))

    def _single(self, said: RowFile | CanaryFile, where: Where) -> dict[str, Any]:
        """What a single row and the canary have in common."""
        return {
            "place": self.tree.place(where),
            "models": (said.model,),
            "methods": (said.method,),
            "runtimes": (said.runtime,) if said.runtime else (),
            "precisions": (said.precision,),
            "threads": (said.threads,),
            "words": _words(said.words),
        }

    def pick(self, said: PickFile, where: Where) -> Pick:
        self._require_known(said, where)
        return Pick(
            place=self.tree.place(where),
            devices=self._named(said.devices or (), (*where, "devices")),
            models=tuple(said.models or ()),
            methods=tuple(said.methods or ()),
            runtimes=tuple(said.runtimes or ()),
            precisions=tuple(said.precisions or ()),
            threads=tuple(said.threads or ()),
            power_modes=tuple(said.power_modes or ()),
        )

    def exclusion(self, said: ExclusionFile, where: Where) -> Exclusion:
        if said.model_fields_set <= {"reason"}:
            raise self.tree.broken(
                where, "excludes every row: it says only why", "Say which: devices, models, methods, ..."
            )
        return Exclusion(self.pick(said, where), said.reason)

    def override(self, said: OverrideFile, where: Where) -> Override:
        words = _words(said.words)
        if said.priority is None and not words:
            raise self.tree.broken(where, "overrides nothing: it has neither `priority` nor `words`")
        return Override(self.pick(said, where), said.priority, words)

    def _require_known(self, said: BlockFile | PickFile | RowFile | CanaryFile, where: Where) -> None:
        """Look up models, methods and runtimes, one or many."""
        for key, kind in _KINDS.items():
            value = getattr(said, key, None)
            if isinstance(value, str):
                self.tree.require_listed(kind, value, content.names(kind), (*where, key))
            for place, name in enumerate(value if isinstance(value, list) else ()):
                self.tree.require_listed(kind, name, content.names(kind), (*where, key, place))

    def _named(self, words: Sequence[str], where: Where, *key: str) -> tuple[str, ...]:
        """The devices that words name, each once; `tag:lab` names all that carry the tag."""
        found: dict[str, None] = {}
        for place, word in enumerate(words):
            at = (*where, *(key or (place,)))
            tagged = word.startswith(TAG)
            known = tuple(dict.fromkeys(tag for each in self.devices for tag in each.tags))
            if tagged:
                self.tree.require_listed("tag", word.removeprefix(TAG), known, at)
            else:
                self.tree.require_listed("device", word, [each.name for each in self.devices], at)
            meant = (each for each in self.devices if word == each.name or (tagged and word[len(TAG) :] in each.tags))
            found |= dict.fromkeys(each.name for each in meant)
        return tuple(found)


def _words(said: WordsFile) -> dict[str, Any]:
    """The words that stand there, as YAML has them; a folder in full."""
    words = {name: value for name, value in said.model_dump().items() if value is not None}
    return {**words, "data": os.path.expanduser(words["data"])} if "data" in words else words  # noqa: PTH111
