"""`harness nightly`: the matrix of the inventory, night after night."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.guard import InventoryFile, Json, Results, complain, first_line, guarded, print_json, without_escapes
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness.nights.matrix import Laid
    from harness.nights.webhook import Hook
    from harness.records.nights import Matrix, Night


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(nightly))


def nightly(
    device: Annotated[
        str | None,
        typer.Option(help="Only these devices of the matrix, or tag:NAME for all that have it.", metavar="NAME[,NAME]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the matrix, print it with what is due and why, and stop.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the summary there, too.", metavar="FILE")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the night as JUnit XML.", metavar="FILE")] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Write the night with its history per series as one HTML page.", metavar="FILE"),
    ] = None,
    webhook: Annotated[
        bool, typer.Option("--webhook", help="Tell the night to HARNESS_WEBHOOK_URL, of the environment.")
    ] = False,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Measure what is missing or stale of the inventory's matrix, say what changed; exit code 3: a confirmed regression."""
    from harness import inventory as door

    hook = _checked({"--markdown": markdown, "--junit": junit, "--page": page}, webhook, dry_run)
    place = door.locate(inventory)
    first_line(f"the matrix of {place}")
    matrix, rows = _laid(place, device, results)
    if dry_run:
        _forecast(matrix, rows, results, place, as_json)
        return
    night = _kept(matrix, rows, results)
    _thin(matrix, results, night)
    drawn = page is None or _draw(night, results, page)
    _tell(night, markdown, junit, hook, as_json, drawn)


def _checked(files: Mapping[str, Path | None], webhook: bool, dry_run: bool) -> Hook | None:
    """Find out before the night whether it can be told as asked. Raises UsageError."""
    said = [flag for flag, file in files.items() if file is not None] + ["--webhook"] * webhook
    for flag in said if dry_run else ():
        raise UsageError(f"{flag} cannot be said beside --dry-run: there will be no night to tell of", "Drop one.")
    wanted = {flag: file for flag, file in files.items() if file is not None}
    for flag, file in wanted.items():
        _require_file(flag, file)
        if same := [other for other in wanted if other < flag and wanted[other].resolve() == file.resolve()]:
            raise UsageError(f"{flag} {file}: {same[0]} names this file, too", "Name another file.")
    if (page := files["--page"]) is not None and page.suffix != ".html":
        raise UsageError(f"--page {page}: must end in .html", "Name another file.")
    if not webhook:
        return None
    from harness.nights import webhook as door

    return door.configured(os.environ)


