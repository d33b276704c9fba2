"""Link, power, disk and rivals, at every stage of a run on a virtual board: nothing measured is lost, and `--resume` ends it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import store, wire
from harness.errors import DeviceError
from harness.records import Address
from harness.transport.ssh import Ssh
from lab.device import Device
from lab.runs import Boards, ended, journal, kill_agent, measured, require_each_once, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
OUTAGE_S = 5.0


@pytest.fixture
def boards(pi4: Device, tmp_path: Path, shared_cache: Path) -> Boards:
    return Boards(tmp_path / "home", shared_cache, pi4)


@pytest.fixture
def three(lab_rootfs: Path, lab_key: Path, tmp_path: Path, shared_cache: Path) -> Iterator[list[Boards]]:
    """Three users with a board each: what is waited for is waited for at the same time."""
    with ExitStack() as stack:
        devices = [stack.enter_context(Device("pi4", lab_rootfs, lab_key)) for _ in range(3)]
        yield [Boards(tmp_path / str(n), shared_cache, device, patience_s=3.0) for n, device in enumerate(devices)]


# --- the three stages that a link can fail in ----------------------------------------------------------------------


def uploading(boards: Boards) -> subprocess.Popen[str]:
    """Begin a run and return when a part of its artifacts is there."""
    (device,) = boards.devices
    device.slow(16)
    process = boards.begin("bulky", "--json")
    until(lambda: sum(part.stat().st_size for part in parts(device)) > 2_000_000, process)
    return process


def parts(device: Device) -> list[Path]:
    return list(device.path(device.workdir).glob("artifacts/.part-*"))


def measuring(boards: Boards) -> subprocess.Popen[str]:
    """Begin a run and return when something is measured."""
    process = boards.begin("bulky", "--json")
    until(measured(boards.devices[0], 2), process)
    return process


def downloading(boards: Boards) -> subprocess.Popen[str]:
    """Let a run be measured without anybody who follows it; return when its journal is on its way, over a slow link."""
    (device,) = boards.devices
    process = boards.begin("empty", "--json")
    until(measured(device, 1), process)
    killed(process)
    until(lambda: list(device.path(device.workdir).glob("jobs/*/reply.json")))
    device.slow(0.4)
    before = received(device)
    process = boards.start("run", "--resume", boards.runs[-1].name, "--json")
    until(lambda: received(device) > before + 40_000, process)
    return process


def received(device: Device) -> int:
    """The bytes that have come from a device, ever."""
    return int(Path(f"/sys/class/net/{device.slot.link}/statistics/rx_bytes").read_text())


def killed(process: subprocess.Popen[str]) -> None:
    """Kill the command and what it started, as a closed terminal would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


Stage = Callable[[Boards], subprocess.Popen[str]]
STAGES: dict[Stage, tuple[str, str]] = {  # with the runtime, and what is going on
    uploading: ("bulky", "sending "),
    measuring: ("bulky", "events.jsonl|reply.json"),
    downloading: ("empty", "events.jsonl"),
}


def each(three: list[Boards], story: Callable[[Boards, Stage], None]) -> None:
    """Tell the story of every stage, each on a board of its own, all at once."""
    with ThreadPoolExecutor(3) as pool:
        for told in [pool.submit(story, boards, stage) for boards, stage in zip(three, STAGES, strict=True)]:
            told.result()


def test_a_link_that_is_down_for_5_s_in_upload_run_or_download_is_only_waited_for(three: list[Boards]) -> None:
    def story(boards: Boards, stage: Stage) -> None:
        boards.list_devices(patience_s=60.0)
        (device,), process = boards.devices, stage(boards)
        device.link_down()
        time.sleep(OUTAGE_S)
        device.link_up()
        device.fast()
        done = ended(process)
        assert done.code == 0, (stage, done.err)
        assert {case["status"] for case in done.json["cases"]} == {"ok"}
        require_each_once(boards.runs[-1], STAGES[stage][0])

    each(three, story)


def test_a_link_that_stays_down_ends_the_command_in_time_and_a_resumed_run_is_whole(three: list[Boards]) -> None:
    def story(boards: Boards, stage: Stage) -> None:
        (device,), process = boards.devices, stage(boards)
        runtime, going_on = STAGES[stage]
        device.link_down()
        began = time.monotonic()
        done = ended(process)
        assert time.monotonic() - began < 3.0 + 20.0 + 2 * 7.5 + 15.0, (
            "patience, silence, connecting, and a busy machine"
        )
        assert done.code == 1 and any(word in done.err for word in going_on.split("|")), (stage, done.err)
        assert "device pi4-virtual: " in done.err and "Traceback" not in done.err
        kept = store.journal_bytes(boards.runs[-1], runtime)
        device.link_up()
        device.fast()
        boards.finish(runtime)
        assert store.journal_bytes(boards.runs[-1], runtime).startswith(kept)

    each(three, story)


# --- kills ---------------------------------------------------------------------------------------------------------


