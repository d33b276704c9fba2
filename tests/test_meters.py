"""Meters that the controller reads: real sensors, real records, and whatever goes wrong with either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from agent_jobs import CONTENT, Bench
from lab.sshd import Sshd, why_not
from test_ssh import address

from harness import clocks, content, following, interrupt, meters, store, wire
from harness.analysis.energy import Energies
from harness.errors import DeviceError, StoreError
from harness.meters import record
from harness.records import Unread
from harness.transport import Local
from harness.transport.ssh import Ssh

WAVE = {"shape": "sine", "mean_w": 10.0, "amplitude_w": 5.0, "frequency_hz": 0.5, "period_s": 0.005}
RUNTIME = "empty"


def until(condition: Callable[[], object], limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def lines(folder: Path, kind: type[Any] = object) -> list[Any]:
    """The whole lines of a record of one kind."""
    file = folder / "jobs" / RUNTIME / "meters.jsonl"
    found = meters.read(file.read_bytes(), "record") if file.is_file() else []
    return [line for line in found if isinstance(line, kind)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("meter ")]


def reader(folder: Path, sensors: Mapping[str, Mapping[str, Any]]) -> meters.Reader:
    """A reader of this machine's meters, whose device is this machine."""
    keep = partial(store.meter_record, folder, RUNTIME)
    return meters.Reader(sensors, keep, lambda: Local("desk", folder / "workdir").clock(Path()))


def read_for(folder: Path, sensors: Mapping[str, Mapping[str, Any]], enough: Callable[[], object]) -> None:
    with reader(folder, sensors) as reading:
        reading.tick(True)
        until(enough)
        reading.end()
    assert threads() == []


