"""Climb a ladder in the test's own process: no child, so that a test may look at it closely and costs a second."""

from __future__ import annotations

from told import Told

from harness.compress import keys, ladder, rungs
from harness.records import LadderRequest, Rung

TINY = LadderRequest(method="easier", model="tiny", task="tiny", threads=1)


def climb(request: LadderRequest, told: Told | None = None) -> tuple[rungs.Outline, tuple[Rung, ...]]:
    """Make the ladder and return what the cache has of it."""
    key = keys.ladder(request)
    ladder.climb(request, key, told or Told())
    stored = rungs.read_ladder(key)
    assert stored is not None
    return stored
