"""Every method of `harness methods` on one ladder each, measured here; one table and one figure per model.

python scripts/methods.py --task digits
python scripts/methods.py --task cifar10 --data DIR --seeds 3 --schedule cifar --train-on cuda
python scripts/methods.py --task tiny --models tiny --methods order,easier,random --rungs 2 --budget 20 --out DIR
python scripts/methods.py --task digits --tables          the tables again, nothing is run

    OUT/<model>/plan.json             what is asked, which methods are left out, and why
    OUT/<model>/<job>/<device>/<run>/ the runs, as `harness run` keeps them: main, and position (easier's other entropy)
    OUT/<model>/table.md, table.csv   every rung of every method
    OUT/<model>/accuracy.png          accuracy against latency, and against depth, with what is plotted as CSV

It may be stopped at any moment and started again with the same words: runs that are done are skipped, the one that was
cut off goes on. A `harness run` that it has started is killed with it (Linux). What cannot be run is told, the others go on,
and the exit code is 1. All methods get the same number of epochs, the schedule's for each rung that `easier` could make, and
one more where none would be left to train before the first choice. Layer Folding goes on below its threshold, through all
slopes in order, as its re-implementations do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import content, processes, report, store
from harness.cli import look
from harness.errors import HarnessError
from harness.findings.views import count
from harness.plan import Words, ladders
from harness.records import LadderRequest, Run
from harness.report import methods as side_by_side

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "examples" / "methods"
MODELS = "resnet18,mobilenet_v2,vgg16_bn,swin_t"
METHODS = (
    "easier,easier-position,tlc,egp,nepenthe,lacoot,layer-folding,block-influence,smallest-weights,smallest-gradients,random,order,"
    "shallow,narrow,continue"
)
POSITION = "easier-position"  # a run has one recipe of a method: the other entropy gets a run of its own
JOBS: dict[str, tuple[str, ...]] = {  # a job's settings
    "main": ("layer-folding.threshold=0",),
    "position": ("easier.entropy=position",),
}
_FREE = ("threads", "data")  # of a ladder's request: where and on what machine it was made


@dataclass(frozen=True)
class Asked:
    """What all models have in common, as it was said."""

    task: str
    methods: tuple[str, ...]
    rungs: int
    seeds: int
    schedule: str | None
    train_on: str | None


@dataclass(frozen=True)
class Plan:
    """What is done on one model: `left_out` says why a method is not."""

    model: str
    asked: Asked
    methods: tuple[str, ...]
    left_out: dict[str, str]
    step: int
    epochs: int


def main(words: Sequence[str] | None = None) -> int:
    """Do what was asked, model by model. Returns 1 when a run could not be finished, 2 for a wrong word."""
    said = _parser().parse_args(words)
    asked = Asked(said.task, tuple(said.methods.split(",")), said.rungs, said.seeds, said.schedule, said.train_on)
    failed = []
    for model in said.models.split(","):
        try:
            plan = _plan(model, asked, said)
            failed += [] if said.tables else [f"{model} {job}" for job in _run_jobs(plan, said)]
            write(said.out / model)
        except HarnessError as error:
            tell(f"{model}: {error.message} {error.hint}".strip())
            failed.append(model)
    if failed:
        tell(f"not finished: {', '.join(failed)}; the same command goes on")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--task", required=True)
    made.add_argument("--models", default=MODELS, metavar="M[,M]")
    made.add_argument("--methods", default=METHODS, metavar="X[,X]")
    made.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    made.add_argument("--rungs", type=int, default=8, help="of a ladder at most, full depth not counted", metavar="N")
    made.add_argument("--seeds", type=int, default=1, metavar="N")
    made.add_argument("--schedule", metavar="NAME")
    made.add_argument("--train-on", metavar="cpu|cuda")
    made.add_argument("--data", type=Path, metavar="DIR")
    made.add_argument("--device", default="local", metavar="NAME")
    made.add_argument("--inventory", type=Path, metavar="FILE")
    made.add_argument(
        "--budget",
        type=float,
        default=1800.0,
        help="of measuring each model, shared among its jobs by their methods, s",
        metavar="S",
    )
    made.add_argument("--fresh", action="store_true", help="begin new runs, whatever there is")
    made.add_argument("--tables", action="store_true", help="run nothing: write tables and figures of what there is")
    return made


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- what to do ----------------------------------------------------------------------------------------------------


def _plan(model: str, asked: Asked, said: argparse.Namespace) -> Plan:
    """The plan of a model as it lies there, or a new one where something else is asked. Raises HarnessError."""
    file = said.out / model / "plan.json"
    known = read_plan(file.parent)
    if known and (said.tables or (known.asked == asked and not said.fresh)):
        return known
    tell(f"{model}: looking at which methods it is for")
    plan = _decide(model, asked, said.data)
    for method, why in plan.left_out.items():
        tell(f"{model}: without {method}: {why}")
    store.write(file, (json.dumps(asdict(plan), indent=1) + "\n").encode(), "or give another folder with --out.")
    return plan


def read_plan(folder: Path) -> Plan | None:
    """The plan that lies in a model's folder."""
    if not (folder / "plan.json").is_file():
        return None
    found = json.loads((folder / "plan.json").read_text())
    asked = found["asked"]
    lists = {"asked": Asked(**{**asked, "methods": tuple(asked["methods"])}), "methods": tuple(found["methods"])}
    return Plan(**{**found, **lists})


