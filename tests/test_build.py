"""Building survives what converters do: one that crashes fails its own artifact, and Ctrl-C ends them all."""

from __future__ import annotations

import array
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from torch import nn

from harness import build, wire
from harness.build import BuildRequest
from harness.child import Progress
from harness.compress import program
from harness.errors import ContentError, UsageError
from harness.records import Artifact, Device, Profile, System, Variant

SHAPE = (3, 4, 4)

# What it does is said by --option: it crashes, raises, waits or writes.
MOODY = """
import os, signal, time
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
    out.write_text(mood)
    return {}

def load(path, options): ...

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


def test_each_artifact_counts_once_however_often_it_is_tried(variant: Variant) -> None:
    seen: list[Progress] = []
    build.build([request(variant, mood) for mood in ("raise", "crash", "good")], seen.append, 1)
    assert [(progress.done, progress.total) for progress in seen] == [(1, 3), (2, 3), (2, 3), (3, 3)]


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


def test_a_runtime_that_breaks_its_contract_is_the_files_mistake_not_a_failed_case(own: Path, variant: Variant) -> None:
    file = own / "runtimes" / "moody.py"
    file.write_text(file.read_text().replace("def export", "def exports"))
    with pytest.raises(ContentError, match=r"moody\.py: a runtime must define export"):
        made(variant, "good")


def test_room_is_asked_for_with_a_cap_that_is_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", "abc")
    with pytest.raises(UsageError, match="HARNESS_CACHE_GB"):
        build.require_room(1)


def test_an_interruption_sent_to_the_controller_alone_ends_building_and_every_child(
    own: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = own / "waiting"
    waiting.mkdir()
    monkeypatch.setenv("WAITING", str(waiting))
    interrupter = threading.Thread(target=_interrupt_when, args=(waiting, 2))
    interrupter.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made(variant, "wait 1", "wait 2", "good", "late", workers=2)
    interrupter.join()
    assert time.monotonic() - began < 60
    assert not any(psutil.pid_exists(int(child.name)) for child in waiting.iterdir())


def _interrupt_when(waiting: Path, children: int) -> None:
    """Interrupt this process, and no other, once so many children wait."""
    patience = time.monotonic() + 60
    while len(list(waiting.iterdir())) < children and time.monotonic() < patience:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


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
        asked = (build.target_of(board, "moody") for board in boards)
        return {BuildRequest(variant, "moody", "fp32", 1, target, {"mood": "good"}).key for target in asked}

    assert len(keys()) == 1
    file.write_text('TARGET = ("cpu",)\n' + MOODY)
    assert len(keys()) == 2 and build.target_of(boards[0], "moody") == {"cpu": "cortex-a72"}


def test_a_system_s_words_for_compilers_stand_over_its_profile_s() -> None:
    systems = (System("new", "", (), ""), System("old", "", (), "", {"tensorrt_opset": "17", "cpu": "older"}))
    profile = Profile("jetson", "", "aarch64", ("empty",), target={"cpu": "newer"}, systems=systems)
    assert Device("a", profile).target == {"cpu": "newer"}
    assert Device("a", profile, system="old").target == {"cpu": "older", "tensorrt_opset": "17"}
