"""Settings of the device, brought about for a job and undone after it, whatever becomes of the agent. `harness run --tune`.

What to put back is written down before the first change (`undo`). The agent puts back itself at the end of a job, also on
Ctrl-C and after an error. Beside it runs a dead-man, a process of its own session that does nothing but look, once a second,
whether the agent still lives, and puts back when it does not. If both are killed the next agent does it first.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence

from devices.agent import undo
from devices.agent.undo import Change
from harness.errors import DeviceError
from harness.sensing import sysroot
from harness.wire import Setting, Tuned

_COMMAND_LIMIT_S = 60.0
_LOOK_S = 1.0
_MOST_CHARACTERS = 2000
_ALLOWED = ("/sys/", "/proc/sys/")


@contextlib.contextmanager
def applied(
    workdir: Path, settings: Sequence[Setting], on_restored: Callable[[List[Tuned]], None]
) -> Iterator[List[Tuned]]:
    """Bring the settings about for the block, and put back what was there; yields what was found in force.

    First, what an agent that was killed has left is put back. Raises DeviceError when that cannot be done; and, with
    everything put back, when a setting is not there or reads back otherwise.
    """
    _require_put_back(put_back(workdir), workdir)
    if not settings:
        yield []
        return
    with undo.locked(workdir):
        changes = _planned(settings, workdir)
        undo.write(workdir, changes)
    guard = undo.start_guard(workdir)
    try:
        with undo.locked(workdir):
            tuned = [_applied(change) for change in changes]
        _require_all(tuned)
        yield tuned
    finally:
        restored = put_back(workdir)
        guard.terminate()
        guard.wait()
        on_restored(restored)


def put_back(workdir: Path, only_of: Optional[int] = None) -> List[Tuned]:
    """Put back what tune.json says, last first, and remove it; what could not be put back stays in it and is said.

    `only_of`: only if that process wrote it. A boot has put back every file; what a command did may outlive it (`nvpmodel`).
    """
    with undo.locked(workdir):
        stored = undo.stored(workdir)
        if not stored or (only_of is not None and stored["pid"] != only_of):
            return []
        changes = stored["changes"]
        if stored["boot_id"] != undo.boot_id():
            changes = [change for change in changes if change.apply]
        done = [(change, _restored(change)) for change in reversed(changes)]
        left = [change for change, tuned in reversed(done) if tuned.status != "ok"]
        for change, tuned in done:
            if tuned.status != "ok":
                print("tune: %s %s stays: %s" % (change.name, change.target, tuned.reason), file=sys.stderr)
        if left:
            undo.write(workdir, left)
        else:
            undo.file(workdir).unlink()
        return [tuned for _, tuned in done]


def keep_watch(workdir: str, pid: str) -> None:
    """The dead-man: look until the agent has put back, or is gone; then put back.

    When the agent began is read here, not told by it: under emulation a process sees of itself what others do not. It is
    this one's parent; if it is not any more, it is gone.
    """
    began = undo.started(int(pid)) if os.getppid() == int(pid) else ""
    while undo.file(Path(workdir)).exists() and began and undo.started(int(pid)) == began:
        time.sleep(_LOOK_S)
    put_back(Path(workdir), only_of=int(pid))


# --- what to change ------------------------------------------------------------------------------------------------


def _planned(settings: Sequence[Setting], workdir: Path) -> List[Change]:
    """Every target of every setting with what is there now. Raises DeviceError when a name has no target here."""
    changes = [change for setting in settings for change in _targets(setting, workdir)]
    for setting in settings:
        if all(change.name != setting.name for change in changes):
            files = ", ".join(other.file or other.apply[0] for other in settings if other.name == setting.name)
            raise DeviceError("tune %s: this device has no %s" % (setting.name, files), _without(setting.name))
    return changes


def _targets(setting: Setting, workdir: Path) -> Iterator[Change]:
    if setting.file:
        for file in _matching(setting):
            yield Change(setting.name, str(file), _read(file, setting.name), setting.value, (), (), ())
        return
    before = _asked_of(setting.query)
    if before is not None:
        apply, restore = (
            tuple(word.replace("{before}", before).replace("{workdir}", str(workdir)) for word in command)
            for command in (setting.apply, setting.restore)
        )
        yield Change(setting.name, _brief(apply), before, setting.value, apply, setting.query, restore)


def _brief(command: Sequence[str]) -> str:
    """A command in words: of a shell's script only its arguments, which say what for."""
    shown = [command[0], *command[3:]] if command[1:2] == ("-c",) else command
    return " ".join(shown)[:_MOST_CHARACTERS]


