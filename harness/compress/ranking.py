"""From a score per candidate to a Choice: the lowest go first."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.errors import TrainError
from harness.records import Choice


def lowest(
    scores: Mapping[str, float], step: int = 1, gap_error: float | None = None, setting: float | None = None
) -> Choice | None:
    """Choose the `step` candidates of least score; None when there is no candidate. Ties go to the one named first.

    The gap lies between the last that goes and the first that stays; `gap_error` is its standard error, if known. Raises
    TrainError for a score that is NaN, which no order has a place for: what it was taken from is no number any more.
    """
    if not scores:
        return None
    for name, score in scores.items():
        if math.isnan(score):
            hint = "Finished rungs are kept and are not trained again; another --seed may go through."
            raise TrainError(f"the score of {name} is nan: weights or inputs are not finite there", hint)
    ranked = sorted(scores, key=lambda name: scores[name])
    gap = scores[ranked[step]] - scores[ranked[step - 1]] if len(ranked) > step else None
    in_order = {name: float(scores[name]) for name in ranked}
    return Choice(tuple(ranked[:step]), in_order, gap, gap_error if gap is not None else None, setting)