def test_controller_and_agent_killed_at_random_moments_and_a_power_cut_lose_nothing(boards: Boards) -> None:
    (device,), moments = boards.devices, random.Random(5)
    process = boards.begin("bulky", "--budget", "30", "--json")
    until(lambda: boards.runs and store.load_job(boards.runs[0], "bulky"), process)
    for victim in ("controller", "agent", "both", "power"):
        time.sleep(moments.uniform(0.5, 5.0))
        before = store.journal_bytes(boards.runs[0], "bulky")
        if victim in ("controller", "both"):
            killed(process)
        if victim in ("agent", "both"):
            kill_agent(device)
        if victim == "power":
            until(measured(device, 1), process)
            device.kill()
            torn = sorted(device.path(device.workdir).glob("jobs/*/events.jsonl"))[-1]
            torn.write_bytes(torn.read_bytes() + b'{"v":1,"seq":99,"ki')
            device.back()
        if process.poll() is None:
            done = ended(process)
            assert done.code == 0 or (done.code == 1 and "ended without a reply" in done.err), done.err
            assert "Traceback" not in done.err
        assert store.journal_bytes(boards.runs[0], "bulky").startswith(before)
        process = boards.start("run", "--resume", boards.runs[0].name, "--json")
    ended(process)
    boards.finish("bulky")
    theirs = journal(device)  # a line torn after the job's end is cut off by nobody
    whole = theirs[: theirs.rfind(b"\n") + 1]
    assert len(boards.runs) == 1 and whole == store.journal_bytes(boards.runs[0], "bulky")


# --- disk ----------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_before_or_becomes_full_in_the_upload_is_named(boards: Boards) -> None:
    (device,) = boards.devices
    device.fill_disk(300)
    done = boards.run("bulky")
    assert done.code == 1 and "MiB free in /root/.edge-harness, 1024 MiB are needed" in done.err
    assert not boards.runs, "the long work had begun"
    device.free_disk()
    process = uploading(boards)
    device.fill_disk(1)  # not 0: it is being written to meanwhile
    done = ended(process)
    assert done.code == 1 and "disk full" in done.err and ".part-" in done.err, done.err
    device.free_disk()
    device.fast()
    boards.finish("bulky")
    require_whole(device)


def require_whole(device: Device) -> None:
    """Every artifact on the device has the hash that is its name."""
    files = [file for file in device.path(device.workdir).glob("artifacts/*") if not file.name.startswith(".")]
    assert files and all(hashlib.sha256(file.read_bytes()).hexdigest() == file.name for file in files)


def test_a_disk_that_is_full_in_mid_run_ends_the_agent_which_says_why(boards: Boards) -> None:
    (device,) = boards.devices
    process = boards.begin("empty", "--budget", "20", "--json")
    until(measured(device, 1), process)
    device.fill_disk(0)
    done = ended(process)
    assert done.code == 1 and "no space left on its disk" in done.err and "--resume" in done.err, done.err
    kept = store.journal_bytes(boards.runs[0], "empty")
    device.free_disk()
    boards.finish("empty")
    assert store.journal_bytes(boards.runs[0], "empty").startswith(kept)


def test_a_file_that_a_full_disk_cut_short_gets_no_name(pi4: Device) -> None:
    address = Address(pi4.host, pi4.port, pi4.user, str(pi4.key), known_hosts=str(pi4.known_hosts))
    line = Ssh("pi4", address, pi4.workdir)
    line.there.write("jobs/job/events.jsonl", b"old\n")
    pi4.fill_disk(0.1)
    with pytest.raises(DeviceError, match="Is its disk full"):
        line.there.write("jobs/job/events.jsonl", b"new\n" * 250_000)
    folder = pi4.path(f"{pi4.workdir}/jobs/job")
    assert [file.name for file in folder.iterdir()] == ["events.jsonl"]
    assert (folder / "events.jsonl").read_bytes() == b"old\n"
    line.close()


def test_a_home_that_is_read_only_is_found_before_the_long_work(boards: Boards) -> None:
    boards.devices[0].read_only_home()
    began = time.monotonic()
    done = boards.run("empty")
    assert done.code == 1 and "read-only" in done.err and "/root/.edge-harness" in done.err, done.err
    assert time.monotonic() - began < 15 and not boards.runs


def test_an_artifact_that_was_corrupted_there_is_noticed_by_its_hash_and_sent_again(boards: Boards) -> None:
    (device,) = boards.devices
    process = boards.begin("bulky", "--budget", "20", "--json")
    until(measured(device, 1), process)
    killed(process)
    assert kill_agent(device)
    (victim, *_) = sorted(
        device.path(device.workdir).glob("artifacts/[0-9a-f]*"), key=lambda file: -file.stat().st_size
    )
    whole = victim.read_bytes()
    victim.write_bytes(whole[:1000] + b"\0" + whole[1001:])
    assert victim.read_bytes() != whole
    boards.finish("bulky")
    assert victim.read_bytes() == whole
    require_whole(device)


# --- rivals --------------------------------------------------------------------------------------------------------


def test_a_second_controller_is_refused_or_waits_or_takes_over_and_the_first_hears_of_it(boards: Boards) -> None:
    (device,) = boards.devices
    first = boards.begin("bulky", "--budget", "30", "--json")
    until(measured(device, 1), first)
    (folder,) = boards.runs
    refused = boards.run("empty")
    assert refused.code == 1, refused.err
    assert f"held by run {folder.name} of " in refused.err and "--wait" in refused.err and "--steal" in refused.err
    assert boards.runs == [folder], "a refused run left something"

    thief = boards.begin("empty", "--steal", "--budget", "20", "--json")
    told = ended(first)
    assert told.code == 1 and "it was ended by " in told.err and "--resume" in told.err, told.err
    until(lambda: any(b'"kind":"process"' in store.journal_bytes(run, "empty") for run in boards.runs), thief)
    waited, stolen = boards.run("empty", "--wait"), ended(thief)
    assert stolen.code == 0, stolen.err
    assert waited.code == 0 and "waiting for pi4-virtual: it is held by run" in waited.err, waited.err
    for other in [each for each in boards.runs if each != folder]:
        require_each_once(other, "empty")
    done = boards("run", "--resume", folder.name, "--json")
    assert done.code == 0, done.err
    require_each_once(folder, "bulky")
    events = store.events(folder, "bulky")
    assert len([event for event in events if isinstance(event, wire.StartEvent)]) == 2
