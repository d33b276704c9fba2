import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import resampling


def test_equal_data_are_resampled_equally_and_other_data_otherwise():
    values = np.arange(20.0)
    assert (resampling.draws(values, 20, 50) == resampling.draws(values.copy(), 20, 50)).all()
    assert (resampling.draws(values, 20, 50) != resampling.draws(values + 1, 20, 50)).any()


def test_every_resample_draws_as_many_blocks_as_there_are_and_each_as_often():
    counts = resampling.draws(np.arange(30.0), 30, 4000)
    assert counts.shape == (4000, 30) and (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.08)
    assert counts.var() == pytest.approx(29 / 30, rel=0.03)  # of the multinomial


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 4)), min_size=1, max_size=30))
def test_weighted_medians_are_the_medians_of_what_was_drawn(drawn):
    values, counts = np.array([value for value, _ in drawn]), np.array([count for _, count in drawn])
    counts[0] += 1  # none is empty
    found = resampling.medians(values, counts[None, :])
    assert found == pytest.approx(np.median(np.repeat(values, counts)))
