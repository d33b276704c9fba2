"""Every test has a cache, a home and content of its own; nothing of the machine's user leaks in or out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from command import Cli

pytest_plugins = ("lab.fixtures",)

# How long an example takes says something of the machine, which others use too, and nothing of the code.
hypothesis.settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared machine")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell that starts the tests in the background ignores it for them
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.delenv("HARNESS_CONTENT", raising=False)
    monkeypatch.delenv("HARNESS_CACHE_GB", raising=False)
    yield


@pytest.fixture
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rungs and artifacts that one test made serve the next: what is tested there is not how they were made."""
    mine = tmp_path_factory.getbasetemp()
    all_workers = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    return all_workers / "shared-cache"


@pytest.fixture
def cli(tmp_path: Path, shared_cache: Path) -> Cli:
    return Cli(tmp_path, shared_cache)
