"""Climb a ladder in the test's own process: no child, so that a test may look at it closely and costs a second."""

from __future__ import annotations

from collections.abc import Callable

from harness.child import Progress
from harness.compress import keys, ladder, rungs
from harness.records import LadderRequest, Rung

TINY = LadderRequest(method="easier", model="tiny", task="tiny", threads=1)


class Told:
    """The lines of progress, and what to do at a word."""

    def __init__(self, word: str = "", act: Callable[[], None] | None = None) -> None:
        self.lines: list[str] = []
        self.word, self.act = word, act

    def __call__(self, progress: Progress) -> None:
        self.lines.append(progress.text)
        if self.act is not None and self.word in progress.text:
            self.act()

    def heard(self, word: str) -> bool:
        """Whether any line holds the word."""
        return any(word in line for line in self.lines)


def climb(request: LadderRequest, told: Told | None = None) -> tuple[rungs.Outline, tuple[Rung, ...]]:
    """Make the ladder and return what the cache has of it."""
    key = keys.ladder(request)
    ladder.climb(request, key, told or Told())
    stored = rungs.read_ladder(key)
    assert stored is not None
    return stored