@pytest.fixture(autouse=True)
def _content(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    yield
    interrupt.clear()
    until(lambda: not threads(), 5.0)


@pytest.fixture
def sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a sensor of a user's own."""
    folder = tmp_path / "content" / "sensors"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HARNESS_CONTENT", os.pathsep.join([str(tmp_path / "content"), str(CONTENT)]))

    def write(name: str, body: str) -> None:
        head = f"""
            import contextlib
            import time
            from harness import wire
            from harness.sensing import AbsentError, Taken
            WINDOW_S, OPTIONS, WHERE = (1.0, 1.0), {{}}, "controller"
            CHANNEL = wire.Channel("{name}", "total", "wall", "instant_power", True)
            def probe(options): return "ok", ""
        """
        text = textwrap.dedent(head) + textwrap.dedent(body)
        (folder / f"{name}.py").write_text('"""A meter."""\n' + text)

    return write


# --- real sensors --------------------------------------------------------------------------------------------------


class Plug(BaseHTTPRequestHandler):
    """What a Shelly says: 36 W since a moment, counted in Wh of three decimals."""

    began = time.monotonic()

    def do_GET(self) -> None:
        joule = 36.0 * (time.monotonic() - self.began)
        fields = {"id": 0, "output": True, "apower": 36.0, "aenergy": {"total": round(1 + joule / 3600, 3)}}
        data = json.dumps(fields).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def plug() -> Iterator[tuple[str, ThreadingHTTPServer]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Plug)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_plug_on_the_network_is_read_and_its_times_are_the_device_s(tmp_path: Path) -> None:
    before = time.monotonic_ns()
    with plug() as (host, _):
        read_for(tmp_path, {"shelly": {"host": host}}, lambda: len(lines(tmp_path, record.ReadingLine)) >= 4)
    found = {each.trace.channel.name: each for each in store.meters(tmp_path, RUNTIME)}
    power, energy = found["power"].trace, found["energy"].trace
    assert set(power.values) == {36.0} and power.channel.scope == "wall"
    assert energy.values[-1] >= energy.values[0] >= 3600.0
    assert before <= power.t_ns[0] < power.t_ns[-1] <= time.monotonic_ns()
    assert 0 <= found["power"].bound_s < 0.2


def test_a_plug_that_goes_away_gives_gaps_and_the_reader_goes_on(tmp_path: Path) -> None:
    with reader(tmp_path, {}) as reading, plug() as (host, server):
        reading.sensors = {"shelly": {"host": host}}
        reading.tick(True)
        until(lambda: lines(tmp_path, record.ReadingLine))
        server.shutdown()
        server.socket.close()
        until(lambda: lines(tmp_path, record.GapLine))
        reading.end()
    (first, _) = store.meters(tmp_path, RUNTIME)
    assert first.trace.gaps[-1].status == "error" and first.trace.gaps[-1].reason


def test_a_program_of_the_user_s_is_read_and_ends_with_the_reader(tmp_path: Path) -> None:
    script = "import os, time\nprint(os.getpid(), 'W', flush=True)\nwhile True: time.sleep(0.02); print('12.5 W', flush=True)"
    options = {"program": [sys.executable, "-c", script], "unit": "W", "scope": "dc_input"}
    read_for(tmp_path, {"controller_command": options}, lambda: len(lines(tmp_path, record.ReadingLine)) >= 5)
    (found,) = store.meters(tmp_path, RUNTIME)
    pid = int(found.trace.values[0])
    assert set(found.trace.values[1:]) == {12.5}
    assert found.bound_s < 0.1  # a line that comes is known when it comes, however long it was waited for
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_several_meters_are_read_side_by_side(tmp_path: Path) -> None:
    with plug() as (host, _):
        sensors = {"shelly": {"host": host}, "waves": WAVE}
        read_for(tmp_path, sensors, lambda: {line.n for line in lines(tmp_path, record.ReadingLine)} == {0, 1, 2})
    assert {each.trace.channel.sensor for each in store.meters(tmp_path, RUNTIME)} == {"shelly", "waves"}


def test_nothing_is_read_before_there_are_energy_passes(tmp_path: Path) -> None:
    with reader(tmp_path, {"waves": WAVE}) as reading:
        reading.tick(False)
        assert threads() == []
        reading.end()
    assert not (tmp_path / "jobs").exists()
    assert store.meters(tmp_path, RUNTIME) == ()


# --- what goes wrong with a meter ----------------------------------------------------------------------------------

OPENING = {
    "unsupported": "@contextlib.contextmanager\ndef open(options):\n    raise AbsentError('no such meter')\n    yield",
    "permission": "def open(options):\n    raise PermissionError('not yours')",
    "error": "def open(options):\n    raise ZeroDivisionError('its own code')",
}


@pytest.mark.parametrize("status", OPENING)
def test_a_meter_that_cannot_be_opened_is_told_with_status_and_reason(
    tmp_path: Path, sensor: Callable[[str, str], None], status: str
) -> None:
    sensor("odd", OPENING[status])
    read_for(tmp_path, {"odd": {}, "waves": WAVE}, lambda: lines(tmp_path, record.UnopenedLine))
    found = store.meters_found(tmp_path, RUNTIME)
    assert [each.trace.channel.sensor for each in found.traces] == ["waves"]
    assert found.unread["odd"].startswith(f"{status}: ")
    told = [each for each in store.all_meters(tmp_path, [RUNTIME])[RUNTIME] if isinstance(each, Unread)]
    assert [(each.sensor, each.why) for each in told] == list(found.unread.items())


def test_a_meter_without_a_file_is_told_too(tmp_path: Path) -> None:
    read_for(tmp_path, {"gone": {}}, lambda: lines(tmp_path, record.UnopenedLine))
    assert "gone" in store.meters_found(tmp_path, RUNTIME).unread["gone"]
    assert store.meters(tmp_path, RUNTIME) == ()


READING = """
    class Session:
        channels, period_s, count = (CHANNEL,), 0.01, 0
        def read(self):
            Session.count += 1
            {act}
            return [Taken(0, float(Session.count))]
    @contextlib.contextmanager
    def open(options):
        yield Session()
"""
ODD = {
    "raises": ("if Session.count == 3: raise RuntimeError('its own code')", "error", "RuntimeError: its own code"),
    "exits": ("if Session.count == 3: raise SystemExit('gone')", "error", "SystemExit: gone"),
    "nan": ("if Session.count == 3: return [Taken(0, float('nan'))]", "error", "nan is no reading"),
    "nothing-called-ok": ("if Session.count == 3: return [Taken(0, None)]", "error", "None is no reading"),
    "unknown-channel": ("if Session.count == 3: return [Taken(7, 1.0)]", "error", "IndexError"),
    "back-in-time": ("if Session.count == 3: return [Taken(0, 1.0, t_ns=5)]", "error", "went back"),
    "stale": ("if Session.count == 3: return [Taken(0, None, 'stale', 'it stalls')]", "stale", "it stalls"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_reading_that_is_none_is_a_gap_and_never_a_number(
    tmp_path: Path, sensor: Callable[[str, str], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.meters.reader._AGAIN_S", 0.05)
    act, status, reason = ODD[name]
    sensor("odd", READING.format(act=act))
    read_for(tmp_path, {"odd": {}}, lambda: len(lines(tmp_path, record.ReadingLine)) >= 4)
    (found,) = store.meters(tmp_path, RUNTIME)
    assert found.trace.values[:4] == (1.0, 2.0, 4.0, 5.0)
    (gap,) = found.trace.gaps
    assert gap.status == status and reason in gap.reason
    assert found.trace.t_ns[1] <= gap.t_ns <= found.trace.t_ns[2]


def test_a_reading_that_took_far_too_long_is_stale_for_nobody_knows_when_it_was_taken(
    tmp_path: Path, sensor: Callable[[str, str], None]
) -> None:
    sensor("odd", READING.format(act="if Session.count == 3: time.sleep(0.3)"))
    read_for(tmp_path, {"odd": {}}, lambda: len(lines(tmp_path, record.ReadingLine)) >= 6)
    (found,) = store.meters(tmp_path, RUNTIME)
    assert 3.0 not in found.trace.values and [gap.status for gap in found.trace.gaps] == ["stale"]
    assert found.bound_s < 0.06


def test_a_meter_that_holds_its_thread_does_not_hold_the_run(
    tmp_path: Path, sensor: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its context is left under the reading, which most meters notice; one that does not writes nothing any more."""
    monkeypatch.setattr("harness.meters.reader._ENDING_S", (0.05, 0.2))
    sensor("odd", READING.format(act="time.sleep(1.0) if Session.count == 3 else None"))
    with reader(tmp_path, {"odd": {}}) as reading:
        reading.tick(True)
        until(lambda: len(lines(tmp_path, record.ReadingLine)) == 2)
        time.sleep(0.05)
        began = time.monotonic()
        reading.end()
        assert time.monotonic() - began < 0.8
    kept = (tmp_path / "jobs" / RUNTIME / "meters.jsonl").read_bytes()
    until(lambda: not threads(), 3.0)
    assert (tmp_path / "jobs" / RUNTIME / "meters.jsonl").read_bytes() == kept


def test_an_interruption_ends_the_threads_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reader(tmp_path, {"waves": {**WAVE, "period_s": 60.0}}) as reading:
        reading.tick(True)
        until(lambda: lines(tmp_path, record.ReadingLine))
        began = time.monotonic()
        interrupt.interrupt()
        interrupt.pause(10.0)
    assert threads() == [] and time.monotonic() - began < 0.5


def test_a_record_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    file = tmp_path / "jobs" / RUNTIME / "meters.jsonl"
    file.parent.mkdir(parents=True)
    file.mkdir()
    with reader(tmp_path, {"waves": WAVE}) as reading:
        reading.tick(True)
        reading.end()
    assert threads() == []


# --- clocks that cannot be compared --------------------------------------------------------------------------------


def with_clock(
    folder: Path, clock: Callable[[], AbstractContextManager[clocks.Echo]], sensors: Mapping[str, Mapping[str, Any]]
) -> meters.Reader:
    return meters.Reader(sensors, partial(store.meter_record, folder, RUNTIME), clock)


def test_without_the_device_s_clock_there_is_no_trace_but_a_reason(tmp_path: Path) -> None:
    @contextmanager
    def silent() -> Iterator[clocks.Echo]:
        raise DeviceError("device board: no answer in time")
        yield clocks.Same("")

    with with_clock(tmp_path, silent, {"waves": WAVE}) as reading:
        reading.tick(True)
        until(lambda: lines(tmp_path, record.ReadingLine))
        reading.end()
    found = store.meters_found(tmp_path, RUNTIME)
    assert found.traces == ()
    assert "never compared" in found.unread["waves"] and "no answer in time" in found.unread["waves"]


def test_a_device_that_booted_meanwhile_gives_no_trace_of_that_session(tmp_path: Path) -> None:
    boots = iter(["first", "second"])

    @contextmanager
    def booting() -> Iterator[clocks.Echo]:
        yield clocks.Same(next(boots))

    for _ in range(2):
        with with_clock(tmp_path, booting, {"waves": WAVE}) as reading:
            reading.tick(True)
            before = len(lines(tmp_path, record.ReadingLine))
            until(lambda before=before: len(lines(tmp_path, record.ReadingLine)) > before)  # type: ignore[misc]
            reading.end()
    assert [found.boot_id for found in store.meters(tmp_path, RUNTIME)] == ["first", "second"]
    file = tmp_path / "jobs" / RUNTIME / "meters.jsonl"
    one_session = [
        line for n, line in enumerate(file.read_bytes().splitlines(True)) if n == 0 or b"session" not in line
    ]
    file.write_bytes(
        b"".join(line.replace(b'"group":0', b'"group":7') if b"second" in line else line for line in one_session)
    )
    found = store.meters_found(tmp_path, RUNTIME)
    assert found.traces == () and "booted" in found.unread["waves"]


# --- the record ----------------------------------------------------------------------------------------------------

CONTROLLER = f"""
import sys
from pathlib import Path
from functools import partial
from harness import meters, store
from harness.transport import Local
folder = Path(sys.argv[1])
keep = partial(store.meter_record, folder, "empty")
with meters.Reader({{"waves": {WAVE!r}}}, keep, lambda: Local("desk", folder / "workdir").clock(Path())) as reading:
    reading.tick(True)
    print("reading", flush=True)
    sys.stdin.read()
"""


def _wave_holds(found: Any) -> None:
    """Every value is that of the wave at its time: the times are those of the clock that the wave is made by."""
    waves = content.load("sensor", "waves")
    for t_ns, value in zip(found.trace.t_ns, found.trace.values, strict=True):
        assert abs(waves.power_w(WAVE, t_ns) - value) < 0.01 + 20.0 * found.bound_s


def test_a_controller_that_is_killed_loses_a_line_at_most_and_the_next_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"reading\n"
        until(lambda: len(lines(tmp_path, record.ReadingLine)) > 20)
        child.send_signal(signal.SIGKILL)
    file = tmp_path / "jobs" / RUNTIME / "meters.jsonl"
    with file.open("ab") as torn:
        torn.write(file.read_bytes().splitlines()[-1][:-9])
    before = len(lines(tmp_path, record.ReadingLine))
    (killed,) = store.meters(tmp_path, RUNTIME)
    assert len(killed.trace.t_ns) == before > 20
    _wave_holds(killed)
    read_for(tmp_path, {"waves": WAVE}, lambda: len(lines(tmp_path, record.ReadingLine)) > before + 20)
    first, second = store.meters(tmp_path, RUNTIME)
    assert first == killed and second.trace.t_ns[0] > first.trace.t_ns[-1]
    _wave_holds(second)
    assert len(lines(tmp_path, record.SessionLine)) == 2


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, bytes]:
    read_for(tmp_path, {"waves": WAVE}, lambda: len(lines(tmp_path, record.ReadingLine)) > 3)
    file = tmp_path / "jobs" / RUNTIME / "meters.jsonl"
    return file, file.read_bytes()


@pytest.mark.parametrize("rest", [b'{"kind":', b"\0" * 100, b"\0\0\n", b"half a line\n", b'{"v":1}'])
def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_session(
    tmp_path: Path, written: tuple[Path, bytes], rest: bytes
) -> None:
    file, whole = written
    before = store.meters(tmp_path, RUNTIME)
    file.write_bytes(whole + rest)
    assert store.meters(tmp_path, RUNTIME) == before
    with store.meter_record(tmp_path, RUNTIME) as keep:
        keep(record.SessionLine("boot", 1))
    assert file.read_bytes().startswith(whole + b'{"boot":"boot"')
    assert store.meters(tmp_path, RUNTIME) == before


@pytest.mark.slow
def test_a_record_torn_at_any_byte_is_still_read(tmp_path: Path, written: tuple[Path, bytes]) -> None:
    file, whole = written
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        assert len(store.meters(tmp_path, RUNTIME)) <= 1


DAMAGE = {
    "no-json": (lambda line: line[:10], "not JSON"),
    "nan": (lambda line: line.replace(b'"v":1', b'"v":NaN'), "NaN"),
    "kind": (lambda line: line.replace(b'"kind":"', b'"kind":"un'), "kind one of"),
    "key": (lambda line: line.replace(b'{"', b'{"more":1,"', 1), "unknown keys"),
    "negative": (lambda line: line.replace(b'"t_ns":', b'"t_ns":-'), "t_ns|JSON"),
    "version": (lambda line: line.replace(b'"v":1', b'"v":2'), "newer program"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_elsewhere_is_an_error_with_file_and_line(
    tmp_path: Path, written: tuple[Path, bytes], name: str
) -> None:
    file, whole = written
    damage, said = DAMAGE[name]
    found = whole.splitlines()
    number = next(n for n, line in enumerate(found) if b'"reading"' in line)
    found[number] = damage(found[number])
    file.write_bytes(b"\n".join(found) + b"\n")
    with pytest.raises(StoreError, match=rf"meters.jsonl line {number + 1}.*({said})"):
        store.meters(tmp_path, RUNTIME)


def test_lines_that_contradict_each_other_are_damage(tmp_path: Path, written: tuple[Path, bytes]) -> None:
    file, whole = written
    file.write_bytes(whole.replace(b'"kind":"reading","n":0', b'"kind":"reading","n":9', 1))
    with pytest.raises(StoreError, match="contradict"):
        store.meters(tmp_path, RUNTIME)
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[1:]))
    with pytest.raises(StoreError, match="line 1: a record must begin with a session"):
        store.meters(tmp_path, RUNTIME)


# --- while a job is followed ---------------------------------------------------------------------------------------

PLAN = wire.EnergyPlan((), ("waves", "gone"), windows=1, window_s=0.6, lead_s=0.1, rate_hz=50.0)


def _followed(bench: Bench, line: Any, folder: Path) -> tuple[list[wire.PassEvent], Any]:
    job = bench.job(["a"], energy=PLAN)
    store.save_job(folder, job)
    line.start(following.agent_of(job), job)
    following.follow(line, folder, job, lambda progress: None, {"waves": WAVE})
    assert threads() == []
    journal = store.events(folder, job.runtime)
    windows = [event for event in journal if isinstance(event, wire.PassEvent)]
    energies = Energies.of(job, journal, store.all_meters(folder, [job.runtime])[job.runtime])
    assert energies is not None and 'no sensor "gone"' in energies.record().others["gone"]
    return windows, store.meters(folder, job.runtime)


def _require_covered(windows: list[wire.PassEvent], found: Any) -> None:
    assert len(windows) == 3
    (remote,) = found
    _wave_holds(remote)
    for window in windows:
        inside = [t for t in remote.trace.t_ns if window.start_ns <= t <= window.end_ns]
        assert len(inside) > 20 and remote.trace.t_ns[0] < window.start_ns < window.end_ns < remote.trace.t_ns[-1]


@pytest.mark.slow
def test_windows_of_a_job_on_this_machine_are_covered_by_the_controller_s_meter(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    windows, found = _followed(bench, bench.device, tmp_path / "run")
    _require_covered(windows, found)


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_windows_of_a_job_over_ssh_are_covered_and_times_are_exchanged_over_one_channel(
    tmp_path: Path, sshd: Sshd
) -> None:
    bench = Bench(tmp_path)
    with closing(Ssh("board", address(sshd), str(tmp_path / "workdir"), sys.executable, silence_s=5.0)) as line:
        line.follow_s = 0.3
        windows, found = _followed(bench, line, tmp_path / "run")
    _require_covered(windows, found)
    assert 0 < found[0].bound_s < 0.1
    groups = [line.group for line in lines(tmp_path / "run", record.ClockLine)]
    assert groups.count(0) == clocks.GROUP and groups.count(max(groups)) == clocks.GROUP
