"""Write what the docs quote from where it comes from: the README's example from its run, docs/commands.md from --help, tables
of docs/inventory.md from the profiles, of docs/energy.md from the sensors, of docs/tasks.md from the tasks and of docs/matrix.md
from what was measured, docs/methods.md from the methods' files and the schedules, docs/findings.md from the kinds and what is
said of made runs, the JSON Schemas from the models that check the files.

python scripts/docs.py            write
python scripts/docs.py --check    exit 1 when a page is stale (tests/test_docs.py does the same)
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks import grid_rows, matrix_rows
from harness import content, inventory, report, store
from harness.cli import look
from harness.compress import recipes, schedules
from harness.findings import kinds
from harness.inventory import editors
from scripts import methods as measured_methods

ROOT = Path(__file__).resolve().parent.parent
PROFILES = re.compile(r"<!-- profiles -->\n.*?<!-- /profiles -->", re.DOTALL)
SENSORS = re.compile(r"<!-- sensors -->\n.*?<!-- /sensors -->", re.DOTALL)
GRID = re.compile(r"<!-- grid -->\n.*?<!-- /grid -->", re.DOTALL)
MATRIX = re.compile(r"<!-- matrix -->\n.*?<!-- /matrix -->", re.DOTALL)
METHOD = re.compile(r"<!-- method (\S+) -->\n.*?<!-- /method \1 -->", re.DOTALL)
TASKS = re.compile(r"<!-- tasks -->\n.*?<!-- /tasks -->", re.DOTALL)
SCHEDULES = re.compile(r"<!-- schedules -->\n.*?<!-- /schedules -->", re.DOTALL)
MEASURED = re.compile(r"<!-- methods:start -->\n.*?<!-- methods:end -->", re.DOTALL)
FINDINGS = re.compile(r"<!-- findings -->\n.*?<!-- /findings -->", re.DOTALL)
EXAMPLE = re.compile(r"<!-- example -->\n.*?<!-- /example -->", re.DOTALL)
COMMANDS = ("", "run", "show", "plot", "report", "compare", "nightly", "archive", "import", "reproduce", "fold", "devices",
            "check", "calibrate", "plan", "methods", "models", "tasks", "runtimes", "sensors", "profiles",
            "cache", "cache list", "cache clean")  # fmt: skip


def main() -> int:
    """Write the pages, or check them. Returns 1 when a page was stale and only checked."""
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv:
        print(*(f"stale: {path.relative_to(ROOT)}; run python scripts/docs.py" for path in stale), sep="\n")
        return int(bool(stale))
    for path in stale:
        path.write_text(pages()[path])
    return 0


def pages() -> dict[Path, str]:
    """Return the text that each page should have."""
    readme = ROOT / "README.md"
    inventory_page = ROOT / "docs" / "inventory.md"
    matrix_page = ROOT / "docs" / "matrix.md"
    energy_page = ROOT / "docs" / "energy.md"
    methods_page = ROOT / "docs" / "methods.md"
    tasks_page = ROOT / "docs" / "tasks.md"
    findings_page = ROOT / "docs" / "findings.md"
    return {
        readme: EXAMPLE.sub(lambda _: example(), readme.read_text()),
        ROOT / "docs" / "commands.md": commands(),
        inventory_page: PROFILES.sub(lambda _: profiles(), inventory_page.read_text()),
        energy_page: SENSORS.sub(lambda _: sensors(), energy_page.read_text()),
        methods_page: methods(methods_page.read_text()),
        tasks_page: TASKS.sub(lambda _: tasks(), tasks_page.read_text()),
        findings_page: FINDINGS.sub(lambda _: findings(), findings_page.read_text()),
        matrix_page: measured_tables(matrix_page.read_text()),
        **{editors.place(which): editors.schema(which) for which in editors.WHICH},
    }


def example() -> str:
    """The README's part on its example run: where it was made, the figure, the table and the findings."""
    folder = next(
        f for f in store.folders(ROOT / "results" / "examples") if store.load(f).plan.ladders[0].method == "easier"
    )
    run = look.load(folder)  # as `harness show` has it: by the analysis of now
    path = folder.relative_to(ROOT).as_posix()
    facts = run.jobs[0].facts
    machine = (
        f"{facts['cpu']}, {facts['cpus']} cores, {facts['system']}, onnxruntime {run.jobs[0].versions['onnxruntime']}"
    )
    intro = f"What came out on one machine ({machine}), with all its samples in [{path}]({path}):"
    figure = f"![depth against latency, MACs and weight bytes]({path}/plots/depth.png)"
    return "\n\n".join(("<!-- example -->", intro, figure, report.markdown(run).strip(), "<!-- /example -->"))


