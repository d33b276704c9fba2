"""A Raspberry Pi 5's power chip: answers of the firmware, played to the real ioctl in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import content

ROOT = Path(__file__).resolve().parents[2]
RECORDED = (ROOT / "tests/data/sensors/pmic-load.txt").read_text()  # printed by a Raspberry Pi 5 under load
SUM_W, CORE_W = 10.799894, 9.761433  # of the recorded lines, by awk: each rail's current times its voltage
UNKNOWN = 'error=1 error_msg="Command not registered"'

# The firmware: an ioctl that answers in its buffer, the answers in turn from a file, the last one again and again.
FIRMWARE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int calls;
int ioctl(int fd, unsigned long request, ...) {
  va_list rest; va_start(rest, request); unsigned *words = va_arg(rest, unsigned *); va_end(rest);
  if (request != 0xC0086400 || words[2] != 0x00030080 || strcmp((char *)(words + 6), "pmic_read_adc")) {
    errno = ENOTTY; return -1;
  }
  static char all[1 << 20]; FILE *file = fopen(getenv("ANSWERS"), "r");
  all[fread(all, 1, sizeof all - 1, file)] = 0; fclose(file);
  char *answer = all, *next;
  for (int n = 0; n < calls && (next = strchr(answer, '\f')); n++) answer = next + 1;
  calls++;
  if ((next = strchr(answer, '\f'))) *next = 0;
  if (!strcmp(answer, "EIO")) { errno = EIO; return -1; }
  strncpy((char *)(words + 6), answer, words[3]);
  return 0;
}
"""
PROGRAM = """
import json, sys
from harness import content
pmic = content.load("sensor", "pmic")
options, reads = json.loads(sys.argv[1]), int(sys.argv[2])
told = {"probe": pmic.probe(options)} if not reads else {}
try:
    if reads:
        with pmic.open(options) as session:
            told["channels"] = [(c.name, c.scope, c.kind, c.total) for c in session.channels]
            told["read"] = [[(t.value, t.status, t.reason) for t in session.read()] for _ in range(reads)]
except Exception as error:
    told["raised"] = [type(error).__name__, str(error)]
print(json.dumps(told))
"""
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


class Board:
    """A Raspberry Pi: its firmware's answers, and what the sensor makes of them."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder, self.library = folder, library
        (folder / "dev").mkdir()
        (folder / "dev/vcio").touch()

    def tells(self, *answers: str, reads: int = 1, options: dict[str, Any] | None = None) -> Any:
        """Play the answers; reads=0: to `probe`. The first answer of a session goes to `open`."""
        (self.folder / "answers").write_text("\f".join(answers))
        environment = os.environ | {
            "LD_PRELOAD": str(self.library),
            "ANSWERS": str(self.folder / "answers"),
            "EDGE_HARNESS_SYSROOT": str(self.folder),
        }
        command = [sys.executable, "-c", PROGRAM, json.dumps(options or {}), str(reads)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "firmware.c").write_text(FIRMWARE)
    command = ["cc", "-shared", "-fPIC", "-o", str(folder / "firmware.so"), str(folder / "firmware.c")]
    subprocess.run(command, check=True)
    return folder / "firmware.so"


@pytest.fixture
def board(tmp_path: Path, library: Path) -> Board:
    return Board(tmp_path, library)


def with_(rail: str, line: str) -> str:
    """The recorded answer with one rail's line changed ("": left out)."""
    changed = re.sub(rf"^ *{rail} .*\n", line + "\n" if line else "", RECORDED, flags=re.MULTILINE)
    assert changed != RECORDED
    return changed


def noisy(n: int) -> str:
    return with_("HDMI_A", "HDMI_A current(22)=%.8fA" % (0.01 + n * 1e-5))


def test_the_sum_pairs_current_and_voltage_by_name_and_adds_neither_the_input_nor_the_battery(board: Board) -> None:
    told = board.tells(RECORDED)
    assert told["channels"] == [
        ["12 rails", "board_partial", "instant_power", True],
        ["VDD_CORE", "rail", "instant_power", False],
    ]
    assert [(value, status) for value, status, _ in told["read"][0]] == [
        (pytest.approx(SUM_W, abs=2e-6), "ok"),
        (pytest.approx(CORE_W, abs=2e-6), "ok"),
    ]


def test_the_order_of_the_lines_means_nothing(board: Board) -> None:
    shuffled = "\n".join(sorted(RECORDED.splitlines(), reverse=True))
    assert board.tells(shuffled)["read"][0][0][0] == pytest.approx(SUM_W, abs=2e-6)


