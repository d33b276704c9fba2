"""A place of its own in which `harness plan` is carried out and choices of options are tried; what came of it is kept.

Results, cache and workdir are temporary; the plan and, of each job, every ratio with its interval are written to
`benchmarks/data/planner-<suite>.json` as soon as they are known: a figure can be checked later, whatever came after it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.noise import DATA
from harness import inventory, jobs, store
from harness.child import Progress
from harness.errors import HarnessError
from harness.findings.views import count
from harness.planner import folder, table, trials
from harness.planner.trials import UNFOLDED, Options, Trial
from harness.records import Speedup
from harness.records.planned import Planned

FORMS = "plain"  # what the literature's choices are of: activations removed, layers merged
_CACHE_GB = 24  # a row of ResNets is more than the usual cap holds
_COMPARED = (
    12  # blocks: two tell a ratio, but with neighbours each process takes several times as long as the table's did
)
_SAME = Speedup(1.0, None, None, "same")


@dataclass(frozen=True)
class Spent:
    """How long `harness plan` took, in s: all of it, and to the end of its table's last job (None: there was none)."""

    whole_s: float
    table_s: float | None


@dataclass
class World:
    """An inventory, results and a cache of their own; `kept` is what goes to the suite's file."""

    suite: str
    place: Path
    model: str
    task: str
    budget_s: float | None = None
    data: Path = DATA
    kept: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> tuple[Planned, Spent]:
        """Carry `harness plan` out; return what it found, and how long that took. Raises CalledProcessError."""
        words = {"--device": "local", "--model": self.model, "--task": self.task, "--forms": FORMS}
        words |= {} if self.budget_s is None else {"--budget": f"{self.budget_s:g}"}
        command = [sys.executable, "-m", "harness", "plan", *(word for pair in words.items() for word in pair)]
        began, usual = time.time(), {**os.environ, **_settings(self.place)}
        subprocess.run(command, cwd=self.place, env=usual, stdout=subprocess.DEVNULL, check=True)
        spent_s = time.time() - began
        found = folder.load(self.own)
        assert found is not None
        replies = [file.stat().st_mtime for file in self.own.glob("table/[0-9]*/jobs/*/reply.json")]
        spent = Spent(spent_s, max(replies) - began if replies else None)
        self.keep("plan", folder.tree(found))
        return found, spent

    @property
    def own(self) -> Path:
        """The plan's folder."""
        (found,) = self.place.glob("results/local/plans/*/asked.json")
        return found.parent

    def jobs(self) -> frozenset[str]:
        """All jobs that the device has had, and that the plan's folder has."""
        patterns = ("workdir/jobs/*", "results/local/plans/*/table/*", "results/local/plans/*/verify/*")
        return frozenset(str(path) for pattern in patterns for path in self.place.glob(pattern))

    def look_up(self) -> tuple[float, int]:
        """Carry the same words out again; return the seconds that took, and how many jobs are new."""
        before = self.jobs()
        _, spent = self.plan()
        return spent.whole_s, len(self.jobs() - before)

    def budget(self, networks: int, blocks: int) -> float:
        """Seconds that hold so many blocks of so many networks, by the pace of the table's last job; a usual job's at least."""
        return max(table.MOST_S, self._seconds(networks, blocks))

    def _enough(self, networks: int, budget_s: float | None) -> float | None:
        """A job's budget; where this world has a small one, that, or as much as a comparison takes."""
        return budget_s if self.budget_s is None else max(self.budget_s, self._seconds(networks, _COMPARED))

    def _seconds(self, networks: int, blocks: int) -> float:
        paces = (table.process_s(store.events(each, "onnxruntime")) for each in folder.places(self.own, folder.TABLE))
        pace_s = next((pace for pace in reversed([*paces]) if pace is not None), table.PROCESS_S)
        return blocks * (networks + jobs.replicates(networks)) * pace_s

    def trial(self, part: str, sets: Sequence[Options], budget_s: float | None = None) -> Trial | str:
        """Measure option sets against the unfolded network, in one job with blocks of its own; or say why there is none."""
        wanted = [*dict.fromkeys(each for each in sets if each)]
        if not wanted:
            return "there is nothing to measure"
        device = inventory.device("local", self.place / "inventory.yaml")
        try:
            with _environment(self.place):
                found = trials.trial(self.own, device, wanted, _say, self._enough(len(wanted), budget_s), again=True)
        except HarnessError as error:
            self.keep(part, {"failure": error.message})
            return error.message
        except (
            Exception
        ) as error:  # one job that ends by a mistake of ours is a figure that fails, not the end of an hour
            traceback.print_exc()
            self.keep(part, {"failure": repr(error)})
            return repr(error)
        self.keep(part, {"blocks": found.measured.blocks, "choices": [_plain(found, each) for each in wanted]})
        return found

    def keep(self, part: str, what: Any) -> None:
        """Write what is known by now."""
        self.kept[part] = what
        self.data.mkdir(exist_ok=True)
        (self.data / f"planner-{self.suite}.json").write_text(json.dumps(self.kept, separators=(",", ":")) + "\n")


