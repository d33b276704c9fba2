"""Progress for people: a bar on a terminal, plain lines elsewhere; always on standard error, always sparing.

A bar that redraws itself ten times a second would disturb what is being measured on this machine, so nothing here runs
by itself: a line is drawn when something has happened, and never more than once in `_EVERY_S`. Several devices have a
bar each in one display, or plain lines that begin with the device's name.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from harness.child import OnProgress, Progress

_EVERY_S = 1.0
_PLAIN_EVERY_S = 10.0
_MANY = 10  # with more devices than this each is told of more rarely, so that the lines of all stay as many


@contextmanager
def narrate() -> Iterator[OnProgress]:
    """Give a function that shows Progress."""
    with narrate_each([""]) as tell:
        yield tell[""]


@contextmanager
def narrate_each(names: Sequence[str]) -> Iterator[Mapping[str, OnProgress]]:
    """Give, by device, a function that shows its Progress; each may be called from a thread of its own.

    What is told of a device that is alone does not repeat its name.
    """
    heads = {name: f"{name}: " if len(names) > 1 else "" for name in names}
    if sys.stderr.isatty():
        with _bars(heads) as tell:
            yield tell
    else:
        began, lock = time.monotonic(), threading.Lock()
        every_s = _PLAIN_EVERY_S * max(1.0, len(names) / _MANY)
        yield {name: _Lines(head, began, every_s, lock) for name, head in heads.items()}


class _Lines:
    """Plain lines: every message once, messages of one stage (the part before the colon) at most every `every_s`."""

    def __init__(self, head: str, began: float, every_s: float, lock: threading.Lock) -> None:
        self.head, self.began, self.every_s, self.lock = head, began, every_s, lock
        self.last: tuple[str, float] = ("", -every_s)

    def __call__(self, progress: Progress) -> None:
        stage, now = progress.text.partition(":")[0], time.monotonic()
        if stage == self.last[0] and now - self.last[1] < self.every_s:
            return
        self.last = (stage, now)
        amount = f" [{progress.done}/{progress.total}]" if progress.total else ""
        with self.lock:  # a line is one write, and nobody's line stands within another's
            sys.stderr.write(f"{now - self.began:6.1f} s  {self.head}{progress.text}{amount}\n")
            sys.stderr.flush()


@contextmanager
def _bars(heads: Mapping[str, str]) -> Iterator[Mapping[str, OnProgress]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Display(*columns, console=Console(stderr=True), auto_refresh=False) as display:
        lock, drawn = threading.Lock(), -_EVERY_S

        def bar(head: str) -> OnProgress:
            task = display.add_task(head.removesuffix(": "), total=None)

            def show(progress: Progress) -> None:
                nonlocal drawn
                done, total = progress.done or 0, progress.total
                with lock:
                    display.update(task, description=head + progress.text, completed=done, total=total)
                    if time.monotonic() - drawn >= _EVERY_S:
                        drawn = time.monotonic()
                        display.refresh()

            return show

        yield {name: bar(head) for name, head in heads.items()}
        display.refresh()
