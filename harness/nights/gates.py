"""Whether a measured case keeps a limit, judged by its whole interval: what tests of one's own gate on. Pure.

It passes only where the whole 95 % interval is on the good side. Where the limit lies within it nothing is known yet: that is
`unclear`, which fails too, and says what would decide it. No figure of an emulated device ever passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.nights.wording import plural
from harness.records import Run, Summary
from harness.report.text import digits
from harness.text import printable

QUANTILES = ("median", "p90", "p95", "p99")
_FEW = 8  # processes, from which an interval of a median can be had
_NEAR = 0.005  # of the limit: whoever is nearer cannot be told apart from it by more processes, but by another limit


def latency(run: Run, case: Summary, below_ms: float, of: str) -> str | None:
    """Return why a case's latency is not shown to be below a limit; None: it is."""
    estimate = case.latency_ns
    if (reason := _unmeasured(run, case)) or estimate is None:
        return f"{named(run, case)}: has no latency: {reason or case.reasons.get('latency_ns', 'it was not measured')}"
    tail = None if of == "median" else estimate.tails.get(of)
    limits = (estimate.low, estimate.high) if of == "median" else (tail.low, tail.high) if tail else (None, None)
    value = estimate.median if of == "median" else tail.value if tail else None
    low, high = (None if limit is None else limit / 1e6 for limit in limits)
    if value is None or low is None or high is None:
        few = (
            f"{plural(estimate.processes, 'process', 'processes')} and {plural(estimate.samples, 'sample')} are too few"
        )
        longer = _longer(run, max(2.0, _FEW / estimate.processes))
        return f"{named(run, case)}: unclear: {few} for an interval of the {of}; {longer}"
    if high < below_ms:
        return None
    what = f"{of} {_ms(value / 1e6)} ms [{_ms(low)}, {_ms(high)}]"
    if low >= below_ms:
        return f"{named(run, case)}: {what} is not below {below_ms:g} ms{_disturbed(run)}"
    more = _decides(run, value / 1e6, (low, high), below_ms, estimate.processes)
    return f"{named(run, case)}: unclear: {what} does not lie wholly below {below_ms:g} ms; {more}{_disturbed(run)}"


def speedup(run: Run, case: Summary, at_least: float) -> str | None:
    """Return why a case's speed-up over full depth is not shown to be that large; None: it is."""
    ratio = case.speedup
    if (reason := _unmeasured(run, case)) or ratio is None:
        return f"{named(run, case)}: has no speed-up: {reason or case.reasons.get('speedup', 'it was not measured')}"
    if ratio.low is None or ratio.high is None:
        return f"{named(run, case)}: unclear: too few blocks for an interval of the speed-up; {_longer(run)}"
    if ratio.low >= at_least:
        return None
    what = f"speed-up {ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    if ratio.high < at_least:
        return f"{named(run, case)}: {what} is less than {at_least:g}{_disturbed(run)}"
    more = _decides(run, ratio.ratio, (ratio.low, ratio.high), at_least, case.blocks)
    return f"{named(run, case)}: unclear: {what} is not wholly at least {at_least:g}; {more}{_disturbed(run)}"


def named(run: Run, case: Summary) -> str:
    """A case as it is called in a message."""
    rung = "" if case.rung is None else f" rung {case.rung}"
    return f"{run.device} {case.model} {case.ladder}{rung} {case.runtime} {case.precision} (run {run.run})"


def require_finite(name: str, value: float) -> None:
    """Raise UsageError for a limit that is none."""
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name}={value!r}: it is a number above 0")


def _unmeasured(run: Run, case: Summary) -> str:
    """Why a case has nothing to be judged by, if there is more to it than a missing number."""
    if run.virtual:
        return "the device is emulated, its times say nothing"
    if case.status != "ok":
        return printable(f"it {case.status}: {case.reasons.get('status', 'no reason was told')}")
    return ""


def _decides(run: Run, value: float, interval: tuple[float, float], limit: float, count: int) -> str:
    """What would decide it: intervals shrink with the root of the number of processes, if all else stays."""
    distance = abs(value - limit)
    if distance < _NEAR * limit:
        return f"it is within {100 * _NEAR:g} % of the limit, which no longer run tells apart: move the limit"
    side = max(value - interval[0], interval[1] - value)
    needed = math.ceil(count * (1.1 * side / distance) ** 2)  # a tenth more, since the value moves, too
    return (
        f"about {needed} blocks or processes instead of {count} would decide it; {_longer(run, needed / max(count, 1))}"
    )


def _longer(run: Run, times: float = 2.0) -> str:
    budget = math.ceil(run.plan.budget_s * times / 10) * 10
    return f"measure longer, for instance with --budget {budget}"


def _disturbed(run: Run) -> str:
    """That a run was disturbed, where it was: then it says little of the code."""
    state = run.verdict.state if run.verdict else "stable"
    if run.verdict is None or state == "stable":
        return ""
    return printable(
        f"; the run is {state} ({'; '.join(run.verdict.evidence)}): measure it again before the code is blamed"
    )


def _ms(value: float) -> str:
    return digits(value, 4)


def matches(case: Summary, which: Mapping[str, Any]) -> bool:
    """Whether a case has all these properties; controls count only where they are named."""
    control = case.method == "control" and not {"ladder", "method"} & which.keys()
    return not control and all(getattr(case, name) == value for name, value in which.items())
