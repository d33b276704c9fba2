"""The format's version, and the names that may stand in paths."""

import re

from harness.decode import require

VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


def require_name(name: str, what: str) -> str:
    """Check that `name` is one plain path component (letters, digits, . _ + -) and return it."""
    require(_NAME.fullmatch(name) is not None, what + " must be a plain name", name)
    return name
