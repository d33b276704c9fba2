"""Provisioning: what fits a board, whose markers count, what is locked, and what never gets packed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
import struct
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from lab.device import Device
from lab.sshd import ask, ssh
from packaging import _manylinux
from packaging.tags import sys_tags

from harness import bundle, cache, provision
from harness.child import Progress
from harness.errors import ContentError, DeviceError
from harness.provision import packing
from harness.provision.pip import Unreachable
from harness.provision.target import Target
from harness.records import Environment

PI = {
    "machine": "aarch64",
    "python": "3.11.2",
    "libc": "glibc-2.36",
    "bits": 64,
    "platform": "linux-aarch64",
    "implementation": "cpython",
    "kernel": "6.6.31+rpt-rpi-v8",
}
JETPACK_5 = {**PI, "python": "3.8.10", "libc": "glibc-2.31", "kernel": "5.10.192-tegra"}
WORKSTATION = {**PI, "machine": "x86_64", "platform": "linux-x86_64"}
PI_32 = {**PI, "bits": 32}
HERE = {
    "machine": platform.machine(),
    "python": platform.python_version(),
    "libc": "-".join(platform.libc_ver()),
    "bits": struct.calcsize("P") * 8,
    "platform": sysconfig.get_platform(),
    "implementation": sys.implementation.name,
    "kernel": platform.release(),
}


def wheel(
    folder: Path,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, str] = {},
    needs: str = ">=3.8",
    date: int = 1990,
) -> Path:
    """Make a wheel by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {needs}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    inside = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/RECORD": "",
        **files,
    }
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in inside.items():
            archive.writestr(zipfile.ZipInfo(path, (date, 1, 1, 0, 0, 0)), text)
    return made


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels: all that pip may look at."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a runtime's file and return its name."""

    def write(text: str) -> str:
        file = tmp_path / "content" / "runtimes" / "needy.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path / "content"))
        return file.stem

    return write


def versions(found: Environment | None) -> dict[str, str]:
    assert found is not None
    return {one.name: one.version for one in found.wheels}


def entry(kind: str) -> Path:
    (folder,) = (cache.root() / kind).iterdir()
    return folder


# --- what fits a board ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["aarch64", "x86_64", "riscv64"])
@pytest.mark.parametrize("glibc", [16, 17, 27, 31, 36, 41])
def test_every_platform_tag_is_listed_that_packaging_lists_on_such_a_machine(
    arch: str, glibc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_manylinux, "_get_glibc_version", lambda: (2, glibc))
    monkeypatch.setattr(_manylinux, "_have_compatible_abi", lambda *_: True)
    target = Target.of({**PI, "machine": arch, "platform": f"linux-{arch}", "libc": f"glibc-2.{glibc}"})
    assert list(target.platforms()) == [f"linux_{arch}", *_manylinux.platform_tags([arch])]


@pytest.mark.parametrize("kernel, archs", [("aarch64", ["armv8l", "armv7l"]), ("x86_64", ["i686"])])
def test_a_32_bit_userland_is_served_by_its_own_wheels_whatever_its_kernel_says(
    kernel: str, archs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_manylinux, "_get_glibc_version", lambda: (2, 31))
    monkeypatch.setattr(_manylinux, "_have_compatible_abi", lambda *_: True)
    target = Target.of({**JETPACK_5, "machine": kernel, "platform": f"linux-{kernel}", "bits": 32})
    assert list(target.platforms()) == [*(f"linux_{arch}" for arch in archs), *_manylinux.platform_tags(archs)]
    assert target.is_32_bit_on_64


def test_for_this_machine_the_tags_are_packaging_s_own() -> None:
    assert Target.of(HERE).tags() == {tag for tag in sys_tags() if "musllinux" not in tag.platform}


