"""Building survives what converters do: one that crashes fails its own artifact, and Ctrl-C ends them all."""

from __future__ import annotations

import array
import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from torch import nn

from harness import build, cache, host, limits, processes, wire
from harness.build import BuildRequest
from harness.child import Progress
from harness.compress import program
from harness.errors import ContentError, UsageError
from harness.records import Artifact, Calibration, Device, Exam, Profile, System, Variant

SHAPE = (3, 4, 4)

# What it does is said by --option: it crashes, raises, waits or writes.
MOODY = """
import os, signal, subprocess, sys, time
from pathlib import Path

PRECISIONS = ("fp32",)
OPTIONS = {"mood": ()}
CONVERTERS = ()

def export(variant, target, precision, options, out):
    mood = options["mood"]
    if mood.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if mood.startswith("raise"):
        raise ValueError("this operator is not supported")
    if mood.startswith("wait"):
        Path(os.environ["WAITING"], str(os.getpid())).touch()
        time.sleep(120)
    if mood == "exit":
        os._exit(3)
    if mood == "abort":
        os.abort()
    if mood == "fill":
        kept = bytearray(os.urandom(2**20)) * 2**9
        time.sleep(120)
    if mood == "child fills":
        subprocess.run([sys.executable, "-c", "import time; kept = bytearray(b'x') * 2**29; time.sleep(120)"])
    if mood == "print":
        for _ in range(3000):
            os.write(1, b"x" * 2**20)
        os.abort()
    if mood.startswith("leave"):  # a child that left group and session, and holds every pipe that it can
        if os.fork() == 0:
            os.setsid()
            Path(os.environ["WAITING"], str(os.getpid())).touch()
            time.sleep(120)
        while not list(Path(os.environ["WAITING"]).iterdir()):
            time.sleep(0.01)
        if mood == "leave and crash":
            os.abort()
    if mood == "no package":
        import nothing_of_this_name
    out.write_text(mood)
    return {}

class Slow:
    def __init__(self, pause_s):
        self.pause_s = pause_s
    def feed(self, inputs):
        pass
    def __call__(self):
        time.sleep(self.pause_s)
    def fetch(self, result):
        from harness import wire
        return (wire.Tensor.of((1, 4), bytes(16)),)

def load(path, options):
    mood = Path(path).read_text()
    if mood == "foreign crash":
        os.kill(os.getpid(), signal.SIGILL)
    if mood in ("slow", "stuck"):
        return Slow(3 if mood == "slow" else 120)
    if mood == "greedy":
        kept = bytearray(os.urandom(2**20)) * 2**9
        time.sleep(120)
    raise OSError("made for another machine")

def versions(): ...
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "runtimes" / "moody.py").write_text(MOODY)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    file = tmp_path_factory.mktemp("program") / "program.pt2"
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    return Variant(program.save(network, program.make_example(SHAPE, 0), file), str(file), SHAPE, 4)


def request(variant: Variant, mood: str) -> BuildRequest:
    return BuildRequest(variant, "moody", "fp32", batch=1, options={"mood": mood})


def made(variant: Variant, *moods: str, workers: int = 1) -> list[Artifact | str]:
    return build.build([request(variant, mood) for mood in moods], lambda progress: None, workers)


@pytest.mark.slow
def test_a_converter_that_crashes_fails_its_own_artifact_alone(variant: Variant) -> None:
    good, crashed, raised, late, again = made(variant, "good", "crash", "raise", "late", "crash too")
    assert isinstance(good, Artifact)
    assert isinstance(late, Artifact)
    assert isinstance(raised, str)
    assert raised == "ValueError: this operator is not supported"
    for failed in (crashed, again):
        assert isinstance(failed, str)
        assert "died" in failed
        assert "signal 11" in failed


@pytest.mark.slow
def test_each_artifact_counts_once_however_often_it_is_tried(variant: Variant) -> None:
    seen: list[Progress] = []
    build.build([request(variant, mood) for mood in ("raise", "crash", "good")], seen.append, 1)
    assert [(progress.done, progress.total) for progress in seen] == [(1, 3), (2, 3), (2, 3), (3, 3)]


@pytest.mark.slow
def test_what_the_cache_drops_for_an_artifact_is_said_and_counts_as_none(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", str(10**6 / 2**30))
    with cache.put("rung", "old") as folder:
        (folder / "state.pt").write_bytes(bytes(10**6))
    seen: list[Progress] = []
    assert isinstance(build.build([request(variant, "good")], seen.append, 1)[0], Artifact)
    assert seen[0].text == "the cache dropped 1 rung (1 MB) to stay under 1 MB" and seen[0].done is None
    assert [(progress.done, progress.total) for progress in seen[1:]] == [(1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["artifact.json", "artifact", "sample.json"])
def test_an_artifact_with_a_truncated_file_counts_as_absent_and_is_made_again(variant: Variant, file: str) -> None:
    (first,) = made(variant, "good")
    assert isinstance(first, Artifact)
    damaged = Path(first.path).with_name(file)
    damaged.write_bytes(damaged.read_bytes()[:2])
    (second,) = made(variant, "good")
    assert isinstance(second, Artifact)
    assert (second.sha256, second.path) == (first.sha256, first.path)
    assert Path(second.path).read_bytes() == b"good"


@pytest.mark.slow
def test_a_runtime_that_breaks_its_contract_is_the_files_mistake_not_a_failed_case(own: Path, variant: Variant) -> None:
    file = own / "runtimes" / "moody.py"
    file.write_text(file.read_text().replace("def export", "def exports"))
    with pytest.raises(ContentError, match=r"moody\.py: a runtime must define export"):
        made(variant, "good")


def test_room_is_asked_for_with_a_cap_that_is_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", "abc")
    with pytest.raises(UsageError, match="HARNESS_CACHE_GB"):
        build.require_room(1)


BUILDING = """
import json, sys
from harness.build import BuildRequest, build
from harness.records import Variant

