"""DeepLabV2: what sets it apart from DeepLabV3+, and every network option of the configuration."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import GlobalLocalEmbedding, MemorySegmenter, PlainDecoder, ResNetBackbone, SummedASPP, TimmBackbone, VitBackbone
from pin_memory.utils.config import config_directory
from tests.networks.network_cases import NetworkCase

OPTIONS = sorted(path.stem for path in (config_directory() / "network").glob("[!_]*.yaml"))


class TestDeepLabV2WithMemory(NetworkCase):
    """Bottleneck blocks as released."""

    def build(self) -> MemorySegmenter:
        """ResNet-50 at stride 8."""
        backbone = ResNetBackbone(50, 8, stride_in_1x1=True)
        memory = CategoricalMemory(channels=32)
        return MemorySegmenter(backbone, 19, 32, memory, auxiliary_channels=16, pyramid=SummedASPP, decoder=PlainDecoder)


class TestDeepLabV2WithoutMemory(NetworkCase):
    """Blocks without a 1x1 convolution, stride 16, another number of classes."""

    classes = 5

    def build(self) -> MemorySegmenter:
        """ResNet-18."""
        backbone = ResNetBackbone(18, 16, stride_in_1x1=True)
        return MemorySegmenter(backbone, 5, 32, auxiliary_channels=16, pyramid=SummedASPP, decoder=PlainDecoder)


def test_the_pyramid_sums_its_branches() -> None:
    """Each with its own normalisation and ReLU, so the sum is that of four outputs >= 0."""
    torch.manual_seed(0)
    pyramid, x = SummedASPP(6, 4, 8).eval(), torch.randn(2, 6, 9, 11)
    with torch.no_grad():
        expected = sum(branch[1](branch[0](x)).clamp(min=0) for branch in pyramid.branches)
        torch.testing.assert_close(pyramid(x), expected)
    assert [branch[0].dilation for branch in pyramid.branches] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    assert [branch[0].dilation for branch in SummedASPP(6, 4, 16).branches] == [(3, 3), (6, 6), (9, 9), (12, 12)]


def test_the_decoder_makes_no_use_of_low_level_features() -> None:
    """Nor has it weights for them."""
    decoder = PlainDecoder(256, 8, 3).eval()
    fused = torch.randn(1, 8, 5, 7)
    with torch.no_grad():
        assert torch.equal(decoder(fused, torch.zeros(1, 256, 20, 28)), decoder(fused, torch.randn(1, 256, 20, 28)))
    assert not [name for name in decoder.state_dict() if name.startswith("reduce")]


@pytest.mark.parametrize(("stride", "places"), [(8, [2]), (32, [2, 3, 4])])
def test_bottlenecks_stride_in_their_1x1(stride: int, places: list[int]) -> None:
    """In every stage that still strides; nothing else moves."""
    moved, usual = ResNetBackbone(50, stride, stride_in_1x1=True), ResNetBackbone(50, stride)
    for stage in range(2, 5):
        ours, theirs = (getattr(backbone, f"stage{stage}")[0] for backbone in (moved, usual))
        strides = [getattr(ours, f"conv{i}").stride for i in (1, 2, 3)]
        assert strides == ([(2, 2), (1, 1), (1, 1)] if stage in places else [(1, 1)] * 3)
        assert ours.downsample[0].stride == theirs.downsample[0].stride
        assert ours.conv2.dilation == theirs.conv2.dilation


@pytest.mark.parametrize("option", OPTIONS)
def test_every_network_option_builds(option: str) -> None:
    """And is what its name says."""
    name = ["network.backbone.name=resnet18"] if option.endswith("_timm") else []
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=[f"network={option}", "network.backbone.pretrained=null", *name])
    parts = list(cfg.network)
    assert parts.index("backbone") < parts.index("memory")  # instantiated in this order: a seed gives the same weights in every release
    network = instantiate(cfg.network)
    assert isinstance(network, MemorySegmenter)
    assert network.memory is not None
    if "resnet" in option:
        depth = int(option.partition("resnet")[2])
        blocks = sum(len(getattr(network.backbone, f"stage{i}")) for i in range(1, 5))
        assert blocks == {18: 8, 34: 16, 50: 16, 101: 33}[depth]
    else:
        kind = VitBackbone if option.startswith("vit_") else GlobalLocalEmbedding if option == "meta_seg_net" else TimmBackbone
        assert isinstance(network.backbone, kind)
    v2 = option.startswith("deeplab_v2")
    assert isinstance(network.aspp, SummedASPP) == isinstance(network.decoder, PlainDecoder) == v2
    assert network.backbone.output_stride == (8 if v2 or option in ("meta_seg_net", "middle_efficientnet_lite0") else 16)
