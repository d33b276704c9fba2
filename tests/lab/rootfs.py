"""The root file system of all virtual devices: arm64 Debian 12, made once in about half a minute and kept."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

from .machine import CACHE, RUN, LabError, call, locked

SUITE = "bookworm"
PACKAGES = (
    "base-files,base-passwd,bash,dash,coreutils,findutils,grep,sed,mawk,tar,gzip,hostname,login,passwd,procps,iproute2,"
    "util-linux,libc-bin,debianutils,diffutils,libpam-modules,libpam-runtime,python3,python3-venv,openssh-server,"
    "libstdc++6,libgomp1,tzdata"
)
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
FINISH = Path(__file__).with_name("finish.sh")
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def build() -> Path:
    """Return the folder of the root file system, made now unless it is there. Raises LabError."""
    recipe = "\n".join((SUITE, PACKAGES, *LEFT_OUT, FINISH.read_text()))
    done = CACHE / f"rootfs-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked(CACHE):
        if not done.exists():
            _forget_older()
            _make(done)
    return done


def _make(done: Path) -> None:
    partial = done.with_suffix(".partial")
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    # A mount and process namespace of its own, ended with us: killed at any moment, it leaves a folder and nothing else.
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        call(
            *alone,
            *(
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--architectures=arm64",
                "--variant=extract",
                "--skip=check/qemu",
            ),
            *("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={PACKAGES}"),
            *('--aptopt=APT::Install-Recommends "0"', *options),
            *(SUITE, partial, f"deb {mirror()} {SUITE} main"),
        )
        call("sh", FINISH, partial)
    except LabError as error:
        raise LabError(f"the root file system cannot be made: {error}") from error
    _compile(partial)
    partial.rename(done)


def _compile(root: Path) -> None:
    """Compile Python's library as Debian's package does, if the Python here writes the same byte code."""
    library = root / f"usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    if library.is_dir():
        call(sys.executable, "-m", "compileall", "-qq", "-j", "0", "-s", root, "-p", "/", library, check=False)


def forget_unfinished() -> None:
    """Remove what a build left that was killed."""
    with locked(CACHE):
        for folder in CACHE.glob("rootfs-*.partial"):
            shutil.rmtree(folder)


def _forget_older() -> None:
    """Remove what is unfinished, and root file systems of older recipes unless a device may stand on one."""
    in_use = any(RUN.glob("[0-9]*"))
    for folder in CACHE.glob("rootfs-*"):
        if folder.suffix == ".partial" or not in_use:
            shutil.rmtree(folder)


def mirror() -> str:
    """Return where this machine gets its Debian packages; Debian's own address where it is not a Debian."""
    for file in SOURCES:
        text = file.read_text() if file.exists() else ""
        if found := re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?) *(\S+/debian/?)(?:\s|$)", text, re.MULTILINE):
            return found[1]
    return "http://deb.debian.org/debian"
