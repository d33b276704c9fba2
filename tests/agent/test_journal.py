"""The journal is whole after anything: a torn line is cut, a full disk leaves no half line."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.agent.journal import Journal, clock_resolution_ns, replace_file
from harness import wire
from harness.errors import WireError


def note(journal: Journal, block: int) -> None:
    journal.append(wire.StateEvent, block=block, when="before", readings=[("load", "machine", "gauge", "ok", 0.5, "1")])


def blocks(path: Path) -> list[int]:
    events = wire.read_journal(path.read_text(), "journal")
    return [event.block for event in events if isinstance(event, wire.StateEvent)]


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 1000))
def test_a_journal_torn_anywhere_goes_on_from_its_last_whole_line(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "events.jsonl"
    journal = Journal(path)
    for block in range(1, 5):
        note(journal, block)
    journal.close()
    data = path.read_bytes()
    path.write_bytes(data[: cut % (len(data) + 1)])
    whole = path.read_bytes().count(b"\n")
    journal = Journal(path)
    assert len(journal.past) == whole
    for block in range(whole + 1, 5):
        note(journal, block)
    journal.close()
    assert blocks(path) == [1, 2, 3, 4]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: the kernel then writes what fits and refuses the rest, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_lines_and_the_journal_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    note(journal, 1)
    with room_for(path.stat().st_size + 20), pytest.raises(OSError, match="too large"):
        note(journal, 2)
    assert blocks(path) == [1]
    note(journal, 2)
    journal.close()
    assert blocks(path) == [1, 2]


def test_a_line_that_the_system_takes_piece_by_piece_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    journal = Journal(tmp_path / "events.jsonl")
    for block in (1, 2):
        note(journal, block)
    journal.close()
    assert blocks(tmp_path / "events.jsonl") == [1, 2]


def test_a_line_that_cannot_be_synced_ends_the_work_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    note(journal, 1)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        note(journal, 2)
    journal.close()
    assert blocks(path) == [1, 2]


def test_the_clock_s_resolution_is_a_step_that_was_seen() -> None:
    assert 0 < clock_resolution_ns() < 50_000_000


def test_a_damaged_line_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    for block in (1, 2, 3):
        note(journal, block)
    journal.close()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{half\n" + lines[2])
    with pytest.raises(WireError, match="line 2"):
        Journal(path)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "reply.json"
    replace_file(path, "first")
    with room_for(3), pytest.raises(OSError, match="too large"):
        replace_file(path, "second")
    assert path.read_text() == "first"
