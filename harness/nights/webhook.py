"""A night told to a webhook: one POST of JSON that Slack, Mattermost and programs of one's own read. Off unless asked for.

The URL and a token come from the environment alone, and stand in no file, argument, message or log: a Slack URL is a secret
as a whole. Nothing that the other side does changes what the night came to; what went wrong is told.

    HARNESS_WEBHOOK_URL     where to; https, or http without a token or to this machine
    HARNESS_WEBHOOK_TOKEN   sent as `Authorization: Bearer ...`, if it is set
"""

from __future__ import annotations

import ipaddress
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from harness import __version__
from harness.errors import UsageError
from harness.nights.facts import exit_code, facts
from harness.nights.summary import headline_of, markdown
from harness.records.nights import Night
from harness.text import printable

URL, TOKEN = "HARNESS_WEBHOOK_URL", "HARNESS_WEBHOOK_TOKEN"
TIMEOUT_S = 10.0  # for all of it: names, connection, both directions
_LONGEST = 30_000  # characters of `text`: Slack takes 40,000 and cuts off without a word


@dataclass(frozen=True)
class Hook:
    """Where a night is told. What it holds is secret: neither stands in its repr."""

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def configured(environment: Mapping[str, str]) -> Hook:
    """Return the hook that the environment names. Raises UsageError, which does not quote it: asked before a night begins."""
    url, token = environment.get(URL, "").strip(), environment.get(TOKEN, "").strip() or None
    if not url:
        raise UsageError(f"--webhook: {URL} is not set", f"Export it, and {TOKEN} if the other side wants a token.")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not (url.isascii() and url.isprintable()) or " " in url:
        raise UsageError(f"--webhook: {URL} is no http or https URL", "It is not shown here, for it is a secret.")
    if parts.username is not None:
        raise UsageError(f"--webhook: {URL} holds a user's name", f"A token is given by {TOKEN} alone.")
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(f"--webhook: {TOKEN} holds what no header can", "It is not shown here, for it is a secret.")
    if parts.scheme == "http" and token and not _is_here(parts):
        raise UsageError(
            f"--webhook: {URL} is http, where anyone on the way could read {TOKEN}", "Use https, or no token."
        )
    return Hook(url, token)


def _is_here(parts: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def payload(night: Night) -> dict[str, Any]:
    """Return what is posted: counts, exit code, headline, the summary as Markdown, and as `text` what Slack shows."""
    text = markdown(night)
    return {
        "schema": 1,
        "night": night.night,
        "began": night.began,
        "ended": night.ended,
        "exit_code": exit_code(night),
        "headline": headline_of(night),
        "counts": facts(night).counts,
        "text": _for_slack(text),
        "markdown": text,
    }


def _for_slack(text: str) -> str:
    """Slack's own escapes, without which `<!channel>` in a reason would call everybody; whole lines, as many as fit."""
    lines = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("**", "*").splitlines()
    kept, length = 0, 0
    while kept < len(lines) and (length := length + len(lines[kept]) + 1) <= _LONGEST:
        kept += 1
    left = [f"... and {len(lines) - kept} more lines"] if kept < len(lines) else []
    return "\n".join((*lines[:kept], *left))


def post(hook: Hook, night: Night, timeout_s: float = TIMEOUT_S) -> str | None:
    """Post a night; None where the other side took it, else what went wrong, without a secret in it. Never raises, never lasts.

    No redirect is followed: the token would go where nobody sent it, and a POST would become a GET.
    """
    said: list[str | None] = []
    body = json.dumps(payload(night), allow_nan=False).encode()
    # A thread, since no time-out of a socket bounds a name server, or an answer that comes letter by letter.
    thread = threading.Thread(target=lambda: said.append(_sent(hook, body, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    host = printable(urlsplit(hook.url).hostname or "")
    if not said:
        return f"{host} did not answer within {timeout_s:g} s"
    return said[0] and f"{host}: {said[0]}"


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows nothing: 3xx becomes an HTTPError."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return no request."""


def _sent(hook: Hook, body: bytes, timeout_s: float) -> str | None:
    headers = {"Content-Type": "application/json", "User-Agent": f"edge-harness/{__version__}"}
    if hook.token:
        headers["Authorization"] = f"Bearer {hook.token}"
    try:
        request = urllib.request.Request(hook.url, body, headers, method="POST")
        with urllib.request.build_opener(_Unmoved).open(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        return _refused(error)
    except (
        Exception
    ) as error:  # whatever it is, the night is over and counts; its words may quote the URL, its kind does not
        cause = getattr(error, "reason", error)
        told = getattr(cause, "strerror", None) or type(cause).__name__
        return f"cannot be reached: {printable(str(told))}"


def _refused(error: urllib.error.HTTPError) -> str:
    with error:
        if 300 <= error.code < 400:
            return f"answered {error.code}, a redirect, which is not followed: name the address itself in {URL}"
        return f"answered {error.code}"
