"""Findings about ladders: what needs no clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.findings.views import ROSE, Row, cases_of, count, grown, listing, mega, over, percent, ratio, verdict
from harness.records import DELTA_EXAMPLES, FOLD_ERROR_F32, FOLD_ERROR_F64, ONNX, Finding, Ladder, Rung

_BOUNDS = (FOLD_ERROR_F64, FOLD_ERROR_F32)


def macs_rose(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """Rungs with more useful MACs than rung 0, where both are known."""
    before = ladder.rungs[0].cost.macs_useful
    counted = [(row, macs) for row in rows if (macs := row.rung.cost.macs_useful) is not None]
    more = [row for row, macs in counted if before is not None and macs > ROSE * before]
    if before is None or not more:
        return
    worst, after = max(counted, key=lambda pair: pair[1])
    faster = [row for row in more if verdict(row) == "faster"]
    advice = "Fewer operators must pay for the extra arithmetic, and only a measurement can say whether they do."
    if faster:
        best = max((row.summary for row in faster), key=ratio)
        advice = (
            f"Rung {best.rung} is {ratio(best):.2f} times as fast on {best.runtime} all the same: MACs do not decide."
        )
    yield Finding(
        "macs-rose",
        "info" if faster else "warning",
        cases_of(more),
        {
            "ladder": ladder.name,
            "rungs": listing(row.rung.rung for row in more),
            "worst_rung": worst.rung.rung,
            "macs_useful_before": before,
            "macs_useful_after": after,
            "macs_useful_ratio": over(after, before),
        },
        f"Rung {worst.rung.rung} does {mega(after)} M useful MACs instead of {mega(before)} M{_why(worst.rung)}.",
        advice,
    )


def _why(rung: Rung) -> str:
    """Where the MACs come from, as far as its merged layers say; of a given network nobody knows them."""
    if rung.fold_error is None:
        return ""
    return grown(rung.groups, "MACs") or ", and no merged layer has more than those it replaced: the cause is unknown"


def order_not_determined(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """Rungs whose choice rests on a gap smaller than twice its bootstrap error."""
    close = [row for row in rows if _is_tie(row.rung)]
    if not close:
        return
    choice = close[0].rung.choice
    assert choice is not None
    first, second = sorted(choice.scores, key=lambda name: choice.scores[name])[:2]
    rung = close[0].rung.rung
    yield Finding(
        "order-not-determined",
        "info",
        cases_of(close),
        {
            "ladder": ladder.name,
            "rungs": listing(row.rung.rung for row in close),
            "rung": rung,
            "gap": choice.gap,
            "gap_error": choice.gap_error,
        },
        f"At rung {rung} the scores of {first} and {second} differ by {choice.gap:.2g}, less than twice the bootstrap "
        f"error {choice.gap_error:.2g}.",
        "Another sample or seed may remove another activation: compare ladders of several seeds before reading "
        "anything into the order.",
    )


def _is_tie(rung: Rung) -> bool:
    choice = rung.choice
    if choice is None or choice.gap is None or choice.gap_error is None or len(choice.scores) < 2:
        return False
    return choice.gap < 2 * choice.gap_error


def not_exact(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """Rungs whose fold error exceeds its bound, and groups left unmerged to stay exact."""
    beyond = [row for row in rows if any(e > most for e, most in zip(_errors(row.rung), _BOUNDS, strict=True))]
    if beyond:
        worst = max(beyond, key=lambda row: _errors(row.rung)).rung
        yield Finding(
            "not-exact",
            "error",
            cases_of(beyond),
            {
                "ladder": ladder.name,
                "rungs": listing(row.rung.rung for row in beyond),
                "worst_rung": worst.rung,
                "fold_error": worst.fold_error,
                "fold_error_f64": worst.fold_error_f64,
            },
            f"The folded rung {worst.rung} differs from its network by {worst.fold_error:.1e} in float32 (bound "
            f"{FOLD_ERROR_F32:.0e}) and {worst.fold_error_f64:.1e} in float64 (bound {FOLD_ERROR_F64:.0e}).",
            "Its latency is that of a different function: do not report it as folding without loss.",
        )
    refused = [row for row in rows if any(group.reason for group in row.rung.groups)]
    if refused:
        yield _refused(ladder, refused)


def _errors(rung: Rung) -> tuple[float, float]:
    """Fold errors in float64 and float32; what was folded elsewhere has none here."""
    return rung.fold_error_f64 or 0.0, rung.fold_error or 0.0


def _refused(ladder: Ladder, rows: Sequence[Row]) -> Finding:
    reasons = {group.path: group.reason for row in rows for group in row.rung.groups if group.reason}
    path, reason = next(iter(reasons.items()))
    return Finding(
        "not-exact",
        "info",
        cases_of(rows),
        {"ladder": ladder.name, "rungs": listing(row.rung.rung for row in rows), "groups": len(reasons), "first": path},
        f"{count(len(reasons), 'group')} stayed unmerged to stay exact, for instance {path}: {reason}.",
        "The networks compute what they should, with more layers than removed activations suggest.",
    )


def accuracy_lost(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """Rungs whose accuracy is below that of rung 0 by more than binomial noise."""
    before, n = ladder.rungs[0].accuracy, ladder.test_examples
    if before is None or not n:
        return
    lost = [row for row in rows if _fell(row.rung.accuracy, before, n)]
    if not lost:
        return
    worst = min((row.rung for row in lost), key=lambda rung: rung.accuracy or 0.0)
    first = min(row.rung.rung for row in lost)
    after = worst.accuracy or 0.0
    missed = round((before - after) * n)
    yield Finding(
        "accuracy-lost",
        "warning",
        cases_of(lost),
        {
            "ladder": ladder.name,
            "rungs": listing(row.rung.rung for row in lost),
            "worst_rung": worst.rung,
            "accuracy_before": before,
            "accuracy_after": after,
            "examples_lost": missed,
            "test_examples": n,
        },
        f"Rung {worst.rung} gets {percent(after)} right, rung 0 {percent(before)}: {missed} more of {n} test examples "
        f"are wrong, beyond chance; one example is {percent(1 / n)}.",
        f"Rung {first - 1} is the last before a clear loss; beyond it, fine-tune for longer.",
    )


def _fell(after: float | None, before: float, n: int) -> bool:
    """Whether `after` lies below `before` by more than binomial noise: Agresti and Caffo's 95 % interval on n each.

    Both rungs see the same examples, so that the true noise is smaller: a loss that is found is one.
    """
    if after is None:
        return False
    p, q = ((accuracy * n + 1) / (n + 2) for accuracy in (before, after))
    return p - q > 1.96 * math.sqrt((p * (1 - p) + q * (1 - q)) / (n + 2))


def agreement(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """How far the given networks compute the same. Told, never bound: moving padding first makes another function."""
    others = [row for row in rows if row.rung.rung > 0 and row.rung.difference is not None]
    if ladder.method != ONNX or not others:
        return
    worst = max((row.rung for row in others), key=lambda rung: rung.difference or 0.0)
    far = [row for row in others if (row.rung.difference or 0.0) > FOLD_ERROR_F32]
    if far:
        said = f"computes something else than rung 0 ({ladder.model})"
        advice = (
            "Their speed-ups compare different functions, as padding moved first makes one: "
            "what that costs in accuracy is not known here."
        )
    else:
        said = f"computes what rung 0 ({ladder.model}) computes"
        advice = "Float32 in another order differs by as much: their speed-ups compare equal functions."
    yield Finding(
        "agreement",
        "info",
        cases_of(far or others),
        {
            "ladder": ladder.name,
            "rungs": listing(row.rung.rung for row in far or others),
            "worst_rung": worst.rung,
            "difference": worst.difference,
        },
        f"Rung {worst.rung} ({worst.network}) {said}: on the same noise its outputs differ by at most "
        f"{worst.difference:.2g} times the largest.",
        advice,
    )


def cut_short(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """A ladder that ended before its candidates did: by `--delta`, as asked, or because a training diverged."""
    if not ladder.ended:
        return
    asked = ladder.delta is not None and f"--delta {ladder.delta:g}" in ladder.ended
    last = ladder.rungs[-1].rung
    yield Finding(
        "ladder-cut-short",
        "info" if asked else "warning",
        cases_of([row for row in rows if row.rung.rung == last]),
        {"ladder": ladder.name, "last_rung": last},
        f"Ladder {ladder.name} ends at rung {last}: {ladder.ended}.",
        "Allow more (--delta) or train for longer (--budget-epochs) to see what comes below."
        if asked
        else "The rungs above are sound and kept; another --seed may go through.",
    )


def delta_not_resolvable(ladder: Ladder, rows: Sequence[Row]) -> Iterator[Finding]:
    """A ladder whose end was judged on too few images: one accuracy's standard error may be more than a point."""
    n = ladder.validation_examples
    if ladder.delta is None or n is None or n >= DELTA_EXAMPLES:
        return
    error = 0.5 / math.sqrt(n)
    yield Finding(
        "delta-not-resolvable",
        "warning",
        cases_of(rows),
        {"ladder": ladder.name, "delta": ladder.delta, "validation_examples": n, "error_at_most": error},
        f"--delta {ladder.delta:g} was judged on {n} validation images, fewer than {DELTA_EXAMPLES}: the standard error of an "
        f"accuracy may be {percent(error)}.",
        "Where this ladder ends is partly chance: read nothing into its length, or take a task with more images.",
    )


LOOKS = (macs_rose, order_not_determined, not_exact, accuracy_lost, agreement, cut_short, delta_not_resolvable)
