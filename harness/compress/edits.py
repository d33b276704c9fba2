"""Edits: the steps that made a network shallower or narrower, in words that can be repeated on the untrained one.

linear   activations become identities; where layers can then merge, padding moves before the first
skip     residual blocks become identities
narrow   channels are cut out of one layer and of what reads it
slopes   activations become blends of identity and themselves, with a learned slope each

A rung is stored as its edits and its weights, so that a climb goes on from it in another process: nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from harness.compress.folding.padding import pad_first
from harness.compress.folding.removal import activations, mergeable, remove

Kind = Literal["linear", "skip", "narrow", "slopes"]
FILE = "edits.json"


@dataclass(frozen=True)
class Edit:
    """One step: what is done, to which modules (paths), and for `narrow` which `channels` of the named activation go."""

    kind: Kind
    names: tuple[str, ...]
    channels: tuple[int, ...] = ()


def apply(network: nn.Module, edits: Iterable[Edit], example: Tensor) -> nn.Module:
    """Return a new network, edited step by step. Raises UsageError for a path that is not there, FoldError."""
    for edit in edits:
        network = _BY_KIND[edit.kind](network, edit, example)
    return network


def without_activations(network: nn.Module, edit: Edit) -> nn.Module:
    """Return the network of a `linear` edit with all padding where it was: what the papers evaluate."""
    return remove(network, edit.names)


def activations_lost(network: nn.Module, edits: Iterable[Edit]) -> tuple[str, ...]:
    """Return the paths of the network's activations that the edits take away, in the order of the edits."""
    known, lost = activations(network), dict[str, None]()
    for edit in edits:
        for name in edit.names:
            if edit.kind == "linear":
                lost[name] = None
            elif edit.kind == "skip":
                lost.update(dict.fromkeys(path for path in known if path == name or path.startswith(name + ".")))
    return tuple(lost)


def write(folder: Path, edits: Iterable[Edit]) -> None:
    """Write the edits beside the weights that they belong to."""
    (folder / FILE).write_text(json.dumps([asdict(edit) for edit in edits], indent=1), encoding="utf-8")


def read(folder: Path) -> tuple[Edit, ...]:
    """Return the edits that `write` wrote."""
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return tuple(Edit(edit["kind"], tuple(edit["names"]), tuple(edit["channels"])) for edit in found)


def _linear(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    """Remove activations; where layers can then merge, pad once before the first, its BatchNorm folded."""
    opens = mergeable(network, example, edit.names)
    without = remove(network, edit.names)
    return pad_first(without, example, opens) if opens else without


def _skip(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    from harness.compress.blocks import skip

    return skip(network, edit.names)


def _narrow(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    from harness.compress.channels import cut

    return cut(network, example, edit.names[0], edit.channels)


def _slopes(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    from harness.compress.slopes import blend

    return blend(network, edit.names)


_BY_KIND: dict[Kind, Callable[[nn.Module, Edit, Tensor], nn.Module]] = {
    "linear": _linear,
    "skip": _skip,
    "narrow": _narrow,
    "slopes": _slopes,
}
