"""Progress for people: a bar on a terminal, plain lines elsewhere; always on standard error, always sparing.

A bar that redraws itself ten times a second would disturb what is being measured on this machine, so nothing here runs
by itself: a line is drawn when something has happened, and never more than once in `_EVERY_S`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.child import OnProgress, Progress

_EVERY_S = 1.0
_PLAIN_EVERY_S = 10.0


@contextmanager
def narrate() -> Iterator[OnProgress]:
    """Give a function that shows Progress."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


class _Lines:
    """Plain lines: every message once, messages of one stage (the part before the colon) at most every ten seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.last: tuple[str, float] = ("", -_PLAIN_EVERY_S)

    def __call__(self, progress: Progress) -> None:
        stage, now = progress.text.partition(":")[0], time.monotonic()
        if stage == self.last[0] and now - self.last[1] < _PLAIN_EVERY_S:
            return
        self.last = (stage, now)
        amount = f" [{progress.done}/{progress.total}]" if progress.total else ""
        print(f"{now - self.began:6.1f} s  {progress.text}{amount}", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task("", total=None)
        drawn = -_EVERY_S

        def show(progress: Progress) -> None:
            nonlocal drawn
            bar.update(task, description=progress.text, completed=progress.done or 0, total=progress.total)
            if time.monotonic() - drawn >= _EVERY_S:
                drawn = time.monotonic()
                bar.refresh()

        yield show
        bar.refresh()
