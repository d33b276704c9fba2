"""A plan against what anybody could have chosen without measuring: trained alike, measured in one run, in one table.

python scripts/rivals.py --device local --model resnet18 --epochs 2
python scripts/rivals.py --device local --model tiny --epochs 1 --budget 20 --out DIR

    OUT/<model>/rivals.json                  what was asked, which option sets that means, and what they are called
    OUT/<model>/<device>/<run>/              the run, as `harness run` keeps it
    OUT/<model>/table.md, accuracy.png       every network: accuracy, latency, what removed; width first where width wins

`harness plan` must have been there before: its front is the first part of the ladder. The others: fold everything, MACs
greedy, deepest first, EASIER's order (of a ladder of its own), five at random, every other residual block dropped, the model's
shallower network from the start, the full network at several widths, and the full network trained on (`continue`). All are
fine-tuned for so many epochs. The same command goes on where it was cut off; other words, and another plan, need another OUT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import content, processes, report, stats, store
from harness import plan as planning
from harness.child import Progress
from harness.cli import look
from harness.compress import client
from harness.errors import HarnessError, UsageError
from harness.inventory import locate
from harness.planner import rivals, stored
from harness.records import LadderRequest, Run, Summary
from harness.records.planned import FoldingPlan, Planned
from harness.report import rows
from harness.report.text import digits, with_interval

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "examples" / "planned"
WIDTHS = (0.9375, 0.875, 0.8125, 0.75, 0.5)
METHODS = ("planned", "shallow", "narrow", "continue")
_ELSEWHERE = "Give another folder with --out."


@dataclass(frozen=True)
class Entrant:
    """A network of the table: what it is called, and its row of the run."""

    name: str
    row: Summary


def main(words: Sequence[str] | None = None) -> int:
    """Do what was asked. Returns 1 when the run could not be finished, 2 for a wrong word."""
    said = _parser().parse_args(words)
    folder = said.out / said.model
    try:
        sets = _sets(said, folder)
        run = _bring(said, sets, folder)
        write(folder, run, sets)
    except HarnessError as error:
        print(f"{said.model}: {error.message} {error.hint}".strip(), file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--device", default="local", metavar="NAME")
    made.add_argument("--model", default="resnet18", metavar="M")
    made.add_argument("--task", metavar="T")
    made.add_argument("--results", type=Path, default=Path("results"), help="where `harness plan` kept its plan")
    made.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    made.add_argument("--epochs", type=_positive, default=2, help="that each network is fine-tuned", metavar="N")
    made.add_argument("--budget", type=float, default=600.0, help="of measuring, s", metavar="S")
    shares = {"type": float, "nargs": "+", "default": list(WIDTHS), "metavar": "W"}
    made.add_argument(
        "--widths", help="shares of the channels to keep; a ladder ends where two come to one network", **shares
    )
    made.add_argument("--without", choices=METHODS[1:], nargs="*", default=[], help="what to leave out", metavar="X")
    return made


def _positive(word: str) -> int:
    """A number of epochs: a wrong one would be found out by the run alone, when the option sets are kept under it."""
    if not word.isdigit() or not int(word):
        raise argparse.ArgumentTypeError(f"{word}: must be a whole number from 1 on")
    return int(word)


# --- what is held against what --------------------------------------------------------------------------------------


def _sets(said: argparse.Namespace, folder: Path) -> dict[str, tuple[str, ...]]:
    """The option sets by name, which stay as they were for the same words and plan. Raises HarnessError."""
    file, planned = folder / "rivals.json", _plan(said)
    now = asked(said, planned)
    if file.is_file():
        return kept(file, now)
    sets = named(planned, _listing(said), _easier(said))
    store.write(file, (json.dumps({"asked": now, "sets": sets}, indent=1) + "\n").encode(), _ELSEWHERE)
    return sets


def asked(said: argparse.Namespace, planned: Planned) -> dict[str, Any]:
    """All that a table depends on: words, and the plans of the front."""
    told = {name: getattr(said, name) for name in ("device", "model", "epochs", "budget", "widths", "without")}
    plans = [list(plan.options) for plan in built(planned)]
    return {**told, "task": _task(said), "plans": plans, "meant": list(meant(planned))}


def built(planned: Planned) -> list[FoldingPlan]:
    """The plans of the front, but for those that could not be built or measured."""
    return [plan for plan in planned.front if plan.failure is None]


def meant(planned: Planned) -> tuple[str, ...]:
    """The options of the starred plan, of the dearest where none has the star."""
    if planned.chosen is not None:
        return planned.front[planned.chosen].options
    return built(planned)[-1].options if built(planned) else ()


def kept(file: Path, now: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The option sets that were kept for the same words and plans. Raises UsageError where something changed."""
    try:
        tree = json.loads(file.read_text())
        before = tree.get("asked", {})
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{file}: damaged: {error}", _ELSEWHERE) from None
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise UsageError(f"{file}: the table there is of other words: {', '.join(changed)} changed.", _ELSEWHERE)
    return {name: tuple(options) for name, options in tree["sets"].items()}


