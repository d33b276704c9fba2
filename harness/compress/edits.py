"""Edits: the steps that made a network shallower or narrower, in words that can be repeated on the untrained one.

linear   activations become identities; where layers can then merge, padding moves before the first
open     activations become identities; in every group that they open together, padding moves before the first layer
remove   activations become identities, padding stays
bypass   layers and their norms become identities
skip     residual blocks become identities
narrow   channels are cut out of one layer and of what reads it
slopes   activations become blends of identity and themselves, with a learned slope each
merge    nothing is changed: it says what folding is to merge, and into which form, where it is not to merge all

A rung is stored as its edits and its weights, so that a climb goes on from it in another process: nothing is unpickled.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from harness.compress.folding.choice import asked_for
from harness.compress.folding.padding import opened, pad_first
from harness.compress.folding.removal import activations, mergeable, remove, silence
from harness.content import require_known
from harness.records import Group

Kind = Literal["linear", "open", "remove", "bypass", "skip", "narrow", "slopes", "merge"]
FILE = "edits.json"
MOVING = ("linear", "open")  # kinds that move padding beside what they remove
_SILENCING = ("linear", "open", "remove")  # kinds whose names are activations
_SAME_FORM = {"bias map": "plain"}


@dataclass(frozen=True)
class Edit:
    """One step: what is done, to which modules (paths).

    For `narrow`, `channels` are those of the named activation that go; for `merge`, `form` is what comes of the layers.
    """

    kind: Kind
    names: tuple[str, ...]
    channels: tuple[int, ...] = ()
    form: str = ""


def apply(network: nn.Module, edits: Iterable[Edit], example: Tensor) -> nn.Module:
    """Return a new network, edited step by step. Raises UsageError for a path that is not there, FoldError."""
    for edit in edits:
        network = _BY_KIND[edit.kind](network, edit, example)
    return network


def without_activations(network: nn.Module, edit: Edit) -> nn.Module:
    """Return the network of an edit that moves padding with all padding where it was: what the papers evaluate."""
    return remove(network, edit.names)


def activations_lost(network: nn.Module, edits: Iterable[Edit]) -> tuple[str, ...]:
    """Return the paths of the network's activations that the edits take away, in the order of the edits."""
    known, lost = activations(network), dict[str, None]()
    for edit in edits:
        for name in edit.names:
            if edit.kind in _SILENCING:
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
    return tuple(Edit(**{**edit, "names": tuple(edit["names"]), "channels": tuple(edit["channels"])}) for edit in found)


def merging(edits: Iterable[Edit]) -> Callable[[Group], bool]:
    """Return what folding merges after these edits: all that was opened, or, where they say what, that alone.

    Beside what is named, groups without a removed activation merge as they do in the network that nothing was done to.
    """
    wanted = {edit.names: edit.form for edit in edits if edit.kind == "merge"}

    def choose(group: Group) -> bool:
        if group.layers in wanted:
            if wanted[group.layers] == "plain" and "pool" in group.kind:
                return False  # the averages behind these layers are none of them
            return _SAME_FORM.get(group.form or "", group.form) == wanted[group.layers]
        return not group.opened_by and asked_for(group)

    return choose if wanted else asked_for


def _linear(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    """Remove activations; where layers can then merge, pad once before the first, its BatchNorm folded."""
    opens = mergeable(network, example, edit.names)
    without = remove(network, edit.names)
    return pad_first(without, example, opens) if opens else without


def _open(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    without = remove(network, edit.names)
    opens = opened(without, example, edit.names)
    return pad_first(without, example, opens) if opens else without


def _remove(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    return remove(network, edit.names)


def _bypass(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    known = [path for path, _ in network.named_modules() if path]
    shorter = copy.deepcopy(network)
    for name in edit.names:
        require_known("layer", name, known)
        silence(shorter, name)
    return shorter


def _merge(network: nn.Module, edit: Edit, example: Tensor) -> nn.Module:
    return network


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
    "open": _open,
    "remove": _remove,
    "bypass": _bypass,
    "skip": _skip,
    "narrow": _narrow,
    "slopes": _slopes,
    "merge": _merge,
}
