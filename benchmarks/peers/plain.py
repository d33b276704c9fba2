"""No harness at all: a loop, its median. `python plain.py model.onnx` prints JSON."""

import json
import statistics
import sys
import time

from session import load

infer = load(sys.argv[1])
for _ in range(200):
    infer()
latencies = []
for _ in range(3000):
    before = time.perf_counter_ns()
    infer()
    latencies.append(time.perf_counter_ns() - before)
print(json.dumps({"median_ns": statistics.median(latencies)}))
