"""What the profiles say: facts, and commands that are run here against stand-ins of nvpmodel, jetson_clocks and nvidia-smi."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import content, inventory, jobs, plan
from harness.errors import DeviceError, InventoryError, UsageError
from harness.plan import Words
from harness.wire import Setting

JETSONS = ("jetson-orin-nano", "jetson-orin-nx", "jetson-orin-agx")
PIS = ("raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5")
ALL = content.names("profile")

CONF = """\
# a comment < POWER_MODEL ID=9 NAME=15W >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=10W >
< POWER_MODEL ID=2 NAME=MODE_15W >
< POWER_MODEL ID=3 NAME=25W >
< PM_CONFIG DEFAULT=3 >
"""
NVPMODEL = """\
#!/bin/sh
# Mode 1 needs a reboot: without a yes it stays as it was, and the command ends as if nothing had been wrong.
case "$1" in
-q) echo "NVPM WARN: fan mode is not set!"; echo "NV Power Mode: $(cat {state})"; echo 3 ;;
-m) if [ "$2" = 1 ]; then
        echo "DO YOU WANT TO REBOOT NOW?"; read -r answer; [ "$answer" = no ] || touch {state}.rebooted; exit 0
    fi
    sed -n "s/^< POWER_MODEL ID=$2 NAME=\\(.*\\) >/\\1/p" {conf} >{state} ;;
esac
"""
JETSON_CLOCKS = """\
#!/bin/sh
if [ -e {state}.locked ]; then low=1510400; else low=729600; fi
case "$1" in
--show) echo "Online CPUs: 0-5"
    echo "cpu0:  Online=1 Governor=schedutil MinFreq=$low MaxFreq=1510400 CurrentFreq=960000 IdleStates: WFI=1 c7=1"
    echo "cpu5:  Online=0 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=960000"
    echo "GPU MinFreq=$low MaxFreq=1510400 CurrentFreq=$(date +%N)"
    echo "DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000" ;;