def _require_file(flag: str, file: Path) -> None:
    """Raise UsageError for what is no file that can be written: after the night it would be too late."""
    if file == Path("-"):
        raise UsageError(f"{flag} -: is no file's name", "The summary is printed anyway; --json prints the night.")
    if not file.parent.is_dir():
        raise UsageError(f"{flag} {file}: there is no folder {file.parent}", "Make it, or name another file.")
    if file.is_dir():
        raise UsageError(f"{flag} {file}: is a folder", "Name a file in it.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"{flag} {file}: may not be written", "Mend its permissions, or name another file.")


def _laid(place: Path, device: str | None, results: Path) -> tuple[Matrix, tuple[Laid, ...]]:
    """The matrix, checked as a whole, and its rows on the devices that were named."""
    from harness import inventory as door
    from harness.nights import matrix as layout
    from harness.plan import split

    devices, found = door.nightly(place)
    rows = layout.lay(found, devices, results)
    if device is None:
        return found, rows
    named = {each.name for each in door.select(split(device, "--device"), place)}
    if strangers := named - {each.name for each in devices}:
        raise UsageError(f"--device: no row of the matrix is on {', '.join(sorted(strangers))}", f"See {found.place}.")
    return found, tuple(each for each in rows if each.row.device in named)


def _forecast(matrix: Matrix, rows: tuple[Laid, ...], results: Path, place: Path, as_json: bool) -> None:
    """Print what tonight would do."""
    from harness.nights import data, due, forecast
    from harness.nights.past import Past
    from harness.progress import narrate
    from harness.store import nights

    today = datetime.now(UTC).date()
    planned = due.plan(rows, Past(nights.nights(results)), results, today, matrix.max_age_days)
    with narrate() as tell:
        absent = data.missing(rows, planned, tell)
    planned = data.forecast(planned, absent)
    if as_json:
        print_json(forecast.to_json(planned, matrix.budget_s, str(place)))
    else:
        print("\n".join(forecast.lines(planned, matrix.budget_s)))
    if absent:
        raise typer.Exit(1)


def _kept(matrix: Matrix, rows: tuple[Laid, ...], results: Path) -> Night:
    """The night, carried out. Ctrl-C says how to go on."""
    from harness.nights import night as story
    from harness.progress import narrate_each

    names = list(dict.fromkeys(each.row.device for each in rows))
    try:
        with narrate_each(names) as tell:
            return story.keep(matrix, rows, results, sys.argv[1:], tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("What is done is kept; the next harness nightly goes on with this night.") from None


def _thin(matrix: Matrix, results: Path, night: Night) -> None:
    """Give up raw samples that are old enough, where that was asked for; say what went, and what was old and stays."""
    if matrix.keep_samples_days is None:
        return
    from harness.nights import retention
    from harness.store import nights

    if doubt := retention.doubt(nights.nights(results), night, matrix.keep_samples_days):
        print(f"raw samples kept: {doubt}", file=sys.stderr)
        return
    done = retention.thin(results, matrix.keep_samples_days)
    if done.runs:
        freed = f"{done.freed_bytes / 2**20:.0f} MiB"
        print(f"raw samples of {len(done.runs)} older runs given up: {freed} freed", file=sys.stderr)
    for reason in done.kept.values():
        print(f"raw samples kept: {without_escapes(reason)}", file=sys.stderr)


def _draw(night: Night, results: Path, out: Path) -> bool:
    """Write the page; what goes wrong is told, and does not hide what the night came to."""
    from harness.nights import gallery, history, series
    from harness.nights.past import Past
    from harness.store import nights

    known = nights.nights(results)
    past = Past(known[: [each.night for each in known].index(night.night)])
    try:
        found = series.all_rows(night, past, series.Cases(results)) if list(results.glob("*/*/run.json")) else ()
        gallery.write(night, history.chronicles(found, night, past), out)
    except HarnessError as error:
        complain(error)
        return False
    except Exception:  # a bug of the page is none of the night
        traceback.print_exc()
        return False
    return True


def _tell(
    night: Night, markdown: Path | None, junit: Path | None, hook: Hook | None, as_json: bool, drawn: bool = True
) -> None:
    """Tell what the night came to, everywhere it was asked for, and exit as it came out."""
    from harness.nights import facts, summary, webhook
    from harness.nights import junit as xml

    text = summary.markdown(night)
    written = [
        drawn,
        *(_write(file, data) for file, data in ((markdown, text.encode()), (junit, xml.xml(night))) if file),
    ]
    written.append(_print(lambda: print_json(_plain(night)) if as_json else print(text, end="")))
    if hook is not None and (wrong := webhook.post(hook, night)):
        print(f"webhook: {wrong}", file=sys.stderr)
    if code := facts.exit_code(night) or int(not all(written)):
        raise typer.Exit(code)


def _print(told: Callable[[], None]) -> bool:
    """Print what a night came to; who reads no further (`| head`) and a full disk take nothing from its exit code."""
    try:
        told()
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        if not isinstance(error, BrokenPipeError):
            complain(HarnessError(f"standard output: cannot be written: {error.strerror}"))
            return False
    return True


def _write(file: Path, data: bytes) -> bool:
    """Write a file that was asked for; what goes wrong is told, and does not hide what the night came to."""
    try:
        file.write_bytes(data)
    except OSError as error:
        complain(HarnessError(f"{file}: cannot be written: {error.strerror}"))
        return False
    return True


def _plain(night: Night) -> dict[str, Any]:
    """A night as JSON: its file, its exit code and how many there are of each fact."""
    from pydantic import TypeAdapter

    from harness.nights import facts
    from harness.records.nights import Night as Record

    tree = TypeAdapter(Record).dump_python(night, mode="json")
    return {**tree, "exit_code": facts.exit_code(night), "counts": facts.facts(night).counts}
