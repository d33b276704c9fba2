"""The whole energy protocol on the Jetson-like virtual device, beside a power chip whose true integral is known.

One run: the real command over SSH, agent, sampler, the chip's files as the kernel has them, journal, analysis, Parquet. Power
follows `lab.waves`; in every pass of the last block the chip vanishes in the middle of the window.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_files
import pytest

from harness import store, wire
from harness.analysis.energy import Energies
from harness.records import Interval
from harness.stats.readings import Blank, Drawn, Readings
from harness.stats.windows import energy
from lab import boards, waves
from lab.device import Device
from lab.runs import Boards, journal

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]  # busy machines have passes made again
CHIP = f"/{boards.INA3221}/hwmon/hwmon1"
WINDOWS, WINDOW_S, RATE_HZ = 6, 5.0, 20.0  # 5 s: the least of ina3221
INTO_S = 3.2  # from a pass's first reading; its window begins 0.9 to 2.7 s after that
SLOTS = 3  # of a block: idle, paced, closed
RUN = ("--onnx", "net.onnx", "--runtime", "empty", "--threads", "1", "--budget", "3", "--json")
ENERGY = ("--energy", "both", "--windows", str(WINDOWS), "--window", f"{WINDOW_S:g}", "--rate", f"{RATE_HZ:g}")


@dataclass(frozen=True)
class Measured:
    """A run that has ended: the command's folder, what it printed, the true power meanwhile."""

    boards: Boards
    shown: dict[str, object]
    truth: waves.Truth

    @property
    def folder(self) -> Path:
        return self.boards.runs[-1]

    @property
    def job(self) -> wire.Job:
        job = store.load_job(self.folder, "empty")
        assert job is not None
        return job

    @property
    def passes(self) -> list[wire.PassEvent]:
        """The last attempt of each pass."""
        events = (event for event in store.events(self.folder, "empty") if isinstance(event, wire.PassEvent))
        return list({(event.scenario, event.block): event for event in events}.values())

    @property
    def energies(self) -> Energies:
        """What the program makes of the passes. That others used this machine meanwhile changes nothing in its files."""
        events = store.events(self.folder, "empty")
        alone = [replace(each, contended=False) if isinstance(each, wire.PassEvent) else each for each in events]
        found = Energies.of(self.job, alone, ())
        assert found is not None
        return found

    def true_j(self, event: wire.PassEvent) -> float:
        return self.truth.joules(event.start_ns, event.end_ns)


