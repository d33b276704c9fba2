"""A blend is alpha x + (1 - alpha) s(x), stays an activation to folding, and costs no more than it must once deployed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from harness import content, flops, wire
from harness.compress import activations, edits, fold, mergeable, program, remove
from harness.compress.edits import Edit
from harness.compress.slopes import Blend, alphas, blend
from harness.errors import UsageError

KINDS: tuple[Callable[[], nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.GELU, nn.PReLU, nn.Hardswish)


class Asking(nn.Module):
    """A forward that torch.fx cannot trace, so that torch.export has to: its way depends on a number of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = plain(nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if x.shape[2] > 2 and bool(x.shape[3] > 2) else x


def plain(activation: nn.Module) -> nn.Sequential:
    """Two convolutions that the first activation alone keeps apart, and one behind a second activation."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def sloped(activation: nn.Module, *slopes: float) -> nn.Module:
    """The same with both activations as blends of these slopes."""
    network = blend(plain(activation), ("2", "4")[: len(slopes)])
    with torch.no_grad():
        for alpha, slope in zip(alphas(network, ("2", "4")[: len(slopes)]).values(), slopes, strict=True):
            alpha.fill_(slope)
    return network.eval()


def images(size: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(slope=st.floats(0, 1), x=st.floats(-10, 10))
def test_a_blend_is_what_its_formula_says(kind: Callable[[], nn.Module], slope: float, x: float) -> None:
    made, at = Blend(kind()).double(), torch.tensor([x], dtype=torch.float64)
    made.alpha.data.fill_(slope)
    expected = slope * at + (1 - slope) * kind().double()(at)
    assert made(at).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_gradient_of_the_slope_is_x_less_the_activation(kind: Callable[[], nn.Module]) -> None:
    made, x = Blend(kind()).double(), torch.linspace(-4, 8, 25, dtype=torch.float64)
    made(x).sum().backward()
    assert made.alpha.grad == pytest.approx((x - kind().double()(x)).sum().item(), abs=1e-12)


def test_a_blended_network_computes_the_same_at_first_and_the_one_given_stays_as_it_was() -> None:
    for activation in (nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.GELU()):
        network = plain(activation)
        before = list(network.state_dict())
        blended = blend(network, ("2", "4"))
        assert torch.equal(blended(images()), network(images()))
        assert list(network.state_dict()) == before
        assert type(network[2]) is type(activation)


def test_an_activation_in_place_changes_nothing_that_a_blend_reads() -> None:
    x = images()
    made = Blend(nn.ReLU6(inplace=True))
    made.alpha.data.fill_(0.5)
    assert torch.allclose(made(x.clone()), 0.5 * x + 0.5 * functional.relu6(x))


def test_in_a_network_that_is_folded_part_by_part_a_blend_is_no_part() -> None:
    class Judging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y = self.act(self.conv(x))
            return y if float(y.sum()) > 0 else -y

    network = blend(Judging().eval(), ("act",))
    alphas(network, ("act",))["act"].data.fill_(0.25)
    folded = fold(network, images())
    assert isinstance(folded.network.get_submodule("act"), nn.LeakyReLU)
    assert isinstance(network.get_submodule("act"), Blend)


def test_a_blended_relu_is_a_prelu() -> None:
    x = images()
    made = Blend(nn.ReLU())
    made.alpha.data.fill_(0.3)
    assert torch.equal(made(x), functional.prelu(x, torch.tensor([0.3])))


def test_a_module_at_two_places_becomes_one_blend_at_both() -> None:
    relu = nn.ReLU()
    network = blend(nn.Sequential(relu, nn.Linear(2, 2), relu), ("0",))
    assert network[0] is network[2]
    assert isinstance(network[0], Blend)


def test_what_is_no_plain_activation_is_refused() -> None:
    network = plain(nn.ReLU())
    with pytest.raises(UsageError, match='no activation "1"'):
        blend(network, ("1",))
    with pytest.raises(UsageError, match='no activation "2"'):
        blend(blend(network, ("2",)), ("2",))


def test_a_blend_is_the_activation_that_it_was_and_what_is_inside_is_none() -> None:
    network, blended = plain(nn.ReLU6()), sloped(nn.ReLU6(), 0.5, 0.5)
    assert activations(blended) == activations(network) == ("2", "4")
    assert mergeable(blended, images()) == mergeable(network, images()) == ("2", "4")
    without = remove(blended, ("2",))
    assert isinstance(without[2], nn.Identity)
    assert activations(without) == ("4",)


def test_a_network_that_only_export_can_trace_knows_its_blends_too() -> None:
    network = Asking().eval()
    assert activations(blend(network, ("layers.2", "layers.4"))) == ("layers.2", "layers.4")
    made = blend(network, ("layers.2",))
    assert mergeable(made, images(), ("layers.2",)) == ("layers.2",)
    made.layers[2].alpha.data.fill_(0.5)  # type: ignore[union-attr]
    assert fold(made, images()).max_error <= 1e-12
    assert flops.count(fold(made, images()).network, images()).depth == 3


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6, nn.GELU], ids=lambda kind: kind.__name__)
def test_a_blend_keeps_layers_apart_until_it_is_removed(kind: Callable[[], nn.Module]) -> None:
    blended = sloped(kind(), 0.5, 0.25)
    depth = {
        which: flops.count(fold(network, images()).network, images()).depth
        for which, network in {
            "all": blended,
            "one": remove(blended, ("2",)),
            "none": remove(blended, ("2", "4")),
        }.items()
    }
    assert depth == {"all": 3, "one": 2, "none": 1}


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6, nn.GELU], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("slopes", [(0.0, 0.0), (0.3, 0.7), (1.0, 0.0)], ids=str)
def test_folding_is_exact_and_leaves_no_slope_to_learn(
    kind: Callable[[], nn.Module], slopes: tuple[float, ...]
) -> None:
    given = sloped(kind(), *slopes)
    folded = fold(given, images())
    assert folded.max_error <= 1e-12
    assert folded.max_error_f32 <= 1e-5
    assert not [module for module in folded.network.modules() if isinstance(module, Blend)]
    assert isinstance(given.get_submodule("2"), Blend)  # the network given stays as it is


def test_what_is_deployed_of_a_blend_is_the_least_that_computes_it() -> None:
    def deployed(activation: nn.Module, slope: float) -> nn.Module:
        return fold(sloped(activation, slope), images()).network.get_submodule("2")

    assert type(deployed(nn.ReLU(), 0.0)) is nn.ReLU
    assert type(deployed(nn.GELU(), 0.0)) is nn.GELU
    leaky = deployed(nn.ReLU(), 0.3)
    assert isinstance(leaky, nn.LeakyReLU)
    assert leaky.negative_slope == torch.tensor(0.3).item()


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6, nn.GELU], ids=lambda kind: kind.__name__)
def test_a_deployed_blend_is_counted_and_runs_as_onnx_for_every_batch(
    kind: Callable[[], nn.Module], tmp_path: Path
) -> None:
    network = sloped(kind(), 0.3, 0.7)
    made = program.deploy(network, images(), 2, (), tmp_path / "program.pt2")
    assert made.cost.uncounted == ()
    assert made.fold_error_f64 <= 1e-12
    program.save_onnx(tmp_path / "program.pt2", tmp_path / "program.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "program.onnx", providers=["CPUExecutionProvider"])
    for batch in (images(), images()[:1]):
        (said,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(said), network(batch), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["executorch", "iree", "litert", "ncnn", "onnxruntime", "openvino", "torch"])
def test_every_runtime_computes_a_leaky_relu_and_a_blend_of_another_activation(runtime: str, tmp_path: Path) -> None:
    network, module = sloped(nn.ReLU6(), 0.3, 0.7), content.load("runtime", runtime)  # the second is one of a ReLU
    made = program.deploy(network, images(), 2, (), tmp_path / "program.pt2").variant
    variant = replace(made, program=str(tmp_path / made.program))
    pytest.importorskip({"iree": "iree.compiler", "litert": "litert_torch"}.get(runtime, runtime))
    module.export(variant, {}, "fp32", {"batch": "1"}, tmp_path / "artifact")
    session = module.load(str(tmp_path / "artifact"), {"threads": 1, "batch": 1, "precision": "fp32"})
    x = images()[:1]
    session.feed([wire.Tensor.of(x.shape, x.numpy().tobytes())])
    (said,) = session.fetch(session())
    with torch.no_grad():
        assert torch.allclose(torch.frombuffer(bytearray(said.raw()), dtype=torch.float32), network(x)[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_slope_learns_in_mixed_precision_too(kind: Callable[[], nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Blend(kind()))
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(images()).float().sum()
    loss.backward()
    gradient = network[1].alpha.grad
    assert isinstance(gradient, Tensor)
    assert (gradient.dtype, bool(gradient != 0)) == (torch.float32, True)


def test_slopes_edits_are_repeated_on_another_network_in_order_with_others() -> None:
    made = (Edit("slopes", ("2", "4")), Edit("linear", ("2",)))
    trained = edits.apply(plain(nn.ReLU()), made, images())
    with torch.no_grad():
        trained.get_submodule("4").alpha.fill_(0.25)  # type: ignore[operator, union-attr]
    again = edits.apply(plain(nn.ReLU()), made, images())
    again.load_state_dict(trained.state_dict())
    assert torch.equal(again.eval()(images()), trained.eval()(images()))
    assert activations(again) == ("4",)
    assert edits.activations_lost(plain(nn.ReLU()), made) == ("2",)
