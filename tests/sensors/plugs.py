"""Meters on this machine: real HTTP servers that answer as meters do, well or badly."""

from __future__ import annotations

import hashlib
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

DATA = Path(__file__).resolve().parents[1] / "data" / "sensors"
Reply = tuple[int, bytes, dict[str, str]]


def ok(body: str | bytes) -> Reply:
    return 200, body.encode() if isinstance(body, str) else body, {"Content-Type": "application/json"}


def recorded(name: str) -> str:
    return (DATA / name).read_text()


class Meter:
    """A meter: `answers` by path with query, a reply or what makes one of the request's headers; all else is 404."""

    def __init__(self, answers: dict[str, Any], drip_s: float = 0.0, wait_s: float = 0.0) -> None:
        self.answers, self.drip_s, self.wait_s = answers, drip_s, wait_s
        self.asked: list[str] = []
        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Go off the network."""
        if not self.over.is_set():
            self.over.set()
            self.server.shutdown()
            self.server.server_close()

    def reply(self, path: str, headers: Any) -> Reply:
        self.asked.append(path)
        answer = self.answers.get(path, (404, b"no handler", {}))
        return answer(headers) if callable(answer) else ok(answer) if isinstance(answer, str) else answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        meter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body, headers = meter.reply(self.path, self.headers)
                meter.over.wait(meter.wait_s)
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    meter.send(self.wfile, body)
                except OSError:
                    pass  # whoever asked is gone

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def send(self, file: Any, body: bytes) -> None:
        for byte in [body[at : at + 1] for at in range(len(body))] if self.drip_s else [body]:
            file.write(byte)
            if self.over.wait(self.drip_s) and self.drip_s:
                return


def digest(password: str, path: str, body: str, nonces: list[str]) -> Callable[[Any], Reply]:
    """A reply that wants RFC 7616's SHA-256 digest with the first of `nonces`, as Shelly's second generation does."""
    realm = "shellyplusplugs-a0"

    def hashed(*words: str) -> str:
        return hashlib.sha256(":".join(words).encode()).hexdigest()

    def reply(headers: Any) -> Reply:
        wanted = f'Digest qop="auth", realm="{realm}", nonce="{nonces[0]}", algorithm=SHA-256'
        scheme, _, rest = (headers["Authorization"] or "").partition(" ")
        told = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest)) if scheme == "Digest" else {}
        first, second = hashed("admin", realm, password), hashed("GET", path)
        right = [first, nonces[0], told.get("nc", ""), told.get("cnonce", ""), "auth", second]
        if told.get("response") == hashed(*right) and told["uri"] == path and told["username"] == "admin":
            return ok(body)
        return 401, b"", {"WWW-Authenticate": wanted}

    return reply


def until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
