"""Fixtures: `sshd`, a loopback server; `pi4`, `pi5`, `jetson`, a fresh virtual device each, for one test alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .sshd import Sshd, why_not


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A loopback server of this test's own."""
    if reason := why_not():
        pytest.skip(reason)
    with Sshd(Path(tmp_path_factory.mktemp("sshd"))) as server:
        yield server
