"""Networks with some options taken, folded as rungs are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from harness import flops
from harness.compress import edits, fold, options
from harness.records.planned import Option


def folded_by(network: nn.Module, example: Tensor, taken: Sequence[Option]) -> nn.Module:
    """The network with options taken and merged, nothing else; proved equal to the one before merging."""
    made = options.edits_of(taken)
    shorter = edits.apply(network, made, example)
    result = fold(shorter.eval(), example, choose=edits.merging(made))
    assert result.max_error < 1e-12
    return result.network


def macs(network: nn.Module, example: Tensor) -> int:
    """MACs of one inference."""
    counted = flops.count(network, example[:1]).macs
    assert counted is not None
    return counted
