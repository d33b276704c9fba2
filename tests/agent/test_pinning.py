"""`--option cpus=..`: a measured process stays on the CPUs that were asked for, or there is no measurement."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_RUN = """
import os, sys, threading
sys.path.insert(0, os.getcwd())
from devices.agent import pinning
pinning.pin({"cpus": sys.argv[1]})
found = []
thread = threading.Thread(target=lambda: found.append(sorted(os.sched_getaffinity(0))))
thread.start(); thread.join()
print(pinning.in_force(), found)
"""


def _pinned(asked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _RUN, asked], capture_output=True, text=True, check=False)


def test_a_process_and_threads_that_it_starts_later_stay_on_the_cpus_asked_for() -> None:
    first = min(os.sched_getaffinity(0))
    assert _pinned(str(first)).stdout.strip() == f"{first} [[{first}]]"


@pytest.mark.parametrize("asked", ["900", "0,900", "-1"])
def test_cpus_that_the_device_does_not_have_are_refused_with_those_that_it_has(asked: str) -> None:
    done = _pinned(asked)
    assert done.returncode != 0
    usable = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert f"cpus: asked for {asked}, in force is" in done.stderr or f"usable here are {usable}" in done.stderr
