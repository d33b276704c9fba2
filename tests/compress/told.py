"""What a climb says, and a hand that acts at a word of it: to kill the child that makes ladders, for one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil

from harness.child import Progress
from harness.compress import client


class Told:
    """The lines of progress, and what to do at the first line with a word in it, or at the one of number `at`."""

    def __init__(self, word: str = "", act: Callable[[], None] | None = None, at: int = 1) -> None:
        self.lines: list[str] = []
        self.word, self.act, self.left = word, act, at

    def __call__(self, progress: Progress) -> None:
        self.lines.append(progress.text)
        if self.act is not None and self.word in progress.text:
            self.left -= 1
            if not self.left:
                self.act()

    def heard(self, word: str) -> bool:
        """Whether any line holds the word."""
        return any(word in line for line in self.lines)


def kill_child() -> None:
    """End the one child that makes ladders, by its own process id."""
    (mine,) = [child for child in psutil.Process().children() if client.MODULE in child.cmdline()]
    os.kill(mine.pid, signal.SIGKILL)
