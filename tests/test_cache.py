from __future__ import annotations

import os
import time

import pytest

from harness import cache


def make(key: str, size: int = 10) -> None:
    with cache.put("rung", key) as folder:
        (folder / "data").write_bytes(b"x" * size)


def test_an_entry_is_there_whole_or_not_at_all() -> None:
    with pytest.raises(RuntimeError), cache.put("rung", "a") as folder:
        (folder / "data").write_bytes(b"half")
        raise RuntimeError
    assert cache.get("rung", "a") is None
    make("a")
    found = cache.get("rung", "a")
    assert found is not None and (found / "data").read_bytes() == b"x" * 10


def test_two_makers_of_the_same_entry_both_succeed() -> None:
    with cache.put("rung", "a") as first:
        (first / "data").write_bytes(b"1")
        make("a")
    assert [entry.key for entry in cache.entries()] == ["a"]


def test_above_the_cap_the_least_recently_used_goes_first() -> None:
    for age, key in ((30, "old"), (20, "used"), (10, "new")):
        make(key)
        os.utime(cache.root() / "rung" / key, (time.time() - age,) * 2)
    assert cache.get("rung", "used") is not None
    gone = cache.trim(cap=15)
    assert [entry.key for entry in gone] == ["old", "new"]


def test_what_a_killed_process_left_half_written_is_removed_in_time() -> None:
    stale = cache.root() / "rung" / ".tmp-dead"
    stale.mkdir(parents=True)
    make("a")
    assert stale.exists()
    os.utime(stale, (0, 0))
    make("b")
    assert not stale.exists()