variant = Variant(**json.loads(sys.argv[1]))
moods = ("wait 1", "wait 2", "good", "late")
build([BuildRequest(variant, "moody", "fp32", 1, options={"mood": mood}) for mood in moods], lambda _: None, workers=2)
"""


@pytest.mark.slow
def test_an_interruption_sent_to_the_controller_alone_ends_building_and_every_child(
    own: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = own / "waiting"
    waiting.mkdir()
    monkeypatch.setenv("WAITING", str(waiting))
    with subprocess.Popen(
        [sys.executable, "-c", BUILDING, json.dumps(asdict(variant))], stderr=subprocess.PIPE, text=True
    ) as controller:
        patience = time.monotonic() + 200
        while len(list(waiting.iterdir())) < 2 and time.monotonic() < patience:
            time.sleep(0.05)
        began = time.monotonic()
        controller.send_signal(signal.SIGINT)
        _, err = controller.communicate(timeout=120)
    assert err.strip().endswith("KeyboardInterrupt")
    assert time.monotonic() - began < 60
    assert not any(_is_alive(int(child.name)) for child in waiting.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("mood", "said"), [("exit", "exit code 3"), ("abort", "signal 6")])
def test_a_converter_that_ends_its_process_says_how_and_what_to_do(mood: str, said: str, variant: Variant) -> None:
    (reason,) = made(variant, mood)
    assert isinstance(reason, str)
    assert said in reason and "name another runtime or precision" in reason


@pytest.mark.slow
def test_a_converter_that_hangs_is_ended_with_the_figure(
    own: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "waiting").mkdir()
    monkeypatch.setenv("WAITING", str(own / "waiting"))
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_S", "4")
    (hung,) = made(variant, "wait")
    assert hung == f"the build took more than 4 s and was ended: {limits.ADVICE}"
    assert not any(_is_alive(int(child.name)) for child in (own / "waiting").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["fill", "child fills"])
def test_a_converter_that_fills_the_memory_itself_or_by_a_child_is_ended_with_the_figure(
    mood: str, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_GB", "0.6")
    full, good = made(variant, mood, "good")
    assert isinstance(full, str)
    assert re.match(
        r"the build held \d\.\d GiB of memory, more than 0\.6 GiB and was ended: set HARNESS_BUILD_LIMIT", full
    )
    assert isinstance(good, Artifact)


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["leave", "leave and crash"])
def test_children_that_a_converter_leaves_behind_end_with_it(
    mood: str, own: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "waiting").mkdir()
    monkeypatch.setenv("WAITING", str(own / "waiting"))
    began = time.monotonic()
    (found,) = made(variant, mood)
    assert isinstance(found, Artifact) == (mood == "leave")
    assert time.monotonic() - began < 60
    (left,) = (own / "waiting").iterdir()
    assert not _is_alive(int(left.name))


@pytest.mark.slow
def test_a_converter_may_print_gigabytes_and_its_last_words_are_kept(variant: Variant) -> None:
    before = shutil.disk_usage(tempfile.gettempdir()).free
    lowest = [before]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            lowest.append(shutil.disk_usage(tempfile.gettempdir()).free)

    looking = threading.Thread(target=look)
    looking.start()
    (reason,) = made(variant, "print")
    over.set()
    looking.join()
    assert isinstance(reason, str) and "signal 6" in reason
    assert before - min(lowest) < 2.5e9


@pytest.mark.slow
def test_a_package_that_is_not_installed_fails_the_case_with_the_command_that_brings_it(
    own: Path, variant: Variant
) -> None:
    (reason,) = made(variant, "no package")
    assert reason == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    (own / "runtimes" / "litert.py").write_text(MOODY)
    (reason,) = build.build([replace(request(variant, "no package"), runtime="litert")], lambda progress: None)
    assert isinstance(reason, str)
    assert "what litert needs is brought by: pip install 'edge-harness[litert]'" in reason


@pytest.mark.parametrize(("unit", "hint"), [("S", "=900 (seconds)"), ("GB", "=8 (GB of memory)")])
def test_a_limit_is_looked_at_before_anything_is_trained_and_its_hint_is_of_its_unit(
    unit: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HARNESS_BUILD_LIMIT_{unit}", "x")
    with pytest.raises(UsageError) as refused:
        build.require_room(1)
    assert refused.value.hint == f"Say HARNESS_BUILD_LIMIT_{unit}{hint}, or unset it."


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf"])
def test_a_limit_that_is_no_number_above_zero_is_refused_before_anything_is_built(
    value: str, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_S", value)
    with pytest.raises(UsageError, match="HARNESS_BUILD_LIMIT_S must be a number above 0"):
        made(variant, "good")


@pytest.mark.slow
def test_a_second_build_is_a_look_up_and_starts_no_process(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(variant, "good", "late")
    monkeypatch.setattr("sys.executable", "/nowhere/python")  # no child could be started
    began = time.monotonic()
    assert made(variant, "good", "late") == first
    assert time.monotonic() - began < 0.5


def test_workers_and_their_memory_follow_from_the_machine() -> None:
    assert 1 <= limits.workers() <= 4
    assert limits.of_build(1).memory_bytes <= processes.total_memory_bytes() // 2
    assert limits.of_build(4).memory_bytes <= processes.total_memory_bytes() // 4
    assert limits.of_build(2).seconds == limits.LIMIT_S


def _is_alive(pid: int) -> bool:
    """Whether it still runs: what nobody has fetched the end of yet is dead, and what was killed may take a moment to die."""
    patience = time.monotonic() + 10
    try:
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > patience:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        pass
    return False


@pytest.mark.slow
def test_a_network_that_reads_tokens_is_proved_on_tokens_of_its_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "program.pt2"
    network = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    name = program.save(network, program.make_example((5,), 0, vocabulary=9), file)
    reader = Variant(name, str(file), (5,), 3, vocabulary=9)
    (artifact,) = build.build([BuildRequest(reader, "empty", "fp32", batch=4)], lambda progress: None)
    assert isinstance(artifact, Artifact), artifact
    sample = wire.decode(wire.Sample, Path(artifact.sample_path).read_text(), "sample")
    (tokens,), (outputs,) = sample.inputs, sample.outputs
    assert (tokens.dtype, tokens.shape, outputs.dtype) == ("int64", (4, 5), "float32")
    assert set(array.array("q", tokens.raw())) <= set(range(9))


def test_devices_share_an_artifact_unless_its_runtime_asks_what_they_are(variant: Variant, own: Path) -> None:
    file = own / "runtimes" / "moody.py"
    boards = [
        Device(name, Profile(name, "", "aarch64", ("moody",), target={"cpu": cpu, "triple": "aarch64-linux-gnu"}))
        for name, cpu in (("pi4", "cortex-a72"), ("pi5", "cortex-a76"))
    ]

    def keys() -> set[str]:
        asked = (build.target_of(board, "moody", "fp32") for board in boards)
        return {BuildRequest(variant, "moody", "fp32", 1, target, {"mood": "good"}).key for target in asked}

    assert len(keys()) == 1
    file.write_text('TARGET = ("cpu",)\n' + MOODY)
    assert len(keys()) == 2 and build.target_of(boards[0], "moody", "int8") == {"cpu": "cortex-a72"}


def test_a_runtime_may_ask_by_precision_what_a_device_is_and_any_is_what_this_machine_is(own: Path) -> None:
    (own / "runtimes" / "moody.py").write_text('TARGET = {"int8": ("arch",)}\n' + MOODY)
    board, local = (Device(arch, Profile(arch, "", arch, ("moody",))) for arch in ("aarch64", "any"))
    assert build.target_of(board, "moody", "int8") == {"arch": "aarch64"}
    assert build.target_of(local, "moody", "int8") == {"arch": platform.machine()}
    assert build.target_of(board, "moody", "fp32") == build.target_of(local, "moody", "fp32") == {}


def test_where_no_processor_is_named_an_artifact_s_key_holds_which_one_this_machine_has(
    variant: Variant, own: Path
) -> None:
    (own / "runtimes" / "moody.py").write_text('TARGET = ("cpu", "host")\n' + MOODY)
    local = Device("local", Profile("host", "", "any", ("moody",)))
    named = Device("pi", Profile("pi", "", "aarch64", ("moody",), target={"cpu": "cortex-a72"}))
    target = build.target_of(local, "moody", "fp32")
    assert target == {"host": host.processor()}
    moved = {"host": host.told("model name : another\nflags : fpu sse\n")}
    asked = [BuildRequest(variant, "moody", "fp32", 1, each, {"mood": "good"}) for each in (target, moved)]
    assert asked[0].key != asked[1].key
    assert build.target_of(named, "moody", "fp32") == {"cpu": "cortex-a72"}


@pytest.mark.parametrize(
    ("line", "other", "same"),
    [
        ("flags : fpu sse avx2", "flags : fpu sse", False),
        ("flags : fpu sse avx2", "flags : avx2 fpu sse", True),
        ("CPU part : 0xd08", "CPU part : 0xd0b", False),
        ("cpu MHz : 2100.1", "cpu MHz : 3300.2", True),
    ],
)
def test_a_processor_is_told_by_its_model_and_its_instruction_sets_alone(line: str, other: str, same: bool) -> None:
    known = "processor : 0\nmodel name : Fast 9000\n"
    words = [host.told(known + each + "\n") for each in (line, other)]
    assert (words[0] == words[1]) == same
    assert words[0].startswith("Fast 9000 ")


@pytest.mark.slow
def test_an_artifact_was_made_for_what_its_runtime_says_else_for_the_target_s_processor(
    variant: Variant, own: Path
) -> None:
    file = own / "runtimes" / "moody.py"
    asked = replace(request(variant, "good"), target={"cpu": "cortex-a72"})
    (named,) = build.build([asked], lambda progress: None)
    file.write_text(MOODY.replace("return {}", 'return {"made_for": "skylake"}'))
    (told,) = build.build([replace(asked)], lambda progress: None)
    assert isinstance(named, Artifact) and isinstance(told, Artifact)
    assert (named.made_for, told.made_for) == ("cortex-a72", "skylake")


def examples(folder: Path, value: float = 0.0) -> tuple[Calibration, Exam]:
    """Ten inputs to calibrate on, and ten examples; told apart by what they hold."""
    folder.mkdir()
    np.save(folder / "inputs.npy", np.full((10, *SHAPE), value, np.float32))
    np.save(folder / "labels.npy", np.zeros(10, np.int64))
    name = str(value)
    return Calibration(str(folder / "inputs.npy"), name), Exam(
        str(folder / "inputs.npy"), str(folder / "labels.npy"), name
    )


def test_what_examples_hold_is_part_of_an_artifact_s_key_and_where_they_lie_is_not(
    variant: Variant, tmp_path: Path
) -> None:
    plain = BuildRequest(variant, "moody", "int8", 1)
    kept, moved, other = (examples(tmp_path / name, value) for name, value in (("a", 0.0), ("b", 0.0), ("c", 1.0)))
    for field, one, same, unlike in zip(("calibration", "exam"), kept, moved, other, strict=True):
        key = replace(plain, **{field: one}).key
        assert key == replace(plain, **{field: same}).key
        assert len({key, plain.key, replace(plain, **{field: unlike}).key}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "reason"), [("foreign", "OSError: made for another machine"), ("foreign crash", "signal 4")]
)
def test_an_artifact_that_cannot_be_run_here_has_no_accuracy_and_says_why(
    mood: str, reason: str, variant: Variant, tmp_path: Path
) -> None:
    calibration, exam = examples(tmp_path / "examples")
    asked = replace(request(variant, mood), precision="int8", calibration=calibration, exam=exam)
    (artifact,) = build.build([asked], lambda progress: None)
    assert isinstance(artifact, Artifact), artifact
    assert artifact.accuracy is None and "cannot be run on this machine" in artifact.no_accuracy
    assert reason in artifact.no_accuracy
    assert artifact.tolerance == build.TOLERANCE["int8"]


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["slow", "stuck", "greedy"])
def test_an_exam_that_goes_beyond_its_bounds_costs_the_accuracy_and_not_the_artifact(
    mood: str, variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: no set of inputs takes long, all of them together do, after a build that took its own time."""
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_S", "24")
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_GB", "1.2")
    _, exam = examples(tmp_path / "examples")
    (artifact,) = build.build([replace(request(variant, mood), exam=exam)], lambda progress: None, 1)
    assert isinstance(artifact, Artifact), artifact
    beyond = {"slow": "took more than 24 s", "stuck": "took more than 12 s", "greedy": r"held \d\.\d GiB of memory"}[
        mood
    ]
    assert artifact.accuracy is None
    assert re.match(f"judging the artifact {beyond}.* and was ended: set HARNESS_BUILD", artifact.no_accuracy)


