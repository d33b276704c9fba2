"""The bundle: a slice of the repository, equal bytes for equal sources, holding one runtime and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import bundle, cache
from harness.errors import ContentError, UsageError


def test_equal_sources_give_equal_bytes_and_a_name_that_follows_from_them() -> None:
    first = bundle.build("empty")
    data = first.read_bytes()
    cache.trim(cap=0)
    assert not first.exists()
    again = bundle.build("empty")
    assert again == first and again.read_bytes() == data
    assert again.parent.parent.parent == cache.root()


def test_paths_are_the_repository_s_own_and_every_folder_is_a_package(repository: Path) -> None:
    with zipfile.ZipFile(bundle.build("onnxruntime")) as archive:
        names = set(archive.namelist())
        for name in names:
            if archive.getinfo(name).file_size and name != "__main__.py":
                assert archive.read(name) == (repository / name).read_bytes()
    folders = {str(Path(name).parent) for name in names} - {"."}
    assert {f"{folder}/__init__.py" for folder in folders} <= names
    runtimes = {name for name in names if name.startswith("devices/runtimes/")}
    own = {path for path in runtimes if not Path(path).name.startswith("_") or path.endswith("/__init__.py")}
    assert own == {"devices/runtimes/__init__.py", "devices/runtimes/onnxruntime.py"}
    assert "devices/runtimes/_onnx_graph.py" in runtimes  # shared code goes along
    assert {"harness/wire/job.py", "harness/decode.py", "harness/errors.py", "devices/agent/main.py"} <= names


def test_a_changed_runtime_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    plain = bundle.build("empty")
    changed = tmp_path / "runtimes" / "empty.py"
    changed.parent.mkdir()
    changed.write_text((repository / "devices/runtimes/empty.py").read_text() + "\n# changed\n")
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    assert bundle.build("empty").name != plain.name


def test_shared_code_beside_a_user_s_runtime_travels_and_is_imported_under_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runtimes"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "_common.py").write_text("from colorsys import ONE_THIRD\n\nVERSION = str(round(9 * ONE_THIRD))\n")
    text = "from _common import VERSION\n\n\ndef versions():\n    return {'mine': VERSION}\n"
    (folder / "colorsys.py").write_text(text)  # named, as runtimes are, like a package that it needs
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    made = bundle.build("colorsys")
    names = {name for name in zipfile.ZipFile(made).namelist() if name.startswith("devices/runtimes/")}
    assert names == {f"devices/runtimes/{name}.py" for name in ("__init__", "_common", "colorsys")}
    done = subprocess.run([sys.executable, str(made), "probe", "colorsys"], capture_output=True, text=True, timeout=60)
    assert '"versions": {"mine": "3"}' in done.stdout, done.stdout
    (folder / "_common.py").write_text("VERSION = '4'\n")
    assert bundle.build("colorsys") != made


def test_shared_code_of_one_name_in_two_sensors_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own in ("one", "two"):
        (tmp_path / own / "sensors").mkdir(parents=True)
        (tmp_path / own / "sensors" / "_common.py").touch()
        (tmp_path / own / "sensors" / f"{own}.py").touch()
    monkeypatch.setenv("HARNESS_CONTENT", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    assert bundle.build("empty", ["one"])
    with pytest.raises(ContentError, match=r"two/sensors/_common.py: .*one/sensors/_common.py has the same name"):
        bundle.build("empty", ["one", "two"])


def test_an_unknown_runtime_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UsageError, match='no runtime "emtpy"; did you mean "empty"'):
        bundle.build("emtpy")
    assert not cache.root().exists()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_runtime_s_file_never_stands_in_for_the_package_of_its_name(runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, str(bundle.build(runtime)), "probe", runtime], capture_output=True, text=True, timeout=120
    )
    assert f'"{runtime}": "' in done.stdout and '"cause"' not in done.stdout
