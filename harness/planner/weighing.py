"""Gains of many options out of few networks, each with about half of them: what is light is weighed in groups. Pure.

One option changes a latency by less than processes differ, and in a difference from the unfolded network there is that one's
noise, too: a plan of seventeen options adds it up seventeen times. In the designs of Plackett and Burman (Biometrika 33, 1946)
N networks, the unfolded one among them, tell of N - 1 options all at once: a gain has 4/N of a network's variance where a
difference has 2, and errors of two gains do not hang together. Sets of options that do not overlap are all it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.planner.gains import Compared, Saved
from harness.records import Speedup
from harness.records.planned import Option
from harness.stats import Floats

ORDERS = (8, 12, 20, 24, 32, 44, 48)  # 1 + a prime that leaves 3 when divided by 4: Paley's construction
LEAST = 3  # options that make more groups than there are of them
Options = tuple[str, ...]
_SHARE = 0.9  # of the reference, at most, that a ratio can say of a gain


# --- which networks ------------------------------------------------------------------------------------------------------


def apart(ranked: Iterable[Option]) -> tuple[Option, ...]:
    """Of options, the best first, those that do not overlap a better one."""
    found: list[Option] = []
    for option in ranked:
        if all(option.after <= other.first or other.after <= option.first for other in found):
            found.append(option)
    return tuple(found)


def order(options: int, networks: float) -> int:
    """How many networks, the unfolded one among them, are to tell of so many options, where there is time for `networks`."""
    able = [each for each in ORDERS if each <= networks] or [ORDERS[0]]
    return next((each for each in able if each > options), able[-1])


def sets(ranked: Sequence[Option], networks: float) -> tuple[Options, ...]:
    """The options of each network but the unfolded one, each set in forward order; of options the best that there is time for."""
    many = order(len(ranked), networks)
    taken = sorted(ranked[: many - 1], key=lambda option: option.first)
    rows = _design(many)[:, : len(taken)]
    named = (tuple(option.name for option, held in zip(taken, row, strict=True) if held) for row in rows)
    return tuple(dict.fromkeys(filter(None, named)))


def _design(networks: int) -> NDArray[np.bool_]:
    """N - 1 sets of N - 1 options, each of half of them; any two options are together in a quarter of N."""
    prime = networks - 1
    squares = {place * place % prime for place in range(prime)}
    first = np.array([place in squares for place in range(prime)])
    return np.array([np.roll(first, shift) for shift in range(prime)])


# --- what they say -------------------------------------------------------------------------------------------------------


def compared(latencies_ns: Mapping[Options, Floats]) -> dict[Options, Compared]:
    """What each option changes, as a ratio of the unfolded network to it with that option alone, with a 95 % interval.

    `latencies_ns`: of each network, by its options (none: the unfolded one), a latency per block, of the same blocks. Each block
    is put on one scale (neighbours and clocks change all of it), gains are the least squares of that block, and the interval
    is Student's t over blocks. An option that these networks do not tell apart from others is left out.
    """
    networks, blocks = list(latencies_ns), np.array(list(latencies_ns.values()), dtype=np.float64).T
    names = sorted({name for options in networks for name in options})
    if len(blocks) < 2 or not names or () not in networks:
        return {}
    held = np.array([[name in options for name in names] for options in networks], dtype=np.float64)
    model = np.column_stack([np.ones(len(networks)), -held])
    inverse = np.linalg.pinv(model)
    is_told = np.isclose(np.diag(inverse @ model), 1.0)
    per_block = _levelled(blocks) @ inverse.T
    reference_ns = float(per_block[:, 0].mean())
    told = [place for place in range(len(names)) if is_told[0] and is_told[place + 1]]
    return {(names[place],): _as_ratio(_mean(per_block[:, place + 1]), reference_ns) for place in told}


def _levelled(blocks: Floats) -> Floats:
    """Blocks on one scale: each over its geometric mean, times that of all."""
    logs = np.log(blocks)
    return np.asarray(np.exp(logs - logs.mean(axis=1, keepdims=True) + logs.mean()))


def _mean(values: Floats) -> Saved:
    """The mean over blocks with Student's t interval."""
    from scipy.special import stdtrit  # takes longer to import than showing a plan takes

    n, middle = len(values), float(values.mean())
    return Saved(middle, middle, middle).widened(float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n)))


def _as_ratio(saved: Saved, reference_ns: float) -> Compared:
    middle, low, high = (1 / (1 - min(each / reference_ns, _SHARE)) for each in (saved.ns, saved.low, saved.high))
    return Compared(reference_ns, Speedup(middle, low, high, None))
