"""Every error that a user may meet; all else is a bug and shows its traceback.

    HarnessError            exit code 1: a device, a case or a file failed
    ├── UsageError          2: a word on the command line names nothing, or contradicts another
    │   ├── InventoryError  2: a YAML file breaks a rule (file, line, key, rule, value)
    │   └── ContentError    2: a content file lacks what its kind must define
    ├── FoldError           a network that cannot be traced, folded or proved equal
    ├── TrainError          training went wrong (loss not finite, no data)
    ├── DeviceError         a device is unreachable, busy or lacks something
    │   ├── BusyError       another agent holds the device: it can be waited for, or ended
    │   └── DamagedError    a file on it is not what was sent; it was removed there, and is sent again
    ├── WireError           a job or reply that breaks the format
    └── StoreError          a stored run that is damaged, newer than the program, or cannot be written

A message names the thing, the rule and the value; the hint is the next move. Standard library only and
Python 3.8: this file travels to devices.
"""


class HarnessError(Exception):
    """An error with a message for the user, a next move, and the exit code it leads to."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message + ("\n" + self.hint if self.hint else "")


class UsageError(HarnessError):
    """The user's words name nothing known, are out of range, or contradict each other."""

    exit_code = 2


class InventoryError(UsageError):
    """A YAML file breaks a rule."""


class ContentError(UsageError):
    """A content file (runtime, model, method, ...) lacks what its kind must define."""


class FoldError(HarnessError):
    """A network cannot be traced or folded, or the folded one is not equal to it."""


class TrainError(HarnessError):
    """Training cannot go on; finished rungs are kept."""


class DeviceError(HarnessError):
    """A device is unreachable, busy, or lacks what the job needs."""


class BusyError(DeviceError):
    """Another agent holds the device."""


class DamagedError(DeviceError):
    """A file on a device is not what its name says; it was removed there, and sending it again helps."""


class WireError(HarnessError):
    """A job, journal line or reply breaks the format; a device is untrusted input."""


class StoreError(HarnessError):
    """A stored run is damaged, from a newer program, or cannot be written."""
