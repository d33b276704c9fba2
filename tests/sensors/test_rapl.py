"""An x86 processor's energy counters: trees of /sys that change while they are read, and every sequence of readings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import content

rapl: Any = content.load("sensor", "rapl")
Accumulator: Any = rapl._accumulator.Accumulator
UnavailableError: Any = rapl.UnavailableError
StaleError: Any = rapl._outcome.StaleError

RANGE = 262_143_328_850  # uJ, of most Intel processors
SECOND = 10**9
PARTS = ["package-0", "package-1", "package-0 dram", "package-1 dram"]


class Tree:
    """/sys/class/powercap of a machine."""

    def __init__(self, root: Path) -> None:
        self.top = root / "sys/class/powercap"

    def zone(self, folder: str, name: str, energy_uj: int | str, range_uj: int | str = RANGE) -> None:
        (self.top / folder).mkdir(parents=True, exist_ok=True)
        for file, text in {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": range_uj}.items():
            (self.top / folder / file).write_text(f"{text}\n")

    def counts(self, folder: str, energy_uj: int | str) -> None:
        (self.top / folder / "energy_uj").write_text(f"{energy_uj}\n")

    def deny(self, folder: str) -> Path:
        """Make a counter unreadable: its file is one that not even root may read."""
        counter = self.top / folder / "energy_uj"
        counter.unlink()
        counter.symlink_to("/proc/sys/vm/compact_memory")
        return counter


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    return Tree(tmp_path)


@pytest.fixture
def laptop(tree: Tree) -> Tree:
    """One package with parts, psys beside it, and the same energy once more by MMIO."""
    tree.zone("intel-rapl:0", "package-0", 5_000_000)
    tree.zone("intel-rapl:0:0", "core", 3_000_000)
    tree.zone("intel-rapl:0:1", "uncore", 1_000_000)
    tree.zone("intel-rapl:1", "psys", 9_000_000)
    tree.zone("intel-rapl-mmio:0", "package-0", 5_000_000)
    return tree


@pytest.fixture
def server(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Two sockets, each with memory of its own; the memory's counters move."""
    for n in (0, 1):
        tree.zone(f"intel-rapl:{n}", f"package-{n}", (n + 1) * 100_000_000)
        tree.zone(f"intel-rapl:{n}:0", "dram", (n + 1) * 10_000_000, 65_712_999_613)
    ticking(tree, monkeypatch, ("intel-rapl:0:0", "intel-rapl:1:0"))
    return tree


def ticking(tree: Tree, monkeypatch: pytest.MonkeyPatch, folders: Iterable[str]) -> None:
    """Let counters rise by a joule whenever somebody waits."""

    def sleep(seconds: float) -> None:
        for folder in folders:
            tree.counts(folder, int((tree.top / folder / "energy_uj").read_text()) + 1_000_000)

    monkeypatch.setattr(time, "sleep", sleep)


def told(session: Any) -> list[tuple[float | None, str]]:
    return [(None if t.value is None else round(t.value, 6), t.status) for t in session.read()]


# --- what is added -------------------------------------------------------------------------------------------------


def test_of_a_laptop_the_package_alone_is_read_without_its_parts_psys_and_the_same_once_more(laptop: Tree) -> None:
    with rapl.open({}) as session:
        (channel,) = session.channels
        assert (channel.name, channel.scope, channel.kind, channel.unit) == (
            "package-0",
            "package",
            "energy_counter",
            "J",
        )
        assert channel.total and channel.resolution == pytest.approx(61.035e-6, rel=1e-4)
        assert told(session) == [(5.0, "ok")]
        laptop.counts("intel-rapl:0", 5_750_000)
        assert told(session) == [(5.75, "ok")]


def test_of_a_server_all_packages_and_their_memory_are_summed_and_kept_as_parts(server: Tree) -> None:
    with rapl.open({}) as session:
        shown = [(channel.name, channel.scope, channel.total) for channel in session.channels]
        values = told(session)
    assert shown == [(" + ".join(PARTS), "package_dram", True), *((part, "rail", False) for part in PARTS)]
    assert values == [(334.0, "ok"), (100.0, "ok"), (200.0, "ok"), (12.0, "ok"), (22.0, "ok")]


def test_memory_that_one_socket_does_not_count_is_left_out_of_all(server: Tree) -> None:
    server.zone("intel-rapl:2", "package-2", 7)
    with rapl.open({}) as session:
        assert session.channels[0].scope == "package"
        assert [channel.name for channel in session.channels[1:]] == ["package-0", "package-1", "package-2"]


