"""Content read by name: profiles, runtimes, sensors, models, tasks and methods. The folder is the list.

A name is checked against the folder's files before anything is imported; a file whose name begins with `_` is shared
code and not listed. Besides the built-in folders, those of HARNESS_CONTENT (set by `--content DIR`, inherited by child
processes) are searched first: each may hold `profiles/ runtimes/ sensors/ models/ models/tasks/ methods/`.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.errors import ContentError, HarnessError, UsageError

Kind = Literal["profile", "runtime", "sensor", "model", "task", "method"]

PACKAGE = Path(__file__).resolve().parent
# In a wheel the content lies under harness/_content; in a checkout beside harness/.
ROOT = PACKAGE / "_content" if (PACKAGE / "_content").is_dir() else PACKAGE.parent

_FOLDERS: dict[Kind, tuple[Path, str]] = {  # kind -> (built-in folder, folder inside a user's --content DIR)
    "profile": (ROOT / "devices" / "profiles", "profiles"),
    "runtime": (ROOT / "devices" / "runtimes", "runtimes"),
    "sensor": (ROOT / "devices" / "sensors", "sensors"),
    "model": (ROOT / "models", "models"),
    "task": (ROOT / "models" / "tasks", "models/tasks"),
    "method": (PACKAGE / "compress" / "methods", "methods"),
}

_HYPHENED: tuple[Kind, ...] = ("method", "task")
_LOADING = threading.RLock()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_Rule = tuple[str, Callable[[Any], bool]]  # what it is, in words, and whether a value is one
_FUNCTION: _Rule = ("a function", callable)
_DATACLASS: _Rule = ("a dataclass", dataclasses.is_dataclass)
_TEXT: _Rule = ("a string", lambda value: isinstance(value, str))
_FLAG: _Rule = ("True or False", lambda value: isinstance(value, bool))
_NUMBER: _Rule = ("a whole number above 0", lambda value: isinstance(value, int) and value > 0)
_COUNT: _Rule = (
    "a whole number above 0, or None beside a function `classes` that counts them",
    lambda value: value is None or (isinstance(value, int) and value > 0),
)
_SECONDS: _Rule = ("a number of seconds, 0 at least", lambda value: isinstance(value, int | float) and value >= 0)
_TUPLE: _Rule = ("a tuple", lambda value: isinstance(value, tuple))
_DICT: _Rule = ("a dict", lambda value: isinstance(value, dict))
_WINDOW: _Rule = (
    "a tuple of the least and the usual seconds, each above 0",
    lambda value: isinstance(value, tuple) and [*map(_is_number, value)] == [True] * 2 and 0 < value[0] <= value[1],
)
_PLACE: _Rule = ('"device" or "controller"', lambda value: value in ("device", "controller"))
_KEYS: _Rule = ("a tuple, or a dict of tuples by precision", lambda value: isinstance(value, tuple | dict))

# What a file of each kind must define, and what it may; CONTRIBUTING.md says what for.
_REQUIRED: dict[Kind, dict[str, _Rule]] = {
    "runtime": {
        "PRECISIONS": _TUPLE,
        "OPTIONS": _DICT,
        "CONVERTERS": _TUPLE,
        "export": _FUNCTION,
        "load": _FUNCTION,
        "versions": _FUNCTION,
    },
    "sensor": {"WINDOW_S": _WINDOW, "OPTIONS": _DICT, "probe": _FUNCTION, "open": _FUNCTION},
    "model": {"TASK": _TEXT, "build": _FUNCTION},
    "task": {"CLASSES": _COUNT, "SHAPE": _TUPLE, "load": _FUNCTION},
    "method": {"TRAINS": _FLAG, "Recipe": _DATACLASS, "choose": _FUNCTION},
}

_OPTIONAL: dict[Kind, dict[str, _Rule]] = {
    "model": {"VOCABULARY": _NUMBER, "PACKAGES": _TUPLE, "controls": _FUNCTION},
    "task": {"VOCABULARY": _NUMBER, "DATA": _TEXT, "classes": _FUNCTION, "check": _FUNCTION},
    "method": {
        **dict.fromkeys(("CHAINS", "FRESH", "CONTROL"), _FLAG),
        **dict.fromkeys(("check", "units", "budget", "begin", "shorten", "tune", "finish", "exhausted"), _FUNCTION),
    },
    "sensor": {"WHERE": _PLACE, "LEAD_S": _SECONDS, "REPLACES": _TUPLE},
    "runtime": {
        "FORMS": _TUPLE,
        "TARGET": _KEYS,
        "PACKAGES": _TUPLE,
        "SYSTEM_PACKAGES": _FLAG,
        "INSTALL": _TEXT,
        "operators": _FUNCTION,
        "prepare": _FUNCTION,
    },
}

_RESERVED: dict[Kind, dict[str, str]] = {
    "method": {
        **dict.fromkeys(("control", "controls"), "a model's latency controls are listed under it"),
        "onnx": "networks that are given as files are listed under it",
    },
}


def folders(kind: Kind) -> tuple[Path, ...]:
    """Return the folders searched for `kind`, the user's before the built-in one."""
    built_in, inside = _FOLDERS[kind]
    roots = [root for root in os.environ.get("HARNESS_CONTENT", "").split(os.pathsep) if root]
    return (*(Path(root) / inside for root in roots), built_in)


