import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import process

from harness import stats


def made(logs):
    """Processes of one case from {block: log medians}."""
    return [process(math.exp(value), "r", b, r) for b, row in logs.items() for r, value in enumerate(row)]


def test_the_components_of_a_hand_worked_table():
    # MS(within) = 0.02 / 2 = 0.01 (two blocks of two, each 0.1 about its mean: 4 * 0.01 / 2 = 0.02)
    found = stats.components(made({0: [9.9, 10.1], 1: [10.9, 11.1]}))
    assert found.process == pytest.approx(math.sqrt(0.02))
    assert found.block == pytest.approx(math.sqrt((1.0 - 0.02) / 2))  # MS(between) = 2 * (0.25 + 0.25) / 1
    assert (found.processes, found.blocks) == (4, 2)


@pytest.mark.parametrize("replicates", [[2] * 300, [1, 2, 4] * 100])
def test_true_components_are_found_in_balanced_and_unbalanced_blocks(replicates):
    rng = np.random.default_rng(0)
    levels = rng.normal(10, 0.10, len(replicates))
    found = stats.components(made({b: rng.normal(levels[b], 0.04, r) for b, r in enumerate(replicates)}))
    assert found.process == pytest.approx(0.04, rel=0.1)
    assert found.block == pytest.approx(0.10, rel=0.1)


def test_blocks_alike_have_no_component_of_their_own():
    found = stats.components(made({0: [9.0, 11.0], 1: [11.0, 9.0], 2: [9.0, 11.0]}))
    assert found.block == 0 and found.process > 1


def test_one_block_or_no_replicates_tell_nothing():
    assert stats.components([]) is None
    assert stats.components(made({0: [9.0, 10.0]})) is None
    assert stats.components(made({0: [9.0], 1: [10.0]})) is None


def test_components_of_two_cases_are_refused():
    with pytest.raises(ValueError, match="one case"):
        stats.components([process(1, "a"), process(1, "b")])


@given(st.lists(st.lists(st.floats(0, 40), min_size=1, max_size=4), min_size=1, max_size=6))
def test_components_are_never_negative(rows):
    found = stats.components(made(dict(enumerate(rows))))
    assert found is None or (found.process >= 0 and found.block >= 0)
