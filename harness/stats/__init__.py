"""Samples to estimates, intervals, comparisons and verdicts. Pure: numbers in, frozen records out.

The process is the unit of replication: thousands of inferences within one share its memory layout, its clock and its
neighbours, and an interval over them would be far too narrow. So every process counts once, by the logarithm of its
median; a block counts once, by the median over its processes; and intervals of speed-ups are Student's t over blocks, of
which a fifth is cut off on either side, for the odd process that is slower as a whole (`widths`):

    y_b = median over replicates r of ln median(latency_ns of process b, r)
    d_b = y_b(reference) - y_b(case)                                 paired: what slows a whole block cancels
    speed-up = exp(trimmed mean d),  interval = exp(trimmed mean d -+ hw),
    hw = t(1 - a / 2, h - 1) * s_w(d) * sqrt((n - 1) / (h (h - 1))),  h = n - 2 * (n // 5), s_w winsorised

with a = alpha / number of looks, so that the interval holds at all planned looks together (Bonferroni). The agent
stops by the same rule, written in plain Python (devices/agent/stopping.py); a test holds the two together.

A latency is the median of process medians, m; its interval is for that median. Below 20 blocks t over blocks on the log
scale, from there on the percentiles of resampled whole blocks (`estimates`, `resampling`):

    exp(ln m -+ sqrt(pi / 2) * hw),  hw as above from the y_b, with a = 0.05

sqrt(pi / 2) is the standard error of a median over that of a mean, for normal logs and many blocks (a little less for
few: there the interval errs on the wide side). The median stays where one disturbed process would move a mean. An interval
speaks of the run: of its blocks as they were. What a device does next week no interval tells.

Rooms: `processes` (what is counted), `steady` (change points, autocorrelation), `estimates` and `tails` (one case),
`components` (where variance arises), `comparisons` (a case and its reference), `ladders` (all rungs at once),
`across` (a case in two runs), `accuracy` (fractions of test examples, paired), `kinks` (a line over rungs, and its break),
`changes` with its `levels` (is tonight a change?) and `segments` (a whole history, looked back upon).
benchmarks/coverage.py shows by simulation that each 95 % interval holds the truth in at least 93 % of runs, with drift,
autocorrelation, outliers, process effects and a shared reference.

Latencies are integers of nanoseconds, never negative. A clock coarser than the inference reads 0; on the log scale
one nanosecond, the unit of what is stored, stands for a smaller median, so that ratios stay finite. No interval is
narrower than what the clock can see: its resolution over the median, for a ratio the sum of both sides'. The agent's
stopping rule knows nothing of this bound; with a clock of nanoseconds it is far below what blocks can reach.
"""

from __future__ import annotations

from harness.stats.accuracy import Bits, clustered, holm, mcnemar, paired, paired_seeds, unpacked, wilson
from harness.stats.association import rank_correlation
from harness.stats.comparisons import (
    MAX_BLOCKS,
    SAME,
    Reach,
    blocks_needed,
    differences,
    floor,
    floor_size,
    half_width,
    least,
    projected,
    reach,
    speedup,
    verdict,
)
from harness.stats.components import components
from harness.stats.estimates import CONFIDENCE, absent, estimate
from harness.stats.kinks import LEAST_LINE, Fit, Slope, line
from harness.stats.ladders import joint
from harness.stats.processes import RESOLUTION_NS, Floats, Process, by_block, last_attempts
from harness.stats.steady import SHIFT, Change, change, effective, lag1
from harness.stats.tails import BOUND_SAMPLES, QUANTILE_SAMPLES

__all__ = [
    "BOUND_SAMPLES",
    "CONFIDENCE",
    "LEAST_LINE",
    "MAX_BLOCKS",
    "QUANTILE_SAMPLES",
    "RESOLUTION_NS",
    "SAME",
    "SHIFT",
    "Bits",
    "Change",
    "Fit",
    "Floats",
    "Process",
    "Reach",
    "Slope",
    "absent",
    "blocks_needed",
    "by_block",
    "change",
    "clustered",
    "components",
    "differences",
    "effective",
    "estimate",
    "floor",
    "floor_size",
    "half_width",
    "holm",
    "joint",
    "lag1",
    "last_attempts",
    "least",
    "line",
    "mcnemar",
    "paired",
    "paired_seeds",
    "projected",
    "rank_correlation",
    "reach",
    "speedup",
    "unpacked",
    "verdict",
    "wilson",
]