@pytest.mark.parametrize(
    "change",
    [
        {"libc": "-"},  # musl
        {"implementation": "pypy"},
        {"python": "3.7.16"},
        {"python": None},
        {"python": "3.11"},
        {"platform": "macosx-14.0-arm64"},
        {"platform": "linux-aarch64 --index-url=http://evil"},
        {"machine": "-r/etc/passwd"},
        {"libc": "glibc-2.36\n--pre"},
        {"kernel": "x" * 1000},
        {"python": "3.1\N{ARABIC-INDIC DIGIT ONE}.2"},
        {"libc": "glibc-2.\N{ARABIC-INDIC DIGIT THREE}6"},
    ],
)
def test_a_board_that_no_wheel_serves_is_told_so_before_anything_is_looked_for(change: dict[str, Any]) -> None:
    with pytest.raises(DeviceError):
        provision.environment("onnxruntime", {**PI, **change})


@pytest.mark.parametrize("libc, expected", [("2.36", "2.0"), ("2.31", "1.5"), ("2.27", "1.5"), ("2.26", "1.0")])
def test_the_newest_version_that_fits_the_board_s_glibc_is_taken(
    libc: str, expected: str, index: Path, runtime: Callable[[str], str]
) -> None:
    for number, tag in (("2.0", "manylinux_2_34"), ("1.5", "manylinux_2_27"), ("1.0", "manylinux2014")):
        wheel(index, "native", number, tag=f"cp38-abi3-{tag}_aarch64")
    wheel(index, "native", "3.0", tag="cp312-cp312-manylinux2014_aarch64")
    wheel(index, "native", "4.0", tag="cp311-cp311-manylinux2014_x86_64")
    found = provision.environment(runtime('PACKAGES = ("native",)'), {**PI, "libc": f"glibc-{libc}"})
    assert versions(found) == {"native": expected}


# --- what is needed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts, expected", [(PI, {"arm"}), (JETPACK_5, {"arm", "old"}), (WORKSTATION, {"intel", "tuned"})]
)
def test_markers_are_judged_for_the_board_and_not_for_this_machine(
    facts: dict[str, Any], expected: set[str], index: Path, runtime: Callable[[str], str]
) -> None:
    requires = [
        'old; python_version < "3.9"',
        'arm; platform_machine == "aarch64"',
        'intel; platform_machine == "x86_64"',
        'windows; sys_platform == "win32"',
        'snake; implementation_name == "pypy"',
        'more; extra == "all"',
    ]
    wheel(index, "root", "1.0", requires)
    wheel(index, "intel", "1.0", ['tuned>=1; platform_machine != "aarch64"'])
    for name in ("old", "arm", "tuned"):
        wheel(index, name, "1.0")
    assert set(versions(provision.environment(runtime('PACKAGES = ("root",)'), facts))) == {"root", *expected}


def test_extras_are_followed_and_what_the_runtime_asks_for_has_markers_too(
    index: Path, runtime: Callable[[str], str]
) -> None:
    wheel(index, "root", "1.0", ['more[deep]; extra == "all"'])
    wheel(index, "more", "1.0", ['deep-er; extra == "deep"', 'never; extra == "other"'])
    wheel(index, "deep_er", "1.0", ["root"])  # in a circle
    text = """PACKAGES = ("root[all]>=1", "absent; python_version >= '3.12'")"""
    assert set(versions(provision.environment(runtime(text), PI))) == {"root", "more", "deep-er"}


@pytest.mark.slow
def test_a_version_that_a_later_requirer_excludes_is_looked_for_again_with_what_only_it_needed_left_out(
    index: Path, runtime: Callable[[str], str]
) -> None:
    wheel(index, "root", "1.0", ["shared", "picky"])
    wheel(index, "picky", "1.0", ["shared<3,!=2.5"])
    wheel(index, "shared", "3.0", ["needed-by-3"])
    wheel(index, "needed_by_3", "1.0")
    for number in ("2.5", "2.4", "1.0"):
        wheel(index, "shared", number)
    found = provision.environment(runtime('PACKAGES = ("root",)'), PI)
    assert versions(found) == {"root": "1.0", "picky": "1.0", "shared": "2.4"}


