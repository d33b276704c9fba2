"""Nights with a real network, real agents and the runtime that does nothing: what is measured, what is not, and what survives."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import made_nights
import pytest
from command import Cli, Done
from lab.sshd import new_key

from harness import inventory, store
from harness.nights import identity, matrix
from harness.records.nights import RowOutcome
from harness.store import nights

CHEAP = "{rungs: 1, budget: 2, controls: false, energy: none}"
PATIENCE_S = 240.0

pytestmark = pytest.mark.timeout(900)


def write(
    cli: Cli, devices: str = "", rows: str = "[local]", methods: str = "[order]", words: str = CHEAP, more: str = ""
) -> None:
    """An inventory with this machine, further devices, and one block of rows."""
    (cli.folder / "inventory.yaml").write_text(
        f"devices:\n  local: {{profile: host, runtimes: [empty], workdir: {cli.folder / 'workdir'}}}\n{devices}"
        f"nightly:\n  canary: {{words: {CHEAP}}}\n"
        f"  matrix: [{{devices: {rows}, models: [tiny], methods: {methods}, words: {words}}}]\n{more}"
    )


def rows(done: Done) -> dict[str, str]:
    """What came of each row of a night, by device and title, in the order in which it came."""
    return {f"{each['row']['device']} {title(each['row'])}": each["outcome"] for each in done.json["rows"]}


def title(row: dict[str, Any]) -> str:
    return "canary" if row["canary"] else f"{row['model']} {row['method']}"


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def measured(folder: Path) -> bool:
    return store.journal_bytes(folder, "empty").count(b"process") > 2


# --- before anything starts --------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_matrix_with_reasons_and_writes_nothing(cli: Cli) -> None:
    write(
        cli,
        methods="[order, random]",
        more="  exclude: [{methods: [random], reason: it is of no use}]\n  budget_s: 60\n",
    )
    done = cli("nightly", "--dry-run")
    assert done.code == 0 and done.out.splitlines() == [
        "local: 2 due (2 never timed), of 60 s, 1 excluded",
        "  due    tiny order empty fp32 canary        ?  the canary: every night",
        "  due    tiny order empty fp32               ?  never measured",
        "  excl.  tiny random empty fp32                 it is of no use",
    ]
    found = cli("nightly", "--dry-run", "--json").json
    assert found["devices"] == [
        {
            "device": "local",
            "due": 2,
            "fresh": 0,
            "excluded": 1,
            "expected_s": 0,
            "unknown": 2,
            "budget_s": 60.0,
            "fits": None,
        }
    ]
    assert [(row["title"], row["due"]) for row in found["rows"]][1] == ("tiny order empty fp32", "due")
    assert not (cli.folder / "results").exists()


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("[tiny]", "[tinny]", 'inventory.yaml:5: nightly.matrix.0.models.0: no model "tinny"\nDid you mean "tiny"?'),
        ("[order]", "[ordr]", 'inventory.yaml:5: nightly.matrix.0.methods.0: no method "ordr"'),
        ("[local]", "[locale]", 'inventory.yaml:5: nightly.matrix.0.devices.0: no device "locale"'),
        ("rungs: 1", "rungz: 1", 'no key "rungz"\nDid you mean "rungs"?'),
        (
            "[tiny]",
            "[tiny], precisions: [int4]",
            "inventory.yaml:5: nightly.matrix.0: tiny order empty int4 on local: no",
        ),
    ],
)
def test_a_matrix_with_unknown_names_is_refused_with_its_line_and_nothing_starts(
    cli: Cli, old: str, new: str, said: str
) -> None:
    write(cli)
    file = cli.folder / "inventory.yaml"
    file.write_text(file.read_text().replace(old, new, 2))
    done = cli("nightly")
    assert done.code == 2 and said in done.err, done.err
    assert not (cli.folder / "results").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (("--device", "nobody"), 'no device "nobody"'),
        (("--device", "other"), "no row of the matrix is on other"),
        (("--junit", "no/night.xml"), "there is no folder no"),
        (("--page", "night.pdf"), "must end in .html"),
        (("--junit", "."), "is a folder"),
        (("--markdown", "-"), "is no file's name"),
        (("--markdown", "night", "--junit", "./night"), "--junit names this file, too"),
        (("--webhook",), "HARNESS_WEBHOOK_URL is not set"),
        (("--dry-run", "--webhook"), "--webhook cannot be said beside --dry-run"),
    ],
)
def test_words_that_cannot_be_are_refused_before_anything_starts(cli: Cli, words: tuple[str, ...], said: str) -> None:
    write(cli, devices="  other: {profile: host}\n")
    done = cli("nightly", *words)
    assert done.code == 2 and said in done.err, done.err
    assert not (cli.folder / "results").exists()


def test_a_locale_without_arrows_has_question_marks_and_keeps_the_exit_code() -> None:
    told = (
        "import made_nights\n"
        "from harness.cli import guard, nightly\n"
        "guard.guarded(lambda: nightly._tell(made_nights.eventful(), None, None, None, False))()\n"
    )
    paths = os.pathsep.join(filter(None, (str(Path(made_nights.__file__).parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=False)
    assert "12.1 ? 13.4 ms" in done.stdout and "UnicodeEncodeError" not in done.stderr


WITHOUT_DATA = (
    "include: [{{device: local, model: tiny, method: easier, words: {{task: cifar10, data: {}}}, reason: x}}]\n"
)


@pytest.mark.slow
def test_a_dry_run_says_which_rows_will_fail_for_want_of_data(cli: Cli) -> None:
    write(cli, more="  " + WITHOUT_DATA.format(cli.folder))
    done = cli("nightly", "--dry-run", "--json")
    assert done.code == 1, done.err
    reasons = {each["method"]: each["reason"] for each in done.json["rows"] if not each["canary"]}
    assert reasons["order"] == "never measured"
    assert reasons["easier"].startswith("will fail: ") and str(cli.folder) in reasons["easier"]
    assert "--data DIR" in reasons["easier"]
    assert not (cli.folder / "results").exists()


def test_a_folder_of_data_that_is_not_there_is_a_mistake_of_the_matrix(cli: Cli) -> None:
    write(cli, more="  " + WITHOUT_DATA.format(cli.folder / "no"))
    done = cli("nightly")
    assert done.code == 2 and "inventory.yaml:6: nightly.include.0: tiny easier empty fp32 on local: --data" in done.err
    assert not (cli.folder / "results").exists()


@pytest.mark.parametrize("out, code, said", [("pipe", 3, ""), ("/dev/full", 3, "standard output: cannot be written")])
def test_whoever_does_not_read_the_summary_to_its_end_keeps_files_and_the_exit_code(
    tmp_path: Path, out: str, code: int, said: str
) -> None:
    """What is told of a night whose standard output is closed, or full."""
    told = (
        "import made_nights, typer\n"
        "from pathlib import Path\n"
        "from harness.cli import nightly\n"
        "try:\n"
        "    nightly._tell(made_nights.eventful(), Path('m.md'), Path('j.xml'), None, False)\n"
        "except typer.Exit as end:\n"
        "    raise SystemExit(end.exit_code)\n"
    )
    read, write = os.pipe() if out == "pipe" else (None, os.open(out, os.O_WRONLY))
    if read is not None:
        os.close(read)
    paths = os.pathsep.join(filter(None, (str(Path(made_nights.__file__).parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", told],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "m.md").read_text().startswith("**Get up") and (tmp_path / "j.xml").exists()


# --- nights ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_second_night_measures_nothing_but_the_canary(cli: Cli) -> None:
    write(cli)
    done = cli("nightly", "--json", "--markdown", "night.md", "--junit", "night.xml", "--page", "night.html")
    assert done.code == 0, done.err
    assert rows(done) == {"local canary": "measured", "local tiny order": "measured"}
    assert done.json["counts"]["new"] == 2 and done.json["ended"] and len(cli.runs) == 2
    assert (cli.folder / "night.md").read_text().startswith("**") and (cli.folder / "night.xml").exists()
    assert "order 1" in (cli.folder / "night.html").read_text()

    made_nights.calm(cli.folder / "results")
    second = cli("nightly", "--json")
    assert second.code == 0, second.err
    assert rows(second) == {"local canary": "measured", "local tiny order": "fresh"}
    assert len(cli.runs) == 3 and second.json["counts"]["fresh"] == 1
    (fresh,) = [each["run"] for each in second.json["rows"] if each["outcome"] == "fresh"]
    assert fresh in {each["run"] for each in done.json["rows"]}
    (expected,) = cli("nightly", "--dry-run", "--json").json["devices"]
    assert expected["due"] == 1 and expected["expected_s"] > 1 and expected["fits"]


@pytest.mark.slow
def test_rows_without_their_data_fail_before_any_device_is_asked_and_the_others_are_measured(cli: Cli) -> None:
    write(cli, more="  " + WITHOUT_DATA.format(cli.folder))
    done = cli("nightly", "--json")
    assert done.code == 1, done.err
    first = done.json["rows"][0]
    assert (first["row"]["method"], first["outcome"], first["seconds"]) == ("easier", "failed", None)
    assert "--data DIR" in first["reason"]
    assert rows(done) == {"local tiny easier": "failed", "local canary": "measured", "local tiny order": "measured"}


@pytest.mark.slow
def test_a_device_that_was_upgraded_makes_its_rows_due_with_an_annotation(cli: Cli) -> None:
    write(cli)
    assert cli("nightly").code == 0
    (file,) = (cli.folder / "results" / "nights").glob("*.json")
    night = json.loads(file.read_text())
    now = night["rows"][0]["there"]["kernel"]
    for row in night["rows"]:
        row["there"]["kernel"] = "5.15"  # as an older night would have it
    file.write_text(json.dumps(night))
    done = cli("nightly", "--json")
    assert set(rows(done).values()) == {"measured"}, done.err
    assert done.json["annotations"] == {"local": [f"kernel 5.15 -> {now}"]}


@pytest.mark.slow
def test_a_device_that_cannot_be_reached_is_skipped_and_reported_and_the_others_are_measured(cli: Cli) -> None:
    write(cli, devices=away(cli), rows="[away, local]")
    done = cli("nightly", "--json")
    assert done.code == 1, done.err
    found = rows(done)
    assert {name: outcome for name, outcome in found.items() if name.startswith("away")} == dict.fromkeys(
        ("away canary", "away tiny order"), "unreachable"
    )
    assert all(outcome == "measured" for name, outcome in found.items() if name.startswith("local"))
    assert "127.0.0.1" in next(each["reason"] for each in done.json["rows"] if each["row"]["device"] == "away")
    assert done.json["counts"]["missing"] == 2


def away(cli: Cli) -> str:
    """A device at a port on which nobody listens."""
    new_key(cli.folder / "key")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"  away: {{profile: host, runtimes: [empty], host: 127.0.0.1, port: {port}, key: {cli.folder / 'key'}}}\n"


@pytest.mark.slow
def test_what_was_fresh_on_a_device_that_cannot_be_reached_is_not_missed(cli: Cli) -> None:
    write(cli, devices=away(cli), rows="[away]")
    devices, found = inventory.nightly(cli.folder / "inventory.yaml")
    (row,) = [each for each in matrix.lay(found, devices) if not each.row.canary]
    assert row.plan is not None
    results, run = cli.folder / "results", "20261101T000000Z-0a0a"
    came = RowOutcome(row.row, "measured", run=run, here=identity.here(row.plan, row.device))
    nights.save(results, made_nights.night(came, night="2026-11-01-0000", began="2026-11-01T00:00:00+00:00"))
    (results / "away" / run).mkdir(parents=True)
    (results / "away" / run / "run.json").touch()
    done = cli("nightly", "--json")
    assert done.code == 1 and rows(done) == {"away canary": "unreachable", "away tiny order": "fresh"}, done.err
    assert done.json["counts"]["missing"] == 1


@pytest.mark.slow
def test_a_row_that_fails_ends_nothing_and_is_tried_again_every_night(cli: Cli) -> None:
    more = "  include: [{device: local, model: tiny, method: order, words: {order: no.such}, priority: 9, reason: x}]\n"
    write(cli, more=more)
    done = cli("nightly", "--json")
    assert done.code == 1, done.err
    assert [each["outcome"] for each in done.json["rows"]] == ["measured", "failed", "measured"]
    assert done.json["counts"]["newly_failing"] == 1
    again = cli("nightly", "--json")
    assert again.code == 1 and again.json["counts"]["still_failing"] == 1
    reasons = [each["reason"] for each in again.json["rows"] if each["outcome"] == "failed"]
    assert "no eligible activation" in reasons[0]


@pytest.mark.slow
def test_a_short_night_does_the_most_important_rows_first_and_says_what_it_left(cli: Cli) -> None:
    more = "  budget_s: 0.1\n  overrides: [{methods: [random], priority: 3}]\n"
    write(cli, methods="[order, random]", more=more)
    done = cli("nightly", "--json")
    assert done.code == 0, done.err
    assert rows(done) == {
        "local canary": "measured",
        "local tiny random": "measured",
        "local tiny order": "out-of-time",
    }
    made_nights.calm(cli.folder / "results")
    second = cli("nightly", "--json")
    assert rows(second)["local tiny order"] == "measured" and rows(second)["local tiny random"] == "fresh"


# --- what may happen in a night ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_nightly_is_refused_while_the_first_is_at_work(cli: Cli) -> None:
    write(cli)
    first = cli.start("nightly")
    until(lambda: list(cli.folder.glob("results/nights/*.json")))
    second = cli("nightly")
    assert (
        second.code == 1
        and f"another harness nightly is at work there (process {first.pid} of {platform.node()})" in second.err
    )
    first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("rows_done", [0, 1])
def test_a_night_that_is_killed_goes_on_with_what_is_missing_and_finishes_the_cut_run(cli: Cli, rows_done: int) -> None:
    write(cli)
    process = cli.start("nightly")
    until(lambda: len(cli.runs) == rows_done + 1 and measured(cli.runs[-1]))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    before = nights.nights(cli.folder / "results")[0]
    assert before.ended is None and len(before.rows) == rows_done
    cut = cli.runs[-1]
    done = cli("nightly", "--json")
    assert done.code == 0, done.err
    assert done.json["night"] == before.night and set(rows(done).values()) == {"measured"}
    assert len(cli.runs) == 2 and cut.name in {each["run"] for each in done.json["rows"]}
    assert {store.load(folder).status for folder in cli.runs} == {"done"}
    assert len({store.load(folder).session for folder in cli.runs}) == 1


@pytest.mark.slow
def test_an_interrupted_night_says_how_to_go_on_and_goes_on(cli: Cli) -> None:
    write(cli)
    process = cli.start("nightly")
    until(lambda: len(cli.runs) == 2 and measured(cli.runs[-1]))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "the next harness nightly goes on with this night" in err, err
    assert "Traceback" not in err
    done = cli("nightly", "--json")
    assert done.code == 0 and set(rows(done).values()) == {"measured"} and len(cli.runs) == 2, done.err
