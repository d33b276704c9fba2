"""A thousand combinations of layers, each folded in every way that is offered, against the layers themselves."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from networks import affine_map
from torch import Tensor, nn

from harness.compress import fold, pad_first
from harness.compress.folding.proof import difference

COMBINATIONS, PARTS = 1200, 8
CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (10, 24), 2: (7, 13), 3: (5, 7)}
CHANNELS = (2, 4, 6)
BATCHES = [range(first, first + COMBINATIONS // PARTS) for first in range(0, COMBINATIONS, COMBINATIONS // PARTS)]
SOME_FAST = [
    pytest.param(batch, marks=[pytest.mark.slow] if at > 1 else [], id=str(batch)) for at, batch in enumerate(BATCHES)
]


def combination(number: int) -> tuple[nn.Sequential, Tensor]:
    """One to four convolutions with removed activations between, and an input that they leave something of."""
    chance = random.Random(number)
    while True:
        torch.manual_seed(chance.randrange(2**31))
        network, shape = _convolutions(chance)
        example = torch.randn(2, *shape, dtype=torch.float64)
        try:
            network(example)
        except RuntimeError:  # nothing is left for a kernel to read
            continue
        return network, example


def _convolutions(chance: random.Random) -> tuple[nn.Sequential, tuple[int, ...]]:
    dims, count = chance.choice((1, 2, 2, 2, 3)), chance.randint(1, 4)
    widths = [chance.choice(CHANNELS) for _ in range(count + 1)]
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(widths):
        per_dim = {
            name: tuple(chance.randint(low, high) for _ in range(dims))
            for name, low, high in (("kernel_size", 1, 4), ("stride", 1, 3), ("dilation", 1, 2), ("padding", 0, 2))
        }
        if chance.random() < 0.3:
            per_dim["kernel_size"] = (1,) * dims
        groups = chance.choice([n for n in (1, 2, 3, 6) if into % n == out % n == 0])
        layers += [CONVS[dims](into, out, groups=groups, bias=chance.random() < 0.6, **per_dim), nn.Identity()]
    shape = (widths[0], *(chance.randint(*SIZES[dims]) for _ in range(dims)))
    return nn.Sequential(*layers[:-1]).double().eval(), shape


@pytest.mark.slow
@pytest.mark.parametrize("numbers", SOME_FAST)
def test_whatever_the_convolutions_folding_keeps_what_they_compute(numbers: range) -> None:
    for number in numbers:
        network, example = combination(number)
        for forms in (None, ("ring",), ("border",)):
            folded = fold(network, example, forms=forms)
            assert difference(network, folded.network, example) <= 1e-12, (number, forms)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", SOME_FAST)
def test_with_the_padding_moved_every_chain_becomes_one_layer(numbers: range) -> None:
    for number in numbers:
        network, example = combination(number)
        folded = fold(pad_first(network, example), example)
        assert difference(pad_first(network, example), folded.network, example) <= 1e-12, number
        assert not any(group.reason for group in folded.groups), number
        assert sum(isinstance(module, tuple(CONVS.values())) for module in folded.network.modules()) == 1, number


@pytest.mark.parametrize("number", range(40))
def test_the_jacobian_agrees_with_every_form(number: int) -> None:
    network, example = combination(number)
    expected = affine_map(network, example.shape[1:])
    for forms in (None, ("ring",), ("border",)):
        found = affine_map(fold(network, example, forms=forms).network, example.shape[1:])
        assert all(torch.allclose(one, two, rtol=0, atol=1e-11) for one, two in zip(found, expected, strict=True))


@pytest.mark.slow
def test_the_combinations_are_of_every_kind() -> None:
    kinds: Counter[str] = Counter()
    for number in range(0, COMBINATIONS, 4):
        network, example = combination(number)
        convs = [module for module in network if not isinstance(module, nn.Identity)]
        kinds[f"{len(convs)} layers"] += 1
        kinds[f"{example.ndim - 2} dimensions"] += 1
        for forms in (None, ("ring",), ("border",)):
            kinds.update(group.form or "left" for group in fold(network, example, forms=forms).groups)
        kinds.update(word for conv in convs for word in _described(conv))
    assert min(kinds.values()) >= 5, kinds
    assert kinds.keys() >= {"plain", "bias map", "dense", "tail", "ring", "border", "left", "depthwise", "grouped"}


def _described(conv: Any) -> Iterator[str]:
    for name, usual in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0)):
        if max(getattr(conv, name)) > usual:
            yield name
    yield "biased" if conv.bias is not None else "without bias"
    if conv.groups > 1:
        yield "depthwise" if conv.groups == conv.in_channels else "grouped"