def _decide(model: str, asked: Asked, data: Path | None) -> Plan:
    """Ask every method, on the untrained network, whether it is for this model; count what there is to remove."""
    from harness.compress import schedules
    from harness.compress.climber import Means

    bare = Plan(model, asked, asked.methods, {}, 1, 0)
    first = Means(_requests(bare, "easier", (), data)[0], lambda _: None)
    first.look()  # data that are not there are no method's fault
    eligible = first.eligible
    rungs = min(asked.rungs, max(1, len(eligible)))
    step = max(1, math.ceil(len(eligible) / rungs))
    each = schedules.named(asked.schedule or schedules.DEFAULT, model).rung.epochs
    plan = replace(bare, step=step, epochs=each * max(1, math.ceil(len(eligible) / step)))
    left_out: dict[str, str] = {}
    for method in asked.methods:
        try:
            name, recipe = ("easier", JOBS["position"]) if method == POSITION else (method, ())
            Means(_requests(plan, name, recipe, data)[0], lambda _: None).judge()
        except HarnessError as error:
            left_out[method] = error.message
    kept = tuple(method for method in asked.methods if method not in left_out)
    return replace(plan, methods=kept, left_out=left_out)


def _requests(plan: Plan, methods: str, recipe: tuple[str, ...], data: Path | None) -> tuple[LadderRequest, ...]:
    asked = plan.asked
    trained = any(content.constant("method", method, "TRAINS") for method in methods.split(","))
    training = {"schedule": asked.schedule, "train_on": asked.train_on}
    words = Words(
        device="",
        model=plan.model,
        task=asked.task,
        data=data,
        method=methods,
        recipe=recipe,
        rungs=asked.rungs,
        step=plan.step,
        seeds=asked.seeds,
        **(training if trained else {}),
    )
    return ladders.asked(words)


# --- runs ----------------------------------------------------------------------------------------------------------


def _run_jobs(plan: Plan, said: argparse.Namespace) -> Iterator[str]:
    """Bring every job of a model to its end; yield those that could not be."""
    for name, recipe in JOBS.items():
        methods = _methods_of(name, plan)
        recipe = tuple(each for each in recipe if each.partition(".")[0] in methods)
        if methods and not _bring(plan, ",".join(methods), recipe, said.out / plan.model / name, said):
            yield name


def _methods_of(job: str, plan: Plan) -> list[str]:
    """The methods of a job; that of the other entropy has the control that it is compared with, too."""
    if job == "main":
        return [method for method in plan.methods if method != POSITION]
    return ["easier", *(["continue"] if "continue" in plan.methods else [])] if POSITION in plan.methods else []


def _bring(plan: Plan, methods: str, recipe: tuple[str, ...], folder: Path, said: argparse.Namespace) -> bool:
    """Start a job, or go on with it, unless it is done. Whether it came to its end."""
    found = None if said.fresh else _standing(folder, _requests(plan, methods, recipe, said.data))
    if found and found.status == "done":
        tell(f"{plan.model} {folder.name}: done before, run {found.run}")
        return True
    where = ["--results", str(folder), *(["--inventory", str(said.inventory)] if said.inventory else [])]
    words = ["--resume", found.run] if found else _words(plan, methods, recipe, said)
    tell(f"{plan.model} {folder.name}: harness run {' '.join(words)}")
    command = [sys.executable, "-m", "harness", "run", *words, *where]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, preexec_fn=processes.die_with_parent)
    ended = _standing(folder, _requests(plan, methods, recipe, said.data))
    return ended is not None and ended.status == "done"


