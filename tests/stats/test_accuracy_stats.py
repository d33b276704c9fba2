import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from harness import stats

FEW = 40
pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=FEW)


def bits(values):
    return np.array(list(values), dtype=bool)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_fraction_is_wilsons_and_holds_the_fraction(counts):
    right, examples = counts
    found = stats.wilson(right, examples)
    theirs = binomtest(right, examples).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))
    assert 0 <= found.low <= right / examples <= found.high <= 1


def test_an_interval_worked_by_hand():
    found = stats.wilson(81, 263)  # Newcombe, Stat Med 17, 857 (1998), table I, method 3
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("right", "examples"), [(-1, 3), (4, 3), (0, 0)])
def test_a_count_beyond_its_examples_is_refused(right, examples):
    with pytest.raises(ValueError, match="examples"):
        stats.wilson(right, examples)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemars_p_is_that_of_a_fair_coin(gained, lost):
    theirs = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert stats.mcnemar(gained, lost) == pytest.approx(
        theirs, rel=1e-9, abs=1e-200
    )  # SciPy falls to 0 before ours does


def test_a_comparison_worked_by_hand():
    first = bits([1, 1, 1, 1, 1, 1, 0, 0, 1, 0])
    second = bits([1, 0, 0, 0, 0, 0, 1, 0, 1, 0])
    found = stats.paired(first, second)
    assert (found.gained, found.lost, found.difference) == (5, 1, 0.4)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)
    half = 1.959964 * math.sqrt((6 / 12 + 2 / 12 - (4 / 12) ** 2) / 12)
    assert (found.low, found.high) == (pytest.approx(4 / 12 - half), pytest.approx(4 / 12 + half))


@given(pairs)
def test_exchanging_two_networks_changes_signs_alone(made):
    first, second = (bits(side) for side in zip(*made, strict=True))
    found, other = stats.paired(first, second), stats.paired(second, first)
    assert (found.gained, found.lost, found.p) == (other.lost, other.gained, other.p)
    assert (found.low, found.high) == (pytest.approx(-other.high), pytest.approx(-other.low))
    assert -1 <= found.low <= found.difference <= found.high <= 1 and 0 < found.p <= 1
    assert found.difference == pytest.approx(first.mean() - second.mean())


def test_networks_that_never_differ_have_an_interval_all_the_same():
    found = stats.paired(np.ones(270, dtype=bool), np.ones(270, dtype=bool))
    assert (found.difference, found.p) == (0, 1)
    assert found.high == -found.low == pytest.approx(1.959964 * math.sqrt(2) / 272)


@pytest.mark.parametrize(("won", "lost"), [(0.01, 0.01), (0.02, 0.05), (0.1, 0.1), (0.05, 0.3)])
def test_the_interval_of_a_difference_holds_the_truth_often_enough(won, lost):
    """Exactly: over all outcomes of 60 examples."""
    n, covered = 60, 0.0
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c <= n and (p := multinomial.pmf([b, c, n - b - c], n, [won, lost, 1 - won - lost])) > 1e-12:
            first, second = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
            first[:b], second[b : b + c] = True, True
            found = stats.paired(first, second)
            covered += p * (found.low <= won - lost <= found.high)
    assert covered >= 0.94


def test_the_exact_test_claims_too_much_in_at_most_its_share_of_cases():
    for n in range(1, 40):
        claimed = sum(binom.pmf(b, n, 0.5) for b in range(n + 1) if stats.mcnemar(b, n - b) < 0.05)
        assert claimed <= 0.05


def test_other_examples_cannot_be_paired():
    with pytest.raises(ValueError, match="paired"):
        stats.paired(bits([1, 0]), bits([1]))
    with pytest.raises(ValueError, match="paired"):
        stats.paired(bits([]), bits([]))


# --- several seeds ------------------------------------------------------------------------------------------------------


def test_one_pair_of_networks_is_mcnemars_z():
    from scipy.stats import norm

    d = [1] * 9 + [-1] * 3 + [0] * 50
    assert stats.clustered(d) == pytest.approx(2 * norm.sf((9 - 3) / math.sqrt(12)))


def test_the_same_answers_of_three_seeds_are_worth_no_more_than_those_of_one():
    d = np.array([1] * 9 + [-1] * 3 + [0] * 50)
    assert stats.clustered(3 * d) == pytest.approx(stats.clustered(d))
    assert stats.clustered([0, 0]) == 1


def test_adjusted_p_values_worked_by_hand():
    assert stats.holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert stats.holm([]) == [] and stats.holm([0.7, 0.9]) == [1, 1]


# --- bits -----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_come_back_as_they_were_packed(right):
    text = np.packbits(np.array(right)).tobytes().hex()
    assert stats.unpacked(text, len(right)).tolist() == right


@pytest.mark.parametrize(("text", "examples"), [("ff", 9), ("ffff", 8), ("ff", 7), ("f", 4), ("zz", 8), ("", 1)])
def test_bits_of_another_length_are_refused(text, examples):
    with pytest.raises(ValueError):
        stats.unpacked(text, examples)