def test_a_memory_counter_that_nobody_keeps_is_left_out(server: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    ticking(server, monkeypatch, ["intel-rapl:0:0"])
    with rapl.open({}) as session:
        assert session.channels[0].scope == "package"


def test_zones_within_their_package_s_folder_are_found_once(server: Tree) -> None:
    (server.top / "intel-rapl:0/intel-rapl:0:0").symlink_to("../intel-rapl:0:0")  # as the kernel shows them: both
    (server.top / "intel-rapl:1:0").rename(server.top / "intel-rapl:1/intel-rapl:1:0")
    (server.top / "intel-rapl:1:0").symlink_to("intel-rapl:1/intel-rapl:1:0")
    with rapl.open({}) as session:
        assert [channel.name for channel in session.channels[1:]] == PARTS


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_a_machine_without_rapl_is_unsupported_and_the_reason_says_so(tree: Tree) -> None:
    status, reason = rapl.probe({})
    assert status == "unsupported" and "this processor or virtual machine has no RAPL" in reason


def test_counters_that_a_container_hides_are_told_apart_from_none(tree: Tree) -> None:
    tree.top.mkdir(parents=True)
    (tree.top / "intel-rapl:0").symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
    status, reason = rapl.probe({})
    assert status == "unsupported" and "a container" in reason


def test_without_permission_the_command_names_the_files_that_exist_and_nothing_is_read(server: Tree) -> None:
    denied = [str(server.deny(folder)) for folder in ("intel-rapl:0", "intel-rapl:1:0")]
    status, reason = rapl.probe({})
    assert status == "permission"
    assert reason.endswith("until the next reboot: sudo chmod a+r " + " ".join(denied))
    with pytest.raises(PermissionError), rapl.open({}):
        pass


def test_permission_that_is_lost_in_mid_window_is_a_gap_of_permission(laptop: Tree) -> None:
    with rapl.open({}) as session:
        assert told(session)[0][1] == "ok"
        laptop.deny("intel-rapl:0")
        assert told(session) == [(None, "permission")]


def test_a_counter_that_disappears_in_mid_window_gives_gaps_for_itself_and_the_sum(server: Tree) -> None:
    with rapl.open({}) as session:
        assert {status for _, status in told(session)} == {"ok"}
        (server.top / "intel-rapl:1/energy_uj").unlink()
        assert [status for _, status in told(session)] == ["error", "ok", "error", "ok", "ok"]


@pytest.mark.parametrize("text", ["", "-5", "12.5", "garbage", "0x10"])
def test_a_counter_that_is_no_whole_number_is_an_error_and_no_0(laptop: Tree, text: str) -> None:
    with rapl.open({}) as session:
        laptop.counts("intel-rapl:0", text)
        assert told(session) == [(None, "error")]


def test_a_range_that_cannot_be_read_stops_the_sensor_for_no_wrap_could_be_told(laptop: Tree) -> None:
    laptop.zone("intel-rapl:0", "package-0", 5, "unknown")
    status, reason = rapl.probe({})
    assert status == "error" and "max_energy_range_uj" in reason


def test_counters_that_do_not_move_are_stale_and_moving_ones_tell_a_power(
    laptop: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rapl.probe({}) == (
        "stale",
        "the counters do not move: a virtual machine may show some that nobody keeps",
    )
    laptop.counts("intel-rapl:0", 0)
    status, reason = rapl.probe({})
    assert status == "stale" and "stands at 0" in reason
    laptop.counts("intel-rapl:0", 5_000_000)
    ticking(laptop, monkeypatch, ["intel-rapl:0"])
    status, reason = rapl.probe({})
    assert status == "ok" and reason.startswith("package: package-0, about ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"period_s": 60}, "option period_s must be a number from 0.05 to 10, not 60"),
        ({"scope": "package"}, "one of period_s, not 'scope'"),
    ],
    ids=["number", "name"],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    status, reason = rapl.probe(options)
    assert status == "error" and words in reason
    with pytest.raises(ValueError, match=re.escape(words)), rapl.open(options):
        pass


# --- sequences of readings -----------------------------------------------------------------------------------------

steps_of_energy = st.lists(
    st.tuples(st.integers(1, 4_000_000_000), st.integers(1, 2 * SECOND)),  # uJ, ns
    min_size=1,
    max_size=60,
)


@given(
    start=st.integers(1, RANGE), rises=steps_of_energy, range_uj=st.sampled_from([RANGE, 65_712_999_613, 5_000_000_000])
)
def test_for_any_sequence_of_increments_the_energy_is_their_true_sum(
    start: int, rises: list[tuple[int, int]], range_uj: int
) -> None:
    count, now_ns, true = start % range_uj + 1, 0, 0
    counter = Accumulator("package-0", 1e-6, 2000.0, range_uj)
    first = counter.energy(count, now_ns)
    for rise, elapsed_ns in rises:
        rise = min(rise, max(1, elapsed_ns // 500))  # 2 kW at most
        true, now_ns, count = true + rise, now_ns + elapsed_ns, (count + rise) % range_uj
        assert counter.energy(count, now_ns) - first == pytest.approx(true * 1e-6, abs=1e-6)


def test_a_server_s_sum_goes_on_over_a_wrap_of_one_of_its_counters(server: Tree) -> None:
    server.counts("intel-rapl:1", RANGE - 2_000_000)
    with rapl.open({}) as session:
        (before, _), *_ = told(session)
        server.counts("intel-rapl:1", 3_000_000)
        (after, status), *_ = told(session)
    assert status == "ok" and before is not None and after == pytest.approx(before + 5.0)


def readings(counter: Any, *moments: tuple[float, float]) -> list[str]:
    """What a counter gives at (s, J): its energy, or the status."""
    found = []
    for t_s, energy_j in moments:
        try:
            found.append(f"{counter.energy(round(energy_j * 1e6), round(t_s * SECOND)):.1f}")
        except UnavailableError:
            found.append("error")
        except StaleError:
            found.append("stale")
    return found


@pytest.fixture
def counter() -> Any:
    return Accumulator("package-0", 1e-6, 2000.0, RANGE)


def test_a_reset_is_no_wrap_and_is_believed_after_two_rises_with_the_sum_going_on(counter: Any) -> None:
    moments = [(0, 100), (0.5, 110), (1, 2), (1.5, 7), (2, 12), (2.5, 20)]
    assert readings(counter, *moments) == ["100.0", "110.0", "error", "error", "115.0", "123.0"]


def test_a_counter_that_stands_still_after_a_reset_is_not_believed(counter: Any) -> None:
    moments = [(0, 100), (0.5, 2), (1, 2), (1.5, 3), (2, 3), (2.5, 4)]
    assert readings(counter, *moments) == ["100.0", "error", "error", "error", "error", "101.0"]


def test_a_wrap_is_told_from_a_reset_by_the_power_that_it_would_take(counter: Any) -> None:
    end_j = RANGE * 1e-6
    assert readings(counter, (0, end_j - 100), (0.5, 300)) == ["%.1f" % (end_j - 100), "%.1f" % (end_j + 300)]
    other = Accumulator("package-0", 1e-6, 2000.0, RANGE)
    assert readings(other, (0, end_j - 2000), (0.5, 300)) == ["%.1f" % (end_j - 2000), "error"]


def test_a_break_is_said_in_the_words_of_what_happened(counter: Any) -> None:
    counter.energy(100_000_000, 0)
    with pytest.raises(UnavailableError, match="package-0 fell from 100000000 to 2, which is no wrap: it was reset"):
        counter.energy(2, SECOND)
    with pytest.raises(UnavailableError, match=r"package-0 rose by 5000 J in 1\.0 s, more than 2000 W"):
        counter.energy(5_000_000_002, 2 * SECOND)


def test_a_leap_that_no_processor_takes_is_an_error(counter: Any) -> None:
    assert readings(counter, (0, 1), (0.5, 1200), (1, 1210), (1.5, 1220)) == ["1.0", "error", "error", "11.0"]


def test_a_counter_that_was_not_read_for_too_long_may_have_wrapped_twice_and_is_not_believed(counter: Any) -> None:
    assert readings(counter, (0, 10), (131, 100)) == ["10.0", "100.0"]
    assert readings(counter, (263, 200), (263.5, 210), (264, 220)) == ["error", "error", "110.0"]


def test_a_counter_above_its_own_range_lies(counter: Any) -> None:
    assert readings(counter, (0, 1), (0.5, RANGE * 1e-6 + 1)) == ["1.0", "error"]


def test_a_counter_that_stalls_is_stale_after_two_seconds_and_goes_on_when_it_moves(counter: Any) -> None:
    stalled = [(0.5 * n, 8) for n in range(1, 7)]
    assert readings(counter, (0, 7), *stalled, (3.5, 9)) == ["7.0", *["8.0"] * 5, "stale", "9.0"]


def test_a_counter_that_stands_at_0_from_the_start_is_no_number(counter: Any) -> None:
    assert readings(counter, (0, 0), (0.5, 0), (1, 2), (1.5, 4)) == ["stale", "stale", "2.0", "4.0"]