def _words(plan: Plan, methods: str, recipe: tuple[str, ...], said: argparse.Namespace) -> list[str]:
    """The flags of `harness run`, as `_requests` has them. Energy would take hours for so many rungs."""
    asked = plan.asked
    values = {"--device": said.device, "--model": plan.model, "--task": asked.task, "--data": said.data}
    values |= {"--method": methods, "--rungs": asked.rungs, "--step": plan.step, "--seeds": asked.seeds}
    values |= {"--schedule": asked.schedule, "--train-on": asked.train_on}
    share = len(methods.split(",")) / sum(len(_methods_of(job, plan)) for job in JOBS)
    values |= {"--budget": f"{said.budget * share:.0f}", "--energy": "none"}
    words = [word for flag, value in values.items() if value is not None for word in (flag, str(value))]
    return [*words, "--no-controls", *(word for each in recipe for word in ("--recipe", each))]


def _standing(folder: Path, requests: Sequence[LadderRequest]) -> Run | None:
    """The newest run of these ladders that there is, whatever became of it."""
    wanted = [_essence(request) for request in requests]
    runs = (store.load(each) for each in store.folders(folder))
    return next((run for run in reversed([*runs]) if [*map(_essence, run.plan.ladders)] == wanted), None)


def _essence(request: LadderRequest) -> dict[str, Any]:
    return {key: value for key, value in asdict(request).items() if key not in _FREE}


# --- tables --------------------------------------------------------------------------------------------------------


def runs_of(folder: Path) -> list[Run]:
    """The newest finished run of each job of a model, as `harness show` has it."""
    done = ([each for each in store.folders(folder / name) if _is_done(each)] for name in JOBS)
    return [look.load(found[-1]) for found in done if found]


def _is_done(folder: Path) -> bool:
    return store.load(folder).status == "done"


def write(folder: Path) -> None:
    """Write the table and the figure of a model from its runs, if there are any. Raises StoreError."""
    runs, plan = runs_of(folder), read_plan(folder)
    if not runs or plan is None:
        return
    parts = [f"# {report_title(plan)}", *told(plan, runs), side_by_side.table(runs), side_by_side.reading(runs)]
    hint = "or give another folder with --out."
    if any(row.accuracy is not None for run in runs for row in run.cases):
        report.draw_accuracy(runs, folder / "accuracy.png")
        parts.insert(1, "![accuracy against latency, and against depth](accuracy.png)")
    store.write(folder / "table.md", ("\n\n".join(filter(None, parts)) + "\n").encode(), hint)
    store.write(folder / "table.csv", side_by_side.csv_of(runs).encode(), hint)
    tell(f"{plan.model}: {folder / 'table.md'}")


def report_title(plan: Plan) -> str:
    return f"{plan.model} on {plan.asked.task}"


def told(plan: Plan, runs: Sequence[Run]) -> list[str]:
    """What a reader of the table has to know: how the ladders were made, what is not there, and why."""
    seeds = count(plan.asked.seeds, "seed")
    first = runs[0]
    how = (
        f"Device {first.device}, {' and '.join(first.plan.runtimes)}, {seeds}; schedule {plan.asked.schedule or 'quick'}, "
        f"{count(plan.epochs, 'epoch')} for each ladder beyond full depth, {plan.step} removed a rung."
    )
    lines = [how]
    lines += [
        f"Run {each.run}: {each.verdict.state}; {'; '.join(each.verdict.evidence)}." for each in runs if each.verdict
    ]
    lines += [f"Left out, {method}: {why}" for method, why in plan.left_out.items()]
    lines += [f"Ended early, {why}" for why in side_by_side.ended(runs)]
    return lines


def page(out: Path, beside: Path) -> str:
    """The tables of all models for the docs: full depth and the last rung of each ladder; links are relative to `beside`."""
    parts = []
    for folder in sorted(path.parent for path in out.glob("*/plan.json")):
        runs, plan = runs_of(folder), read_plan(folder)
        if plan is None or not runs:
            continue
        link = Path(os.path.relpath(folder, beside)).as_posix()
        parts += [f"### {report_title(plan)}", *told(plan, runs)]
        if (folder / "accuracy.png").is_file():
            parts.append(f"![{report_title(plan)}: accuracy against latency, and against depth]({link}/accuracy.png)")
        parts += [side_by_side.table(runs, last=True), f"Last rungs; all of them: [{link}/table.md]({link}/table.md)."]
        parts.append(side_by_side.reading(runs))
    return "\n\n".join(parts) or "Not made here yet: `python scripts/methods.py --task digits`."


if __name__ == "__main__":
    sys.exit(main())
