"""The data of `noise` through other rules: how often they cry wolf, and what they find. `python -m benchmarks rules`.

A pair is a case and the reference in one job. Rules that look at one run of each (two processes side by side, in one
block) are tried on every block; rules that look at several processes on all ten blocks, as ours is.

Found is a slow-down called slower; called faster, it is `wrong`. A rule that only ever says slower cannot be wrong.

| rule | looks at | says different when |
|---|---|---|
| t-test on samples | 100 latencies of one process each | Welch's p < 0.05 |
| Mann-Whitney on samples | the same | p < 0.05 |
| mean of 100 | the mean of 100 latencies of one process each | more than 5 % apart |
| pytest-benchmark, `--benchmark-compare-fail=mean:5%` | the mean of all latencies of one process each | slower by more than 5 % |
| pyperf, `compare_to` | the means of ten processes each | pyperf's own `is_significant` |
| ours, but with means | ten blocks, paired, means in place of medians and trimmed means, no floor | the interval leaves 1 |
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
Rule = Callable[[pd.DataFrame, pd.DataFrame, Raw, Raw], int]  # 1: called slower, -1: called faster, 0: neither


def measure() -> list[Figure]:
    """Every rule in every condition whose data are there."""
    return [figure for name, frame, raw in noise.conditions() for figure in _condition(name, frame, raw)]


def _condition(name: str, frame: pd.DataFrame, raw: Raw) -> Iterator[Figure]:
    for what, (rule, single) in RULES.items():
        said: dict[int, list[int]] = {0: [], 5: []}
        for added, case, reference in _pairs(frame):
            if added in said:
                said[added] += list(_tried(rule, single, case, reference, raw))
        false, found, wrong = _share(said[0], 1, -1), _share(said[5], 1), _share(said[5], -1)
        yield Figure(
            f"{name}: {what}",
            _bar(name) if what == "ours" else "",
            f"{100 * false:.1f} % of {len(said[0])} A/A pairs called different; +5 %: found in {100 * found:.0f} %, "
            f"wrong in {100 * wrong:.1f} % of {len(said[5])}",
            bool(false <= 0.01 and wrong == 0 and (found >= 0.9 or name != "quiet")) if what == "ours" else None,
        )


def _bar(name: str) -> str:
    return "<= 1 % of A/A" + (", >= 90 % found" if name == "quiet" else "") + ", never wrong"


def _share(said: list[int], *wanted: int) -> float:
    """The share of these answers; NaN, for which no bar holds, when nothing was tried."""
    return sum(answer in wanted for answer in said) / len(said) if said else float("nan")


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame]]:
    """The percent added, a case's processes and the reference's, of every case of every job."""
    for _, job in frame.groupby("job"):
        reference = job[job.case == REFERENCE]
        for label, case in job.groupby("case"):
            if label != REFERENCE:
                yield added_by(str(label)), case, reference


def _tried(rule: Rule, single: bool, case: pd.DataFrame, reference: pd.DataFrame, raw: Raw) -> Iterator[int]:
    """A rule's answers for one pair: one a block for those that look at two processes, else one."""
    if not single:
        first = reference if rule in (_ours, _with_means) else reference[reference.replicate == 0]
        yield rule(case, first, raw[case.index], raw[first.index])
        return
    for block, ours in case.groupby("block"):
        theirs = reference[(reference.block == block) & (reference.replicate == 0)]
        if len(theirs):
            yield rule(ours, theirs, raw[ours.index].ravel(), raw[theirs.index].ravel())


def _t_test(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    return _sign(ours.mean() - theirs.mean()) * bool(tests.ttest_ind(ours, theirs, equal_var=False).pvalue < 0.05)


def _mann_whitney(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    found = tests.mannwhitneyu(ours, theirs)
    return _sign(float(found.statistic) - ours.size * theirs.size / 2) * bool(found.pvalue < 0.05)


def _mean_of_100(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    apart = ours.mean() / theirs.mean() - 1
    return _sign(apart) * bool(abs(apart) > 0.05)


def _pytest_benchmark(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    return int(case.mean_ns.iloc[0] > 1.05 * reference.mean_ns.iloc[0])


def _pyperf(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    from pyperf._utils import is_significant  # of the `bench` extra

    significant, _ = is_significant(list(case.mean_ns), list(reference.mean_ns))
    return _sign(case.mean_ns.mean() - reference.mean_ns.mean()) * bool(significant)


def _ours(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    resolution_ns = float(reference.resolution_ns.iloc[0])
    speedup = stats.speedup(_processes(case), _processes(reference), calibrate.protocol(), resolution_ns)
    return 0 if speedup is None else {"slower": 1, "faster": -1}.get(str(speedup.verdict), 0)


def _with_means(case: pd.DataFrame, reference: pd.DataFrame, ours: Raw, theirs: Raw) -> int:
    """The same comparison as it was before processes that are slower as a whole were found: Student's t on means."""
    blocks = [np.log(side.median_ns).groupby(side.block).mean() for side in (case, reference)]
    ratios = (blocks[0] - blocks[1]).dropna()
    alpha = calibrate.protocol().alpha
    width = tests.t.ppf(1 - alpha / 2, len(ratios) - 1) * ratios.std(ddof=1) / np.sqrt(len(ratios))
    return _sign(ratios.mean()) * bool(abs(ratios.mean()) > width)


def _sign(difference: float) -> int:
    return int(np.sign(difference))


def _processes(rows: pd.DataFrame) -> list[stats.Process]:
    """Processes that have one latency, their median: all that a comparison looks at."""
    return [
        stats.Process(
            str(row.case),
            int(row.block),
            int(row.replicate),
            int(row.attempt),
            np.array([row.median_ns]),
            contended=bool(row.contended),
            throttled=bool(row.throttled),
        )
        for row in rows.itertuples()
    ]


RULES: dict[str, tuple[Rule, bool]] = {
    "t-test on samples": (_t_test, True),
    "Mann-Whitney on samples": (_mann_whitney, True),
    "mean of 100, 5 %": (_mean_of_100, True),
    "pytest-benchmark's rule, mean:5%": (_pytest_benchmark, True),
    "pyperf's rule, is_significant": (_pyperf, False),
    "ours, but with means": (_with_means, False),
    "ours": (_ours, False),
}
