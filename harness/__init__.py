"""edge-harness: what removing layers really buys, measured on the device.

frames = harness.load("results/local/20261120T120000Z-1a2b")     # pandas: .cases .samples .power ..; .run the record
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store import Frames

__version__ = "0.1.0"
__all__ = ["load"]


def load(run: str | Path) -> Frames:
    """Return a run's record and its frames; `run` is its folder. Raises StoreError."""
    from harness import store

    return store.frames(Path(run))
