"""What the user's SSH configuration says of a host. OpenSSH itself is asked where it is installed: it alone understands
`Include`, `Match` and tokens as its users know them. Elsewhere fabric reads the files.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import fabric
import paramiko

_LIMIT_S = 5.0
_WORDS = ("hostname", "user", "port", "proxycommand", "globalknownhostsfile", "hostkeyalias", "forwardagent")


def of(host: str, user: str | None, port: int | None) -> tuple[fabric.Config | None, tuple[str, ...]]:
    """Return the configuration for a host and the jump hosts before it, first to be gone through first.

    None leaves it to fabric. Raises paramiko.ConfigParseError for a configuration that OpenSSH refuses.
    """
    program = shutil.which("ssh")
    if program is None:
        return None, ()
    said = _asked(program, host, user, port)
    jumps = [line.partition(" ")[2] for line in said if line.startswith("proxyjump ")]
    hops = tuple(word for line in jumps for word in line.split(",") if word != "none")
    text = "Host *\n" + "".join(f"  {line}\n" for line in said if _counts(line))
    return fabric.Config(ssh_config=paramiko.SSHConfig.from_text(text)), hops


def _asked(program: str, host: str, user: str | None, port: int | None) -> list[str]:
    """What `ssh -G` prints, a word and its value a line."""
    command = [program, "-G", *_files(), *(["-l", user] if user else []), *(["-p", str(port)] if port else []), host]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise paramiko.ConfigParseError(f"`ssh -G {host}` did not end within {_LIMIT_S:g} s") from None
    if done.returncode != 0:
        raise paramiko.ConfigParseError((done.stderr.strip().splitlines() or ["ssh -G failed"])[-1])
    return done.stdout.splitlines()


def _files() -> list[str]:
    """OpenSSH looks into the home that the system knows; whoever sets HOME means that one, as everywhere else here."""
    if os.environ.get("HOME") in (None, pwd.getpwuid(os.getuid()).pw_dir):
        return []
    own = Path("~/.ssh/config").expanduser()
    return ["-F", str(own) if own.is_file() else "/dev/null"]


def _counts(line: str) -> bool:
    """What fabric is to know: no defaults of OpenSSH that say nothing, no identity that is not there."""
    word, _, value = line.partition(" ")
    if word == "identityfile":
        return Path(value).expanduser().is_file()
    if word == "userknownhostsfile":
        return not value.startswith(str(Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", "known_hosts")))
    return word in _WORDS and value != "none"
