"""What a device says of itself when it is looked at: on recorded trees, and here through the real bundle."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import trees
from agent_jobs import CONTENT
from trees import JETSON, PI, PI_BITS, X86, write

from devices.agent import facts, look
from harness import bundle
from harness.transport import Local

PI4 = "Raspberry Pi 4 Model B Rev 1.4"
NVPMODEL = """#!/bin/sh
echo 'NVPM WARN: Golden image context is already created'
echo 'NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13' >&2
printf 'NV Power Mode: MODE_25W\\n3\\n'
"""


@pytest.fixture
def rooted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder that the agent takes for the device's; no program is to be found."""
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "root"


def program(root: Path, name: str, text: str) -> None:
    file = root.parent / "bin" / name
    file.write_text(text)
    file.chmod(0o755)


def test_a_look_answers_everything_at_once_and_makes_nothing(tmp_path: Path) -> None:
    before = time.time_ns()
    told = look.look(str(tmp_path / "not" / "there"))
    assert list(tmp_path.iterdir()) == [] and told["workdir"] == str(tmp_path / "not" / "there")
    assert list(told)[-1] == "clock_ns" and before <= told["clock_ns"] <= time.time_ns()
    assert 0 < told["free_bytes"] <= told["total_bytes"] and told["memory_available_bytes"] > 0
    assert told["writable"] is True and told["holder"] is None
    assert json.loads(json.dumps(told)) == told


def test_a_workdir_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert look.look(str(tmp_path / "file" / "below"))["writable"] == f"{tmp_path}/file is not a folder"


def test_a_read_only_file_system_is_told_from_a_lack_of_rights() -> None:
    mounts = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    fixed = [place for place in mounts if Path(place).is_dir() and os.statvfs(place).f_flag & os.ST_RDONLY]
    if not fixed:
        pytest.skip("nothing is mounted read-only here")
    assert "mounted read-only" in look.look(fixed[0])["writable"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workdir_of_another_user_says_so() -> None:
    assert look.look("/usr/lib")["writable"] == "/usr/lib belongs to another user and cannot be written"


def test_the_device_tree_is_found_at_either_place(tmp_path: Path) -> None:
    for place in ("proc/device-tree", "sys/firmware/devicetree/base"):
        files = {
            "model": PI4 + "\0",
            "compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
            "serial-number": "10000abc\0",
        }
        told = facts.read(write(tmp_path / place, {f"{place}/{name}": text for name, text in files.items()}))
        assert (told["board"], told["serial"]) == (PI4, "10000abc")
        assert told["compatible"] == ["raspberrypi,4-model-b", "brcm,bcm2711"]
    told = facts.read(write(tmp_path / "old", {"proc/cpuinfo": "processor : 0\n\nSerial\t\t: 00000000abc\n"}))
    assert (told["board"], told["compatible"], told["serial"]) == (None, [], "00000000abc")
    assert facts.read(tmp_path / "nothing")["serial"] is None


def test_the_cores_of_a_board_are_told_apart(tmp_path: Path) -> None:
    one = "processor : {}\nCPU implementer : 0x41\nCPU part : {}\n\n"
    cpuinfo = one.format(0, "0xd05") + one.format(1, "0xd05") + one.format(2, "0xd0b")
    told = facts.read(write(tmp_path, {"proc/cpuinfo": cpuinfo}))
    assert told["cpu_parts"] == ["0x41 0xd05", "0x41 0xd0b"]
    assert facts.read(write(tmp_path / "x86", X86))["cpu_parts"] == []


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R32 (release), REVISION: 7.4, GCID: 1", "32.7.4", "4.6"),
        ("# R35 (release), REVISION: 4.1, GCID: 1", "35.4.1", "5.1.2"),
        ("# R35 (release), REVISION: 6.0, GCID: 1", "35.6.0", "5.1.4 to 5.1.6"),
        ("# R35 (release), REVISION: 1.0, GCID: 1", "35.1.0", "5"),
        ("# R36 (release), REVISION: 3.0, GCID: 1", "36.3.0", "6.0"),
        ("# R36 (release), REVISION: 4.0, GCID: 1", "36.4.0", "6.1"),
        ("# R36 (release), REVISION: 4.3, GCID: 1", "36.4.3", "6.2"),
        ("# R36 (release), REVISION: 4.7, GCID: 1", "36.4.7", "6.2.1"),
        ("# R36 (release), REVISION: 9.1, GCID: 1", "36.9.1", "6"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0", "7.2"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "99.1.0", None),
        ("no such line", None, None),
    ],
)
def test_a_jetson_s_release_names_its_jetpack(tmp_path: Path, release: str, l4t: str, jetpack: str) -> None:
    told = facts.read(write(tmp_path, {"etc/nv_tegra_release": release + "\n"}))
    assert (told["l4t"], told["jetpack"]) == (l4t, jetpack)


