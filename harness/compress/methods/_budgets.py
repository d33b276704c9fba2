"""How many weights each layer loses in a round of EGP and NEPENTHE."""

from __future__ import annotations

import math
from collections.abc import Mapping


def budgets(irrelevances: Mapping[str, float], caps: Mapping[str, int], total: int) -> dict[str, int]:
    """Share `total` weights out: softmax of R_l = (sum_j I_j) / I_l over the layers, none above its cap.

    A layer that would get more than its cap gets that, and leaves: the rest is shared anew, R with the sum of those left.
    As R is large, the layer of least I is filled first, and what is too much for it goes to the next. Whole numbers, the
    largest remainders rounded up. Less than `total` where the caps allow no more.
    """
    given: dict[str, int] = {}
    left, names = total, list(irrelevances)
    while names:
        shares = {name: left * share for name, share in _softmax({name: irrelevances[name] for name in names}).items()}
        full = [name for name in names if shares[name] >= caps[name]]
        if not full:
            return {**given, **_rounded(shares, left)}
        for name in full:
            given[name] = caps[name]
            left -= caps[name]
        names = [name for name in names if name not in full]
    return given


def _softmax(irrelevances: Mapping[str, float]) -> dict[str, float]:
    whole = sum(irrelevances.values())
    ratios = {name: whole / value for name, value in irrelevances.items()}
    most = max(ratios.values())
    powers = {name: math.exp(ratio - most) for name, ratio in ratios.items()}
    return {name: power / sum(powers.values()) for name, power in powers.items()}


def _rounded(shares: Mapping[str, float], total: int) -> dict[str, int]:
    floors = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: floors[name] - shares[name])
    for name in by_remainder[: total - sum(floors.values())]:
        floors[name] += 1
    return floors
