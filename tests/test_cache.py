from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from harness import cache
from harness.errors import StoreError, UsageError


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


@pytest.mark.parametrize("content", ["", '{"a": 1', "[]", '{"b": 1}'])
def test_an_entry_that_cannot_be_read_counts_as_absent_and_is_removed(content: str) -> None:
    def parse(folder: Path) -> int:
        value: int = json.loads((folder / "data").read_text())["a"]
        return value

    make("a")
    (cache.root() / "rung" / "a" / "data").write_text(content)
    assert cache.read("rung", "a", parse) is None
    assert not cache.entries()
    with cache.put("rung", "a") as folder:
        (folder / "data").write_text('{"a": 1}')
    assert cache.read("rung", "a", parse) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_does_not_take_an_entry_is_an_error_and_leaves_nothing(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=os.strerror(code)):
            make("a")
    assert not list((cache.root() / "rung").iterdir())


def test_an_entry_is_on_the_disk_before_it_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[bool] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        named.append((cache.root() / "rung" / "a").exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    make("a")
    assert named == [False, False, True]  # the file, its folder, and then the folder that holds the name


@pytest.mark.parametrize("size", ["abc", "-1", "nan", "inf", "10GB"])
def test_a_cap_that_is_no_size_is_the_users_mistake(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", size)
    with pytest.raises(UsageError, match=f'HARNESS_CACHE_GB="{size}": must be a size in GiB'):
        cache.cap_bytes()


def test_the_cap_is_ten_gibibytes_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cap_bytes() == 10 * 2**30
    monkeypatch.setenv("HARNESS_CACHE_GB", "0.5")
    assert cache.cap_bytes() == 2**29


def test_what_is_spared_stays_whatever_the_cap_and_what_went_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", str(25 / 2**30))
    for age, key in ((30, "spared"), (20, "old")):
        make(key)
        os.utime(cache.root() / "rung" / key, (time.time() - age,) * 2)
    gone: list[tuple[cache.Entry, ...]] = []
    with cache.put("rung", "new", [cache.root() / "rung" / "spared"], gone.append) as folder:
        (folder / "data").write_bytes(b"x" * 10)
    assert [[entry.key for entry in each] for each in gone] == [["old"]]
    assert sorted(entry.key for entry in cache.entries()) == ["new", "spared"]


def test_nothing_is_told_where_nothing_went() -> None:
    gone: list[tuple[cache.Entry, ...]] = []
    with cache.put("rung", "a", (), gone.append) as folder:
        (folder / "data").write_bytes(b"x")
    assert gone == []


def test_what_went_is_said_by_kind_with_its_size() -> None:
    sizes = {"a": 500_000_000, "b": 574_000_000, "c": 12_000}
    went = [cache.Entry("artifact" if k == "c" else "rung", k, Path(k), size, 0.0) for k, size in sizes.items()]
    assert cache.said_of(went) == "the cache dropped 2 rungs and 1 artifact (1074 MB) to stay under 10737 MB"
    assert cache.megabytes(12_000) == "0.012 MB"
