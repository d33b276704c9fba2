"""Where a plan is kept, and what it is known by.

    results/<device>/plans/<model>-<runtime>-<precision>-<threads>t-<key8>/
        asked.json              what was asked, of which device
        table/<n>/rows.json     what is compared with what, or why it could not be built; jobs/<runtime>/ as of a run
        verify/<n>/             the same, of the plans of the front
        transfer/<n>/           the same, of other settings' plans; trials/<n>/ of any choices of options
        plan.json               all that came of it (records.planned.Planned); what it rests on is above

The key is the digest of everything that a table depends on: words, model, task and program, runtime and versions, and the
device as it says it is. So the same words find the same folder, and what has changed meanwhile finds another.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness import content, extras, store, wire
from harness.calibration import IDENTITY
from harness.compress import keys
from harness.errors import StoreError
from harness.planner import document
from harness.planner.document import GO_ON
from harness.records import Cost, digest
from harness.records.planned import OptionForm, OptionsRequest, Planned, Wanted
from harness.store.writing import reported

SCHEMA = document.SCHEMA
LEAST_BLOCKS = 2  # of a job: an interval needs two
TABLE, VERIFY = "table", "verify"
TRANSFER, TRIALS = "transfer", "trials"  # plans of other settings, and whatever else a benchmark wants to be measured
Kind = Literal["isolated", "in place", "front"]
_ASKED, _ROWS, _PLAN = "asked.json", "rows.json", "plan.json"


@dataclass(frozen=True)
class Asked:
    """What a table is of, in the user's words: everything that it depends on, and nothing that it does not."""

    device: str
    model: str
    task: str
    data: str | None
    runtime: str
    precision: str
    threads: int
    batch: int
    options: Mapping[str, str] = field(default_factory=dict)
    forms: tuple[OptionForm, ...] = ("plain", "dense", "tail")
    tune: tuple[str, ...] = ()

    @property
    def request(self) -> OptionsRequest:
        """The network whose options are asked for; its task's folder matters where classes are counted there."""
        counted = content.constant("task", self.task, "CLASSES", 0) is None
        return OptionsRequest(self.model, self.task, data=self.data if counted else None, forms=self.forms)


