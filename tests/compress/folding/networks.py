"""Networks for the folding tests: real models with BatchNorm statistics as if trained, and small linear ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness import content
from harness.compress import mergeable, remove


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm statistics and affine weights that are not those of the identity; return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    return network.eval()


def model(name: str, shape: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    return trained(content.load("model", name).build(shape=shape))


def opened(network: nn.Module, example: Tensor) -> nn.Module:
    """Remove every activation that keeps two layers apart."""
    return remove(network, mergeable(network, example))


def affine_map(network: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return Jacobian and offset of an affine network: an oracle that knows nothing of kernels."""
    zeros = torch.zeros(1, *shape, dtype=torch.float64)
    wide = network.double()
    return torch.autograd.functional.jacobian(wide, zeros), wide(zeros).detach()


def relative(found: Tensor, expected: Tensor) -> float:
    with torch.no_grad():
        return float((found - expected).abs().max() / expected.abs().max())


def ran_in_onnxruntime(network: nn.Module, x: Tensor) -> Tensor:
    """Export a network for any batch and return what ONNX Runtime makes of `x`."""
    import tempfile
    import warnings

    import onnxruntime

    free = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # torch's exporter warns of its own insides
        made = torch.onnx.export(network, (x[:2],), dynamo=True, opset_version=18, dynamic_shapes=free, verbose=False)
        assert made is not None
        made.save(f"{folder}/network.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/network.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(found)


class Residual(nn.Module):
    """A branch with a shortcut around it."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)
