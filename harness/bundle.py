"""The agent and the one runtime a job needs -> agent-<hash>.pyz: a slice of the repository that Python runs as it is.

Shared code (`_*.py`) beside the runtime's or a sensor's file goes with it.

Paths in the zip are the repository's own, so an import means the same in a checkout, in the bundle and to mypy; every
folder has an empty `__init__.py`. Entries are stored uncompressed with fixed dates: equal sources give equal bytes, the
name follows from them, and an unchanged agent is never sent again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import cache, content
from harness.errors import ContentError

_SHARED = ("decode", "errors", "mailbox", "nvml", "sensing")  # what both sides use, beside `wire`
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = """\
import sys

if sys.version_info < (3, 8):  # in words that these understand too
    said = "Python %d.%d is too old: 3.8 is needed (this is %s)" % (sys.version_info[:2] + (sys.executable,))
    hint = "Name a newer one in the inventory: `python: /usr/bin/python3.11`."
    print(\'{"error": {"type": "DeviceError", "message": "%s", "hint": "%s"}}\' % (said, hint))
    sys.exit(1)

from devices.agent.main import main

sys.exit(main())
"""


def build(runtime: str, sensors: Sequence[str] = ()) -> Path:
    """Return the path, in the cache, of the bundle for a job.

    Raises UsageError for an unknown runtime or sensor, ContentError when two folders' shared code has the same name.
    """
    data = _zip(_files(runtime, sensors))
    name = f"agent-{hashlib.sha256(data).hexdigest()[:16]}"
    folder = cache.get("bundle", name)
    if folder is None:
        with cache.put("bundle", name) as making:
            (making / f"{name}.pyz").write_bytes(data)
        folder = cache.root() / "bundle" / name
    return folder / f"{name}.pyz"


def _files(runtime: str, sensors: Sequence[str]) -> dict[str, bytes]:
    """What travels, by path in the zip."""
    sources = {f"harness/{name}.py": content.PACKAGE / f"{name}.py" for name in _SHARED}
    sources |= {f"harness/wire/{file.name}": file for file in (content.PACKAGE / "wire").glob("*.py")}
    agent = content.ROOT / "devices" / "agent"
    sources |= {f"devices/agent/{file.name}": file for file in agent.glob("*.py")}
    wanted = [("devices/runtimes", content.find("runtime", runtime))]
    wanted += [("devices/sensors", content.find("sensor", name)) for name in sensors]
    for folder, file in wanted:
        for source in (file, *sorted(file.parent.glob("_[!_]*.py"))):
            if sources.setdefault(f"{folder}/{source.name}", source) != source:
                raise ContentError(f"{source}: {sources[f'{folder}/{source.name}']} has the same name", "Rename one.")
    files = {path: file.read_bytes() for path, file in sources.items()}
    folders = {str(parent) for path in files for parent in Path(path).parents if parent != Path()}
    return {f"{folder}/__init__.py": b"" for folder in folders} | files | {"__main__.py": _MAIN.encode()}


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, wherever this is built: equal bytes everywhere
            archive.writestr(entry, files[path])
    return buffer.getvalue()
