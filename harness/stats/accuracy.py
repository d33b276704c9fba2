"""Accuracies on one test part: their intervals, and two classifiers on the same examples. Fractions, not points.

Classifiers that see the same examples are compared by the examples on which they differ: b that only the first has right,
c that only the second has. Whether both are equally often right is McNemar's question (1947); its exact test is that of
a fair coin thrown b + c times. The difference of the accuracies is (b - c) / n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.records import Limits, PairedAccuracy

Bits = NDArray[np.bool_]

CONFIDENCE = 0.95
_Z = 1.959963984540054  # ndtri(1 - (1 - CONFIDENCE) / 2); scipy.special takes longer to import than showing a run takes


def wilson(right: int, examples: int) -> Limits:
    """Return the 95 % interval of a fraction, `right` of `examples` (Wilson, 1927).

    Its limits are the fractions from which the observed one is just not significantly far: they stay within 0 and 1, and
    a network without an error still has an interval. Raises ValueError unless 0 <= right <= examples and examples > 0.
    """
    if not 0 <= right <= examples or not examples:
        raise ValueError(f"{right} of {examples} examples")
    z2, p = _Z**2 / examples, right / examples
    middle = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (p * (1 - p) + z2 / 4)) / (1 + z2)
    return Limits(0.0 if right == 0 else middle - half, 1.0 if right == examples else middle + half)


def paired(first: Bits, second: Bits) -> PairedAccuracy:
    """Compare two classifiers by which of the same examples each has right; differences are first less second.

    p is exact (McNemar). The 95 % interval is Wald's with one example more won and one more lost:

        p_b = (b + 1) / (n + 2),  p_c = (c + 1) / (n + 2),  p_b - p_c -+ z sqrt((p_b + p_c - (p_b - p_c)^2) / (n + 2))

    (Bonett & Price, 2012; recommended by Fagerland et al., Stat Med 2014). It has a width where nothing differs, too, and
    may hold 0 where p is a little below 0.05. Raises ValueError when the examples are not the same, or none.
    """
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"examples of shapes {first.shape} and {second.shape} cannot be paired")
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = _difference(gained, lost, first.size)
    return PairedAccuracy((gained - lost) / first.size, low, high, mcnemar(gained, lost), gained, lost)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of so many examples won and lost; 1 where none is."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def paired_seeds(firsts: Sequence[Bits], seconds: Sequence[Bits]) -> PairedAccuracy:
    """Compare two methods by networks of several seeds each, in pairs, all on the same examples; `paired` where it is one.

    The difference is the mean over seeds, its interval is the normal one over examples, p is that
    of `clustered`; examples gained and lost are counted over all seeds. It speaks of these networks: how far seeds differ
    is told by their standard deviation. Raises ValueError as `paired` does, or without a pair.
    """
    pairs = [paired(first, second) for first, second in zip(firsts, seconds, strict=True)]
    if len(pairs) == 1:
        return pairs[0]
    d = np.stack(firsts).sum(axis=0, dtype=np.int64) - np.stack(seconds).sum(axis=0, dtype=np.int64)
    mean, half = float(d.mean()) / len(pairs), _Z * float(d.std()) / len(pairs) / math.sqrt(d.size)
    gained, lost = sum(each.gained for each in pairs), sum(each.lost for each in pairs)
    return PairedAccuracy(mean, max(-1.0, mean - half), min(1.0, mean + half), clustered(d), gained, lost)


def clustered(differences: Sequence[int] | NDArray[np.int64]) -> float:
    """Return the p-value of McNemar's test over several pairs of networks that all saw the same examples.

    `differences` has a number per example: how many more of the first networks have it right than of the second. Answers
    to one example go together, so examples are what counts, not answers: z^2 = (sum d)^2 / sum d^2 (Durkalski et al.,
    Stat Med 2003). With one pair that is McNemar's z without continuity correction.
    """
    from scipy.special import ndtr

    d = np.asarray(differences, dtype=np.float64)
    scale = math.sqrt(float((d**2).sum()))
    return 1.0 if scale == 0 else min(1.0, 2 * float(ndtr(-abs(float(d.sum())) / scale)))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being so many (Holm, 1979), in the order given."""
    adjusted, least = [1.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = least
    return adjusted


def unpacked(bits: str, examples: int) -> Bits:
    """Return which of so many examples are right, from `Rung.correct`: hexadecimal, the first example highest.

    Raises ValueError when the text is no such bits, or of another number of examples.
    """
    packed = np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)
    found = np.unpackbits(packed).astype(np.bool_)
    if packed.size != -(-examples // 8) or found[examples:].any():
        raise ValueError(f"bits of {packed.size} bytes do not stand for {examples} examples")
    return found[:examples]


def _difference(gained: int, lost: int, examples: int) -> tuple[float, float]:
    more, less, n = (gained + 1) / (examples + 2), (lost + 1) / (examples + 2), examples + 2
    half = _Z * math.sqrt((more + less - (more - less) ** 2) / n)
    return max(-1.0, more - less - half), min(1.0, more - less + half)