def _plain(trial: Trial, options: Options) -> dict[str, Any]:
    """What one choice came to against the unfolded network."""
    found = told(trial, options)
    ratio = {"failure": found} if isinstance(found, str) else asdict(found)
    return {"options": list(options), "latency_ns": trial.latency_ns(options), **ratio}


# --- what trials say -------------------------------------------------------------------------------------------------


def told(trial: Trial | str, options: Options, against: Options = UNFOLDED) -> Speedup | str:
    """How many times as fast one choice is as another, paired within one job; or why that is not known, in one line."""
    if isinstance(trial, str):
        return _line(trial)
    if trial.is_same(options, against) and trial.latency_ns(options) is not None:
        return _SAME
    found = trial.compared(options, against)
    return found.speedup or _line(found.failure or "measured in fewer than two blocks")


def _line(reason: str) -> str:
    """A reason that breaks no table."""
    return " ".join(reason.replace("|", "/").split())[:200]


@dataclass(frozen=True)
class Over:
    """One comparison in several jobs: what it came to in each, and why it is not known in others."""

    found: tuple[Speedup, ...]
    lost: tuple[str, ...]

    @classmethod
    def of(cls, jobs: Sequence[Trial | str], options: Options, against: Options = UNFOLDED) -> Over:
        """The comparison in these jobs."""
        each = [told(job, options, against) for job in jobs]
        return cls(
            tuple(one for one in each if isinstance(one, Speedup)), tuple(one for one in each if isinstance(one, str))
        )

    @property
    def middle(self) -> float | None:
        """The median over jobs."""
        return statistics.median(one.ratio for one in self.found) if self.found else None

    def holds(self, bar: Callable[[float], bool]) -> bool:
        """Whether the median is within a bar, and no job failed."""
        return self.middle is not None and not self.lost and bar(self.middle)

    def words(self) -> str:
        """The median."""
        return "not measured" if self.middle is None else f"{self.middle:.2f}x"

    def range(self) -> str:
        """How far the jobs lie apart, the ends of all their intervals, and what failed."""
        said = [f"median of {count(len(self.found), 'job')}"]
        if self.found:
            ratios = [one.ratio for one in self.found]
            ends = [end for one in self.found for end in (one.low, one.high) if end is not None]
            said.append(f"{min(ratios):.2f} to {max(ratios):.2f}")
            said.append(f"95 % intervals within {min(ends):.2f} to {max(ends):.2f}" if ends else "no interval")
        return ", ".join([*said, *([f"{len(self.lost)} failed: {self.lost[0]}"] if self.lost else [])])


def interval(found: Speedup) -> str:
    """A ratio with its interval, where it has one."""
    if found.low is None or found.high is None:
        return f"{found.ratio:.2f}x ({'the same network' if found is _SAME else 'no interval'})"
    return f"{found.ratio:.2f}x [{found.low:.2f}, {found.high:.2f}]"


# --- its surroundings ------------------------------------------------------------------------------------------------


@contextmanager
def world(suite: str, model: str, task: str, **more: Any) -> Iterator[World]:
    """A new one, with a cache that is empty."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        place = Path(name)
        devices = {"local": {"profile": "host", "workdir": str(place / "workdir")}}
        (place / "inventory.yaml").write_text(json.dumps({"devices": devices}))
        yield World(suite, place, model, task, **more)


def _settings(place: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(place / "cache"), "HARNESS_CACHE_GB": str(_CACHE_GB)}


@contextmanager
def _environment(place: Path) -> Iterator[None]:
    usual = {name: os.environ.get(name) for name in _settings(place)}
    os.environ.update(_settings(place))
    try:
        yield
    finally:
        for name, value in usual.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _say(progress: Progress) -> None:
    print(progress.text, file=sys.stderr)