def test_rails_are_kept_by_name_and_an_unknown_one_is_refused(board: Board) -> None:
    told = board.tells(RECORDED, options={"rails": ["DDR_VDD2", "1V1_SYS"]})
    assert [channel[0] for channel in told["channels"]] == ["12 rails", "DDR_VDD2", "1V1_SYS"]
    assert told["read"][0][2][0] == pytest.approx(0.17566740 * 1.10439400, abs=1e-6)
    kind, said = board.tells(RECORDED, options={"rails": ["VDD_CPU"]})["raised"]
    assert kind == "ValueError" and "option rails must name rails of 0V8_AON," in said and "'VDD_CPU'" in said


def test_a_probe_says_what_it_read(board: Board) -> None:
    assert board.tells(RECORDED, reads=0) == {"probe": ["ok", "board_partial: the sum of 12 rails, 10.80 W"]}


def test_a_board_whose_firmware_has_no_such_command_is_unsupported_though_its_call_succeeds(board: Board) -> None:
    status, reason = board.tells(UNKNOWN, reads=0)["probe"]
    assert status == "unsupported" and "only that of a Raspberry Pi 5" in reason
    assert board.tells(UNKNOWN)["raised"][0] == "AbsentError"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (with_("1V1_SYS_V", ""), "alone: 1V1_SYS"),
        (with_("EXT5V_V", "EXT5V_A current(24)=1.00000000A"), "alone: EXT5V"),
        (with_("VDD_CORE_A", "VDD_CORE_A current(7)=10876.74000000mA"), "no current in A"),
        (with_("VDD_CORE_A", "VDD_CORE_A current(7)=10.87674000V"), "no current in A"),
        (with_("VDD_CORE_V", "VDD_CORE_V volt(15)=nanV"), "no voltage in V"),
        (with_("HDMI_A", "VDD_CORE_A current(7)=1.00000000A"), "VDD_CORE_A twice"),
        (with_("HDMI_A", "").replace("HDMI_V", "NEW_V"), "alone: NEW"),
        (RECORDED.replace("HDMI", "NEW"), "other rails than at first: HDMI, NEW"),
        (with_("HDMI_A", "").replace("      HDMI_V volt(23)=5.07056000V\n", ""), "lists 11 rails"),
        (RECORDED[:300], "no current in A"),
        ("", "lists 0 rails"),
        ("EIO", "Input/output error"),
        (UNKNOWN, "no pmic_read_adc"),
    ],
    ids=[f"answer{n}" for n in range(13)],
)
def test_a_reading_that_is_not_the_same_rails_in_the_same_units_is_a_gap_and_the_next_is_a_number_again(
    board: Board, answer: str, reason: str
) -> None:
    first, broken, last = board.tells(RECORDED, RECORDED, answer, noisy(1), reads=3)["read"]
    assert (first[0][1], last[0][1]) == ("ok", "ok")
    assert {(value, status) for value, status, _ in broken} == {(None, "unsupported" if answer == UNKNOWN else "error")}
    assert all(reason in said for _, _, said in broken)


@pytest.mark.parametrize("answer", [with_("1V1_SYS_V", ""), RECORDED.replace("A\n", "mA\n"), "EIO"], ids=str.__len__)
def test_a_board_that_answers_like_this_from_the_start_is_not_opened(board: Board, answer: str) -> None:
    assert board.tells(answer)["raised"][0] in ("UnavailableError", "OSError")
    assert board.tells(answer, reads=0)["probe"][0] == "error"


def test_twenty_equal_answers_are_stale_until_one_number_changes(board: Board) -> None:
    answers = [noisy(0), noisy(1), *[RECORDED] * 21, noisy(2)]
    statuses = [reading[0][1] for reading in board.tells(*answers, reads=23)["read"]]
    assert statuses == ["ok"] * 20 + ["stale"] * 2 + ["ok"]


def test_rails_that_read_nothing_are_no_power_of_0(board: Board) -> None:
    nothing = re.sub(r"=\d+\.\d+A", "=0.00000000A", RECORDED)
    assert board.tells(nothing, reads=0)["probe"] == [
        "stale",
        "all rails together read no power: nothing is measured",
    ]


def test_a_machine_without_the_mailbox_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    status, reason = content.load("sensor", "pmic").probe({})
    assert status == "unsupported" and "no Raspberry Pi" in reason


def test_a_mailbox_that_is_not_ours_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vcio").symlink_to("/proc/sys/vm/compact_memory")  # not even root may read it
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    status, reason = content.load("sensor", "pmic").probe({})
    assert status == "permission" and "sudo usermod -aG video $USER" in reason


@pytest.mark.parametrize("period_s", [0.05, 0, -1, "fast", True])
def test_it_is_never_read_more_than_ten_times_a_second(period_s: Any) -> None:
    sensor = content.load("sensor", "pmic")
    with (
        pytest.raises(ValueError, match=r"option period_s must be a number from 0\.1 to 5"),
        sensor.open({"period_s": period_s}),
    ):
        pass