def profiles() -> str:
    """The profiles that come with the program, and the systems that each knows, as two tables."""
    kinds = [inventory.profile(name) for name in content.names("profile")]
    rows = [
        "| profile | is | for compilers | runtimes | threads | sensors | `--tune` | `--power-mode` | cools for at most |"
    ]
    rows += ["|---" * 9 + "|"]
    for kind in kinds:
        target = ", ".join(kind.target.values()) or kind.arch
        lists = (kind.runtimes, (str(kind.threads),), kind.sensors, kind.tune, kind.power_modes)
        words = (", ".join(each) or "none" for each in lists)
        cells = (f"`{kind.name}`", kind.description, target, *words, f"{kind.cooldown_s:g} s")
        rows.append(f"| {' | '.join(cells)} |")
    rows += ["", "| system | of | Python | glibc | adds for compilers |", "|---|---|---|---|---|"]
    systems = {system.name: system for kind in kinds for system in kind.systems}
    for name, system in systems.items():
        of = ", ".join(kind.name for kind in kinds if name in (each.name for each in kind.systems))
        adds = ", ".join(f"{key} {value}" for key, value in system.target.items()) or "nothing"
        rows.append(f"| `{name}` | {of} | {', '.join(system.pythons)} | {system.glibc} | {adds} |")
    return "\n".join(("<!-- profiles -->", *rows, "<!-- /profiles -->"))


def sensors() -> str:
    """Every sensor that comes with the program: what it is, who reads it, its windows and options."""
    rows = ["| sensor | is | read by | window: least, usual | options |", "|---|---|---|---|---|"]
    for name in content.names("sensor"):
        found = content.load("sensor", name)
        least, usual = found.WINDOW_S
        options = "; ".join(f"`{key}`: {what}" for key, what in found.OPTIONS.items()) or "none"
        where = {"device": "the device", "controller": "this machine"}[getattr(found, "WHERE", "device")]
        cells = (f"`{name}`", content.summary("sensor", name), where, f"{least:g} s, {usual:g} s", options)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(("<!-- sensors -->", *rows, "<!-- /sensors -->"))


def tasks() -> str:
    """Every task that comes with the program: what it is, its classes and inputs, where its data come from."""
    rows = ["| task | is | classes | input | data |", "|---|---|---|---|---|"]
    for name in content.names("task"):
        found = content.load("task", name)
        words = getattr(found, "VOCABULARY", None)
        inputs = f"{found.SHAPE[0]} of {words} tokens" if words else "x".join(map(str, found.SHAPE))
        data = getattr(found, "DATA", "comes with scikit-learn")
        cells = (f"`{name}`", content.summary("task", name), str(found.CLASSES or "counted"), inputs, data)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(("<!-- tasks -->", *rows, "<!-- /tasks -->"))


def findings() -> str:
    """Every kind of finding: how severe, what it says, what the code says of a made run, what to do."""
    sys.path.insert(0, str(ROOT / "tests"))
    import example_findings  # made runs, which the tests look at too

    made, parts = example_findings.every(), []
    for title, group in kinds.GROUPS.items():
        parts.append(f"## {title}")
        for name, kind in group.items():
            said = made[name]
            parts += [f"### `{name}`", f"{' or '.join(kind.severities).capitalize()}. {kind.says}"]
            parts += [f"> {said.cause} *{said.advice}*", f"**What to do.** {kind.do}"]
    return "\n\n".join(("<!-- findings -->", *parts, "<!-- /findings -->"))


