"""Finished runs by URL: what fsspec speaks here (memory, files), and S3 where a server of it is at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import fsspec
import pytest

from harness import store
from harness.errors import HarnessError, StoreError, UsageError
from harness.store import remote

NAME = "20261121T063146Z-b45a"
EXAMPLE = Path(__file__).resolve().parent.parent / "results" / "examples" / "local" / NAME


def files_of(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def without_manifest(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(folder).items() if name != "MANIFEST"}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example by itself: a run is held while it is copied."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example"))


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/runs" if request.param == "memory" else f"file://{tmp_path}/there/runs"


def test_a_run_that_was_copied_is_found_by_its_url_and_is_the_same(url: str, tmp_path: Path, example: Path) -> None:
    there = remote.copy(example, url)
    assert there == f"{url}/local/{NAME}"
    assert remote.copy(example, url) == there  # again: nothing to do
    for word in (there, f"{there}/", url):
        folder = store.find(tmp_path, word)
        assert files_of(folder) == files_of(example)
        assert store.load(folder).run == NAME


def test_run_json_comes_last_and_what_was_sent_before_a_crash_is_not_sent_again(tmp_path: Path, example: Path) -> None:
    there = tmp_path / "runs" / "local" / NAME
    remote.copy(example, f"file://{tmp_path}/runs")
    assert max(there.rglob("*.*"), key=lambda file: file.stat().st_ctime_ns).name == "run.json"
    (there / "run.json").unlink()
    (there / "samples.parquet").write_bytes(b"torn")
    with pytest.raises(StoreError, match="no runs there"):
        remote.fetch(f"file://{tmp_path}/runs")
    kept = (there / "state.parquet").stat().st_ino
    remote.copy(example, f"file://{tmp_path}/runs")
    assert without_manifest(there) == files_of(example)
    assert (there / "state.parquet").stat().st_ino == kept


def test_another_run_of_the_same_name_is_not_overwritten(url: str, tmp_path: Path, example: Path) -> None:
    remote.copy(example, url)
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "edited"))
    store.save(folder, store.load(folder))
    with pytest.raises(StoreError, match="another run of this name is there"):
        remote.copy(folder, url)


def test_what_is_damaged_there_is_named_and_not_shown(tmp_path: Path, example: Path) -> None:
    url = f"file://{tmp_path}/runs"
    there = Path(remote.copy(example, url).removeprefix("file://"))
    for name in ("samples.parquet", "plots/depth.csv"):
        data = (there / name).read_bytes()
        (there / name).write_bytes(data[:-1] + b"?")
        with pytest.raises(StoreError, match=f"{name} was edited or is damaged"):
            remote.fetch(url)
        (there / name).write_bytes(data)
    assert remote.fetch(url)


def test_what_cannot_be_reached_is_said_and_is_no_bug(tmp_path: Path, example: Path) -> None:
    with pytest.raises(UsageError, match="gopher://x: cannot be reached"):
        remote.fetch("gopher://x")
    with pytest.raises(StoreError, match="no runs there"):
        remote.fetch(f"memory://nothing-{tmp_path.name}")
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    with pytest.raises(HarnessError, match="a-file"):
        remote.copy(example, f"file://{blocked}/runs")


@pytest.mark.skipif(
    "HARNESS_TEST_S3" not in os.environ, reason="say the URL of an S3 server: HARNESS_TEST_S3 (docs/files.md)"
)
def test_a_run_goes_to_s3_and_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, example: Path) -> None:
    said = {"AWS_ENDPOINT_URL": os.environ["HARNESS_TEST_S3"], "AWS_ACCESS_KEY_ID": "testing"}
    for name, value in {**said, "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    from pyarrow.fs import S3FileSystem

    scheme, _, host = said["AWS_ENDPOINT_URL"].partition("://")
    server = S3FileSystem(endpoint_override=host, scheme=scheme, allow_bucket_creation=True)
    server.create_dir("edge-harness-tests", recursive=False)
    url = f"s3://edge-harness-tests/{tmp_path.name}"
    there = remote.copy(example, url)
    assert remote.copy(example, url) == there
    assert files_of(store.find(tmp_path, url)) == files_of(example)


def test_memory_and_files_are_spoken_by_the_fsspec_that_torch_brings() -> None:
    assert {"memory", "file"} <= set(fsspec.available_protocols())
