"""Pictures of the page of `harness report` for the docs, of the committed runs in Debian's Chromium.

python scripts/screenshots.py        writes docs/figures/report-light.png and report-dark.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import browser  # noqa: E402

from harness import report  # noqa: E402
from harness.cli import look  # noqa: E402

RUNS = "results/examples/methods/resnet18/*/local/*"
OUT = ROOT / "docs" / "figures"
_LAID = 600  # ms for what has been drawn to be laid out


def main() -> int:
    """Write both pictures. Returns 1 where there is no browser."""
    if browser.CHROMIUM is None:
        print("no chromium: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, browser.chromium() as chrome:
        file = report.write_page([look.load(each) for each in sorted(ROOT.glob(RUNS))], Path(folder) / "page.html")
        for scheme, begin in (("light", "header"), ("dark", "#figures")):
            with browser.opened(chrome, file, color_scheme=scheme) as found:
                found.draw_all()
                found.page.locator(begin).evaluate("each => each.scrollIntoView()")
                found.page.wait_for_timeout(_LAID)
                found.page.screenshot(path=OUT / f"report-{scheme}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
