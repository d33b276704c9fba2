"""A disk after a power cut: what a traced command wrote, played again up to any moment, with what was synced by then.

`strace` tells every write, rename and fsync of a command and all its children, with their bytes. Linux promises no more than that
what was fsynced is there: the bytes of a file, and the names in a folder. So there are two worst disks, and many between them:
`kept` has nothing else, `hasty` has every name at once, and of files that were not synced none of the bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,copy_file_range,sendfile"
)
_BY_DESCRIPTOR = ("writev", "pwritev", "copy_file_range", "sendfile")  # nothing that is kept is written so, or linked
_NEVER = ("creat", "truncate", "link", "linkat", "symlink", "symlinkat")
_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_FD = re.compile(r"(\d+|AT_FDCWD)<([^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def why_not() -> str | None:
    """Return why commands cannot be traced here, or None."""
    return None if shutil.which("strace") else "not installed: strace"


def traced(log: Path) -> tuple[str, ...]:
    """Return the words that stand before a command to trace it into `log`."""
    return ("strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", str(2**25), "-e", f"trace={CALLS}", "-o", str(log))


@dataclass(frozen=True)
class Call:
    """A system call that worked: its name, the file of its descriptor, its texts, the rest of its words."""

    name: str
    of: str
    texts: tuple[bytes, ...]
    words: str


def calls(log: Path) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="latin-1").splitlines():
        match = _LINE.match(line)
        assert match is not None, line[:200]
        thread, said = match.groups()
        if said.endswith("<unfinished ...>"):
            begun[thread] = said.removesuffix("<unfinished ...>")
            continue
        if "resumed>" in line.split("(", 1)[0]:
            said = begun.pop(thread) + said
        if (call := _CALL.match(said)) and int(call[3]) >= 0:
            texts = tuple(
                text.encode("latin-1").decode("unicode_escape").encode("latin-1") for text in _TEXT.findall(call[2])
            )
            of = _FD.search(call[3] and said)
            yield Call(call[1], of[2] if of else "", texts, call[2])


@dataclass
class _File:
    data: bytearray | None  # None: a folder
    synced: bytes = b""
    end: int = 0


@dataclass
class Disk:
    """Everything below a folder: as programs see it (`names`), and as it would be after a power cut (`kept`)."""

    root: Path
    names: dict[str, _File] = field(default_factory=dict)
    durable: dict[str, _File] = field(default_factory=dict)

    def apply(self, call: Call) -> bool:
        """Do what a call did; return whether it concerned anything here."""
        if call.name in ("fsync", "fdatasync"):
            return self._fsync(call.of)
        if call.name in ("write", "pwrite64", "ftruncate"):
            return self._written(call)
        if call.name in _BY_DESCRIPTOR:
            assert not self._is_here(call.of), call
            return False
        path = self._path(call.of, call.texts[0])
        if not self._is_here(path):
            assert call.name not in ("rename", "renameat", "renameat2") or not self._is_here(call.texts[-1].decode())
            return False
        assert call.name not in _NEVER, call
        if call.name == "openat":
            return self._opened(path, call.words)
        if call.name.startswith("mkdir"):
            self.names[path] = _File(None)
        elif call.name.startswith("rename"):
            self._renamed(path, self._path(call.of, call.texts[1]))
        else:
            del self.names[path]
        return True

    def kept(self) -> dict[str, bytes | None]:
        """Return what is there if nothing is but what was synced: bytes by path, None for a folder."""
        found: dict[str, bytes | None] = {}
        for path in sorted(self.durable):
            if str(Path(path).parent) == str(self.root) or str(Path(path).parent) in found:
                found[path] = _bytes(self.durable[path])
        return found

    def hasty(self) -> dict[str, bytes | None]:
        """Return what is there if every name went to the disk at once, and of files that were not synced nothing."""
        return {path: _bytes(file) for path, file in sorted(self.names.items())}

    def unsynced(self) -> list[str]:
        """Return what a power cut now would take, or bring back: names and bytes."""
        mine = [path for path in {*self.names, *self.durable} if self.names.get(path) is not self.durable.get(path)]
        return sorted({*mine, *(path for path, file in self.names.items() if file.data not in (None, file.synced))})

    def _fsync(self, path: str) -> bool:
        if not (file := self.names.get(path)) and path != str(self.root):
            return False
        if file is not None and file.data is not None:
            file.synced = bytes(file.data)
            return True
        inside = [name for name in {*self.names, *self.durable} if str(Path(name).parent) == path]
        for name in inside:
            if name in self.names:
                self.durable[name] = self.names[name]
            else:
                del self.durable[name]
        return True

    def _written(self, call: Call) -> bool:
        file = self.names.get(call.of)
        if file is None or file.data is None:
            return False
        last = int(call.words.rsplit(", ", 1)[-1]) if call.name != "write" else file.end
        if call.name == "ftruncate":
            file.data[last:] = b"\0" * max(0, last - len(file.data))
        else:
            file.data[last : last + len(call.texts[-1])] = call.texts[-1]
        file.end = len(file.data)
        return True

    def _opened(self, path: str, words: str) -> bool:
        if "O_CREAT" not in words:
            return False
        file = self.names.setdefault(path, _File(bytearray()))
        if file.data is not None and "O_TRUNC" in words:
            file.data.clear()
            file.end = 0
        return True

    def _renamed(self, old: str, new: str) -> None:
        below = [path for path in self.names if path == old or path.startswith(f"{old}/")]
        for path in below:
            self.names[new + path[len(old) :]] = self.names.pop(path)

    def _path(self, folder: str, text: bytes) -> str:
        return str(Path(folder or self.root) / text.decode())

    def _is_here(self, path: str) -> bool:
        return any(path.startswith(f"{self.root}/{name}/") or path == f"{self.root}/{name}" for name in KEPT)


KEPT: Sequence[str] = ("results", "workdir")  # of what a nightly has below its folder


def _bytes(file: _File) -> bytes | None:
    return None if file.data is None else file.synced


def lay(tree: dict[str, bytes | None], root: Path, target: Path) -> None:
    """Put a disk's content, without its root, into a folder in place of what is there."""
    for name in KEPT:
        shutil.rmtree(target / name, ignore_errors=True)
    for path, data in tree.items():
        place = target / Path(path).relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(data)
