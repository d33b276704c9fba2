"""What every command has in common: errors become one clear message and an exit code; JSON; columns."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness import __version__
from harness.errors import HarnessError

if TYPE_CHECKING:
    from rich.console import Console

BUG, INTERRUPTED = 70, 130

F = TypeVar("F", bound=Callable[..., Any])

Json = Annotated[bool, typer.Option("--json", help="Nothing but JSON on standard output.")]
Results = Annotated[Path, typer.Option("--results", help="Where runs are kept.", metavar="DIR")]
InventoryFile = Annotated[
    Path | None,
    typer.Option(
        "--inventory", help="The devices' file; else ./inventory.yaml, else the one that ships.", metavar="FILE"
    ),
]


def guarded(command: F) -> F:
    """Turn what a command raises into one clear message and the right exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        _print_anywhere()
        try:
            return command(*args, **kwargs)
        except HarnessError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interruption:
            print("interrupted", *interruption.args, sep="\n", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `harness show | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception:
            traceback.print_exc()
            print("This is a bug in edge-harness; the traceback is above.", file=sys.stderr)
            raise typer.Exit(BUG) from None

    return run  # type: ignore[return-value]


def _print_anywhere() -> None:
    """Let what a locale other than UTF-8 cannot print (`→`, `µ`) be a question mark, and no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def complain(error: HarnessError) -> None:
    """Print an error's message and its next move; with HARNESS_DEBUG, its traceback too."""
    if os.environ.get("HARNESS_DEBUG"):
        traceback.print_exc()
    print(f"error: {without_escapes(error.message)}", file=sys.stderr)
    if error.hint:
        print(without_escapes(error.hint), file=sys.stderr)


def without_escapes(text: str) -> str:
    """Return text fit for a terminal: what a device said may stand in it, and move the cursor or worse."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def first_line(text: str) -> None:
    """Say at once, on standard error, what is going on; what follows may have to import much."""
    print(f"edge-harness {__version__}: {without_escapes(text)}", file=sys.stderr, flush=True)


def console() -> Console:
    """Where tables go: standard output. Where nobody looks (a pipe, a file) as wide as tables need, not 80 columns."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_json(value: Any) -> None:
    """Print JSON, without NaN."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_columns(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:{width}}  {text}".rstrip())
