"""Exit code 3 on nights that were measured: something did become slower, and the night says what and by how much.

The first night is measured, and the nights before it are made of it, each a little different, for a history takes weeks. What is
slower then is really slower, and those nights are measured, too. `paced` and `steady` are runtimes that take as long as a file
says: a library that became slower under the same version, which nothing here can see in a digest.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command import Cli, Done
from test_night import CHEAP

from harness import content, store
from harness.records import Estimate
from harness.store import nights

BEFORE = 12  # nights
NOISE = 0.04  # between nights: this machine has other users
TRIES = 4  # nights until it is told: of those that were contended nothing is

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own content: a model `mine` as light as tiny, and the two runtimes."""
    folder = tmp_path / "own"
    (folder / "models").mkdir(parents=True)
    (folder / "runtimes").mkdir()
    shutil.copy(content.ROOT / "models" / "_resnet.py", folder / "models")
    write_model(folder, "(8, 16)")
    for name in ("paced", "steady"):
        source = (content.ROOT / "devices" / "runtimes" / "empty.py").read_text()
        assert source.count('"""Do nothing, once."""') == source.count("self.threads = threads\n") == 1
        pace = folder / name
        pace.write_text("0.0005")
        source = source.replace("import platform\n", "import platform\nimport time\n")
        source = source.replace(
            "self.threads = threads\n",
            f'self.threads = threads\n        self.pace_s = float(Path("{pace}").read_text())\n',
        )
        wait = "until = time.perf_counter() + self.pace_s\n        while time.perf_counter() < until:\n            pass"
        (folder / "runtimes" / f"{name}.py").write_text(source.replace('"""Do nothing, once."""', wait))
    monkeypatch.setenv("HARNESS_CONTENT", str(folder))
    return folder


def write_model(own: Path, widths: str) -> None:
    tiny = (content.ROOT / "models" / "tiny.py").read_text()
    (own / "models" / "mine.py").write_text(tiny.replace("WIDTHS = (8, 16)", f"WIDTHS = {widths}"))


def write(cli: Cli, model: str, runtimes: str, canary: str, more: str = "") -> None:
    (cli.folder / "inventory.yaml").write_text(
        f"devices:\n  local: {{profile: host, runtimes: {runtimes}, workdir: {cli.folder / 'workdir'}}}\n"
        f"nightly:\n  canary: {{runtime: {canary}, words: {CHEAP}}}\n"
        f"  matrix: [{{devices: [local], models: [{model}], methods: [order], words: {CHEAP}}}]\n{more}"
    )


def nightly(cli: Cli) -> Done:
    return cli("nightly", "--json", "--markdown", "night.md", "--junit", "night.xml")


def with_a_history(cli: Cli) -> None:
    """Measure a night, and put nights like it before it."""
    done = nightly(cli)
    assert done.code == 0 and {row["outcome"] for row in done.json["rows"]} == {"measured"}, done.err
    results, draw = cli.folder / "results", random.Random(5)
    (first,) = nights.nights(results)
    for n in range(BEFORE, 0, -1):
        day = date.fromisoformat(first.began[:10]) - timedelta(days=n)
        rows = [replace(row, run=like(results, str(row.run), day, draw.gauss(1, NOISE))) for row in first.rows]
        made = {"night": f"{day}-{n:04x}", "began": f"{day}T02:00:00+00:00", "ended": f"{day}T02:10:00+00:00"}
        nights.save(results, replace(first, **made, rows=tuple(rows), number=0))


def like(results: Path, name: str, day: date, factor: float) -> str:
    """Store a run like another of another day, so many times slower; return its name."""
    run = store.load(results / "local" / name)
    cases = tuple(replace(case, latency_ns=scaled(case.latency_ns, factor)) for case in run.cases)
    named = {"run": f"{day:%Y%m%d}{name[8:]}", "created": f"{day}T02:00:00+00:00"}
    copy = replace(run, **named, cases=cases, verdict=None)  # nothing disturbed them
    store.create(results, copy)
    return copy.run


def scaled(of: Estimate | None, factor: float) -> Estimate:
    assert of is not None
    known = {name: getattr(of, name) for name in ("median", "low", "high", "p99")}
    return replace(of, **{name: value and value * factor for name, value in known.items()})


def until_told(cli: Cli, told: Callable[[Mapping[str, Any]], bool]) -> list[Done]:
    """Keep nights until one tells of it."""
    found = list[Done]()
    while len(found) < TRIES and not (found and told(found[-1].json)):
        found.append(nightly(cli))
        assert "Traceback" not in found[-1].err
    if not told(found[-1].json) and all(is_disturbed(night.json) for night in found):
        pytest.skip("this machine is too busy: every night was contended")
    return found


def is_disturbed(night: Mapping[str, Any]) -> bool:
    return any(row["state"] == "contended" for row in night["rows"])


def is_slower(night: Mapping[str, Any]) -> bool:
    return any(each["quantity"] == "latency" for each in night["changes"])


def require_told(cli: Cli, last: Done, model: str, at_least: float, at_most: float) -> None:
    """The night ends with 3, and every way of telling it says what, and by how much."""
    assert last.code == last.json["exit_code"] == 3, last.err
    worse = [each for each in last.json["changes"] if each["direction"] == "worse" and each["quantity"] == "latency"]
    assert {(each["row"]["model"], each["row"]["canary"]) for each in worse} == {(model, False)}
    for each in worse:
        assert at_least < each["low"] < each["ratio"] < each["high"] < at_most
        assert each["after"] / each["before"] == pytest.approx(each["ratio"])
    text = (cli.folder / "night.md").read_text()
    percent = f"{100 * (worse[0]['ratio'] - 1):+.1f} %"
    assert text.startswith("**Get up: ") and "on `local`" in text.split("\n")[0]
    assert percent in text.partition("## Regressions")[2].partition("\n## ")[0]
    failures = list(ElementTree.parse(cli.folder / "night.xml").iter("failure"))
    assert len(failures) == 1 and percent in ElementTree.tostring(failures[0], encoding="unicode")
    assert not last.json["blamed"] and not list(ElementTree.parse(cli.folder / "night.xml").iter("error"))


def test_a_library_that_became_slower_ends_the_night_with_3_while_the_canary_stays(cli: Cli, own: Path) -> None:
    write(cli, "mine", "[paced, steady]", "steady", "  max_age_days: 0\n")
    with_a_history(cli)
    (own / "paced").write_text("0.0007")
    found = until_told(cli, is_slower)
    assert all(night.code == 0 for night in found[:-1])
    require_told(cli, found[-1], "mine", 1.2, 1.7)
