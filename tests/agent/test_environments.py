"""Environments on a device: what was sent can be imported there, by a Python that sees nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devices.agent import environments
from harness import bundle
from harness.errors import DamagedError, WireError

KEY = "0123456789abcdef"
PYTHONS = [path for path in ("/usr/bin/python3", sys.executable) if Path(path).is_file()]
PYTHONS += [str(path) for path in sorted((Path.home() / ".pyenv" / "versions").glob("3.8.*/bin/python3"))[:1]]
INSTALL = "import sys; from pathlib import Path; from devices.agent.environments import install; "
INSTALL += "print(install(Path(sys.argv[1]), sys.argv[2]))"


def packed(files: Mapping[str, str]) -> bytes:
    """A package as it is sent."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return buffer.getvalue()


def send(workdir: Path, *archives: bytes, system: bool = False) -> list[Path]:
    """What a controller puts: the archives by their hash, and what belongs together."""
    (workdir / "wheels").mkdir(parents=True, exist_ok=True)
    (workdir / "envs").mkdir(exist_ok=True)
    wheels = []
    for number, data in enumerate(archives):
        sha256 = hashlib.sha256(data).hexdigest()
        (workdir / "wheels" / sha256).write_bytes(data)
        wheels.append({"name": f"package{number}", "sha256": sha256, "size_bytes": len(data)})
    said = {"key": KEY, "system_packages": system, "wheels": wheels}
    (workdir / "envs" / f"{KEY}.json").write_text(json.dumps(said))
    return [workdir / "wheels" / wheel["sha256"] for wheel in wheels]


def command(python: str, workdir: Path) -> tuple[list[str], dict[str, str]]:
    """How another Python installs: with the agent's own code, as it travels."""
    return [python, "-c", INSTALL, str(workdir), KEY], {**os.environ, "PYTHONPATH": str(bundle.build("empty"))}


def installed(python: str, workdir: Path) -> str:
    words, env = command(python, workdir)
    return subprocess.run(words, env=env, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def asked(python: str | Path, code: str) -> Any:
    done = subprocess.run([str(python), "-c", f"import json, sys; {code}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_was_sent_is_imported_and_nothing_of_the_device_s_own(python: str, tmp_path: Path) -> None:
    send(tmp_path, packed({"sent/__init__.py": "IT = 7\n", "sent-1.dist-info/METADATA": "Name: sent\nVersion: 1\n"}))
    inside = installed(python, tmp_path)
    assert inside == str(tmp_path / "envs" / KEY / "bin" / "python")
    code = "import sent, site; from importlib.metadata import version; "
    code += "print(json.dumps([sent.IT, version('sent'), sys.prefix, site.getsitepackages(), site.ENABLE_USER_SITE, sys.path]))"
    value, version, prefix, packages, user, path = asked(inside, code)
    folder = str(tmp_path / "envs" / KEY)
    assert (value, version, prefix, user) == (7, "1", folder, False)
    assert all(place.startswith(folder) for place in packages)
    assert not [place for place in path if place.endswith(("site-packages", "dist-packages")) and folder not in place]


@pytest.mark.parametrize("python", PYTHONS)
def test_with_system_packages_the_device_s_own_are_there_behind_what_was_sent(python: str, tmp_path: Path) -> None:
    send(tmp_path, packed({"sent.py": "IT = 7\n"}), system=True)
    path = asked(installed(python, tmp_path), "import sent; print(json.dumps(sys.path))")
    base = asked(os.path.realpath(python), "print(json.dumps(sys.path))")
    own = [place for place in base if place.endswith(("site-packages", "dist-packages"))]
    sent = next(place for place in path if place.startswith(str(tmp_path)))
    assert own and set(own) <= set(path)
    assert all(path.index(sent) < path.index(place) for place in own)


@pytest.mark.parametrize("python", PYTHONS)
def test_children_started_with_its_own_executable_stay_inside(python: str, tmp_path: Path) -> None:
    send(tmp_path, packed({"sent.py": "IT = 7\n"}))
    code = "import subprocess; ask = 'import sent, sys; print(sys.prefix)'; "
    code += "print(json.dumps(subprocess.check_output([sys.executable, '-c', ask], universal_newlines=True)))"
    assert asked(installed(python, tmp_path), code).strip() == str(tmp_path / "envs" / KEY)


def test_a_second_time_nothing_is_unpacked_and_the_archives_may_be_gone(tmp_path: Path) -> None:
    (archive,) = send(tmp_path, packed({"sent.py": "IT = 7\n"}))
    first = environments.install(tmp_path, KEY)
    before = [(path, path.lstat().st_ino) for path in sorted(first.parent.parent.rglob("*"))]
    archive.unlink()
    os.utime(first.parent.parent, (0, 0))
    assert environments.install(tmp_path, KEY) == first
    assert [(path, path.lstat().st_ino) for path in sorted(first.parent.parent.rglob("*"))] == before
    assert time.time() - first.parent.parent.stat().st_mtime < 60  # used just now


def test_many_at_once_all_get_the_same_environment(tmp_path: Path) -> None:
    archives = (packed({f"sent{n}/m{i}.py": "#" * 999 for i in range(200)}) for n in range(3))
    for archive in send(tmp_path, *archives):
        archive.rename(archive.parent / f".part-{archive.name}")  # as a transfer leaves it
    words, env = command(PYTHONS[0], tmp_path)
    started = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    answers = {process.communicate(timeout=100)[0].strip() for process in started}
    assert answers == {str(tmp_path / "envs" / KEY / "bin" / "python")}
    assert sorted(path.name for path in (tmp_path / "envs").iterdir()) == [KEY, f"{KEY}.json"]
    assert len(list((tmp_path / "envs" / KEY).rglob("*.py"))) == 600


@pytest.mark.parametrize(
    "after", [1, 100, pytest.param(0, marks=pytest.mark.slow), pytest.param(2000, marks=pytest.mark.slow)]
)
def test_one_that_was_killed_half_way_leaves_nothing_that_counts(after: int, tmp_path: Path) -> None:
    send(tmp_path, packed({f"sent/m{i}.py": "#" * 99 for i in range(3000)}))
    words, env = command(PYTHONS[0], tmp_path)
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "envs").glob(".making-*/lib/*/*/sent/*"))) < after:
        time.sleep(0.001)
    process.kill()
    process.wait()
    python = environments.install(tmp_path, KEY)
    assert len(list(python.parent.parent.rglob("*.py"))) == 3000
    assert not list((tmp_path / "envs").glob(".*"))


