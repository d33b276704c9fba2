"""Packages that were sent become an environment whose Python imports them and nothing else of this device's.

envs/<key>.json              which archives belong to it, as the controller wrote it
envs/.making-<key>-<pid>     being made
envs/<key>                   whole: bin/python, pyvenv.cfg, lib/pythonX.Y/site-packages

Debian splits `venv` and `ensurepip` off, so what makes an environment is written by hand: a link to the interpreter and
three lines beside it. Nothing is compiled and nothing is fetched.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import tarfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Mapping, Tuple

from devices.agent import incoming
from harness import wire
from harness.decode import build, require
from harness.errors import DamagedError, WireError

MAKING = ".making-"
_MOST_BYTES = 8 * 2**30  # of one archive unpacked, and
_MOST_FILES = 200_000  # files in it
_MOST_TEXT = 2**20
_DAY_S = 24 * 3600.0
_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class Archive:
    """A package as it is sent: `wheels/<sha256>` is a .tar.gz of what belongs into site-packages."""

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        wire.require_name(self.name, "a package's name")
        require(len(self.sha256) == 64 and set(self.sha256) <= _HEX, "sha256 must be 64 hex digits", self.sha256)


@dataclass(frozen=True)
class Description:
    """What `envs/<key>.json` says. With `system_packages` the device's own packages can be imported too."""

    key: str
    system_packages: bool
    wheels: Tuple[Archive, ...]


def install(workdir: Path, key: str) -> Path:
    """Make the environment unless it is there, and return its Python.

    Raises WireError for a description or an archive that breaks the format, DamagedError for archives that are not
    whole (what is damaged has been removed), OSError.
    """
    envs = workdir.absolute() / "envs"
    folder = envs / _plain(key)
    description = _read(envs / (key + ".json"), key)
    _remove_leftovers(envs)
    if not _is_usable(folder):
        _require_whole(workdir / "wheels", {wheel.sha256: wheel.size_bytes for wheel in description.wheels})
        _make(folder, description, workdir / "wheels")
    for path in (folder, envs / (key + ".json")):
        os.utime(str(path))  # used just now: the last to go
    return folder / "bin" / "python"


def _require_whole(wheels: Path, sizes: Mapping[str, int]) -> None:
    """Check the archives, twice where need be: somebody else may just have given one its name."""
    with contextlib.suppress(DamagedError, FileNotFoundError):
        incoming.require_whole(wheels, sizes)
        return
    incoming.require_whole(wheels, sizes)


def _plain(key: str) -> str:
    try:
        return wire.require_name(key, "an environment's key")
    except ValueError as error:
        raise WireError(str(error)) from None


def _read(file: Path, key: str) -> Description:
    if not file.is_file():
        raise DamagedError("%s is missing" % file, "It is sent again.")
    with file.open(encoding="utf-8", errors="replace") as reader:
        text = reader.read(_MOST_TEXT)
    description = build(Description, wire.parse(text, str(file)), str(file))
    if description.key != key:
        raise WireError('%s: key must be "%s", not %.200r' % (file, key, description.key))
    return description


def _is_usable(folder: Path) -> bool:
    """Whether it was made and its interpreter is still there: an upgrade of the system may have taken that away."""
    return (folder / "pyvenv.cfg").is_file() and (folder / "bin" / "python").exists()


def _make(folder: Path, description: Description, wheels: Path) -> None:
    """Fill a folder beside it and give that its name; whoever was faster has made the same."""
    making = folder.parent / ("%s%s-%d" % (MAKING, folder.name, os.getpid()))
    shutil.rmtree(str(making), ignore_errors=True)
    try:
        packages = making / "lib" / ("python%d.%d" % sys.version_info[:2]) / "site-packages"
        packages.mkdir(parents=True)
        for wheel in description.wheels:
            _unpack(wheels / wheel.sha256, packages)
        _add_python(making, description.system_packages)
        _sync(making)
        _publish(making, folder)
    finally:
        shutil.rmtree(str(making), ignore_errors=True)


def _sync(folder: Path) -> None:
    """Bring the whole file system to its disk, once: there are thousands of files, and a card takes milliseconds for each.

    That of `folder` alone: `os.sync` would wait for a network drive that is gone, too.
    """
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)


def _add_python(folder: Path, system_packages: bool) -> None:
    """Write what makes an interpreter take `folder` for its prefix (PEP 405)."""
    python = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    lines = (
        "home = %s" % python.parent,
        "include-system-site-packages = %s" % str(system_packages).lower(),
        "version = %d.%d.%d" % sys.version_info[:3],
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _publish(making: Path, folder: Path) -> None:
    """Rename, unless somebody else has; what stands there and cannot be used goes out of the way."""
    for attempt in range(5):
        try:
            making.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if _is_usable(folder):
            break
        with contextlib.suppress(FileNotFoundError):
            folder.rename(folder.parent / ("%s%s-old%d-%d" % (MAKING, folder.name, attempt, os.getpid())))
    descriptor = os.open(str(folder.parent), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unpack(archive: Path, packages: Path) -> None:
    """Write the plain files of an archive; links, devices and whatever would leave the folder are refused.

    Stricter than tarfile's own filters and the same on every Python: with neither links nor `..` there is no way out.
    """
    size = 0
    try:
        with tarfile.open(str(archive), "r|gz") as members:
            for count, member in enumerate(members, 1):
                size += member.size
                if size > _MOST_BYTES or count > _MOST_FILES:
                    raise WireError("%s: more than %d bytes or %d files" % (archive, _MOST_BYTES, _MOST_FILES))
                content = members.extractfile(member) if member.isreg() and _stays_inside(member.name) else None
                if content is None:
                    raise WireError("%s: %.200r is not a file within the environment" % (archive, member.name))
                _write(packages / member.name, content, member.mode)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise WireError("%s: %.200r is a file and a folder at once" % (archive, member.name)) from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise WireError("%s: not a package's archive: %s" % (archive, error)) from None


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return str(path) == name and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _write(file: Path, content: "IO[bytes]", mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as writer:
        shutil.copyfileobj(content, writer, 2**20)
    if mode & 0o100:
        file.chmod(0o755)


def _remove_leftovers(envs: Path) -> None:
    """Remove what was half-made by a process that is gone, or more than a day ago."""
    for path in envs.glob(MAKING + "*"):
        pid = path.name.rpartition("-")[2]
        with contextlib.suppress(FileNotFoundError):  # its maker was faster
            if not pid.isdigit() or not _is_alive(int(pid)) or time.time() - path.stat().st_mtime > _DAY_S:
                shutil.rmtree(str(path), ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
