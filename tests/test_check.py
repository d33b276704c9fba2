"""What a device is against its profile, on what recorded boards say of themselves; the command on this machine and over SSH."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from agent.trees import write
from agent_jobs import CONTENT
from command import Cli
from lab.device import Device as Board
from lab.inventory import virtual
from lab.sshd import Sshd

from devices.agent import facts
from harness import check, inventory, preflight
from harness.cli import guard
from harness.errors import DeviceError
from harness.records import Device, Profile

OLD = "fp asimd evtstrm crc32 cpuid"
NEW = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
BOOKWORM, TRIXIE = "Debian GNU/Linux 12 (bookworm)", "Debian GNU/Linux 13 (trixie)"
Points = dict[str, check.Point]


def board(model: str, part: str, features: str, os: str, **files: str) -> dict[str, str]:
    """The files of an Arm board that tell what it is."""
    core = f"processor : 0\nFeatures : {features}\nCPU implementer : 0x41\nCPU part : {part}\n"
    policy = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    found = {"proc/device-tree/model": model + "\0", "proc/cpuinfo": core, policy: "ondemand\n"}
    return found | {"etc/os-release": f'PRETTY_NAME="{os}"\n'} | {key.replace("__", "/"): files[key] for key in files}


def jetson(model: str, ubuntu: str, release: str) -> dict[str, str]:
    return board(model, "0xd42", NEW, f"Ubuntu {ubuntu} LTS", etc__nv_tegra_release=f"{release}, GCID: 1\n")


PI3 = board("Raspberry Pi 3 Model B Plus Rev 1.3", "0xd03", OLD, BOOKWORM)
PI4 = board("Raspberry Pi 4 Model B Rev 1.4", "0xd08", OLD, BOOKWORM)
PI5 = board("Raspberry Pi 5 Model B Rev 1.0", "0xd0b", NEW, TRIXIE)
NANO = jetson(
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "22.04.5", "# R36 (release), REVISION: 4.3"
)
NX = jetson("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "20.04.6", "# R35 (release), REVISION: 4.1")
AGX = jetson("NVIDIA Jetson AGX Orin Developer Kit", "24.04.3", "# R39 (release), REVISION: 2.0")
V3 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
PC = {
    "proc/cpuinfo": f"processor : 0\nmodel name : AMD Ryzen 7\nflags : fpu {V3}\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
}
ARM = {"machine": "aarch64", "bits": 64, "python": "3.11.2", "libc": "glibc-2.36", "gpus": []}
X86 = ARM | {"machine": "x86_64", "python": "3.12.3", "libc": "glibc-2.39"}
JETPACK_5 = {"python": "3.8.10", "libc": "glibc-2.31", "power_mode": "MODE_15W"}
JETPACK_6 = {"python": "3.10.12", "libc": "glibc-2.35", "power_mode": "25W"}
JETPACK_7 = {"python": "3.12.3", "libc": "glibc-2.39", "power_mode": "MAXN"}


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    """Compare a profile with what the agent reads of a recorded tree, and what its Python and nvpmodel would say."""

    def compare(profile: str, tree: dict[str, str], system: str | None = None, **said: Any) -> Points:
        told = {**facts.read(write(tmp_path / "root", tree)), **ARM, **said}
        points = check.compare(inventory.profile(profile), system, told)
        assert len({point.what for point in points}) == len(points)
        return {point.what: point for point in points}

    return compare


def unlike(points: Points) -> set[str]:
    return {what for what, point in points.items() if point.severity in ("differs", "missing")}


# --- what a device is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "tree", "said"),
    [
        ("raspberry-pi-3", PI3, {}),
        ("raspberry-pi-4", PI4, {}),
        ("jetson-orin-nano", NANO, JETPACK_6),
        ("workstation-x86", PC, X86),
        ("desktop-nvidia", PC, X86 | {"gpus": [{"name": "RTX 4090", "driver": "570", "compute_capability": "8.9"}]}),
        ("host", PC, X86),
        ("host", PI4, {}),
    ],
)
def test_a_device_that_is_what_its_profile_says_differs_in_nothing(
    compared: Any, profile: str, tree: dict[str, str], said: dict[str, Any]
) -> None:
    assert unlike(compared(profile, tree, **said)) == set()


@pytest.mark.parametrize(
    ("profile", "tree", "said", "system"),
    [
        ("raspberry-pi-5", PI5, {"python": "3.13.5", "libc": "glibc-2.41"}, "raspberry-pi-os-trixie"),
        ("jetson-orin-nx", NX, JETPACK_5, "jetpack-5"),
        ("jetson-orin-agx", AGX, JETPACK_7, "jetpack-7"),
    ],
)
def test_another_system_of_the_profile_is_recognised_and_can_be_named(
    compared: Any, profile: str, tree: dict[str, str], said: dict[str, Any], system: str
) -> None:
    points = compared(profile, tree, **said)
    assert unlike(points) == {"system"}  # Python and C library are those of the system that runs
    assert points["system"].advice.startswith(f"Say `system: {system}` of this device")
    assert unlike(compared(profile, tree, system, **said)) == set()


def test_a_system_that_is_named_and_does_not_run_differs(compared: Any) -> None:
    point = compared("jetson-orin-nano", NANO, "jetpack-5", **JETPACK_6)["system"]
    assert (point.severity, point.expected, point.stops) == ("differs", "jetpack-5", False)
    assert point.found == "Ubuntu 22.04.5 LTS, L4T 36.4.3, JetPack 6.2 (jetpack-6)"


def test_a_system_that_the_profile_does_not_know_is_named(compared: Any) -> None:
    points = compared("raspberry-pi-4", PI4 | {"etc/os-release": 'PRETTY_NAME="Arch Linux ARM"\n'})
    assert unlike(points) == {"system"} and points["system"].found == "Arch Linux ARM"
    assert "Known are raspberry-pi-os-bookworm, raspberry-pi-os-trixie" in points["system"].advice


def test_a_32_bit_userland_is_found_under_a_64_bit_kernel_and_under_its_own(compared: Any) -> None:
    for profile, tree in (("raspberry-pi-3", PI3), ("raspberry-pi-4", PI4), ("raspberry-pi-5", PI5)):
        point = compared(profile, tree, bits=32)["userland"]
        assert (point.severity, point.expected, point.found, point.stops) == ("differs", "64-bit", "32-bit", True)
    core = "processor : 0\nmodel name : ARMv7 Processor rev 3 (v7l)\nFeatures : half thumb neon\n"
    cpuinfo = core + "CPU implementer : 0x41\nCPU part : 0xd08\n"
    points = compared("raspberry-pi-4", PI4 | {"proc/cpuinfo": cpuinfo}, bits=32, machine="armv7l")
    assert unlike(points) == {"architecture", "userland"} and points["cpu"].found.startswith("cortex-a72")


def test_a_raspberry_pi_5_is_no_raspberry_pi_4(compared: Any) -> None:
    points = compared("raspberry-pi-4", PI5, "raspberry-pi-os-trixie", python="3.13.5", libc="glibc-2.41")
    assert unlike(points) == {"board", "cpu"}
    assert points["board"].found == "Raspberry Pi 5 Model B Rev 1.0" and "Raspberry Pi 4 Model" in str(
        points["board"].expected
    )
    assert (points["cpu"].expected, points["cpu"].found.split(",")[0]) == ("cortex-a72", "cortex-a76")


def test_code_that_a_raspberry_pi_4_cannot_run_is_told_from_its_features(compared: Any) -> None:
    points = compared("raspberry-pi-5", PI4)
    assert unlike(points) == {"board", "cpu", "cpu features"}
    assert "asimddp" in points["cpu features"].found and "illegal instruction" in points["cpu features"].advice


def test_an_old_x86_processor_lacks_what_the_profile_s_code_needs(compared: Any) -> None:
    atom = PC | {"proc/cpuinfo": f"processor : 0\nmodel name : Atom\nflags : {V3.replace('avx2 ', '')}\n"}
    points = compared("workstation-x86", atom, **X86)
    assert unlike(points) == {"cpu features"} and points["cpu features"].found == "no avx2"


def test_an_x86_machine_cannot_be_a_raspberry_pi(compared: Any) -> None:
    points = compared("raspberry-pi-4", PC, **X86)
    assert points["architecture"].stops and points["architecture"].expected == "aarch64"
    assert points["board"].severity == "unknown"
    assert unlike(points) >= {"architecture", "cpu", "system"} and "cpu features" not in points


@pytest.mark.parametrize(
    ("python", "severity", "stops"),
    [("3.11.2", "ok", False), ("3.9.2", "differs", False), ("3.7.3", "differs", True), ("none", "unknown", False)],
)
def test_a_python_that_is_too_old_stops_and_another_is_said(
    compared: Any, python: str, severity: str, stops: bool
) -> None:
    point = compared("raspberry-pi-4", PI4, python=python)["python"]
    assert (point.severity, point.stops) == (severity, stops)


@pytest.mark.parametrize(
    ("libc", "severity"),
    [("glibc-2.36", "ok"), ("glibc-2.41", "ok"), ("glibc-2.31", "differs"), ("-", "unknown")],
)
def test_an_older_c_library_differs_and_a_newer_one_does_not(compared: Any, libc: str, severity: str) -> None:
    assert compared("raspberry-pi-4", PI4, libc=libc)["libc"].severity == severity


def test_a_power_mode_is_known_by_the_name_that_the_command_line_has_for_it(compared: Any) -> None:
    assert compared("jetson-orin-nano", NANO, **JETPACK_6)["power mode"].found == "25W"
    named = compared("jetson-orin-nano", NANO, **{**JETPACK_6, "power_mode": "MODE_15W"})["power mode"]
    assert (named.found, named.severity) == ("MODE_15W (--power-mode 15W)", "ok")
    own = compared("jetson-orin-nano", NANO, **{**JETPACK_6, "power_mode": "MINE"})["power mode"]
    assert (own.severity, own.stops) == ("differs", False) and "MAXN_SUPER" in str(own.expected)
    lost = compared(
        "jetson-orin-nano", NANO, **{**JETPACK_6, "power_mode": None, "power_mode_reason": "nvpmodel is not there"}
    )
    assert (lost["power mode"].severity, lost["power mode"].found) == ("missing", "nvpmodel is not there")
    assert "power mode" not in compared("raspberry-pi-4", PI4)


def test_a_governor_names_the_way_to_hold_the_clock(compared: Any) -> None:
    assert compared("raspberry-pi-4", PI4)["governor"].found == "ondemand; --tune governor holds it at performance"
    assert compared("raspberry-pi-4", PI4, governors=["performance"])["governor"].found == "performance"
    assert compared("raspberry-pi-4", PI4, governors=[])["governor"].severity == "unknown"


def test_another_gpu_than_the_profile_compiles_for_differs(compared: Any) -> None:
    gpu = {"name": "Thor", "driver": None, "compute_capability": "11.0"}
    point = compared("jetson-orin-nano", NANO, **JETPACK_6, gpus=[gpu])["gpu"]
    assert (point.severity, point.expected) == ("differs", "compute capability 8.7")


def test_whatever_a_device_says_becomes_one_printable_line(compared: Any) -> None:
    rubbish: list[Any] = [None, 1, True, -1e308, 10**400, [], [1, [2]], {"a": {}}, "", "\x1b[2J\nrm -rf", "x" * 10_000]
    for value in rubbish:
        keys = (
            "board",
            "machine",
            "bits",
            "cpu",
            "cpus",
            "cpu_parts",
            "cpu_features",
            "gpus",
            "os",
            "os_image",
            "python",
        )
        told = dict.fromkeys(
            (*keys, "libc", "governors", "power_mode", "kernel", "root_device", "supply_max_ma"), value
        )
        seen = dict.fromkeys(("workdir", "free_bytes", "total_bytes", "writable", "holder", "sensors", "fan"), value)
        seen |= dict.fromkeys(("throttling", "clock_ns", "round_trip_ns", "memory_available_bytes"), value)
        device = Device("d", inventory.profile("jetson-orin-nano"), sensors={"ina3221": {}})
        for seen_of in (seen, {key: {"now": value, "pwm": {"\x1b": 1}, "run": value, "since": value} for key in seen}):
            points = (
                *check.compare(device.profile, None, told),
                *check.standing({**seen_of, "facts": told}, 10**18),
                *check.sensors(device, preflight.sensors(device, seen_of)),
            )
            for point in points:
                assert point.found.isprintable() and 0 < len(point.found) < 2000


# --- how it stands -------------------------------------------------------------------------------------------------

NOW = 1_800_000_000 * 10**9
SEEN: dict[str, Any] = {
    "facts": {"memory_bytes": 4_000_000_000, "hottest_degc": 48.3},
    "workdir": "/home/pi/.edge-harness",
    "free_bytes": 12_000_000_000,
    "total_bytes": 30_000_000_000,
    "writable": True,
    "holder": None,
    "memory_available_bytes": 3_000_000_000,
    "throttling": {"now": [], "since_boot": [], "reasons": {}, "readable": True},
    "fan": {"profile": None, "pwm": {"pwmfan pwm1": 62}, "speed_rpm": {}},
    "sensors": {},
    "clock_ns": NOW - 100_000_000,
    "round_trip_ns": 200_000_000,
}


def standing(**changes: Any) -> Points:
    return {point.what: point for point in check.standing({**SEEN, **changes}, NOW)}


def test_a_device_that_stands_well_differs_in_nothing() -> None:
    points = standing()
    assert {point.severity for point in points.values()} == {"ok"}
    assert (
        points["clock"].found == "as this machine's, give or take 0.1 s" and points["fan"].found == "pwmfan pwm1 62/255"
    )
    assert points["disk"].found == "12.0 GB free of 30.0 GB at /home/pi/.edge-harness"


def test_what_a_device_lists_without_end_is_bounded_and_counted(compared: Any) -> None:
    many = [f"sign {number}" for number in range(3000)]
    throttled = standing(throttling={"now": many, "since_boot": many, "reasons": dict.fromkeys(many, "no")})
    fan = standing(fan={"pwm": dict.fromkeys(many, 1)})["fan"]
    told = compared("raspberry-pi-4", PI4, governors=many, cpu_parts=many)
    for point in (throttled["throttling"], throttled["since boot"], fan, told["governor"], told["cpu"]):
        assert "sign 7" in point.found and "sign 8" not in point.found and "and 2992 more" in point.found
    unread = standing(throttling={"now": [], "reasons": dict.fromkeys(many, "no")})["throttling"]
    assert unread.found.endswith("no and 2992 more") and len(unread.found) < 100


class Told:
    """A line to a device that answers what it likes."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.name, self.answer = "d", answer

    def look(self, bundle: Path, options: Any = None) -> dict[str, Any]:
        return self.answer

    def environments(self) -> frozenset[str]:
        return frozenset()

    def probe(self, bundle: Path, runtime: str, environment: Any = None) -> dict[str, Any]:
        return {"versions": {}, "facts": {}}