def test_what_another_is_making_stays_and_what_nobody_is_making_goes(tmp_path: Path) -> None:
    send(tmp_path, packed({"sent.py": ""}))
    gone = subprocess.Popen(["true"])
    gone.wait()
    live, old, dead, odd = (
        tmp_path / "envs" / f"{environments.MAKING}{name}"
        for name in (f"other-{os.getppid()}", f"old-{os.getppid()}", f"dead-{gone.pid}", "odd")
    )
    for folder in (live, old, dead, odd):
        folder.mkdir()
    os.utime(old, (0, 0))
    environments.install(tmp_path, KEY)
    assert [folder.exists() for folder in (live, old, dead, odd)] == [True, False, False, False]


def test_an_environment_whose_interpreter_went_away_is_made_again(tmp_path: Path) -> None:
    send(tmp_path, packed({"sent.py": "IT = 7\n"}))
    python = environments.install(tmp_path, KEY)
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert asked(environments.install(tmp_path, KEY), "import sent; print(sent.IT)") == 7


def test_what_stands_in_its_place_and_cannot_be_used_is_replaced_by_however_many_at_once(tmp_path: Path) -> None:
    send(tmp_path, packed({"sent.py": "IT = 7\n"}))
    (tmp_path / "envs" / KEY / "lib").mkdir(parents=True)
    words, env = command(PYTHONS[0], tmp_path)
    started = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=100)[0].strip() for process in started}
    (python,) = answers
    assert [process.returncode for process in started] == [0] * 4
    assert asked(python, "import sent; print(sent.IT)") == 7
    environments.install(tmp_path, KEY)
    assert not list((tmp_path / "envs").glob(".*"))


REFUSED = {
    "above": packed({"../outside.py": "1"}),
    "above by a detour": packed({"a/../../outside.py": "1"}),
    "absolute": packed({"/tmp/outside-of-everything.py": "1"}),
    "dotted": packed({"./dotted.py": "1"}),
    "symbolic link": special("link", tarfile.SYMTYPE, "/etc"),
    "hard link": special("hard", tarfile.LNKTYPE, "/etc/passwd"),
    "device": special("device", tarfile.CHRTYPE),
    "pipe": special("pipe", tarfile.FIFOTYPE),
    "folder": special("folder", tarfile.DIRTYPE),
    "file then folder": packed({"a": "1", "a/b.py": "1"}),
    "folder then file": packed({"a/b.py": "1", "a": "1"}),
    "file then folder of folders": packed({"a": "1", "a/b/c.py": "1"}),
    "cut off": packed({"whole.py": "1" * 5000})[:-40],
    "no archive": b"no archive at all",
}


