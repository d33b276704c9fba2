"""The way over SSH, on a real server of this machine: files by hash, kept connections, links that are cut, hosts that lie."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_jobs import CONTENT, Bench, quick
from command import Cli
from lab.sshd import Sshd, new_key, why_not

from harness import bundle, transport, wire
from harness.errors import DamagedError, DeviceError, WireError
from harness.records import Address, Device, Environment, Profile, Wheel
from harness.transport.device import owner, sha256_of
from harness.transport.ssh import Ssh

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
SLEEPY = quick(process_limit_s=60.0)
SILENCE_S = 2.0


def address(server: Sshd, **changes: object) -> Address:
    found = Address(
        server.host,
        server.port,
        server.user,
        str(server.key),
        known_hosts=str(server.known_hosts),
        patience_s=10.0,
        declared="inventory.yaml:4",
    )
    return replace(found, **changes)  # type: ignore[arg-type]


class Board(Bench):
    """A bench whose device is reached over SSH; its workdir can be looked into from here."""

    def __init__(self, folder: Path, server: Sshd, runtime: str = "empty", **changes: object) -> None:
        super().__init__(folder, runtime)
        self.there = folder / "workdir"
        self.line = Ssh("board", address(server, **changes), str(self.there), sys.executable, silence_s=SILENCE_S)
        self.device = self.line  # type: ignore[assignment]

    def file(self, data: bytes) -> tuple[str, Path]:
        source = self.folder / "source"
        source.write_bytes(data)
        return hashlib.sha256(data).hexdigest(), source


@pytest.fixture
def board(tmp_path: Path, sshd: Sshd) -> Iterator[Board]:
    made = Board(tmp_path, sshd)
    yield made
    made.line.close()


@pytest.fixture
def sleepy(tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    made = Board(tmp_path, sshd, runtime="faulty")
    yield made
    with contextlib.suppress(DeviceError):
        made.line.stop()
    made.line.close()


# --- the verbs -----------------------------------------------------------------------------------------------------


def test_a_device_with_a_host_is_reached_over_ssh(sshd: Sshd, tmp_path: Path) -> None:
    profile = Profile("board", "a board", "any", ("empty",))
    line = transport.connect(Device("b", profile, address(sshd), str(tmp_path / "wd"), sys.executable))
    seen = line.look(bundle.build("empty"))
    transport.require_room("b", seen, 1)
    with pytest.raises(DeviceError, match=r"device b: \d+ MiB free in .*/wd, 1099511627776 MiB are needed"):
        transport.require_room("b", seen, 2**60)
    assert seen["holder"] is None and abs(seen["clock_ns"] - time.time_ns()) < 10**9


@pytest.mark.slow
def test_a_job_goes_there_and_its_reply_comes_back(board: Board) -> None:
    board.line.look(board.bundle)
    job = board.job()
    pid = board.line.start(board.bundle, job)
    reply = board.wait(job)
    assert reply.job == "job" and pid != os.getpid() and len(board.journal(job)) == reply.events
    while board.line.alive(job):
        time.sleep(0.05)
    assert board.line.log_tail(job) == ""


def test_a_home_folder_is_the_board_s_own(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", environment={"HOME": str(tmp_path)}, sftp="internal-sftp") as server:
        line = Ssh("board", address(server), "~/below", sys.executable)
        where = Path(str(line.look(bundle.build("empty"))["workdir"]))
        assert where.name == "below" and where.is_absolute()
        line.link.run(["rm", "-r", str(where)], 10)


def test_files_are_sent_once_and_what_is_there_is_known_from_a_listing(board: Board) -> None:
    sha256, source = board.file(b"weights" * 1000)
    assert board.line.put({sha256: source}) == 7000
    job = board.job(["a"])
    assert board.line.put({sha256: source}) == 0 or (board.there / "artifacts" / f".part-{sha256}").exists()
    (board.there / "artifacts" / f".part-{sha256}").rename(board.there / "artifacts" / sha256)
    assert board.line.put({sha256: source}) == 0
    board.line.start(board.bundle, job)
    board.wait(job)


def test_a_file_that_is_not_what_its_name_says_is_not_sent(board: Board) -> None:
    _, source = board.file(b"damaged")
    with pytest.raises(DeviceError, match=r"source: its bytes have SHA-256"):
        board.line.put({"0" * 64: source})
    assert not (board.there / "artifacts").exists()


def test_a_file_gets_its_name_when_the_board_has_hashed_it(board: Board) -> None:
    job = board.job(["a", "b"])
    names = {file.sha256 for file in job.files()}
    assert {path.name for path in (board.there / "artifacts").iterdir()} == {".part-" + name for name in names}
    board.line.start(board.bundle, job)
    assert {path.name for path in (board.there / "artifacts").iterdir()} == names
    board.wait(job)


def test_a_file_that_was_damaged_there_is_removed_and_sent_again(board: Board) -> None:
    job = board.job(["a", "b"])
    part = board.there / "artifacts" / (".part-" + job.cases[1].artifact.sha256)
    part.write_bytes(b"X")
    with pytest.raises(DamagedError, match="device board: 1 of 3 files"):
        board.line.start(board.bundle, job)
    assert not part.exists()
    assert board.line.put({job.cases[1].artifact.sha256: board.folder / job.cases[1].artifact.sha256}) == 1
    board.line.start(board.bundle, job)
    board.wait(job)


def test_following_gives_whole_lines_from_where_it_was(board: Board) -> None:
    job = board.job()
    assert board.line.follow(job, 0) == b""
    (board.there / "jobs" / "job" / "events.jsonl").write_bytes(b"one\ntwo\nthr")
    assert [board.line.follow(job, offset) for offset in (0, 4, 8, 100)] == [b"one\ntwo\n", b"two\n", b"", b""]


def test_a_journal_that_the_board_lost_is_given_back_and_a_longer_one_is_kept(board: Board) -> None:
    job = board.job()
    board.line.restore_journal(job, b"one\ntwo\n")
    assert board.line.follow(job, 0) == b"one\ntwo\n"
    board.line.restore_journal(job, b"one\n")
    assert board.line.follow(job, 0) == b"one\ntwo\n"


@pytest.mark.slow
def test_a_busy_board_is_refused_with_its_holder_and_whoever_asked(sleepy: Board) -> None:
    sleepy.line.look(sleepy.bundle)
    first, second = sleepy.job(["sleep"], SLEEPY, "first"), sleepy.job(["fine"], SLEEPY, "second")
    pid = sleepy.line.start(sleepy.bundle, first)
    assert sleepy.line.start(sleepy.bundle, first) == pid, "asked again, the agent at work is the one"
    assert sleepy.line.alive(first) and not sleepy.line.alive(second)
    with pytest.raises(DeviceError, match=rf"device board: .*is held by run run of {owner()} \(job first, pid {pid}\)"):
        sleepy.line.start(sleepy.bundle, second)
    assert not sleepy.line.stop("second")
    assert sleepy.line.stop("first")
    assert sleepy.line.holder() is None and sleepy.line.reply(first) is None and not sleepy.line.stop()


def test_a_heartbeat_that_moves_says_that_the_agent_lives_without_a_command(sleepy: Board) -> None:
    job = sleepy.job(["sleep"], SLEEPY)
    sleepy.line.start(sleepy.bundle, job)
    assert sleepy.line.alive(job)
    lock = (sleepy.there / "lock").read_text()
    sleepy.line.stop()
    (sleepy.there / "lock").write_text(lock)
    assert not sleepy.line.alive(job), "a signature whose heart stands still is asked about"
    (sleepy.there / "lock").write_text(lock.replace('"beat": "0', '"beat": "7'))
    assert sleepy.line.alive(job)
    assert not sleepy.line.alive(job)


def test_what_a_day_has_not_seen_is_cleaned(board: Board) -> None:
    board.line.look(board.bundle)
    job = board.job(["a" * 5000])
    board.line.start(board.bundle, job)
    board.wait(job)
    while board.line.holder() is not None:
        time.sleep(0.05)
    for path in board.there.rglob("*"):
        os.utime(path, (1000, 1000))
    assert board.line.clean(board.bundle) > 5000
    assert list((board.there / "artifacts").iterdir()) == list((board.there / "jobs").iterdir()) == []


# --- links that are cut --------------------------------------------------------------------------------------------


def test_a_lost_connection_is_made_anew(board: Board, sshd: Sshd) -> None:
    job = board.job()
    sshd.drop()
    assert board.line.follow(job, 0) == b""
    sshd.stop()
    threading.Timer(1.0, sshd.start).start()
    assert board.line.reply(job) is None


def test_a_transfer_that_was_cut_goes_on_where_it_stopped(board: Board, sshd: Sshd) -> None:
    sha256, source = board.file(os.urandom(60_000_000))
    part = board.there / "artifacts" / f".part-{sha256}"
    board.line.look(board.bundle)
    cut = threading.Thread(target=_drop_when, args=(sshd, part, 10_000_000))
    cut.start()
    sent = board.line.put({sha256: source})
    cut.join()
    assert part.read_bytes() == source.read_bytes()
    assert sent < 2 * 60_000_000 - 10_000_000, "what was there was not sent again"


def _drop_when(server: Sshd, part: Path, size: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and (not part.exists() or part.stat().st_size < size):
        time.sleep(0.002)
    server.drop()


def test_a_link_that_stays_lost_is_an_error_that_names_what_was_going_on(board: Board, sshd: Sshd) -> None:
    job = board.job()
    board.line.link.patience_s = 1.0
    sshd.stop()
    with pytest.raises(DeviceError, match=r"device board: reading .*events.jsonl: .*nothing listens there"):
        board.line.follow(job, 0)


def test_a_server_that_stops_answering_is_given_up_after_a_bounded_time(board: Board, sshd: Sshd) -> None:
    job = board.job()
    board.line.link.patience_s = 0.0
    with sshd.frozen():
        began = time.monotonic()
        with pytest.raises(DeviceError, match="no progress for 2 s"):
            board.line.follow(job, 0)
        assert time.monotonic() - began < 3 * SILENCE_S


# --- hosts that are not who they should be -------------------------------------------------------------------------


def look(server: Sshd, folder: Path, **changes: object) -> None:
    Ssh("board", address(server, **changes), str(folder / "wd"), sys.executable).look(bundle.build("empty"))


def test_an_unknown_host_is_refused_with_the_command_that_adds_it(sshd: Sshd, tmp_path: Path) -> None:
    trusted = tmp_path / "known_hosts"
    trusted.touch()
    with pytest.raises(
        DeviceError, match=r"\(inventory.yaml:4\): its host key \(ssh-ed25519 SHA256:\S+\) is not known"
    ) as refused:
        look(sshd, tmp_path, known_hosts=str(trusted))
    assert trusted.read_text() == "", "nobody was trusted by asking"
    command = refused.value.hint.split("add it: ")[1]
    assert command == f"ssh-keyscan -t ed25519 -p {sshd.port} 127.0.0.1 >> {trusted}"
    os.system(command + " 2>/dev/null")
    look(sshd, tmp_path, known_hosts=str(trusted))


def test_a_host_whose_key_has_changed_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    sshd.restart(new_host_key=True)
    with pytest.raises(DeviceError, match=r"its host key has changed: it is .* known is") as refused:
        look(sshd, tmp_path)
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in refused.value.hint


def test_a_key_that_changes_in_the_midst_of_a_run_is_not_tried_again(board: Board, sshd: Sshd) -> None:
    job = board.job()
    sshd.restart(new_host_key=True)
    began = time.monotonic()
    with pytest.raises(DeviceError, match="its host key has changed"):
        board.line.follow(job, 0)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"port": 1}, "nothing listens there"),
        ({"host": "no-such-host.invalid"}, "no such host"),
        ({"user": "nobody-of-that-name"}, "the log-in was refused"),
        ({"key": __file__}, "its private key cannot be read"),
        ({"known_hosts": "/nowhere/known_hosts"}, r"its host key \(ssh-ed25519 SHA256:.*\) is not known here"),
    ],
)
def test_what_is_wrong_is_said_at_once_with_the_place_to_mend_it(
    sshd: Sshd, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError, match=said) as refused:
        look(sshd, tmp_path, **changes)
    assert "(inventory.yaml:4)" in refused.value.message and refused.value.hint
    assert time.monotonic() - began < 8


def test_another_key_is_refused_and_never_shown(sshd: Sshd, tmp_path: Path) -> None:
    new_key(tmp_path / "other")
    with pytest.raises(DeviceError, match=f"tried was the key {tmp_path}/other") as refused:
        look(sshd, tmp_path, key=str(tmp_path / "other"))
    secret = (tmp_path / "other").read_text().splitlines()[1]
    assert secret not in str(refused.value)


@pytest.mark.slow
def test_a_host_that_swallows_everything_is_told_of_in_time(tmp_path: Path, sshd: Sshd) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(DeviceError, match=r"it does not answer as an SSH server does|no answer within"):
            look(sshd, tmp_path, port=server.getsockname()[1])
        assert time.monotonic() - began < 9


# --- boards that lie -----------------------------------------------------------------------------------------------


def hostile(folder: Path, script: str, where: str = "sftp") -> Sshd:
    """A server whose file service, or every command, is a script of ours."""
    program = folder / "hostile"
    program.write_text(f"#!{sys.executable}\nimport os, struct, sys, time\n{script}\n")
    program.chmod(0o755)
    return (
        Sshd(folder / "sshd", sftp=str(program))
        if where == "sftp"
        else Sshd(folder / "sshd", force_command=str(program))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "os.write(1, b'garbage, and not little of it' * 100)",
        "os.write(1, struct.pack('>I', 2**31) + b'x' * 1000); time.sleep(60)",
        "os.write(1, struct.pack('>IBI', 5, 2, 3)); os.read(0, 1000); os.write(1, b'\\xff' * 100); time.sleep(60)",
        "time.sleep(60)",
        "sys.exit(3)",
    ],
)
def test_a_file_service_that_answers_garbage_too_much_or_never_is_an_error(tmp_path: Path, script: str) -> None:
    with hostile(tmp_path, script) as server:
        line = Ssh("board", address(server, patience_s=0.0), str(tmp_path / "wd"), silence_s=SILENCE_S)
        began = time.monotonic()
        with pytest.raises(DeviceError, match="device board: "):
            line.look(bundle.build("empty"))
        assert time.monotonic() - began < 12


def test_a_listing_that_gives_one_name_for_ever_comes_to_an_end(tmp_path: Path) -> None:
    endless = """
