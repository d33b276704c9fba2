"""What a board's own Python needs for ExecuTorch, which nobody sends there: fetched once from the package index, and kept.

The index's newest torch for arm64 is a build for CUDA 13; 2.10.0 is the newest of those tried that is for CPUs alone, and
ExecuTorch 1.1 the one that was built with it: a newer one loads beside it, and fails when it is called.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .machine import CACHE, LabError, call, locked

WHEELS = ("torch==2.10.0", "executorch==1.1.0", "numpy==2.4.6")
NEEDED = ("typing-extensions", "filelock", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_NAME = "-".join(word.replace("==", "-") for word in WHEELS[:2])


def packages() -> Path:
    """Return a folder with torch and ExecuTorch for arm64 (about 900 MB). Raises LabError where they cannot be fetched."""
    done = CACHE / _NAME
    with locked(CACHE):
        if not done.exists():
            _fetch(done)
    return done


def _fetch(done: Path) -> None:
    partial = done.with_suffix(".partial")
    platforms = [f"--platform={each}" for each in PLATFORMS]
    wanted = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", *platforms]
    quiet = ["--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check", "--upgrade"]
    try:
        call(sys.executable, "-m", "pip", "install", *quiet, *wanted, "--target", partial, *WHEELS, *NEEDED)
    except LabError as error:
        raise LabError(f"torch and executorch for arm64 cannot be fetched: {error}") from error
    partial.rename(done)
