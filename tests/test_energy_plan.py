"""Energy passes decided: which meters are read, how many windows, how long; what cannot be is refused with the next move."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from agent_jobs import CONTENT
from command import Cli

from harness import bundle, energy, inventory, plan, preflight, store, wire
from harness.errors import DeviceError, UsageError
from harness.plan import Words
from harness.records import Device, EnergyRequest, Profile

SHIPPED = Path(__file__).resolve().parent.parent / "inventory.yaml"
AUTO = EnergyRequest()
OK = ("ok", "")
DENIED = ("permission", "only root may read it: chmod a+r it")


def device(**sensors: Any) -> Device:
    return Device("d", Profile("p", "", "any", ("empty",)), runtimes=("empty",), sensors=sensors)


JETSON = device(ina3221={"total": ["VDD_IN"]}, tegrastats={"total": ["VDD_IN"]})
DESKTOP = device(nvml={"gpu": 0}, rapl={})


@pytest.fixture
def content_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))


# --- words ---------------------------------------------------------------------------------------------------------


def test_where_nothing_is_said_both_scenarios_are_measured_if_a_sensor_can_be_read() -> None:
    ((_, planned),) = plan.make(Words("jetson"), SHIPPED)
    assert planned.energy == EnergyRequest("auto", 5, None, None)


def test_what_is_said_of_energy_stands_in_the_plan() -> None:
    ((_, planned),) = plan.make(Words("jetson", energy="paced", windows=7, window=30.0, rate=2.5), SHIPPED)
    assert planned.energy == EnergyRequest("paced", 7, 30.0, 2.5)


def test_a_virtual_device_s_passes_are_made_only_where_they_are_asked_for_by_name() -> None:
    virtual, found = replace(JETSON, virtual=True), {"ina3221": OK, "tegrastats": OK}
    assert energy.plan(AUTO, virtual, found) is None and energy.plan(AUTO, JETSON, found) is not None
    asked = energy.plan(replace(AUTO, mode="both"), virtual, found)
    assert asked is not None and asked.scenarios == wire.SCENARIOS
    assert "stands for nothing real" in energy.describe(AUTO, virtual, 1, 3)["energy_said"]
    assert "stands for nothing real" in energy.say_found(AUTO, virtual, energy.usable(virtual, found))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"energy": "bothh"}, 'no energy mode "bothh"; did you mean "both"?'),
        ({"windows": 4}, "--windows 4: at least 5 are needed: ratios are paired window by window"),
        ({"windows": 1001}, "--windows 1001: must be from 5 to 1000"),
        ({"window": float("nan")}, "--window nan: must be from 0.1 to 3600"),
        ({"window": 3601.0}, "--window 3601: must be from 0.1 to 3600"),
        ({"window": 4.0}, "--window 4: sensor ina3221 needs windows of at least 5 s"),
        ({"rate": 0.0}, "--rate 0: must be from 0.001"),
        ({"energy": "none", "windows": 5}, "--windows cannot be said beside --energy none"),
        ({"energy": "none", "window": 9.0}, "--window cannot be said beside --energy none"),
        ({"energy": "none", "rate": 1.0}, "--rate cannot be said beside --energy none"),
        ({"energy": "closed", "rate": 1.0}, "--rate cannot be said beside --energy closed"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_word_or_a_contradiction_is_refused_before_anything_is_made(said: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan.make(replace(Words("jetson"), **said), SHIPPED)
    assert message in caught.value.message


@pytest.mark.parametrize("mode", ["both", "paced", "closed"])
def test_energy_of_a_board_without_a_sensor_is_refused_and_auto_says_what_to_attach(mode: str) -> None:
    with pytest.raises(UsageError, match=f'--energy {mode}: device "pi4" has no sensor of power') as caught:
        plan.make(Words("pi4", energy=mode), SHIPPED)
    assert "Attach a meter" in caught.value.hint
    ((board, planned),) = plan.make(Words("pi4"), SHIPPED)
    told = plan.describe(board, planned)
    assert told["energy_said"] == "energy: no sensor: attach a meter and name it in the inventory, or energy is null"
    assert told["energy_s"] == 0 and told["energy_on"] == {}


# --- which meters --------------------------------------------------------------------------------------------------


def test_a_sensor_that_another_makes_superfluous_is_left_out_only_where_that_one_can_be_read() -> None:
    both = energy.usable(JETSON, {"ina3221": OK, "tegrastats": OK})
    assert both.names == ("ina3221",)
    assert both.left_out == {"tegrastats": "ina3221 can be read, which makes it superfluous"}
    fallback = energy.usable(JETSON, {"ina3221": DENIED, "tegrastats": OK})
    assert fallback.names == ("tegrastats",)
    assert fallback.left_out == {"ina3221": "permission: only root may read it: chmod a+r it"}


def test_a_sensor_that_was_never_asked_is_not_read() -> None:
    assert energy.usable(DESKTOP, {}).names == ()
    assert energy.plan(AUTO, DESKTOP, {}) is None


def test_meters_keep_the_order_of_the_device_with_their_options_and_those_from_here_by_name() -> None:
    named = device(shelly={"host": "10.0.0.9"}, rapl={"period_s": 0.1}, nvml={"gpu": 1})
    planned = energy.plan(AUTO, named, dict.fromkeys(named.sensors, OK))
    assert planned is not None
    assert planned.meters == (wire.Meter("rapl", {"period_s": 0.1}), wire.Meter("nvml", {"gpu": 1}))
    assert planned.remote == ("shelly",)


def test_what_a_device_answers_of_its_sensors_may_be_anything_and_is_never_ok_for_that() -> None:
    answers: list[Any] = [None, [], {"rapl": []}, {"rapl": {"status": "OK"}}, {"rapl": {"reason": "\x1b[2J"}}]
    for answer in answers:
        status, reason = energy.heard(device(rapl={}), answer, {})["rapl"]
        assert status == "error" and reason.isprintable() and reason
    assert energy.heard(device(rapl={}, later={}), {"later": {"status": "ok"}}, {})["later"][0] == "unsupported"


# --- the plan of a job ---------------------------------------------------------------------------------------------


def made(request: EnergyRequest, board: Device = DESKTOP) -> wire.EnergyPlan:
    planned = energy.plan(request, board, dict.fromkeys(board.sensors, OK))
    assert planned is not None
    return planned


@pytest.mark.parametrize(
    ("mode", "scenarios"),
    [("auto", ("paced", "closed")), ("both", ("paced", "closed")), ("paced", ("paced",)), ("closed", ("closed",))],
)
def test_a_mode_says_which_scenarios_are_measured(mode: Any, scenarios: tuple[str, ...]) -> None:
    assert made(EnergyRequest(mode)).scenarios == scenarios


def test_none_makes_no_plan_whatever_can_be_read() -> None:
    assert energy.plan(EnergyRequest("none"), DESKTOP, {"nvml": OK, "rapl": OK}) is None


def test_a_window_is_as_long_as_the_slowest_sensor_needs_it_and_traces_reach_as_far_as_any_needs() -> None:
    assert made(AUTO, device(rapl={})).window_s == 20 and made(AUTO).window_s == 30
    assert made(AUTO).lead_s == 1.5, "NVML's average reaches back a second"
    assert made(replace(AUTO, window_s=12.0, windows=9, rate_hz=3.0)).window_s == 12


def test_a_window_below_the_least_of_a_sensor_that_is_used_is_refused_with_that_least() -> None:
    short = replace(AUTO, window_s=6.0)
    with pytest.raises(UsageError, match="--window 6: sensor nvml needs windows of at least 10 s"):
        energy.plan(short, DESKTOP, {"nvml": OK, "rapl": OK})
    planned = energy.plan(short, DESKTOP, {"nvml": DENIED, "rapl": OK})
    assert planned is not None and planned.window_s == 6.0, "of those that are not used nothing is asked"


def test_a_rate_that_leaves_a_window_empty_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--rate 0.01: a window of 30 s holds not even one inference") as caught:
        made(replace(AUTO, rate_hz=0.01))
    assert "0.033" in caught.value.hint


def test_a_plan_survives_the_wire() -> None:
    job = wire.Job("r", "r-empty", "empty", 0, (CASE,), (), energy=made(AUTO, JETSON))
    assert wire.decode(wire.Job, wire.encode(job), "job").energy == job.energy


CASE = wire.JobCase("0" * 16, "a", wire.FileRef("0" * 64, 1), wire.FileRef("1" * 64, 1), 1e-3, "fp32", 1, 1, {}, 1)


# --- how long ------------------------------------------------------------------------------------------------------


def test_seconds_are_all_passes_with_their_leads_and_starts() -> None:
    planned = made(replace(AUTO, windows=5), device(rapl={}))
    assert energy.pass_s(planned) == 20 + 2 * 0.5 + 2
    assert energy.seconds(planned, 10) == 21 * 5 * 23
    assert energy.seconds(None, 10) == 0
    assert energy.say(planned, 10) == "energy: 21 passes x 5 windows x 23 s = 40 min on rapl"


def test_a_dry_run_says_what_each_case_takes_where_the_ladder_is_still_to_be_made() -> None:
    ((board, planned),) = plan.make(Words("jetson"), SHIPPED)
    told = plan.describe(board, planned)
    assert told["energy_s"] is None, "how many cases there are is not known"
    assert (told["energy_s_per_case"], told["energy_s_idle"]) == (2 * 5 * 23, 5 * 23)
    assert told["energy_on"] == {"ina3221": "scope unknown until the device is asked"}
    assert told["energy_said"].startswith(
        "energy: per case 2 passes x 5 windows x 23 s = 3.8 min, and 1.9 min idle, on ina"
    )


def test_given_networks_are_counted_once_for_each_precision_and_runtime() -> None:
    ((board, planned),) = plan.make(Words("jetson", runtime="onnxruntime,tensorrt"), SHIPPED)
    network: Any = planned.ladders[0]
    given = replace(planned, ladders=(), given=(network, network), precisions=("fp32", "fp16"))
    told = energy.describe(given.energy, board, 2, len(given.given) * len(given.precisions))
    assert told["energy_s"] == 2 * (4 * 2 + 1) * 5 * 23
    assert told["energy_said"] == "energy: 2 jobs x 9 passes x 5 windows x 23 s = 34 min on ina3221, if it can be read"


# --- before any long work ------------------------------------------------------------------------------------------


class Line:
    """A line to a device that says of its sensors what it is told to."""

    def __init__(self, sensors: Any) -> None:
        self.name, self.sensors = "d", sensors
        self.asked: list[tuple[bytes, Any]] = []

    def look(self, agent: Path, options: Any = None) -> dict[str, Any]:
        self.asked.append((agent.read_bytes(), options))
        return {"facts": {"machine": "riscv"}, "writable": True, "free_bytes": 2**40, "sensors": self.sensors}

    def probe(self, agent: Path, runtime: str, environment: Any = None) -> dict[str, Any]:
        return {"versions": {}, "facts": {}}


def ready(board: Device, answer: Any, request: EnergyRequest) -> tuple[preflight.Ready, list[str], Line]:
    told: list[str] = []
    line = Line(answer)
    seen = preflight.make(
        board, ["empty"], lambda progress: told.append(progress.text), line=cast(Any, line), asked=request
    )
    return seen, told, line


def test_preflight_asks_each_sensor_with_its_options_and_tells_which_is_read_and_why_not_the_others() -> None:
    answer = {"ina3221": {"status": "ok", "reason": "VDD_IN"}, "tegrastats": {"status": "ok", "reason": ""}}
    found, told, line = ready(JETSON, answer, AUTO)
    assert found.sensors == {"ina3221": ("ok", "VDD_IN"), "tegrastats": ("ok", "")}
    assert told[0] == ("energy: read by ina3221; left out: tegrastats: ina3221 can be read, which makes it superfluous")
    ((agent, options),) = line.asked
    assert b"devices/sensors/ina3221.py" in agent and b"devices/sensors/tegrastats.py" in agent
    assert options == JETSON.sensors


def test_energy_that_is_asked_for_by_name_and_cannot_be_had_ends_it_with_each_sensor_s_reason() -> None:
    answer = {"rapl": {"status": DENIED[0], "reason": DENIED[1]}, "nvml": {"status": "unsupported", "reason": "no GPU"}}
    with pytest.raises(DeviceError) as caught:
        ready(DESKTOP, answer, EnergyRequest("both"))
    assert "--energy both: no sensor of device d can be read" in caught.value.message
    assert "nvml: unsupported: no GPU; rapl: permission: only root" in caught.value.message
    assert "inventory" in caught.value.hint
    _, told, _ = ready(DESKTOP, answer, AUTO)
    assert told[0].startswith("energy is null: nvml: unsupported: no GPU; rapl: permission: only root")


def test_none_asks_no_sensor_and_sends_none() -> None:
    found, told, line = ready(DESKTOP, {}, EnergyRequest("none"))
    assert found.sensors == {} and not any("energy" in text for text in told)
    ((agent, options),) = line.asked
    assert options == {} and b"devices/sensors/rapl.py" not in agent


def test_a_window_that_is_too_short_for_a_sensor_that_can_be_read_is_the_user_s_mistake() -> None:
    answer = {name: {"status": "ok", "reason": ""} for name in ("nvml", "rapl")}
    with pytest.raises(UsageError, match="at least 10 s"):
        ready(DESKTOP, answer, replace(AUTO, window_s=7.0))


def test_the_agent_that_starts_carries_the_sensors_that_are_used_and_what_they_share(content_of_tests: None) -> None:
    with_meter, without = bundle.build("empty", ["meter"]), bundle.build("empty")
    assert (
        b"devices/sensors/meter.py" in with_meter.read_bytes() and b"devices/sensors/_bus.py" in with_meter.read_bytes()
    )
    assert b"devices/sensors" not in without.read_bytes()


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dry_run_s_words_are_beside_its_json(cli: Cli) -> None:
    with (cli.folder / "inventory.yaml").open("a") as file:
        file.write("  jet: {profile: jetson-orin-nano, host: jet.example}\n")
    done = cli("run", "--device", "jet", "--dry-run", "--energy", "paced", "--windows", "6")
    assert done.code == 0, done.err
    assert "jet: energy: per case 1 pass x 6 windows x 23 s = 2.3 min, and 2.3 min idle, on ina3221" in done.err
    assert done.json[0]["energy"] == {"mode": "paced", "windows": 6, "window_s": None, "rate_hz": None}


@pytest.mark.slow
def test_a_run_keeps_what_was_found_of_its_sensors_and_makes_no_pass_where_none_can_be_read(cli: Cli) -> None:
    done = cli("run", "--device", "local", "--model", "tiny", "--runtime", "empty", "--budget", "2", "--no-controls")
    assert done.code == 0, done.err
    run = store.load(next(store.folders(cli.folder / "results")))
    assert set(run.sensors) == set(inventory.profile("host").sensors)
    (status, reason) = run.sensors["rapl"]
    if status != "ok":
        assert status in wire.STATUSES and reason and f"energy is null: rapl: {status}: {reason}"[:60] in done.err


def test_energy_by_name_is_refused_here_where_nothing_can_be_read_before_anything_is_written(cli: Cli) -> None:
    with (cli.folder / "inventory.yaml").open("a") as file:
        file.write("  here: {profile: host, workdir: %s, sensors: {pmic: }}\n" % (cli.folder / "other"))
    done = cli("run", "--device", "here", "--model", "tiny", "--runtime", "empty", "--energy", "closed")
    assert done.code == 1 and "no sensor of device here can be read: pmic: " in done.err
    assert not cli.runs


@pytest.mark.slow
def test_passes_of_a_run_are_those_of_its_plan_and_stay_so_when_it_goes_on_without_its_sensors(
    cli: Cli, content_of_tests: None
) -> None:
    """A job that was made keeps its plan; also where the inventory has other sensors by then, none of which can be read."""
    text = "  wave: {profile: host, workdir: %s, sensors: {meter: , waves: {mean_w: 7}}}\n" % (cli.folder / "wave")
    with (cli.folder / "inventory.yaml").open("a") as file:
        file.write(text)
    words = ("--model", "tiny", "--runtime", "empty", "--budget", "2", "--no-controls")
    done = cli("run", "--device", "wave", *words, "--energy", "closed", "--window", "0.1")
    assert done.code == 0, done.err
    assert "energy: read by waves; left out: meter: unsupported: no meter is attached" in done.err
    (folder,) = store.folders(cli.folder / "results")
    job = store.load_job(folder, "empty")
    assert job is not None and job.energy == wire.EnergyPlan(
        (wire.Meter("waves", {"mean_w": 7}),), scenarios=("closed",), windows=5, window_s=0.1, lead_s=0.1
    )
    assert f"energy: {len(job.cases) + 1} passes x 5 windows x 2.3 s = " in done.err
    passes = [event for event in store.events(folder, "empty") if isinstance(event, wire.PassEvent)]
    assert {event.scenario for event in passes} == {"idle", "closed"} and {event.block for event in passes} == {
        1,
        2,
        3,
        4,
        5,
    }

    kept = (cli.folder / "inventory.yaml").read_text()
    (cli.folder / "inventory.yaml").write_text(kept.replace("{meter: , waves: {mean_w: 7}}", "{meter: }"))
    (folder / "jobs" / "empty" / "reply.json").unlink()
    store.save(folder, replace(store.load(folder), status="failed"))
    shutil.rmtree(cli.folder / "wave" / "jobs")
    again = cli("run", "--resume", folder.name)
    assert again.code == 0, again.err
    assert store.load_job(folder, "empty") == job and store.load(folder).sensors["waves"] == ("ok", "total of a wave")
