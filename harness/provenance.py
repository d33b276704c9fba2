"""What made a run's numbers: commit, Python, platform, packages."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from typing import Any

from harness import content


def told() -> dict[str, Any]:
    """Return what made the numbers: commit, Python, platform and the versions of the packages that matter."""
    return {**_provenance()}


@functools.cache
def _provenance() -> dict[str, Any]:
    """Once for all runs of an invocation: it asks git and reads the metadata of packages."""
    packages = ("edge-harness", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "scipy", "scikit-learn")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def _commit() -> str | None:
    """The checkout's commit, with `+` when files differ from it; None outside a checkout of ours."""
    if not (content.ROOT / ".git").exists():  # installed: a repository around it would be somebody else's
        return None
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(content.ROOT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
