"""Fixtures: `sshd`, a loopback server; `pi4`, `pi5`, `jetson`, a fresh virtual device each, for one test alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from . import machine, rootfs, slots
from . import sshd as server
from .device import Device


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Sshd]:
    """A loopback server of this test's own."""
    if reason := server.why_not():
        pytest.skip(reason)
    with server.Sshd(tmp_path_factory.mktemp("sshd")) as started:
        yield started


@pytest.fixture(scope="session")
def lab_rootfs() -> Iterator[Path]:
    """The root file system of all virtual devices; what stands in their way skips every test that needs one."""
    if reason := machine.why_not():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            slots.sweep()
            stack.enter_context(slots.held())
            root = rootfs.build()
        except machine.LabError as error:
            pytest.skip(str(error))
        yield root


@pytest.fixture(scope="session")
def lab_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that every virtual device lets in."""
    file = tmp_path_factory.mktemp("lab-key") / "id_ed25519"
    server.new_key(file)
    return file


@pytest.fixture
def pi4(lab_rootfs: Path, lab_key: Path) -> Iterator[Device]:
    with Device("pi4", lab_rootfs, lab_key) as device:
        yield device


@pytest.fixture
def pi5(lab_rootfs: Path, lab_key: Path) -> Iterator[Device]:
    with Device("pi5", lab_rootfs, lab_key) as device:
        yield device


@pytest.fixture
def jetson(lab_rootfs: Path, lab_key: Path) -> Iterator[Device]:
    with Device("jetson", lab_rootfs, lab_key) as device:
        yield device
