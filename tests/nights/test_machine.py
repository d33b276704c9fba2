"""This machine is one row's at a time, in the order in which rows asked for it."""

from __future__ import annotations

import threading
import time

import pytest

from harness import interrupt
from harness.child import Progress
from harness.nights.machine import Machine


def test_who_comes_first_has_it_first_and_nobody_beside() -> None:
    machine, order, inside = Machine(), [], threading.Lock()
    told: list[Progress] = []

    def use(n: int) -> None:
        with machine.mine(told.append):
            assert inside.acquire(blocking=False), "two at once"
            order.append(n)
            time.sleep(0.02)
            inside.release()

    threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3] and len(told) == 3 and "waiting" in told[0].text


def test_who_waits_hears_an_interruption_and_keeps_nobody_after_it() -> None:
    machine, heard = Machine(), []

    def wait() -> None:
        try:
            with machine.mine(lambda _: None):
                pass
        except KeyboardInterrupt:
            heard.append(True)

    with machine.mine(lambda _: None):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        interrupt.interrupt()
        thread.join(5.0)
        interrupt.clear()
    assert heard == [True]
    with machine.mine(lambda _: pytest.fail("nobody is before it")):
        pass
