"""What the analysis says of accuracies: intervals, and each rung against the full network trained for as long."""

from __future__ import annotations

from dataclasses import replace

import example_run
import numpy as np
import pytest

from harness import stats
from harness.analysis import accuracy
from harness.records import Ladder, Rung

N = 270


def correct(wrong: int, first: int = 0) -> str:
    """Bits of a network that has `wrong` examples wrong, from example `first` on."""
    right = np.ones(N, dtype=bool)
    right[first : first + wrong] = False
    return np.packbits(right).tobytes().hex()


def trained(ladder: Ladder, epochs: list[int], wrong: list[int], method: str | None = None, first: int = 0) -> Ladder:
    def rung(n: int, made: Rung) -> Rung:
        return replace(made, epochs=epochs[n], accuracy=1 - wrong[n] / N, correct=correct(wrong[n], first))

    rungs = tuple(rung(n, made) for n, made in enumerate(ladder.rungs[: len(epochs)]))
    name = method or ladder.name
    return replace(ladder, name=name, method=name, rungs=rungs, test_examples=N)


def rows_of(*ladders: Ladder):
    """The rows of a run of these ladders, as they are before accuracies are looked at."""
    model = {row.rung: row for row in example_run.run().cases if row.method == "easier"}
    bare = (
        replace(model[rung.rung], ladder=each.name, method=each.method, accuracy=rung.accuracy)
        for each in ladders
        for rung in each.rungs
    )
    return {(row.ladder, row.rung): row for row in accuracy.attach(tuple(bare), ladders)}


@pytest.fixture
def easier() -> Ladder:
    return trained(example_run.run().ladders[0], [5, 6, 8], [4, 6, 14])


@pytest.fixture
def control() -> Ladder:
    return trained(example_run.run().ladders[0], [5, 6, 7, 9], [4, 3, 5, 4], "continue")


def test_a_rung_is_compared_with_the_rung_of_continue_that_had_as_many_epochs(easier, control):
    rows = rows_of(easier, control)
    found = rows["easier", 1].accuracy_vs_continue
    assert (found.gained, found.lost, found.difference) == (0, 3, pytest.approx(-3 / N))
    assert found.p == stats.mcnemar(0, 3) == 0.25
    interval = rows["easier", 1].accuracy_interval
    assert interval == stats.wilson(N - 6, N)


def test_where_none_had_as_many_it_is_the_first_that_had_more(easier, control):
    assert rows_of(easier, control)["easier", 2].accuracy_vs_continue.lost == 14 - 4


def test_full_depth_and_the_control_itself_are_not_compared(easier, control):
    rows = rows_of(easier, control)
    for key, why in ((("easier", 0), "full depth"), (("continue", 1), "itself")):
        assert rows[key].accuracy_vs_continue is None and why in rows[key].reasons["accuracy_vs_continue"]
        assert rows[key].accuracy_interval is not None


def test_without_the_control_each_row_says_how_to_get_it(easier):
    row = rows_of(easier)["easier", 1]
    assert row.accuracy_vs_continue is None and "--method" in row.reasons["accuracy_vs_continue"]


def test_the_control_of_another_seed_is_none(easier, control):
    row = rows_of(easier, replace(control, seed=1))["easier", 1]
    assert "no ladder continue of this seed" in row.reasons["accuracy_vs_continue"]


def test_a_control_that_was_trained_for_less_is_none(easier, control):
    short = replace(control, rungs=control.rungs[:2])
    assert "6 epochs at most, this rung for 8" in rows_of(easier, short)["easier", 2].reasons["accuracy_vs_continue"]


def test_a_ladder_of_an_older_version_says_that_nothing_was_recorded(easier, control):
    old = replace(easier, rungs=tuple(replace(rung, correct="") for rung in easier.rungs), test_examples=None)
    row = rows_of(old, control)["easier", 1]
    assert row.accuracy_interval is None and "older version" in row.reasons["accuracy_interval"]
    assert row.accuracy_vs_continue is None and "older version" in row.reasons["accuracy_vs_continue"]


def test_a_ladder_without_accuracies_says_why_it_has_neither():
    (row,) = (row for row in accuracy.attach(example_run.run(("order",)).cases, example_run.run(("order",)).ladders)
              if row.rung == 3)  # fmt: skip
    assert row.accuracy_interval is None and "does not train" in row.reasons["accuracy_interval"]
    assert row.accuracy_vs_continue is None and "does not train" in row.reasons["accuracy_vs_continue"]
