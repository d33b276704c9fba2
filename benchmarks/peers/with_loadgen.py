"""MLPerf LoadGen's Python package, single stream, ten seconds. Prints JSON."""

import json
import re
import sys
import tempfile
from pathlib import Path

import mlperf_loadgen as lg
from session import load

infer = load(sys.argv[1])
for _ in range(200):
    infer()


def issue(samples: list) -> None:  # type: ignore[type-arg]
    """Answer each query at once."""
    for sample in samples:
        infer()
        lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])


settings = lg.TestSettings()
settings.scenario = lg.TestScenario.SingleStream
settings.mode = lg.TestMode.PerformanceOnly
settings.min_duration_ms = 10_000
with tempfile.TemporaryDirectory() as folder:
    output = lg.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = folder, False
    log = lg.LogSettings()
    log.log_output = output
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(system, library, settings, log)
    summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
median = re.search(r"50.00 percentile latency \(ns\)\s*: (\d+)", summary)
mean = re.search(r"Mean latency \(ns\)\s*: (\d+)", summary)
assert median and mean, summary
print(json.dumps({"median_ns": int(median[1]), "mean_ns": int(mean[1])}))
