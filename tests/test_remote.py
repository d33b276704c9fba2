"""Finished runs by URL: what fsspec speaks here (memory, files), and S3 where a server of it is at hand."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from command import Cli
from pyarrow.fs import S3FileSystem

from harness import store
from harness.errors import HarnessError, StoreError, UsageError
from harness.store import remote

MOTO = Path(__file__).resolve().parent.parent / ".moto" / "bin" / "moto_server"
RUN = (
    "run",
    "--device",
    "local",
    "--model",
    "tiny",
    "--method",
    "order",
    "--runtime",
    "empty",
    "--budget",
    "3",
    "--json",
)
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


@pytest.mark.slow
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


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of a server of its own on loopback; AWS's variables name it."""
    if not MOTO.is_file():
        pytest.skip("no S3 server here: make moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**said, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "moto.log").open("w") as log:
        server = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        patience = time.monotonic() + 60
        while not _answers(port) and time.monotonic() < patience:
            time.sleep(0.1)
        made = S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
        made.create_dir("edge-harness-tests", recursive=False)
        yield "s3://edge-harness-tests/runs"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_run_goes_to_s3_and_back(s3: str, tmp_path: Path, example: Path) -> None:
    there = remote.copy(example, s3)
    assert there == f"{s3}/local/{NAME}"
    assert remote.copy(example, s3) == there
    assert files_of(store.find(tmp_path, s3)) == files_of(example)


@pytest.mark.parametrize("word", ["/no/url", "gopher://x"])
def test_where_nobody_could_copy_to_nothing_is_measured(cli: Cli, word: str) -> None:
    done = cli(*RUN, "--copy-to", word)
    assert done.code == 2 and word in done.err, done.err
    assert not cli.runs


@pytest.mark.slow
def test_a_finished_run_is_copied_as_its_command_says(cli: Cli, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/there"
    done = cli(*RUN, "--copy-to", url)
    assert done.code == 0, done.err
    (run,) = cli.runs
    assert f"copy    {url}/local/{run.name}" in done.err
    assert done.json["run"] == run.name
    shown = cli("show", url, "--json")
    assert shown.json == done.json


def test_memory_and_files_are_spoken_by_the_fsspec_that_torch_brings() -> None:
    assert {"memory", "file"} <= set(fsspec.available_protocols())