def test_an_artifact_that_an_exam_s_limit_left_without_accuracy_is_made_again_with_another_limit(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, exam = examples(tmp_path / "examples")
    plain, judged = request(variant, "good"), replace(request(variant, "good"), exam=exam)
    before = [replace(each).key for each in (plain, judged)]
    monkeypatch.setenv("HARNESS_BUILD_LIMIT_S", "3600")
    after = [replace(each).key for each in (plain, judged)]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


@pytest.mark.slow
def test_what_was_calibrated_is_proved_on_inputs_of_the_task(variant: Variant, tmp_path: Path) -> None:
    calibration, _ = examples(tmp_path / "examples", 0.5)
    (artifact,) = build.build([replace(request(variant, "good"), calibration=calibration)], lambda progress: None)
    assert isinstance(artifact, Artifact), artifact
    sample = wire.decode(wire.Sample, Path(artifact.sample_path).read_text(), "sample")
    assert set(array.array("f", sample.inputs[0].raw())) == {0.5}


@pytest.mark.slow
def test_an_artifact_that_was_cached_before_there_were_accuracies_is_still_one(variant: Variant) -> None:
    (first,) = made(variant, "good")
    assert isinstance(first, Artifact)
    file = Path(first.path).with_name("artifact.json")
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in stored.items() if "accuracy" not in key}))
    assert made(variant, "good") == [first]
    assert "accuracy" not in file.read_text()  # nothing was made again


def test_a_system_s_words_for_compilers_stand_over_its_profile_s() -> None:
    systems = (System("new", "", (), ""), System("old", "", (), "", {"tensorrt_opset": "17", "cpu": "older"}))
    profile = Profile("jetson", "", "aarch64", ("empty",), target={"cpu": "newer"}, systems=systems)
    assert Device("a", profile).target == {"cpu": "newer"}
    assert Device("a", profile, system="old").target == {"cpu": "older", "tensorrt_opset": "17"}
