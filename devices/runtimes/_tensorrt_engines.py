"""Shared by TensorRT and TensorRT-RTX: an engine as a file, and where built ones are kept on the device.

workdir/engines/<key>            an engine: a ZIP file of `plan` and `about.json`; `trtexec --loadEngine` reads the plan
workdir/engines/timings-<key>    what the builder measured of layers, for the other networks of the same build number

Nothing found there is trusted: what is damaged is removed and built again. The agent removes the engines that nobody has used
for a day when the workdir is full (`devices/agent/keep.py`); here, the oldest files go beyond a cap.
"""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional

if TYPE_CHECKING:
    from devices.runtimes import _packing
else:
    import _packing

FOLDER = "engines"
MOST_BYTES = 8 * 2**30
_PLAN, _ABOUT = "plan", "about.json"
_TIMINGS = "timings-"
_NVPMODEL_S = 10.0


class Engine(NamedTuple):
    """A serialised engine, and what is known of how it was made."""

    plan: bytes
    about: Dict[str, Any]


def packed(engine: Engine) -> bytes:
    """Return the file of an engine."""
    about = json.dumps(engine.about, sort_keys=True).encode()
    return _packing.packed({_ABOUT: about, _PLAN: engine.plan})


def unpacked(content: bytes) -> Engine:
    """Return the engine of a file. Raises ValueError where it is damaged (checksums are ZIP's) or none at all."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            about = json.loads(files.read(_ABOUT))
            plan = files.read(_PLAN)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError) as error:
        raise ValueError("this is no whole engine's file: %s" % error) from None
    if not isinstance(about, dict):
        raise ValueError("this is no engine's file: it says nothing of how it was made")
    return Engine(plan, about)


def key(ingredients: Mapping[str, Any]) -> str:
    """Return the name of what depends on all of these: the SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(dict(ingredients), sort_keys=True).encode()).hexdigest()


class Store:
    """The engines that a device keeps; of a path outside a workdir (`artifacts/` names one) none are kept."""

    def __init__(self, artifact: str, most_bytes: int = MOST_BYTES) -> None:
        holder = Path(artifact).absolute().parent
        self.folder: Optional[Path] = holder.parent / FOLDER if holder.name == "artifacts" else None
        self.most_bytes = most_bytes

    def find(self, name: str) -> Optional[Engine]:
        """Return an engine, None where there is none; a damaged one is removed."""
        content = self._read(name)
        if content is None:
            return None
        try:
            return unpacked(content)
        except ValueError:
            self.drop(name)
            return None

    def keep(self, name: str, engine: Engine) -> None:
        """Keep an engine; the oldest go beyond the cap."""
        self._write(name, packed(engine))

    def drop(self, name: str) -> None:
        """Remove what could not be used."""
        if self.folder is not None:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).unlink()

    def timings(self, name: str) -> bytes:
        """Return what earlier builds measured of layers, empty where there is nothing."""
        return self._read(_TIMINGS + name) or b""

    def keep_timings(self, name: str, timings: bytes) -> None:
        """Keep what builds have measured."""
        if timings:
            self._write(_TIMINGS + name, timings)

    def _read(self, name: str) -> Optional[bytes]:
        if self.folder is None:
            return None
        try:
            content = (self.folder / name).read_bytes()
            os.utime(str(self.folder / name))  # used just now: the last to go
        except FileNotFoundError:
            return None
        return content

    def _write(self, name: str, content: bytes) -> None:
        """Give a whole file its name; whoever is second replaces it by its own, which is as good."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        making = self.folder / (".making-%s-%d" % (name, os.getpid()))
        try:
            with making.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            making.replace(self.folder / name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                making.unlink()
        self._trim(name)

    def _trim(self, spared: str) -> None:
        assert self.folder is not None
        # folders are other runtimes', which use them in their own way: the agent removes those
        kept = [(path, path.stat()) for path in self.folder.glob("[!.]*") if path.is_file()]
        excess = sum(found.st_size for _, found in kept) - self.most_bytes
        for path, found in sorted(kept, key=lambda item: item[1].st_mtime):
            if excess > 0 and path.name != spared:
                excess -= found.st_size
                self.drop(path.name)


def power_mode(command: str = "nvpmodel") -> str:
    """Return a Jetson's power mode by name, "" where the machine has none; its clocks decide which tactic is fastest.

    Raises RuntimeError where it cannot be read: an engine must not be taken for one of another mode.
    """
    try:
        answer = subprocess.run([command, "-q"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_NVPMODEL_S)
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError("the power mode cannot be read (nvpmodel -q): %s" % error) from None
    text = answer.stdout.decode("utf-8", "replace")
    found = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("NV Power Mode:")]
    if not found:
        raise RuntimeError(
            "the power mode cannot be read (nvpmodel -q): %s" % (text.strip()[:200] or "it said nothing")
        )
    return found[-1]