def named(planned: Planned, listing: rivals.Listing, order: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The option sets by name: the front first, then the rivals, of as many blocks as the meant plan. Equal ones share a name."""
    front = {f"plan {n + 1}": each.options for n, each in enumerate(planned.front) if each in built(planned)}
    others = rivals.rivals(listing, max(1, rivals.touched(listing, meant(planned))), order)
    alike: dict[frozenset[str], list[str]] = {}  # in any order a plan is the same
    for name, options in (*front.items(), *others.items()):
        alike.setdefault(frozenset(options), []).append(name)
    sets = {frozenset(options): options for options in (*others.values(), *front.values())}
    return {" = ".join(names): sets[options] for options, names in alike.items()}


def _plan(said: argparse.Namespace) -> Planned:
    """What `harness plan` kept of this device and model. Raises UsageError."""
    words = planning.Words(said.device, model=said.model, task=said.task, method="planned")
    ((device, plan),) = planning.make(words, locate(None))
    found = stored.newest(device.name, plan, plan.ladders[0], said.results)
    if found is None:
        stored.of_device(device, plan, said.results)  # says which command makes one
        raise UsageError(f"there is no plan of {said.model} on {said.device}")
    return found


def _listing(said: argparse.Namespace) -> rivals.Listing:
    return client.options(rivals.request(said.model, _task(said)), _tell)


def _easier(said: argparse.Namespace) -> tuple[str, ...]:
    """The order in which EASIER takes activations out, of its own ladder."""
    ladder = client.climb(LadderRequest("easier", said.model, _task(said)), _tell)
    return ladder.rungs[-1].removed_names


def _task(said: argparse.Namespace) -> str:
    return str(said.task or content.constant("model", said.model, "TASK"))


# --- the run ---------------------------------------------------------------------------------------------------------


def _bring(said: argparse.Namespace, sets: Mapping[str, tuple[str, ...]], folder: Path) -> Run:
    """Start the run, or go on with it, unless it is done. Raises HarnessError where it did not come to its end."""
    known = [*store.folders(folder)]
    if not known or store.load(known[-1]).status != "done":
        words = ["--resume", store.load(known[-1]).run] if known else _words(said, sets)
        command = [sys.executable, "-m", "harness", "run", *words, "--results", str(folder)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, preexec_fn=processes.die_with_parent)
        known = [*store.folders(folder)]
    if not known or store.load(known[-1]).status != "done":
        raise HarnessError("the run did not come to its end", "The same command goes on.")
    return look.load(known[-1])


def _words(said: argparse.Namespace, sets: Mapping[str, tuple[str, ...]]) -> list[str]:
    methods = [name for name in METHODS if name not in said.without]
    recipes = [f"planned.plans={','.join('+'.join(options) for options in sets.values())}"]
    recipes += [f"narrow.widths={','.join(map(str, said.widths))}"] if "narrow" in methods else []
    values = {"--device": said.device, "--model": said.model, "--task": said.task, "--method": ",".join(methods)}
    values |= {"--step": 1000, "--budget-epochs": said.epochs, "--budget": f"{said.budget:.0f}", "--energy": "none"}
    words = [word for flag, value in values.items() if value is not None for word in (flag, str(value))]
    return [*words, "--no-controls", *(word for each in recipes for word in ("--recipe", each))]


# --- the table -------------------------------------------------------------------------------------------------------


def write(folder: Path, run: Run, sets: Mapping[str, tuple[str, ...]]) -> None:
    """Write the table and the figure. Raises StoreError."""
    found = entrants(run, sets)
    report.draw_accuracy([run], folder / "accuracy.png")
    parts = [f"# A plan and its rivals: {run.plan.ladders[0].model} on {run.device}", *_wins(run), *as_fast(found, run)]
    parts += ["![accuracy against latency](accuracy.png)", table(found, run), *rows.trust(run)]
    store.write(folder / "table.md", ("\n\n".join(parts) + "\n").encode(), _ELSEWHERE)
    print(f"{folder / 'table.md'}")


def entrants(run: Run, sets: Mapping[str, tuple[str, ...]]) -> list[Entrant]:
    """The networks of a run by what they are called in the table, full depth first."""
    names = {"+".join(options): name for name, options in sets.items()}
    chosen = {
        (ladder.name, rung.rung): names.get(rung.choice.chosen[0], rung.network)
        for ladder in run.ladders
        for rung in ladder.rungs
        if rung.choice is not None and rung.choice.chosen
    }
    shown = [row for row in run.cases if row.rung or row.ladder == run.cases[0].ladder]
    return [Entrant(chosen.get((row.ladder, row.rung), _called(row)), row) for row in shown]


def _called(row: Summary) -> str:
    return "unfolded" if not row.rung else f"{row.method} {row.rung}"


def _wins(run: Run) -> list[str]:
    """What beats the plans though nothing was folded: that comes first."""
    told = [finding for finding in run.findings if finding.kind == "control-wins"]
    return [
        f"**{finding.cause}** {finding.advice}"
        for finding in told
        if finding.numbers.get("ladder", "").startswith("planned")
    ]


def as_fast(found: Sequence[Entrant], run: Run) -> list[str]:
    """The narrower networks on either side of the fastest plan: what one of its latency comes to."""
    measured = [each for each in found if each.row.speedup is not None]
    plans = [each for each in measured if each.name.startswith("plan ")]
    widths = sorted((each for each in measured if each.row.method == "narrow"), key=_speed)
    if not plans or not widths:
        return []
    best = max(plans, key=_speed)
    below, above = ([each for each in widths if (_speed(each) > _speed(best)) is faster] for faster in (False, True))
    named = " and ".join(_known(each, _examples(run)) for each in (*below[-1:], *above[:1]))
    return [f"Width at the latency of {_known(best, _examples(run))}: {named}."]


def _speed(each: Entrant) -> float:
    assert each.row.speedup is not None
    return each.row.speedup.ratio


def _known(each: Entrant, examples: int | None) -> str:
    """plan 1 (1.21x, 97.8 [95.2, 99.0] %)."""
    accuracy = _accuracy(each.row, examples)
    return f"{each.name} ({_speed(each):.2f}x{f', {accuracy} %' if accuracy else ''})"


def _examples(run: Run) -> int | None:
    return next((ladder.test_examples for ladder in run.ladders if ladder.test_examples), None)


def table(found: Sequence[Entrant], run: Run) -> str:
    """Every network as a row of Markdown, in the order of the run; the figure has the rungs' numbers."""
    examples = _examples(run)
    head = "| network | rung | removed | depth | MMACs | latency ms | speed-up | verdict | accuracy % |"
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---|---:|"]
    return "\n".join(lines + [_line(each, examples) for each in found])


def _line(each: Entrant, examples: int | None) -> str:
    row = each.row
    ratio = with_interval(row.speedup.ratio, row.speedup.low, row.speedup.high) if row.speedup else ""
    macs = "" if row.macs is None else digits(row.macs / 1e6)
    latency = "" if row.latency_ns is None else f"{row.latency_ns.median / 1e6:.3f}"
    cells = (
        each.name,
        row.rung,
        row.removed,
        row.depth,
        macs,
        latency,
        ratio,
        row.speedup.verdict if row.speedup else "",
    )
    return "| " + " | ".join("" if cell is None else str(cell) for cell in (*cells, _accuracy(row, examples))) + " |"


def _accuracy(row: Summary, examples: int | None) -> str:
    if row.accuracy is None or examples is None:
        return ""
    bounds = stats.wilson(round(row.accuracy * examples), examples)
    return f"{100 * row.accuracy:.1f} [{100 * bounds.low:.1f}, {100 * bounds.high:.1f}]"


def _tell(progress: Progress) -> None:
    print(progress.text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
