"""Energy of several windows: a mean with its interval, net of idle, and a saving paired within blocks.

A window is what is independent: its process, its phase against the meter, its place in the run. With x_b the energy per
inference of block b's window, n windows, and from `windows` per inference bias B (a bound), rounding q and edges e (standard):

    mean x,  half-width = sqrt((t s / sqrt(n))^2 + z^2 (q^2 + e^2 / n)) + B,   t = t(0.975, n - 1), z = 1.96

Rounding may be the same in all windows, so it does not shrink with their number; a bias has one sign, so it is added and not
put under the root. Net of idle: x_b - p_b T_b / N_b, with p_b the idle power of the same block: what drifts from block to block
cancels, and what is left of it shows in the spread. A saving is exp(mean of ln(reference_b / case_b)), its interval as above
on the logarithms, bias and uncertainties relative and of both sides.

Nothing is trimmed, unlike latencies: of five windows two would be cut off. A window that is odd as a whole widens the
interval instead. Below five windows (or pairs) there is none, and no verdict.

benchmarks/energy.py shows by simulation that the 95 % intervals hold the truth in at least 93 % of runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import EnergyVerdict, Interval, Saving
from harness.stats import widths
from harness.stats.comparisons import verdict
from harness.stats.readings import Drawn

WINDOWS = 5  # windows, or pairs of them, below which there is no interval
_Z = 1.959964  # of a normal, two-sided 95 %
_VERDICTS: Mapping[str, EnergyVerdict] = {"faster": "less", "slower": "more", "same": "same", "unclear": "unclear"}


@dataclass(frozen=True)
class Share:
    """A window's energy per inference, J (or its mean power, W), with what its meter leaves unknown, in the same unit."""

    value: float
    bias: float = 0.0
    quantum: float = 0.0
    edge: float = 0.0

    @classmethod
    def of(cls, drawn: Drawn, parts: float) -> Share:
        """The window's energy divided by `parts`: its inferences, or its seconds."""
        return cls(*(each / parts for each in (drawn.energy_j, drawn.bias_j, drawn.quantum_j, drawn.edge_j)))

    def less(self, other: Share, times: float) -> Share:
        """This without `times` the other."""
        return Share(
            self.value - times * other.value,
            self.bias + times * other.bias,
            math.hypot(self.quantum, times * other.quantum),
            math.hypot(self.edge, times * other.edge),
        )


Shares = Mapping[int, Share]
"""Windows by block."""


def interval(shares: Iterable[Share]) -> Interval | None:
    """The mean with its 95 % interval; None below two windows, no interval below `WINDOWS`."""
    found = list(shares)
    if len(found) < 2:
        return None
    values = [share.value for share in found]
    centre = math.fsum(values) / len(values)
    if len(found) < WINDOWS:
        return Interval(centre)
    width = _width(values, found)
    return Interval(centre, centre - width, centre + width)


def _width(values: Sequence[float], shares: Sequence[Share]) -> float:
    """Half-width of the interval of the mean of `values`, whose uncertainties are those of `shares`."""
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    n = len(values)
    chance = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    bias, quantum, edge = (float(np.mean([getattr(s, key) for s in shares])) for key in ("bias", "quantum", "edge"))
    return math.hypot(chance, _Z * quantum, _Z * edge / math.sqrt(n)) + bias


def net(gross: Shares, idle_w: Shares, seconds: Mapping[int, float]) -> dict[int, Share]:
    """Energy per inference beyond idle, by block; `seconds` per inference. Blocks without an idle window have none."""
    return {
        block: share.less(idle_w[block], seconds[block]) for block, share in sorted(gross.items()) if block in idle_w
    }


def saving(case: Shares, reference: Shares) -> Saving | None:
    """The reference's energy per inference over the case's, paired within blocks; None below two pairs.

    `less` or `more`: the whole interval lies beyond 1 and the effect exceeds what the meter leaves unknown. `same`: the
    interval lies within +-2 %. All else is `unclear`, and so is everything below `WINDOWS` pairs.
    """
    blocks = sorted(
        block for block in case.keys() & reference.keys() if min(case[block].value, reference[block].value) > 0
    )
    if len(blocks) < 2:
        return None
    pairs = [_ratio(reference[block], case[block]) for block in blocks]
    logs = [pair.value for pair in pairs]
    centre = math.fsum(logs) / len(logs)
    if len(pairs) < WINDOWS:
        return Saving(math.exp(centre), None, None, "unclear")
    floor = float(np.mean([pair.bias + _Z * pair.quantum for pair in pairs]))
    width = _width(logs, pairs)
    return Saving(math.exp(centre), *widths.limits(centre, width), _VERDICTS[verdict(centre, width, floor)])


def _ratio(reference: Share, case: Share) -> Share:
    """The logarithm of a ratio, with the relative uncertainties of both sides."""
    theirs, ours = reference.value, case.value
    return Share(
        math.log(theirs / ours),
        reference.bias / theirs + case.bias / ours,
        math.hypot(reference.quantum / theirs, case.quantum / ours),
        math.hypot(reference.edge / theirs, case.edge / ours),
    )


def paired(logs: Sequence[float]) -> Interval | None:
    """A ratio from logarithms of paired ones, trimmed as latencies are; None below two, no interval below `WINDOWS`."""
    values = np.asarray(logs, dtype=np.float64)
    if values.size < 2:
        return None
    centre = widths.centre(values)
    width = widths.half_width(values, 0.05)
    if width is None or values.size < WINDOWS:
        return Interval(math.exp(centre))
    return Interval(math.exp(centre), *widths.limits(centre, width))
