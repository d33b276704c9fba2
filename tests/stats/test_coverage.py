"""The proof by experiment, in small: benchmarks/coverage.py has all worlds and more tries."""

import pytest

from benchmarks import coverage


@pytest.mark.parametrize(
    ("kind", "tries", "options"),
    [
        (coverage.medians, 200, {"counts": (8, 20)}),
        (coverage.tails, 150, {"counts": (8,)}),
        (coverage.speedups, 100, {}),
    ],
)
def test_intervals_cover_the_truth_when_all_goes_wrong_at_once(kind, tries, options):
    for found in kind("all of it", tries, **options):
        assert found.held >= coverage.BAR, found


@pytest.mark.slow
def test_ladders_cover_the_truth_at_every_look_when_all_goes_wrong_at_once():
    [found] = coverage.ladders("all of it", 60)
    assert found.held >= 0.9  # 60 tries; the bench does more


def test_an_interval_that_takes_inferences_as_independent_would_not_cover():
    # The test of the test: in the same world the bound that LoadGen calls a 99 % one fails far more often.
    import numpy as np

    rng, world = np.random.default_rng(4), coverage.WORLDS["process effects"]
    levels = world.levels(rng, 100, 8)
    truths = coverage._quantiles(levels, world.inferences(rng, (50_000,), 1)[:, 0], 0.9)
    runs = levels[..., None, None] + world.inferences(rng, (100, 8, 1), 100)
    missed = [coverage._estimate(run).tails["p90"].bound < truth for run, truth in zip(runs, truths, strict=True)]
    assert np.mean(missed) > 0.1
