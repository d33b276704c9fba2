"""A page as one file: template, style and scripts put together, with a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from harness import store
from harness.errors import UsageError

MOST_BYTES = 5_000_000
_HERE = Path(__file__).parent


def require_suffix(out: Path) -> None:
    """Raise UsageError unless `out` ends as a page does."""
    if out.suffix not in (".html", ".htm"):
        raise UsageError(f"{out}: a page ends in .html, not in {out.suffix or 'nothing'}")


def save(page: str, out: Path, of: str, hint: str) -> Path:
    """Write a page and return its path; `of` says what it is a page of, `hint` how it gets smaller.

    Raises UsageError where it is larger than MOST_BYTES, StoreError where it cannot be written.
    """
    data = page.encode(errors="replace")  # a command's bytes need not have been text
    if len(data) > MOST_BYTES:
        raise UsageError(f"a page of {of} would have {len(data) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g}", hint)
    store.write(out, data, "or give another file with --out.")
    return out


def render(template: str, data: dict[str, Any], **values: Any) -> str:
    """Return a page: `values` for its template, `data` for its script."""
    scripts = [_vega(), (_HERE / "page.js").read_text(encoding="utf-8")]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(scripts),
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # ours, as are the scripts
            scripts=[Markup(script) for script in scripts],
            data=data,
            **values,
        )
    )


def lean(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows with their keys once: twice as many fit on a page."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {"keys": keys, "rows": [[row.get(key) for key in keys] for row in rows]}


def _environment() -> jinja2.Environment:
    """The page's templates: whatever is put into one is escaped, and a name that it does not know is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False}  # in the order that was given
    return made


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed (BSD), as one script that asks the network for nothing."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def _policy(scripts: Sequence[str]) -> str:
    """What a browser may do with the page: run these scripts, draw; nothing from anywhere else."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    drawn = "style-src 'unsafe-inline'; img-src data:"
    return f"default-src 'none'; script-src {allowed}; {drawn}; form-action 'none'; base-uri 'none'"