@pytest.mark.slow
def test_requirers_that_contradict_each_other_are_named(index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "root", "1.0", ["first", "second"])
    wheel(index, "first", "1.1", ["shared<2"])
    wheel(index, "second", "1.2", ["shared>=2"])
    wheel(index, "shared", "1.0")
    wheel(index, "shared", "2.0")
    with pytest.raises(DeviceError) as caught:
        provision.environment(runtime('PACKAGES = ("root",)'), PI)
    for part in ("shared", "<2 (first 1.1)", ">=2 (second 1.2)", "Python 3.11.2", "aarch64", "glibc 2.36"):
        assert part in caught.value.message


@pytest.mark.slow
def test_the_runtime_s_own_version_here_is_preferred_and_otherwise_the_newest(
    index: Path, runtime: Callable[[str], str]
) -> None:
    here = version("packaging")
    wheel(index, "packaging", "99.0")
    name = runtime('PACKAGES = ("packaging", "numpy")')
    wheel(index, "numpy", "99.0")
    wheel(index, "numpy", version("numpy"))
    assert versions(provision.environment(name, PI)) == {"packaging": "99.0", "numpy": "99.0"}
    wheel(index, "packaging", here)
    cache.trim(cap=0)
    assert versions(provision.environment(name, PI)) == {"packaging": here, "numpy": "99.0"}


def test_a_missing_wheel_is_named_with_what_was_looked_for(index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "root", "1.0", ["native>=2"])
    wheel(index, "native", "2.0", tag="cp311-cp311-manylinux2014_x86_64")
    with pytest.raises(DeviceError) as caught:
        provision.environment(runtime('PACKAGES = ("root",)'), PI)
    assert "no wheel of native >=2 (root 1.0) for Python 3.11.2, aarch64, glibc 2.36" in caught.value.message
    assert "PIP_FIND_LINKS" in caught.value.hint and "32-bit" not in str(caught.value)
    assert not (cache.root() / "lock").exists()


def test_on_a_32_bit_userland_a_missing_wheel_is_explained_by_it(index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "native", "2.0", tag="cp311-cp311-manylinux2014_aarch64")
    name = runtime('PACKAGES = ("native",)')
    with pytest.raises(DeviceError) as caught:
        provision.environment(name, PI_32)
    assert "armv7l" in caught.value.message and "32-bit" in caught.value.message and "64-bit" in caught.value.hint
    wheel(index, "native", "1.0", tag="cp311-cp311-linux_armv7l")
    assert versions(provision.environment(name, PI_32)) == {"native": "1.0"}


