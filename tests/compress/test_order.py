"""The method `order` removes what it is told, deepest first by default, and knows which names there are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness import content
from harness.compress.state import State
from harness.errors import UsageError

order = content.load("method", "order")
ELIGIBLE = ("layer1.0.relu1", "layer1.1.relu1", "layer2.0.relu1")


def chosen(recipe: object, candidates: tuple[str, ...] = ELIGIBLE) -> str | None:
    choice = order.choose(State(nn.Identity(), torch.zeros(2), ELIGIBLE, candidates), recipe)
    return None if choice is None else ",".join(choice.chosen)


def test_the_deepest_goes_first_by_default() -> None:
    assert chosen(order.Recipe()) == "layer2.0.relu1"
    assert chosen(order.Recipe(), ELIGIBLE[:2]) == "layer1.1.relu1"
    assert chosen(order.Recipe(), ()) is None


def test_a_given_order_is_followed_and_then_ends() -> None:
    recipe = order.Recipe(("layer1.1.relu1", "layer2.0.relu1"))
    assert chosen(recipe) == "layer1.1.relu1"
    assert chosen(recipe, ("layer1.0.relu1", "layer2.0.relu1")) == "layer2.0.relu1"
    assert chosen(recipe, ("layer1.0.relu1",)) is None


def test_an_unknown_activation_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r'"layer2\.0\.relu"; did you mean "layer2\.0\.relu1"\?'):
        order.check(ELIGIBLE, order.Recipe(("layer2.0.relu",)))


def test_an_activation_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="2 times"):
        order.check(ELIGIBLE, order.Recipe(("layer1.0.relu1", "layer1.0.relu1")))