def measured_tables(page: str) -> str:
    """A page with the tables of what `python -m benchmarks matrix grid` kept."""
    page = MATRIX.sub(lambda _: f"<!-- matrix -->\n{matrix_rows.tables(matrix_rows.load())}\n<!-- /matrix -->", page)
    return GRID.sub(lambda _: f"<!-- grid -->\n{grid_rows.tables(grid_rows.load())}\n<!-- /grid -->", page)


def methods(page: str) -> str:
    """The page on methods: what each file says of itself, its settings, the schedules by name, and what came out here."""
    page = METHOD.sub(
        lambda found: f"<!-- method {found[1]} -->\n{method(found[1])}\n<!-- /method {found[1]} -->", page
    )
    page = SCHEDULES.sub(lambda _: f"<!-- schedules -->\n{schedules_table()}\n<!-- /schedules -->", page)
    measured = measured_methods.page(measured_methods.OUT, ROOT / "docs")
    return MEASURED.sub(lambda _: f"<!-- methods:start -->\n{measured}\n<!-- methods:end -->", page)


def method(name: str) -> str:
    """A method's docstring as Markdown, what is indented and command lines as code; below it, its settings."""
    tree = ast.parse(content.find("method", name).read_text())
    parts = []
    for part in (ast.get_docstring(tree) or "").split("\n\n"):
        is_code = all(line.startswith(("  ", "harness ")) for line in part.splitlines())
        parts.append(f"```\n{textwrap.dedent(part)}\n```" if is_code else part)
    known = recipes.settings(name)
    takes = {each.name: each.takes.replace("|", "\\|") for each in known}
    rows = [f"| `{each.name}` | `{takes[each.name]}` | `{json.dumps(each.default)}` |" for each in known]
    head = ["| setting | takes | default |", "|---|---|---|"] if rows else []
    told = ast.get_docstring(next(node for node in tree.body if getattr(node, "name", "") == "Recipe")) or ""
    return "\n\n".join([*parts, " ".join(told.split()), *(["\n".join([*head, *rows])] if rows else [])])


def schedules_table() -> str:
    """How networks are trained under each name: a row for full depth, and one for rungs where they differ from it."""
    rows = [
        "| schedule | of | epochs | optimizer | learning rate | other models' | shape | batch | weight decay |",
        "|---|---|---:|---|---:|---|---|---:|---:|",
    ]
    for name in schedules.names():
        usual = schedules.named(name, "resnet18")
        rows.append(
            _lesson(name, "all" if usual.full == usual.rung else "full depth", usual.full, _peaks(name, "full"))
        )
        if usual.rung != usual.full:
            rows.append(_lesson(name, "rungs", usual.rung, _peaks(name, "rung")))
    return "\n".join(rows)


def _lesson(name: str, of: str, schedule: schedules.Schedule, others: str) -> str:
    falls = " and ".join(f"{round(at * schedule.epochs)}" for at in schedule.milestones)
    shape = f"a tenth after {falls}" if falls else schedule.shape
    momentum = f", momentum {schedule.momentum:g}" if schedule.optimizer == "sgd" else ""
    nesterov = " (Nesterov)" if schedule.optimizer == "sgd" and schedule.nesterov else ""
    cells = (
        f"`{name}`",
        of,
        schedule.epochs,
        f"{schedule.optimizer}{momentum}{nesterov}",
        f"{schedule.peak:g}",
        others,
    )
    return "| " + " | ".join(map(str, (*cells, shape, schedule.batch, f"{schedule.weight_decay:g}"))) + " |"


def _peaks(name: str, part: str) -> str:
    """Learning rates of the models that have others than ResNet-18."""
    usual = getattr(schedules.named(name, "resnet18"), part)
    found = {
        model: getattr(schedules.named(name, model), part) for model in ("mobilenet_v2", "vgg16_bn", "swin_t", "bert")
    }
    return ", ".join(f"{model} {other.peak:g}" for model, other in found.items() if other != usual)


def commands() -> str:
    """Every command's own help."""
    head = "# Commands\n\nMade from `--help` by `scripts/docs.py`.\n"
    return head + "".join(
        f"\n## `harness {words}`\n\n```\n{help_of(words)}\n```\n".replace(" `\n", "`\n") for words in COMMANDS
    )


def help_of(words: str) -> str:
    """A command's help in plain ASCII, 100 columns wide."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "harness", *words.split(), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