@pytest.fixture(scope="module")
def measured(lab_rootfs: Path, lab_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("energy")
    with Device("jetson", lab_rootfs, lab_key) as jetson:
        os.sched_setscheduler(jetson.first, os.SCHED_RR, os.sched_param(1))  # a board waits for nobody else's processes
        made = Boards(folder / "home", folder / "cache", jetson)
        onnx_files.convolution(made.folder / "net.onnx")
        with waves.chip(jetson.path(CHIP), folder / "truth"):
            out = followed(made.start("run", "--device", jetson.name, *RUN, *ENERGY), jetson)
    yield Measured(made, json.loads(out), waves.Truth(folder / "truth"))


def followed(process: subprocess.Popen[str], jetson: Device) -> str:
    """Wait for the command, which must succeed, and let the chip vanish in the last block's windows; what it printed."""
    with process:
        flowing = Flow(jetson.path(CHIP) / "curr1_input")
        while process.poll() is None:
            if 0 < flowing.since_s() - INTO_S < 0.5 and len(settled(jetson)) >= SLOTS * (WINDOWS - 1):
                vanish(jetson, 1.0)
            time.sleep(0.02)
        out, err = process.communicate()
    assert process.returncode == 0, err
    return out


class Flow:
    """For how long a file has been read again and again: each reading after a change shows in its time of access."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last_ns, self._read_s, self._began_s = 0, -math.inf, 0.0

    def since_s(self) -> float:
        """For so many seconds now, with no pause of half a second; 0 while there is one."""
        now, read_ns = time.monotonic(), self._file.stat().st_atime_ns
        if read_ns != self._last_ns:
            if now - self._read_s > 0.5:
                self._began_s = now
            self._last_ns, self._read_s = read_ns, now
        return now - self._began_s if now - self._read_s <= 0.5 else 0.0


def vanish(jetson: Device, seconds: float) -> None:
    """The chip's folder is gone for a while, as of a driver that was unbound."""
    there = jetson.path(CHIP)
    away = there.rename(there.with_name("gone"))
    time.sleep(seconds)
    away.rename(there)


def settled(jetson: Device) -> set[tuple[str, int]]:
    """The passes that are not made again, of all blocks."""
    lines = [json.loads(line) for line in journal(jetson).splitlines(keepends=True) if line.endswith(b"\n")]
    made = [line for line in lines if line["kind"] == "pass"]
    return {(each["scenario"], each["block"]) for each in made if not each["contended"] or each["attempt"] == 2}


def covers(found: Interval | None, truth: float) -> bool:
    assert found is not None and found.low is not None and found.high is not None
    return found.low <= truth <= found.high


# --- whole blocks ----------------------------------------------------------------------------------------------------


def test_every_pass_is_made_and_its_window_is_what_was_asked_for(measured: Measured) -> None:
    made = {(event.scenario, event.block): event for event in measured.passes}
    scenarios = (wire.IDLE, *wire.SCENARIOS)
    assert made.keys() == {(scenario, block) for scenario in scenarios for block in range(1, WINDOWS + 1)}
    for (scenario, _), event in made.items():
        assert not event.unopened and not event.throttled
        length_s = (event.end_ns - event.start_ns) / 1e9
        assert WINDOW_S <= length_s < WINDOW_S + (0.5 if scenario == "closed" else 1e-6)
        if scenario == "paced":
            assert (event.inferences, event.rate_hz) == (WINDOW_S * RATE_HZ, RATE_HZ)
        (trace,) = event.traces
        assert (trace.channel.sensor, trace.channel.name, trace.channel.scope) == ("ina3221", "VDD_IN", "module")
        assert trace.t_ns[0] < event.start_ns - 0.4e9 and trace.t_ns[-1] > event.end_ns + 0.4e9


def test_windows_are_within_half_a_percent_of_the_true_integral_and_intervals_cover_it(measured: Measured) -> None:
    assert measured.truth.cycle_s() < 0.02, "the chip was too slow for what it is"
    whole = [event for event in measured.passes if event.block < WINDOWS]
    found = [energy(Readings(event.traces[0]), event.start_ns, event.end_ns) for event in whole]
    assert all(isinstance(each, Drawn) for each in found), found
    errors = [
        each.energy_j / measured.true_j(event) - 1
        for each, event in zip(found, whole, strict=True)
        if isinstance(each, Drawn)
    ]
    assert max(map(abs, errors)) < 0.005, errors
    energies, truths = measured.energies, {}
    told = energies.energy(measured.job.cases[0].case_id, None)
    assert told is not None and set(told.figures) == set(wire.SCENARIOS)
    for scenario in wire.SCENARIOS:
        truths[scenario] = mean([measured.true_j(e) / e.inferences for e in whole if e.scenario == scenario])
        assert covers(told.figures[scenario].gross, truths[scenario])
    idle_w = mean([measured.true_j(e) / WINDOW_S for e in whole if e.scenario == wire.IDLE])
    assert covers(energies.record().idle_w, idle_w)
    assert (told.scope, told.sensor, told.channel, told.scenario) == ("module", "ina3221", "VDD_IN", "paced")


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# --- what is kept and shown ------------------------------------------------------------------------------------------


def test_readings_and_windows_are_kept_as_frames(measured: Measured) -> None:
    frames = store.frames(measured.folder)
    assert set(frames.windows.block) == set(range(1, WINDOWS + 1)) and (frames.windows.runtime == "empty").all()
    readings = frames.power[frames.power.status == "ok"]
    assert set(zip(readings.sensor, readings.channel, readings.scope, readings.unit, strict=True)) == {
        ("ina3221", "VDD_IN", "module", "W")
    }
    for event in measured.passes:
        mine = readings[(readings.scenario == event.scenario) & (readings.block == event.block)]
        mine = mine[mine.attempt == event.attempt]
        assert tuple(mine.start_ns) == event.traces[0].t_ns and tuple(mine.value) == event.traces[0].values


def test_a_virtual_device_s_energy_is_no_figure_and_the_table_says_so(measured: Measured) -> None:
    (job,) = measured.shown["jobs"]
    assert sum(job["energy"]["passes"].values()) == SLOTS * WINDOWS and job["energy"]["passes"]["failed"] == 0
    assert job["energy"]["idle_w"] is None and job["energy"]["sampler"] is None
    (case,) = measured.shown["cases"]
    assert case["energy_j"] is None and case["reasons"]["energy_j"] and case["status"] == "ok"
    counted = {(each.scenario, each.block) for each in measured.passes if not each.contended}
    if len({block for scenario, block in counted if scenario == "paced" and block < WINDOWS}) > 1:
        assert case["energy_status"] == "virtual" and "no real energy" in case["reasons"]["energy_j"]
        assert (job["energy"]["scope"], job["energy"]["channel"]) == ("module", "VDD_IN")
    table = measured.boards("show")
    assert table.code == 0 and "virtual" in table.out and case["reasons"]["energy_j"] in " ".join(table.out.split())
    assert " mJ" not in table.out and " J " not in table.out


def test_power_over_time_is_drawn_with_its_holes_and_energy_is_not(measured: Measured) -> None:
    drawn = measured.boards("plot", "--kind", "power", "--block", str(WINDOWS), "--out", "power.svg")
    assert drawn.code == 0, drawn.err
    picture = (measured.boards.folder / "power.svg").read_text()
    assert "ina3221 VDD_IN, scope module" in picture and "virtual" in picture and "no reading" in picture
    assert "error" in (measured.boards.folder / "power.csv").read_text()
    refused = measured.boards("plot", "--kind", "energy", "--out", "energy.svg")
    assert refused.code != 0 and "stand for no real one" in refused.err


# --- a chip that vanishes --------------------------------------------------------------------------------------------


def test_a_chip_that_vanishes_in_mid_window_gives_no_figure_for_it_and_a_finding_and_the_run_ends(
    measured: Measured,
) -> None:
    for event in (each for each in measured.passes if each.block == WINDOWS):
        (trace,) = event.traces
        within = [gap for gap in trace.gaps if event.start_ns < gap.t_ns < event.end_ns]
        assert {gap.status for gap in within} == {"error"} and all("hwmon1/" in gap.reason for gap in within)
        assert trace.t_ns[-1] > event.end_ns, "it came back"
        found = energy(Readings(trace), event.start_ns, event.end_ns)
        assert isinstance(found, Blank) and found.status == "error" and "hwmon1/" in found.reason
    assert all(event.traces[0].gaps == () for event in measured.passes if event.block < WINDOWS)
    energies = measured.energies
    told = energies.energy(measured.job.cases[0].case_id, None)
    assert told is not None and [figure.windows for figure in told.figures.values()] == [WINDOWS - 1] * 2
    record = energies.record()
    assert record.passes == {"ok": SLOTS * (WINDOWS - 1), "contended": 0, "throttled": 0, "uncovered": 3, "failed": 0}
    lost = [finding for finding in measured.shown["findings"] if finding["kind"] == "energy-lost"]
    counted = [event for event in measured.passes if event.block == WINDOWS and not event.contended]
    assert sum(finding["numbers"]["windows"] for finding in lost) == len(counted)
    assert all(finding["numbers"]["status"] == "error" for finding in lost)
    assert json.loads((measured.folder / "run.json").read_text())["status"] == "done"
