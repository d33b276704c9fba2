"""pip in a child, told which board to fetch for; the user's own configuration of it (index, proxy, mirror) holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DeviceError
from harness.provision.target import Target

LIMIT_S = 900.0
_QUESTION_S = 60.0
_LINKS = re.compile(
    r"Retrying \(Retry|NewConnectionError|ProxyError|ConnectTimeout|ReadTimeout|Could not fetch URL|SSLError|HTTP error"
)
_NONE = re.compile(r"No matching distribution found for (?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")
OFFLINE_HINT = (
    "Once is enough: what was found is kept. Go online, or name a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR "
    "(docs/provisioning.md)."
)


class Failed(DeviceError):
    """pip did not fetch what was asked for."""


class Unreachable(Failed):
    """No index answered, or none in time."""


class NoWheel(Failed):
    """The index has no wheel of `name` that fits."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no wheel of {name}")
        self.name = name


def download(requirements: Sequence[str], target: Target, folder: Path) -> tuple[Path, ...]:
    """Fetch the best wheel for each of the requirements, and nothing that they need, into `folder`.

    Raises NoWheel, Unreachable, Failed.
    """
    what = f"{', '.join(requirements)} for {target}"
    _run([*_fitting(target), "--dest", str(folder), "--", *requirements], what)
    return tuple(sorted(folder.glob("*.whl")))


def download_locked(name: str, version: str, sha256: str, target: Target, folder: Path) -> Path:
    """Fetch the one wheel that has this hash. Raises NoWheel, Unreachable, Failed."""
    wanted = folder / "locked.txt"
    wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    what = f"{name}=={version} for {target}"
    _run([*_fitting(target), "--dest", str(folder), "--require-hashes", "--requirement", str(wanted)], what)
    return next(folder.glob("*.whl"))


def newest_here(name: str) -> str:
    """Return the newest version for this machine; empty where pip does not tell."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "index",
        "versions",
        "--disable-pip-version-check",
        "--no-input",
        "--",
        name,
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_QUESTION_S
        )
    except subprocess.TimeoutExpired:
        return ""
    found = re.search(r"^\S+ \(([0-9][A-Za-z0-9.+!-]{0,60})\)", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def _fitting(target: Target) -> list[str]:
    """Say what fits; markers of what a wheel needs are none of pip's business (`Target.wants`)."""
    words = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}"]
    words += [f"--abi={abi}" for abi in (target.abi, "abi3", "none")]
    return words + [f"--platform={platform}" for platform in target.platforms()]


def _run(words: Sequence[str], what: str) -> None:
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", "download", *quiet, *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{what}: pip has not fetched it within {LIMIT_S:g} s", OFFLINE_HINT) from None
    if done.returncode:
        raise _failure(done.stdout + done.stderr, what)


def _failure(output: str, what: str) -> Failed:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    unanswered = [line for line in lines if _LINKS.search(line)]
    if unanswered:
        last = unanswered[-1].rpartition("connection broken by ")[2]
        return Unreachable(f"{what}: no package index answers: {last:.300}", OFFLINE_HINT)
    missing = _NONE.search(output)
    if missing:
        return NoWheel(missing["name"])
    said = " | ".join(lines[-3:]) or "it said nothing"
    return Failed(f"{what}: pip failed: {said:.500}", "See docs/provisioning.md.")
