"""What words from YAML must look like before they may name hosts, folders, programs or compilers' flags.

Every rule lists what is allowed, not what is not: what a shell, `ssh` or a terminal could take for something else is
never among it, and nothing may begin with a dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})"
_IPV6 = r"(?=(?:[^:]*:){2})[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?"
_USER = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

HOST = rf"(?:{_HOST_NAME}|{_IPV6})"
JUMP = rf"(?:{_USER}@)?(?:{_HOST_NAME}|\[{_IPV6}\])(?::{_PORT})?"
NO_CLIMBING = r"(?!(?:.*/)?\.\.(?:/|$))"  # no component is `..`
FOLDER = rf"{NO_CLIMBING}(?:~/|/)[\w.+@=,: -][\w./+@=,: -]{{0,1023}}"
FILE = r"(?:~/|/)[^\x00-\x1f\x7f]{1,1023}"
PYTHON = rf"(?:[A-Za-z0-9][A-Za-z0-9._+-]{{0,63}}|{NO_CLIMBING}/[A-Za-z0-9._+/-]{{1,1023}})"
FLAG = r"[A-Za-z0-9][A-Za-z0-9._+,=-]{0,127}"
LINE = r"[^\x00-\x1f\x7f\x85\u2028\u2029]{1,200}"


def _matching(pattern: str, rule: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(rule)
        return text

    return check


def _text(pattern: str, rule: str) -> Any:
    """Both halves of a rule: what is checked here, and what an editor is told of it."""
    return AfterValidator(_matching(pattern, rule)), Field(json_schema_extra={"pattern": f"^(?:{pattern})$"})


_NAME, _NAME_SCHEMA = _text(NAME, "must be a plain name: letters, digits, dots, dashes and underscores, at most 64")
_DEVICE, _ = _text(NAME, "a device's name is letters, digits, dots, dashes and underscores, at most 64")
_DEVICE_WORDS, _DEVICE_WORDS_SCHEMA = _text(
    rf"(?:tag:)?{NAME}", "must be a device's name, or tag:WORD for all that carry it"
)
_HOSTS, _HOSTS_SCHEMA = _text(
    HOST,
    "must be a host name, an alias of your SSH configuration or an IP address; user and port have keys of their own",
)
_USERS, _USERS_SCHEMA = _text(_USER, "must be a user's name: letters, digits, dots, dashes and underscores")
_JUMPS, _JUMPS_SCHEMA = _text(JUMP, "must be [user@]host[:port], IPv6 addresses in brackets")
_FOLDERS, _FOLDERS_SCHEMA = _text(
    FOLDER, "must be a folder, absolute or beginning with ~/: letters, digits, blanks and . _ + - @ = , : without .."
)
_FILES, _FILES_SCHEMA = _text(FILE, "must be a file's path, absolute or beginning with ~/")
_PYTHONS, _PYTHONS_SCHEMA = _text(PYTHON, "must be a program's plain name or absolute path, such as python3.11")
_FLAGS, _FLAGS_SCHEMA = _text(FLAG, "must be one plain word: letters, digits and . _ + , = -")
_LINES, _LINES_SCHEMA = _text(LINE, "must be one line of text, at most 200 characters")
_VERSIONS, _VERSIONS_SCHEMA = _text(r"[0-9]{1,3}\.[0-9]{1,3}", 'must be two numbers in quotes, such as "3.11"')

Name = Annotated[str, _NAME, _NAME_SCHEMA]
DeviceName = Annotated[str, _DEVICE, _NAME_SCHEMA]
DeviceWord = Annotated[str, _DEVICE_WORDS, _DEVICE_WORDS_SCHEMA]
Host = Annotated[str, _HOSTS, _HOSTS_SCHEMA]
User = Annotated[str, _USERS, _USERS_SCHEMA]
Jump = Annotated[str, _JUMPS, _JUMPS_SCHEMA]
Folder = Annotated[str, _FOLDERS, _FOLDERS_SCHEMA]
FilePath = Annotated[str, _FILES, _FILES_SCHEMA]
Python = Annotated[str, _PYTHONS, _PYTHONS_SCHEMA]
Flag = Annotated[str, _FLAGS, _FLAGS_SCHEMA]
Line = Annotated[str, _LINES, _LINES_SCHEMA]
Version = Annotated[str, _VERSIONS, _VERSIONS_SCHEMA]


def _distinct(items: list[str]) -> list[str]:
    twice = [item for place, item in enumerate(items) if item in items[:place]]
    if twice:
        raise ValueError(f'"{twice[0]}" stands there twice')
    return items


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    return text


def _options(options: dict[str, Any] | None) -> dict[str, Any] | None:
    for key, value in (options or {}).items():
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, (str, int, float)) or (isinstance(item, float) and not math.isfinite(item)):
                raise ValueError(f'option "{key}" must be text, a finite number, true or false, or a list of these')
    return options


Distinct = AfterValidator(_distinct)
Pattern = Annotated[str, AfterValidator(_pattern), Field(max_length=1000)]
Options = Annotated[dict[Name, Any] | None, AfterValidator(_options)]  # nothing after a sensor's name: no options
