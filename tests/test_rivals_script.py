"""scripts/rivals.py: which sets are held against a plan, what a kept table is of, and what comes first in it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import example_findings
import example_run
import pytest
from command import Cli

from harness.errors import UsageError
from harness.records import Choice, Run
from harness.records.planned import FoldingPlan, Listing, Option, Planned, Prediction

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "rivals.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rivals_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def option(name: str, first: int, *layers: str, form: str = "plain") -> Option:
    return Option(name, form, first, first + 2, layers, (), (f"{name}.act",), 9, 9, 1, 1, "")  # type: ignore[arg-type]


BLOCKS = tuple(option(f"features.{n}", 2 * n, f"features.{n}.one", f"features.{n}.two") for n in range(11))
HALVES = option("half", 1, "features.0.two", "features.1.one")
LISTING = Listing("tiny", "tiny", (), (), (*BLOCKS, HALVES))


def planned(*front: Sequence[str], chosen: int | None = None) -> Planned:
    prediction = Prediction(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    plans = tuple(FoldingPlan(tuple(options), (), 1.0, prediction) for options in front)
    return Planned(1, "local", "", {}, LISTING, 1e6, None, (), (), plans, chosen, (), None, {})


# --- the sets --------------------------------------------------------------------------------------------------------


def test_a_rival_that_is_a_plan_in_another_order_shares_its_row(script: ModuleType) -> None:
    """The front is in layer order, rivals by name: features.10 before features.2. The run refuses a plan named twice."""
    everything = tuple(f"features.{n}" for n in range(11))
    sets = script.named(planned(everything, chosen=0), LISTING, ())
    (name,) = [name for name, options in sets.items() if options == everything]
    assert name.startswith("plan 1 = fold everything") and not any(each == "fold everything" for each in sets)
    assert len({frozenset(options) for options in sets.values()}) == len(sets)


def test_rivals_are_of_as_many_blocks_as_the_plan_that_is_meant_however_many_options_it_has(script: ModuleType) -> None:
    five = tuple(f"features.{n}" for n in (1, 3, 5, 7, 9))
    sets = script.named(planned(("half",), five, chosen=1), LISTING, ())
    assert {len(sets[name]) for name in sets if "random" in name} == {5} and len(sets["fold everything"]) == 11
    across = script.named(planned(("half",), five, chosen=0), LISTING, ())
    assert {len(across[name]) for name in across if "random" in name} == {2}  # one option, two blocks
    assert {len(options) for name, options in script.named(planned(), LISTING, ()).items() if "deepest" in name} == {1}


# --- what is kept ----------------------------------------------------------------------------------------------------


def said(script: ModuleType, *words: str) -> argparse.Namespace:
    return script._parser().parse_args(["--model", "tiny", *words])


def test_a_table_is_of_its_words_and_of_its_plans(script: ModuleType, tmp_path: Path) -> None:
    file, plan = tmp_path / "rivals.json", planned(("half",))
    now = script.asked(said(script), plan)
    file.write_text(json.dumps({"asked": now, "sets": {"plan 1": ["half"]}}))
    assert script.kept(file, now) == {"plan 1": ("half",)}
    assert script.kept(file, script.asked(said(script, "--task", "tiny"), plan))  # which it is by itself
    for words in (
        ("--epochs", "5"),
        ("--device", "pi5"),
        ("--task", "digits"),
        ("--budget", "9"),
        ("--widths", "0.5"),
        ("--without", "narrow"),
    ):
        with pytest.raises(UsageError, match=f"of other words: {words[0][2:]} changed"):
            script.kept(file, script.asked(said(script, *words), plan))
    with pytest.raises(UsageError, match="plans, meant changed"):
        script.kept(file, script.asked(said(script), planned(("features.1",))))
    two = planned(("half",), ("features.1",), chosen=0)
    file.write_text(json.dumps({"asked": script.asked(said(script), two), "sets": {}}))
    with pytest.raises(UsageError, match=": meant changed"):  # a target moved the star, by which rivals are as large
        script.kept(file, script.asked(said(script), replace(two, chosen=1)))
    for damaged in ("{", "[]"):
        file.write_text(damaged)
        with pytest.raises(UsageError, match="damaged"):
            script.kept(file, now)


def test_a_wrong_number_of_epochs_is_refused_before_anything_is_kept_under_it(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("0", "-1", "two"):
        with pytest.raises(SystemExit, match="2"):
            script.main(["--model", "tiny", "--epochs", word, "--out", str(tmp_path / "out")])
        assert f"{word}: must be a whole number from 1 on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plan_that_could_not_be_built_is_neither_trained_nor_what_rivals_are_as_large_as(script: ModuleType) -> None:
    both = planned(("features.1",), ("half",))
    lost = replace(both, front=(both.front[0], replace(both.front[1], failure="cannot be built: no")))
    sets = script.named(lost, LISTING, ())
    assert "plan 2" not in sets and any(name.startswith("plan 1") for name in sets)
    assert script.meant(lost) == ("features.1",) and script.asked(said(script), lost)["plans"] == [["features.1"]]


def test_a_file_of_an_earlier_program_is_of_other_words(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rivals.json"
    file.write_text(json.dumps({"plan 1": ["half"]}))
    with pytest.raises(UsageError, match="of other words"):
        script.kept(file, script.asked(said(script), planned(("half",))))


# --- the table -------------------------------------------------------------------------------------------------------


def ladder_of_plans(sets: dict[str, tuple[str, ...]]) -> Run:
    """The example's ladder as if each rung were a choice of options."""
    made = example_run.run(("planned",))
    chosen = ["", *("+".join(options) for options in sets.values())]
    ladder = made.ladders[0]
    rungs = [
        replace(rung, choice=Choice((name,), {}, None, None) if name else None)
        for rung, name in zip(ladder.rungs, chosen, strict=False)
    ]
    return replace(made, ladders=(replace(ladder, rungs=tuple(rungs)), *made.ladders[1:]))


