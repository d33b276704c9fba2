"""What is to be put back on the device, kept until it is, and the dead-man that looks after it: see `tune`.

workdir/tune.json    what to put back, written before the first change; gone when everything is as it was
workdir/tune.lock    held by whoever changes or puts back
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from devices.agent.journal import replace_file
from harness.errors import DeviceError


class Change(NamedTuple):
    """One target of a setting: a file (`apply` is empty) or a command; `before` is what was found there."""

    name: str
    target: str
    before: str
    asked: str
    apply: Tuple[str, ...]
    query: Tuple[str, ...]
    restore: Tuple[str, ...]


def file(workdir: Path) -> Path:
    """Return the file that says what to put back; it is there as long as something is."""
    return workdir / "tune.json"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Change, or put back, alone."""
    with (workdir / "tune.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(workdir: Path, changes: Sequence[Change]) -> None:
    """Write what to put back, in this process's name. Raises OSError."""
    stored = {"pid": os.getpid(), "boot_id": boot_id(), "changes": [change._asdict() for change in changes]}
    replace_file(file(workdir), json.dumps(stored))


def stored(workdir: Path) -> Dict[str, Any]:
    """What is to be put back; {} when nothing is. A file that is no JSON of ours is set aside. Raises OSError."""
    try:
        value = dict(json.loads(file(workdir).read_text(encoding="utf-8")))
        changes = [_change(item) for item in value["changes"]]
        return {"pid": int(value["pid"]), "boot_id": value["boot_id"], "changes": changes}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        file(workdir).replace(workdir / "tune.damaged")
        print("tune: %s was damaged (%s): set aside as tune.damaged" % (file(workdir), error), file=sys.stderr)
        return {}


def _change(item: Dict[str, Any]) -> Change:
    commands = {key: tuple(item[key]) for key in ("apply", "query", "restore")}
    return Change(**{**item, **commands})


def boot_id() -> Optional[str]:
    """Return what the kernel calls this boot."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def start_guard(workdir: Path) -> "subprocess.Popen[bytes]":
    """Start the dead-man: a session of its own, no lock inherited, nobody's terminal."""
    pid = os.getpid()
    if not started(pid):
        raise DeviceError("tune: /proc cannot be read, so nobody could see that this agent is gone", "Drop --tune.")
    command = [sys.executable, str(Path(sys.argv[0]).resolve()), "put-back-later", str(workdir), str(pid)]
    with (workdir / "tune.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def started(pid: int) -> str:
    """When a process began, in ticks since boot: with its number the name of a process; empty when it is gone, or a zombie."""
    with contextlib.suppress(OSError, IndexError):
        words = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
        return "" if words[0] == "Z" else words[19]
    return ""
