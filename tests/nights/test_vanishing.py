"""A board that goes away in mid-night, by a broken line or by silence, and is back on the next."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import pytest
from command import Cli
from lab import inventory as lab_inventory
from lab.sshd import Sshd, why_not
from test_night import PATIENCE_S, measured, title, until, write

from harness.store import nights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


@pytest.mark.parametrize("how", ["its line breaks", "it falls silent"])
def test_a_device_that_vanishes_in_mid_night_leaves_missing_rows_and_the_other_its_night(
    cli: Cli, sshd: Sshd, how: str
) -> None:
    board = lab_inventory.entry("board", sshd, "host", cli.folder / "there")
    board += f"    runtimes: [empty]\n    patience_s: 2\n    python: {sys.executable}\n"
    write(cli, devices=board, rows="[board, local]", methods="[order, random]")
    process = cli.start("nightly", "--json")
    until(lambda: len(mine := [run for run in cli.runs if run.parent.name == "board"]) == 2 and measured(mine[-1]))
    with ExitStack() as away:
        if how == "it falls silent":
            away.enter_context(sshd.frozen())
        else:
            sshd.stop()
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Traceback" not in err, err
    night = json.loads(out)
    found = {f"{each['row']['device']} {title(each['row'])}": each for each in night["rows"]}
    names = ("canary", "tiny order", "tiny random")
    assert [found[f"board {name}"]["outcome"] for name in names] == ["measured", "missing", "unreachable"]
    assert found["board tiny order"]["reason"].startswith("the device vanished: ")
    assert all(each["outcome"] == "measured" for name, each in found.items() if name.startswith("local"))
    assert night["ended"] and night["counts"]["missing"] == 2

    sshd.restart()
    until(lambda: len(list(cli.folder.glob("there/jobs/*/reply.json"))) == 2)  # what was begun there ends by itself
    done = cli("nightly", "--json", "--device", "board")
    assert done.code == 0 and {each["outcome"] for each in done.json["rows"]} == {"measured"}, done.err
    assert len(nights.nights(cli.folder / "results")) == 2