@dataclass(frozen=True)
class Begun:
    """What was asked, when, as what (`words`: the digest of what is known here), of which device as it said it was."""

    schema: int
    asked: Asked
    created: str
    stamp: str
    words: str
    facts: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of all that the table depends on."""
        return digest({"words": self.words, "facts": self.facts, "versions": self.versions})[:8]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{_stem(self.asked)}-{self.key}"


@dataclass(frozen=True)
class Pair:
    """A comparison to be made: the network with these options taken, and what it is held against."""

    options: tuple[str, ...]
    case: Wanted
    reference: Wanted


@dataclass(frozen=True)
class Row:
    """A comparison as cases of a job, or why one of its networks could not be made or built; what the network came to."""

    pair: Pair
    case: str | None
    reference: str | None
    cost: Cost | None
    fold_error: float | None
    failure: str | None = None


@dataclass(frozen=True)
class Sheet:
    """What one job compares; there is no job where nothing could be built."""

    kind: Kind
    rows: tuple[Row, ...]

    @property
    def live(self) -> tuple[Row, ...]:
        """The rows that are measured."""
        return tuple(row for row in self.rows if row.failure is None)


# --- keys ----------------------------------------------------------------------------------------------------------


def begin(asked: Asked, probed: Mapping[str, Any]) -> Begun:
    """What is asked now, of a device that has just said what it is."""
    now = datetime.now(UTC)
    return Begun(
        schema=SCHEMA,
        asked=asked,
        created=now.isoformat(timespec="seconds"),
        stamp=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        words=words(asked),
        facts={key: str(probed["facts"].get(key)) for key in (*IDENTITY, "power_mode")},
        versions={name: str(version) for name, version in sorted(probed["versions"].items())},
    )


def words(asked: Asked) -> str:
    """Digest of what the controller knows of what is asked: words, sources, versions of what builds."""
    runtime = content.find("runtime", asked.runtime)
    built = {name: extras.version(name) for name in content.constant("runtime", asked.runtime, "CONVERTERS")}
    source = content.source_hash(runtime, *sorted(runtime.parent.glob("_*.py")))
    return digest({"asked": asdict(asked), "options": keys.options(asked.request), "built": built, "runtime": source})


def changed(then: Begun, now: Begun) -> list[str]:
    """What a table of the same words no longer speaks for, each with what it was and is."""
    before, after = {**then.facts, **then.versions}, {**now.facts, **now.versions}
    told = [f"{name} was {before.get(name)}, is {after[name]}" for name in after if before.get(name) != after.get(name)]
    return told + (["the model, the task or the program changed"] if then.words != now.words else [])


def _stem(asked: Asked) -> str:
    return f"{asked.model}-{asked.runtime}-{asked.precision}-{asked.threads}t"


# --- places --------------------------------------------------------------------------------------------------------


def home(results: Path, device: str) -> Path:
    """Where the plans of a device lie."""
    return results / device / "plans"


def make(results: Path, begun: Begun) -> Path:
    """Make the folder of what is asked, if it is not there, and return it. Raises StoreError."""
    folder = home(results, begun.asked.device) / begun.name
    if not (folder / _ASKED).is_file():
        document.write(folder / _ASKED, Begun, begun)
    return folder


def set_aside(folder: Path) -> None:
    """Give what is to be measured anew, a plan or one job of it, another name: all that was measured stays. Raises StoreError."""
    with reported(folder, GO_ON):
        folder.rename(folder.with_name(f"{folder.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}Z"))


def anew(folder: Path) -> Path:
    """A file that stands in what an `--again` measures until all of that command is done."""
    return folder / "again"


def alike(results: Path, asked: Asked) -> tuple[Path, ...]:
    """The folders of the same words, of any device state and program, oldest first; damaged ones are none."""
    found = []
    for file in home(results, asked.device).glob(f"{_stem(asked)}-????????/{_ASKED}"):
        try:
            begun = load_begun(file.parent)
        except StoreError:
            continue
        if begun.asked == asked:
            found.append((begun.created, file.parent))
    return tuple(folder for _, folder in sorted(found))


def places(folder: Path, part: str) -> tuple[Path, ...]:
    """The folders of the jobs that were begun for one part, in order."""
    return tuple(sorted(file.parent for file in (folder / part).glob(f"[0-9][0-9][0-9]/{_ROWS}")))


def place(folder: Path, part: str, number: int) -> Path:
    """Where the job of this number lies, or will."""
    return folder / part / f"{number:03}"


def vacant(folder: Path, part: str) -> Path:
    """Where the next job of a part will lie: behind all that were begun, set aside or damaged ones among them."""
    begun = (int(own.name[:3]) for own in (folder / part).glob("[0-9][0-9][0-9]*"))
    return place(folder, part, 1 + max(begun, default=-1))


def is_whole(own: Path, runtime: str) -> bool:
    """Whether a job has come to its reply, with blocks enough for an interval, or had nothing to measure."""
    reply = store.load_reply(own, runtime)
    return is_begun(own) and (not load_sheet(own).live if reply is None else not is_too_short(reply))


def is_too_short(reply: wire.Reply) -> bool:
    """Whether a job's budget ended before there were two blocks: it says nothing."""
    return reply.reason == "budget" and reply.blocks < LEAST_BLOCKS


# --- files ---------------------------------------------------------------------------------------------------------


def load_begun(folder: Path) -> Begun:
    """Read asked.json. Raises StoreError: damaged, or from a newer program."""
    return document.read(folder / _ASKED, Begun)


def load_sheet(own: Path) -> Sheet:
    """Read rows.json. Raises StoreError."""
    return document.read(own / _ROWS, Sheet)


def save_sheet(own: Path, sheet: Sheet) -> None:
    """Write rows.json, whole or not at all. Raises StoreError."""
    document.write(own / _ROWS, Sheet, sheet)


def load(folder: Path) -> Planned | None:
    """Read plan.json; None where none was finished. Raises StoreError: damaged, or from a newer program."""
    return document.read(folder / _PLAN, Planned) if (folder / _PLAN).is_file() else None


def save(folder: Path, planned: Planned) -> None:
    """Write plan.json, whole or not at all. Raises StoreError."""
    document.write(folder / _PLAN, Planned, planned)


def is_finished(folder: Path) -> bool:
    """Whether a plan was made of what is in a folder."""
    return (folder / _PLAN).is_file()


def is_begun(own: Path) -> bool:
    """Whether it is known what a job compares."""
    return (own / _ROWS).is_file()


def plain(asked: Asked) -> dict[str, Any]:
    """The words as plan.json has them."""
    return document.plain(Asked, asked)


def tree(planned: Planned) -> dict[str, Any]:
    """A plan as plain JSON, as plan.json and `--json` have it."""
    return document.plain(Planned, planned)


def require_unmixed(rows: Sequence[Row], kept: Sequence[Row], own: Path) -> None:
    """Check that a job that goes on would be made as it was. Raises StoreError: its networks came out different."""
    for now, then in zip(rows, kept, strict=True):
        if then.failure is None and (now.case, now.reference) != (then.case, then.reference):
            raise StoreError(
                f"{own}: {' + '.join(then.pair.options)} came out different this time: {now.failure or 'other bytes'}",
                f"It cannot go on. Remove {own}: the same command measures it anew.",
            )
