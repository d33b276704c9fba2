from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from made_nights import came, eventful, night, row

from harness.errors import UsageError
from harness.nights import webhook
from harness.nights.facts import exit_code

TOKEN = "s3cr3t-token"


@dataclass
class Seen:
    """What a server was sent."""

    address: str
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[Seen]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.requests.append((self.command, self.path, dict(self.headers), body))
            answer(self)

        do_POST = do_GET = _any

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        http_server.daemon_threads = True
        seen = Seen(f"http://127.0.0.1:{http_server.server_port}")
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield seen
        finally:
            http_server.shutdown()
            thread.join()


def status(code: int, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def hook(address: str, token: str | None = TOKEN) -> webhook.Hook:
    return webhook.configured({webhook.URL: f"{address}/hooks/T000/B000", **({webhook.TOKEN: token} if token else {})})


def test_a_night_arrives_with_its_counts_its_text_and_the_token() -> None:
    with server(status(200)) as seen:
        assert webhook.post(hook(seen.address), eventful()) is None
    ((method, path, headers, body),) = seen.requests
    told = json.loads(body)
    assert (method, path) == ("POST", "/hooks/T000/B000")
    assert headers["Authorization"] == f"Bearer {TOKEN}" and headers["Content-Type"] == "application/json"
    assert told["counts"]["regressions"] == 2 and told["counts"]["missing"] == 2 and told["exit_code"] == 3
    assert told["markdown"].startswith(f"**{told['headline']}**") and told["text"].startswith("*Get up:")


def test_without_a_token_none_is_sent() -> None:
    with server(status(204)) as seen:
        assert webhook.post(hook(seen.address, None), night()) is None
    assert "Authorization" not in seen.requests[0][2]


@pytest.mark.parametrize("code", [400, 401, 404, 500, 503])
def test_a_refusal_is_told_and_changes_no_exit_code(code: int) -> None:
    with server(status(code)) as seen:
        assert webhook.post(hook(seen.address), night()) == f"127.0.0.1: answered {code}"
    assert exit_code(night()) == 0


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_that_the_token_goes_nowhere_else(code: int) -> None:
    with server(status(200)) as elsewhere, server(status(code, Location=f"{elsewhere.address}/stolen")) as seen:
        said = webhook.post(hook(seen.address), night())
    assert said is not None and f"answered {code}, a redirect, which is not followed" in said
    assert len(seen.requests) == 1 and not elsewhere.requests


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        said = webhook.post(hook(f"http://127.0.0.1:{silent.getsockname()[1]}"), night(), timeout_s=0.3)
        assert time.monotonic() - began < 5
    assert said is not None and "127.0.0.1" in said and ("did not answer" in said or "cannot be reached" in said)


def test_a_server_that_answers_letter_by_letter_is_given_up_in_time() -> None:
    stop = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"a")
            handler.wfile.flush()

    with server(drip) as seen:
        began = time.monotonic()
        said = webhook.post(hook(seen.address), night(), timeout_s=0.4)
        waited = time.monotonic() - began
        stop.set()
    assert said == "127.0.0.1 did not answer within 0.4 s" and waited < 5


def ssh(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_nobody_listening_and_an_answer_that_is_no_http_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert webhook.post(hook(address), night()) == "127.0.0.1: cannot be reached: Connection refused"
    with server(ssh) as seen:
        assert webhook.post(hook(seen.address), night()) == "127.0.0.1: cannot be reached: BadStatusLine"


@pytest.mark.parametrize(
    ("url", "token", "why"),
    [
        ("", "", "is not set"),
        ("file:///etc/passwd", "", "no http or https URL"),
        ("https://", "", "no http or https URL"),
        ("https://host:port-s3cr3t/", "", "no http or https URL"),
        ("https://[s3cr3t/", "", "no http or https URL"),
        ("https://host/a b-s3cr3t", "", "no http or https URL"),
        ("https://host/ü-s3cr3t", "", "no http or https URL"),
        ("https://me:s3cr3t@host/", "", "a user's name"),
        ("https://host/", "s3cr3t\r\nX-Other: 1", "no header can"),
        ("http://example.org/s3cr3t", TOKEN, "anyone on the way"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_night_begins_and_not_quoted(url: str, token: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        webhook.configured({webhook.URL: url, webhook.TOKEN: token})
    assert "s3cr3t" not in str(caught.value)


def test_no_secret_stands_in_what_is_told_or_in_a_repr() -> None:
    with server(status(500)) as seen:
        there = hook(seen.address)
        said = webhook.post(there, night())
    assert TOKEN not in repr(there) and "T000" not in repr(there)
    assert said is not None and TOKEN not in said and "T000" not in said


def test_a_reason_calls_nobody_on_slack_and_a_long_night_fits() -> None:
    one = webhook.payload(night(came(row(), "failed", reason="<!channel> & <http://x|y>")))
    assert (
        "<!channel>" not in one["text"] and "&lt;!channel&gt; &amp;" in one["text"] and "<!channel>" in one["markdown"]
    )
    many = webhook.payload(night(*(came(row(model=f"m{n}"), "failed", reason="x" * 200) for n in range(400))))
    assert len(many["text"]) < 31_000 and many["text"].splitlines()[-1].endswith("more lines")
    assert len(many["markdown"].splitlines()) > 400
