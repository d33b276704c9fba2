"""What the docs quote comes from where it is said to, and every command is in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from made_datasets import MAKERS, write

from harness import content

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(docs: ModuleType) -> None:
    stale = [path.name for path, text in docs.pages().items() if path.read_text() != text]
    assert not stale, "run: .venv/bin/python scripts/docs.py"


def test_every_command_has_help_and_is_on_the_commands_page(docs: ModuleType) -> None:
    from harness.cli import app

    named = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named |= {group.name for group in app.registered_groups if group.name}
    assert named <= {words.split()[0] for words in docs.COMMANDS if words}


def test_every_link_in_the_docs_leads_somewhere() -> None:
    import re

    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_version_is_in_the_changelog() -> None:
    from harness import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_table_of_runtimes_names_each_with_its_precisions_and_options() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|(.*)\|$", (ROOT / "docs" / "runtimes.md").read_text(), re.MULTILINE)
    told = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}
    assert set(told) == set(content.names("runtime"))
    for name, (_, _, precisions, options, _) in told.items():
        assert re.findall(r"(?:fp|int)\d+", precisions) == list(content.constant("runtime", name, "PRECISIONS"))
        assert options.strip("`").split() == list(content.constant("runtime", name, "OPTIONS"))


RUN = re.compile(r"^harness (run --device .*?)(?: {3,}.*)?$", re.MULTILINE)
COMMANDS = [
    (page, line) for page in ("methods", "reproducing") for line in RUN.findall((ROOT / f"docs/{page}.md").read_text())
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(COMMANDS)])
def test_every_whole_command_on_methods_can_be_planned(page: str, line: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from harness.cli import app

    words = shlex.split(line.replace("DIR", str(tmp_path)))
    for task in {"cifar10", "tiny-imagenet"} & {*words}:  # a plan looks at its data
        write(MAKERS[task](), tmp_path)
    more = [*([] if "--dry-run" in words else ["--dry-run"]), "--inventory", str(ROOT / "inventory.yaml")]
    done = CliRunner().invoke(app, [*words, *more, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output


def test_every_method_has_a_section_that_says_what_it_counts_and_what_its_paper_reports() -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    sections = {found[1]: found[2] for found in re.finditer(r"<!-- method (\S+) -->(.*?)(?=\n## |\Z)", page, re.DOTALL)}
    assert set(sections) == set(content.names("method"))
    for name, section in sections.items():
        assert "**Removed:**" in section and "**The paper reports:**" in section, name
        assert f"harness run --method {name}" in section or f",{name}\n" in section, name
