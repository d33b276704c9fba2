"""asv's step detection, and ruptures' PELT, on series of log values: `with_steps.py asv|ruptures FILE.npy START`. Prints
JSON.

asv: for each threshold, 1 where a regression that was not there the night before is reported, by series and night. ruptures:
the nights at which PELT (L2, three nights at least) cuts, at 3 ln n times the variance that the differences show.
"""

import json
import math
import sys
from multiprocessing import Pool

import numpy as np

THRESHOLDS = {"asv, 5 %": 0.05, "asv, 2 %": 0.02}


def _by_asv(given):
    from asv.step_detect import detect_regressions, detect_steps

    logs, start = given
    values = [None if math.isnan(x) else math.exp(x) for x in logs]
    alarms = {name: [0] * len(values) for name in THRESHOLDS}
    seen = {}
    for night in range(start, len(values)):
        if values[night] is None:
            continue
        fitted = detect_steps(values[: night + 1])
        for name, threshold in THRESHOLDS.items():
            jumps = detect_regressions(fitted, threshold)[2]
            after = jumps[-1][1] if jumps else None
            before = seen.get(name)
            alarms[name][night] = int(after is not None and (before is None or after > before + 3))
            seen[name] = after
    return alarms


def _by_ruptures(given):
    from ruptures import KernelCPD

    logs, _ = given
    nights = np.flatnonzero(np.isfinite(logs))
    values = logs[nights]
    variance = (1.4826 * np.median(np.abs(np.diff(values)))) ** 2 / 2
    cuts = KernelCPD(kernel="linear", min_size=3).fit(values).predict(pen=3 * math.log(len(values)) * variance)
    return [int(nights[cut]) for cut in cuts[:-1]]


if __name__ == "__main__":
    what, file, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Pool(2) as pool:
        found = pool.map(
            {"asv": _by_asv, "ruptures": _by_ruptures}[what], [(row, start) for row in np.load(file)], chunksize=4
        )
    print(json.dumps({name: [each[name] for each in found] for name in THRESHOLDS} if what == "asv" else {what: found}))
