"""From a score per candidate to a Choice: the lowest go first."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import Choice


def lowest(
    scores: Mapping[str, float], step: int = 1, gap_error: float | None = None, setting: float | None = None
) -> Choice | None:
    """Choose the `step` candidates of least score; None when there is no candidate. Ties go to the one named first.

    The gap lies between the last that goes and the first that stays; `gap_error` is its standard error, if known.
    """
    if not scores:
        return None
    ranked = sorted(scores, key=lambda name: scores[name])
    gap = scores[ranked[step]] - scores[ranked[step - 1]] if len(ranked) > step else None
    in_order = {name: float(scores[name]) for name in ranked}
    return Choice(tuple(ranked[:step]), in_order, gap, gap_error if gap is not None else None, setting)