# Named, for an archive holds the second in which it was made: tests that are shared among workers must have equal names.
@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_an_archive_that_would_leave_its_folder_or_is_none_is_refused_and_leaves_nothing(
    data: bytes, tmp_path: Path
) -> None:
    send(tmp_path / "workdir", data)
    with pytest.raises(WireError):
        environments.install(tmp_path / "workdir", KEY)
    assert [path.name for path in (tmp_path / "workdir" / "envs").iterdir()] == [f"{KEY}.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["workdir"]
    assert not Path("/tmp/outside-of-everything.py").exists()


def test_an_archive_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_MOST_BYTES", 10_000)
    send(tmp_path, packed({"big.py": " " * 20_000}))
    with pytest.raises(WireError, match="more than 10000 bytes"):
        environments.install(tmp_path, KEY)


def test_a_damaged_or_missing_archive_is_named_and_removed(tmp_path: Path) -> None:
    whole, damaged = send(tmp_path, packed({"a.py": "1"}), packed({"b.py": "1"}))
    damaged.write_bytes(bytes(damaged.stat().st_size))
    for _ in range(2):
        with pytest.raises(DamagedError, match=damaged.name):
            environments.install(tmp_path, KEY)
        assert whole.exists() and not damaged.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"key": "another"},
        {"system_packages": "yes"},
        {"unknown": 1},
        {"wheels": [{"name": "../a", "sha256": "0" * 64, "size_bytes": 1}]},
        {"wheels": [{"name": "a", "sha256": "../../../etc/passwd", "size_bytes": 1}]},
        {"wheels": [{"name": "a", "sha256": "0" * 64, "size_bytes": -1}]},
        {"wheels": {}},
    ],
)
def test_a_description_that_breaks_a_rule_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    send(tmp_path)
    file = tmp_path / "envs" / f"{KEY}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(WireError):
        environments.install(tmp_path, KEY)


@pytest.mark.parametrize("key", ["../x", "", ".", "a/b", "-x\n"])
def test_a_key_cannot_leave_its_folder(key: str, tmp_path: Path) -> None:
    with pytest.raises(WireError):
        environments.install(tmp_path, key)


RUNTIME = '''"""Imports what was sent."""

PRECISIONS, OPTIONS, CONVERTERS = ("fp32",), {}, ()


def export(variant, target, precision, options, out):
    """Nothing."""


def load(path, options):
    """Nothing."""


def versions():
    """Import what was sent."""
    import sent

    return {"sent": sent.IT}
'''


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "content" / "runtimes").mkdir(parents=True)
    (tmp_path / "content" / "runtimes" / "needy.py").write_text(RUNTIME)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path / "content"))
    return bundle.build("needy")


def probe(agent: Path, python: str, *words: str) -> Any:
    done = subprocess.run([python, str(agent), "probe", "needy", *words], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_agent_probes_a_runtime_within_its_environment(python: str, agent: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    send(workdir, packed({"sent.py": "IT = '7'\n"}))
    assert probe(agent, python)["cause"]  # the device itself has no such package
    said = probe(agent, python, str(workdir), KEY)
    assert said["versions"] == {"sent": "7"}
    facts = said["facts"]
    assert facts["executable"] == os.path.realpath(python)
    assert (facts["implementation"], facts["bits"]) == ("cpython", 64) and facts["platform"].startswith("linux-")
    assert probe(agent, python, str(workdir), KEY)["versions"] == {"sent": "7"}


def test_a_package_that_dies_of_an_illegal_instruction_is_a_finding(agent: Path, tmp_path: Path) -> None:
    send(tmp_path / "w", packed({"sent.py": f"import os\nos.kill(os.getpid(), {int(signal.SIGILL)})\n"}))
    said = probe(agent, PYTHONS[0], str(tmp_path / "w"), KEY)
    assert said["cause"] == "illegal-instruction" and said["detail"].startswith("SIGILL: this processor (")


def test_a_damaged_archive_is_told_by_the_agent_as_what_sending_again_cures(agent: Path, tmp_path: Path) -> None:
    (archive,) = send(tmp_path / "w", packed({"sent.py": "IT = '7'\n"}))
    archive.unlink()
    assert probe(agent, PYTHONS[0], str(tmp_path / "w"), KEY)["error"]["type"] == "DamagedError"
