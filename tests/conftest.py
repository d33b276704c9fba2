"""Every test has a cache, a home and content of its own; nothing of the machine's user leaks in or out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """The real command in a process of its own, in a folder of its own, with a workdir of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "inventory.yaml").write_text(
            f"devices:\n  local:\n    profile: host\n    workdir: {folder / 'workdir'}\n"
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "harness", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def __call__(self, *words: str) -> Done:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=250)
        return Done(process.returncode, out, err)

    @property
    def runs(self) -> list[Path]:
        """The folders of all runs, oldest first."""
        return sorted(file.parent for file in self.folder.glob("results/*/*/run.json"))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)
