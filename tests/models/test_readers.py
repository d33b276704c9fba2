"""BERT and RoBERTa are transformers' own: the same names, and with the same weights the same outputs; and they are exported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import content, flops
from harness.compress import activations, alone, fold, mergeable, models, program, remove
from harness.errors import ContentError, UsageError
from harness.records import FoldRequest

NAMES = ("bert", "roberta")
CLASSIFIERS = {"bert": "Bert", "roberta": "Roberta"}
PARAMETERS = {"bert": 109_483_778, "roberta": 124_647_170}  # as transformers counts them, for two classes


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> ModuleType:
    return content.load("model", request.param)


def tokens(model: ModuleType, length: int, batch: int = 4) -> torch.Tensor:
    drawn = program.make_example((length,), 1, model.VOCABULARY, batch)
    return drawn.where(drawn != 1, 2)  # RoBERTa's pad, to which transformers gives no position


def theirs(model: ModuleType, size: Any) -> nn.Module:
    """Transformers' classifier, by its own forward."""
    kind, ours = CLASSIFIERS[_name(model)], model.build(size=size)
    config = next(module.config for module in ours.modules() if hasattr(module, "config"))
    import transformers

    torch.manual_seed(5)
    network: nn.Module = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    for weight in network.parameters():  # as after training: no bias is zero, no LayerNorm the identity
        nn.init.normal_(weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize("length", [12, 512])
def test_with_transformers_weights_outputs_are_those_of_its_own_forward(
    model: ModuleType, length: int, tmp_path: Path
) -> None:
    expected = theirs(model, model.TINY)
    torch.save(expected.state_dict(), tmp_path / "weights.pt")
    ours = model.build(str(tmp_path / "weights.pt"), 2, (length,), model.TINY).eval()
    assert list(ours.state_dict()) == list(expected.state_dict())
    x = tokens(model, length)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected(x).logits, rtol=1e-5, atol=1e-6)


def test_weights_that_an_older_version_saved_with_their_positions_load(model: ModuleType, tmp_path: Path) -> None:
    network = model.build(size=model.TINY)
    positions = {"bert.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**network.state_dict(), **positions}, tmp_path / "weights.pt")
    loaded = model.build(str(tmp_path / "weights.pt"), size=model.TINY).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in network.state_dict().items())


def test_the_base_size_costs_what_is_known(model: ModuleType) -> None:
    with torch.device("meta"):
        network = model.build().eval()
    cost = flops.count(network, torch.zeros(1, 128, dtype=torch.int64, device="meta"))
    layers, attention = 12 * 128 * (4 * 768**2 + 2 * 768 * 3072), 12 * 2 * 128**2 * 768
    assert cost.macs == layers + attention + 768**2 + 2 * 768
    assert layers / 1e9 == pytest.approx(10.87, abs=0.005)
    assert (cost.depth, cost.parameters) == (12 * 4 + 2, PARAMETERS[_name(model)])
    assert not flops.count(model.build(size=model.TINY), tokens(model, 128)).uncounted


def test_every_layer_has_a_gelu_of_its_own_that_can_be_removed(model: ModuleType) -> None:
    network = model.build(size=model.TINY).eval()
    gelus = [name for name, module in network.named_modules() if isinstance(module, nn.GELU)]
    assert gelus == [f"{_name(model)}.encoder.layer.{n}.intermediate.intermediate_act_fn" for n in range(2)]
    x = tokens(model, 128)
    assert not torch.allclose(remove(network, gelus[:1])(x), network(x))


@pytest.mark.slow
def test_the_exported_network_takes_any_batch_and_masks_nothing(model: ModuleType, tmp_path: Path) -> None:
    network = model.build(size=model.TINY, shape=(16,)).eval()
    program.save(network, tokens(model, 16), tmp_path / "program.pt2")
    program.save_onnx(tmp_path / "program.pt2", tmp_path / "network.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    exported = torch.export.load(tmp_path / "program.pt2")
    assert "aten.expand" not in str(exported.graph)
    for batch in (1, 3):
        x = tokens(model, 16, batch)
        with torch.no_grad():
            expected = network(x)
            torch.testing.assert_close(exported.module()(x), expected)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_folding_leaves_one_matrix_where_a_gelu_was(model: ModuleType, tmp_path: Path) -> None:
    network, x = model.build(size=model.TINY, shape=(16,)).eval(), tokens(model, 16)
    names = activations(network)
    assert set(mergeable(network, x)) == set(names)
    folded = fold(remove(network, names), x)
    before, after = flops.count(network, x[:1]), flops.count(folded.network, x[:1])
    assert before.depth - after.depth == len(names)  # BERT's pooler has an activation more
    width = model.TINY.width
    mlps = sum(2 * 4 * width**2 - width**2 for _ in range(2)) * 16
    assert before.macs - after.macs == mlps + (len(names) - 2) * width**2
    assert program.save(folded.network, x, tmp_path / "folded.pt2")


@pytest.mark.parametrize("shape", [(3, 32, 32), (0,), (513,)])
def test_what_is_no_sentence_of_512_tokens_is_refused(model: ModuleType, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match="reads sentences of 1 to 512 tokens, not inputs of " + "x".join(map(str, shape))
    ):
        model.build(shape=shape, size=model.TINY)


def test_without_transformers_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ContentError, match=r"pip install 'edge-harness\[nlp\]'"):
        models.build("bert", content.load("task", "wordpieces"), seed=0)


def test_without_transformers_weights_are_not_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    request = FoldRequest("bert", str(tmp_path / "weights.pt"), 2, (128,), remove=("all",))
    with pytest.raises(UsageError, match=r"model bert: .*pip install 'edge-harness\[nlp\]'"):
        alone.make(request, lambda progress: None)


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("bert", "digits", "model bert reads tokens, the task holds numbers"),
        ("tiny", "wordpieces", "model tiny reads numbers, the task holds tokens"),
        ("bert", "bytepairs", "model bert knows 30522 tokens, the task has 50265"),
    ],
)
def test_a_task_that_the_model_cannot_read_is_refused_before_anything_is_built(
    name: str, task: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        models.build(name, content.load("task", task), seed=0)


def _name(model: ModuleType) -> str:
    return "bert" if model.TASK == "wordpieces" else "roberta"
