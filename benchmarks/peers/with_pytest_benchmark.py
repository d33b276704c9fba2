"""pytest-benchmark as its documentation has it: the `benchmark` fixture with its defaults. Prints JSON."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def test_yardstick(benchmark) -> None:  # type: ignore[no-untyped-def]
    from session import load

    benchmark(load(os.environ["MODEL"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        here, out = Path(__file__).resolve(), Path(folder) / "out.json"
        for file in (here, here.with_name("session.py")):  # away from our package, which pytest would import
            shutil.copy(file, folder)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            here.name,
            f"--benchmark-json={out}",
        ]
        env = {**os.environ, "MODEL": sys.argv[1]}
        subprocess.run(command, check=True, stdout=sys.stderr, env=env, cwd=folder)
        stats = json.loads(out.read_text())["benchmarks"][0]["stats"]
    print(json.dumps({"median_ns": 1e9 * stats["median"], "mean_ns": 1e9 * stats["mean"]}))
