"""Pictures of pages for the docs, in Debian's Chromium: of the committed runs, and of the simulated year.

python scripts/screenshots.py        writes docs/figures/report-light.png, report-dark.png and nights.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]

import browser  # noqa: E402
import simulated_year  # noqa: E402

from harness import report  # noqa: E402
from harness.cli import look  # noqa: E402
from harness.nights import gallery  # noqa: E402

RUNS = "results/examples/methods/resnet18/*/local/*"
OUT = ROOT / "docs" / "figures"
_LAID = 600  # ms for what has been drawn to be laid out


def main() -> int:
    """Write all pictures. Returns 1 where there is no browser."""
    if browser.CHROMIUM is None:
        print("no chromium: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, browser.chromium() as chrome:
        runs = report.write_page([look.load(each) for each in sorted(ROOT.glob(RUNS))], Path(folder) / "runs.html")
        _picture(chrome, runs, "report-light", "light", "header")
        _picture(chrome, runs, "report-dark", "dark", "#figures")
        _picture(chrome, _year(Path(folder) / "year.html"), "nights", "light", "#figures")
    return 0


def _picture(chrome: Any, file: Path, name: str, scheme: str, begin: str) -> None:
    with browser.opened(chrome, file, color_scheme=scheme) as found:
        found.draw_all()
        found.page.locator(begin).evaluate("each => each.scrollIntoView()")
        found.page.wait_for_timeout(_LAID)
        found.page.screenshot(path=OUT / f"{name}.png")


def _year(out: Path) -> Path:
    lab = simulated_year.simulated(365, 0)
    nights = [simulated_year.one_night(lab, night) for night in range(8, 365)]
    return gallery.write(nights[-1], simulated_year.chronicles(lab, nights[-1]), out)


if __name__ == "__main__":
    sys.exit(main())