def names(kind: Kind) -> tuple[str, ...]:
    """Return every name of `kind`, sorted. Nothing is imported.

    Methods and tasks are called as the papers write them, with hyphens, `layer-folding`; a file has underscores for them.
    """
    suffix = ".yaml" if kind == "profile" else ".py"
    files = (file for folder in folders(kind) if folder.is_dir() for file in folder.glob("*" + suffix))
    stems = {file.stem for file in files if not file.name.startswith("_")}
    return tuple(sorted(stem.replace("_", "-") if kind in _HYPHENED else stem for stem in stems))


def find(kind: Kind, name: str) -> Path:
    """Return the file of `name`. Raises UsageError naming the nearest known name."""
    require_known(kind, name, names(kind))
    file = name + ".yaml" if kind == "profile" else (name.replace("-", "_") if kind in _HYPHENED else name) + ".py"
    return next(folder / file for folder in folders(kind) if (folder / file).is_file())


def load(kind: Kind, name: str) -> ModuleType:
    """Import the file of `name` under a stable private module name.

    Raises UsageError for an unknown name; ContentError, with the place, for a file that cannot be imported, lacks what
    its kind must define, or has a reserved name.
    """
    file = find(kind, name)
    if name in _RESERVED.get(kind, {}):
        raise ContentError(f'{file}: no {kind} can be called "{name}": {_RESERVED[kind][name]}', "Rename the file.")
    with _LOADING:  # no thread is to meet a module that another is in the midst of making
        return _load(kind, f"harness._content.{kind}.{name}", file)


def _load(kind: Kind, module_name: str, file: Path) -> ModuleType:
    known = sys.modules.get(module_name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        _execute(spec, module, file)
        _require_defined(kind, module, file)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _execute(spec: importlib.machinery.ModuleSpec, module: ModuleType, file: Path) -> None:
    """Run the module with its folder importable, so that files beside it (`_resnet.py`) can be shared code.

    Such files are imported under bare names; they are forgotten again, so that two folders may each have their own.
    """
    assert spec.loader is not None
    before = set(sys.modules)
    sys.path.append(str(file.parent))  # last: a file named torch.py is not torch
    try:
        with blaming(file):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - before:
            if name.startswith("_") and (getattr(sys.modules[name], "__file__", None) or "").startswith(
                str(file.parent)
            ):
                del sys.modules[name]


def _require_defined(kind: Kind, module: ModuleType, file: Path) -> None:
    for name, (what, is_one) in _REQUIRED.get(kind, {}).items():
        if not hasattr(module, name) or not is_one(getattr(module, name)):
            raise ContentError(f"{file}: a {kind} must define {name}, {what}", f"See CONTRIBUTING.md, {kind}.")
    for name, (what, is_one) in _OPTIONAL.get(kind, {}).items():
        if hasattr(module, name) and not is_one(getattr(module, name)):
            raise ContentError(
                f"{file}: {name}, where a {kind} has it, must be {what}", f"See CONTRIBUTING.md, {kind}."
            )


@contextlib.contextmanager
def blaming(file: Path) -> Iterator[None]:
    """Turn whatever the code of a content file raises into a ContentError with file, line and exception.

    Errors of ours pass as they are; one with a `hint`, the next move, is no mistake of the file, and is told in its own
    words. The line is the innermost one in the file's own folder.
    """
    try:
        yield
    except HarnessError:
        raise
    except SyntaxError as error:
        raise ContentError(f"{error.filename}:{error.lineno}: not valid Python: {error.msg}") from error
    except (Exception, SystemExit) as error:
        if isinstance(hint := getattr(error, "hint", None), str):
            raise ContentError(str(error), hint) from None
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename}:{frame.lineno}" for frame in frames if Path(frame.filename).parent == file.parent]
        place = places[-1] if places else str(file)
        raise ContentError(f"{place}: {type(error).__name__}: {error}") from error


