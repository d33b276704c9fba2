"""Tuning is reversible: whatever happens to the agent, every file holds in the end what it held before."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from devices.agent import tune
from harness.errors import DeviceError
from harness.wire import Setting, Tuned

REPOSITORY = Path(__file__).resolve().parents[2]
POLICY = "sys/devices/system/cpu/cpufreq/policy{}"
GOVERNOR = Setting("governor", "performance", f"/{POLICY.format('*')}/scaling_governor")
CLOCKS = Setting("clocks", "@cpuinfo_max_freq", f"/{POLICY.format('*')}/scaling_min_freq")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cores that can be tuned, in a tree of their own."""
    for n in range(2):
        folder = tmp_path / "root" / POLICY.format(n)
        folder.mkdir(parents=True)
        held = {"scaling_governor": "ondemand", "scaling_min_freq": "600000", "cpuinfo_max_freq": str(1500000 + n)}
        for name, text in held.items():
            (folder / name).write_text(text + "\n")
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path / "root"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "agent.py")])
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "workdir").mkdir()
    return tmp_path / "root"


AGENT = textwrap.dedent(
    f"""
    import sys
    sys.path.insert(0, {str(REPOSITORY)!r})
    from devices.agent import main
    sys.exit(main.main())
    """
)
HOLD = textwrap.dedent(
    f"""
    import sys, time
    sys.path.insert(0, {str(REPOSITORY)!r})
    from pathlib import Path
    from devices.agent import tune
    from harness.wire import Setting
    workdir, settings = Path(sys.argv[1]), [Setting(*words) for words in eval(sys.argv[2])]
    sys.argv = [str(workdir.parent / "agent.py")]
    print("begun", flush=True)
    with tune.applied(workdir, settings, lambda restored: None):
        print("tuned", flush=True)
        time.sleep(60)
    """
)


def state(root: Path) -> dict[str, str]:
    """Every file of the tree with its text."""
    return {str(file.relative_to(root)): file.read_text().strip() for file in root.rglob("*") if file.is_file()}


