"""The data of `noise` through other rules: how often they cry wolf, and what they find. `python -m benchmarks rules`.

A pair is a case and the reference in one job. Rules that look at one run of each (two processes side by side, in one
block) are tried on every block; rules that look at several processes on all ten blocks, as ours is.

| rule | looks at | says different when |
|---|---|---|
| t-test on samples | 100 latencies of one process each | Welch's p < 0.05 |
| Mann-Whitney on samples | the same | p < 0.05 |
| mean of 100 | the mean of 100 latencies of one process each | more than 5 % apart |
| pytest-benchmark, `--benchmark-compare-fail=mean:5%` | the mean of all latencies of one process each | slower by more than 5 % |
| pyperf, `compare_to` | the means of ten processes each | pyperf's own `is_significant` |
| ours | ten blocks, paired, trimmed, against the A/A floor | `faster` or `slower` |

The rule is tried, not the program: pytest-benchmark and pyperf would have chosen other numbers of rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as tests

from benchmarks import noise
from benchmarks.figures import Figure
from harness import calibrate, stats
from harness.calibration import REFERENCE, added_by

Raw = npt.NDArray[np.int32]
Rule = Callable[[pd.DataFrame, pd.DataFrame, Raw, Raw], bool]


def measure() -> list[Figure]:
    """Every rule in every condition whose data are there."""
    return [figure for name, frame, raw in noise.conditions() for figure in _condition(name, frame, raw)]


def _condition(name: str, frame: pd.DataFrame, raw: Raw) -> Iterator[Figure]:
    for what, (rule, single) in RULES.items():
        alarms: dict[int, list[bool]] = {0: [], 5: []}
        for added, case, reference in _pairs(frame):
            if added in alarms:
                alarms[added] += list(_tried(rule, single, case, reference, raw))
        false, found = (np.mean(alarms[added]) if alarms[added] else float("nan") for added in (0, 5))
        yield Figure(
            f"{name}: {what}",
            "<= 1 % wrong, >= 90 % found" if what == "ours" else "",
            f"{100 * false:.1f} % of {len(alarms[0])} A/A pairs called different; +5 % noticed in {100 * found:.0f} %",
            bool(false <= 0.01 and (found >= 0.9 or name != "quiet")) if what == "ours" else None,
        )


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame]]:
    """The percent added, a case's processes and the reference's, of every case of every job."""
    for _, job in frame.groupby("job"):
        reference = job[job.case == REFERENCE]
        for label, case in job.groupby("case"):
            if label != REFERENCE:
                yield added_by(str(label)), case, reference


def _tried(rule: Rule, single: bool, case: pd.DataFrame, reference: pd.DataFrame, raw: Raw) -> Iterator[bool]:
    """A rule's answers for one pair: one a block for those that look at two processes, else one."""
    if not single:
        first = reference if rule is _ours else reference[reference.replicate == 0]
        yield rule(case, first, raw[case.index], raw[first.index])
        return
    for block, ours in case.groupby("block"):
        theirs = reference[(reference.block == block) & (reference.replicate == 0)]
        if len(theirs):
            yield rule(ours, theirs, raw[ours.index].ravel(), raw[theirs.index].ravel())


def _t_test(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    return bool(tests.ttest_ind(ours, theirs, equal_var=False).pvalue < 0.05)


def _mann_whitney(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    return bool(tests.mannwhitneyu(ours, theirs).pvalue < 0.05)


def _mean_of_100(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    return bool(abs(ours.mean() / theirs.mean() - 1) > 0.05)


def _pytest_benchmark(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    return bool(case.mean_ns.iloc[0] > 1.05 * reference.mean_ns.iloc[0])


def _pyperf(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    from pyperf._utils import is_significant  # of the `bench` extra

    significant, _ = is_significant(list(case.mean_ns), list(reference.mean_ns))
    return bool(significant)


def _ours(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> bool:
    speedup = stats.speedup(_processes(case), _processes(reference), calibrate.protocol(), 1.0)
    return speedup is not None and speedup.verdict in ("faster", "slower")


def _processes(rows: pd.DataFrame) -> list[stats.Process]:
    """Processes that have one latency, their median: all that a comparison looks at."""
    return [
        stats.Process(str(row.case), int(row.block), int(row.replicate), int(row.attempt), [int(row.median_ns)])
        for row in rows.itertuples()
    ]


RULES: dict[str, tuple[Rule, bool]] = {
    "t-test on samples": (_t_test, True),
    "Mann-Whitney on samples": (_mann_whitney, True),
    "mean of 100, 5 %": (_mean_of_100, True),
    "pytest-benchmark's rule, mean:5%": (_pytest_benchmark, True),
    "pyperf's rule, is_significant": (_pyperf, False),
    "ours": (_ours, False),
}