def test_every_network_has_a_row_under_the_name_of_its_choice(script: ModuleType) -> None:
    sets = {"plan 1": ("a", "b"), "fold everything": ("a", "b", "c")}
    run = ladder_of_plans(sets)
    rows = script.entrants(run, sets)
    assert [each.name for each in rows][:4] == ["unfolded", "plan 1", "fold everything", "planned 3"]
    table = script.table(rows, run).splitlines()
    assert len(table) == 2 + len(rows) and table[0].startswith("| network | rung | removed | depth |")
    assert table[3].startswith("| plan 1 | 1 |") and "| faster |" in table[3] and "1.14 [1.12, 1.16]" in table[3]
    assert all(line.count("|") == 10 for line in table)


def test_a_width_that_wins_over_the_plans_comes_first(script: ModuleType) -> None:
    """And says nothing where plans were not what it wins over."""
    won = example_findings.with_control(0.999, 1.9, method="narrow")
    findings = example_findings.find(won)
    told = next(each for each in findings if each.kind == "control-wins" and each.severity == "warning")
    of_plans = replace(told, numbers={**told.numbers, "ladder": "planned"})
    assert script._wins(replace(won, findings=(of_plans,))) == [f"**{told.cause}** {told.advice}"]
    assert script._wins(replace(won, findings=(told,))) == script._wins(replace(won, findings=())) == []


def test_the_widths_on_either_side_of_the_fastest_plan_are_told(script: ModuleType) -> None:
    run = ladder_of_plans({"plan 1": ("a",), "plan 2": ("b",)})
    run = replace(run, ladders=tuple(replace(ladder, test_examples=360) for ladder in run.ladders))
    row = script.entrants(run, {})[1].row

    def entrant(name: str, ratio: float, method: str = "planned") -> object:
        return script.Entrant(
            name, replace(row, method=method, speedup=replace(row.speedup, ratio=ratio), accuracy=0.9)
        )

    plans = [entrant("plan 1", 1.1), entrant("plan 2", 1.2), entrant("random 1", 1.5)]
    widths = [entrant(f"w{ratio:g}", ratio, "narrow") for ratio in (2.0, 1.15, 1.3, 1.05)]
    (said,) = script.as_fast([*plans, *widths], run)
    assert said.startswith("Width at the latency of plan 2 (1.20x, 90.0 [")
    assert [word for word in said.split() if word.startswith("w")] == ["w1.15", "w1.3"]
    (nearest,) = script.as_fast([*plans, widths[0]], run)
    assert "w2 (2.00x" in nearest and " and " not in nearest
    assert script.as_fast(plans, run) == script.as_fast(widths, run) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_way_on_the_tiny_network(cli: Cli) -> None:
    done = cli("plan", "--device", "local", "--model", "tiny", "--forms", "plain,tail", "--budget", "40")
    assert done.code == 0, done.err
    words = ("--device", "local", "--model", "tiny", "--epochs", "1", "--budget", "20", "--out", "out")
    words += ("--widths", "0.5")  # of a network so small all come to one

    def carried(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *words, *more]
        return subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, text=True, check=False)

    first = carried()
    assert first.returncode == 0, first.stderr
    table = (cli.folder / "out" / "tiny" / "table.md").read_text()
    names = {line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()}
    assert {"unfolded", "tiny-pruned0.5", "tiny-shallow", "continue 1"} <= names
    assert "Verdict of the run: " in table.splitlines()[-1]
    assert (cli.folder / "out" / "tiny" / "accuracy.png").is_file()
    runs = list((cli.folder / "out" / "tiny").glob("*/*/run.json"))
    assert carried().returncode == 0 and list((cli.folder / "out" / "tiny").glob("*/*/run.json")) == runs
    other = carried("--epochs", "2")
    assert other.returncode == 2 and "epochs changed" in other.stderr and "--out" in other.stderr
