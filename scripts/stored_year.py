"""Nights on disk as a year of five devices leaves them, to time what `harness nightly` does with them.

python scripts/stored_year.py FOLDER [--nights 365]
cd FOLDER; time harness nightly --dry-run; python .../scripts/stored_year.py . --time

Writes FOLDER/inventory.yaml and FOLDER/results: per device a canary and two rows, measured every night, four rungs each, with the
job of each run and no samples. With --time judges the last night and draws its page instead, and prints how long each step took.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import example_run  # noqa: E402
from pydantic import TypeAdapter  # noqa: E402

from harness import inventory, jobs, wire  # noqa: E402
from harness.nights import gallery, history, identity, judging, matrix, series  # noqa: E402
from harness.nights.matrix import Laid  # noqa: E402
from harness.nights.past import Past  # noqa: E402
from harness.records import Artifact, Profile, Run  # noqa: E402
from harness.records.nights import Night, RowOutcome  # noqa: E402
from harness.store import nights  # noqa: E402

LAST = date(2026, 11, 21)
RUNGS, SD = 4, 0.005
INVENTORY = """\
devices:
  pi4: {profile: raspberry-pi-4, host: pi4.invalid}
  pi5: {profile: raspberry-pi-5, host: pi5.invalid}
  jetson: {profile: jetson-orin-nano, host: jetson.invalid}
  desktop: {profile: workstation-x86, host: desktop.invalid}
  local: {profile: host}
nightly:
  max_age_days: 1
  matrix: [{devices: [pi4, pi5, jetson, desktop, local], models: [resnet18, mobilenet_v2], methods: [order]}]
"""
_T = TypeVar("_T")


def main() -> int:
    """Write the year, or time it. Returns 0."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("folder", type=Path)
    made.add_argument("--nights", type=int, default=365, metavar="N")
    made.add_argument("--time", action="store_true", help="Time what is there.")
    said = made.parse_args()
    if said.time:
        timed(said.folder / "results", said.folder / "night.html")
    else:
        written(said.folder, said.nights)
    return 0


def written(folder: Path, count: int) -> None:
    """Write inventory, runs and nights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inventory.yaml").write_text(INVENTORY)
    devices, found = inventory.nightly(folder / "inventory.yaml")
    rows = matrix.lay(found, devices)
    here = {each.row.key: identity.here(each.plan, each.device) for each in rows if each.plan}
    draw, first = random.Random(0), example_run.run()
    first = dataclasses.replace(first, cases=first.cases[:RUNGS], entries=first.entries[:RUNGS])
    job = wire.encode(_job(first)).encode()
    for n in range(count):
        day = LAST - timedelta(days=count - 1 - n)
        came = tuple(
            RowOutcome(
                each.row, "measured", run=_run(folder / "results", first, job, each, day, k, 1 + draw.gauss(0, SD)),
                seconds=60.0, here=here[each.row.key], there={"kernel": "6.1"},
            )
            for k, each in enumerate(rows)
        )  # fmt: skip
        times = (f"{day}T02:00:00+00:00", f"{day}T04:00:00+00:00")
        nights.save(folder / "results", Night(nights.SCHEMA, f"{day}-{n:04x}", *times, came, session=f"{n:08x}"))


def _run(results: Path, first: Run, job: bytes, laid: Laid, day: date, k: int, factor: float) -> str:
    """Write a run so many times slower, with its job; return its name. Not synced: there are thousands."""
    name = f"{day:%Y%m%d}T02{k:02}00Z-{k:04x}"
    cases = tuple(
        dataclasses.replace(each, model=laid.row.model, latency_ns=_slower(each.latency_ns, factor))
        for each in first.cases
    )
    created = f"{day}T02:{k:02}:00+00:00"
    run = dataclasses.replace(first, run=name, device=laid.row.device, cases=cases, created=created)
    folder = results / laid.row.device / name / "jobs" / "onnxruntime"
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(job)
    (folder.parent.parent / "run.json").write_text(json.dumps(_RUN.dump_python(run, mode="json"), indent=1))
    return name


_RUN = TypeAdapter(Run)


def _slower(estimate: example_run.Estimate | None, factor: float) -> example_run.Estimate | None:
    if estimate is None:
        return None
    scaled: Mapping[str, float] = {key: getattr(estimate, key) * factor for key in ("median", "low", "high", "p99")}
    return dataclasses.replace(estimate, **scaled)


def _job(run: Run) -> wire.Job:
    made = Artifact("a" * 64, "a", 1000, "v", "onnxruntime", "fp32", 1, "b" * 64, "b", 10, 1e-4, None, {})
    artifacts = {each.case.case_id: made for each in run.entries}
    job = jobs.make(run, "onnxruntime", artifacts, Profile("host", "here", "any", ("onnxruntime",)))
    assert job is not None
    return job


def timed(results: Path, out: Path) -> None:
    """Judge the last night twice, as where something is measured again, and draw its page."""
    *earlier, last = _told("nights read", lambda: nights.nights(results))
    past, cases = Past(earlier), series.Cases(results)
    _told("judged, with the index", lambda: judging.judge(last, past, cases))
    _told("judged again", lambda: judging.judge(last, past, cases))
    found = _told("all series", lambda: series.all_rows(last, past, series.Cases(results)))
    drawn = history.chronicles(found, last, past)
    _told("page", lambda: gallery.write(last, drawn, out))
    print(f"{len(found)} series, page of {out.stat().st_size / 1e6:.1f} MB")


def _told(what: str, do: Callable[[], _T]) -> _T:
    began = time.monotonic()
    done = do()
    print(f"{time.monotonic() - began:6.2f} s  {what}")
    return done


if __name__ == "__main__":
    sys.exit(main())
