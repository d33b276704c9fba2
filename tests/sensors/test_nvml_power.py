"""An NVIDIA GPU's energy and power: a driver's library, compiled here, that plays what drivers answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each query answers from a variable of its name: "1000,!15,2000" gives 1000, then error 15, then 2000 for ever; no variable: 3,
# not supported. Fields: POWER<field>_<scope>, and TYPE, the nvmlValueType_t in which they are given.
LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct {
  unsigned id, scope; long long timestamp, latency; unsigned type, code;
  union { double d; unsigned u; unsigned long ul; unsigned long long ull; long long ll; int i; unsigned short us; } value;
} field;
static int handle, open_count;
static struct { char name[32]; int calls; } seen[16];
static unsigned play(const char *name, double *value) {
  const char *all = getenv(name); int n = 0;
  if (!all) return 3;
  while (seen[n].name[0] && strcmp(seen[n].name, name)) n++;
  strcpy(seen[n].name, name);
  for (int k = seen[n].calls++; k > 0 && strchr(all, ','); k--) all = strchr(all, ',') + 1;
  if (*all == '!') return atoi(all + 1);
  *value = atof(all);
  return 0;
}
int nvmlInit_v2(void) { double v = 0; if (getenv("INIT")) return play("INIT", &v); open_count++; return 0; }
int nvmlShutdown(void) { open_count--; return 0; }
int opened(void) { return open_count; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = getenv("COUNT") ? atoi(getenv("COUNT")) : 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned n, void **found) {
  double v = 0; *found = &handle; return getenv("HANDLE") ? play("HANDLE", &v) : 0;
}
int nvmlDeviceGetName(void *gpu, char *name, unsigned length) {
  const char *words = getenv("NAME") ? getenv("NAME") : "NVIDIA H200"; strncpy(name, words, length); return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) {
  return getenv("CAPABILITY") ? sscanf(getenv("CAPABILITY"), "%d.%d", major, minor) != 2 : 3;
}
#ifndef OLD
int nvmlDeviceGetTotalEnergyConsumption(void *gpu, unsigned long long *mj) {
  double v = 0; int code = play("ENERGY", &v); *mj = v; return gpu == &handle ? code : 2;
}
int nvmlDeviceGetFieldValues(void *gpu, int count, field *fields) {
  if (getenv("SILENT")) return 0;
  for (int n = 0; n < count; n++) {
    field *f = fields + n; char name[32]; double v = 0;
    snprintf(name, sizeof name, "POWER%u_%u", f->id, f->scope);
    f->code = play(name, &v); f->type = getenv("TYPE") ? atoi(getenv("TYPE")) : 1; f->timestamp = 1;
    memset(&f->value, 0xff, sizeof f->value);
    switch (f->type) {
      case 0: f->value.d = v; break;
      case 1: f->value.u = v; break;
      case 2: f->value.ul = v; break;
      case 3: f->value.ull = v; break;
      case 4: f->value.ll = v; break;
      case 5: f->value.i = v; break;
      case 6: f->value.us = v; break;
    }
  }
  return 0;
}
#endif
int nvmlDeviceGetPowerUsage(void *gpu, unsigned *mw) { double v = 0; int code = play("USAGE", &v); *mw = v; return code; }
"""
PROGRAM = """
import ctypes, json, sys
from harness import content
sensor = content.load("sensor", "nvml")
options, reads, told = json.loads(sys.argv[1]), int(sys.argv[2]), {}
try:
    if reads:
        with sensor.open(options) as session:
            told["channels"] = [(c.name, c.scope, c.kind, c.total, c.average_s) for c in session.channels]
            told["read"] = [[(t.value, t.status, t.reason) for t in session.read()] for _ in range(reads)]
    else:
        told["probe"] = sensor.probe(options)
except Exception as error:
    told["raised"] = [type(error).__name__, str(error)]
try:
    told["opened"] = ctypes.CDLL("libnvidia-ml.so.1").opened()
except OSError:
    pass
print(json.dumps(told))
"""
FULL = {"ENERGY": "1000,1000,1500,2000", "POWER185_0": "70500", "POWER186_0": "80250"}

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a library each: of now, and of old drivers, which lack the newer functions."""
    found = {}
    for name, flags in {"new": [], "old": ["-DOLD"]}.items():
        folder = found[name] = tmp_path_factory.mktemp(name)
        (folder / "nvml.c").write_text(LIBRARY)
        target = str(folder / "libnvidia-ml.so.1")
        subprocess.run(["cc", *flags, "-shared", "-fPIC", "-o", target, str(folder / "nvml.c")], check=True)
    return found


class Driver:
    """A driver that answers as it is told."""

    def __init__(self, libraries: dict[str, Path]) -> None:
        self.libraries = libraries

    def tells(
        self, answers: dict[str, str], reads: int = 1, options: dict[str, Any] | None = None, library: str = "new"
    ) -> Any:
        """What the sensor makes of it; reads=0: its probe."""
        environment = os.environ | answers | {"LD_LIBRARY_PATH": str(self.libraries.get(library, "/nowhere"))}
        command = [sys.executable, "-c", PROGRAM, json.dumps(options or {}), str(reads)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert told.get("opened", 0) == 0, "the library was not given back"
        return told


@pytest.fixture
def driver(libraries: dict[str, Path]) -> Driver:
    return Driver(libraries)


def kinds(told: Any) -> dict[str, tuple[str, str]]:
    return {name: (scope, kind) for name, scope, kind, _, _ in told["channels"]}


def test_energy_average_and_instant_power_are_channels_of_their_own(driver: Driver) -> None:
    told = driver.tells(FULL, reads=2)
    assert told["channels"] == [
        ["energy", "gpu", "energy_counter", True, 0.0],
        ["average", "gpu", "averaged_power", True, 1.0],
        ["instant", "gpu", "instant_power", True, 0.0],
    ]
    assert [[value for value, _, _ in reading] for reading in told["read"]] == [[1.0, 70.5, 80.25], [1.5, 70.5, 80.25]]


def test_a_probe_tells_the_gpu_and_what_it_gives(driver: Driver) -> None:
    assert driver.tells(FULL, reads=0)["probe"] == [
        "ok",
        "GPU 0 of 1, NVIDIA H200: energy, average 70.5 W, instant 80.2 W",
    ]


def test_a_query_that_a_gpu_lacks_leaves_the_others_alone(driver: Driver) -> None:
    assert [*kinds(driver.tells({"ENERGY": "1,2,3"}))] == ["energy"]
    assert [*kinds(driver.tells({"POWER186_0": "5000"}))] == ["instant"]
    assert [*kinds(driver.tells({"POWER185_0": "5000", "POWER186_0": "!2"}))] == ["average"]


def test_a_field_that_only_the_module_tells_is_of_the_module_s_scope(driver: Driver) -> None:
    told = driver.tells({"POWER186_0": "60000", "POWER185_1": "90000", "POWER186_1": "95000"})
    assert kinds(told) == {"average": ("module", "averaged_power"), "instant": ("gpu", "instant_power")}
    assert [value for value, _, _ in told["read"][0]] == [90.0, 60.0]


@pytest.mark.parametrize("kind", range(7))
def test_a_field_s_number_is_taken_as_the_type_in_which_it_is_given(driver: Driver, kind: int) -> None:
    told = driver.tells({"POWER186_0": "50250", "TYPE": str(kind)})
    assert told["read"][0][0][:2] == [50.25, "ok"]


def test_a_type_that_nobody_knows_is_an_error_and_no_number(driver: Driver) -> None:
    ((value, status, reason),) = driver.tells({"POWER186_0": "50250", "TYPE": "7"})["read"][0]
    assert (value, status) == (None, "error") and "type 7" in reason


def test_a_library_that_writes_no_answer_is_not_taken_for_0_w(driver: Driver) -> None:
    told = driver.tells({"SILENT": "1"})
    assert {(value, status) for value, status, _ in told["read"][0]} == {(None, "error")}


@pytest.mark.parametrize(
    ("capability", "kind", "average_s"),
    [
        ("7.0", "instant_power", 0.0),
        ("8.0", "instant_power", 0.0),
        ("8.6", "averaged_power", 1.0),
        ("9.0", "averaged_power", 1.0),
    ],
)
def test_the_older_query_of_power_is_of_the_kind_of_the_gpu_s_age(
    driver: Driver, capability: str, kind: str, average_s: float
) -> None:
    told = driver.tells({"USAGE": "42000", "CAPABILITY": capability}, library="old")
    assert told["channels"] == [["power", "gpu", kind, True, average_s]]
    assert told["read"] == [[[42.0, "ok", ""]]]


def test_the_older_query_is_not_asked_where_a_newer_answers_or_the_age_is_unknown(driver: Driver) -> None:
    assert [*kinds(driver.tells({"USAGE": "42000", "CAPABILITY": "9.0", "POWER185_0": "1"}))] == ["average"]
    assert driver.tells({"USAGE": "42000"})["raised"][0] == "AbsentError"


def test_a_jetson_answers_not_supported_to_all_and_is_sent_to_its_own_sensor(driver: Driver) -> None:
    status, reason = driver.tells({"NAME": "Orin (nvgpu)", "CAPABILITY": "8.7"}, reads=0)["probe"]
    assert status == "unsupported"
    assert reason == "Orin (nvgpu) tells NVML neither energy nor power; a Jetson's is measured by the sensor ina3221"


@pytest.mark.parametrize(
    ("answers", "options", "library", "status", "words"),
    [
        ({}, {}, "none", "unsupported", "no NVIDIA driver is installed"),
        ({"INIT": "!9"}, {}, "new", "unsupported", "no NVIDIA GPU with a loaded driver"),
        ({"INIT": "!4"}, {}, "new", "permission", "by this user"),
        ({"INIT": "!18"}, {}, "new", "error", "different versions: restart"),
        ({"COUNT": "0"}, {}, "new", "unsupported", "there is no GPU 0: this machine has 0"),
        ({"COUNT": "2"}, {"gpu": 2}, "new", "unsupported", "there is no GPU 2: this machine has 2"),
        ({"HANDLE": "!15"}, {}, "new", "error", "the GPU is lost"),
        ({"ENERGY": "!15"}, {}, "new", "error", "the GPU is lost"),
        ({"ENERGY": "!4"}, {}, "new", "permission", "by this user"),
        ({"ENERGY": "0"}, {}, "new", "stale", "stands at 0"),
        ({"ENERGY": "777"}, {}, "new", "stale", "does not move"),
        ({"POWER186_0": "0"}, {}, "new", "stale", "0 W, which no GPU takes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_probe_says_why_there_is_no_number(
    driver: Driver, answers: dict[str, str], options: dict[str, Any], library: str, status: str, words: str
) -> None:
    told = driver.tells(answers, reads=0, options=options, library=library)["probe"]
    assert told[0] == status and words in told[1]


def test_a_second_gpu_is_asked_for_by_its_number(driver: Driver) -> None:
    told = driver.tells(FULL | {"COUNT": "2"}, reads=0, options={"gpu": 1})["probe"]
    assert told[0] == "ok" and told[1].startswith("GPU 1 of 2,")


def test_a_gpu_that_is_lost_in_mid_window_gives_gaps_and_never_a_number(driver: Driver) -> None:
    lost = {"ENERGY": "1000,1100,!15", "POWER185_0": "70500,70500,!15", "POWER186_0": "80250,80250,!999"}
    first, second, third = driver.tells(lost, reads=3)["read"]
    assert [status for _, status, _ in first] == ["ok"] * 3
    assert [(value, status) for value, status, _ in second + third] == [(None, "error")] * 6
    assert "its driver was reloaded" in second[0][2] and "error 999" in second[2][2]


def test_a_counter_that_begins_anew_with_its_driver_is_a_break_until_it_rose_twice(driver: Driver) -> None:
    answers = {"ENERGY": "0,500000,500500,!15,100,200,300,400"}
    told = [reading[0][:2] for reading in driver.tells(answers, reads=7)["read"]]
    assert told == [[500.0, "ok"], [500.5, "ok"], *[[None, "error"]] * 3, [500.6, "ok"], [500.7, "ok"]]


def test_one_power_of_0_w_is_a_gap_and_the_next_number_is_one(driver: Driver) -> None:
    told = driver.tells({"POWER186_0": "1,80250,0,80250"}, reads=3)["read"]
    assert [reading[0][:2] for reading in told] == [[80.25, "ok"], [None, "stale"], [80.25, "ok"]]


def test_options_are_checked_before_the_driver_is_asked(driver: Driver) -> None:
    for options, words in (
        ({"gpu": -1}, "option gpu must be a whole number"),
        ({"gpu": "0"}, "option gpu"),
        ({"period_s": 0.001}, "option period_s must be a number from 0.02 to 1"),
        ({"index": 0}, "one of gpu, period_s"),
    ):
        kind, said = driver.tells({}, options=options, library="none")["raised"]
        assert kind == "ValueError" and words in said
