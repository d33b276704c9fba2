"""`harness cache`: what is kept between runs."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.guard import Json, guarded, print_columns, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="What is kept between runs: rungs, artifacts, agents.", no_args_is_help=True)
    group.command("list")(guarded(cache_list))
    group.command("clean")(guarded(cache_clean))
    app.add_typer(group, name="cache")


def cache_list(as_json: Json = False) -> None:
    """List what is kept, least recently used first."""
    from harness import cache

    entries = cache.entries()
    if as_json:
        print_json([{"kind": e.kind, "key": e.key, "size_bytes": e.size_bytes, "path": str(e.path)} for e in entries])
        return
    print_columns([(e.kind, f"{e.key[:16]}  {e.size_bytes / 1e6:8.1f} MB") for e in entries])
    print(f"{sum(e.size_bytes for e in entries) / 1e6:.1f} MB of {cache.cap_bytes() / 1e6:.0f} MB in {cache.root()}")


def cache_clean(
    keep: Annotated[float, typer.Option(help="Keep the most recently used, up to so many MB.", metavar="MB")] = 0.0,
    as_json: Json = False,
) -> None:
    """Remove what is kept; the next run makes it anew."""
    from harness import cache

    gone = cache.trim(cap=int(keep * 1e6))
    size = sum(entry.size_bytes for entry in gone)
    if as_json:
        print_json({"removed": len(gone), "size_bytes": size})
    else:
        print(f"removed {len(gone)} entries, {size / 1e6:.1f} MB")
