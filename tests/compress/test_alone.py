"""`harness fold`: a network folded by itself is equal to the one given, as a report, as torch's program and as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from command import Cli

from harness import content
from harness.compress import activations, pad_first, remove


def weights(folder: Path, classes: int = 10) -> Path:
    torch.manual_seed(3)
    network = content.load("model", "tiny").build(None, classes, (3, 16, 16))
    torch.save(network.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def files(cli: Cli) -> set[str]:
    return {path.name for path in cli.folder.iterdir()} - {"inventory.yaml"}


@pytest.mark.slow
def test_the_report_tells_groups_costs_and_errors(cli: Cli) -> None:
    done = cli("fold", "tiny", "--remove", "mergeable", "--padding", "moved", "--json")
    assert done.code == 0, done.err
    report = done.json
    assert report["removed_names"] == ["layer1.0.relu1", "layer1.1.relu1", "layer2.0.relu1"]
    assert [group["path"] for group in report["groups"] if group["reason"] is None] == [
        "layer1.0.conv1",
        "layer1.1.conv1",
        "layer2.0.conv1",
    ]
    assert (report["before"]["depth"], report["after"]["depth"]) == (8, 5)
    assert report["fold_error_f64"] <= 1e-12 and report["fold_error"] <= 1e-5 and report["files"] == []
    text = cli("fold", "tiny", "--remove", "mergeable", "--padding", "moved").out
    assert "depth                            8 -> 5" in text and "fine-tune it" in text and text.isascii()


@pytest.mark.slow
def test_what_is_left_is_named_with_the_reason_and_the_cure(cli: Cli) -> None:
    done = cli("fold", "tiny", "--remove", "layer1.0.relu1")
    assert done.code == 0, done.err
    assert "left: layer1.0.conv1: layer1.0.conv2 pads the output of layer1.0.conv1 with zeros" in done.out
    assert "pad_first moves the padding to the front" in done.out


@pytest.mark.slow
def test_what_is_merged_although_it_is_not_equal_says_so(cli: Cli) -> None:
    done = cli("fold", "tiny", "--remove", "mergeable", "--policy", "approximate", "--forms", "crop")
    assert done.code == 0, done.err
    assert "NOT EQUAL, off by: " in done.out and "proved" not in done.out


@pytest.mark.slow
def test_program_and_onnx_compute_the_network_that_was_given_for_any_batch(cli: Cli) -> None:
    file = weights(cli.folder)
    done = cli("fold", str(file), "--model", "tiny", "--remove", "all", "--padding", "moved", "--out", "small.onnx")
    assert done.code == 0, done.err
    assert files(cli) == {"small.onnx", "small.pt2", "weights.pt"}
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    network = content.load("model", "tiny").build(str(file), 10, (3, 16, 16)).eval()
    with torch.no_grad():
        expected = pad_first(remove(network, activations(network)), x)(x).numpy()
        again = torch.export.load(cli.folder / "small.pt2").module()(x).numpy()
    session = onnxruntime.InferenceSession(cli.folder / "small.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    scale = np.abs(expected).max()
    assert np.abs(again - expected).max() / scale < 1e-5
    assert np.abs(found - expected).max() / scale < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("resnet19", "--remove", "all"), 2, 'no model "resnet19"; did you mean "resnet18"'),
        (("tiny", "--remove", "relu9"), 2, 'no activation "relu9"'),
        (("tiny", "--remove", "all", "--padding", "away"), 2, 'no padding "away"'),
        (("tiny", "--remove", "all", "--policy", "aproximate"), 2, 'did you mean "approximate"'),
        (("tiny", "--remove", "all", "--forms", "crop"), 2, 'no form under the folding policy exact "crop"'),
        (("tiny", "--remove", "all", "--shape", "3,x"), 2, "--shape 3,x: must be 3 sizes, such as 3,16,16"),
        (("tiny", "--remove", "all", "--out", "no/such/file.onnx"), 1, "no/such is no folder"),
        (("gone.pt", "--model", "tiny", "--remove", "all"), 2, "gone.pt: no such file"),
        (("weights.pt", "--remove", "all"), 2, "whose weights are these?"),
        (("weights.pt", "--model", "tiny", "--remove", "all", "--classes", "7"), 2, "no weights of model tiny for 7"),
        (("text.pt", "--model", "tiny", "--remove", "all"), 2, "text.pt: no weights of model tiny for 10 classes"),
    ],
)
def test_wrong_words_are_told_and_nothing_is_written(words: tuple[str, ...], code: int, message: str, cli: Cli) -> None:
    weights(cli.folder)
    (cli.folder / "text.pt").write_text("these are no weights")
    done = cli("fold", *words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert files(cli) == {"text.pt", "weights.pt"}
