"""A real Chromium without a window, Debian's: pages are opened as a reader opens them, from a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 120_000  # on a busy machine


@dataclass
class Opened:
    """An open page, what it said on its console, what it asked of the network."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def errors(self) -> list[str]:
        return [each for each in self.said if each.startswith(("error", "warning"))]

    def draw_all(self) -> None:
        """Come by every figure, as they are drawn when they are seen."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator("svg").first.wait_for()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser. As root it has no sandbox, which is for pages of strangers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, file: Path, **context: Any) -> Iterator[Opened]:
    """Open a file; whatever it says and asks is kept from its first moment on."""
    with_ = browser.new_context(viewport={"width": 1280, "height": 900}, **context)
    with_.set_default_timeout(PATIENCE_MS)
    found = Opened(with_.new_page())
    found.page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.goto(file.as_uri())
    try:
        yield found
    finally:
        with_.close()