@pytest.mark.parametrize("number", [10**400, -(10**400)], ids=["above", "below"])
def test_a_number_beyond_all_numbers_is_not_told_and_the_examination_goes_on(number: int, tmp_path: Path) -> None:
    huge = dict.fromkeys(("free_bytes", "total_bytes", "clock_ns", "round_trip_ns", "memory_available_bytes"), number)
    facts = dict.fromkeys(("memory_bytes", "hottest_degc", "bits", "cpus", "supply_max_ma"), number)
    seen = {**SEEN, **huge, "facts": facts, "fan": {"pwm": {"a": number}}}
    device = Device("d", Profile("p", "", "any", ("empty",)), runtimes=("empty",))
    found = check.examine(device, tmp_path, line=cast(Any, Told(seen)))
    points = {point.what: point for point in found.points}
    assert {points[what].severity for what in ("disk", "memory", "clock", "temperature")} == {"unknown"}
    assert "fan" not in points and points["runtime empty"].severity == "ok"


def test_room_that_will_run_out_differs_and_too_little_stops() -> None:
    assert (standing(free_bytes=1_900_000_000)["disk"].severity, standing(free_bytes=1_900_000_000)["disk"].stops) == (
        "differs",
        False,
    )
    assert standing(free_bytes=10**9)["disk"].stops
    point = standing(writable="it lies on a file system that is mounted read-only")["workdir"]
    assert point.stops and point.found.endswith("mounted read-only")
    assert standing(memory_available_bytes=10**8)["memory"].severity == "differs"