def test_the_raspberry_pi_os_image_is_known_by_its_date(tmp_path: Path) -> None:
    issue = "Raspberry Pi reference 2024-11-19\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, stage4\n"
    assert facts.read(write(tmp_path, {"etc/rpi-issue": issue}))["raspberry_pi_os"] == "2024-11-19"


def test_the_power_mode_is_asked_for_among_warnings(rooted: Path) -> None:
    assert facts.read()["power_mode_reason"] == "nvpmodel is not there"
    program(rooted, "nvpmodel", NVPMODEL)
    told = facts.read()
    assert (told["power_mode"], told["power_mode_reason"]) == ("MODE_25W", "")


def test_a_power_mode_that_cannot_be_asked_for_has_a_reason(rooted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(rooted, "nvpmodel", "#!/bin/sh\necho 'NVPM ERROR: NV Power Mode: broken'\nexit 1\n")
    assert facts.read()["power_mode"] is None
    assert facts.read()["power_mode_reason"] == "nvpmodel -q says no mode: NVPM ERROR: NV Power Mode: broken"
    monkeypatch.setattr(facts, "_NVPMODEL_LIMIT_S", 0.2)
    program(rooted, "nvpmodel", "#!/bin/sh\nexec /bin/sleep 9\n")
    assert "timed out" in facts.read()["power_mode_reason"]


def test_a_raspberry_pi_says_what_slows_it_down_now_and_what_did(rooted: Path, tmp_path: Path) -> None:
    write(rooted, PI | {PI_BITS: "50005\n", "sys/class/hwmon/hwmon2/pwm1": "62\n"})
    told = look.look(str(tmp_path))
    assert told["throttling"]["now"] == [
        "the firmware says: under-voltage (0x50005)",
        "the firmware says: throttled (0x50005)",
    ]
    assert told["throttling"]["since_boot"] == ["under-voltage", "throttled"] and told["throttling"]["readable"]
    assert told["fan"] == {"profile": None, "pwm": {"pwmfan pwm1": 62}, "speed_rpm": {"pwmfan fan1": 2904.0}}


def test_a_jetson_says_its_fan_s_profile_and_counted_events(rooted: Path, tmp_path: Path) -> None:
    conf = "POLLING_INTERVAL 2\n<FAN 1>\n\tFAN_DEFAULT_PROFILE quiet\n"
    write(rooted, JETSON | {"etc/nvfancontrol.conf": conf})
    told = look.look(str(tmp_path))
    assert told["throttling"]["since_boot"] == ["27390 over-current events (oc3)"] and told["throttling"]["now"] == []
    assert told["fan"]["profile"] == "quiet"
    write(rooted, {"var/lib/nvfancontrol/status": "FAN1:FAN_PROFILE:cool\n"})
    assert look.look(str(tmp_path))["fan"]["profile"] == "cool"


def test_flags_that_cannot_be_read_are_not_called_clear(rooted: Path, tmp_path: Path) -> None:
    write(rooted, trees.COMMON)
    told = look.look(str(tmp_path))["throttling"]
    assert told["now"] == told["since_boot"] == [] and not told["readable"]
    assert told["reasons"] == {"throttling machine": "nothing here tells whether it is throttled"}
    write(rooted, {PI_BITS: "what\n"})
    told = look.look(str(tmp_path))["throttling"]
    assert not told["readable"] and "no hexadecimal number" in told["reasons"]["throttle_bits firmware"]


def test_sensors_that_came_along_are_probed_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle carries them; one whose file breaks does not silence the others."""
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    sensors = ("meter", "broken_meter")
    device = Local("bench", tmp_path / "workdir")
    told = device.look(bundle.build("empty", sensors))
    assert told["sensors"] == {
        "broken_meter": {"status": "error", "reason": "OSError: no such bus"},
        "meter": {"status": "unsupported", "reason": "no meter is attached"},
    }
    assert device.look(bundle.build("empty"))["sensors"] == {}


def test_a_sensor_is_probed_with_its_options_and_that_of_the_controller_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distant = tmp_path / "content" / "sensors" / "distant.py"
    distant.parent.mkdir(parents=True)
    distant.write_text('"""Read by the controller."""\n\nWHERE = "controller"\n')
    monkeypatch.setenv("HARNESS_CONTENT", f"{CONTENT}{os.pathsep}{distant.parent.parent}")
    device = Local("bench", tmp_path / "workdir")
    agent = bundle.build("empty", ("meter", "distant"))
    told = device.look(agent, {"meter": {"port": "port 1"}, "distant": {}})
    assert told["sensors"] == {"meter": {"status": "unsupported", "reason": "no meter is attached to port 1"}}


def test_a_look_takes_less_than_half_a_second(tmp_path: Path) -> None:
    look.look(str(tmp_path))
    began = time.monotonic()
    look.look(str(tmp_path))
    assert time.monotonic() - began < 0.5
