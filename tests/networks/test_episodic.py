"""MetaSegNet's embedding: every network's rules, the third party's table, and what the presets change."""

import pytest
import torch
from torch import nn

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import GlobalLocalEmbedding, JoinBranches, MemorySegmenter, PlainDecoder
from pin_memory.networks.episodic import ResidualBlock
from pin_memory.utils.errors import ConfigurationError
from tests.networks.network_cases import NetworkCase


class TestWithMemory(NetworkCase):
    def build(self) -> MemorySegmenter:
        """Our strides, as any segmenter."""
        memory = CategoricalMemory(channels=1024)
        return MemorySegmenter(GlobalLocalEmbedding(), 19, 1024, memory, 16, pyramid=JoinBranches, decoder=PlainDecoder)


class TestWithoutHeads(NetworkCase):
    """The third party's strides, no memory and no auxiliary head."""

    classes = 5

    def build(self) -> MemorySegmenter:
        """Features of fewer channels than the branches have."""
        return MemorySegmenter(GlobalLocalEmbedding("literal"), 5, 24, None, None, pyramid=JoinBranches, decoder=PlainDecoder)


def test_the_third_partys_table() -> None:
    """About 14.1 million weights in convolutions, both branches at stride 32, its dilations."""
    network = GlobalLocalEmbedding("literal")
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))
    assert weights == pytest.approx(14.1e6, abs=0.05e6)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]
    dilations = [module.dilation[0] for module in convolutions]
    assert dilations == [1] * 6 + [1, 2, 4] + [8, 16, 32] + [1] * 3
    smaller = [
        m.dilation[0]
        for m in GlobalLocalEmbedding("literal", one_way=True).modules()
        if isinstance(m, ResidualBlock)
        for m in m.layers
        if isinstance(m, nn.Conv2d)
    ]
    assert smaller == [1] * 9 + [2, 4, 8] + [1] * 3


@pytest.mark.parametrize(("preset", "stride"), [("literal", 32), ("ours", 8)])
def test_sizes(preset: str, stride: int) -> None:
    network = GlobalLocalEmbedding(preset).eval()
    assert network.output_stride == stride
    with torch.inference_mode():
        found = network(torch.randn(1, 3, 64, 96))
        branches = network.global_branch(found.auxiliary)
    assert found.low_level.shape == (1, 64, 16, 24)
    assert found.deep.shape == (1, 1024, 64 // stride, 96 // stride)
    assert branches.shape == (1, 512, 2, 3)


def test_the_local_branch_is_a_matter_of_its_surroundings_and_the_global_one_of_the_image() -> None:
    """The gradient of one cell reaches, with the dilations of one way, less of a large image through the first half of its channels."""
    network = GlobalLocalEmbedding(one_way=True).eval()
    image = torch.randn(1, 3, 256, 256, requires_grad=True)
    deep = network(image).deep
    reached = [
        torch.autograd.grad(part[0, :, 0, 0].sum(), image, retain_graph=True)[0].abs().sum(dim=(0, 1)).nonzero().max()
        for part in deep.split(512, dim=1)
    ]
    assert reached[0] < reached[1]


def test_residual_block() -> None:
    """The sum of the convolutions and the input, through a shortcut only where the shape changes."""
    torch.manual_seed(0)
    block, x = ResidualBlock(4, 4).eval(), torch.randn(1, 4, 5, 5)
    assert isinstance(block.shortcut, nn.Identity)
    torch.testing.assert_close(block(x), nn.functional.leaky_relu(block.layers(x) + x, 0.1))
    assert ResidualBlock(4, 6, 2)(x).shape == (1, 6, 3, 3)
    assert torch.allclose(block.layers[2](torch.tensor(-1.0)), torch.tensor(-0.1))


def test_refusals() -> None:
    with pytest.raises(ConfigurationError, match="preset=deep: expected one of literal, ours"):
        GlobalLocalEmbedding("deep")
    with pytest.raises(ConfigurationError, match="instance_norm=ibn"):
        GlobalLocalEmbedding(instance_norm="ibn")


def test_frozen_parts() -> None:
    assert not any(p.requires_grad for p in GlobalLocalEmbedding(freeze="stem").stem.parameters())
    network = GlobalLocalEmbedding(freeze="norms").train()
    assert not any(m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d))
