"""pyperf as its documentation has it: Runner.bench_func with its defaults, 20 processes. Prints JSON."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, __file__, "--inherit-environ", "MODEL", "--quiet", "-o", str(out)]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "MODEL": sys.argv[1], "INNER": "1"})
        import pyperf

        bench = pyperf.Benchmark.load(str(out))
        values = bench.get_values()
    print(json.dumps({"median_ns": 1e9 * statistics.median(values), "mean_ns": 1e9 * bench.mean()}))


if "MODEL" not in os.environ:  # asked by us; with it, by pyperf, in one of its processes
    _main()
else:
    import pyperf
    from session import load

    runner = pyperf.Runner()
    runner.bench_func("yardstick", load(os.environ["MODEL"]))