--store) if [ -e "$2" ]; then read -r answer; exit 1; fi; echo stored >"$2" ;;
--restore) grep -q stored "$2" && rm {state}.locked ;;
"") touch {state}.locked ;;
esac
"""
NVIDIA_SMI = """\
#!/bin/sh
case "$*" in
*clocks.max.graphics*) echo 2100 ;;
*clocks.gr*) if [ -e {state}.locked ]; then echo 1560; else echo 210; fi ;;
*persistence_mode*) if [ -e {state}.persistent ]; then echo Enabled; else echo Disabled; fi ;;
*"-lgc 1575,1575") touch {state}.locked ;;
*-rgc) rm {state}.locked ;;
*"-pm 1") touch {state}.persistent ;;
*"-pm 0") rm {state}.persistent ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[str, ...], str], tuple[int, str]]:
    """A device of stand-ins: run a setting's command there, `{before}` filled in, and return status and output."""
    conf, state = tmp_path / "nvpmodel.conf", tmp_path / "state"
    conf.write_text(CONF)
    state.write_text("25W\n")
    programs = {"nvpmodel": NVPMODEL, "jetson_clocks": JETSON_CLOCKS, "nvidia-smi": NVIDIA_SMI, "sleep": "#!/bin/sh\n"}
    for name, text in programs.items():
        (tmp_path / name).write_text(text.replace("{state}", str(state)).replace("{conf}", str(conf)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def run(command: tuple[str, ...], before: str = "") -> tuple[int, str]:
        words = [
            word.replace("{before}", before)
            .replace("{workdir}", str(tmp_path))
            .replace("/etc/nvpmodel.conf", str(conf))
            for word in command
        ]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    return run


Board = Callable[..., tuple[int, str]]


def in_force(setting: Setting, board: Board) -> str:
    status, said = board(setting.query)
    assert status == 0
    return said


def mode(profile: str, name: str) -> Setting:
    (setting,) = inventory.profile(profile).power_modes[name].settings
    return setting


@pytest.mark.parametrize("profile", JETSONS)
def test_a_power_mode_is_set_by_its_name_and_put_back_to_what_was_there(profile: str, board: Board) -> None:
    setting = mode(profile, "15W")
    before = in_force(setting, board)
    assert before == "25W" and not re.search(setting.value, before)
    assert board(setting.apply)[0] == 0
    assert in_force(setting, board) == "MODE_15W" and re.search(setting.value, "MODE_15W")
    assert board(setting.restore, before)[0] == 0
    assert in_force(setting, board) == "25W"


def test_a_power_mode_that_needs_a_reboot_is_declined_and_not_in_force(board: Board, tmp_path: Path) -> None:
    setting = mode("jetson-orin-nx", "10W")
    assert board(setting.apply)[0] == 0
    assert not re.search(setting.value, in_force(setting, board))
    assert not (tmp_path / "state.rebooted").exists()


def test_a_power_mode_that_this_board_lacks_says_so(board: Board) -> None:
    status, said = board(mode("jetson-orin-nx", "40W").apply)
    assert status == 1 and said.endswith("nvpmodel.conf has no power mode 40W")


@pytest.mark.parametrize("name", ["; touch pwned", "$(touch pwned)", "15W >\n< POWER_MODEL ID=0", '" } { print 0 } "'])
def test_a_hostile_mode_is_only_looked_up(name: str, board: Board, tmp_path: Path) -> None:
    assert board(mode("jetson-orin-nano", "15W").restore, name)[0] == 1
    assert (tmp_path / "state").read_text() == "25W\n" and not list(tmp_path.glob("**/pwned"))


def test_all_jetsons_look_modes_up_alike_and_no_mode_of_one_looks_like_anothers() -> None:
    every = {name: inventory.profile(name).power_modes for name in JETSONS}
    assert len({each.settings[0].apply[2] for modes in every.values() for each in modes.values()}) == 1
    for modes in every.values():
        for name, each in modes.items():
            assert [other for other in modes if re.search(each.settings[0].value, other)] == [name]
            assert each.settings[0].apply[-1] == name


def test_jetson_clocks_are_locked_seen_as_such_and_restored_even_where_an_old_store_lies(
    board: Board, tmp_path: Path
) -> None:
    (tmp_path / "jetson_clocks.store").write_text("of an earlier job")
    (setting,) = inventory.profile("jetson-orin-nano").tune["clocks"]
    assert in_force(setting, board) == "free"
    assert board(setting.apply)[0] == 0
    assert in_force(setting, board) == "locked" and re.search(setting.value, "locked")
    assert board(setting.restore, "free")[0] == 0
    assert in_force(setting, board) == "free"


@pytest.mark.parametrize(
    ("name", "off", "on"), [("gpu-persistence", "Disabled", "Enabled"), ("gpu-clocks", "free", "locked")]
)
def test_a_gpus_settings_are_brought_about_and_undone(name: str, off: str, on: str, board: Board) -> None:
    (setting,) = inventory.profile("desktop-nvidia").tune[name]
    assert in_force(setting, board) == off and not re.search(setting.value, off)
    assert board(setting.apply)[0] == 0
    assert in_force(setting, board) == on and re.search(setting.value, on)
    assert board(setting.restore, off)[0] == 0
    assert in_force(setting, board) == off


@pytest.mark.parametrize(
    ("profile", "model"),
    [
        ("raspberry-pi-3", "Raspberry Pi 3 Model B Plus Rev 1.3"),
        ("raspberry-pi-4", "Raspberry Pi 4 Model B Rev 1.5"),
        ("raspberry-pi-4", "Raspberry Pi Compute Module 4 Rev 1.0"),
        ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0"),
        ("jetson-orin-nano", "NVIDIA Jetson Orin Nano Developer Kit"),
        ("jetson-orin-nano", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"),
        ("jetson-orin-nx", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"),
        ("jetson-orin-agx", "NVIDIA Jetson AGX Orin Developer Kit"),
    ],
)
def test_a_boards_model_is_that_of_one_profile_alone(profile: str, model: str) -> None:
    fitting = [name for name in ALL if any(re.fullmatch(each, model) for each in inventory.profile(name).models)]
    assert fitting == [profile]


@pytest.mark.parametrize(
    ("profile", "said", "system"),
    [
        ("raspberry-pi-4", "Debian GNU/Linux 12 (bookworm)", "raspberry-pi-os-bookworm"),
        ("raspberry-pi-5", "Debian GNU/Linux 13 (trixie)", "raspberry-pi-os-trixie"),
        ("jetson-orin-nano", "# R36 (release), REVISION: 4.4, GCID: 1, BOARD: generic, EABI: aarch64", "jetpack-6"),
        ("jetson-orin-agx", "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: generic, EABI: aarch64", "jetpack-5"),
        ("jetson-orin-nx", "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64", "jetpack-7"),
        ("workstation-x86", "Ubuntu 24.04.3 LTS", "ubuntu-24.04"),
    ],
)
def test_a_release_is_that_of_one_system_alone(profile: str, said: str, system: str) -> None:
    systems = inventory.profile(profile).systems
    assert [each.name for each in systems if re.fullmatch(each.release, said)] == [system]


@pytest.mark.parametrize("name", [name for name in ALL if name != "host"])
def test_a_profile_of_a_board_says_what_compilers_and_wheels_must_fit(name: str) -> None:
    profile = inventory.profile(name)
    assert profile.target["triple"] == f"{profile.arch}-linux-gnu" and profile.target["cpu"]
    assert profile.systems and profile.cooldown_s > 0 and profile.tune
    assert profile.runtimes[0] == "onnxruntime" and profile.runtimes[-1] == "empty"


def test_jetsons_are_compiled_for_as_such_and_jetpack_5_reads_no_opset_newer_than_17() -> None:
    for name in JETSONS:
        profile = inventory.profile(name)
        assert profile.systems[0].name == "jetpack-6"
        assert (profile.target["cpu"], profile.target["compute_capability"]) == ("cortex-a78ae", "8.7")
        opsets = {system.name: system.target.get("tensorrt_opset") for system in profile.systems}
        assert opsets == {"jetpack-6": None, "jetpack-7": None, "jetpack-5": "17"}


def test_only_a_pi_5_has_a_sensor_and_no_pi_a_power_mode() -> None:
    assert [list(inventory.profile(name).sensors) for name in PIS] == [[], [], ["pmic"]]
    assert not any(inventory.profile(name).power_modes for name in PIS)


# --- a plan with a power mode --------------------------------------------------------------------------------------

OWN = """\
description: a board
arch: any
runtimes: [empty]
tune:
  fan: [{file: /sys/class/hwmon/hwmon*/pwm1, value: "255"}]
  governor: [{file: /sys/devices/system/cpu/cpufreq/policy*/scaling_governor, value: performance}]
power_modes:
  low:
    settings: [{file: /sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq, value: "1000000"}]
    fan: fan
    regime: sustained
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(OWN)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    (tmp_path / "inventory.yaml").write_text("devices: {box: {profile: own}}")
    return tmp_path / "inventory.yaml"


def test_a_power_mode_stands_in_the_plan_with_its_regime_unless_the_user_says_another(own: Path) -> None:
    words = Words("box", model="tiny", task="tiny", power_mode="low")
    ((device, planned),) = plan.make(words, own)
    assert (planned.power_mode, planned.regime) == ("low", "sustained")
    assert plan.describe(device, planned)["power_mode"] == "low"
    assert plan.make(replace(words, regime="burst"), own)[0][1].regime == "burst"
    assert plan.make(replace(words, power_mode=None), own)[0][1].regime == "burst"


def test_an_unknown_power_mode_is_answered_with_the_nearest(own: Path) -> None:
    with pytest.raises(UsageError, match=r'no power mode "lo"; did you mean "low"\?'):
        plan.make(Words("box", power_mode="lo"), own)


def test_a_modes_settings_come_first_and_what_tune_names_too_is_brought_about_once(own: Path) -> None:
    profile = inventory.profile("own")
    names = [setting.name for setting in jobs.settings(("fan", "governor"), profile, "low")]
    assert names == ["power-mode.low", "fan", "governor"]
    with pytest.raises(DeviceError, match='no longer has the power mode "high" under `power_modes:`'):
        jobs.settings((), profile, "high")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fan: fan", "fan: fam", r'own\.yaml:10: power_modes\.low\.fan: no setting of `tune:` "fam"'),
        ("regime: sustained", "regime: hot", r"own\.yaml:11: power_modes\.low\.regime: input should be 'burst' or 'sust"),
        ("/sys/devices/system/cpu/cpufreq/policy*/scaling_max", "x", r"own\.yaml:9: power_modes\.low\.settings\.0: a setting"),
        ("  low:", "  lo w:", r"own\.yaml:8: power_modes\.lo w: must be a plain name"),
        ("arch: any", "arch: arm", r"own\.yaml:2: arch: input should be 'x86_64', 'aarch64' or 'any'; it is 'arm'"),
        ("arch: any", "arch: any\nmodels: ['(']", r"own\.yaml:3: models\.0: must be a regular expression"),
        ("arch: any", "arch: any\ntarget: {cpu: '-o x'}", r"own\.yaml:3: target\.cpu: must be one plain word"),
        ("arch: any", "arch: any\nsystems: {x: {relase: a}}", r'own\.yaml:3: systems\.x\.relase: no key "relase"'),
        ("description: a board", 'description: "a\\e[2J"', r"own\.yaml:1: description: must be one line"),
    ],
)  # fmt: skip
def test_a_profile_that_breaks_a_rule_is_told_with_its_line(own: Path, old: str, new: str, message: str) -> None:
    (own.parent / "profiles" / "own.yaml").write_text(OWN.replace(old, new))
    with pytest.raises(InventoryError, match=message):
        inventory.profile("own")
