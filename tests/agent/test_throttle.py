"""Evidence of throttling: pure, from what was read before, during and after a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trees
from trees import JETSON, PI, X86, write

from devices.agent import throttle
from devices.agent.state import State
from harness import mailbox
from harness.sensing import Snapshot


def seen(sensor: str, scope: str, *values: float | None) -> list[Snapshot]:
    """Snapshots in which one sensor gave these values; None: it could not be read."""
    return [
        Snapshot(((sensor, scope, "gauge", "error" if value is None else "ok", value, "1"),), {}) for value in values
    ]


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ((0, 0, 0), []),
        ((0x50000, 0x50000), []),  # long ago: it cannot tell whether it was so again
        ((0, 0x4, 0), ["throttled"]),
        ((0x50000, 0x50005, 0x50000), ["under-voltage", "throttled"]),
        ((0, 0x20000), ["clock capped meanwhile"]),
        ((0x50000, 0x80008, 0x50000), ["soft temperature limit"]),
        ((None, None), []),
        ((None, 0x50000), []),  # the first that could be read is what was there before
    ],
)
def test_a_raspberry_pi_is_throttled_by_a_bit_that_is_on_or_newly_set(
    bits: tuple[int | None, ...], words: list[str]
) -> None:
    told = throttle.evidence(seen("throttle_bits", "firmware", *bits))
    assert [sentence.split(": ")[1].split(" (")[0] for sentence in told] == words


@pytest.mark.parametrize(
    ("mask", "words"), [(0x1, None), (0x4, None), (0x8, "hardware slow-down"), (0x24, "thermal"), (0xC0, "power brake")]
)
def test_a_gpu_is_throttled_by_heat_or_hardware_and_not_by_its_power_cap(mask: int, words: str | None) -> None:
    told = throttle.evidence(seen("gpu_clock_reasons", "gpu0", 0, mask, 0))
    assert (words in told[0]) if words else told == ()


@pytest.mark.parametrize(
    ("sensor", "scope", "values", "said"),
    [
        ("overcurrent_events", "oc3", (27390, 27390), ()),
        ("overcurrent_events", "oc3", (5, 7), ("2 over-current events (oc3)",)),
        ("overcurrent_events", "oc1", (0, None, 1), ("1 under-voltage events (oc1)",)),
        ("overcurrent_events", "oc3", (4294967295, 3), ()),  # wrapped: how often cannot be told
        (
            "thermal_throttle",
            "core",
            (4, 4, 9),
            ("the processor counted 5 thermal throttling events (core, over all CPUs)",),
        ),
        ("suspended", "machine", (100.0, 100.004), ()),
        ("suspended", "machine", (100.0, 130.0), ("the device was suspended for 30 s",)),
    ],
)
def test_counted_events_are_evidence_when_they_rose(
    sensor: str, scope: str, values: tuple[float | None, ...], said: tuple[str, ...]
) -> None:
    assert throttle.evidence(seen(sensor, scope, *values)) == said


@pytest.mark.parametrize(
    ("tree", "file", "text", "words"),
    [
        (PI, trees.PI_BITS, "50005\n", "under-voltage"),
        (JETSON, trees.OC3, "27391\n", "1 over-current events"),
        (X86, trees.CORE, "6\n", "2 thermal throttling events"),
    ],
)
def test_what_a_device_s_files_say_becomes_evidence(
    tmp_path: Path, tree: dict[str, str], file: str, text: str, words: str
) -> None:
    device = State(write(tmp_path, tree))
    before = device.brief()
    assert throttle.evidence([before, device.brief()]) == ()
    write(tmp_path, {file: text})
    assert words in throttle.evidence([before, device.brief()])[0]


def test_bits_that_cannot_be_read_are_no_evidence_and_no_zero(tmp_path: Path) -> None:
    device = State(write(tmp_path, PI | {trees.PI_BITS: "error\n"}))
    snapshot = device.brief()
    assert snapshot.values("throttle_bits") == {} and "hexadecimal" in snapshot.reasons["throttle_bits firmware"]
    assert throttle.evidence([snapshot, snapshot]) == ()


NVML = """
typedef unsigned long long mask; static int handle;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned n, void **found) { *found = n ? 0 : &handle; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, mask *m) { *m = 0x44; return gpu == &handle ? 0 : 3; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_gpu_s_reasons_come_from_the_driver_s_library_and_a_gpu_without_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(NVML)
    library = str(tmp_path / "libnvidia-ml.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "nvml.c")], check=True)
    program = "import json, sys; from pathlib import Path; from devices.agent.state import State;"
    program += "print(json.dumps(State(Path(sys.argv[1])).full()))"
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=True)
    readings, reasons = json.loads(done.stdout)
    gpus = {scope: (status, value) for sensor, scope, _, status, value, _ in readings if sensor == "gpu_clock_reasons"}
    assert gpus == {"gpu0": ("ok", 0x44), "gpu1": ("unsupported", None)}
    assert reasons["gpu_clock_reasons gpu1"] == "this GPU does not tell clock event reasons"
    snapshot = Snapshot(tuple(tuple(reading) for reading in readings), reasons)
    assert throttle.evidence([snapshot]) == ("gpu0 slowed its clock: hardware thermal slow-down (0x44)",)


def test_the_firmware_is_asked_in_the_words_of_vcgencmd_and_what_is_no_mailbox_is_an_error(tmp_path: Path) -> None:
    assert (mailbox._IOCTL, mailbox._WORDS.size) == (0xC0086400, 7 * 4 + 1024)
    snapshot = State(write(tmp_path, {"dev/vcio": ""})).brief()
    (reading,) = [reading for reading in snapshot.readings if reading[0] == "throttle_bits"]
    assert reading[3:5] == ("error", None) and "ioctl" in snapshot.reasons["throttle_bits firmware"]
