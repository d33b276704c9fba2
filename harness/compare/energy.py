"""Energy of the same row in two runs, where both measured the same thing in the same way.

The runs are independent, and each has a value e with a 95 % interval [l, u]. The interval of their ratio is made of these by the
method of variance estimates recovery on the log scale (Zou and Donner, Statistics in Medicine 2008):

    ln ratio = ln e_a - ln e_b,    down = sqrt((ln e_a - ln l_a)^2 + (ln u_b - ln e_b)^2),    up = the same with u_a and l_b

which for intervals that are even on the log scale is the log-normal approximation. So that intervals hold for all m rows of
a comparison at once (Bonferroni), `down` and `up` are stretched by t(1 - 0.025 / m, f) / t(0.975, f), with f = windows - 1 of
the run that has fewer. What differs from job to job (supply, room, a sensor's offset after a boot) is in neither interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.compare.records import EnergyRatio
from harness.records import Energy, EnergyVerdict, Interval, Summary
from harness.stats import SAME

_ALIKE = 0.01  # windows and rates further apart than this are others
_ALPHA = 0.05  # of all rows together


def energies(pairs: Sequence[tuple[Summary | None, Summary | None]]) -> list[tuple[EnergyRatio | None, str | None]]:
    """Compare the energies of rows of two runs, (a, b) each; returns what came out, or why not.

    Both are None where neither run has an energy, or one has no such row.
    """
    found = [_unlike(a, b) if a and b else (None, None) for a, b in pairs]
    several = sum(pair is not None for pair, _ in found)
    return [(None, reason) if pair is None else (_ratio(*pair, several), None) for pair, reason in found]


def _unlike(a: Summary, b: Summary) -> tuple[tuple[Energy, Energy] | None, str | None]:
    """Both energies where they can be compared; else why not, where there is anything to say."""
    one, other = a.energy_j, b.energy_j
    if one is None and other is None:
        return None, None
    if one is None or other is None:
        run, row = ("A", a) if one is None else ("B", b)
        return None, f"no energy in {run}: {row.reasons.get('energy_j') or row.energy_status}"
    differences = [
        f"{name} {x} in A, {y} in B"
        for name, x, y in (
            ("scope", one.scope, other.scope),
            ("sensor", one.sensor, other.sensor),
            ("kind", one.kind, other.kind),
            ("scenario", one.scenario, other.scenario),
        )
        if x != y
    ]
    ending_s = 0.0 if one.scenario == "paced" else max(map(_inference_s, (one, other)))
    if not _near(one.window_s, other.window_s) and abs(one.window_s - other.window_s) > ending_s:
        differences.append(
            f"windows of {one.window_s:.4g} s in A, {other.window_s:.4g} s in B (give both runs one --window)"
        )
    rates = _rate(one), _rate(other)
    if one.scenario == other.scenario and not _near(*rates):
        said = [f"{rate:.4g} Hz" if rate else "unknown" for rate in rates]
        differences.append(f"rate {said[0]} in A, {said[1]} in B (give both runs one --rate)")
    return (None, "energies of unlike " + "; ".join(differences)) if differences else ((one, other), None)


def _near(x: float | None, y: float | None) -> bool:
    """Whether two lengths or rates are equal within 1 %; two that there are not are equal, too."""
    if x is None or y is None:
        return x is y
    return abs(x - y) <= _ALIKE * max(x, y)


def _inference_s(energy: Energy) -> float:
    """How long an inference took, s: by so much a closed window may be longer than was asked for."""
    figure = energy.figures.get(energy.scenario)
    return figure.gross.value / figure.power_w.value if figure and figure.power_w.value > 0 else 0.0


def _rate(energy: Energy) -> float | None:
    figure = energy.figures.get(energy.scenario)
    return figure.rate_hz if figure else None


def _ratio(a: Energy, b: Energy, rows: int) -> EnergyRatio:
    ratio = a.gross.value / b.gross.value
    reach = _reach(a.gross, b.gross), _reach(b.gross, a.gross)
    low = high = None
    if reach[0] is not None and reach[1] is not None:
        stretch = _stretch(rows, min(_windows(a), _windows(b)))
        low, high = ratio * math.exp(-stretch * reach[0]), ratio * math.exp(stretch * reach[1])
    return EnergyRatio(a.gross, b.gross, a.scope, a.sensor, a.scenario, _rate(a), ratio, low, high, _verdict(low, high))


def _reach(over: Interval, under: Interval) -> float | None:
    """How far the log of over / under reaches downwards; None where an interval is missing, or reaches 0."""
    if over.low is None or under.high is None or min(over.low, under.value) <= 0:
        return None
    return math.hypot(math.log(over.value / over.low), math.log(under.high / under.value))


def _windows(energy: Energy) -> int:
    figure = energy.figures.get(energy.scenario)
    return figure.windows if figure else 2


def _stretch(rows: int, windows: int) -> float:
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    freedom = max(windows - 1, 1)
    return float(stdtrit(freedom, 1 - _ALPHA / 2 / rows) / stdtrit(freedom, 1 - _ALPHA / 2))


def _verdict(low: float | None, high: float | None) -> EnergyVerdict:
    """Wholly within 2 %: same, however narrow, as what differs from job to job is in no interval; wholly beyond 1: less, more."""
    if low is None or high is None:
        return "unclear"
    if low >= 1 - SAME and high <= 1 + SAME:
        return "same"
    return "less" if low > 1 else "more" if high < 1 else "unclear"