def require_known(kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
    """Raise UsageError unless `name` is among `known`; the message gives the nearest known name and all of them."""
    known = tuple(known)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f'; did you mean "{near[0]}"?' if near else "."
    raise UsageError(f'no {kind} "{name}"{guess} Known: {", ".join(known) or "none"}', hint)


def constant(kind: Kind, name: str, variable: str, default: Any = None) -> Any:
    """Return a literal that the file of `name` assigns at its top level, without importing it (torch stays out).

    It may be that of shared code beside it: `OPTIONS = _common.OPTIONS`. Raises UsageError for an unknown name,
    ContentError when the file assigns no such literal and there is no default.
    """
    file = find(kind, name)
    value = _assigned(file, variable)
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
        shared = file.with_name(f"{value.value.id}.py")
        value = _assigned(shared, value.attr) if shared.is_file() else None
    if value is not None:
        with contextlib.suppress(ValueError):
            return ast.literal_eval(value)
    if default is not None:
        return default
    raise ContentError(f"{file}: must assign {variable} a literal at its top level", f"See CONTRIBUTING.md, {kind}.")


def _assigned(file: Path, variable: str) -> ast.expr | None:
    """Return what a file assigns to a variable at its top level, as it is written there; None: nothing."""
    for node in _parse(file).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(isinstance(target, ast.Name) and target.id == variable for target in targets)
        if named and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return node.value
    return None


def summary(kind: Kind, name: str) -> str:
    """Return the first line of what the file of `name` says of itself: its docstring, or a profile's description."""
    file = find(kind, name)
    if kind == "profile":
        lines = [
            line.split(":", 1)[1].strip() for line in file.read_text().splitlines() if line.startswith("description:")
        ]
    else:
        lines = (ast.get_docstring(_parse(file)) or "").splitlines()
    return lines[0] if lines else ""


def _parse(file: Path) -> ast.Module:
    found = file.stat()
    with _LOADING:  # some Pythons' parser cannot be used by several threads at once (cpython#106905)
        return _parsed(file, found.st_mtime_ns, found.st_size, found.st_ino)


@functools.lru_cache(maxsize=256)
def _parsed(file: Path, *unchanged: int) -> ast.Module:
    """Parse a file once while what `stat` says of it stays the same."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ContentError(f"{file}:{error.lineno}: not valid Python: {error.msg}") from None


def source_hash(*files: Path) -> str:
    """SHA-256 of the bytes of `files` in the order given: what makes a cache key follow its sources."""
    total = hashlib.sha256()
    for file in files:
        found = file.stat()
        total.update(_digest(file, found.st_mtime_ns, found.st_size, found.st_ino))
    return total.hexdigest()


@functools.lru_cache(maxsize=4096)
def _digest(file: Path, *unchanged: int) -> bytes:
    """SHA-256 of a file's bytes, read once while what `stat` says of it stays the same."""
    return hashlib.sha256(file.read_bytes()).digest()