def hold(workdir: Path, settings: Sequence[Setting]) -> subprocess.Popen[str]:
    """An agent that tunes and then waits, in a process and session of its own."""
    words = [(setting.name, setting.value, setting.file) for setting in settings]
    command = [sys.executable, "-c", HOLD, str(workdir), repr(words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def tune_once(workdir: Path, settings: Sequence[Setting], restored: list[Tuned] | None = None) -> None:
    """Tune, and put back at once."""
    with tune.applied(workdir, settings, (restored if restored is not None else []).extend):
        pass


def until(condition: object, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_settings_are_in_force_in_the_block_and_undone_after_it(root: Path, tmp_path: Path) -> None:
    before, restored = state(root), []
    with tune.applied(tmp_path / "workdir", [GOVERNOR, CLOCKS], restored.extend) as tuned:
        inside = state(root)
        assert [each.status for each in tuned] == ["ok"] * 4
    assert {inside[f"{POLICY.format(n)}/scaling_governor"] for n in range(2)} == {"performance"}
    assert inside[f"{POLICY.format(1)}/scaling_min_freq"] == "1500001"
    assert state(root) == before
    assert [each.status for each in restored] == ["ok"] * 4
    assert not (tmp_path / "workdir" / "tune.json").exists()


def test_settings_are_undone_after_an_error(root: Path, tmp_path: Path) -> None:
    before = state(root)
    with pytest.raises(RuntimeError), tune.applied(tmp_path / "workdir", [GOVERNOR], lambda restored: None):
        raise RuntimeError
    assert state(root) == before


def test_a_governor_that_refuses_is_named_and_everything_is_as_it_was(root: Path, tmp_path: Path) -> None:
    stubborn = root / POLICY.format(1) / "scaling_governor"
    stubborn.unlink()
    (root / "sys" / "fixed").mkdir()
    stubborn.symlink_to(root / "sys" / "fixed")  # cannot be read or written as a file
    with pytest.raises(DeviceError, match=r"tune governor: .*policy1/scaling_governor cannot be read"):
        tune_once(tmp_path / "workdir", [GOVERNOR])
    assert (root / POLICY.format(0) / "scaling_governor").read_text().strip() == "ondemand"


def test_a_value_that_reads_back_otherwise_is_refused_and_undone(root: Path, tmp_path: Path) -> None:
    before, restored = state(root), list[Tuned]()
    answers = Setting("mode", "^loud$", apply=("true",), query=("echo", "quiet"), restore=("true",))
    with pytest.raises(DeviceError, match=r"tune mode: true: asked for .*loud.*, in force is quiet") as caught:
        tune_once(tmp_path / "workdir", [GOVERNOR, answers], restored)
    assert "Drop mode from --tune" in caught.value.hint
    assert state(root) == before
    assert len(restored) == 3


def test_a_command_is_given_what_was_there_before_to_put_it_back(root: Path, tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    mode.write_text("15W")
    with tune.applied(tmp_path / "workdir", [power(mode)], lambda restored: None):
        assert mode.read_text() == "MAXN"
    assert mode.read_text() == "15W"


def power(mode: Path) -> Setting:
    """A power mode that is set by a command, as `nvpmodel` does."""
    apply, restore = (("sh", "-c", f"printf {word} > {mode}") for word in ("MAXN", "{before}"))
    return Setting("power", "^MAXN$", apply=apply, query=("cat", str(mode)), restore=restore)


def test_the_highest_clock_is_the_one_that_is_left_without_turbo(root: Path, tmp_path: Path) -> None:
    before, highest = state(root), root / POLICY.format(0) / "cpuinfo_max_freq"
    apply, restore = (("sh", "-c", f"echo {clock} > {highest}") for clock in (1200000, 1500000))
    turbo = Setting("turbo", "1200000", apply=apply, query=("cat", str(highest)), restore=restore)
    with tune.applied(tmp_path / "workdir", [turbo, CLOCKS], lambda restored: None) as tuned:
        assert [each.asked for each in tuned] == ["1200000", "1200000", "1500001"]
    assert state(root) == before


def test_a_name_of_which_the_device_has_no_target_is_refused(root: Path, tmp_path: Path) -> None:
    turbo = Setting("turbo", "1", "/sys/devices/system/cpu/intel_pstate/no_turbo")
    with pytest.raises(DeviceError, match=r"this device has no /sys/devices/system/cpu/intel_pstate/no_turbo"):
        tune_once(tmp_path / "workdir", [turbo])


def test_one_of_several_alternatives_is_enough(root: Path, tmp_path: Path) -> None:
    (root / "sys/devices/system/cpu/cpufreq/boost").write_text("1\n")
    alternatives = [
        Setting("turbo", "1", "/sys/devices/system/cpu/intel_pstate/no_turbo"),
        Setting("turbo", "0", "/sys/devices/system/cpu/cpufreq/boost"),
    ]
    with tune.applied(tmp_path / "workdir", alternatives, lambda restored: None) as tuned:
        assert [each.found for each in tuned] == ["0"]


@pytest.mark.parametrize("file", ["/etc/passwd", "/sys/../etc/passwd", "/proc/1/comm"])
def test_a_file_outside_sysfs_is_refused(file: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"must lie in /sys or /proc/sys"):
        tune_once(tmp_path / "workdir", [Setting("x", "1", file)])


def test_a_link_out_of_sysfs_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0")
    (root / "sys" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(DeviceError, match=r"leads out of /sys"):
        tune_once(tmp_path / "workdir", [Setting("x", "1", "/sys/link")])
    assert (tmp_path / "secret").read_text() == "0"


def test_when_the_agent_is_killed_the_dead_man_puts_back(root: Path, tmp_path: Path) -> None:
    before = state(root)
    with hold(tmp_path / "workdir", [GOVERNOR, CLOCKS]) as agent:
        assert agent.stdout is not None
        assert [agent.stdout.readline() for _ in range(2)] == ["begun\n", "tuned\n"]
        assert state(root) != before
        os.killpg(agent.pid, signal.SIGKILL)  # its whole session: the dead-man has one of its own
    until(lambda: state(root) == before and not (tmp_path / "workdir" / "tune.json").exists())


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", range(0, 60, 4))
def test_killed_at_any_moment_of_tuning_everything_is_put_back(delay_ms: int, root: Path, tmp_path: Path) -> None:
    before = state(root)
    with hold(tmp_path / "workdir", [GOVERNOR, CLOCKS]) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        time.sleep(delay_ms / 1000)
        agent.kill()
    time.sleep(1.5)  # for the dead-man, if it had begun; if not, nothing was changed, and the next agent finds it so
    assert state(root) == before
    with tune.applied(tmp_path / "workdir", [], lambda restored: None):
        assert state(root) == before and not (tmp_path / "workdir" / "tune.json").exists()


def test_what_a_killed_agent_and_its_dead_man_left_is_put_back_by_the_next(root: Path, tmp_path: Path) -> None:
    before, workdir = state(root), tmp_path / "workdir"
    with contextlib.ExitStack() as stack:
        stack.enter_context(tune.applied(workdir, [GOVERNOR], lambda restored: None))
        left = (workdir / "tune.json").read_text()
    for n in range(2):
        (root / POLICY.format(n) / "scaling_governor").write_text("performance")
    (workdir / "tune.json").write_text(left)
    with tune.applied(workdir, [], lambda restored: None):
        assert state(root) == before


def test_what_was_left_before_a_boot_is_forgotten(root: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    with tune.applied(workdir, [GOVERNOR], lambda restored: None):
        stored = json.loads((workdir / "tune.json").read_text())
    (workdir / "tune.json").write_text(json.dumps({**stored, "boot_id": "another"}))
    (root / POLICY.format(0) / "scaling_governor").write_text("powersave")  # the user's own choice since
    assert tune.put_back(workdir) == []
    assert (root / POLICY.format(0) / "scaling_governor").read_text() == "powersave"
    assert not (workdir / "tune.json").exists()


def test_where_an_earlier_job_cannot_be_put_back_nothing_is_measured(root: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    with tune.applied(workdir, [GOVERNOR], lambda restored: None):
        stored = json.loads((workdir / "tune.json").read_text())
    stubborn = root / POLICY.format(1) / "scaling_governor"
    stubborn.unlink()
    stubborn.mkdir()  # can be neither read nor written
    (workdir / "tune.json").write_text(json.dumps(stored))
    for settings in ([], [GOVERNOR]):
        with pytest.raises(DeviceError, match=r"an earlier job left .*policy1/scaling_governor") as caught:
            tune_once(workdir, settings)
        assert caught.value.hint.startswith("Put it back to ondemand, and remove ")
    assert [change["target"] for change in json.loads((workdir / "tune.json").read_text())["changes"]] == [
        str(stubborn)
    ]


def test_a_file_of_another_program_is_set_aside(root: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    (workdir / "tune.json").write_text(json.dumps({"pid": 1, "boot_id": "x", "changes": [{"knob": "a"}]}))
    assert tune.put_back(workdir) == []
    assert (workdir / "tune.damaged").exists() and not (workdir / "tune.json").exists()


def test_a_query_that_fails_after_the_change_is_not_taken_for_what_was_asked(root: Path, tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    mode.write_text("15W")
    gone = Setting("power", ".*", apply=("rm", str(mode)), query=("cat", str(mode)), restore=("touch", str(mode)))
    with pytest.raises(DeviceError, match="tune power"):
        tune_once(tmp_path / "workdir", [gone])


def test_what_a_command_did_before_a_boot_may_outlive_it_and_is_put_back(root: Path, tmp_path: Path) -> None:
    workdir, mode = tmp_path / "workdir", tmp_path / "mode"
    mode.write_text("15W")
    with tune.applied(workdir, [GOVERNOR, power(mode)], lambda restored: None):
        stored = json.loads((workdir / "tune.json").read_text())
    mode.write_text("MAXN")
    (workdir / "tune.json").write_text(json.dumps({**stored, "boot_id": "another"}))
    assert [(each.name, each.status) for each in tune.put_back(workdir)] == [("power", "ok")]
    assert mode.read_text() == "15W"


def test_a_damaged_file_is_set_aside_and_said(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "workdir" / "tune.json").write_text('{"pid": 1')
    assert tune.put_back(tmp_path / "workdir") == []
    assert "set aside as tune.damaged" in capsys.readouterr().err