def test_an_index_that_does_not_answer_is_told_as_that(
    runtime: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {
        "INDEX_URL": "http://127.0.0.1:9",
        "EXTRA_INDEX_URL": "",
        "FIND_LINKS": "",
        "RETRIES": "1",
    }.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    with pytest.raises(Unreachable, match=r"native for Python 3.11.2, aarch64, glibc 2.36: no package index answers"):
        provision.environment(runtime('PACKAGES = ("native",)'), PI)


# --- what a runtime's file may say ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "PACKAGES = ()", """PACKAGES = ("numpy; python_version < '3'",)"""])
def test_a_runtime_that_asks_for_nothing_is_sent_nothing(text: str, runtime: Callable[[str], str]) -> None:
    assert provision.environment(runtime(text), PI) is None


@pytest.mark.parametrize(
    "text",
    ['PACKAGES = "numpy"', "PACKAGES = (1,)", 'PACKAGES = ("--pre",)', 'PACKAGES = ("a @ file:///etc/x.whl",)'],
)
def test_a_runtime_that_asks_for_what_is_no_requirement_is_refused_by_file(
    text: str, runtime: Callable[[str], str]
) -> None:
    with pytest.raises(ContentError, match=r"needy\.py: PACKAGES"):
        provision.environment(runtime(text), PI)


@pytest.mark.slow
def test_the_key_follows_wheels_python_and_system_packages_and_nothing_else(
    index: Path, runtime: Callable[[str], str]
) -> None:
    wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    boards = (PI, {**PI, "python": "3.11.9"}, WORKSTATION, JETPACK_5)
    first, patched, other_arch, other_python = (provision.environment(name, facts) for facts in boards)
    assert first and patched and other_arch and other_python
    assert first.key == patched.key == other_arch.key != other_python.key
    with_system = provision.environment(runtime('PACKAGES = ("root",)\nSYSTEM_PACKAGES = True'), PI)
    assert with_system and with_system.system_packages and not first.system_packages
    assert with_system.key != first.key and with_system.wheels == first.wheels
    wheel(index, "root", "1.1")
    changed = provision.environment(runtime('PACKAGES = ("root>1",)'), PI)
    assert changed and changed.key != first.key and len(changed.key) == 16


# --- what is kept --------------------------------------------------------------------------------------------------


def test_a_second_time_asks_nobody_and_the_lock_names_every_wheel_by_its_hash(
    index: Path, runtime: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    first = provision.environment(name, PI)
    assert json.loads((entry("lock") / "lock.json").read_text())["wheels"] == [
        {
            "name": "root",
            "version": "1.0",
            "file": made.name,
            "sha256": hashlib.sha256(made.read_bytes()).hexdigest(),
        }
    ]
    shutil.rmtree(index)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    said: list[Progress] = []
    assert provision.environment(name, PI, said.append) == first
    assert not said
    assert first
    data = Path(first.wheels[0].path).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (first.wheels[0].sha256, first.wheels[0].size_bytes)


@pytest.mark.slow
def test_a_damaged_archive_is_made_again_from_the_very_wheel_that_is_locked(
    index: Path, runtime: Callable[[str], str]
) -> None:
    wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    first = provision.environment(name, PI)
    assert first
    archive = Path(first.wheels[0].path)
    whole = archive.read_bytes()
    wheel(index, "root", "2.0")  # newer, and not what is locked
    archive.write_bytes(whole[:-1] + b"?")
    assert provision.environment(name, PI) == first
    assert archive.read_bytes() == whole
    cache.trim(keep=(entry("lock"),), cap=0)
    assert provision.environment(name, PI) == first


@pytest.mark.slow
def test_when_the_locked_wheel_is_nowhere_any_more_it_is_looked_for_anew(
    index: Path, runtime: Callable[[str], str]
) -> None:
    made = wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    first = provision.environment(name, PI)
    assert first
    Path(first.wheels[0].path).write_bytes(b"damaged")
    wheel(index, "root", "1.0", files={"more.py": "1"})  # the same name, other bytes
    second = provision.environment(name, PI)
    assert second and second.key != first.key
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    assert json.loads((entry("lock") / "lock.json").read_text())["wheels"][0]["sha256"] == sha256


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{}", '{"v": 2, "wheels": []}', '{"v": 1, "wheels": [{"name": 1}]}'])
def test_a_damaged_lock_counts_as_none(text: str, index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    first = provision.environment(name, PI)
    (entry("lock") / "lock.json").write_text(text)
    assert provision.environment(name, PI) == first


def test_boards_of_one_kind_that_ask_at_once_share_one_search(index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "root", "1.0")
    name = runtime('PACKAGES = ("root",)')
    said: list[Progress] = []
    found: list[Environment | None] = []
    askers = [
        threading.Thread(target=lambda: found.append(provision.environment(name, PI, said.append))) for _ in range(8)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert len([one for one in said if "looking" in one.text]) == 1


# --- how it is packed ----------------------------------------------------------------------------------------------


def contents(archive: Path) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(archive) as members:
        return {one.name: (one.mode, members.extractfile(one).read()) for one in members}  # type: ignore[union-attr]


def test_equal_contents_give_equal_bytes_whenever_and_in_whichever_order_they_were_zipped(tmp_path: Path) -> None:
    files = {"b.py": "2", "a/c.py": "3"}
    first = packing.pack(wheel(tmp_path / "1", "root", "1.0", files=files), tmp_path / "1")
    time.sleep(1.1)  # a header with the time in it would differ
    backwards = dict(reversed(files.items()))
    second = packing.pack(wheel(tmp_path / "2", "root", "1.0", files=backwards, date=2020), tmp_path / "2")
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    assert first.name == hashlib.sha256(first.read_bytes()).hexdigest() + ".tar.gz"
    with tarfile.open(first) as members:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, 0, "", "")}


def test_what_belongs_into_site_packages_is_packed_and_scripts_headers_and_data_are_not(tmp_path: Path) -> None:
    data = "root-1.0.data"
    files = {f"{data}/{kind}/{kind}.x": kind for kind in ("purelib", "platlib", "scripts", "headers", "data")}
    made = wheel(tmp_path, "root", "1.0", files=files)
    with zipfile.ZipFile(made, "a") as archive:
        tool = zipfile.ZipInfo("root/tool")
        tool.external_attr = (stat.S_IFREG | 0o4777) << 16
        archive.writestr(tool, "#!/bin/sh")
    found = contents(packing.pack(made, tmp_path))
    info = {f"root-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
    assert set(found) == {"root.py", "root/tool", "purelib.x", "platlib.x", *info}
    assert found["root/tool"] == (0o755, b"#!/bin/sh") and found["root.py"][0] == 0o644


@pytest.mark.parametrize(
    "name", ["../out.py", "/out.py", "a/../../out.py", "./a.py", "a//b.py", "root-1.0.data/purelib/../../../out.py"]
)
def test_a_wheel_whose_files_would_leave_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    made = wheel(tmp_path / "in", "root", "1.0", files={name: "1"})
    (tmp_path / "out").mkdir()
    with pytest.raises(DeviceError, match="must not be sent"):
        packing.pack(made, tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_wheel_with_a_link_or_a_device_is_refused(kind: int, tmp_path: Path) -> None:
    made = wheel(tmp_path, "root", "1.0")
    with zipfile.ZipFile(made, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (kind | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DeviceError, match="link"):
        packing.pack(made, tmp_path)


def test_a_wheel_in_which_two_files_would_become_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"two files are called root\.py"):
        packing.pack(wheel(tmp_path, "root", "1.0", files={"root-1.0.data/purelib/root.py": "2"}), tmp_path)


def test_a_wheel_that_swells_is_refused_whatever_size_it_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel(tmp_path, "root", "1.0", files={"zeros": "0" * 20_000})
    data = bytearray(made.read_bytes())
    place = data.rindex(b"zeros") - 46 + 24  # the size in the directory at the end: what zipfile believes
    assert struct.unpack_from("<I", data, place) == (20_000,)
    struct.pack_into("<I", data, place, 10)
    lying = tmp_path / "lying-1.0-py3-none-any.whl"
    lying.write_bytes(data)
    with pytest.raises(DeviceError, match="must not be sent"):
        packing.pack(lying, tmp_path)
    monkeypatch.setattr(packing, "_MOST_BYTES", 10_000)
    with pytest.raises(DeviceError, match="at most"):
        packing.pack(made, tmp_path)


def test_a_hostile_wheel_leaves_nothing_in_the_cache(index: Path, runtime: Callable[[str], str]) -> None:
    wheel(index, "root", "1.0", files={"../out.py": "1"})
    with pytest.raises(DeviceError, match="must not be sent"):
        provision.environment(runtime('PACKAGES = ("root",)'), PI)
    assert not [path for path in cache.root().rglob("*") if path.is_file()]


@pytest.mark.parametrize("marker", ['python_version ~= "3"', 'platform_machine ~= "a"', '"x" in dependency_groups'])
def test_a_marker_that_means_nothing_is_named_with_its_package(marker: str, runtime: Callable[[str], str]) -> None:
    with pytest.raises(DeviceError) as refused:
        provision.environment(runtime(f"PACKAGES = ('odd; {marker}',)"), PI)
    assert "whether odd is wanted" in refused.value.message and marker in refused.value.message


@pytest.mark.parametrize(
    "metadata", [b"", b"Metadata-Version: 2.1\nRequires-Dist: !!\n", b"Requires-Dist: a @ http://x/a.whl\n"]
)
def test_a_wheel_whose_requirements_cannot_be_read_is_refused_by_name(
    metadata: bytes, index: Path, runtime: Callable[[str], str]
) -> None:
    name = "root-1.0.dist-info/METADATA"
    with zipfile.ZipFile(index / "root-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("root.py", "")
        if metadata:
            archive.writestr(name, b"Name: root\nVersion: 1.0\n" + metadata)
    with pytest.raises(DeviceError, match="root"):
        provision.environment(runtime('PACKAGES = ("root",)'), PI)


# --- with the real index -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "facts, expected",
    [(PI, {"onnxruntime": version("onnxruntime")}), (JETPACK_5, {"onnxruntime": "1.19.2", "numpy": "1.24.4"})],
)
def test_onnx_runtime_is_found_for_real_boards_and_a_second_time_offline(
    facts: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = provision.environment("onnxruntime", facts)
    assert expected.items() <= versions(first).items() and "numpy" in versions(first)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    assert provision.environment("onnxruntime", facts) == first
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_on_a_32_bit_userland_onnx_runtime_is_refused_for_that_reason() -> None:
    with pytest.raises(DeviceError, match=r"no wheel of onnxruntime .*armv7l.*its userland is 32-bit"):
        provision.environment("onnxruntime", PI_32)


def described(found: Environment) -> str:
    """What the controller writes beside an environment."""
    wheels = [{"name": one.name, "sha256": one.sha256, "size_bytes": one.size_bytes} for one in found.wheels]
    return json.dumps({"key": found.key, "system_packages": found.system_packages, "wheels": wheels})


@pytest.mark.slow
def test_what_is_sent_works_in_a_bare_python_of_this_machine(tmp_path: Path) -> None:
    agent, python = str(bundle.build("onnxruntime")), os.path.realpath(sys.executable)
    asked = subprocess.run([python, agent, "probe", "onnxruntime"], capture_output=True, text=True, check=True)
    found = provision.environment("onnxruntime", json.loads(asked.stdout)["facts"])
    assert found
    for folder in ("wheels", "envs"):
        (tmp_path / folder).mkdir()
    for one in found.wheels:
        shutil.copy(one.path, tmp_path / "wheels" / f".part-{one.sha256}")
    (tmp_path / "envs" / f"{found.key}.json").write_text(described(found))
    words = [python, agent, "probe", "onnxruntime", str(tmp_path), found.key]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["versions"].items() <= versions(found).items()
    inside = tmp_path / "envs" / found.key / "bin" / "python"
    code = "import numpy, sys; print(numpy.__file__.startswith(sys.prefix))"
    assert subprocess.run([inside, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.mark.lab
def test_what_is_sent_works_on_a_bare_virtual_pi(pi4: Device, tmp_path: Path) -> None:
    def put(source: Path, target: str) -> None:
        subprocess.run(ssh(pi4, str(source), f"{pi4.user}@{pi4.host}:{target}", program="scp"), check=True)

    ask(pi4, "mkdir -p w/wheels w/envs")
    put(bundle.build("onnxruntime"), "agent.pyz")
    bare = json.loads(ask(pi4, "python3 agent.pyz probe onnxruntime").stdout)
    assert bare["cause"] and bare["facts"]["platform"] == "linux-aarch64"
    found = provision.environment("onnxruntime", bare["facts"])
    assert found
    for one in found.wheels:
        put(Path(one.path), f"w/wheels/.part-{one.sha256}")
    (tmp_path / "said.json").write_text(described(found))
    put(tmp_path / "said.json", f"w/envs/{found.key}.json")
    said = json.loads(ask(pi4, f"python3 agent.pyz probe onnxruntime w {found.key}", limit_s=250).stdout)
    assert said["versions"]["onnxruntime"] == version("onnxruntime")
    assert said["versions"].items() <= versions(found).items()