@pytest.mark.parametrize(
    ("ahead_s", "trip_s", "severity"),
    [
        (0.9, 0.2, "ok"),
        (1.05, 0.2, "ok"),
        (1.2, 0.2, "differs"),
        (-1.2, 0.2, "differs"),
        (-3, 6, "ok"),
        (3600, 6, "differs"),
    ],
)
def test_a_clock_differs_by_more_than_a_second_beyond_what_the_link_hides(
    ahead_s: float, trip_s: float, severity: str
) -> None:
    trip = round(trip_s * 1e9)
    point = standing(round_trip_ns=trip, clock_ns=NOW - trip // 2 + round(ahead_s * 1e9))["clock"]
    assert point.severity == severity and not point.stops
    way = "ahead" if ahead_s > 0 else "behind"
    apart = "as this machine's" if abs(ahead_s) <= trip_s / 2 else f"{abs(ahead_s):.3g} s {way}"
    assert point.found == f"{apart}, give or take {trip_s / 2:.2g} s"


def test_a_clock_that_was_never_set_is_called_so() -> None:
    point = standing(clock_ns=100 * 10**9)["clock"]
    assert (point.severity, point.found) == ("differs", "1970-01-01: it was never set")


def test_who_holds_the_device_is_named_and_since_when() -> None:
    since = SEEN["clock_ns"] // 10**9 - 720
    point = standing(holder={"run": "r1", "job": "empty", "pid": 7, "owner": "ann@desk", "since": since})["lock"]
    assert point.stops and point.found == "held by run r1 of ann@desk (job empty) for 12 min"
    assert standing(holder={})["lock"].found == "held by another agent"


def test_throttling_is_told_now_and_since_boot_and_never_made_up() -> None:
    said = {"now": ["the firmware says: under-voltage (0x50005)"], "since_boot": ["under-voltage"], "readable": True}
    points = standing(throttling=said)
    assert points["throttling"].severity == points["since boot"].severity == "differs"
    assert "start the device anew" in points["since boot"].advice
    reasons = {"throttle_bits firmware": "/dev/vcio: Permission denied"}
    unread = standing(throttling={"now": [], "since_boot": [], "reasons": reasons, "readable": False})["throttling"]
    assert (unread.severity, unread.found) == ("unknown", "/dev/vcio: Permission denied")


def test_a_hot_board_is_to_cool_first() -> None:
    assert standing(facts={"hottest_degc": 81.2})["temperature"].severity == "differs"
    assert standing(facts={})["temperature"].severity == "unknown"


def test_each_sensor_is_readable_or_says_why_not() -> None:
    named: dict[str, Any] = {"ina3221": {}, "rapl": {}, "nvml": {}, "tegrastats": {}, "later": {}}
    device = Device("d", Profile("p", "", "any", ("empty",)), sensors=named)
    seen = {
        "ina3221": {"status": "ok", "reason": "VDD_IN, module"},
        "rapl": {"status": "permission", "reason": "/sys/x: only root may read it"},
        "tegrastats": {"status": "ok", "reason": "VDD_IN, module"},
    }
    points = {point.what: point for point in check.sensors(device, preflight.sensors(device, {"sensors": seen}))}
    assert (points["sensor ina3221"].severity, points["sensor ina3221"].found) == ("ok", "readable: VDD_IN, module")
    assert (points["sensor rapl"].severity, points["sensor rapl"].found) == (
        "missing",
        "permission: /sys/x: only root may read it",
    )
    assert points["sensor rapl"].advice == "Energy is measured by ina3221."
    assert points["sensor nvml"].found == "error: the agent does not tell"
    assert points["sensor tegrastats"].severity == "ok"
    assert points["sensor tegrastats"].found == "not used: ina3221 can be read, which makes it superfluous"
    assert points["sensor later"].found.startswith("unsupported: there is no file for it in this version")
    assert not any(point.stops for point in points.values())
    assert "attach a meter" in check.sensors(replace(device, sensors={}), {})[0].found


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_this_machine_is_ready_and_its_object_has_the_stable_keys(cli: Cli) -> None:
    done = cli("check", "--device", "local", "--json")
    assert done.code == 0, done.err
    keys = {"device", "profile", "virtual", "ready", "points", "tune", "power_modes", "calibration", "facts"}
    assert set(done.json) == keys and done.json["ready"] is True
    points = {point["what"]: point for point in done.json["points"]}
    assert set(points["clock"]) == {"what", "found", "severity", "expected", "advice", "stops"}
    assert points["runtime onnxruntime"]["found"].startswith("onnxruntime ") and points["lock"]["found"] == "free"
    assert points["sensor rapl"]["severity"] in ("ok", "missing", "unknown")
    assert done.json["tune"] == ["governor", "turbo", "clocks"] and done.json["facts"]["python"]


def test_each_device_is_told_under_its_name_and_a_dead_one_stops_no_other(cli: Cli) -> None:
    with (cli.folder / "inventory.yaml").open("a") as file:
        file.write("  dead:\n    profile: raspberry-pi-4\n    host: 127.0.0.1\n    port: 1\n    user: pi\n")
        file.write(
            f"  quick:\n    profile: host\n    workdir: {cli.folder / 'other'}\n    runtimes: [empty]\n    tags: [here]\n"
        )
    done = cli("check", "--device", "dead,tag:here")
    assert done.code == 1 and "dead: a Raspberry Pi 4" in done.out and "not ready: reachable" in done.out
    assert "quick: this machine (host)" in done.out and done.out.rstrip().endswith("ready")
    assert [each["ready"] for each in cli("check", "--device", "dead,quick", "--json").json] == [False, True]
    lines = done.out[done.out.index("quick: ") :].splitlines()[1:-1]
    assert all(line[9:11] == "  " and line[11] != " " for line in lines if line.split()[0] == "ok")


def test_a_mistyped_device_is_the_user_s_mistake(cli: Cli) -> None:
    done = cli("check", "--device", "locl")
    assert done.code == 2 and 'did you mean "local"?' in done.err


def examined(profile: Profile, folder: Path, **changes: Any) -> Points:
    device = Device("here", profile, workdir=str(folder / "workdir"), runtimes=profile.runtimes, **changes)
    return {point.what: point for point in check.examine(device, folder / "results").points}


RUNTIME = """
PRECISIONS, OPTIONS, CONVERTERS = ("fp32",), {}, ()
def export(variant, target, precision, options, out): ...
def load(path, options): ...
def versions():
"""


def test_a_runtime_that_is_missing_or_kills_its_process_is_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtimes").mkdir()
    deadly = RUNTIME + "    import os, signal\n    os.kill(os.getpid(), signal.SIGILL)\n"
    (tmp_path / "runtimes" / "deadly.py").write_text(deadly)
    (tmp_path / "runtimes" / "absent.py").write_text(RUNTIME + "    import there_is_no_such_package\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    points = examined(Profile("p", "", "any", ("empty", "absent", "deadly"), target={"cpu": "cortex-a72"}), tmp_path)
    assert points["runtime empty"].severity == "ok"
    assert not points["runtime absent"].stops and "there_is_no_such_package" in points["runtime absent"].found
    first = examined(Profile("p", "", "any", ("absent", "empty")), tmp_path)
    assert first["runtime absent"].stops, "it is what a run without --runtime uses"
    assert points["runtime deadly"].stops and "cortex-a72" in points["runtime deadly"].advice


def test_the_sensors_of_a_device_are_probed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    named: dict[str, Any] = {"meter": {"port": "usb 3"}, "ina9999": {}, "waves": {}}
    points = examined(Profile("p", "", "any", ("empty",)), tmp_path, sensors=named)
    assert points["sensor meter"].found == "unsupported: no meter is attached to usb 3", "it hears its options"
    assert points["sensor ina9999"].found.startswith("unsupported: there is no file for it in this version")
    assert points["sensor waves"].found == "readable: total of a wave"


def test_a_meter_of_the_network_is_probed_from_here_and_its_failure_is_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sensors").mkdir()
    head = 'WHERE = "controller"\nWINDOW_S = (1.0, 2.0)\nOPTIONS = {"host": "where"}\n'
    probes = {
        "wall": 'return "ok", "wall %s" % options["host"]',
        "wrong": 'raise ValueError("host must be an address, not 7")',
        "odd": 'return "great", "really"',
    }
    for name, body in probes.items():
        text = f"{head}\ndef probe(options):\n    {body}\n\ndef open(options): ...\n"
        (tmp_path / "sensors" / f"{name}.py").write_text(text)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    named: dict[str, Any] = {"wall": {"host": "10.0.0.7"}, "wrong": {}, "odd": {}}
    points = examined(Profile("p", "", "any", ("empty",)), tmp_path, sensors=named)
    assert points["sensor wall"].found == "readable from here: wall 10.0.0.7"
    assert points["sensor wrong"].found == "error: host must be an address, not 7"
    assert points["sensor odd"].found == "error: it says 'great'"


def wheel(folder: Path) -> None:
    """A package of one module, as a folder of wheels has it."""
    folder.mkdir()
    head = "Metadata-Version: 2.1\nName: nothing-much\nVersion: 1.2\n"
    tags = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {"nothing_much.py": "VERSION = '1.2'\n", "nothing_much-1.2.dist-info/METADATA": head}
    files["nothing_much-1.2.dist-info/WHEEL"] = tags
    files["nothing_much-1.2.dist-info/RECORD"] = "".join(f"{name},,\n" for name in files)
    with zipfile.ZipFile(folder / "nothing_much-1.2-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


@pytest.mark.slow
def test_packages_are_sent_only_when_that_is_asked_for(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "wheels")
    (tmp_path / "runtimes").mkdir()
    lines = "    import nothing_much\n    return {'nothing-much': nothing_much.VERSION}\n"
    (tmp_path / "runtimes" / "packed.py").write_text(RUNTIME + lines + 'PACKAGES = ("nothing-much",)\n')
    for name, value in (("HARNESS_CONTENT", tmp_path), ("PIP_NO_INDEX", 1), ("PIP_FIND_LINKS", tmp_path / "wheels")):
        monkeypatch.setenv(name, str(value))
    file = tmp_path / "inventory.yaml"
    file.write_text(
        f"devices:\n  board:\n    profile: host\n    host: {sshd.host}\n    port: {sshd.port}\n    user: {sshd.user}\n"
        f"    key: {sshd.key}\n    known_hosts: {sshd.known_hosts}\n    workdir: {tmp_path / 'workdir'}\n"
        f"    python: {sys.executable}\n    runtimes: [packed]\n"
    )
    device = inventory.device("board", file)

    def seen(install: bool) -> check.Point:
        points = check.examine(device, tmp_path / "results", install=install).points
        return next(point for point in points if point.what == "runtime packed")

    first = seen(install=False)
    assert first.severity == "unknown" and first.found.startswith("not there yet; will be sent: nothing-much 1.2 (")
    assert first.advice.endswith("harness check --device board --install") and not first.stops
    assert not list((tmp_path / "workdir" / "wheels").iterdir())
    assert seen(install=True).found == "nothing-much 1.2"
    assert seen(install=False).found == "nothing-much 1.2"


# --- virtual boards ------------------------------------------------------------------------------------------------


def virtual_points(device: Board, folder: Path, **changes: Any) -> Points:
    file = folder / "inventory.yaml"
    file.write_text(virtual(device))
    asked = replace(inventory.device(device.name, file), runtimes=("empty",), **changes)
    return {point.what: point for point in check.examine(asked, folder / "results").points}


@pytest.mark.lab
def test_a_virtual_jetson_is_known_by_what_it_says_over_ssh(jetson: Board, tmp_path: Path) -> None:
    points = virtual_points(jetson, tmp_path)
    assert unlike(points) == {"python"}  # it runs Debian's, not JetPack's
    assert "L4T 36.4.3, JetPack 6.2 (jetpack-6)" in points["system"].found
    assert (
        points["board"].found.startswith("NVIDIA Jetson Orin Nano") and points["cpu"].found == "cortex-a78ae, 6 cores"
    )
    assert points["power mode"].severity == points["throttling"].severity == points["runtime empty"].severity == "ok"


@pytest.mark.lab
def test_a_virtual_pi_5_under_a_pi_4_s_profile_is_found_out(pi5: Board, tmp_path: Path) -> None:
    points = virtual_points(pi5, tmp_path, profile=inventory.profile("raspberry-pi-4"))
    assert unlike(points) == {"board", "cpu", "sensor pmic"}, "it has no mailbox either"
    assert not any(point.stops for point in points.values())


def test_what_a_device_said_moves_no_cursor_where_errors_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    guard.complain(DeviceError("device b: \x1b[2Jred", "one\ntwo \x1b]0;title\x07"))
    assert capsys.readouterr().err == "error: device b: ?[2Jred\none\ntwo ?]0;title?\n"
