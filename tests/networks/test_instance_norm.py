"""Instance norms in the backbone (IBN-Net) and the maps for the whitening loss (RobustNet), against a plain reference."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor
from torch.func import functional_call

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.utils.errors import ConfigurationError
from tests.networks.network_cases import NetworkCase


class TestIBNNet(NetworkCase):
    """Learned instance norms, without memory."""

    def build(self) -> MemorySegmenter:
        """ResNet-18."""
        return MemorySegmenter(ResNetBackbone(18, instance_norm="ibn"), channels=32, auxiliary_channels=16)


class TestWhitenedWithMemory(NetworkCase):
    """Plain instance norms, with memory."""

    def build(self) -> MemorySegmenter:
        """ResNet-50."""
        backbone = ResNetBackbone(50, instance_norm="isw")
        return MemorySegmenter(backbone, channels=32, memory=CategoricalMemory(channels=32), auxiliary_channels=16)


def donor(depth: int) -> torchvision.models.ResNet:
    """A torchvision ResNet whose batch norms do something."""
    torch.manual_seed(1)
    net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                tensor.data.normal_(std=0.2)
    return net.eval()


def standardised(x: Tensor) -> Tensor:
    """Every channel of every image with mean 0 and variance 1."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def reference(net: torchvision.models.ResNet, images: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Outputs of stages 1 and 4 and the normalised maps; the stem's map is scaled and shifted."""
    maps = [standardised(net.conv1(images)) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)]
    x, outputs = net.maxpool(maps[0].clamp(min=0)), []
    for stage in (net.layer1, net.layer2):
        for block in stage[:-1]:
            x = block(x)
        last = stage[-1]
        y = last.bn2(last.conv2(last.bn1(last.conv1(x)).clamp(min=0)))
        if hasattr(last, "conv3"):
            y = last.bn3(last.conv3(y.clamp(min=0)))
        maps.append(standardised(x + y))
        x = maps[-1].clamp(min=0)
        outputs.append(x)
    return outputs[0], net.layer4(net.layer3(x)), maps


@pytest.mark.parametrize("kind", ["ibn", "isw"])
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_the_forward_pass_is_the_plain_one(tmp_path: Path, depth: int, kind: str) -> None:
    """With ImageNet-like weights: the learned stem norm takes over scale and shift of the batch norm it replaces."""
    net = donor(depth)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    backbone = ResNetBackbone(depth, 32, str(tmp_path / "weights.pth"), instance_norm=kind).double().eval()
    scale, shift = (net.bn1.weight, net.bn1.bias) if kind == "ibn" else (torch.ones(64), torch.zeros(64))
    images = torch.randn(2, 3, 64, 80, dtype=torch.float64)
    with torch.no_grad():
        found = backbone(images)
        low_level, deep, maps = reference(net.double(), images, scale.double(), shift.double())
    torch.testing.assert_close(found.low_level, low_level, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.deep, deep, rtol=1e-9, atol=1e-9)
    assert len(found.whitened) == (3 if kind == "isw" else 0)
    for ours, expected in zip(found.whitened, maps, strict=False):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


def test_the_maps_are_standardised_and_reach_the_encoding() -> None:
    """Before the ReLU: mean 0, variance 1, in training and evaluation, and with odd sizes."""
    network = MemorySegmenter(ResNetBackbone(18, instance_norm="isw"), channels=16, auxiliary_channels=8)
    for mode in (True, False):
        encoding = network.train(mode).encode(torch.randn(2, 3, 65, 97))
        assert [tuple(m.shape[1:]) for m in encoding.whitened] == [(64, 33, 49), (64, 17, 25), (128, 9, 13)]
        for normalised in encoding.whitened:
            assert normalised.mean(dim=(2, 3)).abs().max() < 1e-4
            assert (normalised.var(dim=(2, 3), correction=0) - 1).abs().max() < 0.02
            assert normalised.min() < 0


@pytest.mark.parametrize(("kind", "affine"), [("ibn", True), ("isw", False), ("none", None)])
def test_the_three_places(kind: str, affine: bool | None) -> None:
    """Stem, last block of stage 1, last block of stage 2; nowhere else. Every other tensor keeps its name."""
    backbone, plain = ResNetBackbone(50, instance_norm=kind), ResNetBackbone(50)
    norms = {name: module for name, module in backbone.named_modules() if isinstance(module, torch.nn.InstanceNorm2d)}
    assert list(norms) == ([] if affine is None else ["stem.1", "stage1.2.instance_norm", "stage2.3.instance_norm"])
    assert all(module.affine == affine for module in norms.values())
    new, gone = (set(a.state_dict()) - set(b.state_dict()) for a, b in ((backbone, plain), (plain, backbone)))
    assert all("instance_norm" in name for name in new)
    assert all(name.startswith("stem.1.") for name in gone)


def test_other_kinds_are_refused() -> None:
    """With the ones there are."""
    with pytest.raises(ConfigurationError, match=r"instance_norm=batch: expected one of none, ibn, isw"):
        ResNetBackbone(18, instance_norm="batch")


@pytest.mark.parametrize("kind", ["ibn", "isw"])
def test_second_order_through_functional_call(kind: str) -> None:
    """The derivative of a gradient along a direction is what finite differences of gradients give."""
    torch.manual_seed(0)
    network = MemorySegmenter(ResNetBackbone(18, 32, instance_norm=kind), 3, 8, auxiliary_channels=4, dropout=0.0).double().train()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters() if name.startswith("backbone.st")}
    direction = [0.1 * torch.randn_like(p) * p.detach() for p in weights.values()]

    def gradient(point: list[Tensor], create_graph: bool = False) -> list[Tensor]:
        buffers = {name: b.clone() for name, b in network.named_buffers()}
        fast = dict(zip(weights, point, strict=True)) | buffers
        encoding = functional_call(network, fast, (images,), {"stage": "encode"})
        loss = encoding.auxiliary.square().mean() + sum(m.flatten(2).matmul(m.flatten(2).mT).square().mean() for m in encoding.whitened)
        return torch.autograd.grad(loss, point, create_graph=create_graph, allow_unused=True, materialize_grads=True)

    first = gradient(list(weights.values()), create_graph=True)
    product = sum((g * d).sum() for g, d in zip(first, direction, strict=True))
    curvature = torch.autograd.grad(product, list(weights.values()), allow_unused=True, materialize_grads=True)
    step = 1e-8  # so small that hardly any ReLU switches
    after, before = (
        gradient([(p + sign * step * d).detach().requires_grad_() for p, d in zip(weights.values(), direction, strict=True)])
        for sign in (1, -1)
    )
    numeric = sum(((a - b) / (2 * step) * d).sum() for a, b, d in zip(after, before, direction, strict=True))
    assert float(numeric) == pytest.approx(float(sum((c * d).sum() for c, d in zip(curvature, direction, strict=True))), rel=1e-4)
