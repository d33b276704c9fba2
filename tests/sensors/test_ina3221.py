"""Jetson's power chips: rails, totals and traps, on trees as the kernels of JetPack 4 to 7 make them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trees_of_sensors as trees

from harness import content


@pytest.fixture
def sensor() -> Any:
    return content.load("sensor", "ina3221")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    return tmp_path


def one(sensor: Any, **options: object) -> Any:
    """What the total gives in one reading."""
    with sensor.open(options) as session:
        return session.read()[0]


def test_the_total_of_an_orin_nano_is_vdd_in_alone(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    with sensor.open({}) as session:
        (channel,) = session.channels
        before = time.monotonic_ns()
        (taken,) = session.read()
        after = time.monotonic_ns()
    assert (channel.name, channel.scope, channel.kind, channel.total) == ("VDD_IN", "module", "instant_power", True)
    assert (taken.value, taken.status) == (pytest.approx(4.8), "ok") and before <= taken.t_ns <= after
    assert channel.update_s == 0.007
    assert channel.resolution == pytest.approx(0.008 * 0.96 + 40e-6 / 5e-3 * 5.0)  # V step x A, A step x V


def test_probe_tells_rails_addresses_shunts_and_steps(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    assert sensor.probe({}) == (
        "ok",
        "module: VDD_IN at 1-0040 (shunt 5000 uOhm); new every 7 ms, steps of 48 mW; parts: VDD_CPU_GPU_CV, VDD_SOC",
    )


@pytest.mark.parametrize("numbers", [(3, 4), (4, 3), (10, 2)], ids=["one-boot", "the-other-way-round", "far-apart"])
def test_an_agx_is_the_sum_of_three_rails_whatever_the_numbers_of_hwmon(
    sensor: Any, root: Path, numbers: tuple[int, int]
) -> None:
    trees.ina3221(root, "1-0040", numbers[0], trees.AGX)
    trees.ina3221(root, "1-0041", numbers[1], trees.AGX_SECOND)
    with sensor.open({"rails": "all"}) as session:
        taken = session.read()
    names = [channel.name for channel in session.channels]
    total = "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    assert names == [total, "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]  # NC is none of them
    assert [channel.total for channel in session.channels] == [True, False, False, False, False]
    assert taken[0].value == pytest.approx(2.39904 + 0.39984 + 4.04)  # not the 0.3 W of memory once more
    assert sum(each.value for each in taken[1:4]) == pytest.approx(taken[0].value)
    assert taken[4].value == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("total", "rule"),
    [
        (["VDD_IN", "VDD_SOC"], "must not add to VDD_IN what it holds"),
        (["VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"], "must not add VDDQ_VDD2_1V8AO to VIN_SYS_5V0, which holds it"),
        (["1-0041/VDDQ_VDD2_1V8AO", "1-0040/VIN_SYS_5V0"], "which holds it"),
        (["NC"], "must not name NC"),
        ("VDD_IN", "a list of texts"),
    ],
    ids=["in-and-part", "memory", "with-addresses", "nc", "text"],
)
def test_a_total_that_counts_something_twice_is_refused(sensor: Any, root: Path, total: object, rule: str) -> None:
    trees.ina3221(root, "1-0040", 3, trees.AGX)
    with pytest.raises(ValueError, match=rule), sensor.open({"total": total}):
        pass
    status, reason = sensor.probe({"total": total})
    assert status == "error" and rule in reason


def test_a_missing_rail_of_the_total_is_unsupported_and_those_that_are_there_are_told(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.AGX)
    status, reason = sensor.probe({"total": ["VDD_IN"]})
    assert status == "unsupported"
    assert reason == (
        "no rail VDD_IN, so there is no total; there are VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0."
        " Name those that make up the total: `total: [...]`"
    )


def test_rails_of_an_unknown_module_make_no_total_by_themselves(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, {"VDD_A": (5000, 100), "VDD_B": (5000, 100)})
    status, reason = sensor.probe({})
    assert (
        status == "unsupported"
        and "not known which rails make up this module's total; there are VDD_A, VDD_B" in reason
    )
    assert one(sensor, total=["VDD_A", "VDD_B"]).value == pytest.approx(1.0)


def test_a_channel_without_label_is_named_by_its_bus_address(sensor: Any, root: Path) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    (chip / "in1_label").unlink()
    status, reason = sensor.probe({})
    assert status == "unsupported" and "there are 1-0040/channel1, VDD_CPU_GPU_CV, VDD_SOC" in reason
    assert one(sensor, total=["1-0040/channel1"]).value == pytest.approx(4.8)


def test_a_label_that_is_there_twice_needs_its_bus_address(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, {"VDD_IN": (5000, 1000)})
    trees.ina3221(root, "7-0040", 1, {"VDD_IN": (5000, 2000)})
    status, reason = sensor.probe({"total": ["VDD_IN"]})
    assert status == "unsupported" and "there are 1-0040/VDD_IN, 7-0040/VDD_IN" in reason
    with sensor.open({"total": ["7-0040/VDD_IN"]}) as session:
        assert session.channels[0].scope == "module" and session.read()[0].value == pytest.approx(10.0)


def test_a_channel_that_is_switched_off_is_no_rail(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO, in1_enable=0)
    status, reason = sensor.probe({"total": ["VDD_IN"]})
    assert status == "unsupported" and "there are VDD_CPU_GPU_CV, VDD_SOC" in reason


def test_the_sum_of_shunt_voltages_is_no_rail_wherever_it_stands(sensor: Any, root: Path) -> None:
    rails = {"VDD_IN": (5000, 960), "sum of shunt voltages": (15, 1352)}
    trees.ina3221(root, "1-0040", 3, rails, in2_label="sum of shunt voltages")
    with sensor.open({"rails": "all"}) as session:
        assert [channel.name for channel in session.channels] == ["VDD_IN"]


def test_what_usb_c_agreed_is_never_a_measurement(sensor: Any, root: Path) -> None:
    trees.usb_c(root)
    status, reason = sensor.probe({})
    assert status == "unsupported" and reason.startswith("no ina3221 or ina3221x or ina238 with a rail")


def test_nothing_at_all_is_unsupported(sensor: Any, root: Path) -> None:
    assert sensor.probe({})[0] == "unsupported"


@pytest.mark.parametrize("label", ["POM_5V_IN", "VDD_IN"])
def test_jetpack_4_tells_milliwatts_in_iio(sensor: Any, root: Path, label: str) -> None:
    trees.jetpack_4(root, "6-0040", {label: (5000, 700, 3478), "VDD_CPU": (5000, 200, 1000), "NC": (0, 0, 0)})
    with sensor.open({"rails": "all"}) as session:
        taken = session.read()
    assert [channel.name for channel in session.channels] == [label, "VDD_CPU"]
    assert [each.value for each in taken] == [pytest.approx(3.478), pytest.approx(1.0)]
    assert session.channels[0].resolution == 0.0  # the shunt is not told


def test_thor_has_microwatts_before_the_carrier_board(sensor: Any, root: Path) -> None:
    files = {"name": "ina238", "in1_input": 20000, "curr1_input": 2000, "power1_input": 40_100_000}
    trees.hwmon(root, "2-0044", 5, files)
    with sensor.open({}) as session:
        assert (session.channels[0].name, session.channels[0].scope) == ("VIN", "dc_input")
        assert session.read()[0].value == pytest.approx(40.1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("in1_input", 5_000_000, "no millivolts"),
        ("curr1_input", 960_000, "no milliamperes"),
        ("in1_input", "5000 mV", "holds no whole number"),
        ("curr1_input", "", "holds no whole number"),
    ],
    ids=["microvolts", "microamperes", "text", "empty"],
)
def test_numbers_in_another_unit_and_text_are_refused(
    sensor: Any, root: Path, name: str, value: object, said: str
) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    trees.put(chip, {name: value})
    taken = one(sensor)
    assert (taken.value, taken.status) == (None, "error") and said in taken.reason
    assert sensor.probe({})[0] == "error"


def test_power_that_does_not_agree_with_voltage_times_current_is_refused(sensor: Any, root: Path) -> None:
    files = {"name": "ina238", "in1_input": 20000, "curr1_input": 2000, "power1_input": 40_100}
    trees.hwmon(root, "2-0044", 5, files)
    status, reason = sensor.probe({})
    assert status == "error" and "says 0.0401 W, but voltage times current is 40 W" in reason


def test_voltage_is_the_mean_of_before_and_after_the_current(sensor: Any, root: Path) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    rail = sensor._hwmon.Rail("VDD_IN", "1-0040", Turning(chip / "in1_input", [4992, 5008]), chip / "curr1_input")
    value, raw = sensor._hwmon.watts(rail)
    assert raw == (4992, 960, 5008) and value == pytest.approx(5.0 * 0.96)


class Turning:
    """A path whose file says something else each time that it is read."""

    def __init__(self, path: Path, values: list[int]) -> None:
        self.path, self.values = path, values

    def __str__(self) -> str:
        self.path.write_text(f"{self.values.pop(0)}\n")
        return str(self.path)


def vanish(chip: Path) -> None:
    (chip / "curr1_input").unlink()


def fail(chip: Path) -> None:
    (chip / "curr1_input").unlink()
    (chip / "curr1_input").symlink_to("/proc/self/mem")  # an input/output error, as of a chip that hangs


def become_text(chip: Path) -> None:
    (chip / "curr1_input").write_text("busy\n")


def become_nothing(chip: Path) -> None:
    trees.put(chip, {"curr1_input": 0})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (vanish, "No such file"),
        (fail, "Input/output error"),
        (become_text, "no whole number"),
        (become_nothing, "draws more than nothing"),
    ],
    ids=["vanishes", "hangs", "text", "zero"],
)
def test_a_rail_that_stops_answering_is_a_gap_of_its_total_never_a_number(
    sensor: Any, root: Path, change: Callable[[Path], None], said: str
) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    with sensor.open({"rails": "all"}) as session:
        assert [each.status for each in session.read()] == ["ok"] * 3
        change(chip)
        total, *parts = session.read()
        assert (total.value, total.status) == (None, "error") and said in total.reason
        assert [part.value for part in parts] == [pytest.approx(0.52), pytest.approx(1.44)]
        (chip / "curr1_input").unlink(missing_ok=True)
        trees.put(chip, {"curr1_input": 1000})
        assert session.read()[0].value == pytest.approx(5.0)  # it goes on where the rail does


def test_one_rail_of_a_sum_that_is_silent_makes_no_smaller_sum(sensor: Any, root: Path) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.AGX)
    with sensor.open({}) as session:
        assert session.read()[0].status == "ok"
        (chip / "in2_input").unlink()
        (taken,) = session.read()
    assert (taken.value, taken.status) == (None, "error") and taken.reason.startswith("VDD_CPU_CV: ")


def test_what_may_not_be_read_is_a_matter_of_permission_with_the_command_that_helps(sensor: Any) -> None:
    error = PermissionError(13, "Permission denied", "/sys/x/in1_input")
    assert sensor._probing.denied(error).endswith("Let this user read it: `sudo chmod a+r /sys/x/in1_input`")


def test_numbers_that_never_change_are_stale_until_they_do(sensor: Any) -> None:
    still = sensor._hwmon.Still()
    second = 10**9
    judged = [still.judge((5000, 960), n * second // 10)[0] for n in range(60)]
    assert judged == ["ok"] * 40 + ["stale"] * 20  # four seconds of ten a second
    assert still.judge((5000, 968), 15 * second) == ("ok", "")


def test_a_chip_that_always_stands_still_is_seen_in_the_shortest_window(sensor: Any) -> None:
    still, length_s = sensor._hwmon.Still(0.007), 0.5 + sensor.WINDOW_S[0] + 0.5
    statuses = [still.judge((4832, 904), int(n * 5e7))[0] for n in range(int(length_s / 0.05))]
    within = statuses[10:-10]
    assert within.count("stale") > 0.05 * len(within)


def test_a_slow_converter_may_say_the_same_twenty_times(sensor: Any) -> None:
    still = sensor._hwmon.Still(0.422)
    assert {still.judge((5000, 960), n * 10**8)[0] for n in range(84)} == {"ok"}


def test_few_readings_are_no_stall_however_long_they_take(sensor: Any) -> None:
    still = sensor._hwmon.Still()
    assert {still.judge(1, n * 10**10)[0] for n in range(19)} == {"ok"}


def test_a_chip_that_averages_for_long_says_so(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO, samples=64, update_interval=422)
    with sensor.open({}) as session:
        (channel,) = session.channels
    assert (channel.kind, channel.average_s) == ("averaged_power", 0.422)


def test_without_update_interval_the_period_is_unknown(sensor: Any, root: Path) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    (chip / "update_interval").unlink()
    with sensor.open({}) as session:
        assert session.channels[0].update_s == 0.0
    assert "how often new: unknown" in sensor.probe({})[1]


def test_a_resistor_that_somebody_wrote_is_told(sensor: Any, root: Path) -> None:
    trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO, shunt1_resistor=50000)
    assert "(shunt 50000 uOhm)" in sensor.probe({})[1]


def test_an_unknown_option_is_refused(sensor: Any, root: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean \"rails\""), sensor.open({"rail": "all"}):
        pass


def test_a_session_whose_numbers_stand_still_gives_stale_and_goes_on_when_they_move(
    sensor: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor._hwmon, "STALL_S", 0.05)
    monkeypatch.setattr(sensor._hwmon, "STALL_READINGS", 3)
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    with sensor.open({}) as session:
        assert session.read()[0].status == "ok"
        time.sleep(0.06)
        stalled = [session.read()[0] for _ in range(2)][-1]
        trees.put(chip, {"curr1_input": 968})
        moved = session.read()[0]
    assert (stalled.value, stalled.status) == (None, "stale") and "the same numbers" in stalled.reason
    assert moved.value == pytest.approx(4.84)


DENIED = Path("/proc/sys/net/ipv4/route/flush")  # write only, for root too


def is_denied() -> bool:
    try:
        DENIED.read_bytes()
    except PermissionError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.skipif(not is_denied(), reason="this kernel has no file that root may not read")
def test_a_file_that_may_not_be_read_is_a_matter_of_permission(sensor: Any, root: Path) -> None:
    chip = trees.ina3221(root, "1-0040", 3, trees.ORIN_NANO)
    (chip / "in1_input").unlink()
    (chip / "in1_input").symlink_to(DENIED)
    taken = one(sensor)
    assert (taken.value, taken.status) == (None, "permission")
    status, reason = sensor.probe({})
    assert status == "permission" and "sudo chmod a+r" in reason
