"""How merged weights lie within number formats is told, and what folding flips is listed."""

from __future__ import annotations

import pytest
import torch
from networks import Residual, model, opened
from torch import Tensor, nn

from harness.compress import fold, pad_first
from harness.compress.folding.proof import flipped
from harness.compress.folding.ranges import spread, suffers


def rounded(weight: Tensor, largest: Tensor) -> float:
    """The relative rms error of weights that are really rounded to int8."""
    step = largest / 127
    return float(((weight / step).round() * step - weight).norm() / weight.norm())


def test_the_error_told_is_that_of_rounding_to_int8() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 32, 3, 3) * torch.logspace(-1, 1, 64)[:, None, None, None]
    found = spread(weight)
    assert found is not None
    largest = weight.abs().amax((1, 2, 3), keepdim=True)
    assert found.channels == pytest.approx(float(largest.max() / largest.min()))
    assert found.int8_channel == pytest.approx(rounded(weight, largest), rel=0.05)
    assert found.int8_tensor == pytest.approx(rounded(weight, largest.max()), rel=0.05)
    assert found.fp16_lost == 0


def test_channels_outside_float16_are_counted() -> None:
    found = spread(torch.tensor([[1.0], [1e-6], [1e6], [0.0]]))
    assert found is not None and found.fp16_lost == pytest.approx(2 / 3)
    assert spread(torch.zeros(3, 2)) is None


def test_a_shortcut_that_dwarfs_the_merged_kernel_is_flagged_for_int8() -> None:
    torch.manual_seed(0)
    example = torch.randn(2, 64, 12, 12)
    block = Residual(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))).eval()
    (group,) = fold(pad_first(opened(block, example), example), example).groups
    assert group.suffers == ("int8 per channel", "int8 per tensor")
    assert group.spread_before is not None and group.spread_after is not None
    assert group.spread_after.int8_channel > 2 * group.spread_before.int8_channel


def test_equal_layers_suffer_nothing() -> None:
    same = spread(torch.randn(8, 8))
    assert suffers(same, same) == ()


class Scores(nn.Module):
    def __init__(self, scores: list[list[float]]) -> None:
        super().__init__()
        self.register_buffer("scores", torch.tensor(scores))

    def forward(self, x: Tensor) -> Tensor:
        return self.scores + 0 * x.sum()


def test_a_changed_prediction_is_listed_with_its_margin_and_the_error() -> None:
    given, found = Scores([[1.0, 0.9], [0.50, 0.52], [3.0, 0.0]]), Scores([[1.0, 0.9], [0.53, 0.52], [3.0, 0.0]])
    (flip,) = flipped(given, found, torch.zeros(3, 1))
    assert (flip.example, flip.margin, flip.error) == (1, pytest.approx(0.02), pytest.approx(0.03))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "swin_t"])
def test_predictions_of_whole_networks_stay_but_for_ties(name: str) -> None:
    shape = (3, 32, 32)
    network, examples = model(name, shape), torch.randn(64, *shape)
    folded = fold(pad_first(opened(network, examples), examples), examples)
    assert folded.max_error_f32 <= 1e-5
    assert all(flip.margin < 2 * flip.error for flip in folded.flips)
