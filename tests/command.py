"""The command line as a user has it: a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    """The real command in a process of its own, in a folder of its own, with a workdir of its own; caches may be shared."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        (folder / "inventory.yaml").write_text(
            f"devices:\n  local:\n    profile: host\n    workdir: {folder / 'workdir'}\n"
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.spawn(sys.executable, "-m", "harness", *words)

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        """Another command in the same place."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def __call__(self, *words: str, patience_s: float = 250) -> Done:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=patience_s)
        return Done(process.returncode, out, err)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a user who has nothing of their own set."""
        return {**os.environ, "HOME": str(self.folder), "XDG_CACHE_HOME": str(self.cache)}

    @property
    def runs(self) -> list[Path]:
        """The folders of all runs, oldest first."""
        return sorted(file.parent for file in self.folder.glob("results/*/*/run.json"))