def _matching(setting: Setting) -> List[Path]:
    """The files that a pattern matches, none outside /sys and /proc/sys. Raises DeviceError for one that is."""
    root = sysroot()
    pattern = os.path.normpath(setting.file)
    if not pattern.startswith(_ALLOWED):
        raise DeviceError(
            "tune %s: %s must lie in /sys or /proc/sys" % (setting.name, setting.file), "Mend the profile."
        )
    found = sorted(root.glob(pattern.lstrip("/")))
    inside = tuple(str((root / folder.strip("/")).resolve()) + os.sep for folder in _ALLOWED)
    for file in found:
        if not str(file.resolve()).startswith(inside):
            raise DeviceError("tune %s: %s leads out of /sys" % (setting.name, file), "Mend the profile.")
    return found


def _wanted(change: Change) -> str:
    """The value to write; one of a neighbouring file is read only now, for an earlier change may have moved it."""
    if change.apply or not change.asked.startswith("@"):
        return change.asked
    return _read(Path(change.target).with_name(Path(change.asked[1:]).name), change.name)


def _read(file: Path, name: str) -> str:
    try:
        return file.read_text(errors="replace").strip()[:_MOST_CHARACTERS]
    except OSError as error:
        raise DeviceError("tune %s: %s cannot be read: %s" % (name, file, error.strerror), _without(name)) from None


def _asked_of(query: Sequence[str]) -> Optional[str]:
    """What a query says, None where its program is missing or fails."""
    try:
        done = subprocess.run(
            list(query), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()[:_MOST_CHARACTERS]


# --- changing, and putting back ------------------------------------------------------------------------------------


def _applied(change: Change) -> Tuned:
    asked = _wanted(change)
    reason = _carry_out(change.apply, change.target, asked)
    found = _found(change)
    fits = found is not None and re.search(asked, found) is not None if change.apply else _equal(found, asked)
    return _tuned(change, asked, found, reason, fits)


def _restored(change: Change) -> Tuned:
    found, reason = _found(change), ""
    if not _equal(found, change.before):
        reason = _carry_out(change.restore, change.target, change.before)
        found = _found(change)
    return _tuned(change, change.before, found, reason, _equal(found, change.before))


def _tuned(change: Change, asked: str, found: Optional[str], reason: str, fits: bool) -> Tuned:
    status = "ok" if fits else "error" if found is None else "refused"
    said = "" if fits else reason or "asked for %s, in force is %s" % (asked, found)
    return Tuned(change.name, change.target, change.before, asked, found, status, said)


def _carry_out(command: Sequence[str], target: str, value: str) -> str:
    """Run the command, or write the value; returns why it failed, nothing when it did not."""
    try:
        if command:
            subprocess.run(
                list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_LIMIT_S, check=True
            )
        else:
            Path(target).write_text(value)
    except PermissionError:
        return "%s may not be %s: only root may" % (target, "run" if command else "written")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        return " ".join([str(error), *said.decode("utf-8", "replace").split()])[:_MOST_CHARACTERS]
    return ""


def _found(change: Change) -> Optional[str]:
    if change.query:
        return _asked_of(change.query)
    with contextlib.suppress(OSError):
        return Path(change.target).read_text(errors="replace").strip()[:_MOST_CHARACTERS]
    return None


def _equal(found: Optional[str], asked: str) -> bool:
    if found is None or found == asked:
        return found == asked
    with contextlib.suppress(ValueError):
        return float(found) == float(asked)
    return False


def _require_put_back(restored: Sequence[Tuned], workdir: Path) -> None:
    """Raise DeviceError where the device is still as a job that was killed has left it: nobody would know at what clock."""
    for each in restored:
        if each.status != "ok":
            raise DeviceError(
                "tune %s: an earlier job left %s at %s, and it cannot be put back: %s"
                % (each.name, each.target, each.found, each.reason),
                "Put it back to %s, and remove %s." % (each.before, undo.file(workdir)),
            )


def _require_all(tuned: Sequence[Tuned]) -> None:
    for each in tuned:
        if each.status != "ok":
            raise DeviceError(
                "tune %s: %s: %s" % (each.name, each.target, each.reason),
                "%s Or let the device's user be root. What was changed is put back." % _without(each.name),
            )


def _without(name: str) -> str:
    """How to go on without a setting: a power mode's is called after it."""
    mode = name.partition("power-mode.")[2]
    return "Name another --power-mode than %s." % mode if mode else "Drop %s from --tune." % name
