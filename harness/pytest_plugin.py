"""Gates in tests of one's own: `assert_latency` and `assert_speedup` on stored runs, and `harness_run`, which makes one.

    def test_rung_3_is_fast_enough(assert_latency):
        assert_latency("device = 'pi5' and model = 'resnet18'", rung=3, below_ms=12)

pytest finds this file by itself (entry point `pytest11`) in every run of whoever has edge-harness installed: nothing but pytest
and the standard library is imported before a test asks for something.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path("results")


def assert_latency(
    run: str | Path, *, below_ms: float, of: str = "median", results: str | Path = RESULTS, **which: Any
) -> None:
    """Assert that the latency of every case that is picked is below a limit, with the whole of its 95 % interval.

    `run`: a run's folder, id or URL, or an SQL expression as for `harness show --where` (then the newest run of each device
    counts). `of`: median, p90, p95 or p99. `which`: ladder, rung, method, model, runtime, precision, threads, batch.
    """
    __tracebackhide__ = True
    with _told():
        from harness import content
        from harness.nights import gates, picked

        gates.require_finite("below_ms", below_ms)
        content.require_known("quantile", of, gates.QUANTILES)
        cases = picked.pick(run, Path(results), which)
        failures = [gates.latency(made, case, below_ms, of) for made, case in cases]
    _fail(failures)


def assert_speedup(run: str | Path, *, at_least: float, results: str | Path = RESULTS, **which: Any) -> None:
    """Assert that the speed-up over full depth of every case that is picked is so large, with the whole of its 95 % interval.

    Words as for `assert_latency`. Full depth itself, rung 0, is what the others are compared with, and is left out.
    """
    __tracebackhide__ = True
    with _told():
        from harness.errors import UsageError
        from harness.nights import gates, picked

        gates.require_finite("at_least", at_least)
        cases = [(made, case) for made, case in picked.pick(run, Path(results), which) if case.rung != 0]
        if not cases:
            raise UsageError(f"{run}: rung 0 alone is picked, with which the others are compared")
        failures = [gates.speedup(made, case, at_least) for made, case in cases]
    _fail(failures)


@pytest.fixture(name="assert_latency", scope="session")
def _assert_latency() -> Callable[..., None]:
    """`assert_latency`, without an import."""
    return assert_latency


@pytest.fixture(name="assert_speedup", scope="session")
def _assert_speedup() -> Callable[..., None]:
    """`assert_speedup`, without an import."""
    return assert_speedup


@pytest.fixture(scope="session")
def harness_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run `harness run` with given words, as often as it is called, and return the folder of the run that it made."""

    def run(*words: str) -> Path:
        __tracebackhide__ = True
        results = tmp_path_factory.mktemp("harness-results")
        command = [sys.executable, "-m", "harness", "run", *words, "--results", str(results)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        made = sorted(file.parent for file in results.glob("*/*/run.json"))
        if done.returncode or len(made) != 1:
            ended = f"exit code {done.returncode}, {len(made)} runs"
            last = "\n".join(done.stderr.splitlines()[-20:])
            pytest.fail(f"harness run {' '.join(words)}: {ended}, where one run was to be made\n{last}", pytrace=False)
        return made[0]

    return run


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Show what was wrong with the words, or a stored run, instead of where in the program it was found."""
    from harness.errors import HarnessError

    try:
        yield
    except HarnessError as error:
        pytest.fail(str(error), pytrace=False)


def _fail(failures: list[str | None]) -> None:
    __tracebackhide__ = True
    if told := [failure for failure in failures if failure]:
        raise AssertionError("\n".join(told))