def take():
    size = struct.unpack('>I', os.read(0, 4))[0]
    return os.read(0, size)
def give(kind, data): os.write(1, struct.pack('>IB', len(data) + 1, kind) + data)
text = lambda word: struct.pack('>I', len(word)) + word
take(); give(2, struct.pack('>I', 3))
while True:
    asked = take()
    entry = text(b'same') * 2 + struct.pack('>I', 0)
    names = 50 if asked[0] == 12 else 1
    give(102, asked[1:5] + text(b'h')) if asked[0] == 11 else give(104, asked[1:5] + struct.pack('>I', names) + entry * names)
"""
    with hostile(tmp_path, endless) as server:
        line = Ssh("board", address(server, patience_s=0.0), str(tmp_path / "wd"), silence_s=SILENCE_S)
        with pytest.raises(DeviceError, match="holds more than 100000 names"):
            line.environments()
        line.close()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('no json')", "look exited with 0"),
        ("print('[1]')", "not an object"),
        ('print(\'{"error": {"type": "UsageError", "message": "m"}}\')', "device board: m"),
        ("print('x' * 100); sys.exit(5)", "look exited with 5"),
        ("sys.stdout.write('x' * 10_000_000)", "said more than 4 MiB"),
        ("sys.stderr.write('x' * 10_000_000)", "said more than 4 MiB"),
        ("os.kill(os.getpid(), 9)", "look exited with"),
    ],
)
def test_a_command_that_answers_garbage_or_too_much_is_the_board_s_error(
    tmp_path: Path, script: str, said: str
) -> None:
    only = (
        "if 'sftp' in os.environ.get('SSH_ORIGINAL_COMMAND', ''): os.execv('/usr/lib/openssh/sftp-server', ['sftp'])\n"
    )
    with hostile(tmp_path, only + script, "commands") as server:
        line = Ssh("board", address(server), str(tmp_path / "wd"), silence_s=SILENCE_S)
        with pytest.raises(DeviceError, match=said):
            line.look(bundle.build("empty"))


def test_no_python_there_is_said_with_the_key_to_set(sshd: Sshd, tmp_path: Path) -> None:
    line = Ssh("board", address(sshd), str(tmp_path / "wd"), "python9.9")
    with pytest.raises(DeviceError, match=r"device board: there is no python9\.9") as refused:
        line.look(bundle.build("empty"))
    assert "python: /usr/bin/python3.11" in refused.value.hint


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"v": 2}', "garbage"])
def test_a_reply_that_breaks_the_format_is_refused(board: Board, text: str) -> None:
    job = board.job()
    (board.there / "jobs" / "job" / "reply.json").write_text(text)
    with pytest.raises(WireError):
        board.line.reply(job)


def test_a_lock_signed_with_a_path_runs_nothing(board: Board) -> None:
    board.line.look(board.bundle)
    (board.there / "lock").write_text('{"run": "r", "job": "j", "pid": 1, "agent": "../../evil.pyz"}')
    with pytest.raises(DeviceError, match="its lock is signed with a strange name"):
        board.line.holder()


def test_words_of_a_command_never_reach_a_shell_unquoted(board: Board, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    words = [f"; touch {evil}", f"$(touch {evil})", f"`touch {evil}`", "'", '"', "a\nb", "*", "~", "\\"]
    done = board.line.link.run(["printf", "%s|", *words], 10)
    assert done.out.decode() == "|".join(words) + "|" and not evil.exists()


# --- packages ------------------------------------------------------------------------------------------------------


def test_packages_are_sent_and_installed_once(board: Board, tmp_path: Path) -> None:
    import io
    import tarfile

    packed = tmp_path / "pack.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        code = b"__version__ = '1.5'\n"
        entry = tarfile.TarInfo("only_there/__init__.py")
        entry.size = len(code)
        tar.addfile(entry, io.BytesIO(code))
    wheel = Wheel("only-there", "1.5", sha256_of(packed), packed.stat().st_size, str(packed))
    environment = Environment("0123456789abcdef", (wheel,))
    assert board.line.environments() == frozenset()
    assert board.line.probe(board.bundle, "empty", environment)["versions"]["python"]
    assert board.line.environments() == {"0123456789abcdef"}
    python = board.there / "envs" / environment.key / "bin" / "python"
    done = board.line.link.run([str(python), "-c", "import only_there; print(only_there.__version__)"], 20)
    assert done.out == b"1.5\n"
    packed.unlink()  # the second time it is not even read
    board.line.probe(board.bundle, "empty", environment)
    job = board.job(["a"])
    board.line.start(board.bundle, job, environment)
    board.wait(job)
    started = board.journal(job)[0]
    assert isinstance(started, wire.StartEvent)


# --- the command ---------------------------------------------------------------------------------------------------


def inventory(cli: Cli, server: Sshd, **more: object) -> None:
    lines = {
        "profile": "host",
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "key": server.key,
        "known_hosts": server.known_hosts,
        "workdir": cli.folder / "board",
        "python": sys.executable,
        "runtimes": "[empty]",
        **more,
    }
    text = "".join(f"    {key}: {value}\n" for key, value in lines.items())
    (cli.folder / "inventory.yaml").write_text(f"devices:\n  board:\n{text}")


MAIN = ("run", "--device", "board", "--model", "tiny", "--method", "order", "--budget", "8")


@pytest.mark.slow
def test_the_main_job_over_ssh_and_its_second_time(cli: Cli, sshd: Sshd) -> None:
    inventory(cli, sshd)
    done = cli(*MAIN, "--json")
    assert done.code == 0, done.err
    assert {case["status"] for case in done.json["cases"]} == {"ok"} and done.json["device"] == "board"
    artifacts = cli.folder / "board" / "artifacts"
    before = {path.name: path.stat().st_ino for path in artifacts.iterdir()}
    assert cli(*MAIN).code == 0
    assert {path.name: path.stat().st_ino for path in artifacts.iterdir()} == before, "nothing was sent again"


@pytest.mark.slow
def test_neither_a_run_nor_what_it_says_holds_a_key(cli: Cli, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory(cli, sshd)
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    said = [cli(*MAIN), cli("check", "--device", "board"), cli("devices", "--json"), cli("show", "--json")]
    sshd.restart(new_host_key=True)
    said.append(cli(*MAIN))
    assert said[-1].code == 1
    secrets = [line.encode() for line in sshd.key.read_text().splitlines()[1:-1]]
    places = [cli.folder / "results", cli.folder / "board"]
    texts = [file.read_bytes() for place in places for file in place.rglob("*") if file.is_file()]
    texts += [(done.out + done.err).encode() for done in said]
    assert len(texts) > 10 and not any(secret in text for secret in secrets for text in texts)


@pytest.mark.slow
def test_a_virtual_board_s_run_shows_equality_and_no_times(cli: Cli, sshd: Sshd) -> None:
    inventory(cli, sshd, virtual="true")
    done = cli(*MAIN, "--json")
    assert done.code == 0, done.err
    for case in done.json["cases"]:
        assert case["status"] == "ok" and case["artifact_error"] is not None
        assert case["latency_ns"] is None and case["speedup"] is None
        assert case["reasons"]["latency_ns"] == "a virtual device: its times stand for no real one"
    assert not list(cli.runs[0].glob("plots/*"))
    text = cli("show").out
    assert "device board, virtual" in text and "latency us" not in text and " ms" not in text
    assert cli("plot").code == 1
    refused = cli("calibrate", "--device", "board", "--budget", "10")
    assert refused.code == 2 and "virtual" in refused.err


def test_where_there_is_no_board_it_is_said_within_ten_seconds_with_the_line_to_edit(cli: Cli, sshd: Sshd) -> None:
    sshd.stop()
    inventory(cli, sshd)
    began = time.monotonic()
    done = cli(*MAIN)
    assert done.code == 1 and time.monotonic() - began < 10
    assert f"device board: {sshd.user}@127.0.0.1:{sshd.port} (inventory.yaml:4): nothing listens there" in done.err
    assert not (cli.folder / "results").exists() or not cli.runs


@pytest.mark.slow
def test_a_board_is_cleaned_by_name(cli: Cli, sshd: Sshd) -> None:
    inventory(cli, sshd)
    assert cli(*MAIN).code == 0
    for path in (cli.folder / "board").rglob("*"):
        os.utime(path, (1000, 1000))
    done = cli("devices", "--clean", "board", "--json")
    assert done.code == 0 and done.json["board"]["freed_bytes"] > 0
    assert list((cli.folder / "board" / "artifacts").iterdir()) == []
    assert cli("devices", "--clean", "bord").code == 2


@pytest.mark.slow
def test_a_busy_board_is_refused_waited_for_or_taken(cli: Cli, sshd: Sshd) -> None:
    inventory(cli, sshd)
    first = cli.start(*MAIN[:-1], "25")
    lock = cli.folder / "board" / "lock"
    end = time.monotonic() + 60
    while not lock.exists() or not lock.read_text():
        assert time.monotonic() < end and first.poll() is None
        time.sleep(0.1)
    refused = cli(*MAIN)
    assert refused.code == 1 and "device board is busy: it is held by run " in refused.err and owner() in refused.err
    taken = cli(*MAIN, "--steal")
    assert taken.code == 0, taken.err
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1 and "--resume" in said
    interrupted = next(run for run in cli.runs if run.name in said)
    resumed = cli("run", "--resume", interrupted.name, "--wait")
    assert resumed.code == 0, resumed.err
