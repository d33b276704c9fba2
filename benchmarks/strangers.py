"""Other people's tools get environments of their own: what they need does not stand beside what we need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.noise import WORK


def environment(name: str, needs: Sequence[str]) -> Path:
    """Return the Python of an environment with these packages, made where it is not there."""
    folder = WORK / name
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needs], check=True)
        (folder / "whole").touch()
    return python
