"""What an archive says of its run in words: what it is, how it is cited, what made its numbers. The same run, the same words."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator

from harness.records import Run

_FINDINGS = 6
_FILES = """\
run.json            what was asked, of what, what came out: one summary per row, findings, provenance
samples.parquet     every inference that was timed; processes, state, power, windows.parquet beside it
jobs/<runtime>/     what was sent, the journal as it grew on the device (the truth), the reply
plots/              figures, and the points in them as CSV
environment.txt     packages, versions and what the device said of itself
MANIFEST            SHA-256 of every file: sha256sum -c MANIFEST"""


def about(run: Run) -> dict[str, str]:
    """Return the texts of an archive by file name."""
    return {"README.txt": readme(run), "environment.txt": environment(run)}


def title(run: Run) -> str:
    """Say in one line what was run on what."""
    asked = run.plan.ladders
    networks = ", ".join(dict.fromkeys(f"{each.model} on {each.task}" for each in asked))
    networks = networks or ", ".join(given.name for given in run.plan.given)
    methods = ", ".join(dict.fromkeys(each.method for each in asked))
    by = f", layers removed by {methods}" if methods else ""
    return f"{networks}{by}, measured with {', '.join(run.plan.runtimes)} on {run.device}"


def readme(run: Run) -> str:
    """Return README.txt: what it is, the verdict, the main findings, how to cite it, open it and run it again."""
    return "\n\n".join("\n".join(part) for part in (_what(run), _found(run), _cite(run), _use(run))) + "\n"


def environment(run: Run) -> str:
    """Return environment.txt: what made the numbers here, and what the device said of itself."""
    made = dict(run.provenance)
    packages = made.pop("packages", {})
    lines = ["Where the networks were made and built", *_pairs(made), "", "Packages there", *_pairs(packages)]
    for job in run.jobs:
        lines += ["", f"Packages on {run.device}, runtime {job.runtime}", *_pairs(job.versions)]
        lines += ["", f"{run.device} as its agent found it, runtime {job.runtime}", *_pairs(job.facts)]
    return "\n".join(lines) + "\n"


def _what(run: Run) -> Iterator[str]:
    yield from textwrap.wrap(title(run), 100)
    yield ""
    yield "Latency (and energy, where it could be measured) of a network and of shallower ones made from it,"
    yield "with every raw sample. Made by edge-harness."
    yield ""
    yield f"run       {run.run}"
    yield f"made      {run.created}"
    said = device(run)
    yield f"device    {run.device}{f': {said}' if said else ''}{' (virtual: its times mean nothing)' * run.virtual}"
    yield f"version   edge-harness {_version(run)}, git commit {_commit(run)}"
    yield f"rows      {len(run.cases)}, of which {sum(case.status == 'ok' for case in run.cases)} were measured"


def _found(run: Run) -> Iterator[str]:
    if run.verdict is not None:
        yield f"Verdict: {run.verdict.state}"
        for evidence in run.verdict.evidence:
            yield from _item(evidence)
        yield ""
    yield "Main findings" if run.findings else "Main findings: none."
    ranked = sorted(run.findings, key=lambda finding: ("error", "warning", "info").index(finding.severity))
    for finding in ranked[:_FINDINGS]:
        yield from _item(f"{finding.kind}: {finding.cause}")
    if len(ranked) > _FINDINGS:
        yield from _item(f"and {len(ranked) - _FINDINGS} more: harness show {run.run}")


def _cite(run: Run) -> Iterator[str]:
    yield "How to cite"
    text = f"{title(run)}. edge-harness {_version(run)}, run {run.run}, {run.created[:10]}, git commit {_commit(run)}."
    yield from textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield f"  @misc{{edge-harness-{run.run},"
    yield f"    title = {{{{{title(run)}}}}},"
    yield f"    year = {{{run.created[:4]}}},"
    yield f"    note = {{edge-harness {_version(run)}, run {run.run}, git commit {_commit(run)}}},"
    yield "  }"


def _use(run: Run) -> Iterator[str]:
    yield "What is in it"
    yield textwrap.indent(_FILES, "  ")
    yield ""
    yield "Open it (pip install edge-harness), run it again, compare"
    yield f"  harness import {run.run}.zip"
    yield f"  harness show {run.run}"
    yield f"  harness reproduce {run.run}"
    yield ""
    yield "The command that made it"
    yield f"  {command(run)}"


def command(run: Run) -> str:
    """The command that made a run, as a shell takes it."""
    return shlex.join(["harness", *run.command[run.command[:1] == ("harness",) :]])


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="- ", subsequent_indent="  ")


def _pairs(values: object) -> Iterator[str]:
    for key, value in sorted(dict(values).items()):  # type: ignore[call-overload]
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        yield f"  {key:24} {text}"


def device(run: Run) -> str:
    """What the device said of itself, in a line; nothing where no job came to its end."""
    facts = run.jobs[0].facts if run.jobs else {}
    return ", ".join(str(facts[key]) for key in ("board", "cpu", "machine", "os") if facts.get(key))


def _version(run: Run) -> str:
    return str(dict(run.provenance.get("packages", {})).get("edge-harness", "of unknown version"))


def _commit(run: Run) -> str:
    return str(run.provenance.get("commit") or "unknown")
